"""Stand-ins for tests: a ledger in memory, and services without processes or a network.

:class:`InMemoryLedger` keeps every promise of :class:`taggerd.ledger.Ledger` but the one to outlive
the process; the contract tests run against it as they do against SQLite. It is for tests of what
stands on a ledger, and says in plain Python what the SQL does. It looks at all its photos all the
time, so it is slow beyond some thousand::

    ledger = InMemoryLedger()
    await ledger.admit([PhotoFile(path, stamp)])
    (claim,) = await ledger.claim(1, within=[path.parent], run="test", now=time.time())
    await ledger.end(claim, Finished("ab" * 32))
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import threading
import time
import uuid
from collections import Counter, defaultdict
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TYPE_CHECKING, Literal, ParamSpec, TypeVar

from taggerd.hooks import PHOTOS
from taggerd.inference import Backend, InferenceService, load_profile
from taggerd.ledger import (
    Admitted,
    Claim,
    Counts,
    Deferred,
    Failed,
    FileState,
    Finished,
    Held,
    HeldPhoto,
    Moved,
    Quarantined,
    Released,
    Rewritten,
    Waiting,
)
from taggerd.ledger.admission import regrouped
from taggerd.ledger.claims import most_attempts, why_exhausted
from taggerd.photo import Notice, Photo, PhotoFile, Usage, group
from taggerd.relay import OutboxRelay
from taggerd.services import Disks, Services, local_now, make_journal, metadata_options
from taggerd.workers.pool import Workers

if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterator,
        Awaitable,
        Callable,
        Collection,
        Iterable,
        Mapping,
        Sequence,
    )
    from datetime import datetime
    from pathlib import Path

    import httpx

    from taggerd.ledger import (
        Correction,
        CorrectionKind,
        Ending,
        Fleet,
        Json,
        Ledger,
        Outgoing,
        Pause,
        State,
    )
    from taggerd.photo import Answer, Sidecar, Spending, Stamp
    from taggerd.settings import Settings

P = ParamSpec("P")
T = TypeVar("T")

CLOCK_GRACE_SECONDS = 60.0
"""A photo that was put back so far in the future was put back before the clock was set back."""


@dataclass(slots=True, eq=False)
class _Photo:
    """A photo; the fields mean what the columns of ``schema.sql`` do."""

    id: int
    stem: bytes
    since: float
    queued_at: float
    asked_again_since: float | None
    state: Literal["queued", "claimed", "recorded", "quarantined"] = "queued"
    not_before: float = 0.0
    released_by: str = ""
    attempts: int = 0
    crashes: int = 0
    slow: bool = False
    reason: str = ""
    asked_as: str = ""
    digest: str = ""
    recorded: bool = False
    changed: bool = False
    sidecars: dict[Path, str] = field(default_factory=dict)
    sidecars_written: bool = False
    sidecars_failed: bool = False
    undone: bool = False
    dropped: bool = False
    held: HeldPhoto | None = None
    accepted: bool = False
    requeue: Literal[0, 1, 2] = 0
    owner: str = ""
    token: str = ""
    decoded: bool = False
    requested: tuple[str | None, str] = (None, "")
    """By which run, of which owner."""

    @property
    def settled(self) -> bool:
        """Whether it was tagged as it is, so that it may count as tagged again."""
        written = self.sidecars_written or self.undone or self.awaits
        return self.recorded and not self.changed and written

    @property
    def awaits(self) -> bool:
        """Whether somebody has to accept what was answered."""
        return self.held is not None and not self.accepted

    @property
    def unwritten(self) -> bool:
        """Whether it is tagged without its sidecars."""
        return self.state == "recorded" and not self.sidecars_written and not self.awaits

    @property
    def failed(self) -> bool:
        """Whether it waits after a failure, or lacks its sidecars through one."""
        waits = self.state == "queued" and (self.not_before > 0 or self.reason != "")
        return waits or (self.unwritten and not self.undone)

    def queue(self, now: float, asked: float | None, *, changed: bool = False) -> None:
        """Queue it as if it had just arrived; if it is claimed, when the claim ends."""
        if self.state == "claimed":
            self.requeue = 2 if changed or self.requeue == 2 else 1  # noqa: PLR2004 - as the column
        else:
            self.state, self.since, self.queued_at = "queued", now, now
            self.not_before, self.released_by = 0.0, ""
            self.attempts, self.crashes, self.reason, self.sidecars_failed = 0, 0, "", False
            self.changed |= changed
            if changed:
                self.asked_again_since, self.slow = None, False
                self.held = None
        if self.asked_again_since is None:
            self.asked_again_since = asked

    def put_back(self, now: float, *, uncharged: bool = True, crashed: bool = False) -> None:
        """End its claim with the photo queued."""
        self.state, self.since, self.owner, self.token = "queued", now, "", ""
        self.not_before = 0.0
        self.attempts -= uncharged
        self.crashes += crashed
        if self.requeue:
            self.released_by, self.attempts, self.crashes, self.reason = "", 0, 0, ""
            self.changed |= self.requeue == 2  # noqa: PLR2004 - as the column
            self.slow &= self.requeue < 2  # noqa: PLR2004 - as the column
            self.held = None if self.changed else self.held
            self.requeue = 0


@dataclass(slots=True)
class _File:
    stamp: Stamp
    photo: _Photo
    missing_since: float | None = None


@dataclass(slots=True)
class InMemoryStore:
    """What the owners of one ledger share."""

    stems: defaultdict[bytes, dict[Path, _File]] = field(default_factory=lambda: defaultdict(dict))
    photos: dict[int, _Photo] = field(default_factory=dict)
    answers: defaultdict[str, dict[tuple[str, str], Held]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    outbox: dict[str, Outgoing] = field(default_factory=dict)
    lent: dict[str, str] = field(default_factory=dict)
    """Owner by journal line."""
    sent: set[str] = field(default_factory=set)
    pause: Pause | None = None
    notes: dict[str, str] = field(default_factory=dict)
    corrections: list[Correction] = field(default_factory=list)
    spending: defaultdict[str, dict[str, Usage]] = field(default_factory=lambda: defaultdict(dict))
    """By day and model."""
    notices: dict[tuple[str, str], tuple[float, Notice]] = field(default_factory=dict)
    """By hook and id: until when each is deferred."""
    server: str = ""
    """The owner that delivers them."""
    owners: set[str] = field(default_factory=set)
    """Those that are alive."""
    ids: count[int] = field(default_factory=lambda: count(1))


class InMemoryLedger:
    """One owner's view of a ledger in memory; it has the port's methods, and so more than fifteen.

    Owners that are given the same *store* share a ledger. :meth:`kill` ends one as SIGKILL would.
    """

    def __init__(
        self,
        store: InMemoryStore | None = None,
        *,
        max_attempts: int = 3,
        order: Literal["newest", "oldest"] = "newest",
        clock: Callable[[], float] = time.time,
        fleet: Fleet | None = None,
    ) -> None:
        """Open a ledger; the arguments are those of :meth:`taggerd.ledger.SqliteLedger.open`."""
        self.fleet = fleet
        self._store = store or InMemoryStore()
        self._max_attempts = max_attempts
        self._order = order
        self._clock = clock
        self._me = uuid.uuid4().hex
        self._store.owners.add(self._me)
        self._recover()

    def kill(self) -> None:
        """Be dead: what is claimed stays claimed until another owner recovers it."""
        self._store.owners.discard(self._me)

    async def close(self) -> None:
        """See the port."""
        if self._me in self._store.owners:
            self._end_all(self._me, crashed=False)
            self.kill()

    async def recover(self) -> int:
        """See the port."""
        return self._recover()

    def _recover(self) -> int:
        store = self._store
        owners = {photo.owner for photo in store.photos.values()} | {*store.lent.values()}
        owners |= {photo.requested[1] for photo in store.photos.values()}
        return sum(self._end_all(owner, crashed=True) for owner in owners - store.owners - {""})

    def _end_all(self, owner: str, *, crashed: bool) -> int:
        held = [photo for photo in self._store.photos.values() if photo.owner == owner]
        for photo in held:
            photo.put_back(self._clock(), crashed=crashed and not photo.decoded)
            self._drop_if_fileless(photo)
        for photo in self._store.photos.values():
            if photo.requested[1] == owner:
                asked = photo.asked_again_since is not None
                if photo.state == "queued" and asked and photo.settled:
                    photo.state = "recorded"
                if photo.state != "claimed":
                    photo.asked_again_since = None
                photo.requested = (None, "")
        self._store.lent = {line: by for line, by in self._store.lent.items() if by != owner}
        return len(held)

    # Files.

    async def admit(
        self,
        files: Iterable[PhotoFile],
        *,
        again: bool = False,
        sidecars: bool = True,
        run: str | None = None,
    ) -> Admitted:
        """See the port."""
        now = self._clock()
        asked = now if again else None
        stems: defaultdict[bytes, dict[Path, PhotoFile]] = defaultdict(dict)
        listed = list(files)
        for file in listed:
            stems[_stem(file.path)][file.path] = file
        tally: Counter[str] = Counter()
        for stem, arrivals in stems.items():
            known = self._store.stems[stem]
            new = arrivals.keys() - known.keys()
            changed = {p for p in arrivals.keys() & known if known[p].stamp != arrivals[p].stamp}
            for path in changed:
                known[path] = _File(arrivals[path].stamp, known[path].photo)
            there = [PhotoFile(path, file.stamp) for path, file in known.items()]
            made, joined = self._regroup(stem, [*there, *arrivals.values()], now, asked)
            known = self._store.stems[stem]
            replaced = {known[path].photo for path in changed}
            photos = {known[path].photo for path in arrivals}
            unsettled = photos - made - joined - replaced
            requeued = {p for p in unsettled if _needs_queueing(p, again=again, sidecars=sidecars)}
            for photo in joined | replaced | requeued:
                photo.queue(now, asked, changed=photo in replaced)
            for photo in unsettled - requeued:
                if photo.state == "queued" and photo.asked_again_since is None:
                    photo.asked_again_since = asked
            for photo in photos if run is not None else ():
                photo.requested = (run, self._me)
            same = arrivals.keys() - new - changed
            tally["requeued"] += sum(known[path].photo in requeued for path in same)
            tally += Counter(new=len(new), changed=len(changed))
        tally["unchanged"] = len(listed) - tally.total()
        return Admitted(**tally)

    def _regroup(
        self, stem: bytes, files: Iterable[PhotoFile], now: float, asked: float | None = None
    ) -> tuple[set[_Photo], set[_Photo]]:
        """Keep the photos that a stem's *files* make; return those made and those joined."""
        known, self._store.stems[stem] = self._store.stems[stem], {}
        before = {PhotoFile(path, file.stamp): file.photo for path, file in known.items()}
        made, joined = set[_Photo](), set[_Photo]()
        for grouped, kept in regrouped(before, files):
            photo = kept or _Photo(next(self._store.ids), stem, now, now, asked)
            self._store.photos[photo.id] = photo
            for file in grouped.files:
                if before.get(file) is not photo:
                    known[file.path] = _File(file.stamp, photo)
                    (joined if kept else made).add(photo)
                self._store.stems[stem][file.path] = known[file.path]
        for photo in set(before.values()):
            self._drop_if_fileless(photo)
        return made, joined

    def _drop_if_fileless(self, photo: _Photo) -> None:
        if photo.state != "claimed" and not self._files(photo):
            self._store.photos.pop(photo.id, None)

    def _files(self, photo: _Photo) -> list[PhotoFile]:
        files = self._store.stems[photo.stem].items()
        return [PhotoFile(path, file.stamp) for path, file in files if file.photo is photo]

    def _all_files(self, below: Path) -> dict[Path, _File]:
        everything = (pair for files in self._store.stems.values() for pair in files.items())
        return {path: file for path, file in everything if below in path.parents}

    def _forget(self, paths: Collection[Path]) -> None:
        for stem in {_stem(path) for path in paths}:
            known = self._store.stems[stem].items()
            left = [PhotoFile(path, file.stamp) for path, file in known if path not in paths]
            self._regroup(stem, left, self._clock())

    async def file_states(self, files: Iterable[PhotoFile]) -> Mapping[Path, FileState]:
        """See the port."""
        return {file.path: self._state_of(file) for file in files}

    def _state_of(self, file: PhotoFile) -> FileState:
        known = self._store.stems[_stem(file.path)].get(file.path)
        if known is None:
            return FileState("new")
        photo = known.photo
        state: State = photo.state
        if known.stamp != file.stamp:
            state = "changed"
        elif photo.state == "recorded" and photo.awaits:
            state = "held"
        elif photo.unwritten:
            undone: State = "dropped" if photo.dropped else "undone"
            state = undone if photo.undone else "unwritten"
        elif photo.state == "quarantined" and photo.sidecars_failed:
            state = "unwritten"
        return FileState(state, photo.reason, photo.since, photo.asked_as)

    async def known(self, folder: Path) -> dict[Path, Stamp]:
        """See the port."""
        files = self._all_files(folder).items()
        return {path: file.stamp for path, file in files if path.parent == folder}

    async def stamps(self, folders: Sequence[Path]) -> list[set[tuple[bytes, int, int, int, int]]]:
        """See the port."""
        return [
            {(os.fsencode(path.name), *stamp) for path, stamp in (await self.known(one)).items()}
            for one in folders
        ]

    async def folders(self, below: Path) -> list[Path]:
        """See the port."""
        return sorted({path.parent for path in self._all_files(below)}, key=os.fsencode)

    async def missing(
        self, below: Path, paths: Collection[Path], *, grace_seconds: float
    ) -> list[Path]:
        """See the port."""
        now = self._clock()
        overdue: list[Path] = []
        for path, file in self._all_files(below).items():
            if path not in paths:
                file.missing_since = None
                continue
            file.missing_since = now if file.missing_since is None else file.missing_since
            if now - file.missing_since >= grace_seconds:
                overdue.append(path)
        self._forget(overdue)
        return overdue

    async def relocated(self, moved: Mapping[Path, PhotoFile | None]) -> None:
        """See the port."""
        known = {path: self._store.stems[_stem(path)].get(path) for path in moved}
        photos = {file.photo for file in known.values() if file}
        arrived = [file for file in moved.values() if file is not None]
        taken = any(file.path in self._store.stems[_stem(file.path)] for file in arrived)
        (photo,) = photos if len(photos) == 1 else (None,)
        whole = photo and {file.path for file in self._files(photo)} == moved.keys()
        if photo is None or not whole or taken or len(arrived) < len(moved):
            self._forget(moved)
            return
        for path, file in zip(moved, arrived, strict=True):
            del self._store.stems[_stem(path)][path]
            self._store.stems[_stem(file.path)][file.path] = _File(file.stamp, photo)
        photo.stem = _stem(arrived[0].path)
        paths = dict(zip(moved, arrived, strict=True))
        self._store.corrections = [
            replace(each, photo=paths[each.photo].path) if each.photo in paths else each
            for each in self._store.corrections
        ]
        before, now = next(iter(moved)).parent, arrived[0].path.parent
        photo.sidecars = {
            now / path.name if path.parent == before else path: digest
            for path, digest in photo.sidecars.items()
        }

    async def mark_undone(self, files: Iterable[Path], rewritten: Iterable[Rewritten] = ()) -> int:
        """See the port."""
        for file in rewritten:
            self._replace_stamp(file)
        undone = 0
        for path in files:
            known = self._store.stems[_stem(path)].get(path)
            if known and known.photo.state == "recorded" and known.photo.sidecars_written:
                known.photo.sidecars_written, known.photo.undone = False, True
                known.photo.dropped = False
                known.photo.since = self._clock()
                undone += 1
        return undone

    def _replace_stamp(self, file: Rewritten) -> None:
        known = self._store.stems[_stem(file.path)].get(file.path)
        if known is not None and known.stamp == file.before:
            known.stamp = file.after

    # Claims.

    async def claim(  # noqa: PLR0913 - as the port
        self,
        limit: int,
        *,
        within: Sequence[Path] | None,
        run: str,
        now: float,
        ignore_pause: bool = False,
        slow: bool | None = None,
    ) -> list[Claim]:
        """See the port."""
        await asyncio.sleep(0)  # where a caller that is cancelled still has claimed nothing
        if within is not None and not ignore_pause and await self.paused(now):
            return []
        due = [
            photo
            for photo in self._claimable(within, run, slow=slow)
            if photo.not_before <= now or photo.since > now + CLOCK_GRACE_SECONDS
        ]
        due.sort(key=lambda photo: (photo.queued_at, photo.id), reverse=self._order == "newest")
        due.sort(key=lambda photo: (photo.not_before, photo.id if photo.not_before else 0))
        return [self._claim(photo, run, now) for photo in due[:limit]]

    def _claimable(
        self, within: Sequence[Path] | None, run: str, *, slow: bool | None
    ) -> list[_Photo]:
        photos = [p for p in self._photos(within) if p.state == "queued" and p.released_by != run]
        photos = [photo for photo in photos if slow in {None, photo.slow}]
        return [p for p in photos if within is not None or p.requested[0] == run]

    def _photos(self, within: Sequence[Path] | None) -> list[_Photo]:
        everything = self._store.photos.values()
        return [photo for photo in everything if within is None or self._is_in(photo, within)]

    def _is_in(self, photo: _Photo, within: Sequence[Path]) -> bool:
        paths = (file.path for file in self._files(photo))
        return any(p in within or not {*p.parents}.isdisjoint(within) for p in paths)

    def _claim(self, photo: _Photo, run: str, now: float) -> Claim:
        most = most_attempts(self._max_attempts, slow=photo.slow)
        exhausted = why_exhausted(photo.attempts, photo.crashes, photo.reason, most)
        claim = Claim(
            id=photo.id,
            photo=self._photo(photo),
            attempt=photo.attempts + (not exhausted),
            run=run,
            token=uuid.uuid4().hex,
            digest=photo.digest,
            recorded=photo.recorded,
            changed=photo.changed,
            asked_again_since=photo.asked_again_since,
            exhausted=exhausted,
            slow=photo.slow,
            accepted=photo.held.answers
            if photo.held and photo.accepted and photo.asked_again_since is None
            else (),
            sidecars=dict(photo.sidecars),
        )
        photo.state, photo.since, photo.owner, photo.token = "claimed", now, self._me, claim.token
        photo.attempts, photo.decoded = photo.attempts + 1, bool(exhausted)
        return claim

    def _photo(self, photo: _Photo) -> Photo:
        (grouped,) = group(self._files(photo))
        return grouped

    def _held(self, claim: Claim) -> _Photo | None:
        photo = self._store.photos.get(claim.id)
        return photo if photo is not None and photo.token == claim.token else None

    async def decoded(self, claim: Claim, digest: str) -> list[Held]:
        """See the port."""
        if photo := self._held(claim):
            photo.decoded, photo.crashes = True, 0
        return await self.answers(digest)

    async def answers(self, digest: str) -> list[Held]:
        """See the port."""
        return sorted(
            self._store.answers[digest].values(),
            key=lambda held: (held.at, held.answer.role, held.answer.question),
        )

    async def checkpoint(
        self,
        claim: Claim,  # noqa: ARG002 - kept also if the claim is lost: they are paid for
        digest: str,
        *answers: Answer,
        spent: Spending | None = None,
    ) -> None:
        """See the port."""
        for answer in answers:
            held = Held(answer, self._clock())
            self._store.answers[digest][answer.role, answer.question] = held
        for (day, model), usage in (spent or {}).items():
            self._spend(day, model, usage)

    async def holds(self, claim: Claim) -> bool:
        """See the port."""
        return self._held(claim) is not None

    async def lost(self, claim: Claim) -> bool:
        """See the port."""
        return self._held(claim) is None

    async def written(self, claim: Claim, digest: str, sidecars: Iterable[Sidecar]) -> None:
        """See the port."""
        if not (photo := self._held(claim)):
            return
        stamps = {file.path: file.stamp for file in claim.photo.files}
        for sidecar in sidecars:
            if sidecar.stamp is not None and (before := stamps.get(sidecar.path)):
                self._replace_stamp(Rewritten(sidecar.path, before, sidecar.stamp))
            if not sidecar.error and not sidecar.embedded:
                photo.sidecars[sidecar.path] = sidecar.digest
        photo.recorded = photo.recorded and photo.digest == digest
        photo.digest, photo.changed, photo.undone = digest, False, False

    async def end(self, claim: Claim, ending: Ending) -> bool:
        """See the port."""
        if not (photo := self._held(claim)):
            return False
        now, ended = self._clock(), True
        match ending:
            case Finished():
                self._finish(photo, claim, ending, now)
            case Released():
                photo.released_by = claim.run
                photo.put_back(now)
            case Deferred():
                until = 0.0 if photo.requeue else ending.until
                photo.reason = ending.reason
                photo.put_back(now)
                photo.not_before = until
            case Moved():
                if not photo.requeue:
                    self._forget([file.path for file in self._files(photo)])
                photo.put_back(now)
            case Failed():
                ended = self._quarantine(photo, ending, now)
        if ended and not isinstance(ending, Deferred | Moved) and ending.record is not None:
            self._store.outbox.setdefault(ending.record.id, ending.record)
        self._drop_if_fileless(photo)
        return ended

    @staticmethod
    def _finish(photo: _Photo, claim: Claim, ending: Finished, now: float) -> None:
        requeued = photo.requeue > 0
        photo.changed = False
        photo.put_back(now)
        same = photo.recorded and photo.digest == ending.digest
        photo.digest, photo.recorded, photo.undone = ending.digest, True, False
        photo.sidecars_written = (
            photo.sidecars_written and same if ending.held else ending.sidecars_written
        )
        photo.held, photo.accepted = None, False
        if ending.held and not photo.changed:
            photo.held = HeldPhoto(claim.photo, ending.held, now)
        photo.released_by, photo.attempts, photo.crashes, photo.reason = "", 0, 0, ""
        if photo.asked_again_since == claim.asked_again_since:
            photo.asked_again_since = None
        if requeued:
            photo.queued_at = now
        else:
            photo.state = "recorded"

    def _quarantine(self, photo: _Photo, ending: Failed, now: float) -> bool:
        """Quarantine a photo or queue it for another attempt; return which."""
        photo.slow |= ending.slow
        most = most_attempts(self._max_attempts, slow=photo.slow)
        final = ending.final or photo.attempts >= most
        quarantined = final and not photo.requeue
        photo.reason = ending.reason
        photo.put_back(now, uncharged=False)
        if quarantined:
            photo.state, photo.sidecars_failed = "quarantined", ending.for_sidecars
            photo.asked_as = ending.asked_as
        return quarantined

    # The outbox.

    async def outbox(self, limit: int, stream: str = "") -> list[Outgoing]:
        """See the port."""
        free = {"", self._me}
        lines = [
            line
            for line in self._store.outbox.values()
            if line.stream == stream and self._store.lent.get(line.id, "") in free
        ][:limit]
        self._store.lent |= {line.id: self._me for line in lines}
        return lines

    async def all_delivered(self) -> bool:
        """See the port."""
        return not any(line.stream == "" for line in self._store.outbox.values())

    async def delivered(self, ids: Iterable[str], notices: Iterable[Notice] = ()) -> None:
        """See the port."""
        for record in ids:
            self._store.outbox.pop(record, None)
            self._store.lent.pop(record, None)
        await self.notify(notices)

    # Notices for hooks.

    async def serve_notices(self) -> bool:
        """See the port."""
        if self._store.server not in self._store.owners:
            self._store.server = self._me
        return self._store.server == self._me

    async def notify(
        self,
        notices: Iterable[Notice],
        *,
        done: Iterable[Notice] = (),
        notes: Mapping[str, Json] | None = None,
    ) -> None:
        """See the port."""
        for notice in notices:
            self._store.notices.setdefault((notice.hook, notice.id), (0.0, notice))
        for notice in done:
            self._store.notices.pop((notice.hook, notice.id), None)
        for key, value in (notes or {}).items():
            await self.note(key, value)

    async def due_notices(self, hook: str, limit: int, now: float) -> list[Notice]:
        """See the port."""
        kept = self._store.notices.values()
        late = now + CLOCK_GRACE_SECONDS
        due = [n for until, n in kept if n.hook == hook and (until <= now or n.at > late)]
        return due[:limit]

    async def next_notice(self, hook: str) -> float | None:
        """See the port."""
        kept = self._store.notices.values()
        return min((until for until, notice in kept if notice.hook == hook), default=None)

    async def defer_notice(self, notice: Notice, until: float) -> None:
        """See the port."""
        _, kept = self._store.notices[notice.hook, notice.id]
        tried = replace(kept, attempts=kept.attempts + 1)
        self._store.notices[notice.hook, notice.id] = (until, tried)

    async def drop_notices(self, hook: str, *, before: float, keep: int) -> int:
        """See the port."""
        there = [notice for _, notice in self._store.notices.values() if notice.hook == hook]
        old = there[: max(0, len(there) - keep)]
        old += [n for n in there[len(old) :] if n.at < before]
        for notice in old:
            del self._store.notices[notice.hook, notice.id]
        return len(old)

    def stamp(self) -> object:
        """See the port."""
        return None

    @property
    def troubles(self) -> Mapping[Path, str]:
        """See the port."""
        return {}

    async def unusable(self) -> Collection[Path]:
        """See the port."""
        return ()

    async def ping(self) -> int:
        """See the port."""
        return threading.get_native_id()

    # Answers that wait until somebody accepts them.

    async def held(
        self, limit: int, within: Sequence[Path] | None = None, *, unwritten: bool = False
    ) -> list[HeldPhoto]:
        """See the port."""
        also = ("queued", "claimed") if unwritten else ()
        photos = self._awaiting(within, math.inf, also)
        held = [(photo, each) for photo in photos if (each := photo.held)]
        return [replace(each, photo=self._photo(photo)) for photo, each in held][
            : None if limit < 0 else limit
        ]

    def _awaiting(
        self, within: Sequence[Path] | None, before: float, also: Collection[str] = ()
    ) -> list[_Photo]:
        """Return photos held since *before*, and those accepted that are in a state of *also*."""
        photos = [
            photo
            for photo in self._photos(within)
            if (photo.state == "recorded" and photo.awaits)
            or (photo.state in also and photo.accepted and photo.asked_again_since is None)
        ]
        held = sorted((p.held.since, p.id, p) for p in photos if p.held)
        return [photo for since, _, photo in held if since <= before]

    async def accept(
        self,
        within: Sequence[Path] | None,
        *,
        before: float = math.inf,
        run: str | None = None,
    ) -> int:
        """See the port."""
        photos = self._awaiting(within, before, ("queued",) if run is not None else ())
        for photo in photos:
            photo.accepted = True
            photo.queue(self._clock(), None)
            if run is not None:
                photo.requested = (run, self._me)
        return len(photos)

    async def drop_held(self, within: Sequence[Path] | None, *, before: float = math.inf) -> int:
        """See the port."""
        photos = self._awaiting(within, before)
        for photo in photos:
            photo.held, photo.since = None, self._clock()
            if not photo.sidecars_written:
                photo.undone = photo.dropped = True
        return len(photos)

    # The queue as a whole.

    async def counts(self, within: Sequence[Path] | None = None) -> Counts:
        """See the port."""
        states = Counter(
            "held"
            if photo.state == "recorded" and photo.awaits
            else "unwritten"
            if photo.unwritten
            else photo.state
            for photo in self._photos(within)
        )
        return Counts(**states)

    async def oldest_queued(self) -> float | None:
        """See the port."""
        return min((p.queued_at for p in self._photos(None) if p.state == "queued"), default=None)

    async def quarantined(
        self, limit: int, within: Sequence[Path] | None = None
    ) -> list[Quarantined]:
        """See the port."""
        photos = [photo for photo in self._photos(within) if photo.state == "quarantined"]
        photos.sort(key=lambda photo: (photo.since, photo.id), reverse=True)
        return [Quarantined(self._photo(p), p.reason, p.since) for p in photos[:limit]]

    async def retry(
        self,
        within: Sequence[Path] | None,
        *,
        failed: bool = False,
        unless_asked_as: str = "",
    ) -> int:
        """See the port."""
        photos = self._photos(within)
        chosen = [photo for photo in photos if photo.state == "quarantined"]
        if unless_asked_as:
            chosen = [photo for photo in chosen if photo.asked_as not in {"", unless_asked_as}]
        elif failed:
            chosen += [photo for photo in photos if photo.failed]
        elif within is not None:
            chosen += [photo for photo in photos if photo.unwritten and photo.undone]
        for photo in chosen:
            photo.queue(self._clock(), None)
        return len(chosen)

    async def waiting(
        self, within: Sequence[Path] | None, run: str, *, slow: bool | None = None
    ) -> Waiting:
        """See the port."""
        claimable = self._claimable(within, run, slow=slow)
        due = min((photo.not_before for photo in claimable), default=None)
        claimed = any(photo.owner == self._me for photo in self._store.photos.values())
        nothing_left = due is None and not claimed
        pause = None if within is None else await self.paused(self._clock())
        if due is not None and pause is not None:
            due = None if pause.until is None else max(due, pause.until)
        return Waiting(due, nothing_left)

    async def pause(self, pause: Pause | None) -> None:
        """See the port."""
        self._store.pause = pause

    async def paused(self, now: float) -> Pause | None:
        """See the port."""
        pause = self._store.pause
        return pause if pause and (pause.until is None or pause.until > now) else None

    async def note(self, key: str, value: Json, *, here: bool = False) -> None:  # noqa: ARG002
        """See the port."""
        self._store.notes[key] = json.dumps(value)

    async def recall(self, key: str, *, here: bool = False) -> Json:  # noqa: ARG002
        """See the port."""
        value: Json = json.loads(self._store.notes.get(key, "null"))
        return value

    async def correct(self, corrections: Iterable[Correction]) -> None:
        """See the port."""
        for each in corrections:
            new = replace(each, id=self._next_correction(), at=each.at or self._clock())
            self._store.corrections.append(new)

    def _next_correction(self) -> int:
        return max((each.id for each in self._store.corrections), default=0) + 1

    async def corrections(
        self,
        *,
        after: int = 0,
        limit: int = 1000,
        kind: CorrectionKind | None = None,
        undone: bool = False,
    ) -> list[Correction]:
        """See the port."""
        return [
            each
            for each in self._store.corrections
            if each.id > after and kind in {None, each.kind} and (undone or each.undone_at is None)
        ][:limit]

    async def corrections_of(self, photo: Path) -> list[Correction]:
        """See the port."""
        found = [each for each in self._store.corrections if each.photo == photo]
        return sorted(found, key=lambda each: (each.at, each.id))

    async def undo_corrections(self, action: str) -> int:
        """See the port."""
        kept = self._store.corrections
        chosen = [each for each in kept if each.action == action and each.undone_at is None]
        for each in chosen:
            kept.remove(each)
            new = replace(each, undone_at=self._clock(), id=max(each.id, self._next_correction()))
            kept.append(new)
        return len(chosen)

    async def spend(self, day: str, model: str, usage: Usage) -> None:
        """See the port."""
        self._spend(day, model, usage)

    def _spend(self, day: str, model: str, usage: Usage) -> None:
        known = self._store.spending[day].get(model, Usage())
        self._store.spending[day][model] = known.plus(usage)

    async def spent(self, day: str) -> Mapping[str, Usage]:
        """See the port."""
        return dict(self._store.spending[day])


