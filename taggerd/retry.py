"""The retry policy: who is at fault, what it costs, how long to wait, what to probe meanwhile.

:data:`POLICIES` has one row per kind of error of :mod:`taggerd.errors`; an error without a row of
its own follows its nearest base class. Inference and the runner decide by these rows and by nothing
else. To wait longer after a 429, change a number here.

Which HTTP status becomes which error is decided in :mod:`taggerd.inference.statuses`. How many
attempts a photo has is a setting, ``queue.max_attempts``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import ModuleType
from typing import TYPE_CHECKING, Literal

from taggerd.errors import (
    AnswerCut,
    AnswerEmpty,
    AnswerError,
    AnswerNotJson,
    AnswerRejected,
    ArchiveError,
    BackendBlind,
    BackendBusy,
    BackendDenied,
    BackendError,
    BackendFailed,
    BackendTimeout,
    BackendUnreachable,
    BudgetSpent,
    BuildChanged,
    ClaimLost,
    FailsOnThisPhoto,
    LedgerDamaged,
    ModelNotFound,
    NotABackend,
    NotProbed,
    PhotoError,
    PhotoMoved,
    PhotoRefused,
    PhotosDiskError,
    PhotosDiskReadOnly,
    PhotoUndecodable,
    PhotoUnreadable,
    ProgramFault,
    SidecarError,
    StartError,
    StorageError,
    TaggerdError,
    WorkerLost,
    WorkerOverMemory,
    WorkerOverTime,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that grow with every failure in a row."""

    first: float
    """Seconds after the first failure."""
    longest: float
    """Seconds at most, however many failures there were."""
    growth: float = 2.0
    jitter: float = 0.0
    """Share of a wait that is added at random, so that several machines do not return at once."""

    def seconds(self, failures: int, *, asked: float = 0.0, chance: float = 0.0) -> float:
        """Return how long to wait.

        Args:
            failures: how many there were in a row, this one included.
            asked: the wait that the server asked for (Retry-After); it is never cut short.
            chance: a random number from 0 to 1, for the jitter.
        """
        # Few enough doublings for a float, whatever the number of failures.
        grown = self.first * self.growth ** min(max(failures - 1, 0), 64)
        return max(asked, min(grown, self.longest)) * (1 + chance * self.jitter)


@dataclass(frozen=True, slots=True)
class Policy:
    """What is done about one kind of error."""

    at_fault: Literal["photo", "backend", "machine", "nobody"]
    costs: Literal["nothing", "an attempt", "every attempt"] = "nothing"
    """What it costs the photo. After "every attempt" it is given up at once: another attempt with
    the same bytes cannot end better."""
    pauses: Literal["", "photo", "endpoint", "folder", "program"] = ""
    """What waits. Empty: nothing, the photo is back in the queue."""
    backoff: Backoff | None = None
    """How long that waits; None: not at all."""
    probe: Literal["", "preflight", "control picture", "photo"] = ""
    """What is tried after the wait to see whether the fault is over. Empty: the work itself."""
    control: bool = False
    """Whether the endpoint is first asked about a control picture, which is known to be good: if it
    fails on that as well, the endpoint is at fault, otherwise the photo."""
    repeats: int = 0
    """How often a request is repeated at once, in another form, before the error counts."""
    tolerated: int | None = None
    """How often one photo may meet this at no cost; after that it costs every attempt. None: any
    number of times."""
    throttles: bool = False
    """Whether the endpoint is sent fewer requests at once from then on, see :data:`CONCURRENCY`."""
    slow: bool = False
    """Whether the photo counts as slow from then on, see :data:`SLOW_ATTEMPTS`."""
    passes: bool = True
    """Whether it may pass by waiting. If not, a scan ends at once; the daemon starts over."""


HOOK = Backoff(5.0, 1800.0, growth=3.0, jitter=0.25)
"""For a webhook that did not take a notice."""

ENDPOINT = Backoff(1.0, 60.0, jitter=0.25)
"""An endpoint that is at fault is probed after 1, 2, 4 … 60 s: an outage of an hour costs it some
sixty probes. Retry-After is honoured, up to :data:`LONGEST_RETRY_AFTER_SECONDS`."""
PHOTO = Backoff(2.0, 300.0)
"""A photo that this machine or the backend cannot work on right now; others go on meanwhile."""
UPSET = Backoff(2.0, 30.0)
"""A photo that met a fault of the whole backend more than once: it comes behind all others. Some
providers deny single pictures with a 403, and a few such photos at the head of the queue would stop
the backend each time that it has recovered, before any other is answered."""
MOST_UPSETS = 10
"""A photo that met such a fault so often, while others ended in between, is given up on."""
DISK = Backoff(5.0, 5.0)
"""A disk that is full or failing: looking costs little, and people wait for it."""
WATCH = Backoff(5.0, 600.0)
"""An import folder that cannot be watched is polled until the next try."""
CONCURRENCY = Backoff(30.0, 600.0)
"""How long a number of requests at once is not tried again after an endpoint could not cope with
it; half as many go on."""

PROGRAM = Backoff(1.0, 60.0)
"""No photo starts after so many in a row met a fault of the program itself: it would meet the same
one, and a queue of ten thousand would turn at full speed."""

