"""The services that a run needs: made from the settings, opened together, closed again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taggerd.lazy import at_first_use

if TYPE_CHECKING:
    from taggerd.services.clock import local_now
    from taggerd.services.factories import (
        check_settings,
        endpoint_settings,
        make_inference,
        metadata_options,
        read_registry,
    )
    from taggerd.services.pools import Disks, Pools, open_pools, read_embedded
    from taggerd.services.reading import has_ledger, make_journal, read_ledger
    from taggerd.services.services import (
        Services,
        open_ledger,
        open_services,
    )
else:
    __getattr__ = at_first_use(
        __name__,
        {
            "clock": "local_now",
            "factories": (
                "check_settings endpoint_settings make_inference metadata_options read_registry"
            ),
            "pools": "Disks Pools open_pools read_embedded",
            "reading": "has_ledger make_journal read_ledger",
            "services": "Services open_ledger open_services",
        },
    )

__all__ = [
    "Disks",
    "Pools",
    "Services",
    "check_settings",
    "endpoint_settings",
    "has_ledger",
    "local_now",
    "make_inference",
    "make_journal",
    "metadata_options",
    "open_ledger",
    "open_pools",
    "open_services",
    "read_embedded",
    "read_ledger",
    "read_registry",
]
