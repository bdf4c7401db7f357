"""What the ledger promises: its nouns, and the port that every implementation keeps.

A photo moves ``queued → claimed → answered → written → recorded``. Each step is idempotent and
committed when its coroutine returns, so a kill at any instant resumes at the same step. A claim
belongs to one owner (a running taggerd); several owners may share a ledger, on one host or many.

A path and a stamp mean what they mean on the host of the owner that names them. An implementation
that hosts share keeps with each file whose it is, gives its photo to owners of that host alone, and
answers every question about files for the asking owner's host; only a digest means the same
everywhere, and with it the answers. Times come from the owners' clocks, which are taken to agree.

Times are seconds since the epoch. Every coroutine may raise
:class:`~taggerd.errors.StorageError` (disk full or failing): nothing of that call has happened
then, and it may be made again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    from taggerd.photo import Answer, Photo, PhotoFile, Sidecar, Stamp

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
"""A value that JSON can say."""

State = Literal[
    "new", "changed", "queued", "claimed", "recorded", "unwritten", "undone", "quarantined"
]  # fmt: skip
"""How a file stands: not seen before; seen with another stamp; waiting; worked on; tagged; tagged
but for its sidecars (``--no-meta``, or they could not be written); tagged, and its sidecars taken
back on request; set aside."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """What became of the files that were admitted; the four sum up to their number."""

    new: int = 0
    changed: int = 0
    requeued: int = 0
    """Unchanged, and their photo waits again all the same."""
    unchanged: int = 0

    def __add__(self, other: Admitted) -> Admitted:
        """Sum up two batches."""
        return Admitted(
            self.new + other.new,
            self.changed + other.changed,
            self.requeued + other.requeued,
            self.unchanged + other.unchanged,
        )


@dataclass(frozen=True, slots=True)
class Standing:
    """How one file stands."""

    state: State
    reason: str = ""
    """Why its photo failed last; empty where it did not."""
    when: float = 0.0
    """Since when; 0 for ``"new"``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A photo that this owner alone may work on until it ends the claim.

    :meth:`Ledger.finish`, ``release``, ``defer``, ``resettle`` and ``fail`` end it.
    """

    id: int
    photo: Photo
    attempt: int
    """This attempt's number, from 1, already charged; of a ``spent`` one, those it had."""
    run: str
    """Who claimed: the run's name as given to :meth:`Ledger.claim`."""
    token: str
    """Makes this claim of the photo different from any other."""
    digest: str = ""
    """Digest of the file that was looked at when it was tagged last; empty if it never was."""
    recorded: bool = False
    """It was tagged and recorded before, with ``digest``."""
    changed: bool = False
    """A file of it changed since ``digest`` was taken. While False, the answers held for ``digest``
    are this photo's, also where another file of it is now the first (a JPEG joined its raw)."""
    anew_since: float | None = None
    """It is to be asked about anew: answers held from before this time do not count."""
    spent: str = ""
    """Why it may not be read any more; empty if it may. Its attempts are used up, or the program
    died too often in reading it: whoever has the claim is to :meth:`Ledger.fail` it with this."""
    sidecars: Mapping[Path, str] = field(default_factory=dict)
    """The sidecars written for it last, with the digest of their bytes."""


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
class Counts:
    """How many photos are in which state; no photo counts twice."""

    queued: int = 0
    claimed: int = 0
    recorded: int = 0
    """Tagged, sidecars written."""
    unwritten: int = 0
    """Tagged, sidecars not written."""
    quarantined: int = 0


