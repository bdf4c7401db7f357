"""What ``taggerd setup`` finds out and works out; the questions themselves are the command's."""

from taggerd.setup.backends import (
    Asked,
    Hint,
    Served,
    addresses_of,
    find,
    hints_for,
    on_this_machine,
    probe,
)
from taggerd.setup.folders import (
    Candidate,
    candidates,
    count_photos,
    is_there,
    make,
    pictures,
    why_not_usable,
)
from taggerd.setup.language import language_of
from taggerd.setup.programs import PROGRAMS, Program, Wanted, installed, wanted_by

__all__ = [
    "PROGRAMS",
    "Asked",
    "Candidate",
    "Hint",
    "Program",
    "Served",
    "Wanted",
    "addresses_of",
    "candidates",
    "count_photos",
    "find",
    "hints_for",
    "installed",
    "is_there",
    "language_of",
    "make",
    "on_this_machine",
    "pictures",
    "probe",
    "wanted_by",
    "why_not_usable",
]
