"""What the ledger promises: its values, and the port that every implementation keeps.

A photo moves ``queued → claimed → answered → written → recorded``. Each step is idempotent and
committed when its coroutine returns, so a kill at any instant resumes at the same step. A claim
belongs to one owner (a running taggerd); several owners may share a ledger, on one host or many.

A path and a stamp are only valid on the host of the owner that names them. An implementation that
several hosts share keeps the host with each file, gives its photo only to owners on that host, and
answers every question about files for the asking owner's host; only digests, and with them the
answers, are valid everywhere. Times come from the owners' clocks, which are assumed to agree.

Times are seconds since the epoch. Every coroutine may raise
:class:`~taggerd.errors.StorageError` (disk full or failing): then nothing of that call has
happened, and it may be repeated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    from taggerd.ledger.fleet import Fleet
    from taggerd.photo import Answer, Notice, Photo, PhotoFile, Sidecar, Spending, Stamp, Usage

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
"""A value that JSON can say."""

State = Literal[
    "new", "changed", "queued", "claimed", "recorded", "unwritten", "held", "undone", "dropped",
    "quarantined",
]  # fmt: skip
"""State of a file: not known; known with another stamp; waiting; being worked on; tagged; tagged
but without sidecars (``--no-meta``, or they could not be written); answered, and waiting until
somebody accepts that; tagged, and its sidecars undone on request; its answers not accepted; given
up on."""


HERE = ("archives in ", "arrivals.release")
"""How the keys of notes begin that name paths of one host: each host has its own."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """How many of the admitted files were what; the four add up to their number."""

    new: int = 0
    changed: int = 0
    requeued: int = 0
    """Unchanged, but their photo is queued again."""
    unchanged: int = 0

    def __add__(self, other: Admitted) -> Admitted:
        """Add up two batches."""
        return Admitted(
            self.new + other.new,
            self.changed + other.changed,
            self.requeued + other.requeued,
            self.unchanged + other.unchanged,
        )


@dataclass(frozen=True, slots=True)
class FileState:
    """The state of one file."""

    state: State
    reason: str = ""
    """Why its photo failed last; empty if it did not."""
    since: float = 0.0
    """0 for ``"new"``."""
    asked_as: str = ""
    """Which questions its photo failed over, as given to :class:`Failed`."""


class PhotoState(NamedTuple):
    """The state of one photo, whatever has happened to its files since they were admitted."""

    photo: Photo
    state: FileState
    digest: str
    """Of the file that was read last; empty: none was."""
    id: int
    """Grows with each photo that is admitted."""


class Rewritten(NamedTuple):
    """A photo file that taggerd itself changed."""

    path: Path
    before: Stamp
    after: Stamp


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A photo that this owner alone may work on until it calls :meth:`Ledger.end`."""

    id: int
    photo: Photo
    attempt: int
    """Number of this attempt, from 1, already charged; if ``exhausted``, how many there were."""
    run: str
    """The run that claimed it, as given to :meth:`Ledger.claim`."""
    token: str
    """Unique for each claim of a photo."""
    digest: str = ""
    """Digest of the file that was read when it was last tagged; empty if it never was."""
    recorded: bool = False
    """It was tagged and recorded before, with ``digest``."""
    changed: bool = False
    """A file of it changed since ``digest`` was taken. While False, the answers held for ``digest``
    belong to this photo, even if another of its files is now read first (a JPEG joined its raw)."""
    asked_again_since: float | None = None
    """Somebody asked for new answers: those held from before this time do not count."""
    exhausted: str = ""
    """Why it must not be read again; empty if it may. Its attempts are used up, or the program
    crashed too often while reading it: end the claim as :class:`Failed`, with this reason."""
    slow: bool = False
    """Its bytes ended a process by time or memory before."""
    accepted: tuple[Answer, ...] = ()
    """Answers that somebody has accepted: these are written, and nothing is asked. None if it is to
    be asked about again."""
    sidecars: Mapping[Path, str] = field(default_factory=dict)
    """The sidecars last written for it, with the digest of their bytes."""


