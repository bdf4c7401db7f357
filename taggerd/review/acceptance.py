"""Writes the words of held photos once they are accepted, whether or not a daemon runs."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from taggerd.arrivals import reach
from taggerd.attempt import RunOptions
from taggerd.errors import TaggerdError
from taggerd.logs import get_logger
from taggerd.retry import SCAN_TIMEOUT_SECONDS
from taggerd.runner.following import Following
from taggerd.runner.outcome import log_outcome
from taggerd.runner.runner import Runner
from taggerd.services import open_services

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

    from taggerd.ledger import Ledger
    from taggerd.metadata import Edit, Said, Written
    from taggerd.photo import Photo
    from taggerd.settings.configuration import Configuration

log = get_logger(__name__)


class Acceptance:
    """Writes in the background: a click does not wait for processes to start."""

    def __init__(self, configuration: Configuration) -> None:
        """Write by *configuration*; nothing is open until there is something to write."""
        self._configuration = configuration
        self._paths: dict[Path, None] = {}
        self._writing: asyncio.Task[None] | None = None

    def write(self, paths: Sequence[Path]) -> None:
        """Write what was accepted for *paths*, soon."""
        self._paths |= dict.fromkeys(paths)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write(), name="acceptance")

    async def finish(self) -> None:
        """Wait until all is written that can be."""
        if self._writing is not None:
            await self._writing

    async def _write(self) -> None:
        while self._paths:
            paths, self._paths = list(self._paths), {}
            try:
                await write_accepted(self._configuration, paths)
            except TaggerdError as error:  # they stay in the queue: the next run writes them
                log.warning("what was accepted waits to be written", reason=str(error))
            except Exception:
                log.exception("what was accepted waits to be written")


@asynccontextmanager
async def accepting(configuration: Configuration) -> AsyncIterator[Acceptance]:
    """Give what writes in the background; at the end all is written that can be."""
    acceptance = Acceptance(configuration)
    try:
        yield acceptance
    finally:
        await acceptance.finish()


async def seen_on_disk(
    edit: Edit,
    photo: Photo,
    said: Said,
    ledger: Ledger,
    read: Callable[[Photo, Said], Awaitable[Written]],
) -> Edit:
    """Return *edit* with the texts that its author has seen as they stand on the disk.

    Whoever looks at a held photo that was tagged before sees the texts that wait, not those that
    they replace. Without this, every edit of them would be a conflict.
    """
    held = await ledger.held(1, [photo.primary.path]) if edit.seen else []
    if not held:
        return edit
    answers = {answer.role: answer.text for answer in held[0].answers}
    written, seen = await read(photo, said), {}
    for part, text in edit.seen.items():
        waits = " ".join(text.split()) == " ".join(answers.get(part, "").split())
        seen[part] = (_machine_text(written, part) if waits else "") or text
    return replace(edit, seen=seen)


def _machine_text(found: Written, part: str) -> str:
    """Return the text that the machine wrote before; empty where a human's stands, or none."""
    text = found.texts[1 if part == "description" else 0]
    return text.text if text is not None and text.machine else ""


async def write_accepted(configuration: Configuration, paths: Sequence[Path]) -> None:
    """Write what was accepted for *paths*, unless another taggerd is faster.

    Raises:
        TaggerdError: the state cannot be used, or a disk is full or failing.

    """
    options = RunOptions(run=f"accept-{uuid.uuid4().hex[:12]}", accept=True)
    for path in paths:
        reach(path, configuration.settings)
    async with open_services(configuration) as services:
        if not await services.ledger.accept(paths, run=options.run):
            return
        follows = Following(services, options, sweeps=False)
        runner = Runner(
            services,
            options,
            on_outcome=[log_outcome, follows.hear],
            more_to_come=lambda: False,
            trouble_timeout=SCAN_TIMEOUT_SECONDS,
        )
        following = asyncio.create_task(follows.hooks.run(), name="hooks")
        try:
            await runner.work(drain_seconds=configuration.settings.service.drain_seconds)
        finally:
            await services.relay.finish()
            await follows.finish()
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
