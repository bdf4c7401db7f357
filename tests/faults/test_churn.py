"""Random churn: make, write, rename, move, delete, out of the import folder and back."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import threading
import time
from typing import TYPE_CHECKING

import pytest
from support.arriving import Arriving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Churn:
    """Somebody who tidies up an import folder while it is watched."""

    def __init__(self, root: Path, outside: Path, seed: int) -> None:
        """Work in *root*, with *outside* to move things to."""
        self._root = root
        self._outside = outside
        self._random = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
        self._made = 0
        self.done = 0

    def run(self, seconds: float) -> None:
        """Do one thing after the other for *seconds*, now and then in bursts; a few in any case."""
        deeds = [
            *[self._make_folder, self._make_photos, self._make_tree] * 2,
            *[self._move, self._move_out, self._move_in, self._replace, self._delete],
        ]
        end = time.monotonic() + seconds
        pause = threading.Event()
        while time.monotonic() < end or self.done <= 10 * seconds:
            with contextlib.suppress(OSError, shutil.Error):  # into itself, over another: no matter
                self._random.choice(deeds)()
            self.done += 1
            if self._random.random() < 0.1:
                pause.wait(self._random.random() / 5)

    def _folders(self) -> list[Path]:
        return [self._root, *(p for p in self._root.rglob("*") if p.is_dir())]

    def _somewhere(self) -> Path:
        folders = self._folders()
        if len(folders) > 300:
            shutil.rmtree(self._random.choice(folders[1:]))
            return self._root
        return self._random.choice(folders)

    def _name(self) -> str:
        self._made += 1
        return f"{self._made:06}"

    def _make_folder(self) -> None:
        (self._somewhere() / self._name()).mkdir()

    def _make_photos(self) -> None:
        folder = self._somewhere()
        for _ in range(self._random.randrange(1, 20)):
            (folder / f"{self._name()}.jpg").write_bytes(bytes(self._random.randrange(100)))

    def _make_tree(self) -> None:
        folder = self._somewhere() / self._name() / self._name() / self._name()
        folder.mkdir(parents=True)
        (folder / "in.jpg").touch()
        (folder.parent / "over.jpg").touch()

    def _move(self) -> None:
        source = self._somewhere()
        if source != self._root:
            source.rename(self._somewhere() / self._name())

    def _move_out(self) -> None:
        source = self._somewhere()
        if source != self._root:
            source.rename(self._outside / self._name())

    def _move_in(self) -> None:
        away = list(self._outside.iterdir())
        if away:
            self._random.choice(away).rename(self._somewhere() / self._name())

    def _replace(self) -> None:
        photos = list(self._somewhere().glob("*.jpg"))
        if photos:
            photo = self._random.choice(photos)
            fresh = photo.with_name(f".{photo.name}.part")
            fresh.write_bytes(bytes(self._random.randrange(1000)))
            fresh.rename(photo)

    def _delete(self) -> None:
        victim = self._somewhere()
        if victim != self._root:
            shutil.rmtree(victim)

    def probe(self) -> int:
        """Put one last photo into every folder; return how many."""
        folders = self._folders()
        for folder in folders:
            (folder / "probe.jpg").write_bytes(b"probe")
        return len(folders)


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[tuple[Path, Path, Path]]:
    """Return an import folder, a place outside on the same disk, and a state directory."""
    names = "import", "outside", "state"
    for name in names:
        (tmp_path / name).mkdir()
    yield tmp_path / "import", tmp_path / "outside", tmp_path / "state"
    for name in names:
        shutil.rmtree(tmp_path / name)


@pytest.mark.parametrize(
    ("seed", "seconds"),
    [(1, 5), *(pytest.param(seed, 60, marks=pytest.mark.long) for seed in range(11, 16))],
)
async def test_churn(folders: tuple[Path, Path, Path], seed: int, seconds: float) -> None:
    """After a reconcile the ledger knows every photo as it is, also a last one in every folder."""
    root, outside, state = folders
    print(f"churn with seed {seed}")  # noqa: T201 - shown when it fails
    churn = Churn(root, outside, seed)
    async with Arriving(state, root) as service:
        await asyncio.to_thread(churn.run, seconds)
        probed = await asyncio.to_thread(churn.probe)
        await service.reconcile()
        await service.until_none_is_missed(180)
        print(f"{churn.done} deeds, {probed} folders, {len(service.admitted)} photos")  # noqa: T201
        probes = [path for path, _ in service.admitted if path.name == "probe.jpg"]
        assert len(probes) == len(set(probes)) == probed
        # Also the watch is whole again: one more in every folder, and nobody asks for a walk.
        for path in probes:
            path.with_name("last.jpg").touch()
        await service.until_none_is_missed(180)
