"""What was done, and could not be told: a repetition does not do it again.

A call of the ledger that raises StorageError says that nothing of it has happened. Where the server
goes away behind a commit, before it has answered or before the disk has it, that is known only once
it is back. Then what has happened after all is undone, or the repetition is told its result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from taggerd.errors import LedgerAway
from taggerd.ledger.port import Failed
from taggerd.ledger.postgres.faults import InDoubt

if TYPE_CHECKING:
    from collections.abc import Callable
    from functools import partial

    from taggerd.ledger.postgres.database import PostgresDatabase
    from taggerd.photo import Spending, Usage

_UNDONE = "the ledger's server was restarted, and has lost what it did last"
_KEPT = 500
"""So many are remembered; whoever does not repeat one never will."""


@dataclass(frozen=True, slots=True)
class Done:
    """A transaction that somebody waits for."""

    number: int
    name: str
    arguments: tuple[Any, ...]
    result: Any

    @property
    def spent(self) -> Spending:
        """What it added to the spending: the caller will add it again, to whatever else."""
        match self.name, self.arguments:
            case "_keep", (_digest, _answers, dict(spent)):
                return spent
            case "spend", (day, model, usage):
                return {(day, model): usage}
        return {}


class Doubts:
    """Remembers what was done and is not on the disk for sure."""

    def __init__(self, database: PostgresDatabase) -> None:
        """Begin with nothing; belongs to the database's thread."""
        self._database = database
        self._unflushed: list[Done] = []
        self._untold: list[Done] = []
        self._taken_back: tuple[int, list[Done]] = 0, []
        """A transaction that undoes spending, if nobody knows whether it was committed."""

    def done(self, work: Callable[[], object], result: object) -> None:
        """Note that *work* was committed by the last transaction, with *result*."""
        if (call := _call(work)) is not None:
            self._unflushed = [*self._unflushed, Done(self._database.number, *call, result)]
            del self._unflushed[:-_KEPT]

    def in_doubt(self, work: Callable[[], object], number: int) -> None:
        """Note that nobody knows whether *work* was committed by the transaction *number*."""
        if (call := _call(work)) is not None:
            self._untold.append(Done(number, *call, _usual(*call)))

    def flush(self) -> None:
        """Wait until all is on the disk. Raises StorageError where it is not, or nobody knows."""
        waiting, self._unflushed = self._unflushed, []
        try:
            self._database.flush()
        except BaseException:
            self._untold += waiting
            raise
        if any(self._database.is_undone(done.number) for done in waiting):
            self._untold += waiting
            raise LedgerAway(_UNDONE)

    def told(self, work: Callable[[], object]) -> Done | None:
        """Return what *work* came to, if it was done already; undo what will be repeated.

        Raises StorageError while nobody knows.
        """
        if not self._untold:
            return None
        self._database.reach()
        number, taken_back = self._taken_back
        if number and not self._database.is_undone(number):
            self._untold = [done for done in self._untold if done not in taken_back]
        self._taken_back = 0, []
        happened = [done for done in self._untold if not self._database.is_undone(done.number)]
        self._undo_spending([done for done in happened if done.spent])
        call = _call(work)
        found = next((d for d in happened if not d.spent and (d.name, d.arguments) == call), None)
        self._untold = [d for d in happened if d is not found and not d.spent][-_KEPT:]
        return None if found is None or found.name == "_keep" else found

    def _undo_spending(self, all_done: list[Done]) -> None:
        """Undo what they have added to the spending: all of it, or nothing."""
        if not all_done:
            return
        try:
            with self._database.transaction():
                for done in all_done:
                    for (day, model), usage in done.spent.items():
                        less = _negative(usage)._asdict()
                        self._database.do("spend", day=day, model=model, **less)
        except InDoubt as error:
            self._taken_back = error.number, all_done
            raise


def _negative(usage: Usage) -> Usage:
    return type(usage)(*(-number for number in usage))


def _call(work: Callable[[], object] | partial[object]) -> tuple[str, tuple[Any, ...]] | None:
    """Return which method *work* calls, and with what; None where a repetition does no harm."""
    name = getattr(getattr(work, "func", None), "__name__", "")
    if name not in {"_keep", "_end", "_correct", "spend"}:
        return None
    return name, tuple(getattr(work, "args", ())[1:])


def _usual(name: str, arguments: tuple[Any, ...]) -> bool | None:
    """Return the result of a call that nobody has seen."""
    return not isinstance(arguments[1], Failed) if name == "_end" else None
