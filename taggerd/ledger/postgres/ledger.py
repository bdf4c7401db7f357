"""The ledger in a PostgreSQL database, which several machines may share."""

from __future__ import annotations

import asyncio
import math
import os
import random
import socket
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, TypeVar, cast

from taggerd.errors import StorageError
from taggerd.ledger import claims, queue
from taggerd.ledger.local_state import LocalState
from taggerd.ledger.notes import in_thread
from taggerd.ledger.port import Deferred, Finished, Moved
from taggerd.ledger.postgres import brisk, bulk, faults, journalled, opening, roots
from taggerd.ledger.postgres.connection import connect
from taggerd.ledger.postgres.database import PostgresDatabase
from taggerd.ledger.postgres.doubt import Doubts
from taggerd.ledger.postgres.fleet import PostgresFleet, machine_of
from taggerd.ledger.postgres.jobs import DEAD_SECONDS
from taggerd.ledger.postgres.listening import Listening
from taggerd.ledger.postgres.naming import Naming
from taggerd.ledger.postgres.presence import Presence
from taggerd.ledger.postgres.trees import Trees
from taggerd.ledger.rows import PLAIN
from taggerd.ledger.sql import SqlLedger
from taggerd.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from taggerd.ledger.admission import Terms
    from taggerd.ledger.fleet import Change
    from taggerd.ledger.port import Admitted, Claim, Ending, FileState, Held, Outgoing, Waiting
    from taggerd.ledger.rows import Paths
    from taggerd.photo import Answer, Notice, PhotoFile, Sidecar, Spending

T = TypeVar("T")
log = get_logger(__name__)

_MOST_TRIES = 8
"""Of a transaction that another one undoes."""


