"""Every setting, as one tree: name, default, unit, meaning, bounds.

``config/taggerd.toml`` and the messages about a wrong key are generated from this tree;
:mod:`taggerd.settings.configuration` decides where a value comes from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taggerd.lazy import at_first_use

if TYPE_CHECKING:
    from taggerd.settings.arrivals import Arrivals, Root
    from taggerd.settings.backend import Backend, Endpoint
    from taggerd.settings.hooks import Hook, Hooks
    from taggerd.settings.metadata import Fields, Keywords, Metadata, TextField, VocabularyMode
    from taggerd.settings.metrics import Address, Metrics
    from taggerd.settings.price import DayBudget, Price
    from taggerd.settings.roles import ContextWord, Role, Roles
    from taggerd.settings.tree import Burst, Image, Review, Service, Settings, Workers
else:
    __getattr__ = at_first_use(
        __name__,
        {
            "arrivals": "Arrivals Root",
            "backend": "Backend Endpoint",
            "hooks": "Hook Hooks",
            "metadata": "Fields Keywords Metadata TextField VocabularyMode",
            "metrics": "Address Metrics",
            "price": "DayBudget Price",
            "roles": "ContextWord Role Roles",
            "tree": "Burst Image Review Service Settings Workers",
        },
    )

__all__ = [
    "Address",
    "Arrivals",
    "Backend",
    "Burst",
    "ContextWord",
    "DayBudget",
    "Endpoint",
    "Fields",
    "Hook",
    "Hooks",
    "Image",
    "Keywords",
    "Metadata",
    "Metrics",
    "Price",
    "Review",
    "Role",
    "Roles",
    "Root",
    "Service",
    "Settings",
    "TextField",
    "VocabularyMode",
    "Workers",
]
