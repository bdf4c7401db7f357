"""Where something happened: bounded, deduplicated, filled from any thread."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(slots=True)
class Batch:
    """What was dirty when the map was drained."""

    files: dict[str, set[str]] = field(default_factory=dict)
    """Names to check, by folder."""
    folders: set[str] = field(default_factory=set)
    """Folders to be read again, without what lies below them."""
    trees: set[str] = field(default_factory=set)
    """Folders to be read again with all that lies below; none lies in another."""
    everything: bool = False
    """The whole root is to be read again; the rest is then empty."""

    def __bool__(self) -> bool:
        """Say whether anything is dirty."""
        return bool(self.everything or self.files or self.folders or self.trees)


class Dirty:
    """The dirty map of one root.

    Past *names_per_folder* a folder's names collapse to "read this folder", past *folders* folders
    everything collapses to "read the root", so that no burst can grow the map without end. No
    method raises: that would kill the thread that called it.
    """

    def __init__(
        self,
        wake: Callable[[], None],
        *,
        names_per_folder: int = 500,
        names: int = 20_000,
        folders: int = 1_000,
    ) -> None:
        """Call *wake* whenever the map stops being empty; it may run in any thread."""
        self._wake = wake
        self._names_per_folder = names_per_folder
        self._names = names
        self._folders = folders
        self._lock = threading.Lock()
        self._batch = Batch()
        self._count = 0

    def file(self, path: str) -> None:
        """Note that something happened to the file *path*."""
        with self._changing():
            self._file(path)

    def tree(self, path: str) -> None:
        """Note that the folder *path* appeared, with whatever is in it."""
        with self._changing() as batch:
            batch.trees.add(path)

    def everything(self) -> None:
        """Note that anything may have changed."""
        with self._changing() as batch:
            batch.everything = True

    def drain(self) -> Batch:
        """Take everything out."""
        with self._lock:
            batch, self._batch, self._count = self._batch, Batch(), 0
        batch.trees = {tree for tree in batch.trees if not _inside(tree, batch.trees)}
        return batch

    def _file(self, path: str) -> None:
        batch = self._batch
        folder, _, name = path.rpartition("/")
        if batch.everything or folder in batch.folders:
            return
        names = batch.files.setdefault(folder, set())
        if name in names:
            return
        if len(names) < self._names_per_folder and self._count < self._names:
            names.add(name)
            self._count += 1
            return
        del batch.files[folder]
        self._count -= len(names)
        batch.folders.add(folder)

    @contextmanager
    def _changing(self) -> Iterator[Batch]:
        """Lock the map for a change; keep it within its bounds, and wake whoever drains it."""
        with self._lock:
            batch = self._batch
            was_clean = not batch
            yield batch
            folders = len(batch.files) + len(batch.folders) + len(batch.trees)
            if folders > self._folders or (folders and batch.everything):
                self._batch, self._count = Batch(everything=True), 0
        if was_clean:
            self._wake()


def _inside(path: str, trees: set[str]) -> bool:
    """Say whether *path* lies below one of *trees*."""
    parent = path.rpartition("/")[0]
    while parent:
        if parent in trees:
            return True
        parent = parent.rpartition("/")[0]
    return False
