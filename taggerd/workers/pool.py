"""Isolated, limited, replaceable processes for native code. They know nothing about photos.

Why not a pool from the standard library or pebble: all processes of those share one channel with a
lock, so that one killed at the wrong instant breaks the pool for the others, and a process inherits
the whole environment of its parent, secrets included. Here each pool has a fork server
(:mod:`.forkserver`), which is started afresh (`exec`) with an environment of its own, and each
process has a channel of its own. Losing one affects only the task that it was working on.

Limits of a process: address space (``workers.memory_megabytes``), processor time, no core dump;
it dies with its parent. The pool enforces the task's deadline. It works below the folders that its
parent has declared (:func:`taggerd.files.work_below`).
"""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple, ParamSpec, TypeVar, cast

from taggerd import files
from taggerd.errors import (
    BuildChanged,
    PhotoError,
    PhotoMoved,
    ProgramFault,
    StartError,
    TaggerdError,
    WorkerLost,
    WorkerOverMemory,
)
from taggerd.logs import get_logger
from taggerd.photo import printable
from taggerd.workers.build import RUNNING
from taggerd.workers.endings import more_memory
from taggerd.workers.memory import machine_megabytes, memory_of
from taggerd.workers.process import SWELLED, VALUE, Limits
from taggerd.workers.replies import NotAReplyError, Replies, is_short
from taggerd.workers.template import END_SECONDS, Template, TemplateLost
from taggerd.workers.worker import NO_ANSWER, LostBeforeBegun, Request, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Sequence

    from taggerd import settings

    SecondsFor = Callable[[Callable[..., object], tuple[object, ...]], float | None]
    """A function and its arguments → seconds; None: as long as any task may take."""

log = get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_IDLE_SECONDS = 60.0
"""After which a process without a task ends, and with the last one what they are forked from."""
_MOST_GROWTH_MEGABYTES = 64.0
"""A process that has so much more memory after a task than when it was new is replaced."""
_STARTS_PER_TASK = 3
"""Processes that may be lost before a task has begun, until it fails."""
_MOST_VALUES, _MOST_VALUES_CAGED = 10_000_000, 200_000
"""In a reply. Archives list their members."""
_LONGEST_WORDS = 2000
"""Characters of what a decoder says is wrong."""


