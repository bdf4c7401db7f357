"""One import folder with all that serves it: a queue in memory, and no process, no network."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING

import httpx

from support.program import photo
from taggerd.arrivals import Seen, see
from taggerd.inference import describer
from taggerd.services import local_now
from taggerd.settings import Settings
from taggerd.testing import InMemoryLedger, stand_in_services

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from datetime import datetime
    from pathlib import Path

    from taggerd.ledger import Claim
    from taggerd.services import Services


def nothing(_request: httpx.Request) -> None:
    """Leave every answer to the describer."""


async def at_once(_seconds: float) -> None:
    """Wait for nothing but the others."""
    await asyncio.sleep(0)


@dataclass
class Site:
    """An import folder, its queue, and a backend that counts the questions."""

    folder: Path
    settings: Settings
    ledger: InMemoryLedger = field(default_factory=InMemoryLedger)
    answer: Callable[[httpx.Request], httpx.Response | None] = nothing
    """Answers a question instead of the describer, or raises; None: the describer answers."""
    now: Callable[[], datetime] = local_now
    questions: int = 0
    """How many were asked since the services were opened."""

    @classmethod
    def below(cls, home: Path) -> Site:
        """Make an empty one."""
        folder = home / "import"
        folder.mkdir()
        tables = {
            "state_directory": home / "state",
            "arrivals": {"roots": [folder], "settle_seconds": 0.1},
            "backend": {"base_url": "http://backend.test/v1"},
        }
        return cls(folder, Settings.model_validate(tables))

    @asynccontextmanager
    async def services(self) -> AsyncIterator[Services]:
        """Open services; the questions of their preflight are not counted."""
        transport = httpx.MockTransport(self._serve)
        usual, self.answer = self.answer, nothing
        async with stand_in_services(
            self.settings, self.ledger, transport=transport, sleep=at_once, now=self.now
        ) as services:
            self.questions, self.answer = 0, usual
            yield services

    async def arrive(self, *names: str, run: str | None = None) -> list[Path]:
        """Put photos into the folder and queue them."""
        paths = [photo(self.folder / name, number) for number, name in enumerate(names)]
        await self.admit(*paths, run=run)
        return paths

    async def admit(self, *paths: Path, run: str | None = None, again: bool = False) -> None:
        """Queue files as they are now; *again*: also what is tagged."""
        files = [seen.file for path in paths if isinstance(seen := see(path), Seen)]
        await self.ledger.admit(files, run=run, again=again)

    async def claim(self) -> Claim:
        """Claim the only photo in the queue."""
        (claim,) = await self.ledger.claim(9, within=[self.folder], run="r", now=1e12)
        return claim

    def digest(self, name: str) -> str:
        """Return the digest of a file in the folder."""
        return blake2b((self.folder / name).read_bytes(), digest_size=32).hexdigest()

    def _serve(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            self.questions += 1
            if (response := self.answer(request)) is not None:
                return response
        status, body = describer.respond(request.method, request.url.path, request.content)
        return httpx.Response(status, json=body)
