"""Everything that can go wrong, as one tree.

::

    TaggerdError
    ├── ConfigurationError          bad switch, setting or folder               exit 2
    ├── StartError                  the state cannot be used (locked, not ours) exit 2
    │   ├── RootInUse               another running taggerd has the import folder
    │   └── HostInUse               another living host has this one's name
    ├── PhotoError                  this photo's own fault: costs an attempt
    │   ├── PhotoUnreadable         permission, I/O error on its bytes
    │   ├── PhotoUndecodable        not a picture, truncated, too large         (final)
    │   ├── PhotoRefused            the backend refuses this picture (400, 413, 415, 422)
    │   ├── WorkerLost              the process that read it died
    │   │   ├── WorkerOverTime      … it took longer than it may
    │   │   └── WorkerOverMemory    … it needed more memory than it may have
    │   └── AnswerError             the model answered, but not usably
    │       ├── AnswerEmpty         200 with nothing in it
    │       ├── AnswerCut           finish_reason "length"
    │       ├── AnswerNotJson       JSON was asked, something else came
    │       └── AnswerRejected      a refusal, an echo, digits, control characters
    ├── PhotoMoved                  nobody's fault: it changed, or it is gone
    │   ├── PhotoChanged            grew or was replaced since it settled: settle again
    │   └── PhotoGone               no longer there
    ├── ClaimLost                   nobody's fault: this program was taken for dead, another has it
    ├── BackendError                the backend's fault: never costs a photo anything   exit 3
    │   ├── BackendUnreachable      connection refused, reset, name not found
    │   ├── BackendTimeout          no answer in time, or 408
    │   ├── BackendBusy             429 or 503, with the time to wait if it said so
    │   ├── BackendFailed           any other 5xx, an error in a 200, half an answer
    │   ├── BackendDenied           401 or 403: the key
    │   ├── ModelNotFound           the model is not served
    │   ├── NotABackend             HTML, or JSON of another kind
    │   ├── BackendBlind            it answers, but does not see the picture
    │   ├── NotProbed               nobody has looked yet whether it works
    │   ├── BudgetSpent             backend.budget_per_day is spent: asked again tomorrow
    │   └── FailsOnThisPhoto        it fails on one photo and answers others
    ├── ProgramFault                taggerd's own code is at fault, or cannot be loaded
    │   └── BuildChanged            its files are another version's: start it again     exit 75
    ├── SidecarError                a sidecar was not written; the answers are kept
    │   ├── SidecarRefused          the one that exists cannot be understood safely
    │   ├── SidecarChanged          somebody else wrote it at the same moment
    │   └── SidecarUnwritable       read-only folder or file, permission
    ├── Conflict                    two people changed one text; the first one's stands
    ├── ArchiveError                an archive is not unpacked: damaged, encrypted, too large
    └── StorageError                disk full or failing: work pauses, nothing is charged
        ├── PhotosDiskError         the photos' own disk: only what lies on it waits
        │   └── PhotosDiskReadOnly  it is mounted read-only: a scan does not wait for it
        ├── LedgerAway              its server cannot be reached or used now; it comes back   exit 2
        └── LedgerDamaged           it has to be opened again, which quarantines it

A message is one line: what, where, what to do. The first line of a class's docstring is the message
when none is given. Which exit code an error means is its ``exit_code``; :mod:`taggerd.retry` says
what it costs a photo and how long to wait.
"""

from __future__ import annotations

from typing import ClassVar


class TaggerdError(Exception):
    """Something went wrong."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str | None = None) -> None:
        """Keep *message*, or the class's own first line."""
        super().__init__(message or (self.__doc__ or "").splitlines()[0])


class ConfigurationError(TaggerdError):
    """A setting, switch or folder cannot be used as given."""

    exit_code = 2


class StartError(TaggerdError):
    """The state directory cannot be used."""

    exit_code = 2


class RootInUse(StartError):
    """Another running taggerd has the import folder."""


class HostInUse(StartError):
    """Another living host has this name."""


class PhotoError(TaggerdError):
    """This photo cannot be tagged."""


class PhotoUnreadable(PhotoError):
    """The photo's bytes cannot be read."""


class PhotoUndecodable(PhotoError):
    """The file is not a picture that can be decoded."""


class PhotoRefused(PhotoError):
    """The backend refuses this picture."""


class WorkerLost(PhotoError):
    """The process that read this photo was lost."""


