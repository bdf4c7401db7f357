"""The gate: lets no request about a photo go to a backend of which it is known not to be well."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taggerd.errors import BackendError

_probing: ContextVar[bool] = ContextVar("probing", default=False)


class Gate:
    """Where requests pass that have a place, just before they are sent."""

    def __init__(self) -> None:
        """Be open."""
        self._open = asyncio.Event()
        self._open.set()
        self.halted: BackendError | None = None
        """Why nothing more is asked about photos, though some wait for a place; None: ask."""

    async def wait(self) -> None:
        """Wait, without a place, while it is found out how the backend is."""
        if not _probing.get():
            await self._open.wait()

    def lets_through(self) -> bool:
        """Say whether to go on, or to give the place back and wait again.

        Raises:
            BackendError: the backend is at fault, as is known by now.
        """
        if _probing.get():
            return True
        if self._open.is_set() and self.halted is not None:
            raise type(self.halted)(str(self.halted))
        return self._open.is_set()

    @contextmanager
    def suspected(self) -> Iterator[None]:
        """Hold requests about photos back while it is found out how the backend is."""
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()


@contextmanager
def probing() -> Iterator[None]:
    """Mark the requests of this block as asking how the backend is: they are let through.

    A context variable, for it has to pass through all of what asks about photos as well.
    """
    token = _probing.set(True)
    try:
        yield
    finally:
        _probing.reset(token)


def is_probing() -> bool:
    """Say whether it is asked how the backend is, and not about a photo."""
    return _probing.get()
