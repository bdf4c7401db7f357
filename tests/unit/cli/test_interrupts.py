"""Ctrl-C: once, and twice."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, os, signal
from taggerd.cli import interrupts

async def command():
    try:
        os.kill(os.getpid(), signal.{first})
        await asyncio.Event().wait()
    finally:
        print("cleaning up", flush=True)
        {then}

try:
    interrupts.run(command())
except KeyboardInterrupt:
    print("interrupted")
"""


def outcome(first: str, then: str) -> tuple[int, str, str]:
    """Run a command that is sent *first* and does *then* in its clean-up."""
    program = PROGRAM.format(first=first, then=then)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=180, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("first", ["SIGINT", "SIGTERM"])
def test_the_first_lets_a_command_clean_up(first: str) -> None:
    """It ends as interrupted, after its clean-up."""
    assert outcome(first, "pass") == (0, "cleaning up\ninterrupted\n", "")


def test_the_second_does_not_wait_for_a_clean_up_that_hangs() -> None:
    """No traceback, exit 130."""
    hangs = "os.kill(os.getpid(), signal.SIGINT); await asyncio.Event().wait()"
    assert outcome("SIGINT", hangs) == (130, "cleaning up\n", "")


def test_the_second_may_come_after_the_clean_up() -> None:
    """While the command returns: no traceback, exit 130."""
    program = PROGRAM.format(first="SIGINT", then="pass").replace(
        'print("interrupted")', "os.kill(os.getpid(), signal.SIGINT); print('still there')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=180, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "cleaning up\n", "")


def test_who_is_slow_is_not_taken_for_hung() -> None:
    """A clean-up that works for longer than it should comes to its end; one that waits does not."""
    program = """
import asyncio, os, signal, time
from taggerd.cli import interrupts

def work():
    until = time.monotonic() + 2 * interrupts.GRACE_SECONDS
    while time.monotonic() < until:
        pass

async def command():
    try:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.Event().wait()
    finally:
        await asyncio.to_thread(work)
        print("worked", flush=True)
        await asyncio.Event().wait()

interrupts.run(command(), drain_seconds=0)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 130
    assert done.stdout.startswith("worked\n")


def test_the_second_is_heard_however_soon_it_comes() -> None:
    """Also before the first was dealt with: it is not a first one again, whose clean-up hangs."""
    program = """
import asyncio, os, signal
from taggerd.cli import interrupts

async def command():
    try:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.Event().wait()
    finally:
        await asyncio.Event().wait()

interrupts.run(command(), drain_seconds=600)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=180, check=False
    )
    assert (done.returncode, done.stderr) == (130, "")


def test_nobody_who_reads_is_no_reason_for_tracebacks() -> None:
    """`taggerd show PHOTOS | head`: rich ends the process from within the loop."""
    program = """
import asyncio
from rich.console import Console
from taggerd.cli import interrupts

async def command():
    others = asyncio.ensure_future(asyncio.Event().wait())
    try:
        while True:
            Console().print("x" * 9000)
            await asyncio.sleep(0)
    finally:
        others.cancel()

try:
    interrupts.run(command())
except BrokenPipeError:
    raise SystemExit(7)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(180) == 7


@pytest.mark.parametrize(
    "first", ["signal.raise_signal(signal.SIGINT)", "return lambda *_, **__: 130"]
)
def test_one_that_comes_while_python_ends_changes_nothing(first: str) -> None:
    """Python hears no signal any more when it clears its modules: the exit code is 130 still.

    Whether the first came as an exception or as typer's exit code.
    """
    program = f"""
import os, signal, sys
from taggerd import cli

class Late:
    def __del__(self, write=os.write, kill=os.kill, pid=os.getpid(), number=signal.SIGINT):
        write(1, b"late\\n")
        kill(pid, number)

def program(*, whole):
    {first}

late = Late()
cli.program = program
sys.exit(cli.main(["status"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=180, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "late\n", "")
