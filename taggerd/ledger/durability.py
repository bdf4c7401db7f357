"""What was paid for is safe from a power cut before anything else relies on it.

A commit under ``synchronous = FULL`` syncs the log by itself: 5 to 10 milliseconds on many disks,
for each of four steps of each photo, one after the other. Here the steps commit under ``NORMAL``
and then wait together for one sync of the log, while the database goes on. It is the same
`fdatasync` of the same file. SQLite syncs the log before it moves pages from it into the database,
and the log's header when it starts the log over, under ``NORMAL`` as well
(https://www.sqlite.org/wal.html, "Checkpointing"; https://www.sqlite.org/pragma.html#pragma_synchronous).
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

from taggerd.errors import StorageError
from taggerd.photo import printable

if TYPE_CHECKING:
    from pathlib import Path


class Durability:
    """Syncs the log of one database for everyone who waits for it."""

    def __init__(self, database: Path) -> None:
        """Prepare to sync the log of *database*."""
        self._log = database.with_name(database.name + "-wal")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sync")
        self._syncing = asyncio.Lock()
        self._next: asyncio.Task[None] | None = None

    async def reached(self) -> None:
        """Wait until everything committed so far is on the disk.

        Raises:
            StorageError: the disk is failing.
        """
        # A sync in progress may have begun before the last commit.
        if self._next is None:
            self._next = asyncio.create_task(self._synced())
        await asyncio.shield(self._next)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False)

    async def _synced(self) -> None:
        async with self._syncing:
            self._next = None
            try:
                await asyncio.get_running_loop().run_in_executor(self._thread, self._sync)
            except OSError as error:
                message = f"{printable(self._log)} cannot be synced ({error}): check its disk"
                raise StorageError(message) from error

    def _sync(self) -> None:
        with suppress(FileNotFoundError):  # nothing was written yet
            log = os.open(self._log, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fdatasync(log)
            finally:
                os.close(log)
