"""The catalogue's file: whatever happens to it, photos are still shown and found."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from taggerd.catalogue import Catalogue, Entry, Query, Word
from taggerd.catalogue import database as database_module
from taggerd.errors import StorageError


def entries(count: int, start: int = 0) -> list[Entry]:
    """Return so many entries."""
    return [
        Entry(path=Path(f"/photos/{n}.jpg"), day="2025-06-30", caption=Word(f"number{n} words"))
        for n in range(start, start + count)
    ]


@pytest.mark.parametrize(
    "damage", ["garbage", "page", "empty", "table", "version", "text", "json", "gone"]
)
def test_a_damaged_catalogue_is_an_empty_one(tmp_path: Path, damage: str) -> None:
    """It is a cache: nothing of it is worth an error, and it takes new entries at once."""
    first = Catalogue.open(tmp_path)
    first.put(entries(300), {"offset": "7"})
    first.close()
    file = tmp_path / "catalogue.sqlite"
    _damage(file, damage)
    second = Catalogue.open(tmp_path)
    assert second.count(Query()) in {0, 300}  # damage that is not met yet is none
    list(second.every(Query()))
    second.count(Query(text="words"))
    assert second.notes() in ({}, {"offset": "7"})
    second.put(entries(2, start=1000))
    assert second.get(entries(1, start=1000)[0].key) is not None
    second.close()


def _damage(file: Path, how: str) -> None:
    match how:
        case "garbage":
            file.write_bytes(os.urandom(50_000))
        case "page":
            data = bytearray(file.read_bytes())
            for page in range(4096 * 3, len(data), 4096):
                data[page : page + 200] = os.urandom(200)
            file.write_bytes(data)
        case "empty":
            file.write_bytes(b"")
        case "gone":
            file.unlink()
        case _:
            statements = {
                "table": "DROP TABLE tagged",
                "version": "PRAGMA user_version = 999",
                "json": "UPDATE entries SET entry = '[1, 2]'",
                "text": "UPDATE entries SET entry = CAST(x'ff' AS TEXT)",
            }
            with sqlite3.connect(file) as connection:
                connection.execute(statements[how])
            connection.close()


def test_one_that_is_removed_while_it_is_open_is_made_again(tmp_path: Path) -> None:
    """Another taggerd met damage: who still has the old file open goes on with the new one."""
    one, other = Catalogue.open(tmp_path), Catalogue.open(tmp_path)
    one.put(entries(3))
    assert other.count(Query()) == 3
    for file in tmp_path.glob("catalogue.sqlite*"):
        file.unlink()
    assert one.count(Query()) == 0
    one.put(entries(1))
    assert other.count(Query()) == 1
    other.put(entries(1, start=5))
    assert one.count(Query(text="number5")) == 1
    one.close()
    other.close()


def test_the_file_is_for_this_user_alone(tmp_path: Path) -> None:
    """Captions are nobody else's business, whatever the umask; a link is never followed."""
    before = os.umask(0)
    try:
        catalogue = Catalogue.open(tmp_path)
        catalogue.put(entries(1))
    finally:
        os.umask(before)
    for file in tmp_path.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0, file
    catalogue.close()


def test_a_link_in_its_stead_is_not_followed(tmp_path: Path) -> None:
    """Where the file cannot be used, the catalogue is kept in memory, and works."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "catalogue.sqlite").symlink_to(victim)
    catalogue = Catalogue.open(tmp_path / "state")
    catalogue.put(entries(3))
    assert catalogue.count(Query(text="number2")) == 1
    assert victim.read_text() == "precious"
    catalogue.close()


def test_without_a_disk_the_catalogue_is_kept_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk at the start takes no photo away; several threads share what is in memory."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(database_module, "open_own", full)
    catalogue = Catalogue.open(tmp_path)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda n: catalogue.put(entries(10, start=10 * n)), range(10)))
        counts = list(threads.map(lambda _: catalogue.count(Query()), range(10)))
    assert counts == [100] * 10
    assert not list(tmp_path.iterdir())
    catalogue.close()


def test_a_disk_that_fills_up_leaves_the_catalogue_as_it_was(tmp_path: Path) -> None:
    """What was put stays and is found; the error says so, and what is put later is kept again."""
    catalogue = Catalogue.open(tmp_path)
    catalogue.put(entries(50))
    with sqlite3.connect(tmp_path / "catalogue.sqlite") as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.close()
    catalogue._database.read(lambda c: c.execute(f"PRAGMA max_page_count = {pages}"))
    with pytest.raises(StorageError, match=r"catalogue\.sqlite cannot be used .*full.*make room"):
        catalogue.put(entries(5000, start=100))
    assert catalogue.count(Query(text="number7")) == 1
    catalogue.close()
    catalogue.put(entries(10, start=100))
    assert catalogue.count(Query()) >= 60
    catalogue.close()


def test_threads_and_programs_share_it(tmp_path: Path) -> None:
    """Many read while several write; nobody sees half of a step, and no count goes astray."""
    catalogues = [Catalogue.open(tmp_path) for _ in range(3)]

    def work(number: int) -> None:
        catalogue = catalogues[number % 3]
        catalogue.put(entries(20, start=20 * number), {f"done {number}": "yes"})
        found = catalogue.find(Query(text=f"number{20 * number}"))
        assert [each.path.stem for each in found.entries] == [str(20 * number)]

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(work, range(18)))
    for catalogue in catalogues:
        assert catalogue.count(Query()) == 360
        assert catalogue.groups("day") == [("2025-06-30", 360)]
        assert len(catalogue.notes()) == 18
        catalogue.close()
