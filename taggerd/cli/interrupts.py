"""Ctrl-C and SIGTERM: the first ends a command in order and in time, the second at once."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from taggerd.cli.ending import INTERRUPTED, end_as_interrupted, end_at_once
from taggerd.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from types import FrameType

log = get_logger(__name__)

T = TypeVar("T")

HUNG = 1
"""Exit code of a service that was asked to end and did not."""
GRACE_SECONDS = 1.5
"""How much longer than ``service.drain_seconds`` an end in order may take."""
BUSY_SECONDS = 15.0
"""How much longer than that while the process works: on a busy machine the pages of the day, which
may take ten seconds, ended every stop with an error."""
_SAMPLE_SECONDS = 0.5
_WORK_SECONDS = 0.01
"""Processor time within a sample: with less, it waits for what hangs."""
_TELL_SECONDS = 0.3
"""Longest wait until what hangs is told: standard error may hang as well."""


def run(command: Coroutine[None, None, T], *, drain_seconds: float = 20.0) -> T:
    """Run *command* to its end; the first signal cancels it, the second ends the process.

    asyncio's own handler raises KeyboardInterrupt at the second Ctrl-C, wherever the loop is: the
    clean-up breaks off halfway and prints tracebacks.

    Args:
        command: what to do.
        drain_seconds: how long, and :data:`GRACE_SECONDS` more, its clean-up may take.

    Raises:
        KeyboardInterrupt: it was cancelled.
        BrokenPipeError: nobody reads what it prints any more.

    """
    return asyncio.run(_interruptible(command, drain_seconds))


async def _interruptible(command: Coroutine[None, None, T], drain_seconds: float) -> T:
    task = asyncio.ensure_future(_heard(command))
    loop = asyncio.get_running_loop()
    ending = False

    def hear() -> None:
        nonlocal ending
        if ending:  # not another handler for it: a second that comes at once would find the first's
            end_at_once()
        ending = True
        end_after(drain_seconds, INTERRUPTED)
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, hear)
    try:
        return await task
    except asyncio.CancelledError as cancelled:
        # The end of the loop does it too late, after it has closed the pipe that signals go to.
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
        end_as_interrupted()
        raise KeyboardInterrupt from cancelled


async def _heard(command: Coroutine[None, None, T]) -> T:
    """Run *command*; nobody reading what it prints is an error like others.

    rich raises SystemExit then, which breaks the loop off in the middle: every task that had not
    ended printed a traceback.

    Raises:
        BrokenPipeError: nobody reads what it prints any more.

    """
    try:
        return await command
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):
            raise ended.__context__ from None
        raise


def end_after(drain_seconds: float, code: int = HUNG) -> None:
    """End the process :data:`GRACE_SECONDS` after *drain_seconds*, unless it ends before.

    Later, by :data:`BUSY_SECONDS` at most, where it is not hung but slow. A file system call into
    a share that is gone never returns, and Python waits for its thread.
    """
    seconds = drain_seconds + GRACE_SECONDS
    loop = asyncio.get_running_loop()

    def end() -> None:
        time.sleep(seconds - _SAMPLE_SECONDS)
        _wait_while_it_works()
        telling = threading.Thread(target=tell, daemon=True)
        telling.start()
        telling.join(_TELL_SECONDS)
        os._exit(code)

    def tell() -> None:
        hung = ", ".join((*_tasks(loop), *_threads())) or "unknown"
        log.error("not ended in time: photos stay queued", seconds=seconds, hung=hung)

    threading.Thread(target=end, name="end", daemon=True).start()


def _wait_while_it_works() -> None:
    """Wait until the process uses no processor time to speak of. Blocks."""
    until, used = time.monotonic() + _SAMPLE_SECONDS + BUSY_SECONDS, time.process_time()
    while time.monotonic() < until:
        time.sleep(_SAMPLE_SECONDS)
        before, used = used, time.process_time()
        if used - before < _WORK_SECONDS:
            return


def _tasks(loop: asyncio.AbstractEventLoop) -> Iterator[str]:
    """Name the tasks that have not ended."""
    for task in asyncio.all_tasks(loop):
        if not task.get_name().startswith("Task-"):  # nobody named it: it waits for a named one
            yield task.get_name()


def _threads() -> Iterator[str]:
    """Name the threads that are in the middle of something, and where in our code."""
    frames = sys._current_frames()  # noqa: SLF001 - documented, and there is no other way
    for thread in threading.enumerate():
        frame = frames.get(thread.ident or 0)
        if frame is None or thread in {threading.main_thread(), threading.current_thread()}:
            continue
        if (where := _ours(frame)) is not None and "interrupts" not in where.f_code.co_filename:
            name = Path(where.f_code.co_filename).name
            yield f"thread {thread.name} in {name}:{where.f_lineno} {where.f_code.co_name}()"


def _ours(frame: FrameType | None) -> FrameType | None:
    """Return the innermost frame of this package, if the thread does not just wait for work."""
    package = str(Path(__file__).parents[1])
    while frame is not None:
        if frame.f_code.co_filename.startswith(package):
            return frame if frame.f_code.co_name != "_work" else None
        frame = frame.f_back
    return None
