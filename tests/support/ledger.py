"""A state directory for a ledger, a clock that is set, and photos that do not exist."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from taggerd.ledger import Claim, Finished, Ledger, Outgoing, SqliteLedger
from taggerd.photo import Answer, Keyword, PhotoFile, Stamp

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


@dataclass
class State:
    """A state directory and those who use it. A second implementation needs another of these."""

    directory: Path
    now: float = 1_000_000.0
    opened: list[SqliteLedger] = field(default_factory=list)

    async def open(
        self,
        *,
        max_attempts: int = 3,
        order: Literal["newest", "oldest"] = "oldest",
        exclusive: bool = False,
    ) -> SqliteLedger:
        """Open the ledger as one more owner."""
        ledger = await SqliteLedger.open(
            self.directory,
            exclusive=exclusive,
            max_attempts=max_attempts,
            order=order,
            clock=lambda: self.now,
        )
        self.opened.append(ledger)
        return ledger

    async def kill(self, ledger: SqliteLedger) -> None:
        """Let an owner die: what it holds is let go of, nothing is given back."""
        await ledger._state.close()

    async def claim(self, ledger: Ledger, limit: int = 100, *, run: str = "run") -> list[Claim]:
        """Claim what there is to claim below the root."""
        return await ledger.claim(limit, within=[ROOT], run=run, now=self.now)

    async def claim_one(self, ledger: Ledger, *, run: str = "run") -> Claim:
        """Claim the only photo there is to claim."""
        (claim,) = await self.claim(ledger, run=run)
        return claim

    async def tag(self, ledger: Ledger, claim: Claim, *, digest: str = DIGEST) -> None:
        """Take a claim the whole way."""
        await ledger.checkpoint(claim, digest, answer())
        await ledger.written(claim, digest, [])
        await ledger.end(claim, Finished(digest))
