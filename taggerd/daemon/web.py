"""The review in the browser, beside the daemon: a process of its own, which harms no tagging.

``web.listen`` asks for it. It is started again when it ends, later each time; why it does not serve
is in ``taggerd status``. It ends with the daemon, however that ends: its standard input is then
closed.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr
from pydantic_core import to_jsonable_python

from taggerd.logs import get_logger
from taggerd.photo import printable
from taggerd.settings.sources import PREFIX

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from taggerd.settings.configuration import Configuration

log = get_logger(__name__)

FIRST_SECONDS = 1.0
"""Before it is started again; doubled each time, up to :data:`MOST_SECONDS`."""
MOST_SECONDS = 60.0
STEADY_SECONDS = 120.0
"""What served so long begins with the first wait again."""
END_SECONDS = 5.0
SERVING = "serving "
"""What it prints once it serves, before the address; anything else is why it cannot."""


class Web:
    """``taggerd web``, kept running as the settings want it; lives over reloads."""

    def __init__(
        self,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        command: Sequence[str] = (sys.executable, "-P", "-m", "taggerd", "web", "--supervised"),
    ) -> None:
        """Start nothing yet.

        Args:
            sleep: waits between two starts.
            command: what is started.

        """
        self._sleep, self._command = sleep, command
        self._configuration: Configuration | None = None
        self._keeping: asyncio.Task[None] | None = None
        self.trouble = ""
        """Why it does not serve; empty: it does, or nobody asked for it."""

    async def configure(self, configuration: Configuration) -> None:
        """Serve as *configuration* wants it from now on. Nothing is raised: photos come first."""
        before, self._configuration = self._configuration, configuration
        if before is not None and before.settings == configuration.settings:
            return  # whoever is logged in stays so over a reload
        await self.close()
        if configuration.settings.web.listen:
            self._keeping = asyncio.create_task(self._keep(configuration), name="web")

    async def close(self) -> None:
        """End it."""
        self.trouble = ""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait([self._keeping])
            self._keeping = None

    async def _keep(self, configuration: Configuration) -> None:
        """Run it, and again whenever it has ended."""
        clock, seconds = asyncio.get_running_loop().time, FIRST_SECONDS
        while True:
            began = clock()
            try:
                code = await self._run(configuration)
                said = self.trouble or f"it ended with exit code {code}"
            except OSError as error:
                said = f"it cannot be started: {error.strerror}"
            except Exception as error:
                log.exception("the review cannot be served")
                said = str(error)
            if self.trouble != said:
                log.error("the review is not served", reason=said)
            self.trouble = said
            seconds = FIRST_SECONDS if clock() - began > STEADY_SECONDS else seconds
            await self._sleep(seconds)
            seconds = min(seconds * 2, MOST_SECONDS)

    async def _run(self, configuration: Configuration) -> int:
        """Run it once, and return its exit code."""
        file = ("--config", str(configuration.file)) if configuration.file else ()
        process = await asyncio.create_subprocess_exec(
            *self._command,
            *file,
            env=_environment(configuration, os.environ),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            if process.stdout:
                async for line in process.stdout:
                    self._hear(line.decode(errors="replace").strip())
            return await process.wait()
        finally:
            await _end(process)

    def _hear(self, line: str) -> None:
        """Take what it says: where it serves, or why it cannot."""
        if line.startswith(SERVING):
            log.info("the review is served", address=line.removeprefix(SERVING))
            self.trouble = ""
        elif line and line != self.trouble:
            self.trouble = printable(line)
            log.error("the review is not served", reason=self.trouble)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Have *process* end, in order if it can."""
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        process.terminate()
    with suppress(TimeoutError):
        async with asyncio.timeout(END_SECONDS):
            await process.wait()
            return
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()


def _environment(configuration: Configuration, own: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the process: what switches gave the daemon holds for it as well."""
    given = {key for key, origin in configuration.origins.items() if origin == "command line"}
    named = {PREFIX + key.upper().replace(".", "__"): _text(configuration, key) for key in given}
    kept = {
        key: value for key, value in own.items() if key not in {"NOTIFY_SOCKET", "WATCHDOG_PID"}
    }
    # A second pool of decoders is beside the daemon's: one of each is enough for one person.
    return {**kept, PREFIX + "WORKERS__PROCESSES": "1", **named}


def _text(configuration: Configuration, key: str) -> str:
    """Return a setting as the environment has it."""
    value: Any = configuration.settings
    for part in key.split("."):
        value = getattr(value, part)
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    plain = to_jsonable_python(value, exclude_none=True)
    return plain if isinstance(plain, str) else json.dumps(plain)
