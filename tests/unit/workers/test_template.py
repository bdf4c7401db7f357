"""What workers are forked from: ready in milliseconds, known to no photo, and not to be missed.

The parent of a worker is what it was forked from, so that a worker can tell its process id.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from taggerd import imaging, metadata, settings
from taggerd.errors import BuildChanged, StartError, WorkerLost
from taggerd.photo import Stamp
from taggerd.services.pools import DECODED, DECODING, WRITING
from taggerd.workers.forkserver import FORKED
from taggerd.workers.pool import Workers
from taggerd.workers.template import Template

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

FAR_AWAY_MS = 60_000
BOTH = "(__import__('os').getpid(), __import__('os').getppid())"
DESCRIPTORS = "sorted(__import__('os').listdir('/proc/self/fd'))"


@contextlib.asynccontextmanager
async def working(
    *,
    processes: int = 1,
    loads: tuple[str, ...] = (),
    idle_seconds: float = 60,
    caged: bool = False,
) -> AsyncIterator[Workers]:
    """Workers that are closed again."""
    given = settings.Workers(processes=processes, deadline_seconds=20)
    workers = Workers(given, caged=caged, loads=loads, idle_seconds=idle_seconds)
    try:
        yield workers
    finally:
        await workers.close()


async def gone(pid: int) -> None:
    """Wait until the process *pid* has ended."""
    with contextlib.suppress(ProcessLookupError):
        handle = os.pidfd_open(pid)
        try:
            poll = select.poll()
            poll.register(handle, select.POLLIN)
            assert await asyncio.to_thread(poll.poll, FAR_AWAY_MS)
        finally:
            os.close(handle)


def threads(pid: int) -> int:
    """Return how many threads a process has."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def handles() -> int:
    """Return how many processes this one has a handle of."""
    links = (each for each in Path("/proc/self/fd").iterdir() if each.is_symlink())
    return sum("pidfd" in each.readlink().name for each in links)


async def more_handles_than(before: int) -> None:
    """Wait, for what other tasks do at once, until there are more handles."""
    for _ in range(1000):
        if handles() > before:
            return
        await asyncio.sleep(0)
    pytest.fail("nothing was started")


def children(pid: int) -> list[int]:
    """Return the children of a process that has one thread."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def test_workers_are_forked_from_one_process_and_never_from_each_other() -> None:
    """So none finds in its memory what another photo left there."""
    async with working(processes=2) as workers:
        leave = "import builtins, os; builtins.left = 1"
        await asyncio.gather(*(workers.run(exec, leave) for _ in range(2)))
        template = await workers.run(os.getppid)
        first = children(template)
        assert len(first) == 2
        for each in first:
            os.kill(each, signal.SIGKILL)
            await gone(each)
        assert await workers.run(os.getppid) == template
        assert not {*first} & {*children(template)}
        assert not await workers.run(eval, "hasattr(__import__('builtins'), 'left')")


async def test_it_has_loaded_what_workers_need() -> None:
    """The first photo does not pay for imports; what cannot be imported is left to its task."""
    loads = ("colorsys", "no_such_module", "json:no_such_function", "calendar:TextCalendar")
    async with working(loads=loads) as workers:
        assert await workers.run(eval, "{'colorsys', 'calendar'} <= set(__import__('sys').modules)")


@pytest.mark.parametrize("loads", [DECODING, WRITING], ids=["decoding", "writing"])
async def test_it_has_one_thread(loads: tuple[str, ...]) -> None:
    """A second one would not be in a worker, which would wait for it for ever."""
    async with working(loads=loads) as workers:
        template = await workers.run(os.getppid)
        assert threads(template) == 1


async def test_the_first_photo_imports_nothing(tmp_path: Path) -> None:
    """Else each worker would pay again for what its first photo needs."""
    photo = tmp_path / "a.jpg"
    Image.new("RGB", (64, 48)).save(photo)
    modules = "sorted(__import__('sys').modules)"
    given = settings.Workers(processes=1)
    workers = Workers(given, caged=True, loads=DECODING, returns=DECODED)
    try:
        before = await workers.run(eval, modules)
        with imaging.open_photo(photo) as file:
            stamp = Stamp.of(file.stat())
            await workers.run(imaging.prepare, file, stamp, settings.Image())
            await workers.run(metadata.read_embedded, file)
        assert await workers.run(eval, modules) == before
    finally:
        await workers.close()


@pytest.mark.parametrize("name", [*DECODING, *WRITING])
def test_all_that_it_loads_is_there(name: str) -> None:
    """What cannot be imported is left to each worker, and nobody is told."""
    module, _, function = name.partition(":")
    assert find_spec(module) is not None
    assert not function or callable(getattr(import_module(module), function))


def test_that_of_decoders_calls_nothing() -> None:
    """It imports modules, and so reads no byte that is not the program's."""
    assert not [name for name in DECODING if ":" in name]