@dataclass(frozen=True, slots=True)
class Held:
    """An answer that was paid for."""

    answer: Answer
    at: float


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A journal line that waits for delivery."""

    id: str
    """The record's id; the same id is kept once."""
    day: str
    """Local day it belongs to, ``"2025-06-30"``."""
    line: str
    """JSON without its line end."""
    stream: str = ""
    """Where it goes: empty for the journal, else a name that its reader asks for."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The photo is tagged, and its record waits for the journal."""

    digest: str
    record: Outgoing | None = None
    """None: it turned out to be tagged already."""
    sidecars_written: bool = True
    held: tuple[Answer, ...] = ()
    """These wait until somebody accepts them (:meth:`Ledger.accept`); the sidecars still hold what
    they held before."""


@dataclass(frozen=True, slots=True)
class Released:
    """The photo is queued again, uncharged, but not for the run that releases it."""

    record: Outgoing | None = None


@dataclass(frozen=True, slots=True)
class Deferred:
    """The photo is queued again, uncharged: the backend or a disk was at fault."""

    reason: str = ""
    until: float = 0.0
    """Not to be claimed before."""


@dataclass(frozen=True, slots=True)
class Moved:
    """The photo's files changed or are gone: they are forgotten until they are admitted again.

    If they were admitted with a new stamp meanwhile, the photo is queued instead.
    """


@dataclass(frozen=True, slots=True)
class Failed:
    """The photo is queued again, or quarantined if *final* or if its attempts are used up."""

    reason: str
    final: bool = False
    asked_as: str = ""
    """Which questions it failed over; empty if no other questions could help."""
    for_sidecars: bool = False
    """Only its sidecars failed: the next :meth:`Ledger.admit` that wants them queues it again."""
    slow: bool = False
    """Its bytes ended a process by time or memory: it has :data:`taggerd.retry.SLOW_ATTEMPTS`, and
    counts as slow until a file of it changes."""
    record: Outgoing | None = None
    """Journalled only if the photo is quarantined."""


Ending: TypeAlias = "Finished | Released | Deferred | Moved | Failed"
"""How a claim ends."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How many photos are in which state; no photo counts twice."""

    queued: int = 0
    claimed: int = 0
    recorded: int = 0
    """Tagged, sidecars written."""
    unwritten: int = 0
    """Tagged, sidecars not written."""
    held: int = 0
    """Answered, waiting until somebody accepts that."""
    quarantined: int = 0


@dataclass(frozen=True, slots=True)
class Pause:
    """Somebody paused the service."""

    reason: str
    since: float
    until: float | None
    """None: until it is resumed."""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A photo that was given up on."""

    photo: Photo
    reason: str
    since: float


CorrectionKind = Literal[
    "edited", "dropped", "added", "renamed", "accepted", "rejected", "retagged"
]
"""What a person did: gave a text other words, took a keyword away, gave one, gave one another name;
said that the words are good, that none is, or asked for others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """What a person did with the words of one photo: with one text, one keyword, or all of them."""

    photo: Path
    """The file of it that is read."""
    kind: CorrectionKind
    field: str = ""
    """``"caption"``, ``"description"``, ``"keywords"``; empty: all words."""
    before: str = ""
    after: str = ""
    model: str = ""
    """That wrote what was *before*; empty: a human did, or nothing was."""
    who: str = ""
    """Who says so."""
    action: str = ""
    """What was done in one step, and is undone in one."""
    undo: str = ""
    """What brings it back, as the review says it."""
    at: float = 0.0
    undone_at: float | None = None
    """None: it stands."""
    id: int = 0
    """Set by the ledger: grows with each that is kept, and with each that is undone."""


@dataclass(frozen=True, slots=True)
class HeldPhoto:
    """A photo whose answers wait until somebody accepts them."""

    photo: Photo
    answers: tuple[Answer, ...]
    since: float


class Waiting(NamedTuple):
    """What is left for a run to do."""

    due: float | None
    """When something can be claimed next; a time in the past means now. None: nothing is queued, or
    the service is paused without an end."""
    nothing_left: bool
    """Nothing is queued, paused or not, and this owner holds no claim."""


