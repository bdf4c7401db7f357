"""The services that a run needs: made from the settings, opened together, closed again."""

from taggerd.services.factories import (
    check_settings,
    endpoint_settings,
    make_inference,
    make_journal,
    metadata_options,
    read_registry,
)
from taggerd.services.pools import Disks, Pools, open_pools, read_embedded
from taggerd.services.services import (
    Services,
    has_ledger,
    local_now,
    open_ledger,
    open_services,
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
    "read_registry",
]
