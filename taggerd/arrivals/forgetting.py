"""Forgetting: photos that are gone leave the ledger after a grace time; their answers stay."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

import structlog

from taggerd.arrivals.lane import Lane
from taggerd.arrivals.missing import Absences, RollCall
from taggerd.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from taggerd.photo import Stamp

log = structlog.get_logger(__name__)

DAY_SECONDS = 86_400.0


class KnownFiles(Protocol):
    """The files on record; the ledger is it."""

    async def folders(self, below: Path) -> Sequence[Path]:
        """Return the folders with known files: *below* and those under it."""

    async def known(self, folder: Path) -> dict[Path, Stamp]:
        """Return the files known in *folder* itself, with their stamps."""

    async def missing(
        self, below: Path, paths: Collection[Path], *, grace_seconds: float
    ) -> Sequence[Path]:
        """Note that just *paths* are missing below *below*; return those that are forgotten."""


class Forgetting:
    """What is done about photos that are gone."""

    def __init__(self, ledger: KnownFiles, forget_days: float) -> None:
        """Forget what has been gone for *forget_days*."""
        self._ledger = ledger
        self._grace_seconds = forget_days * DAY_SECONDS
        self.absences = Absences(ledger.folders, self._missing)

    async def call_roll(self, folder: Path) -> None:
        """Look for every file on record in and below *folder*, as the daemon does at each walk."""
        lane = Lane(f"roll call of {folder}", time.monotonic)
        roll_call = RollCall(folder, self._ledger.known, self.absences, lane)
        try:
            await roll_call.begin()
            while roll_call.under_way:
                await roll_call.go_on(_there)
        finally:
            lane.close()

    async def _missing(self, root: Path, paths: Collection[Path]) -> None:
        try:
            forgotten = await self._ledger.missing(root, paths, grace_seconds=self._grace_seconds)
        except StorageError as error:
            log.warning("what is gone could not be noted", reason=str(error))
            return
        if forgotten:
            log.info("photos that are gone are forgotten", files=len(forgotten))


async def _there() -> bool:
    """A scan has just read the folder."""
    return True