def _stem(path: Path) -> bytes:
    return os.fsencode(path.with_suffix(""))


def _needs_queueing(photo: _Photo, *, again: bool, sidecars: bool) -> bool:
    """Say whether an unchanged photo is to be queued again."""
    match photo.state:
        case "recorded":
            return again or (sidecars and photo.unwritten and not photo.undone)
        case "quarantined":
            return sidecars and photo.sidecars_failed
        case "claimed":
            return again and photo.asked_again_since is None
        case _:
            return False


class ThreadWorkers(Workers):
    """Workers that call functions in threads of this process: at once, and without any limit."""

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call *function* in a thread and return what it returns."""
        return await asyncio.to_thread(function, *args, **kwargs)


@asynccontextmanager
async def stand_in_services(
    settings: Settings,
    ledger: Ledger,
    *,
    transport: httpx.AsyncBaseTransport | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    now: Callable[[], datetime] = local_now,
) -> AsyncIterator[Services]:
    """Open services around *ledger*, whose backend is ready to be asked.

    Args:
        settings: with ``backend.base_url = "builtin:"`` the describer answers, without a network.
        ledger: yours to close.
        transport: what carries requests to the backend instead.
        sleep: waits between probes of a backend that is at fault.
        now: the local time, aware.

    """
    url = settings.backend.base_url
    inference = InferenceService(
        settings,
        load_profile(settings.prompts.profile),
        {url: Backend(settings.backend, transport=transport)},
        sleep=sleep,
    )
    inference.budget.count_in(ledger, now)
    journal, workers, disks = make_journal(settings), ThreadWorkers(settings.workers), Disks()
    journal.open()
    try:
        await inference.probe()
        yield Services(
            settings=settings,
            ledger=ledger,
            decoders=workers,
            slow_decoder=workers,
            writers=workers,
            disks=disks,
            inference=inference,
            journal=journal,
            relay=OutboxRelay(
                ledger, journal, now=now, notices_for=PHOTOS if settings.follows_records else ""
            ),
            now=now,
            metadata_options=metadata_options(settings),
        )
    finally:
        await inference.close()
        disks.close()
        await workers.close()