class WorkerOverTime(WorkerLost):
    """The process that read this photo took too long."""


class WorkerOverMemory(WorkerLost):
    """The process that read this photo needed too much memory."""


class AnswerError(PhotoError):
    """The model's answer cannot be used.

    ``raw`` is what the model said, for the record, and ``role`` what it was asked as.
    """

    def __init__(self, message: str | None = None, *, raw: str = "", role: str = "") -> None:
        """Keep *message* and the *raw* answer in a *role*."""
        super().__init__(message)
        self.raw = raw
        self.role = role


class AnswerEmpty(AnswerError):
    """The model answered with nothing."""


class AnswerCut(AnswerError):
    """The model's answer was cut at its token limit."""


class AnswerNotJson(AnswerError):
    """The model was asked for JSON and answered something else."""


class AnswerRejected(AnswerError):
    """The model's answer looks wrong and was rejected."""


class PhotoMoved(TaggerdError):
    """The photo is not what it was when it settled."""


class PhotoChanged(PhotoMoved):
    """The photo changed since it settled."""


class PhotoGone(PhotoMoved):
    """The photo is gone."""


class ClaimLost(TaggerdError):
    """Another program works on this photo now: nothing was heard of this one for too long."""


class BackendError(TaggerdError):
    """The backend cannot be used.

    ``retry_after_seconds`` is how long the backend asked to be left alone, where it said so.
    ``asked`` is False where the backend was at fault before it was asked about the photo at hand.
    """

    exit_code = 3

    def __init__(
        self,
        message: str | None = None,
        *,
        retry_after_seconds: float | None = None,
        asked: bool = True,
    ) -> None:
        """Keep *message*, the wait the backend asked for, and whether it was asked."""
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
        self.asked = asked


class BackendUnreachable(BackendError):
    """The backend cannot be reached."""


class BackendTimeout(BackendError):
    """The backend did not answer in time."""


class BackendBusy(BackendError):
    """The backend is busy."""


class BackendFailed(BackendError):
    """The backend failed."""


class BackendDenied(BackendError):
    """The backend refuses the API key."""


class ModelNotFound(BackendError):
    """The backend does not serve this model."""


class NotABackend(BackendError):
    """What answers there is not an OpenAI-compatible API."""


class BackendBlind(BackendError):
    """The model answers but does not see pictures."""


class NotProbed(BackendError):
    """The backend has not answered its first probe yet."""


class BudgetSpent(BackendError):
    """Today's budget for requests is spent."""


class FailsOnThisPhoto(BackendError):
    """The backend fails on this photo and answers others."""


class ProgramFault(TaggerdError):
    """A part of taggerd itself cannot be loaded or called."""


class BuildChanged(ProgramFault):
    """The files of taggerd were replaced while it ran: start it again."""

    exit_code = 75
    """EX_TEMPFAIL of sysexits.h; a service manager starts the service again."""


class SidecarError(TaggerdError):
    """The sidecar was not written."""


class SidecarRefused(SidecarError):
    """The existing sidecar cannot be merged safely."""


class SidecarChanged(SidecarError):
    """The sidecar was changed by another program at the same moment."""


class SidecarUnwritable(SidecarError):
    """The sidecar cannot be written there."""


class Conflict(TaggerdError):
    """Somebody else changed this text meanwhile.

    ``field`` is ``"caption"`` or ``"description"``, ``seen`` what the person saw, and ``now`` what
    is there.
    """

    def __init__(
        self, message: str | None = None, *, field: str = "", seen: str = "", now: str = ""
    ) -> None:
        """Keep *message*, and both texts of the *field*."""
        super().__init__(message)
        self.field = field
        self.seen = seen
        self.now = now


class ArchiveError(TaggerdError):
    """The archive cannot be unpacked."""


class StorageError(TaggerdError):
    """The disk is full or failing."""


class PhotosDiskError(StorageError):
    """The disk that the photos lie on is full, read-only or failing."""


class PhotosDiskReadOnly(PhotosDiskError):
    """The disk that the photos lie on is read-only."""


class LedgerInUse(StorageError):
    """An older taggerd uses the ledger, which has to be migrated first."""

    exit_code = 2


class LedgerAway(StorageError):
    """The ledger's database server cannot be used now."""

    exit_code = 2


class LedgerDamaged(StorageError):
    """The ledger's database is damaged."""
