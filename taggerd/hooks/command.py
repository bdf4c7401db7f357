"""Runs the command of a hook: a program of the user's, which gets JSON on its standard input."""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import Process, SubprocessStreamProtocol
from contextlib import suppress
from typing import TYPE_CHECKING

from taggerd.photo import brief

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PASSED_ON = frozenset(
    {
        "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR",
        "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS",
    }
)  # fmt: skip
"""Nothing that may be a key: not TAGGERD__…, not CREDENTIALS_DIRECTORY, not NOTIFY_SOCKET."""
_LONGEST_OUTPUT = 65536
"""Bytes of what a command says that are kept; the rest is read and dropped."""
_END_SECONDS = 0.5
"""How long a command that is asked to end may take; taggerd itself may be stopping."""


def environment(ours: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a command: *ours* without anything that may be a secret."""
    return {k: v for k, v in ours.items() if k in _PASSED_ON or k.startswith("LC_")}


async def run(command: Sequence[str], notice: str, *, seconds: float) -> str:
    """Run *command* with *notice* on its standard input; return why it failed, or nothing.

    It and its children are ended after *seconds*, or when the caller is cancelled; those that have
    left its session go on, and nobody waits for them.
    """
    loop = asyncio.get_running_loop()
    try:
        # As create_subprocess_exec() does, which keeps the transport, and so its pipes, to itself.
        transport, protocol = await loop.subprocess_exec(
            lambda: SubprocessStreamProtocol(limit=_LONGEST_OUTPUT, loop=loop),
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd="/",
            env=environment(os.environ),
            start_new_session=True,  # its children end with it, and no Ctrl-C of ours reaches it
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return f"cannot be started: {reason}"
    process = Process(transport, protocol, loop)
    said = bytearray()
    try:
        async with asyncio.timeout(seconds):
            await asyncio.gather(_feed(process, notice.encode()), _listen(process, said))
            await process.wait()
    except TimeoutError:
        return f"ended after {seconds:g} s, hooks.timeout_seconds{_quoted(said)}"
    finally:
        await _end(process, transport)
    if process.returncode == 0:
        return ""
    code = process.returncode or 0
    how = f"exit code {code}" if code > 0 else f"ended by signal {-code}"
    return f"{how}{_quoted(said)}"


async def _feed(process: Process, notice: bytes) -> None:
    """Write *notice*; a command that does not read it is none the worse for that."""
    assert process.stdin is not None  # noqa: S101 - asked for above
    with suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(notice)
        await process.stdin.drain()
    process.stdin.close()


async def _listen(process: Process, said: bytearray) -> None:
    """Read all that the command says, so that it never blocks; keep the beginning."""
    assert process.stdout is not None  # noqa: S101 - asked for above
    while chunk := await process.stdout.read(_LONGEST_OUTPUT):
        said += chunk[: _LONGEST_OUTPUT - len(said)]


async def _end(process: Process, transport: asyncio.SubprocessTransport) -> None:
    """End what is left of the command and its children."""
    if process.returncode is None:
        _signal(process, signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(_END_SECONDS):
                await process.wait()
    _signal(process, signal.SIGKILL)
    with suppress(TimeoutError):
        async with asyncio.timeout(_END_SECONDS):
            await process.wait()
    # A child that left the session holds the pipes, and asyncio of Python 3.11 waits for those.
    transport.close()
    await process.wait()


def _signal(process: Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _quoted(said: bytearray) -> str:
    """Return the last line of what a command said, for the log."""
    lines = said.decode(errors="replace").strip().splitlines()
    return f": {brief(lines[-1])}" if lines else ""