@dataclass(frozen=True, slots=True)
class Pause:
    """Somebody wants work to rest."""

    reason: str
    since: float
    until: float | None
    """None: until somebody resumes it."""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A photo that was set aside."""

    photo: Photo
    reason: str
    when: float


class Ledger(Protocol):
    """The durable queue.

    ``within`` is a sequence of absolute paths: photos in and below these folders are meant, and
    photos that have one of these files.
    A claim that is no longer held (ended before, or its owner was taken for dead) ends without
    any effect.
    """

    # What was seen on disk.

    async def admit(
        self,
        files: Iterable[PhotoFile],
        *,
        anew: bool = False,
        sidecars: bool = True,
        run: str | None = None,
    ) -> Admitted:
        """Take settled *files* into the queue, grouped into photos as by `taggerd.photo.group`.

        New and changed files queue their photo, with no attempts charged and out of quarantine; a
        file that joins a tagged photo queues it with its digest. Where nothing changed, the photo
        stays as it is, but for: *anew* queues a tagged photo to be asked about again; *sidecars*
        queues one whose sidecars were never written. A photo that is claimed meanwhile is queued
        again when its claim ends. Admitting twice is admitting once. With *run* the photos are
        marked as asked for by that run, so that it can claim them and no others; where *anew* was
        asked for and the run ends before their turn, they count as tagged again.
        """

    async def standing(self, files: Iterable[PhotoFile]) -> Mapping[Path, Standing]:
        """Say how each of *files* stands, changing nothing."""

    async def known(self, folder: Path) -> dict[Path, Stamp]:
        """Return the files known in *folder* itself, with the stamps they were admitted with."""

    async def stamps(
        self, folders: Sequence[Path]
    ) -> Sequence[AbstractSet[tuple[bytes, int, int, int, int]]]:
        """Return for each of *folders* what is known in it: name, size, mtime_ns, inode, device.

        As :meth:`known`, cheaply and for many folders at once. A stamp with a number beyond 64
        signed bits may be left out, or come in a form that equals no stamp: ask :meth:`known`.
        """

    async def unknown(self, files: Iterable[PhotoFile]) -> list[PhotoFile]:
        """Return those of *files* that are not known, or not as they are: to be admitted."""

    async def folders(self, below: Path) -> list[Path]:
        """Return the folders with known files: *below* and those under it, in order of path."""

    async def forget(self, paths: Iterable[Path]) -> None:
        """Remove files, and photos that have no file left. Answers are kept."""

    async def missing(
        self, below: Path, paths: Collection[Path], *, grace_seconds: float
    ) -> list[Path]:
        """Note that of the known files in and below *below* just *paths* are not on the disk.

        Those that have been missing whenever this was called, for *grace_seconds* or longer, are
        forgotten as by :meth:`forget`, and returned. One that came back in between begins anew.
        """

    # The way of a photo.

    async def claim(
        self,
        limit: int,
        *,
        within: Sequence[Path] | None,
        run: str,
        now: float,
        standing: bool = True,
    ) -> list[Claim]:
        """Claim up to *limit* photos, in the queue's order, and charge each an attempt.

        With *within* None those are meant that *run* asked for when it admitted them.

        Left out are photos deferred beyond *now* and photos that this *run* released. A photo
        that was deferred at a time which has yet to come is due: the clock was set back since. One
        that was being read at ten deaths of the program in a row is given out as ``spent``, to be
        set aside and journalled: it may be what took the program down.

        While the ledger is paused, nothing is given out for a *standing* order (with *within*);
        what a run has asked for itself is, for somebody asked for just these photos just now.
        """

    async def survived(self, claim: Claim) -> None:
        """Note that foreign code is done with the photo's bytes.

        Should the program die from now on in this claim, the photo is not charged for it.
        """

    async def answers(self, digest: str) -> list[Held]:
        """Return the answers held for *digest*, oldest first."""

    async def checkpoint(self, claim: Claim, digest: str, answer: Answer) -> None:
        """Keep a paid *answer* for *digest*; a later one to the same question replaces it.

        Times are kept to the millisecond at least, that of the answering never rounded down.
        """

    async def written(self, claim: Claim, digest: str, sidecars: Iterable[Sidecar]) -> None:
        """Keep which *sidecars* now hold the tags of *digest*.

        A file of the photo that tags were embedded into is known by its new stamp from now on.
        """

    async def finish(
        self, claim: Claim, record: Outgoing | None, *, digest: str, sidecars_written: bool
    ) -> bool:
        """Make the photo recorded and put *record* into the outbox, in one step.

        Returns whether the claim was still held; if not, the record is dropped with it.
        """

    async def release(
        self, claim: Claim, record: Outgoing | None = None, *, as_it_was: bool = False
    ) -> None:
        """Put the photo back, uncharged, not to be claimed again by the same run.

        With *as_it_was* (dry run) one that was tagged before counts as tagged again.
        """

    async def defer(self, claim: Claim, reason: str, until: float) -> None:
        """Put the photo back, uncharged, until *until*: the backend's fault, or the disk's."""

    async def resettle(self, claim: Claim) -> None:
        """Forget the photo's files: they changed or are gone, and are admitted when they settle.

        If they were admitted with a new stamp meanwhile, the photo is queued instead.
        """

    async def fail(
        self,
        claim: Claim,
        reason: str,
        *,
        final: bool,
        retryable_sidecar: bool = False,
        record: Outgoing | None = None,
    ) -> bool:
        """Put the photo back, or into quarantine if *final* or if its attempts are used up.

        *record* is journalled only if it goes into quarantine; returns whether it does. With
        *retryable_sidecar* the next :meth:`admit` that wants sidecars takes it out again.
        """

    async def undone(self, files: Iterable[Path]) -> int:
        """Note that what was written into the sidecars of the photos of *files* was taken back.

        Such a photo counts as unwritten and is left alone: :meth:`admit` queues it only if it
        changed or is to be asked about anew, :meth:`retry` if it is named. Photos that are queued
        or claimed stay so. Returns how many photos counted as written until now.
        """

    async def restamped(self, path: Path, before: Stamp, after: Stamp) -> None:
        """Note that the file *path* went from one stamp to another by our own doing.

        Not if it is known by another stamp than *before*: then somebody else wrote it, too.
        """

    # The journal's outbox.

    async def outbox(self, limit: int, stream: str = "") -> list[Outgoing]:
        """Return the oldest undelivered lines of *stream*.

        A line is lent to one owner at a time, and again to the same owner until it is
        :meth:`delivered`, so that two programs never both write it.
        """

    async def delivered(self, ids: Iterable[str]) -> None:
        """Remove lines that are safely in the journal."""

    # How things stand.

    async def counts(self, within: Sequence[Path] | None = None) -> Counts:
        """Count photos; *within* None: all."""

    async def quarantined(
        self, limit: int, within: Sequence[Path] | None = None
    ) -> list[Quarantined]:
        """List photos in quarantine, latest first."""

    async def retry(self, within: Sequence[Path] | None, *, failed: bool = False) -> int:
        """Put photos in quarantine back into the queue, all or *within*; return how many.

        *Within*, also those whose sidecars were taken back (:meth:`undone`): they were named.
        With *failed* not these, but all that has failed in any way: also photos that wait for
        another attempt or until a time they were deferred to, and those that are recorded without
        their sidecars.
        """

    async def pause(self, reason: str, *, since: float, until: float | None = None) -> None:
        """Let the standing orders of all owners rest (see :meth:`claim`); the last word counts.

        Claims that are held go on to their end. It outlives everybody's restart, and ends by
        itself at *until*, if that is given.
        """

    async def resume(self) -> None:
        """End the pause, if there is one."""

    async def paused(self, now: float) -> Pause | None:
        """Return the pause that holds at *now*, if there is one."""

    async def next_due(self, within: Sequence[Path] | None, run: str) -> float | None:
        """Return the earliest time at which this *run* may claim something; None: nothing waits.

        A time in the past means now. In a pause without an end, nothing waits for a standing order.
        """

    async def quiet(self, within: Sequence[Path] | None, run: str) -> bool:
        """Say whether nothing waits for this *run* and this owner has nothing claimed."""

    async def recover(self) -> int:
        """Give back what dead owners had claimed, uncharged; return how many photos.

        Done when the ledger is opened; to be done every minute or so where owners share it.
        """

    async def changes(self) -> int:
        """Return a number that differs from the last one if another owner changed anything since.

        It is cheap, so that whoever shows how things stand may ask several times a second. Only
        numbers of the same open ledger can be compared; what this owner does itself may count.
        """

    # Small things that other rooms want to find again after a restart.

    async def note(self, key: str, value: Json) -> None:
        """Keep *value* under *key*."""

    async def recall(self, key: str) -> Json:
        """Return what was noted under *key*; None if nothing was."""

    async def close(self) -> None:
        """Give back this owner's claims, uncharged, and close; more than once is well."""