ARCHIVE_SECONDS = 600.0
"""How long an archive waits that could not be unpacked for lack of space or permission, or because
another taggerd was unpacking it."""
MOST_CRASHES = 10
"""A photo that was being read at so many crashes of the program in a row is given up on.

Foreign code runs in processes of its own, whose loss costs an attempt. The program itself dies of
power cuts and kills, which are no photo's fault and hit the same few photos again at every start;
but one that cannot be got past must not stop the others for ever.
"""

SLOW_ATTEMPTS = 2
"""A photo that ended a process by time or memory is slow: it has so many attempts in all, and the
next one is made by a process of its own, with more of both, one slow photo after the other. Ten
files that each hold up a process for a minute would hold up every photo behind them otherwise."""

LONGEST_RETRY_AFTER_SECONDS = 24 * 3600.0
"""A Retry-After beyond a day is not believed: a clock is wrong, or nobody means it."""
SCAN_TIMEOUT_SECONDS = 300.0
"""How long a scan waits, with no photo done, for a backend that went away or a disk that is full.
The daemon waits for ever."""

_BACKEND = Policy("backend", pauses="endpoint", backoff=ENDPOINT, probe="preflight")

POLICIES: Mapping[type[TaggerdError], Policy] = {
    # The photo's fault.
    PhotoError: Policy("photo", "an attempt"),
    PhotoUnreadable: Policy("photo", "an attempt"),
    PhotoUndecodable: Policy("photo", "every attempt"),
    PhotoRefused: Policy("photo", "an attempt", control=True),
    WorkerLost: Policy("photo", "an attempt"),
    WorkerOverTime: Policy("photo", "an attempt", slow=True),
    WorkerOverMemory: Policy("photo", "an attempt", slow=True),
    AnswerError: Policy("photo", "an attempt", repeats=1),
    AnswerEmpty: Policy("photo", "an attempt", repeats=1, control=True),
    AnswerCut: Policy("photo", "an attempt", repeats=1, control=True),
    AnswerNotJson: Policy("photo", "an attempt", repeats=1),
    AnswerRejected: Policy("photo", "an attempt", repeats=1),
    SidecarError: Policy("photo", "every attempt"),
    ArchiveError: Policy("photo", "every attempt"),
    # Nobody's fault: the photo has to settle again.
    PhotoMoved: Policy("nobody"),
    # Nobody's fault: the other program ends the claim.
    ClaimLost: Policy("nobody"),
    # The backend's fault: photos wait for it and pay nothing.
    BackendError: _BACKEND,
    BackendUnreachable: replace(_BACKEND, control=True),
    BackendTimeout: replace(_BACKEND, control=True, throttles=True),
    BackendFailed: replace(_BACKEND, control=True),
    BackendBusy: replace(_BACKEND, probe="control picture", throttles=True),
    BackendDenied: _BACKEND,
    ModelNotFound: _BACKEND,
    NotABackend: _BACKEND,
    BackendBlind: _BACKEND,
    NotProbed: replace(_BACKEND, backoff=None),
    # A scan ends; the daemon starts nothing until tomorrow.
    BudgetSpent: replace(_BACKEND, backoff=None, passes=False),
    # The backend's, or the photo's: some servers answer one that they cannot read with a 500.
    FailsOnThisPhoto: Policy("backend", pauses="photo", backoff=PHOTO, tolerated=2),
    # This machine's fault.
    StartError: Policy("machine", pauses="photo", backoff=PHOTO),
    StorageError: Policy("machine", pauses="program", backoff=DISK),
    PhotosDiskError: Policy("machine", pauses="folder", backoff=DISK, probe="photo"),
    # Somebody has to remount it: a scan does not wait, the daemon does.
    PhotosDiskReadOnly: Policy("machine", pauses="folder", backoff=DISK, probe="photo"),
    LedgerDamaged: Policy("machine", pauses="program", backoff=DISK, passes=False),
    # The program's own fault: half of an upgrade, a damaged installation, a defect.
    ProgramFault: Policy("machine", pauses="photo", backoff=PHOTO),
    BuildChanged: Policy("machine", pauses="program", backoff=DISK, passes=False),
}


def policy_of(error: BaseException | type[BaseException]) -> Policy:
    """Return what is done about *error*; an unexpected one is the photo's fault."""
    kind = error if isinstance(error, type) else type(error)
    return next((POLICIES[base] for base in kind.__mro__ if base in POLICIES), POLICIES[PhotoError])


def is_of_the_program(error: BaseException) -> bool:
    """Say whether *error* shows that our own code cannot be loaded, or does not fit together.

    Not every AttributeError does: where a library's value, or None, lacks an attribute, the bytes
    of one photo may have led there.
    """
    if isinstance(error, AttributeError):
        holder = error.obj
        kind = holder if isinstance(holder, type) else type(holder)
        return isinstance(holder, type | ModuleType) or str(kind.__module__).startswith("taggerd.")
    if isinstance(error, UnboundLocalError):
        return False
    return isinstance(error, ImportError | NameError | SyntaxError | ProgramFault)
