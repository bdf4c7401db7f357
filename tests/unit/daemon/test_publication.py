"""The published status: written when something changed, in memory; its time says who lives."""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING

import pytest

from taggerd.daemon import publication
from taggerd.daemon.instances import announced, running
from taggerd.daemon.publication import Publisher, read_published
from taggerd.ledger.state_directory import StateDirectory
from taggerd.settings.permissions import open_own

if TYPE_CHECKING:
    from pathlib import Path

FIRST, SECOND = {"queued": 1}, {"queued": 2}


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Return a state directory."""
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of runtime files."""
    folder = tmp_path / "run"
    folder.mkdir()
    monkeypatch.setenv("TAGGERD_RUNTIME_DIRECTORY", os.fspath(folder))
    return folder


def test_it_lies_beside_the_runtime_file_and_goes_with_it(run: Path, state: Path) -> None:
    """The state directory may be on a disk that sleeps: not a byte is written there."""
    with announced(state, state) as file:
        publisher = Publisher(file, state)
        publisher.publish(FIRST, 1000.0)
        assert publisher.file == run / f"{os.getpid()}.status.json"
        assert publisher.file.stat().st_mode & 0o777 == 0o600
        found = read_published(state)
        assert found is not None
        assert (found.data.rstrip(), found.at) == (b'{"queued": 1}', 1000.0)
    assert list(run.iterdir()) == []
    assert list(state.iterdir()) == []
    assert read_published(state) is None


def test_it_is_written_only_when_something_changed(run: Path, state: Path) -> None:
    """Else only its time says that the daemon lives."""
    publisher = Publisher(run / "7.json", state)
    publisher.publish(FIRST, 1000.0)
    before = publisher.file.stat()
    publisher.publish(FIRST, 1005.0)
    after = publisher.file.stat()
    assert (after.st_ino, after.st_mtime) == (before.st_ino, 1005.0)
    publisher.publish(SECOND, 1010.0)
    assert publisher.file.stat().st_ino != before.st_ino
    assert publisher.file.read_bytes().rstrip() == b'{"queued": 2}'
    publisher.file.unlink()  # somebody tidied up
    publisher.publish(SECOND, 1015.0)
    assert publisher.file.stat().st_mtime == 1015.0


async def test_without_a_runtime_folder_the_disk_is_left_alone(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written on change, its time not at all: the daemon's lock says that it lives."""
    monkeypatch.setenv("TAGGERD_RUNTIME_DIRECTORY", "/nowhere")
    publisher = Publisher(None, state)
    publisher.publish(FIRST, 1000.0)
    os.utime(publisher.file, (7, 7))
    publisher.publish(FIRST, 1005.0)
    assert publisher.file.stat().st_mtime == 7.0
    found = read_published(state)
    assert found is not None
    assert found.at == 7.0
    daemon = await StateDirectory.open(state, exclusive=True, clock=time.time)
    found = read_published(state)
    assert found is not None
    assert abs(found.at - time.time()) < 60.0
    await daemon.close()


def test_a_full_disk_takes_the_new_status_into_the_old_ones_blocks(
    run: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No second file can be made: the first is overwritten, and cut nowhere."""
    publisher = Publisher(run / "7.json", state)
    publisher.publish(FIRST, 1000.0)
    whole = publisher.file.stat()

    def full(path: Path, flags: int = os.O_RDONLY) -> int:
        if flags & os.O_CREAT:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return open_own(path, flags)

    monkeypatch.setattr(publication, "open_own", full)
    publisher.publish(SECOND, 1005.0)
    after = publisher.file.stat()
    assert publisher.file.read_bytes().rstrip() == b'{"queued": 2}'
    assert (after.st_ino, after.st_size, after.st_mtime) == (whole.st_ino, whole.st_size, 1005.0)
    publisher.publish({"text": "x" * publication.RESERVE_BYTES}, 1010.0)  # it does not fit
    assert publisher.file.read_bytes().rstrip() == b'{"queued": 2}'
    publisher.publish(SECOND, 1015.0)
    assert publisher.file.stat().st_mtime == 1015.0


def test_what_a_killed_daemon_published_goes_with_its_runtime_file(run: Path, state: Path) -> None:
    """Nobody would take it for news, but it would lie there for ever."""
    (run / "4711.json").write_text("{}")
    (run / "4711.status.json").write_text("{}")
    assert running() == ()
    assert list(run.iterdir()) == []
    assert read_published(state) is None
