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
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
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