async def test_a_worker_inherits_no_descriptor_of_others() -> None:
    """Not the channels of the worker beside it, nor the one that forks are asked for."""
    async with working(processes=2) as workers:
        alone = await workers.run(eval, DESCRIPTORS)
        both = await asyncio.gather(*(workers.run(eval, DESCRIPTORS) for _ in range(2)))
        assert [len(each) for each in both] == [len(alone)] * 2


async def test_killed_while_nobody_works_it_costs_nothing() -> None:
    """The next task has a worker from another one."""
    async with working() as workers:
        pid, template = await workers.run(eval, BOTH)
        os.kill(template, signal.SIGKILL)
        await gone(pid)  # they die with it
        assert await workers.run(os.getppid) != template


async def test_killed_during_a_task_it_is_no_fault_of_the_task(tmp_path: Path) -> None:
    """The photo is not charged, and the next task is well."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    code = f"import os, time; open({str(pipe)!r}, 'w').write(str(os.getppid())); time.sleep(900)"
    async with working() as workers:
        task = asyncio.create_task(workers.run(exec, code))
        os.kill(int(await asyncio.to_thread(pipe.read_text)), signal.SIGKILL)
        with pytest.raises(StartError, match="forked from"):
            await task
        assert await workers.run(abs, -1) == 1


async def test_a_crash_is_not_tried_again_at_the_same_addresses() -> None:
    """Workers of one parent share where their memory lies: after a crash there is another one."""
    async with working(processes=2) as workers:
        await asyncio.gather(*(workers.run(os.getpid) for _ in range(2)))
        template = await workers.run(os.getppid)
        first = children(template)
        assert len(first) == 2
        with pytest.raises(WorkerLost, match="SIGSEGV"):
            await workers.run(exec, "import os; os.kill(os.getpid(), 11)")
        for pid, parent in [await workers.run(eval, BOTH) for _ in range(2)]:
            assert parent != template
            assert pid not in first
        await gone(template)


async def test_after_a_crash_a_task_of_a_sibling_is_its_last(tmp_path: Path) -> None:
    """What both were forked from would stay for as long as it has nothing to do."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    async with working(processes=2, idle_seconds=600) as workers:
        template = await workers.run(os.getppid)
        task = asyncio.create_task(workers.run(exec, f"open({str(pipe)!r}).read()"))
        with await asyncio.to_thread(pipe.open, "w"):
            with pytest.raises(WorkerLost, match="SIGSEGV"):
                await workers.run(exec, "import os; os.kill(os.getpid(), 11)")
            assert await workers.run(os.getppid) != template
        await task
        await gone(template)


