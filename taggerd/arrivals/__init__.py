"""Arrivals: how a file on disk is noticed, waited for until it is complete, and queued once."""

from taggerd.arrivals.arrivals import Arrivals
from taggerd.arrivals.choice import chosen
from taggerd.arrivals.dependencies import Pulse, RootHealth, Timing
from taggerd.arrivals.executor import Executor
from taggerd.arrivals.find import Found, SidecarPhotos, complete_photos, find, reach, work_below
from taggerd.arrivals.missing import sweep_missing_files
from taggerd.arrivals.probe import warning_about
from taggerd.arrivals.settling import Settling, confirm
from taggerd.arrivals.unpacking import Unpacking, keywords_of_archive
from taggerd.arrivals.walk import Seen, Skip, see

__all__ = [
    "Arrivals",
    "Executor",
    "Found",
    "Pulse",
    "RootHealth",
    "Seen",
    "Settling",
    "SidecarPhotos",
    "Skip",
    "Timing",
    "Unpacking",
    "chosen",
    "complete_photos",
    "confirm",
    "find",
    "keywords_of_archive",
    "reach",
    "see",
    "sweep_missing_files",
    "warning_about",
    "work_below",
]
