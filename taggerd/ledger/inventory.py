"""The inventory: which files were seen on disk, with which stamps, and what became of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taggerd.ledger import admission
from taggerd.ledger.atrest import (
    Place,
    file_of,
    folder_bytes,
    folder_range,
    path_of,
    stamp_of,
)
from taggerd.ledger.inthread import InThread, batches, in_thread
from taggerd.ledger.port import Admitted, FileState, State

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from taggerd.photo import PhotoFile, Stamp


class Inventory(InThread):
    """The part of :class:`taggerd.ledger.port.Ledger` that knows files."""

    async def admit(
        self,
        files: Iterable[PhotoFile],
        *,
        again: bool = False,
        sidecars: bool = True,
        run: str | None = None,
    ) -> Admitted:
        """See the port. A thousand files make one transaction."""
        total = Admitted()
        for batch in batches(files):
            terms = admission.Terms(
                self._clock(), again=again, sidecars=sidecars, run=run, owner=self._me
            )
            total += await self._admit(batch, terms)
        return total

    @in_thread
    def _admit(self, files: Sequence[PhotoFile], terms: admission.Terms) -> Admitted:
        with self._database.transaction():
            return admission.admit(self._database, files, terms)

    async def file_states(self, files: Iterable[PhotoFile]) -> Mapping[Path, FileState]:
        """See the port."""
        states: dict[Path, FileState] = {}
        for batch in batches(files):
            states |= await self._file_states(batch)
        return states

    @in_thread
    def _file_states(self, files: Sequence[PhotoFile]) -> dict[Path, FileState]:
        return {file.path: self._state_of(file) for file in files}

    def _state_of(self, file: PhotoFile) -> FileState:
        row = self._database.row("file_state", **Place.of(file.path)._asdict())
        if row is None:
            return FileState("new")
        state: State = row["state"]
        if stamp_of(row) != file.stamp:
            state = "changed"
        elif row["retryable"] if state == "quarantined" else not row["sidecars_written"]:
            undone = state == "recorded" and row["recorded"] == admission.UNDONE
            state = "unwritten" if state in {"recorded", "quarantined"} else state
            state = "undone" if undone else state
        return FileState(state, row["reason"], row["since"])

    @in_thread
    def known(self, folder: Path) -> dict[Path, Stamp]:
        """See the port."""
        path = folder_bytes(folder)
        files = (file_of(path, row) for row in self._database.rows("folder_files", path=path))
        return {file.path: file.stamp for file in files}

    @in_thread
    def stamps(self, folders: Sequence[Path]) -> list[set[tuple[bytes, int, int, int, int]]]:
        """See the port."""
        return [self._database.tuples("folder_stamps", path=folder_bytes(path)) for path in folders]

    @in_thread
    def folders(self, below: Path) -> list[Path]:
        """See the port."""
        low, high = folder_range(below)
        return [
            path_of(r["path"]) for r in self._database.rows("folders_below", low=low, high=high)
        ]

    async def forget(self, paths: Iterable[Path]) -> None:
        """Remove files, and photos that have no file left."""
        for batch in batches(paths):
            await self._forget(batch)

    @in_thread
    def _forget(self, paths: Sequence[Path]) -> None:
        with self._database.transaction():
            admission.forget(self._database, paths, self._clock())

    async def missing(
        self, below: Path, paths: Collection[Path], *, grace_seconds: float
    ) -> list[Path]:
        """See the port."""
        now = self._clock()
        noted = await self._noted_gone(below)
        for batch in batches(path for path in noted if path not in paths):
            await self._note_gone(batch, None)
        for batch in batches(path for path in paths if path not in noted):
            await self._note_gone(batch, now)
        noted = await self._noted_gone(below)
        overdue = [path for path, since in noted.items() if now - since >= grace_seconds]
        await self.forget(overdue)
        return overdue

    @in_thread
    def _noted_gone(self, below: Path) -> dict[Path, float]:
        low, high = folder_range(below)
        return {
            path_of(row["folder"] + row["stem"] + row["suffix"]): row["gone_since"]
            for row in self._database.rows("gone_files", low=low, high=high)
        }

    @in_thread
    def _note_gone(self, paths: Sequence[Path], since: float | None) -> None:
        with self._database.transaction():
            for path in paths:
                self._database.do("set_gone", gone_since=since, **Place.of(path)._asdict())
