"""Ledgers for tests, in a state directory or in memory; a clock that is set; invented photos."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from support.postgres import name_in
from taggerd.ledger import Claim, Finished, Outgoing, SqliteLedger
from taggerd.ledger.postgres import opening
from taggerd.ledger.postgres.ledger import PostgresLedger
from taggerd.ledger.postgres.naming import Naming
from taggerd.photo import Answer, Keyword, PhotoFile, Stamp
from taggerd.testing import InMemoryLedger, InMemoryStore

if TYPE_CHECKING:
    from support.postgres import PostgresServer
    from taggerd.ledger import Ledger

ROOT = Path("/srv/import")
DIGEST = "ab" * 32
QUESTION = "cd" * 16


def file(name: str = "IMG_1.JPG", *, size: int = 1000, folder: Path = ROOT) -> PhotoFile:
    """Return a file as arrivals would hand it over; another *size* is another stamp."""
    return PhotoFile(folder / name, Stamp(size, 1_700_000_000_000_000_000, 42, 64))


def names(claim: Claim) -> list[str]:
    """Return the names of a claim's files, the one to be read first."""
    return [file.path.name for file in claim.photo.files]


def answer(role: str = "caption", text: str = "A pier", question: str = QUESTION) -> Answer:
    """Return an answer that cost money."""
    words = (Keyword("pier", 0.9), Keyword("sea")) if role == "keywords" else ()
    return Answer(
        role=role,
        question=question,
        text="" if words else text,
        keywords=words,
        raw=f"<think>hm</think>{text}",
        model="tiny-vlm",
        prompt_tokens=1200,
        completion_tokens=17,
        seconds=1.25,
    )


def record(number: int = 1, *, stream: str = "") -> Outgoing:
    """Return a journal line."""
    return Outgoing(f"record-{number}", "2025-06-30", f'{{"id": {number}}}', stream)


class State(ABC):
    """A ledger that several owners may open, and a clock that is set by hand."""

    def __init__(self) -> None:
        """Begin with no owner."""
        self.now = 1_000_000.0
        self.opened: list[Ledger] = []

    @abstractmethod
    async def open(
        self, *, max_attempts: int = 3, order: Literal["newest", "oldest"] = "oldest"
    ) -> Ledger:
        """Open the ledger as one more owner."""

    @abstractmethod
    async def kill(self, ledger: Ledger) -> None:
        """Let an owner die: what it holds is let go of, nothing is put back."""

    @abstractmethod
    def renew(self) -> None:
        """Let the next owner find an empty ledger."""

    def close(self) -> None:  # noqa: B027 - most leave nothing behind
        """Remove what the tests leave."""

    async def forget(self, ledger: Ledger, *paths: Path) -> None:
        """Let files be gone for good."""
        await ledger.missing(Path("/"), paths, grace_seconds=0)

    async def claim(self, ledger: Ledger, limit: int = 100, *, run: str = "run") -> list[Claim]:
        """Claim what there is to claim below the root."""
        return await ledger.claim(limit, within=[ROOT], run=run, now=self.now)

    async def claim_one(self, ledger: Ledger, *, run: str = "run") -> Claim:
        """Claim the only photo there is to claim."""
        (claim,) = await self.claim(ledger, run=run)
        return claim

    async def tag(self, ledger: Ledger, claim: Claim, *, digest: str = DIGEST) -> None:
        """Take a claim from its first step to its last."""
        await ledger.checkpoint(claim, digest, answer())
        await ledger.written(claim, digest, [])
        await ledger.end(claim, Finished(digest))


class SqliteState(State):
    """A state directory."""

    def __init__(self, directory: Path) -> None:
        """Use *directory*, which need not be there."""
        super().__init__()
        self.directory = directory

    async def open(
        self,
        *,
        max_attempts: int = 3,
        order: Literal["newest", "oldest"] = "oldest",
        exclusive: bool = False,
    ) -> SqliteLedger:
        """Open the ledger as one more owner, or as the daemon."""
        ledger = await SqliteLedger.open(
            self.directory,
            exclusive=exclusive,
            max_attempts=max_attempts,
            order=order,
            clock=lambda: self.now,
        )
        self.opened.append(ledger)
        return ledger

    async def kill(self, ledger: Ledger) -> None:
        """Let go of its lock and its database."""
        assert isinstance(ledger, SqliteLedger)
        await ledger._state.close()

    def renew(self) -> None:
        """Go to another directory."""
        self.directory = self.directory.with_name(f"{self.directory.name}-again")


class PostgresState(State):
    """A PostgreSQL database; its clock is the one that is set by hand."""

    def __init__(self, server: PostgresServer) -> None:
        """Use a database of its own on *server*."""
        super().__init__()
        self._server = server
        self.url = server.prepared(opening.init)

    async def open(
        self, *, max_attempts: int = 3, order: Literal["newest", "oldest"] = "oldest"
    ) -> PostgresLedger:
        """Open the ledger as one more owner."""
        ledger = await PostgresLedger.open(
            self.url,
            max_attempts=max_attempts,
            order=order,
            clock=lambda: self.now,
            skew=0.0,
            paths=Naming("here"),
        )
        self.opened.append(ledger)
        return ledger

    async def kill(self, ledger: Ledger) -> None:
        """Let it give no more signs of life, and have done all that it did long ago."""
        assert isinstance(ledger, PostgresLedger)
        await ledger._abandon()
        past = "now() - interval '1 hour'"
        beat = f"SET last_heartbeat = {past} FROM taggerd.owners WHERE id = worker"
        lent = f"SET lent_at = {past} WHERE true"
        for table, change in (("procrastinate_workers", beat), ("outbox", lent)):
            self._server.execute(
                f"UPDATE taggerd.{table} {change} AND owner = '{ledger._me}'",
                database=name_in(self.url),
            )

    def renew(self) -> None:
        """Go to another database."""
        self.close()
        self.url = self._server.prepared(opening.init)

    def close(self) -> None:
        """Remove the database."""
        self._server.drop(self.url)


class MemoryState(State):
    """A ledger in memory."""

    def __init__(self) -> None:
        """Begin with an empty one."""
        super().__init__()
        self._store = InMemoryStore()

    async def open(
        self, *, max_attempts: int = 3, order: Literal["newest", "oldest"] = "oldest"
    ) -> InMemoryLedger:
        """Open it as one more owner."""
        ledger = InMemoryLedger(
            self._store, max_attempts=max_attempts, order=order, clock=lambda: self.now
        )
        self.opened.append(ledger)
        return ledger

    async def kill(self, ledger: Ledger) -> None:
        """Be dead for the others."""
        assert isinstance(ledger, InMemoryLedger)
        ledger.kill()

    def renew(self) -> None:
        """Begin with an empty one."""
        self._store = InMemoryStore()