async def test_nothing_is_forked_after_an_upgrade(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there still works; a new worker would import what it needs late from other files."""
    async with working() as workers:
        pid = await workers.run(os.getpid)
        monkeypatch.setattr("taggerd.workers.pool.RUNNING", SimpleNamespace(changed=lambda: True))
        assert await workers.run(os.getpid) == pid
        os.kill(pid, signal.SIGKILL)
        await gone(pid)
        with pytest.raises(BuildChanged):
            await workers.run(abs, -1)


async def test_a_kill_or_an_exit_is_no_crash() -> None:
    """They say nothing about addresses, and the next worker is there at once."""
    async with working() as workers:
        template = await workers.run(os.getppid)
        for code in ("import os; os.kill(os.getpid(), 9)", "import os; os._exit(3)"):
            with pytest.raises(WorkerLost):
                await workers.run(exec, code)
            assert await workers.run(os.getppid) == template


async def test_a_cancelled_start_leaves_no_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even if the worker is forked at the very moment."""
    note = Template._note

    def cancel(
        self: Template, tag: bytes, number: int, value: int, descriptors: Sequence[int]
    ) -> None:
        note(self, tag, number, value, descriptors)
        if tag == FORKED:
            task.cancel()

    before = handles()
    async with working() as workers:
        pid = await workers.run(os.getpid)
        os.kill(pid, signal.SIGKILL)
        await gone(pid)
        monkeypatch.setattr(Template, "_note", cancel)
        task = asyncio.create_task(workers.run(abs, -1))
        with pytest.raises(asyncio.CancelledError):
            await task
        monkeypatch.undo()
        assert await workers.run(abs, -1) == 1
    assert handles() == before


@pytest.mark.parametrize("by", ["a warming", "a task"])
async def test_closed_while_it_starts_it_leaves_nothing(by: str) -> None:
    """A child that was not waited for was complained of by asyncio, as the last line of a scan."""
    before = handles()
    async with working(loads=("signal:pause",)) as workers:
        task = None
        if by == "a task":
            task = asyncio.create_task(workers.run(abs, -1))
        else:
            workers.warm()
        await more_handles_than(before)
        await workers.close()
        assert handles() == before
        if task is not None:
            with pytest.raises(RuntimeError, match="closed"):
                await task
        assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_cancelled_task_ends_what_it_had_begun() -> None:
    """The next task has one of its own, and nobody keeps the first."""
    before = handles()
    async with working(loads=("signal:pause",)) as workers:
        task = asyncio.create_task(workers.run(abs, -1))
        await more_handles_than(before)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()})
        assert handles() == before


async def test_idle_processes_end_and_what_they_were_forked_from() -> None:
    """A service that has nothing to do holds no memory for it; the next task starts both."""
    async with working(processes=2, idle_seconds=0.05) as workers:
        for _ in range(2):
            ran = await asyncio.gather(*(workers.run(eval, BOTH) for _ in range(2)))
            for pid, template in ran:
                await gone(pid)
                await gone(template)


async def test_a_task_that_takes_longer_than_idling_is_left_alone() -> None:
    """Only what has no task is idle."""
    code = "[__import__('time').sleep(0.3), __import__('os').getpid()][1]"
    async with working(idle_seconds=0.05) as workers:
        assert await workers.run(eval, code)


async def test_warmed_workers_are_there_before_the_task() -> None:
    """A process is started for the file that is still arriving, once, and by nobody's request."""
    async with working() as workers:
        workers.warm()
        workers.warm()
        pid, template = await workers.run(eval, BOTH)
        workers.warm()
        assert await workers.run(eval, BOTH) == (pid, template)
        assert children(template) == [pid]


async def test_as_many_are_warmed_as_there_is_work_for() -> None:
    """Without this the second photo waited for a fork, and its first request with it."""
    async with working(processes=2) as workers:
        _, template = await workers.run(eval, BOTH)
        for photos, processes in ((1, 1), (12, 2), (12, 2)):
            workers.warm(photos)
            if workers._warming is not None:
                await workers._warming
            assert len(children(template)) == processes


async def test_a_process_that_grows_is_replaced() -> None:
    """By what it still has after a task; what a task gave back is no growth."""
    keep = "import builtins; builtins.kept = bytearray(b'x') * (100 << 20)"
    async with working() as workers:
        pid = await workers.run(os.getpid)
        await workers.run(exec, "len(bytearray(b'x') * (100 << 20))")
        assert await workers.run(os.getpid) == pid
        await workers.run(exec, keep)
        assert await workers.run(os.getpid) != pid


async def test_growth_is_seen_through_the_cage() -> None:
    """Also where it hides itself from /proc."""
    keep = "import sys; sys.kept = bytearray(b'x') * (100 << 20)"
    async with working(caged=True) as workers:
        pid = await workers.run(os.getpid)
        await workers.run(exec, keep)
        assert await workers.run(os.getpid) != pid


async def test_calls_of_one_file_count_once() -> None:
    """`files_per_process` counts files, whatever number of tasks each of them means."""
    given = settings.Workers(processes=1, files_per_process=2)
    workers = Workers(given, calls_per_file=2)
    try:
        pids = [await workers.run(os.getpid) for _ in range(5)]
    finally:
        await workers.close()
    assert len({*pids[:4]}) == 1
    assert pids[4] != pids[0]
