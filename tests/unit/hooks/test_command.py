"""Commands of hooks: no shell, no secrets, and an end to each."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from support.program import until

from taggerd.hooks import command


def has_ended(pid: int) -> bool:
    """Say whether a process is gone, or waits for nothing but its parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except (FileNotFoundError, ProcessLookupError):  # also while it is read
        return True


def _pid(folder: Path) -> int:
    try:
        return int((folder / "pid").read_text())
    except (FileNotFoundError, ValueError):
        return 0


def script(path: Path, text: str) -> str:
    """Write a shell script, and return its path."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return str(path)


async def overdue(program: str, notice: str, told: Path) -> str:
    """Run what never ends by itself, for as long as it takes to say who its child is."""
    for seconds in (0.5, 5, 50):
        said = await command.run([program], notice, seconds=seconds)
        assert said.startswith(f"ended after {seconds:g} s")
        if await asyncio.to_thread(told.exists) and told.read_text():  # noqa: ASYNC240 - a few bytes
            return said
    message = f"{program} has not even begun"
    raise AssertionError(message)


async def test_a_command_gets_the_notice_and_its_arguments_as_they_are(tmp_path: Path) -> None:
    """Nothing of either is taken for a shell's."""
    told = f'cat > "{tmp_path}/got"; printf %s "$1" > "{tmp_path}/arg"'
    program = script(tmp_path / "hook", told)
    assert await command.run([program, "$(id); *"], '{"a": "b"}', seconds=60) == ""
    assert (tmp_path / "got").read_text() == '{"a": "b"}'
    assert (tmp_path / "arg").read_text() == "$(id); *"


async def test_its_environment_holds_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither taggerd's keys nor the way to its credentials, nor systemd's socket."""
    for name in ("TAGGERD__BACKEND__API_KEY", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "OTHER"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    program = script(tmp_path / "hook", f'env > "{tmp_path}/env"')
    assert await command.run([program], "{}", seconds=60) == ""
    told = (tmp_path / "env").read_text()
    assert "secret" not in told
    assert f"PATH={os.environ['PATH']}" in told
    assert "LC_ALL=C.UTF-8" in told


async def test_a_command_that_takes_too_long_ends_with_all_its_children(tmp_path: Path) -> None:
    """Also those that ignore to be asked; the next command can start."""
    stubborn = f"trap '' TERM; sleep 600 & echo $! > {tmp_path}/child; wait; wait"
    program = script(tmp_path / "hook", stubborn)
    await overdue(program, "{}", tmp_path / "child")
    child = int((tmp_path / "child").read_text())
    # It is killed, and gone as soon as the kernel has taken it off.
    until(lambda: has_ended(child))


async def test_a_child_that_leaves_the_session_holds_nothing_up(tmp_path: Path) -> None:
    """It outlives the command, with its pipes open; the next command can start all the same."""
    leaving = f"setsid sh -c 'echo $$ > {tmp_path}/pid; exec sleep 600' & trap '' TERM; wait; wait"
    program = script(tmp_path / "hook", leaving)
    try:
        async with asyncio.timeout(300):
            await overdue(program, "x" * 1_000_000, tmp_path / "pid")
    finally:
        os.kill(await asyncio.to_thread(until, lambda: _pid(tmp_path)), signal.SIGKILL)


async def test_a_command_that_is_cancelled_ends(tmp_path: Path) -> None:
    """Whoever stops the service does not wait for it."""
    program = script(tmp_path / "hook", f"echo $$ > {tmp_path}/pid; exec sleep 600")
    running = asyncio.create_task(command.run([program], "{}", seconds=600))
    pid = await asyncio.to_thread(until, lambda: _pid(tmp_path))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert has_ended(pid)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("echo first; echo last >&2; exit 7", "exit code 7: last"),
        ("kill -9 $$", "ended by signal 9"),
        ("printf '\\033[31mred'; exit 1", "exit code 1: \\x1b[31mred"),
    ],
)
async def test_a_failure_says_why_in_one_line(tmp_path: Path, text: str, why: str) -> None:
    """Its last words, made printable."""
    assert await command.run([script(tmp_path / "hook", text)], "{}", seconds=60) == why


async def test_a_command_that_is_not_there_says_so(tmp_path: Path) -> None:
    """The system's own reason."""
    said = await command.run([str(tmp_path / "none")], "{}", seconds=60)
    assert said == "cannot be started: No such file or directory"


async def test_a_command_that_reads_nothing_and_says_much_fails_nobody(tmp_path: Path) -> None:
    """Its pipes are kept open and read."""
    program = script(tmp_path / "hook", "exec <&-; head -c 3000000 /dev/zero; exit 0")
    assert await command.run([program], "x" * 1_000_000, seconds=60) == ""
