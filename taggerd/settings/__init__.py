"""Every setting, as one tree: name, default, unit, meaning, bounds.

``config/taggerd.toml`` and the messages about a wrong key are generated from this tree;
:mod:`taggerd.settings.configuration` decides where a value comes from.
"""

from taggerd.settings.arrivals import Arrivals, Root
from taggerd.settings.backend import Backend, Endpoint
from taggerd.settings.hooks import Hook, Hooks
from taggerd.settings.metadata import Fields, Keywords, Metadata, TextField, VocabularyMode
from taggerd.settings.metrics import Address, Metrics
from taggerd.settings.roles import ContextWord, Role, Roles
from taggerd.settings.tree import Image, Service, Settings, Workers

__all__ = [
    "Address",
    "Arrivals",
    "Backend",
    "ContextWord",
    "Endpoint",
    "Fields",
    "Hook",
    "Hooks",
    "Image",
    "Keywords",
    "Metadata",
    "Metrics",
    "Role",
    "Roles",
    "Root",
    "Service",
    "Settings",
    "TextField",
    "VocabularyMode",
    "Workers",
]