class Ledger(Protocol):
    """The durable queue.

    ``within`` is a sequence of absolute paths: it selects the photos in and below these folders,
    and the photos that have one of these files. A claim that is no longer held (it was ended, or
    its owner was taken for dead) can be ended again without any effect.
    """

    @property
    def fleet(self) -> Fleet | None:
        """The hosts that share this ledger; None: only this one has it."""

    # Files.

    async def admit(
        self,
        files: Iterable[PhotoFile],
        *,
        again: bool = False,
        sidecars: bool = True,
        run: str | None = None,
    ) -> Admitted:
        """Queue the photos that the settled *files* make, as `taggerd.photo.group` groups them.

        New and changed files queue their photo, with no attempts charged and out of quarantine; a
        file that joins a tagged photo queues it with its digest. An unchanged photo keeps its
        state, except that *again* queues a tagged photo to be asked about again, and *sidecars*
        queues one whose sidecars were never written, unless it is held. A photo that is claimed is
        queued when its claim ends. Admitting twice is the same as admitting once. *run* marks the
        photos as requested by that run, which can then claim them alone; if it ends before they
        were asked about *again*, they count as tagged again.
        """

    async def file_states(self, files: Iterable[PhotoFile]) -> Mapping[Path, FileState]:
        """Return the state of each of *files*."""

    async def known(self, folder: Path) -> dict[Path, Stamp]:
        """Return the files known in *folder* itself, with the stamps they were admitted with."""

    async def stamps(
        self, folders: Sequence[Path]
    ) -> Sequence[AbstractSet[tuple[bytes, int, int, int, int]]]:
        """Return what is known in each of *folders*: name, size, mtime_ns, inode, device.

        Like :meth:`known`, but cheap for many folders. A stamp with a number beyond 64 signed bits
        may be missing, or equal no stamp: check with :meth:`file_states`.
        """

    async def folders(self, below: Path) -> list[Path]:
        """Return the folders with known files, *below* and those under it, ordered by path."""

    async def missing(
        self, below: Path, paths: Collection[Path], *, grace_seconds: float
    ) -> list[Path]:
        """Note that of the known files in and below *below* only *paths* are not on the disk.

        Files that have been missing at every call for *grace_seconds* are forgotten and returned,
        and so are photos that have no file left; answers are kept. A file that came back in between
        starts over.
        """

    async def relocated(self, moved: Mapping[Path, PhotoFile | None]) -> None:
        """Know the files of one photo, which were moved, by their new path and stamp.

        The photo keeps its state, and what people did to it. It is let go, with its answers kept,
        where a file's new path is None, where the new path is known already, or if it has a file
        that was not moved.
        """

    async def mark_undone(self, files: Iterable[Path], rewritten: Iterable[Rewritten] = ()) -> int:
        """Note that the tags of the photos of *files* were undone.

        Such a photo counts as unwritten and is left alone: :meth:`admit` queues it only if it
        changed or is to be asked about again, :meth:`retry` only if it is named. Queued and claimed
        photos keep their state. *rewritten* files are known by their new stamp, unless somebody
        else changed them too. Returns how many photos counted as written until now.
        """

    # Claims.

    async def claim(  # noqa: PLR0913 - all by name but one
        self,
        limit: int,
        *,
        within: Sequence[Path] | None,
        run: str,
        now: float,
        ignore_pause: bool = False,
        slow: bool | None = None,
    ) -> list[Claim]:
        """Claim up to *limit* photos, in the order of the queue, and charge each an attempt.

        Those that were deferred until some time, which is over now, come behind the others; of
        them, the one whose time came first.

        With *within* None, those that *run* requested when it admitted them. With *slow* only
        those that are slow, or only those that are not.

        Photos deferred beyond *now* and photos that this *run* released are left out. A photo that
        was deferred at a time still to come is due: the clock was set back since. A photo that was
        being read at ten crashes of the program in a row is returned as ``exhausted``.

        Fewer may come than are left, while other hosts claim: :meth:`waiting` says whether any are.

        During a pause nothing is claimed *within* folders unless *ignore_pause*; what a run
        requested itself is, because somebody wants exactly these photos now.
        """

    async def decoded(self, claim: Claim, digest: str) -> list[Held]:
        """Note that the photo's bytes were read without harm; return what :meth:`answers` does.

        If the program crashes later in this claim, the photo is not charged for it.
        """

    async def answers(self, digest: str) -> list[Held]:
        """Return the answers held for *digest*, oldest first."""

    async def checkpoint(
        self, claim: Claim, digest: str, *answers: Answer, spent: Spending | None = None
    ) -> None:
        """Keep paid *answers* for *digest*; a later one to the same question replaces it.

        Its time is kept to the millisecond at least, and never rounded down. What was *spent* is
        added in the same step, as :meth:`spend` does.
        """

    async def holds(self, claim: Claim) -> bool:
        """Say whether *claim* is still held; to be asked before anything of the user's is written.

        Where several hosts share the ledger this is a sign of life as well: nobody else gets the
        photo in the next seconds.
        """

    async def lost(self, claim: Claim) -> bool:
        """Say whether another owner may have the photo by now; to be asked before each request.

        Asks nobody while that cannot be: where owners share one host, or this one gave a sign of
        life in the last seconds.
        """

    async def written(self, claim: Claim, digest: str, sidecars: Iterable[Sidecar]) -> None:
        """Keep which *sidecars* now hold the tags of *digest*.

        A file of the photo that tags were embedded into is known by its new stamp from now on.
        """

    async def end(self, claim: Claim, ending: Ending) -> bool:
        """End *claim*, in one step with putting the ending's record into the outbox.

        Returns whether it ended like this: False if the claim was not held any more, and for
        :class:`Failed` if the photo is queued for another attempt. The record is dropped then.
        """

    # The journal's outbox.

    async def outbox(self, limit: int, stream: str = "") -> list[Outgoing]:
        """Return the oldest undelivered lines of *stream*.

        A line is lent to one owner at a time, and returned to it again until it is
        :meth:`delivered`, so that two programs never both write it.
        """

    async def all_delivered(self) -> bool:
        """Say whether no line of the journal waits, whoever it is lent to. Lends none."""

    async def delivered(self, ids: Iterable[str], notices: Iterable[Notice] = ()) -> None:
        """Remove lines that are safely in the journal, and keep *notices* of them in one step."""

    # Notices for hooks.

    async def serve_notices(self) -> bool:
        """Say whether this owner is the one that delivers notices, from now until it ends.

        False while another does, which may be asked again.
        """

    async def notify(
        self,
        notices: Iterable[Notice],
        *,
        done: Iterable[Notice] = (),
        notes: Mapping[str, Json] | None = None,
    ) -> None:
        """Keep *notices*, remove those that are *done*, and :meth:`note` *notes*, in one step.

        A notice whose hook and id are known already is kept once.
        """

    async def due_notices(self, hook: str, limit: int, now: float) -> list[Notice]:
        """Return the oldest notices for *hook* that are not deferred beyond *now*.

        One that was made at a time still to come is due: the clock was set back since.
        """

    async def next_notice(self, hook: str) -> float | None:
        """Return when the next notice for *hook* is due; None: there is none."""

    async def defer_notice(self, notice: Notice, until: float) -> None:
        """Count an attempt at *notice*, and defer it *until* then."""

    async def drop_notices(self, hook: str, *, before: float, keep: int) -> int:
        """Drop the notices for *hook* that were made *before*, and all but the latest *keep*.

        Returns how many were dropped.
        """

    def stamp(self) -> object:
        """Return what differs once anybody has changed anything; wakes no thread."""

    @property
    def troubles(self) -> Mapping[Path, str]:
        """What a person has to put right with import folders, by the folder; one line each.

        Their names among several hosts; a folder that shows another tree than theirs.
        """

    async def unusable(self) -> Collection[Path]:
        """Return the import folders of which other hosts see more than this one does now.

        They show another tree here than there, or are out of sight: another host is to watch them.
        """

    async def ping(self) -> int:
        """Return the native id of the thread that does the work, once it has time for that."""

    # Answers that wait until somebody accepts them.

    async def held(
        self, limit: int, within: Sequence[Path] | None = None, *, unwritten: bool = False
    ) -> list[HeldPhoto]:
        """List photos that are held, longest first; *limit* below 0: all.

        With *unwritten* also those that were accepted, and are not written yet.
        """

    async def accept(
        self,
        within: Sequence[Path] | None,
        *,
        before: float = math.inf,
        run: str | None = None,
    ) -> int:
        """Queue held photos with their answers accepted, all or *within*; return how many.

        Only those held since *before* or longer. Such a photo is claimed with ``accepted``, until
        they are written, a file of it changes, or it is asked about again. *run*: as in
        :meth:`admit`; it is given those that were accepted before, and are still queued, as well.
        """

    async def drop_held(self, within: Sequence[Path] | None, *, before: float = math.inf) -> int:
        """Let go of the answers of held photos, chosen as in :meth:`accept`; return how many.

        Such a photo is left alone like one that was undone (:meth:`mark_undone`), unless its
        sidecars hold earlier tags: then it is tagged as it was. Its answers can be recalled.
        """

    # The queue as a whole.

    async def counts(self, within: Sequence[Path] | None = None) -> Counts:
        """Count photos; *within* None: all."""

    async def oldest_queued(self) -> float | None:
        """Return when the photo that waits longest was queued; None while none waits."""

    async def quarantined(
        self, limit: int, within: Sequence[Path] | None = None
    ) -> list[Quarantined]:
        """List photos in quarantine, latest first."""

    async def retry(
        self,
        within: Sequence[Path] | None,
        *,
        failed: bool = False,
        unless_asked_as: str = "",
    ) -> int:
        """Queue photos in quarantine again, all or *within*; return how many.

        *Within* also those that were undone (:meth:`mark_undone`) or dropped: they were named. With
        *failed* not those, but every photo that failed in any way: also those that wait for another
        attempt or are deferred, and those recorded without their sidecars. With *unless_asked_as*
        only those in quarantine that failed over other questions.
        """

    async def waiting(
        self, within: Sequence[Path] | None, run: str, *, slow: bool | None = None
    ) -> Waiting:
        """Return what is left for *run* to claim, with *within* and *slow* as in :meth:`claim`."""

    async def pause(self, pause: Pause | None) -> None:
        """Pause the service, for all owners (see :meth:`claim`), or resume it; the last call wins.

        Claims that are held are finished. A pause outlives restarts and ends at its ``until``.
        """

    async def paused(self, now: float) -> Pause | None:
        """Return the pause that holds at *now*, if there is one."""

    async def recover(self) -> int:
        """Queue what dead owners had claimed, uncharged; return how many photos.

        Done when the ledger is opened; to be called every minute or so where owners share it.
        """

    # Small values that other packages need after a restart.

    async def note(self, key: str, value: Json, *, here: bool = False) -> None:
        """Keep *value* under *key*.

        *here*: for this host alone, as it names paths or stamps; the key is one of :data:`HERE`.
        """

    async def recall(self, key: str, *, here: bool = False) -> Json:
        """Return what was noted under *key*; None if nothing was. *here*: as in :meth:`note`."""

    # What people did with tagged photos.

    async def correct(self, corrections: Iterable[Correction]) -> None:
        """Keep *corrections*, all or none; the ledger sets their ``at`` where it is 0."""

    async def corrections(
        self,
        *,
        after: int = 0,
        limit: int = 1000,
        kind: CorrectionKind | None = None,
        undone: bool = False,
    ) -> list[Correction]:
        """Return what was done to any photo, oldest first, from the id *after* on.

        Without what was *undone* since. With it, whoever asks on from the last id that it saw hears
        of everything once, and of what was undone once more, as it then is.
        """

    async def corrections_of(self, photo: Path) -> list[Correction]:
        """Return all that was ever done to *photo*, oldest first, also what was undone."""

    async def undo_corrections(self, action: str) -> int:
        """Note that *action* was undone; return how many corrections stood until now."""

    # What was asked of backends.

    async def spend(self, day: str, model: str, usage: Usage) -> None:
        """Add *usage* of *model* to what was spent on a local *day*, ``"2025-06-30"``."""

    async def spent(self, day: str) -> Mapping[str, Usage]:
        """Return what all owners spent on a local *day*, by model."""

    async def close(self) -> None:
        """Queue this owner's claims, uncharged, and close. May be called more than once."""
