"""What ledgers in SQL databases have in common: the port's methods, as queries by name."""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Literal, TypeVar

from taggerd.errors import StorageError
from taggerd.ledger import admission, claims, queue
from taggerd.ledger.notes import SqlNotes, in_thread
from taggerd.ledger.port import Admitted, Counts, Deferred, Moved
from taggerd.ledger.rows import folder_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from taggerd.ledger.port import (
        Claim,
        Ending,
        FileState,
        Held,
        HeldPhoto,
        Quarantined,
        Rewritten,
        Waiting,
    )
    from taggerd.ledger.queries import Database
    from taggerd.photo import Answer, PhotoFile, Sidecar, Spending, Stamp

T = TypeVar("T")

BATCH = 1000
"""Files taken in one transaction."""


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    remaining = iter(items)
    while batch := list(islice(remaining, BATCH)):
        yield batch


class SqlLedger(SqlNotes):
    """Keeps :class:`taggerd.ledger.port.Ledger` in a database that speaks SQL.

    It has the port's methods and therefore more than fifteen; what they do to the database is in
    :mod:`~taggerd.ledger.admission`, :mod:`~taggerd.ledger.claims`, :mod:`~taggerd.ledger.queue`
    and :mod:`~taggerd.ledger.corrections`.
    """

    def __init__(
        self,
        database: Database,
        me: str,
        clock: Callable[[], float],
        *,
        max_attempts: int,
        order: Literal["newest", "oldest"],
    ) -> None:
        """Use an open *database* as the owner *me*."""
        super().__init__(database, me, clock)
        self._max_attempts = max_attempts
        self._order = order

    @property
    def troubles(self) -> Mapping[Path, str]:
        """See the port."""
        return {}

    async def unusable(self) -> Collection[Path]:
        """See the port."""
        return ()

    @in_thread
    def _end_all(self) -> None:
        with self._database.transaction():
            claims.end_all(self._database, self._me, now=self._clock(), crashed=False)

    # Files.

    async def admit(
        self,
        files: Iterable[PhotoFile],
        *,
        again: bool = False,
        sidecars: bool = True,
        run: str | None = None,
    ) -> Admitted:
        """See the port. A thousand files make one transaction."""
        total = Admitted()
        for batch in _batches(files):
            terms = admission.Terms(
                self._clock(), again=again, sidecars=sidecars, run=run, owner=self._me
            )
            total += await self._admit(batch, terms)
        return total

    @in_thread
    def _admit(self, files: Sequence[PhotoFile], terms: admission.Terms) -> Admitted:
        with self._database.transaction():
            return admission.admit(self._database, files, terms)

    async def file_states(self, files: Iterable[PhotoFile]) -> Mapping[Path, FileState]:
        """See the port."""
        states: dict[Path, FileState] = {}
        for batch in _batches(files):
            states |= await self._file_states(batch)
        return states

    @in_thread
    def _file_states(self, files: Sequence[PhotoFile]) -> dict[Path, FileState]:
        return {file.path: admission.state_of(self._database, file) for file in files}

    @in_thread
    def known(self, folder: Path) -> dict[Path, Stamp]:
        """See the port."""
        paths, path = self._database.paths, self._database.paths.folder(folder)
        files = (paths.file(path, row) for row in self._database.rows("folder_files", path=path))
        return {file.path: file.stamp for file in files}

    @in_thread
    def stamps(self, folders: Sequence[Path]) -> list[set[tuple[bytes, int, int, int, int]]]:
        """See the port."""
        paths = self._database.paths
        return [self._database.tuples("folder_stamps", path=paths.folder(each)) for each in folders]

    @in_thread
    def folders(self, below: Path) -> list[Path]:
        """See the port."""
        paths = self._database.paths
        rows = (
            row
            for low, high in paths.ranges(below)
            for row in self._database.rows("folders_below", low=low, high=high)
        )
        return sorted((paths.path(row["path"]) for row in rows), key=folder_bytes)

    async def missing(
        self, below: Path, paths: Collection[Path], *, grace_seconds: float
    ) -> list[Path]:
        """See the port."""
        now = self._clock()
        noted = await self._noted_missing(below)
        for batch in _batches(path for path in noted if path not in paths):
            await self._note_missing(batch, None)
        for batch in _batches(path for path in paths if path not in noted):
            await self._note_missing(batch, now)
        noted = await self._noted_missing(below)
        overdue = [path for path, since in noted.items() if now - since >= grace_seconds]
        for batch in _batches(overdue):
            await self._forget(batch)
        return overdue

    @in_thread
    def _noted_missing(self, below: Path) -> dict[Path, float]:
        return admission.missing_files(self._database, below)

    @in_thread
    def _note_missing(self, paths: Sequence[Path], since: float | None) -> None:
        with self._database.transaction():
            for path in paths:
                key = self._database.paths.key(path)._asdict()
                self._database.do("set_missing", missing_since=since, **key)

    @in_thread
    def _forget(self, paths: Sequence[Path]) -> None:
        with self._database.transaction():
            admission.forget(self._database, paths, self._clock())

    @in_thread
    def relocated(self, moved: Mapping[Path, PhotoFile | None]) -> None:
        """See the port."""
        with self._database.transaction():
            admission.relocate(self._database, moved, self._clock())

    async def mark_undone(self, files: Iterable[Path], rewritten: Iterable[Rewritten] = ()) -> int:
        """See the port."""
        for changed in _batches(rewritten):
            await self._replace_stamps(changed)
        return sum([await self._mark_undone(batch) for batch in _batches(files)])

    @in_thread
    def _replace_stamps(self, rewritten: Sequence[Rewritten]) -> None:
        with self._database.transaction():
            for file in rewritten:
                admission.replace_stamp(self._database, file)

    @in_thread
    def _mark_undone(self, files: Sequence[Path]) -> int:
        now, database = self._clock(), self._database
        with database.transaction():
            keys = (database.paths.key(path)._asdict() for path in files)
            return sum(database.do("mark_undone", now=now, **key) for key in keys)

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
        """See the port. Claims that a cancelled caller never sees are put back."""
        pausable = within is not None and not ignore_pause
        claiming = asyncio.ensure_future(
            self._claim(limit, within, run, self._kept(now), pausable=pausable, slow=slow)
        )
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            with suppress(StorageError):  # then they are put back when this owner ends
                for claim in await claiming:
                    await self.end(claim, Deferred())
            raise

    @in_thread
    def _claim(  # noqa: PLR0913 - as claim()
        self,
        limit: int,
        within: Sequence[Path] | None,
        run: str,
        now: float,
        *,
        pausable: bool,
        slow: bool | None,
    ) -> list[Claim]:
        self._database.select(within)
        with self._database.transaction():
            if pausable and queue.paused(self._database, now):
                return []
            return claims.begin(
                self._database,
                limit,
                order=self._order,
                max_attempts=self._max_attempts,
                owner=self._me,
                run=run,
                requested=within is None,
                slow=slow,
                now=now,
            )

    async def decoded(self, claim: Claim, digest: str) -> list[Held]:
        """See the port."""
        return await self._decoded(claim, digest)

    @in_thread
    def _decoded(self, claim: Claim, digest: str) -> list[Held]:
        with self._database.transaction(quick=True):
            self._database.do("decoded", photo=claim.id, token=claim.token)
            self._database.do("no_crashes", photo=claim.id, token=claim.token)
            return claims.answers(self._database, digest)

    @in_thread
    def answers(self, digest: str) -> list[Held]:
        """See the port."""
        return claims.answers(self._database, digest)

    async def checkpoint(
        self,
        claim: Claim,  # noqa: ARG002 - kept also if the claim is lost: they are paid for
        digest: str,
        *answers: Answer,
        spent: Spending | None = None,
    ) -> None:
        """See the port. They are on the disk when this returns."""
        await self._keep(digest, answers, spent)
        await self._on_disk()

    @in_thread
    def _keep(self, digest: str, answers: Sequence[Answer], spent: Spending | None) -> None:
        self._keep_all(digest, answers, spent)

    def _keep_all(self, digest: str, answers: Sequence[Answer], spent: Spending | None) -> None:
        with self._database.transaction(quick=True):
            for answer in answers:
                claims.keep(self._database, digest, answer, self._clock())
            for (day, model), usage in (spent or {}).items():
                self._database.do("spend", day=day, model=model, **usage._asdict())

    @in_thread
    def holds(self, claim: Claim) -> bool:
        """See the port."""
        return self._database.row("holds", photo=claim.id, token=claim.token) is not None

    async def lost(self, claim: Claim) -> bool:  # noqa: ARG002 - whoever lives has its claims
        """See the port."""
        return False

    @in_thread
    def written(self, claim: Claim, digest: str, sidecars: Iterable[Sidecar]) -> None:
        """See the port."""
        with self._database.transaction(quick=True):
            claims.written(self._database, claim, digest, sidecars)

    async def end(self, claim: Claim, ending: Ending) -> bool:
        """See the port. What was paid for is on the disk when this returns."""
        if isinstance(ending, Deferred):
            ending = replace(ending, until=self._kept(ending.until))
        ended = await self._end(claim, ending)
        if not isinstance(ending, Deferred | Moved):
            await self._on_disk()
        return ended

    @in_thread
    def _end(self, claim: Claim, ending: Ending) -> bool:
        return self._end_any(claim, ending)

    def _end_any(self, claim: Claim, ending: Ending) -> bool:
        quick = not isinstance(ending, Deferred | Moved)  # those are not waited for
        with self._database.transaction(quick=quick):
            return claims.end(
                self._database,
                claim,
                ending,
                now=self._clock(),
                max_attempts=self._max_attempts,
            )

    # Answers that wait until somebody accepts them.

    @in_thread
    def held(
        self, limit: int, within: Sequence[Path] | None = None, *, unwritten: bool = False
    ) -> list[HeldPhoto]:
        """See the port."""
        self._database.select(within)
        return queue.held(self._database, limit, unwritten=unwritten)

    @in_thread
    def accept(
        self,
        within: Sequence[Path] | None,
        *,
        before: float = math.inf,
        run: str | None = None,
    ) -> int:
        """See the port."""
        self._database.select(within)
        terms = admission.Terms(self._clock(), run=run, owner=self._me)
        with self._database.transaction():
            return queue.accept(self._database, self._kept(before), terms)

    @in_thread
    def drop_held(self, within: Sequence[Path] | None, *, before: float = math.inf) -> int:
        """See the port."""
        self._database.select(within)
        with self._database.transaction():
            return queue.drop_held(self._database, self._kept(before), self._clock())

    # The queue as a whole.

    @in_thread
    def counts(self, within: Sequence[Path] | None = None) -> Counts:
        """See the port."""
        if within is None:
            return queue.counts(self._database.one("count_all"))
        self._database.select(within)
        return queue.counts(self._database.one("count_within"))

    @in_thread
    def oldest_queued(self) -> float | None:
        """See the port."""
        at: float | None = self._database.one("oldest_queued")["at"]
        return at

    @in_thread
    def quarantined(self, limit: int, within: Sequence[Path] | None = None) -> list[Quarantined]:
        """See the port."""
        self._database.select(within)
        return queue.quarantined(self._database, limit)

    @in_thread
    def retry(
        self,
        within: Sequence[Path] | None,
        *,
        failed: bool = False,
        unless_asked_as: str = "",
    ) -> int:
        """See the port."""
        self._database.select(within)
        database, now = self._database, self._clock()
        with database.transaction():
            if unless_asked_as:
                rows = database.rows("failed_over_others", asked_as=unless_asked_as)
                return queue.queue_all(database, rows, now)
            undone = within is not None and not failed  # an undo is no failure
            return queue.retry(database, now, failed=failed, undone=undone)

    @in_thread
    def waiting(
        self, within: Sequence[Path] | None, run: str, *, slow: bool | None = None
    ) -> Waiting:
        """See the port."""
        self._database.select(within)
        now, requested = self._clock(), within is None
        left = queue.waiting(self._database, run, self._me, now, requested=requested, slow=slow)
        return left if left.due is None else left._replace(due=self._told(left.due))
