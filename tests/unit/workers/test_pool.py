"""Worker processes: whatever happens in one concerns exactly the task that it had.

The tasks are functions of the standard library, because a process started afresh can import those.
"""

from __future__ import annotations

import asyncio
import contextlib
import operator
import os
import resource
import select
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import taggerd
from taggerd import files, settings
from taggerd.errors import PhotoGone, StartError, WorkerLost, WorkerOverMemory, WorkerOverTime
from taggerd.photo import Stamp
from taggerd.workers.pool import Workers
from taggerd.workers.template import environment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

KILL_ITSELF = "import os, signal; os.kill(os.getpid(), signal.SIG{})"
ABORTING = "import os; os.write(2, b'{}\\n'); os.abort()"
FAR_AWAY = 60
"""Seconds that no test waits for."""


@contextlib.asynccontextmanager
async def working(**options: float) -> AsyncIterator[Workers]:
    """Workers that are closed again."""
    workers = Workers(settings.Workers(**{"processes": 2, "deadline_seconds": 20, **options}))
    try:
        yield workers
    finally:
        await workers.close()


@contextlib.contextmanager
def ending_of(pid: int) -> Iterator[select.poll]:
    """Something to poll for the end of the process *pid*."""
    descriptor = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        yield poll
    finally:
        os.close(descriptor)


def telling_its_pid(pipe: Path) -> str:
    """A program that writes its process id into *pipe* and then does not come back."""
    return f"import os, time; open({str(pipe)!r}, 'w').write(str(os.getpid())); time.sleep(900)"


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """A named pipe: reading it waits until the other side has written."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


async def test_returns_the_result_from_another_process() -> None:
    """A task runs elsewhere, and the process is used again."""
    async with working(processes=1) as workers:
        first = await workers.run(os.getpid)
        assert first != os.getpid()
        assert await workers.run(os.getpid) == first
        assert await workers.run(int, "ff", base=16) == 255


async def test_a_process_works_below_the_folders_of_its_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may touch what the command named, and nothing else, whatever it is asked for."""
    named = [tmp_path / "named", tmp_path / "an\nodd \udcff name"]
    for folder in (*named, tmp_path / "other"):
        folder.mkdir()
        (folder / "a").touch()
    monkeypatch.setattr(files, "_roots", [])
    files.work_below(*named)
    async with working(processes=1) as workers:
        for folder in named:
            assert await workers.run(files.names_in, folder) == ["a"]
        with pytest.raises(RuntimeError, match=r"PermissionError.*no folder that was named"):
            await workers.run(files.names_in, tmp_path / "other")


async def test_exceptions_pass() -> None:
    """Ours pass unchanged, of others their type and text; the process lives on."""
    async with working(processes=1) as workers:
        pid = await workers.run(os.getpid)
        code = "from taggerd.errors import PhotoGone; raise PhotoGone('it went')"
        with pytest.raises(PhotoGone, match=r"^it went$"):
            await workers.run(exec, code)
        with pytest.raises(RuntimeError, match="ZeroDivisionError: division by zero") as caught:
            await workers.run(operator.truediv, 1, 0)
        assert "In the worker process" in caught.value.__notes__[0]
        assert await workers.run(os.getpid) == pid


