"""Open files as arguments: the process gets descriptors of its own, and nobody keeps one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING

import pytest

from taggerd import settings
from taggerd.errors import WorkerLost
from taggerd.files import OpenFile
from taggerd.workers.pool import Workers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

READ = "__import__('os').read(file.descriptor, 100)"
DESCRIPTORS = "sorted(__import__('os').listdir('/proc/self/fd'))"


@contextlib.asynccontextmanager
async def working(**options: float) -> AsyncIterator[Workers]:
    """Workers that are closed again."""
    workers = Workers(settings.Workers(**{"processes": 1, "deadline_seconds": 20, **options}))
    try:
        yield workers
    finally:
        await workers.close()


def opened(path: Path, content: bytes = b"content") -> OpenFile:
    """Open a new file at *path*."""
    path.write_bytes(content)
    return OpenFile(os.open(path, os.O_RDONLY), path)


def descriptors() -> set[str]:
    """Return what is open in this process."""
    return set(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names alone


@pytest.fixture(autouse=True)
async def _nothing_stays_open() -> AsyncIterator[None]:
    """Whatever a test does, this process has no more descriptors afterwards than before."""
    before = descriptors()
    yield
    assert descriptors() <= before  # a server of an earlier test may have closed one meanwhile


@pytest.fixture
def file(tmp_path: Path) -> Iterator[OpenFile]:
    """An open file that holds ``content``."""
    file = opened(tmp_path / "photo.jpg")
    try:
        yield file
    finally:
        file.close()


async def test_the_process_reads_what_it_could_not_open(file: OpenFile, tmp_path: Path) -> None:
    """A file is read by its descriptor, wherever in the arguments it is, and whatever its name."""
    (tmp_path / "photo.jpg").unlink()
    async with working() as workers:
        assert await workers.run(eval, READ, {"file": file}) == b"content"
        same = "[a.descriptor == b.descriptor, a.path, b.path]"
        names = {"a": file, "b": file}
        assert await workers.run(eval, same, names) == [True, file.path, file.path]


async def test_every_task_reads_from_the_beginning(file: OpenFile) -> None:
    """A descriptor that was passed on shares its position; a task does not see the last one's."""
    async with working() as workers:
        for _ in range(3):
            assert await workers.run(eval, READ, {"file": file}) == b"content"


async def test_the_process_keeps_no_descriptor(file: OpenFile) -> None:
    """After a thousand tasks with files, failing ones too, a process has as many open as before."""
    async with working(files_per_process=2000) as workers:
        before = await workers.run(eval, DESCRIPTORS)
        for number in range(1000):
            if number % 10:
                assert await workers.run(eval, READ, {"file": file}) == b"content"
            else:
                with pytest.raises(RuntimeError, match="ZeroDivisionError"):
                    await workers.run(eval, "1 / 0", {"file": file})
        assert await workers.run(eval, DESCRIPTORS) == before


async def test_many_files_in_one_task(tmp_path: Path) -> None:
    """More files than the kernel takes in one packet arrive, each under its own number."""
    files = [opened(tmp_path / str(n), str(n).encode()) for n in range(450)]
    try:
        async with working() as workers:
            read = f"[{READ} for file in files]"
            assert await workers.run(eval, read, {"files": files}) == [
                str(n).encode() for n in range(450)
            ]
    finally:
        for file in files:
            file.close()


async def test_processes_that_die_with_files_lose_none(tmp_path: Path) -> None:
    """Of many tasks with files side by side, each that survives reads its own; ours stay open."""
    files = [opened(tmp_path / str(n), str(n).encode()) for n in range(60)]
    deadly = f"import os; os.kill(os.getpid(), {int(signal.SIGKILL)})"
    try:
        async with working(processes=2, files_per_process=7) as workers:
            outcomes = await asyncio.gather(
                *(
                    workers.run(eval, READ if n % 5 else f"exec({deadly!r})", {"file": file})
                    for n, file in enumerate(files)
                ),
                return_exceptions=True,
            )
        for n, outcome in enumerate(outcomes):
            if n % 5:
                assert outcome == str(n).encode()
            else:
                assert isinstance(outcome, WorkerLost)
        assert all(os.fstat(file.descriptor) for file in files)
    finally:
        for file in files:
            file.close()


async def test_a_process_without_room_for_a_descriptor_says_so(file: OpenFile) -> None:
    """A limit on open files that is reached is an error of that task, not a wrong file."""
    fill = "import os, resource; resource.setrlimit(resource.RLIMIT_NOFILE, (0, 99))"
    free = "import os, resource; resource.setrlimit(resource.RLIMIT_NOFILE, (99, 99))"
    async with working() as workers:
        await workers.run(exec, fill)
        with pytest.raises(RuntimeError, match="Too many open files"):
            await workers.run(eval, READ, {"file": file})
        await workers.run(exec, free)
        assert await workers.run(eval, READ, {"file": file}) == b"content"
