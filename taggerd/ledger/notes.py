"""What ledgers in SQL databases keep beside photos.

Records on their way, notices, the pause, notes, what people did, what was spent.

One thread owns the connection; the coroutines hand it whole transactions. A method marked
``@in_thread`` is written as that thread runs it, and awaited as the port says.
"""

from __future__ import annotations

import json
import threading
from abc import ABC, abstractmethod
from dataclasses import replace
from functools import partial, wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from taggerd.ledger import corrections, queue
from taggerd.ledger.port import HERE

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
    from pathlib import Path

    from taggerd.ledger.port import Correction, CorrectionKind, Json, Outgoing, Pause
    from taggerd.ledger.queries import Database
    from taggerd.photo import Notice, Usage

P = ParamSpec("P")
T = TypeVar("T")
L = TypeVar("L", bound="SqlNotes")


def in_thread(
    method: Callable[Concatenate[L, P], T],
) -> Callable[Concatenate[L, P], Coroutine[None, None, T]]:
    """Make a coroutine of *method* that runs it in the ledger's thread."""

    @wraps(method)
    async def call(self: L, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._run(partial(method, self, *args, **kwargs))

    return call


class SqlNotes(ABC):
    """The part of :class:`taggerd.ledger.port.Ledger` that is about no photo of the queue."""

    def __init__(self, database: Database, me: str, clock: Callable[[], float]) -> None:
        """Use an open *database* as the owner *me*."""
        self._database = database
        self._me = me
        self._clock = clock

    @abstractmethod
    async def _run(self, work: Callable[[], T]) -> T:
        """Run *work* in the thread that owns the database."""

    @abstractmethod
    async def _on_disk(self) -> None:
        """Wait until everything committed so far is on the disk."""

    def _kept(self, at: float) -> float:
        """Return a time of this host's clock as the ledger keeps it."""
        return at

    def _told(self, at: float) -> float:
        """Return a time that the ledger keeps by this host's clock."""
        return at

    @in_thread
    def ping(self) -> int:
        """See the port."""
        return threading.get_native_id()

    # The outbox.

    async def outbox(self, limit: int, stream: str = "") -> list[Outgoing]:
        """See the port."""
        lines = await self._lend(limit, stream)
        if lines:  # nothing may get into the journal that a power cut could still undo
            await self._on_disk()
        return lines

    @in_thread
    def _lend(self, limit: int, stream: str) -> list[Outgoing]:
        database = self._database
        if not queue.undelivered(database, self._me, limit, stream):
            return []  # the usual case, which needs no transaction
        with database.transaction(quick=True):
            lines = queue.undelivered(database, self._me, limit, stream)
            for line in lines:
                database.do("lend", record=line.id, owner=self._me)
        return lines

    @in_thread
    def all_delivered(self) -> bool:
        """See the port."""
        return bool(self._database.one("all_delivered")["so"])

    @in_thread
    def delivered(self, ids: Iterable[str], notices: Iterable[Notice] = ()) -> None:
        """See the port."""
        with self._database.transaction():
            for record in ids:
                self._database.do("delivered", record=record)
            queue.keep_notices(self._database, notices)

    # Notices for hooks.

    @in_thread
    def notify(
        self,
        notices: Iterable[Notice],
        *,
        done: Iterable[Notice] = (),
        notes: Mapping[str, Json] | None = None,
    ) -> None:
        """See the port."""
        with self._database.transaction():
            queue.keep_notices(self._database, notices)
            for notice in done:
                self._database.do("notice_done", hook=notice.hook, notice=notice.id)
            for key, value in (notes or {}).items():
                self._database.do("note", key=key, value=json.dumps(value))

    @in_thread
    def due_notices(self, hook: str, limit: int, now: float) -> list[Notice]:
        """See the port."""
        return queue.notices(self._database, hook, limit, self._kept(now))

    @in_thread
    def next_notice(self, hook: str) -> float | None:
        """See the port."""
        due: float | None = self._database.one("notices_due", hook=hook)["due"]
        return None if due is None else self._told(due)

    @in_thread
    def defer_notice(self, notice: Notice, until: float) -> None:
        """See the port."""
        with self._database.transaction():
            self._database.do(
                "defer_notice", hook=notice.hook, notice=notice.id, until=self._kept(until)
            )

    @in_thread
    def drop_notices(self, hook: str, *, before: float, keep: int) -> int:
        """See the port."""
        with self._database.transaction():
            return self._database.do(
                "drop_notices", hook=hook, before=self._kept(before), keep=keep
            )

    @in_thread
    def pause(self, pause: Pause | None) -> None:
        """See the port."""
        if pause is not None:
            until = None if pause.until is None else self._kept(pause.until)
            pause = replace(pause, since=self._kept(pause.since), until=until)
        with self._database.transaction():
            queue.set_pause(self._database, pause)

    @in_thread
    def paused(self, now: float) -> Pause | None:
        """See the port."""
        pause = queue.paused(self._database, self._kept(now))
        if pause is None:
            return None
        until = None if pause.until is None else self._told(pause.until)
        return replace(pause, since=self._told(pause.since), until=until)

    @in_thread
    def note(self, key: str, value: Json, *, here: bool = False) -> None:
        """See the port."""
        key = self._key(key, here=here)
        with self._database.transaction():
            self._database.do("note", key=key, value=json.dumps(value))

    def _key(self, key: str, *, here: bool) -> str:
        if here and not key.startswith(HERE):
            message = f"no key of a note about one host: {key}"
            raise ValueError(message)
        return self._database.paths.note(key) if here else key

    @in_thread
    def recall(self, key: str, *, here: bool = False) -> Json:
        """See the port."""
        return queue.recall(self._database, self._key(key, here=here))

    # What people did.

    @in_thread
    def _correct(self, made: Sequence[Correction]) -> None:
        with self._database.transaction(quick=True):
            corrections.keep(self._database, made, self._clock())

    async def correct(self, corrections: Iterable[Correction]) -> None:
        """See the port. It is on the disk when this returns."""
        await self._correct(list(corrections))
        await self._on_disk()

    @in_thread
    def corrections(
        self,
        *,
        after: int = 0,
        limit: int = 1000,
        kind: CorrectionKind | None = None,
        undone: bool = False,
    ) -> list[Correction]:
        """See the port."""
        return corrections.since(self._database, after, limit, kind, undone=undone)

    @in_thread
    def corrections_of(self, photo: Path) -> list[Correction]:
        """See the port."""
        return corrections.of(self._database, photo)

    @in_thread
    def undo_corrections(self, action: str) -> int:
        """See the port."""
        with self._database.transaction():
            return corrections.undo(self._database, action, self._clock())

    @in_thread
    def spend(self, day: str, model: str, usage: Usage) -> None:
        """See the port."""
        with self._database.transaction():
            self._database.do("spend", day=day, model=model, **usage._asdict())

    @in_thread
    def spent(self, day: str) -> dict[str, Usage]:
        """See the port."""
        return queue.spent(self._database, day)
