"""Outputs, slots and import folders where others may write: their links lead to no other file."""

from __future__ import annotations

import asyncio
import os
from datetime import date
from typing import TYPE_CHECKING

import pytest
from support.racing import give, needs_root

from taggerd import files
from taggerd.errors import ConfigurationError, StorageError
from taggerd.inference.concurrency import Slots
from taggerd.journal import Day, Journal
from taggerd.journal.dayfile import DayFile, Entry
from taggerd.journal.scanfile import write_jsonl, write_summary

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_a_slot_that_is_another_file_keeps_its_mode(tmp_path: Path) -> None:
    """A member of the group linked a key of ours there, where the kernel lets them."""
    folder, key = tmp_path / "slots", tmp_path / "key"
    folder.mkdir()
    key.touch()
    key.chmod(0o600)
    slots = Slots(folder, "http://127.0.0.1:9/v1", 1, longest_wait=1)
    for name in ("0", "turnstile"):
        os.link(key, folder / f"slot-{slots._name}.{name}")
    asyncio.run(slots.take(1))
    slots.close()
    assert key.stat().st_mode & 0o777 == 0o600


def test_a_link_of_roots_is_not_followed_where_others_may_have_brought_it(tmp_path: Path) -> None:
    """It was made in their home for another purpose; they renamed it like the import folder."""
    needs_root()
    home, private = tmp_path / "home", tmp_path / "alice"
    for folder in (home, private):
        folder.mkdir()
    (private / "a.jpg").write_bytes(b"private")
    (home / "import").symlink_to(private)  # by root
    give(home)
    files._roots.clear()
    files.work_below(home / "import")
    with pytest.raises(OSError, match="another user's link"):
        files.names_in(home / "import")


DAY = "2026-11-20"


@pytest.fixture
def shared(tmp_path: Path) -> Journal:
    """Return an open journal whose folders a group may write, as an administrator chose."""
    needs_root()
    folder = tmp_path / "shared"
    folder.mkdir()
    journal = Journal(folder, retention_days=30, compress_after_days=1)
    journal.open()
    for each in (folder, *folder.iterdir()):
        os.chown(each, 0, 4321)
        each.chmod(0o2770)
    return journal


def test_retention_deletes_nothing_behind_a_link(shared: Journal, tmp_path: Path) -> None:
    """Old pictures lie there."""
    shared.open()
    alice = tmp_path / "alice"
    alice.mkdir(mode=0o700)
    photo = alice / "wedding.jpg"
    photo.write_bytes(b"only copy")
    (alice / ".x.taggerd-tmp").touch()
    (alice / "2020-01-01.jsonl").touch()
    before = sorted(alice.iterdir())
    for file in before:
        os.utime(file, (1e9, 1e9))
    (shared.thumbnails / "ab").symlink_to(alice)
    shared.tidy(date(2026, 11, 21))
    for folder in (shared.thumbnails, shared.results):
        folder.rename(folder.with_name(f"{folder.name}-away"))
        folder.symlink_to(alice)
        with pytest.raises(StorageError):
            shared.tidy(date(2026, 11, 21))
    with pytest.raises(StorageError):
        shared.thumbnail("ab" * 16, b"jpeg")
    assert sorted(alice.iterdir()) == before


@pytest.mark.parametrize(
    ("kind", "ending"),
    [
        *(("link", ending) for ending in (".jsonl", ".jsonl.torn", ".jsonl.gz")),
        # Of a .gz a hard link does no harm: it is replaced, and read as what it is.
        *(("hard link", ending) for ending in (".jsonl", ".jsonl.torn")),
    ],
)
def test_a_day_file_that_is_another_file_is_left_alone(
    shared: Journal, tmp_path: Path, kind: str, ending: str
) -> None:
    """Its last line would have been moved into a file that others may read."""
    secret = tmp_path / "secret"
    secret.write_text("precious line without end")
    secret.chmod(0o600)
    day = shared.results / f"{DAY}{ending}"
    if kind == "link":
        day.symlink_to(secret)
    else:
        os.link(secret, day)
    steps: tuple[Callable[[], object], ...] = (
        lambda: DayFile(shared.results, DAY).repair(),
        lambda: shared.deliver([Entry("x", DAY, '{"id": "x"}')]),
        lambda: DayFile(shared.results, DAY).reject("half"),
        lambda: shared.tidy(date(2026, 11, 25)),
    )
    for work in steps:
        try:
            work()
        except StorageError as error:
            assert "cannot" in str(error)  # noqa: PT017 - some of them do not come by
    assert secret.read_text() == "precious line without end"
    assert secret.stat().st_mode & 0o777 == 0o600


def test_half_lines_are_for_the_owner(shared: Journal) -> None:
    """They may be anything."""
    file = DayFile(shared.results, DAY)
    file.reject("half")
    assert file.torn.stat().st_mode & 0o777 == 0o600


def test_what_is_rewritten_keeps_its_mode(shared: Journal) -> None:
    """A day that was made private stays so when it is compressed."""
    shared.deliver([Entry("x", DAY, '{"id": "x"}')])
    file = DayFile(shared.results, DAY)
    file.path.chmod(0o600)
    file.compress()
    assert file.compressed.stat().st_mode & 0o777 == 0o600


def test_a_scan_file_is_no_link_of_others(tmp_path: Path) -> None:
    """It would have been replaced by a copy that everybody may read."""
    secret, folder = tmp_path / "shadow", tmp_path / "folder"
    secret.write_text("root:hash\n")
    secret.chmod(0o600)
    folder.mkdir()
    for name in ("scan.jsonl", "scan.md"):
        (folder / name).symlink_to(secret)
    folder.chmod(0o1777)
    with pytest.raises(StorageError, match="another user's link"):
        write_jsonl(folder / "scan.jsonl", ['{"a": 1}'])
    with pytest.raises(StorageError, match="another user's link"):
        write_summary(folder / "scan.md", Day(DAY, []), lambda *_: [])
    assert secret.read_text() == "root:hash\n"
    folder.chmod(0o755)  # one's own link is followed, and the file stays private
    write_jsonl(folder / "scan.jsonl", ['{"a": 1}'])
    assert (folder / "scan.jsonl").is_symlink()
    assert secret.stat().st_mode & 0o777 == 0o600
    assert secret.read_text() == 'root:hash\n{"a": 1}\n'


@pytest.mark.parametrize("mode", [0o777, 0o702])
def test_outputs_that_everybody_may_write_are_refused(tmp_path: Path, mode: int) -> None:
    """In one line, before anything is made there; so are those in another user's folder."""
    above = tmp_path / "above"
    above.mkdir()
    above.chmod(mode)
    journal = Journal(above / "journal", retention_days=0, compress_after_days=0)
    with pytest.raises(ConfigurationError, match="everybody may exchange it") as refused:
        journal.open()
    assert len(str(refused.value).splitlines()) == 1
    assert not any(above.iterdir())
    above.chmod(0o755)
    journal.open()
    if os.geteuid() == 0:
        give(above)
        with pytest.raises(ConfigurationError, match="may exchange it"):
            journal.open()
