"""An open ledger's share in the state directory, and the thread that its work is done in.

One thread owns the connection; the coroutines hand it whole transactions. A method marked
``@in_thread`` is written as that thread runs it and is awaited like the port says.
"""

from __future__ import annotations

from functools import partial, wraps
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, Literal, ParamSpec, TypeVar

from taggerd.ledger.atrest import Place, folder_range

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence

    from taggerd.ledger.statedirectory import StateDirectory

P = ParamSpec("P")
T = TypeVar("T")
L = TypeVar("L", bound="InThread")

BATCH = 1000
"""Files taken in one transaction."""


def in_thread(
    method: Callable[Concatenate[L, P], T],
) -> Callable[Concatenate[L, P], Coroutine[None, None, T]]:
    """Make a coroutine of *method* that runs it in the ledger's thread."""

    @wraps(method)
    async def call(self: L, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._state.run(partial(method, self, *args, **kwargs))

    return call


def paid(
    method: Callable[Concatenate[L, P], T],
) -> Callable[Concatenate[L, P], Coroutine[None, None, T]]:
    """As :func:`in_thread`, for what money was spent on: it is on the platter when it ends."""
    commit = in_thread(method)

    @wraps(method)
    async def call(self: L, /, *args: P.args, **kwargs: P.kwargs) -> T:
        done = await commit(self, *args, **kwargs)
        await self._state.durability.reached()
        return done

    return call


class InThread:
    """What every part of the SQLite ledger works with."""

    def __init__(
        self, state: StateDirectory, *, max_attempts: int, order: Literal["newest", "oldest"]
    ) -> None:
        """Use an open *state*."""
        self._state = state
        self._database = state.database
        self._me = state.owners.me
        self._clock = state.clock
        self._max_attempts = max_attempts
        self._order = order
        self._scope: tuple[Path, ...] | None = None

    def _look_within(self, within: Sequence[Path] | None) -> None:
        """Tell the queries which folders and files are meant."""
        scope = (Path("/"),) if within is None else tuple(within)
        if scope == self._scope:
            return
        self._scope = None
        self._database.do("clear_scope")
        for path in scope:
            low, high = folder_range(path)
            place = Place.of(path)
            self._database.do(
                "add_scope",
                low=low,
                high=high,
                parent=place.folder,
                stem=place.stem,
                suffix=place.suffix,
            )
        self._scope = scope


def batches(items: Iterable[T]) -> Iterator[list[T]]:
    """Cut *items* into lists of :data:`BATCH`."""
    remaining = iter(items)
    while batch := list(islice(remaining, BATCH)):
        yield batch
