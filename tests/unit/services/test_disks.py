"""Who opens photos for the decoders: a disk that hangs holds up nobody else, and leaks nothing."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING

import pytest

from taggerd import files, imaging
from taggerd.errors import PhotoGone, PhotosDiskError, PhotoUnreadable
from taggerd.services import Disks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from taggerd.files import OpenFile


@pytest.fixture(autouse=True)
def _two_roots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the folder that both of them lie in."""
    monkeypatch.setattr(files, "_roots", [])


@pytest.fixture
def card(tmp_path: Path) -> Path:
    """A root with a photo."""
    return _root(tmp_path / "card")


@pytest.fixture
def hangs() -> threading.Event:
    """Set once somebody waits for the share."""
    return threading.Event()


@pytest.fixture
def answers() -> threading.Event:
    """Set when the share answers."""
    return threading.Event()


@pytest.fixture
def share(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    hangs: threading.Event,
    answers: threading.Event,
) -> Iterator[Path]:
    """A root that does not answer until `answers` is set."""
    share = _root(tmp_path / "share")
    original = imaging.open_photo

    def slow(path: Path) -> OpenFile:
        if path.is_relative_to(share):
            hangs.set()
            answers.wait()
        return original(path)

    monkeypatch.setattr(imaging, "open_photo", slow)
    yield share
    answers.set()


def _root(folder: Path) -> Path:
    folder.mkdir()
    (folder / "a.jpg").write_bytes(b"content")
    files.work_below(folder)
    return folder


async def test_opens_and_closes(card: Path) -> None:
    """The file is open inside the block, and not after it; what is not there is gone."""
    disks = Disks()
    async with disks.opened(card / "a.jpg") as file:
        assert os.read(file.descriptor, 9) == b"content"
    assert file.descriptor < 0
    with pytest.raises(PhotoGone):
        async with disks.opened(card / "b.jpg"):
            pass
    disks.close()


async def test_a_disk_that_hangs_holds_up_no_other(
    card: Path, share: Path, hangs: threading.Event
) -> None:
    """While forty photos of a share wait for it, photos elsewhere are opened."""
    disks = Disks(answer_seconds=600)
    hung = [asyncio.create_task(_open(disks, share / "a.jpg")) for _ in range(40)]
    assert await asyncio.to_thread(hangs.wait, 180)
    async with disks.opened(card / "a.jpg") as file:
        assert os.read(file.descriptor, 9) == b"content"
    assert not any(task.done() for task in hung)
    for task in hung:
        task.cancel()
    await asyncio.gather(*hung, return_exceptions=True)
    disks.close()


async def test_a_disk_that_hangs_is_at_fault_itself(share: Path) -> None:
    """The photo is charged nothing: what lies on that disk waits until it answers."""
    disks = Disks(answer_seconds=0.1)
    with pytest.raises(PhotosDiskError, match=str(share)):
        await _open(disks, share / "a.jpg")
    disks.close()


async def test_what_is_opened_too_late_is_closed(share: Path, answers: threading.Event) -> None:
    """A file that nobody waits for any more, after a timeout or a cancellation, is closed."""
    disks = Disks(answer_seconds=0.1)
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names alone
    late = [asyncio.create_task(_open(disks, share / "a.jpg")) for _ in range(10)]
    given_up = asyncio.create_task(_open(disks, share / "a.jpg"))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.gather(*late, given_up, return_exceptions=True)
    answers.set()
    disks._answer_seconds = 600  # a machine that is busy is not a disk that hangs
    await _open(disks, share / "a.jpg")  # after the others: one thread, one after the other
    await asyncio.sleep(0)
    assert set(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208 - names alone
    disks.close()


async def _open(disks: Disks, path: Path) -> None:
    async with disks.opened(path):
        pass


async def test_a_photo_outside_of_all_that_was_named_is_not_opened(tmp_path: Path) -> None:
    """Whatever a ledger may hold: the reason is said, and nothing is read."""
    _root(tmp_path / "card")
    (tmp_path / "a.jpg").write_bytes(b"content")
    disks = Disks()
    with pytest.raises(PhotoUnreadable, match="lies in no folder that was named"):
        async with disks.opened(tmp_path / "a.jpg"):
            pass
    disks.close()