async def test_an_exception_that_cannot_be_rebuilt_keeps_its_text() -> None:
    """An exception of a class that only the process knows arrives as its text."""
    code = "class Odd(Exception): pass\nraise Odd('strange')"
    async with working() as workers:
        with pytest.raises(RuntimeError, match="Odd: strange"):
            await workers.run(exec, code, {})


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (KILL_ITSELF.format("KILL"), "SIGKILL"),
        (KILL_ITSELF.format("SEGV"), "crashed .SIGSEGV"),
        ("import os; os.abort()", "crashed .SIGABRT"),
        ("import os; os._exit(3)", "status 3"),
        ("raise SystemExit(4)", "status 4"),
        ("import os; os.write(2, b'last words\\n'); os._exit(1)", "last words"),
        ("held = bytearray(4 << 30)", "more memory than workers.memory_megabytes"),
        (
            "import os; os.write(2, b'  what():  std::bad_alloc\\n'); os.abort()",
            "more memory than workers.memory_megabytes",
        ),
    ],
)
async def test_a_lost_process_costs_one_task(code: str, words: str) -> None:
    """Death by any cause is one WorkerLost that says the cause; the next task is well."""
    async with working(processes=1) as workers:
        with pytest.raises(WorkerLost, match=words):
            await workers.run(exec, code)
        assert await workers.run(abs, -1) == 1


@pytest.mark.parametrize(
    "code", ["while True: pass", KILL_ITSELF.format("STOP"), "import time; time.sleep(60)"]
)
async def test_a_process_that_hangs_is_killed_at_the_deadline(code: str) -> None:
    """Busy, stopped or asleep: past its deadline the task is lost, and only that."""
    limits = settings.Workers(processes=1, deadline_seconds=20)
    workers = Workers(limits, seconds_for=lambda function, _: 0.3 if function is exec else None)
    try:
        started = time.monotonic()
        with pytest.raises(WorkerLost, match="deadline_seconds"):
            await workers.run(exec, code)
        assert time.monotonic() - started < FAR_AWAY / 4
        assert await workers.run(abs, -1) == 1
    finally:
        await workers.close()


async def test_a_call_may_have_less_time_than_others() -> None:
    """Who knows what a call should take says so; nobody gets more than the deadline."""

    def seconds(function: Callable[..., object], _: tuple[object, ...]) -> float | None:
        return {exec: 0.3, eval: 9000.0}.get(function)

    limits = settings.Workers(processes=1, deadline_seconds=20)
    workers = Workers(limits, seconds_for=seconds)
    try:
        with pytest.raises(WorkerOverTime, match=r"no result after 0\.3 s"):
            await workers.run(exec, "while True: pass")
        assert await workers.run(abs, -1) == 1
        assert await workers.run(eval, "6 * 7") == 42
    finally:
        await workers.close()


async def test_others_are_unharmed() -> None:
    """Of many tasks, queued and running, exactly those that kill their process are lost."""
    deadly = KILL_ITSELF.format("KILL")
    async with working() as workers:
        tasks = [
            workers.run(eval, f"exec({deadly!r})" if n % 7 == 3 else f"{n}") for n in range(40)
        ]
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    for n, outcome in enumerate(outcomes):
        if n % 7 == 3:
            assert isinstance(outcome, WorkerLost)
        else:
            assert outcome == n


async def test_a_process_that_died_idle_costs_nothing() -> None:
    """A process killed between tasks is replaced unseen."""
    async with working(processes=1) as workers:
        pid = await workers.run(os.getpid)
        with ending_of(pid) as poll:
            os.kill(pid, signal.SIGKILL)
            assert poll.poll(FAR_AWAY * 1000)
        assert await workers.run(os.getpid) != pid


async def test_processes_that_all_died_idle_cost_nothing() -> None:
    """When memory was short and all idle processes are gone, the next task knows nothing of it."""
    async with working(processes=4) as workers:
        pids = set(await asyncio.gather(*(workers.run(os.getpid) for _ in range(4))))
        assert len(pids) == 4
        for pid in pids:
            with ending_of(pid) as poll:
                os.kill(pid, signal.SIGKILL)
                assert poll.poll(FAR_AWAY * 1000)
        assert await workers.run(os.getpid) not in pids


async def test_cancelling_kills(pipe: Path) -> None:
    """A cancelled task does not go on in its process, and the place is free again."""
    async with working(processes=1) as workers:
        task = asyncio.create_task(workers.run(exec, telling_its_pid(pipe)))
        pid = int(await asyncio.to_thread(pipe.read_text))
        with ending_of(pid) as poll:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert poll.poll(FAR_AWAY * 1000)
        assert await workers.run(abs, -1) == 1


