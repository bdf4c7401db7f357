"""The installed program as its user runs it, and what its processes take of the machine."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TAGGERD = Path(sys.executable).parent / "taggerd"
"""The command of the environment that is measured."""
LONGEST = 300.0
"""Seconds that anything may take."""
END_SECONDS = 30.0
TICKS = os.sysconf("SC_CLK_TCK")


def until(what: Callable[[], object], seconds: float = LONGEST, every: float = 0.02) -> None:
    """Wait until something is so.

    Raises:
        TimeoutError: it is not.

    """
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            message = f"{what} is not so after {seconds:g} s"
            raise TimeoutError(message)
        time.sleep(every)


def cpu_of_children(work: Callable[[], object]) -> float:
    """Return the processor time of the processes that *work* starts and waits for, seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def ourselves(module: str, *arguments: str, python: str = sys.executable) -> list[str]:
    """Return the command line of a benchmark. Not by its file: `queue.py` would hide Python's."""
    return [python, "-P", "-m", f"benchmarks.{module}", *arguments]


class Program:
    """taggerd with a home of its own and the settings of somebody who changed none but these."""

    def __init__(self, home: Path, base_url: str, **settings: str) -> None:
        """Keep everything in *home*; *settings* are like ``BURST__ENABLED="true"``."""
        self.home = home
        self.photos = home / "photos"
        self.photos.mkdir(parents=True)
        self.environment = {
            **{key: os.environ[key] for key in ("PATH", "LANG", "TMPDIR") if key in os.environ},
            "HOME": str(home),
            "TAGGERD_RUNTIME_DIRECTORY": str(home / "runtime"),
            "TAGGERD__STATE_DIRECTORY": str(home / "state"),
            "TAGGERD__BACKEND__BASE_URL": f"{base_url}/v1",
            "TAGGERD__ARRIVALS__ROOTS": json.dumps([str(self.photos)]),
            **{f"TAGGERD__{key}": value for key, value in settings.items()},
        }

    def run(self, *arguments: str) -> str:
        """Run a command to its end and return what it printed.

        Raises:
            RuntimeError: it failed; with its last lines.

        """
        with self.started(*arguments) as process:
            output, _ = process.communicate()
        if process.returncode:
            raise RuntimeError(output[-2000:])
        return output

    @contextmanager
    def started(self, *arguments: str, **more: str) -> Iterator[subprocess.Popen[str]]:
        """Run a command beside ourselves; it is ended, whatever happens."""
        process = subprocess.Popen(  # noqa: S603 - our own program
            [TAGGERD, *arguments], env={**self.environment, **more}, cwd=self.home, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            yield process
        finally:
            end(process)

    @contextmanager
    def daemon(self) -> Iterator[Daemon]:
        """Run the daemon; it watches its import folder when this returns."""
        daemon = Daemon(self)
        try:
            until(lambda: daemon.process.poll() is not None or daemon.watches())
            if daemon.process.poll() is not None:
                raise RuntimeError(daemon.log())
            yield daemon
        finally:
            end(daemon.process)


class Daemon:
    """A running daemon."""

    def __init__(self, program: Program) -> None:
        """Start it; :attr:`ready_seconds` tells when systemd would have heard READY."""
        self._program = program
        self._log = program.home / "daemon.log"
        address = str(program.home / "notify")
        began = time.perf_counter()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            with suppress(FileNotFoundError):
                Path(address).unlink()
            systemd.bind(address)
            systemd.settimeout(0.5)
            with self._log.open("ab") as log:
                self.process = subprocess.Popen(  # noqa: S603 - our own program
                    [TAGGERD, "run"], env={**program.environment, "NOTIFY_SOCKET": address},
                    cwd=program.home, stdout=log, stderr=log,
                )  # fmt: skip
            try:
                until(lambda: self._is_ready(systemd), every=0)
            except BaseException:
                end(self.process)
                raise
        self.ready_seconds = time.perf_counter() - began

    def _is_ready(self, systemd: socket.socket) -> bool:
        """Wait a little for what the daemon tells systemd.

        Raises:
            RuntimeError: it has ended.

        """
        if self.process.poll() is not None:
            raise RuntimeError(self.log())
        with suppress(TimeoutError):
            return b"READY=1" in systemd.recv(4096)
        return False

    @property
    def pid(self) -> int:
        """The main process."""
        return self.process.pid

    def log(self) -> str:
        """Return the end of what it logged."""
        return self._log.read_text(errors="replace")[-2000:]

    def status(self) -> dict[str, object]:
        """Return what it publishes."""
        try:
            file = self._program.home / "runtime" / f"{self.pid}.status.json"
            said: dict[str, object] = json.loads(file.read_text())
        except (OSError, ValueError):
            return {}
        return said

    def watches(self) -> bool:
        """Say whether its import folders are watched."""
        roots = self.status().get("roots")
        return isinstance(roots, list) and all(root["state"] == "watching" for root in roots)


def end(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    """End a process and wait for it."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_SECONDS)
    if process.poll() is None:
        process.kill()
    process.wait()


def tree(pid: int) -> list[int]:
    """Return a process and all below it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError, ValueError, IndexError):
                children.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return found


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on: the third, by proc(5)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process and all below it, those that have ended too."""
    total = 0
    for each in tree(pid):
        with suppress(OSError):
            total += sum(map(int, _stat(each)[11:15]))
    return total / TICKS


def pss_megabytes(pid: int) -> float:
    """Return the memory of a process and all below it; what they share is counted once."""
    return sum(_kilobytes(each, "smaps_rollup", "Pss:") for each in tree(pid)) / 1000


def peak_megabytes(pid: int) -> float:
    """Return the most memory that one process has had, all that it shares included."""
    return _kilobytes(pid, "status", "VmHWM:") / 1000


def _kilobytes(pid: int, file: str, what: str) -> float:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
            if line.startswith(what):
                return int(line.split()[1]) * 1.024
    return 0.0


def wakeups(pid: int) -> int:
    """Return how often the threads of a process and of all below it have gone to sleep so far."""
    total = 0
    for each in tree(pid):
        with suppress(OSError):
            for thread in Path(f"/proc/{each}/task").iterdir():
                for line in (thread / "status").read_text().splitlines():
                    if line.startswith("voluntary_ctxt_switches"):
                        total += int(line.split()[1])
    return total
