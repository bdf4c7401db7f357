"""``taggerd slot``: another program within the limit on backend requests."""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from typing import Annotated

import typer

from taggerd.cli import interrupts, options
from taggerd.errors import ConfigurationError, TaggerdError
from taggerd.inference import Slots, slots_folder
from taggerd.services import endpoint_settings, read_registry

NOT_FOUND, NOT_RUN = 127, 126
"""Exit codes for a command that does not exist or cannot be run, as in shells."""


class NoSlot(TaggerdError):
    """No slot became free in time."""


@options.configured(options.STATE)
def slot(
    load: options.Load,
    command: Annotated[
        list[str] | None,
        typer.Argument(help="The command, after --.", metavar="COMMAND", show_default=False),
    ] = None,
    *,
    endpoint: Annotated[
        str | None,
        typer.Option(help="Address of the backend; needed if there are several.", metavar="URL"),
    ] = None,
    wait: Annotated[
        float | None,
        typer.Option(
            help="Give up after this long without a slot; default: never.", metavar="SECONDS"
        ),
    ] = None,
) -> int:
    """Run COMMAND within the limit on backend requests.

    Usage: taggerd slot -- COMMAND. It waits until one of the backend.max_concurrency slots is free;
    all taggerd programs on this machine share them. While a program that holds one is stopped
    (Ctrl-Z), it does not wait, and says so. COMMAND replaces this program, so signals and
    the exit code are its own. The slot is free again once COMMAND and all it started have ended.
    """
    if not command:
        message = "no command: write taggerd slot -- COMMAND"
        raise ConfigurationError(message)
    if wait is not None and not 0 <= wait < float("inf"):
        message = f"--wait {wait:g}: must be 0 seconds or more"
        raise ConfigurationError(message)
    loaded = load(log_level="error")
    registry = read_registry(loaded)
    limits = {
        url: options.max_concurrency
        for url, options in endpoint_settings(loaded, registry.base_urls).items()
    }
    url = endpoint or _only_one(list(limits))
    most = limits.get(url.rstrip("/"), loaded.settings.backend.max_concurrency)
    folder = slots_folder(loaded.settings.state_directory, os.environ)
    held = interrupts.run(_taken(Slots(folder, url, most), wait))
    return _become(command, held)


def _only_one(known: list[str]) -> str:
    """Return the address in the settings, if there is exactly one."""
    if len(known) == 1 and known[0].startswith("http"):
        return known[0]
    given = f"{len(known)} backends" if len(known) > 1 else repr(known[0])
    message = f"which backend? add --endpoint URL (the settings name {given})"
    raise ConfigurationError(message)


async def _taken(slots: Slots, wait: float | None) -> int | None:
    """Wait for a slot; None: somebody holds one and is stopped.

    Raises:
        NoSlot: none became free in time. ConfigurationError: the folder cannot be used.

    """
    try:
        began = time.monotonic()
        held = await slots.take(math.inf if wait is None else wait)
    except OSError as error:
        message = f"the slots cannot be used: {error.filename}: {error.strerror}"
        raise ConfigurationError(message) from error
    if held is None and wait is not None and time.monotonic() - began >= wait:
        message = f"no slot for {slots.host} became free within {wait:g} s: {slots.trouble}"
        raise NoSlot(message)
    if held is None:
        sys.stderr.write(f"taggerd: warning: {slots.trouble}; going on without one\n")
    return held


def _become(command: list[str], held: int | None) -> int:
    """Become *command*, with the slot's open file; return only if it cannot be run."""
    if held is not None:
        os.set_inheritable(held, True)  # noqa: FBT003 - os's own form
    sys.stdout.flush()
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)  # Python ignores these two; the command expects them
    try:
        os.execvp(command[0], command)  # noqa: S606 - the command that the user gave
    except OSError as error:
        sys.stderr.write(f"taggerd: {command[0]}: cannot run: {error.strerror}\n")
        return NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_RUN
