"""What arrivals need from the rest of the program, and what they report about themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, ParamSpec, Protocol, TypeAlias, TypeVar

from taggerd.retry import WATCH, Backoff

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    from taggerd.arrivals.walk import Row
    from taggerd.photo import PhotoFile, Stamp

    Admit: TypeAlias = Callable[[Sequence[PhotoFile]], Awaitable[None]]
    """Takes settled files into the queue; they are safe there once it returns."""

P = ParamSpec("P")
T = TypeVar("T")
Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"


class FileState(Protocol):
    """The state of one file."""

    @property
    def state(self) -> str:
        """``"new"`` or ``"changed"`` where it is not on record as it is."""


class Record(Protocol):
    """The part of the ledger that arrivals use."""

    async def known(self, folder: Path) -> dict[Path, Stamp]:
        """Return the files on record in *folder* itself, with their stamps."""

    async def stamps(self, folders: Sequence[Path]) -> Sequence[AbstractSet[Row]]:
        """Return the same for many folders at once, as rows.

        Cheaper than :meth:`known`: a walk that finds nothing new costs little more than reading
        the folders.
        """

    async def file_states(self, files: Sequence[PhotoFile]) -> Mapping[Path, FileState]:
        """Return the state of each of *files*."""

    async def folders(self, below: Path) -> Sequence[Path]:
        """Return the folders with known files: *below* and those under it."""

    async def missing(
        self, below: Path, paths: Collection[Path], *, grace_seconds: float
    ) -> Sequence[Path]:
        """Note that of the files below *below* just *paths* are missing; return the forgotten."""

    async def note(self, key: str, value: Json, *, here: bool = False) -> None:
        """Keep *value* under *key*; *here*: for this host alone."""

    async def recall(self, key: str, *, here: bool = False) -> Json:
        """Return what was noted under *key*; None if nothing was. *here*: as in :meth:`note`."""


class KnownFiles(Protocol):
    """What needs nothing: photos on record, and archives that were unpacked or refused."""

    async def known(self, folder: Path) -> dict[Path, Stamp]:
        """Return the files known in *folder* itself, with their stamps."""

    async def stamps(self, folders: Sequence[Path]) -> Sequence[AbstractSet[Row]]:
        """Return the same for many folders at once, as rows."""

    async def unknown(self, files: Sequence[PhotoFile]) -> list[PhotoFile]:
        """Return those of *files* that are not known as they are."""


class Workers(Protocol):
    """Runs functions over untrusted bytes in processes of their own."""

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call *function* in a process and return what it returns, or raise what it raises."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How often things are checked, seconds."""

    probe: float = 3.0
    """Between two probes of a root that is offline, or about which something is wrong."""
    quiet: float = 4.0
    """How many times as rare probes are while nothing is wrong with a root."""
    gather: float = 0.02
    """For which events are gathered, so that a burst is handled in one go."""
    hung: float = 30.0
    """After which a file system counts as not answering."""
    start: float = 15.0
    """After which a root that has not answered yet, nor got another watch, no longer delays the
    start."""
    retry: Backoff = WATCH
    """Before something that failed is tried again."""
    rewatch: float = 60.0
    """Between two rebuilds of a watch that is only suspected to have lost track."""


class Pulse(NamedTuple):
    """How one import folder's task moves."""

    path: Path
    seconds: float
    """Since its loop came round; 0 while it waits to be started again."""
    thread: int
    """Native id of the thread that it waits for; 0: it waits for none."""


@dataclass(frozen=True, slots=True)
class RootHealth:
    """How one import folder is doing."""

    path: Path
    mode: Literal["inotify", "poll"]
    """In use."""
    state: Literal["watching", "polling", "degraded", "offline", "elsewhere"]
    """``elsewhere``: another host watches it."""
    detail: str
    """One line, or nothing."""
    directories: int
    """At the last whole walk."""
    watches: int
    last_reconcile: float | None
    """When the last whole walk ended, seconds since the epoch."""
    read_only: str = ""
    """Why no sidecar can be written there; empty if one can, or if that is not known."""
    reconciles: int = 0
    """Whole walks that have ended."""
    overflows: int = 0
    """How often the kernel dropped events, and a walk took their part."""


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What a watched root works with."""

    record: Record
    known: KnownFiles
    """The photos on record, and the archives."""
    admit: Admit
    expect: Callable[[int], None]
    """Called while files settle, with their number."""
    report: Callable[[RootHealth], None]
    """Called with a root's health after each probe."""
    own_folders: Sequence[Path]
    """Folders that taggerd writes into: the pictures in them are its own."""
    timing: Timing