class PostgresLedger(SqlLedger):
    """Keeps :class:`taggerd.ledger.port.Ledger` in the schema ``taggerd`` of a database.

    Times are the database's: its clock is asked with every sign of life, and what callers say by
    their own is shifted by the difference.
    """

    _database: PostgresDatabase
    _naming = Naming()
    fleet: PostgresFleet
    notices: tuple[str, ...] = ()
    migrated = ""

    def __init__(  # noqa: PLR0913 - all by name but three
        self,
        database: PostgresDatabase,
        thread: ThreadPoolExecutor,
        clock: Callable[[], float],
        *,
        max_attempts: int,
        order: Literal["newest", "oldest"],
        skew: float | None,
        local: LocalState | None,
    ) -> None:
        """Use an open *database* in its *thread*; see :meth:`open`."""
        me = uuid.uuid4().hex
        self._presence = Presence(database, me, clock, skew)
        super().__init__(database, me, self._presence.now, max_attempts=max_attempts, order=order)
        self._thread = thread
        self._local = local
        self._closed = False
        self._listening: Listening | None = None
        self._flushing = asyncio.Lock()
        self._next_flush: asyncio.Task[None] | None = None
        self._trees: Trees | None = None
        self._claiming = asyncio.Lock()
        self._unseen = False
        """Whether a claim may have taken photos without telling us."""
        database.connected = self._presence.connected
        database.owner, database.order = self._me, order
        self._doubts = Doubts(database)

    @classmethod
    async def open(  # noqa: PLR0913 - all by name but one
        cls,
        url: str,
        *,
        directory: Path | None = None,
        exclusive: bool = False,
        max_attempts: int = 3,
        order: Literal["newest", "oldest"] = "newest",
        clock: Callable[[], float] = time.time,
        skew: float | None = None,
        paths: Paths = PLAIN,
        host: str = "",
    ) -> Self:
        """Open the ledger in the database at *url*. What dead owners had claimed is queued again.

        Args:
            url: of the database; never logged.
            directory: the state directory of this host, for the lock of its daemon; None: no lock.
            exclusive: this is the daemon; a state directory has at most one.
            max_attempts: a photo that failed this often is quarantined.
            order: which photo is claimed first.
            clock: this host's time, seconds since the epoch.
            skew: seconds that the database's clock is ahead of it; None: measured.
            paths: how this host's paths and stamps stand in it.
            host: the name of this host; default: the machine's.

        Raises:
            StartError: the database holds no ledger of this version, or refuses us; the state
                directory cannot be used, or another daemon uses it.
            LedgerAway: the server cannot be used now.
        """
        thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        loop = asyncio.get_running_loop()
        with ExitStack() as undo:
            undo.callback(thread.shutdown, wait=False)
            local = None
            if directory is not None:
                local = await loop.run_in_executor(thread, LocalState, directory, exclusive)
                undo.callback(local.close)
            await loop.run_in_executor(thread, opening.check, url)
            database = PostgresDatabase(url, paths)
            ledger = cls(
                database,
                thread,
                clock,
                max_attempts=max_attempts,
                order=order,
                skew=skew,
                local=local,
            )
            listening = Listening(partial(connect, url), ledger._presence.give_on)
            ledger.fleet = PostgresFleet(
                database,
                ledger._run,
                listening.changed,
                host=host or socket.gethostname(),
                program=ledger._me,
                machine=machine_of(directory),
            )
            undo.callback(database.close)
            await ledger.beat()
            await ledger.recover()
            if isinstance(paths, Naming):
                await ledger._agree(paths, alone=exclusive)
            undo.pop_all()
        ledger._listening = listening
        listening.start()
        return ledger

    # The thread and the database.

    async def _run(self, work: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._worked, work)

    def _worked(self, work: Callable[[], T]) -> T:
        """Do *work*, again if another transaction undid it."""
        if (before := self._doubts.told(work)) is not None:
            return cast("T", before.result)
        for tries in range(_MOST_TRIES):
            try:
                done = work()
            except faults.InDoubt as error:
                self._doubts.in_doubt(work, error.number)
                raise
            except faults.Again:
                # Two that undo each other would do so again if they came back together.
                time.sleep(random.uniform(0, 0.01) * 2**tries)  # noqa: S311 - no secret
            else:
                self._doubts.done(work, done)
                return done
        message = "the ledger is busy: other transactions have undone one of ours over and over"
        raise StorageError(message)

    def _kept(self, at: float) -> float:
        return at + self._presence.ahead

    def _told(self, at: float) -> float:
        return at - self._presence.ahead

    async def _on_disk(self) -> None:
        # One that has begun may have begun before the last commit.
        if self._next_flush is None or self._next_flush.done():
            self._next_flush = asyncio.create_task(self._flushed())
        await asyncio.shield(self._next_flush)

    async def _flushed(self) -> None:
        async with self._flushing:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._thread, self._flush)

    def _flush(self) -> None:
        self._next_flush = None  # not before: what is ahead of us in this thread is flushed as well
        self._doubts.flush()

    def stamp(self) -> object:
        """See the port."""
        return self._database.changes, self._listening and self._listening.stamp()

    def daemon_pid(self) -> int | None:
        """Return the process id of the daemon on the state directory; None if none runs."""
        return self._local.daemon_pid() if self._local is not None else None

    # Owners.

    @in_thread
    def beat(self) -> None:
        """Give a sign of life, and learn the database's time."""
        self._presence.give()

    @in_thread
    def holds(self, claim: Claim) -> bool:
        """See the port. Nobody gets the photo before :data:`DEAD_SECONDS` are over."""
        self._presence.renew()  # in a statement of its own: the next one sees who took us for dead
        return self._database.row("holds", photo=claim.id, token=claim.token) is not None

    async def lost(self, claim: Claim) -> bool:
        """See the port. Raises LedgerAway where nobody could keep what is paid for."""
        if self._presence.is_in_doubt:
            await self._make_sure()
        return claim.token not in self._presence.claims

    @in_thread
    def _make_sure(self) -> None:
        if self._presence.is_in_doubt:  # else it was made while we waited
            self._presence.give()

    @in_thread
    def recover(self) -> int:
        """See the port."""
        if self._database.one("nobody_died", seconds=DEAD_SECONDS)["so"]:
            return 0  # the usual case, which needs no transaction
        recovered = 0
        with self._database.transaction():
            dead = self._database.rows("dead_owners", seconds=DEAD_SECONDS)
            for row in dead + self._database.rows("lost_owners"):
                recovered += self._end_owner(row["owner"], crashed=True)
        return recovered

    def _end_owner(self, owner: str, *, crashed: bool) -> int:
        ended = claims.end_all(self._database, owner, now=self._clock(), crashed=crashed)
        self._database.do("bury", owner=owner)
        return ended

    @in_thread
    def serve_notices(self) -> bool:
        """See the port."""
        asked: dict[str, str | float] = {"owner": self._me, "seconds": DEAD_SECONDS}
        if self._database.row("others_serve_notices", **asked) is not None:
            return False  # the usual case, which needs no transaction
        try:
            with self._database.transaction():
                self._database.do("silence_dead", seconds=DEAD_SECONDS)
                return self._database.do("serve_notices", owner=self._me) > 0
        except ValueError:  # another one has become it in the same moment
            return False

    # Named roots.

    @in_thread
    def _agree(self, wanted: Naming, *, alone: bool) -> None:
        """Name paths as the other hosts do; see :mod:`taggerd.ledger.postgres.roots`."""
        agreed = roots.agree(self._database, wanted, self._me, alone=alone)
        self._database.paths = self._naming = agreed.naming
        self._trees = Trees(agreed, self._sample)

    @in_thread
    def _sample(self, root: str, device: int) -> Sequence[PhotoFile]:
        return roots.sample(self._database, self._naming, root, device)

    @property
    def troubles(self) -> Mapping[Path, str]:
        """See the port."""
        return {} if self._trees is None else self._trees.troubles

    async def unusable(self) -> Collection[Path]:
        """See the port."""
        if self._trees is None:
            return ()
        await self._trees.ready()
        return self._trees.left_to_others

    async def _reachable(self, within: Sequence[Path] | None) -> Sequence[Path] | None:
        """Return *within* without the roots that are out of sight, or show another tree."""
        if self._trees is None or within is None:
            return within
        await self._trees.ready()
        unusable = self._trees.unusable
        return [
            Path(os.fsdecode(low))
            for each in within
            for low, _ in self._naming.ranges(each, without=unusable)
        ]

    async def _refuse_another_tree(self, paths: Iterable[Path]) -> None:
        if self._trees is not None:
            await self._trees.ready()
            self._trees.refuse_another(paths)

    async def admit(
        self,
        files: Iterable[PhotoFile],
        *,
        again: bool = False,
        sidecars: bool = True,
        run: str | None = None,
    ) -> Admitted:
        """See the port. StorageError also where a root shows another tree."""
        files = list(files)
        await self._refuse_another_tree(dict.fromkeys(file.path.parent for file in files))
        return await super().admit(files, again=again, sidecars=sidecars, run=run)

    async def missing(
        self, below: Path, paths: Collection[Path], *, grace_seconds: float
    ) -> list[Path]:
        """See the port. StorageError also where a root shows another tree."""
        await self._refuse_another_tree([below])
        return await super().missing(below, paths, grace_seconds=grace_seconds)

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
        if slow and not await self._any_slow():
            return []  # the usual case, which needs no transaction
        within = await self._reachable(within)
        async with self._claiming:
            if self._unseen:
                await self._put_back_unseen()
            tokens, self._unseen = self._presence.claims, True
            claimed = await super().claim(
                limit, within=within, run=run, now=now, ignore_pause=ignore_pause, slow=slow
            )
            tokens.update(each.token for each in claimed)
            self._unseen = False
        return claimed

    @in_thread
    def _put_back_unseen(self) -> None:
        with self._database.transaction():
            seen, now = self._presence.claims, self._clock()
            claims.put_back_unseen(self._database, self._me, seen, now)

    @in_thread
    def _any_slow(self) -> bool:
        return self._database.row("any_slow") is not None

    async def waiting(
        self, within: Sequence[Path] | None, run: str, *, slow: bool | None = None
    ) -> Waiting:
        """See the port."""
        return await super().waiting(await self._reachable(within), run, slow=slow)

    async def accept(
        self,
        within: Sequence[Path] | None,
        *,
        before: float = math.inf,
        run: str | None = None,
    ) -> int:
        """See the port. *run* is given what this host can reach; others write the rest."""
        accepted = 0
        if within is None and run is not None and self._trees is not None:
            here = await self._reachable([Path("/")])
            accepted = await super().accept(here, before=before, run=run)
            run = None
        return accepted + await super().accept(within, before=before, run=run)

    async def end(self, claim: Claim, ending: Ending) -> bool:
        """See the port. The record is kept with the names of roots."""
        if (
            self._trees is not None
            and not isinstance(ending, Deferred | Moved)
            and ending.record is not None
        ):
            line = self._naming.portable(ending.record.line)
            ending = replace(ending, record=replace(ending.record, line=line))
        ended = await super().end(claim, ending)
        self._presence.claims.discard(claim.token)
        return ended

    async def outbox(self, limit: int, stream: str = "") -> list[Outgoing]:
        """See the port. Paths are this host's, where it has them."""
        lines = await super().outbox(limit, stream)
        if self._trees is None:
            return lines
        return [replace(each, line=self._naming.readable(each.line)) for each in lines]

    async def close(self) -> None:
        """See the port."""
        if self._closed:
            return
        self._closed = True
        if self._trees is not None:
            self._trees.close()
        await self._fall_silent()
        # What cannot be put back now is recovered later, as that of a dead owner.
        with suppress(StorageError):
            await self._leave()
        await self._abandon()

    async def changed(self, seconds: float, of: Change | None = None) -> bool:
        """See :meth:`taggerd.ledger.fleet.Fleet.changed`."""
        assert self._listening is not None  # noqa: S101 - since it was opened
        return await self._listening.changed(seconds, of)

    async def _fall_silent(self) -> None:
        if self._listening is not None:
            await asyncio.to_thread(self._listening.close)

    @in_thread
    def _file_states(self, files: Sequence[PhotoFile]) -> dict[Path, FileState]:
        return bulk.states(self._database, files)

    @in_thread
    def _admit(self, files: Sequence[PhotoFile], terms: Terms) -> Admitted:
        with self._database.transaction():
            return bulk.admit(self._database, files, terms)

    @in_thread
    def _decoded(self, claim: Claim, digest: str) -> list[Held]:
        return brisk.decoded(self._database, claim, digest)

    @in_thread
    def _keep(self, digest: str, answers: Sequence[Answer], spent: Spending | None) -> None:
        if len(answers) == 1 and digest and len(spent or {}) <= 1:
            brisk.keep(self._database, digest, answers[0], spent, self._clock())
        else:
            self._keep_all(digest, answers, spent)

    @in_thread
    def written(self, claim: Claim, digest: str, sidecars: Iterable[Sidecar]) -> None:
        """See the port."""
        sidecars = list(sidecars)
        if any(sidecar.stamp is not None for sidecar in sidecars):
            with self._database.transaction(quick=True):
                claims.written(self._database, claim, digest, sidecars)
        else:
            brisk.written(self._database, claim, digest, sidecars)

    @in_thread
    def _end(self, claim: Claim, ending: Ending) -> bool:
        if isinstance(ending, Finished) and not ending.held:
            return brisk.finish(self._database, claim, ending, self._clock())
        return self._end_any(claim, ending)

    @in_thread
    def _lend(self, limit: int, stream: str) -> list[Outgoing]:
        """Lend lines in one statement: two that look at the same moment get different ones."""
        if not queue.undelivered(self._database, self._me, 1, stream):
            return []  # the usual case, which needs no transaction
        with self._database.transaction():
            rows = self._database.rows("lend_some", owner=self._me, limit=limit, stream=stream)
        return [queue.outgoing(row) for row in rows]

    @in_thread
    def delivered(self, ids: Iterable[str], notices: Iterable[Notice] = ()) -> None:
        """See the port."""
        with self._database.transaction():
            journalled.deliver(self._database, ids)
            queue.keep_notices(self._database, notices)

    @in_thread
    def _leave(self) -> None:
        with self._database.transaction():
            self._end_owner(self._me, crashed=False)
            self._database.do("forget_commits", owner=self._me)

    async def _abandon(self) -> None:
        """Close the connection, and let go of nothing."""
        self._closed = True
        await self._fall_silent()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._database.close)
        self._thread.shutdown(wait=False)
        if self._local is not None:
            self._local.close()