async def test_close_ends_all_soon_and_blames_no_task(pipe: Path) -> None:
    """Closing is bounded, and an interrupted task is not blamed for the loss of its process."""
    async with working() as workers:
        idle = await workers.run(os.getpid)
        busy = asyncio.create_task(workers.run(exec, telling_its_pid(pipe)))
        pid = int(await asyncio.to_thread(pipe.read_text))
        waiting = [asyncio.create_task(workers.run(time.sleep, FAR_AWAY)) for _ in range(3)]
        with ending_of(pid) as poll, contextlib.suppress(ProcessLookupError):
            started = time.monotonic()
            await workers.close()
            assert time.monotonic() - started < FAR_AWAY / 4
            assert poll.poll(0)
            with pytest.raises(ProcessLookupError):
                os.kill(idle, 0)
        for task in (busy, *waiting):
            with pytest.raises(RuntimeError, match="closed"):
                await task
        with pytest.raises(RuntimeError, match="closed"):
            await workers.run(abs, -1)


async def test_processes_are_replaced_after_so_many_files() -> None:
    """`files_per_process` tasks, then a fresh process."""
    async with working(processes=1, files_per_process=2) as workers:
        pids = [await workers.run(os.getpid) for _ in range(6)]
    assert pids[0] == pids[1] != pids[2] == pids[3] != pids[4] == pids[5]


async def test_limits() -> None:
    """Address space, processor time and core dumps are limited in the process."""
    async with working(processes=1, memory_megabytes=600, deadline_seconds=50) as workers:
        assert await workers.run(resource.getrlimit, resource.RLIMIT_AS) == (600 << 20,) * 2
        assert await workers.run(resource.getrlimit, resource.RLIMIT_CORE) == (0, 0)
        soft, _ = await workers.run(resource.getrlimit, resource.RLIMIT_CPU)
        assert 100 < soft < 110  # twice the deadline, and what was used so far


def priority_of_session(pid: int) -> int | None:
    """Return the nice value of the session of *pid*; None: the kernel has none for sessions."""
    with contextlib.suppress(FileNotFoundError):
        return int(Path(f"/proc/{pid}/autogroup").read_text().rpartition("nice ")[2])
    return None


@pytest.mark.parametrize("caged", [False, True])
async def test_a_slow_task_yields_the_processor(*, caged: bool) -> None:
    """Behind every other that wants it, and as a session where the sessions share it."""
    workers = Workers(settings.Workers(processes=1), caged=caged, slow=True)
    try:
        pid = await workers.run(os.getpid)
        assert os.getpriority(os.PRIO_PROCESS, pid) == 19
        assert priority_of_session(pid) in {19, None}
    finally:
        await workers.close()


async def test_a_slow_task_gets_more_of_everything() -> None:
    """One process, with its own limits."""
    options = settings.Workers(
        processes=2, memory_megabytes=600, slow_memory_megabytes=900, slow_deadline_seconds=50
    )
    workers = Workers(options, slow=True)
    try:
        assert await workers.run(resource.getrlimit, resource.RLIMIT_AS) == (900 << 20,) * 2
        soft, _ = await workers.run(resource.getrlimit, resource.RLIMIT_CPU)
        assert 100 < soft < 110
        assert len({*await asyncio.gather(*(workers.run(os.getpid) for _ in range(3)))}) == 1
        with pytest.raises(WorkerOverMemory, match=r"workers\.slow_memory_megabytes"):
            await workers.run(exec, "held = bytearray(4 << 30)")
    finally:
        await workers.close()


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("held = bytearray(4 << 30)", WorkerOverMemory),
        (KILL_ITSELF.format("KILL"), WorkerOverMemory),
        (KILL_ITSELF.format("XCPU"), WorkerOverTime),
        ("import os; os.write(2, b'  what():  std::bad_alloc\\n'); os.abort()", WorkerOverMemory),
        (ABORTING.format("ERROR: gmem.c:106: failed to allocate 9 bytes"), WorkerOverMemory),
        (ABORTING.format("memory allocation of 9 bytes failed"), WorkerOverMemory),
        ("import time; time.sleep(60)", WorkerOverTime),
        ("import os; os._exit(3)", WorkerLost),
        (KILL_ITSELF.format("SEGV"), WorkerLost),
    ],
)
async def test_time_and_memory_are_told_from_other_deaths(
    code: str, kind: type[WorkerLost]
) -> None:
    """By the type of the error: only what took too much of them may be tried with more."""
    seconds = 1 if "sleep" in code else 20
    async with working(processes=1, deadline_seconds=seconds) as workers:
        with pytest.raises(WorkerLost) as caught:
            await workers.run(exec, code)
    assert type(caught.value) is kind