class Workers:
    """At most ``settings.processes`` processes, started when there is work for them."""

    def __init__(  # noqa: PLR0913 - what differs between pools
        self,
        settings: settings.Workers,
        *,
        caged: bool = False,
        slow: bool = False,
        seconds_for: SecondsFor | None = None,
        returns: Iterable[type] = (),
        loads: Sequence[str] = (),
        calls_per_file: int = 1,
        idle_seconds: float = _IDLE_SECONDS,
    ) -> None:
        """Start nothing yet.

        Args:
            settings: how many, and what they may use.
            caged: they read foreign bytes, from open files that they are lent, and can reach
                nothing else (:mod:`taggerd.workers.cage`).
            slow: it is one, for tasks that took too much memory or time before. It may use more of
                both, and yields the processor to all others.
            seconds_for: says how long a call may take, where that is less than
                ``deadline_seconds``.
            returns: dataclasses and named tuples that functions return, and those in their fields.
            loads: what processes have imported when they start: a module, or ``module:function``,
                which is called as well.
            calls_per_file: tasks that one file means, for ``files_per_process``.
            idle_seconds: after which a process without a task ends.

        Raises:
            TypeError, NameError: a field of these is of a type that is not among them.
        """
        self._seconds_for = seconds_for
        memory = memory_of(settings, machine_megabytes())
        usual = memory.decode if caged else memory.write
        self._limits = Limits(usual, settings.deadline_seconds, caged, slow=slow)
        if slow:
            self._limits = self._limits._replace(
                memory_megabytes=memory.slow, deadline_seconds=settings.slow_deadline_seconds
            )
        self._settings = settings
        self._slow = slow
        self._caged = caged
        self._replies = Replies(returns, _MOST_VALUES_CAGED if caged else _MOST_VALUES)
        self._reader = ThreadPoolExecutor(1, "replies")
        self._lacking: tuple[str, ...] = ()
        self._loads = tuple(loads)
        self._most_tasks = settings.files_per_process * calls_per_file
        self._idle_seconds = idle_seconds
        self._most = 1 if slow else settings.processes
        self._slots = asyncio.Semaphore(self._most)
        self._template: Template | None = None
        self._beginning: Template | None = None
        self._starting = asyncio.Lock()
        self._processes: set[Worker] = set()
        self._idle: list[Worker] = []
        self._used_at = 0.0
        self._expiry: asyncio.TimerHandle | None = None
        self._warming: asyncio.Task[None] | None = None
        self._endings: set[asyncio.Task[None]] = set()
        self._closed = False

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call *function* in a process and return what it returns.

        The function is found by its module and name, and its arguments are pickled. Open files
        (:class:`~taggerd.files.OpenFile`) may be anywhere in them: the process gets descriptors of
        its own and closes them afterwards; the caller's stay open. They share one position, so a
        file is lent to one task at a time. The function may return plain values, paths, and the
        types that the pool was made for, and nothing but what its annotation says. If the caller
        is cancelled, the process is killed.

        Raises:
            WorkerLost: the process died. WorkerOverTime: it exceeded ``deadline_seconds``.
                WorkerOverMemory: it needed more than ``memory_megabytes``, or the machine had no
                more. Other tasks are not affected. Also for a process that answers what none that
                is sound answers; it is killed.
            StartError: no process can be started. The task is not at fault.
            BuildChanged: processes would start from the files of another version.
            ProgramFault: *function* could not be imported, or does not fit our own code.
            RuntimeError: :meth:`close` was called meanwhile, and the task is not at fault either;
                or *function* raised what is not taggerd's: its type and text.
            TaggerdError: whatever *function* raised of these.
        """
        expected = self._replies.expected(function)
        roots = () if self._caged else files.declared()
        request = Request.of((roots, function, args, kwargs))
        seconds = self._limits.deadline_seconds
        if self._seconds_for is not None:
            seconds = min(seconds, self._seconds_for(function, args) or seconds)
        async with self._slots:
            for _ in range(_STARTS_PER_TASK):
                try:
                    process = await self._take()
                    outcome = await self._ask(process, request, seconds, expected)
                except (LostBeforeBegun, TemplateLost):
                    continue
                if isinstance(outcome, _Raised):
                    raise outcome.error
                return cast("T", outcome)
        message = f"{_STARTS_PER_TASK} processes in a row died before they could start"
        raise StartError(message)

    @property
    def lacking(self) -> tuple[str, ...]:
        """Which parts of the cage the kernel does not have, as the last process found out."""
        return self._lacking

    async def check(self) -> tuple[str, ...]:
        """Return :attr:`lacking` once a process has found out.

        Raises:
            StartError: no process can be started.
        """
        await self.run(bool)
        return self._lacking

    def warm(self, tasks: int = 1) -> None:
        """Start processes now for so many *tasks* that come soon, as far as there are too few."""
        wanted = min(tasks, self._most)
        warming = self._warming is not None and not self._warming.done()
        if len(self._processes) >= wanted or self._closed or warming:
            self._used_at = asyncio.get_running_loop().time()
            return
        self._warming = asyncio.create_task(self._warm(wanted), name="warming of workers")

    async def _warm(self, wanted: int) -> None:
        # What keeps them from starting is said by the task that comes.
        with contextlib.suppress(TaggerdError, TemplateLost, RuntimeError):
            while True:
                async with self._slots:
                    if len(self._processes) >= wanted:
                        return
                    self._lay_down(await self._begin())

    async def close(self) -> None:
        """End all processes within four seconds; those with a task are killed."""
        self._closed = True
        if self._expiry is not None:
            self._expiry.cancel()
        if self._warming is not None:
            self._warming.cancel()
            await asyncio.wait((self._warming,), timeout=END_SECONDS)
        if self._beginning is not None:
            self._beginning.kill()
        async with self._starting:
            pass  # whoever had begun it has been told, and lets it end
        for process in tuple(self._processes):
            if process not in self._idle:
                process.kill()
            self._retire(process)
        self._idle.clear()
        self._reader.shutdown(wait=False)
        if self._endings:
            await asyncio.wait(self._endings, timeout=2 * END_SECONDS)
        if self._template is not None:
            self._template.kill()
            await self._template.end()

    async def _take(self) -> Worker:
        """Return a live process: the one used last, or a new one.

        Raises:
            TemplateLost: the process that it was forked from died meanwhile.
        """
        while self._idle:
            process = self._idle.pop()
            if process.kept_silent() and process.template.sound:
                return process
            self._retire(process)
        return await self._begin()

    async def _begin(self) -> Worker:
        """Return a new process. Raises as :meth:`_take` does."""
        self._refuse_if_closed()
        try:
            process = await Worker.start(await self._sound_template(), self._limits)
            if self._slow:
                process.prefix = "workers.slow_"
            self._processes.add(process)
            try:
                self._note(await process.ready())
                self._refuse_if_closed()
            except BaseException:
                process.kill()
                self._retire(process)
                raise
        except (StartError, TemplateLost) as error:
            self._refuse_if_closed()
            if RUNNING.changed():
                raise BuildChanged from error
            raise
        except BaseException:
            self._refuse_if_closed()
            raise
        return process

    async def _sound_template(self) -> Template:
        """Return what workers are forked from: the one there is, or a new one.

        Raises:
            StartError: none can be started. BuildChanged: it would be of another version, as what
                workers import late would be.
        """
        async with self._starting:
            self._refuse_if_closed()
            if RUNNING.changed():
                raise BuildChanged
            if self._template is not None and not self._template.sound:
                self._end(self._template.end(), "end of a fork server")
                self._template = None
            if self._template is None:
                self._template = await self._new_template()
                self._used_at = asyncio.get_running_loop().time()
                if self._expiry is None:
                    self._expire()
            return self._template

    async def _new_template(self) -> Template:
        """Start what workers are forked from, and wait until it is ready.

        Raises:
            StartError, BuildChanged: it does not start, or is of another version.
        """
        template = self._beginning = Template.start(self._loads)
        try:
            await template.ready()
            self._refuse_if_closed()
        except BaseException:
            self._end(template.end(), "end of a fork server")
            raise
        finally:
            self._beginning = None
        return template

    def _note(self, lacking: tuple[str, ...]) -> None:
        """Remember what a process lacks, and say it once."""
        for part in lacking if lacking != self._lacking else ():
            log.warning("decoders are not confined as they should be", by=part)
        self._lacking = lacking

    def _refuse_if_closed(self) -> None:
        if self._closed:
            message = "the worker processes are closed"
            raise RuntimeError(message)

    async def _ask(
        self, process: Worker, request: Request, seconds: float, expected: object
    ) -> object:
        """Send *request* to *process*; afterwards the process is idle again or retired.

        Returns what is *expected*, or what was raised.
        """
        try:
            tag, content = await process.ask(request, seconds)
            if is_short(content):
                outcome = self._outcome(process, tag, content, expected)
            else:
                outcome = await asyncio.get_running_loop().run_in_executor(
                    self._reader, self._outcome, process, tag, content, expected
                )
        except BaseException:
            process.kill()
            self._retire(process)
            self._refuse_if_closed()  # killed by close(): the task is not at fault
            raise
        spent = process.tasks >= self._most_tasks or not process.template.sound
        if tag == SWELLED or spent or process.grown_megabytes > _MOST_GROWTH_MEGABYTES:
            self._retire(process)
        else:
            self._lay_down(process)
        return outcome

    def _lay_down(self, process: Worker) -> None:
        """Keep *process* for the next task, for a while."""
        # A task may have begun one beside a warming.
        if self._closed or len(self._processes) > self._most:
            self._retire(process)
            return
        process.lay_down()
        self._idle.append(process)
        self._used_at = process.idle_since

    def _expire(self) -> None:
        """End what has been idle for long, and look again when the next one will have been."""
        loop = asyncio.get_running_loop()
        now, most = loop.time(), self._idle_seconds
        while self._idle and self._idle[0].idle_since + most <= now:
            self._retire(self._idle.pop(0))
        self._expiry = None
        if self._idle:
            again = self._idle[0].idle_since + most
        elif self._processes:
            again = now + most
        else:
            again = self._used_at + most
        if again > now:
            self._expiry = loop.call_at(again, self._expire)
        elif self._template is not None:
            self._end(self._template.end(), "end of a fork server")
            self._template = None

    def _retire(self, process: Worker) -> None:
        """Let *process* end in the background."""
        if process in self._processes:
            self._processes.discard(process)
            self._end(process.end(), f"end of worker {process.pid}")

    def _end(self, ending: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.create_task(ending, name=name)
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)

    def _outcome(self, process: Worker, tag: bytes, content: bytes, expected: object) -> object:
        """Return the value that *content* holds, or what it says was raised.

        Raises:
            WorkerLost: it is neither.
        """
        if tag == SWELLED:
            return _Raised(WorkerOverMemory(more_memory(process.prefix)))
        try:
            if tag == VALUE:
                return self._replies.value(content, expected)
            error = self._replies.error(content)
        except NotAReplyError as fault:
            message = f"{NO_ANSWER} ({printable(str(fault))})"
            raise WorkerLost(message) from None
        return _Raised(_of_the_photo(error) if self._caged else error)


class _Raised(NamedTuple):
    """What a function raised."""

    error: Exception


def _of_the_photo(error: Exception) -> Exception:
    """Return what a decoder raised, unless no decoder that is sound raises it.

    One that is taken over could stop all work, by a full disk, a damaged ledger or a denied key.
    """
    words = str(error)
    is_ours = isinstance(error, TaggerdError)
    may_say = isinstance(error, PhotoError | PhotoMoved) or type(error) is ProgramFault
    if len(words) <= _LONGEST_WORDS and (may_say or not is_ours):
        return error
    return WorkerLost(f"its process said what is not about the photo: {printable(words[:100])}")
