"""Every setting, as one tree: name, default, unit, meaning, bounds.

``config/taggerd.toml`` and the messages about a wrong key are generated from this tree;
:mod:`taggerd.settings.configuration` decides where a value comes from.
"""

from taggerd.settings.arrivals import Arrivals, Root
from taggerd.settings.backend import Backend, Endpoint, Schedule
from taggerd.settings.metadata import (
    Fields,
    KeywordField,
    Keywords,
    Metadata,
    Ownership,
    SidecarNames,
    TextField,
    VocabularyMode,
)
from taggerd.settings.roles import ContextWord, OwnRole, Prompts, Role, Roles
from taggerd.settings.section import Folder, Section
from taggerd.settings.tree import (
    Image,
    Journal,
    Queue,
    Service,
    Settings,
    Workers,
    default_state_directory,
)

__all__ = [
    "Arrivals",
    "Backend",
    "ContextWord",
    "Endpoint",
    "Fields",
    "Folder",
    "Image",
    "Journal",
    "KeywordField",
    "Keywords",
    "Metadata",
    "OwnRole",
    "Ownership",
    "Prompts",
    "Queue",
    "Role",
    "Roles",
    "Root",
    "Schedule",
    "Section",
    "Service",
    "Settings",
    "SidecarNames",
    "TextField",
    "VocabularyMode",
    "Workers",
    "default_state_directory",
]