async def test_secrets_stay_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process inherits at `exec` is a short list of harmless variables."""
    monkeypatch.setenv("TAGGERD__BACKEND__API_KEY", "sk-secret")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/secret")
    monkeypatch.setenv("LC_TIME", "C.UTF-8")
    async with working() as workers:
        inherited = await workers.run(eval, "open('/proc/self/environ').read()")
    assert "secret" not in inherited
    names = {variable.partition("=")[0] for variable in inherited.strip("\0").split("\0")}
    assert "LC_TIME" in names
    assert names <= environment(os.environ).keys()


async def test_what_it_prints_is_not_ours(capfd: pytest.CaptureFixture[str]) -> None:
    """What native code prints in a process reaches neither our streams nor the results."""
    code = "[os.write(n, b'Warning: ' * 9000) for os in [__import__('os')] for n in (1, 2)] and 5"
    async with working() as workers:
        assert await workers.run(eval, code) == 5
    assert capfd.readouterr() == ("", "")


async def test_ctrl_c_belongs_to_the_parent() -> None:
    """A signal to the whole group does not end a process in the middle of its task."""
    code = "[__import__('os').kill(__import__('os').getpid(), n) for n in (1, 2, 15)] and 'alive'"
    async with working() as workers:
        assert await workers.run(eval, code) == "alive"


async def test_only_values_come_back() -> None:
    """What a function returns is plain, of a listed type, or an error that says what it was."""
    async with working() as workers:
        with pytest.raises(RuntimeError, match="TypeError: a worker process cannot return type"):
            await workers.run(eval, "__import__('subprocess').Popen")
        with pytest.raises(WorkerLost, match="not listed: 'Stamp'"):
            await workers.run(Stamp, 1, 2, 3, 4)
        assert await workers.run(Path, "/a") == Path("/a")


async def test_a_process_that_cannot_start_is_nobodys_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No interpreter, or one that ends at once: StartError, which charges no photo."""
    for interpreter in ("/nonexistent/python", "/bin/false"):
        monkeypatch.setattr(sys, "executable", interpreter)
        async with working() as workers:
            with pytest.raises(StartError, match="worker process"):
                await workers.run(abs, -1)


def test_no_orphans_when_the_parent_is_killed(pipe: Path) -> None:
    """`kill -9` of the parent ends its processes, also one that is busy."""
    program = f"""
        import asyncio
        from taggerd import settings
        from taggerd.workers.pool import Workers
        asyncio.run(Workers(settings.Workers()).run(exec, {telling_its_pid(pipe)!r}))
    """
    home = str(Path(taggerd.__file__).parent.parent)
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], env={**os.environ, "PYTHONPATH": home}
    )
    with ending_of(int(pipe.read_text())) as poll:
        assert not poll.poll(0)
        parent.kill()
        parent.wait()
        assert poll.poll(FAR_AWAY * 1000)
