"""The ledger of a dry run: a queue of its own, which is gone when the run ends."""

from __future__ import annotations

import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from taggerd.ledger.sqlite import SqliteLedger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping

    from taggerd.ledger.port import Claim, FileState, Held, Ledger, Pause
    from taggerd.photo import Answer, PhotoFile, Spending, Usage


class DryRunLedger(SqliteLedger):
    """Claims, attempts, failures and records are its own; states and answers are the real ones.

    So a dry run charges no photo, gives none up and leaves none in the queue, however it ends; and
    what it paid for is not asked again by the run that follows.
    """

    real: Ledger

    async def file_states(self, files: Iterable[PhotoFile]) -> Mapping[Path, FileState]:
        """Return the states in the real ledger."""
        return await self.real.file_states(files)

    async def answers(self, digest: str) -> list[Held]:
        """Return the answers that the real ledger holds."""
        return await self.real.answers(digest)

    async def decoded(self, claim: Claim, digest: str) -> list[Held]:
        """Note it here, and return the answers that the real ledger holds."""
        await super().decoded(claim, digest)
        return await self.answers(digest)

    async def checkpoint(
        self, claim: Claim, digest: str, *answers: Answer, spent: Spending | None = None
    ) -> None:
        """Keep paid answers in the real ledger, and count there: they are paid for all the same."""
        await self.real.checkpoint(claim, digest, *answers, spent=spent)

    async def paused(self, now: float) -> Pause | None:
        """Return the pause of the real ledger."""
        return await self.real.paused(now)

    async def spend(self, day: str, model: str, usage: Usage) -> None:
        """Count in the real ledger: it is paid for all the same."""
        await self.real.spend(day, model, usage)

    async def spent(self, day: str) -> dict[str, Usage]:
        """Return what the real ledger has counted."""
        return dict(await self.real.spent(day))


@asynccontextmanager
async def dry_run_ledger(
    real: Ledger,
    *,
    max_attempts: int,
    order: Literal["newest", "oldest"],
    clock: Callable[[], float],
) -> AsyncIterator[DryRunLedger]:
    """Open a ledger for one dry run beside the *real* one, in a temporary folder.

    Raises:
        StartError: the folder cannot be used. StorageError: its disk is full.
    """
    with tempfile.TemporaryDirectory(prefix="taggerd-dry-run-") as folder:
        ledger = await DryRunLedger.open(
            Path(folder), max_attempts=max_attempts, order=order, clock=clock
        )
        ledger.real = real
        try:
            yield ledger
        finally:
            await ledger.close()
