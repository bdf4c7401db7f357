"""Ctrl-C and SIGTERM: the first ends a command in order, the second at once."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")

INTERRUPTED = 130
"""Exit code after Ctrl-C, as in shells: 128 + SIGINT."""

_SHOW_CURSOR = "\x1b[?25h"


def run(command: Coroutine[None, None, T]) -> T:
    """Run *command* to its end; the first signal cancels it, the second ends the process.

    asyncio's own handler raises KeyboardInterrupt at the second Ctrl-C, wherever the loop is: the
    clean-up breaks off halfway and prints tracebacks.

    Raises:
        KeyboardInterrupt: it was cancelled.

    """
    return asyncio.run(_interruptible(command))


async def _interruptible(command: Coroutine[None, None, T]) -> T:
    task = asyncio.ensure_future(command)
    loop = asyncio.get_running_loop()

    def first() -> None:
        task.cancel()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, end_at_once)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, first)
    try:
        return await task
    except asyncio.CancelledError as cancelled:
        raise KeyboardInterrupt from cancelled


def end_at_once(*_: object) -> NoReturn:
    """End the process without any clean-up: the queue and the sidecars survive a kill."""
    if sys.stderr.isatty():
        sys.stderr.write(_SHOW_CURSOR)  # a progress bar hides it
        sys.stderr.flush()
    os._exit(INTERRUPTED)
