"""Arrivals: how a file on disk becomes known, whole, and once."""

from taggerd.arrivals.arrivals import Arrivals
from taggerd.arrivals.filters import SIDECAR
from taggerd.arrivals.find import Found, Skip, find
from taggerd.arrivals.forgetting import Forgetting
from taggerd.arrivals.settling import Settling, confirm
from taggerd.arrivals.stems import Files, whole
from taggerd.arrivals.unpacking import Unpacking, is_archive, keywords_of_archive
from taggerd.arrivals.walk import UNREADABLE, Seen, see

__all__ = [
    "SIDECAR",
    "UNREADABLE",
    "Arrivals",
    "Files",
    "Forgetting",
    "Found",
    "Seen",
    "Settling",
    "Skip",
    "Unpacking",
    "confirm",
    "find",
    "is_archive",
    "keywords_of_archive",
    "see",
    "whole",
]
