"""A damaged ledger is kept, a new one is filled from the disk; nothing tagged is paid for twice.

Every case tags a folder with the daemon, stops it, damages the ledger and starts again.
"""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from support.program import CountingBackend, Program, photo, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PHOTOS = 6
ROLES = 3
PAGE = 4096


def _truncated(ledger: Path) -> None:
    with ledger.open("r+b") as file:
        file.truncate(ledger.stat().st_size // 2)


def _headless(ledger: Path) -> None:
    with ledger.open("r+b") as file:
        file.write(bytes(100))


def _text(ledger: Path) -> None:
    ledger.write_text("this is not a database\n" * 500)


def _random_pages(ledger: Path) -> None:
    chance = random.Random(4)  # noqa: S311 - a seed, not a secret
    data = bytearray(ledger.read_bytes())
    for page in range(PAGE, len(data), PAGE):
        data[page : page + 16] = chance.randbytes(16)
    ledger.write_bytes(data)


def _a_table_dropped(ledger: Path) -> None:
    with closing(sqlite3.connect(ledger)) as database:
        database.execute("DROP TABLE files")


def _unreadable_text(ledger: Path) -> None:
    """Bytes flipped inside a row, which SQLite's own check does not see."""
    with closing(sqlite3.connect(ledger)) as database, database:
        database.execute("UPDATE photos SET state = 'queued', reason = CAST(x'ff' AS TEXT)")


def _unreadable_role(ledger: Path) -> None:
    """The same where it is met only while a photo is on its way."""
    with closing(sqlite3.connect(ledger)) as database, database:
        database.execute("UPDATE photos SET state = 'queued'")
        database.execute("UPDATE answers SET role = role || CAST(x'ff' AS TEXT)")


def _emptied(ledger: Path) -> None:
    ledger.write_bytes(b"")


def _removed(ledger: Path) -> None:
    ledger.unlink()


SEEN_AT_THE_START = [_truncated, _headless, _text, _random_pages, _a_table_dropped]


class _Tagged:
    """A folder that the daemon has tagged, and what it must look like for ever after."""

    def __init__(self, taggerd: Program, inbox: Path, backend: CountingBackend) -> None:
        self.taggerd, self.inbox, self.backend = taggerd, inbox, backend
        taggerd.base_url = backend.base_url
        self.ledger = taggerd.state / "ledger.sqlite"
        for number in range(PHOTOS):
            photo(inbox / f"{number}.jpg", number)
        daemon = taggerd.start("--input-dir", inbox)
        until(lambda: len(taggerd.records()) == PHOTOS)
        assert taggerd.stop(daemon) == 0
        assert not self.ledger.with_name("ledger.sqlite-wal").exists()
        self.sidecars = {path: path.read_bytes() for path in inbox.glob("*.xmp")}
        assert len(self.sidecars) == PHOTOS

    def holds(self, new: int, *, in_flight: int = 0) -> None:
        """Assert that *new* photos were asked about and recorded since, and no other.

        So many of them may have been *in_flight* when the damage was met: their answers lay in the
        damaged ledger alone, and are asked for again.
        """
        assert {path: path.read_bytes() for path in self.sidecars} == self.sidecars
        assert len(list(self.inbox.glob("*.xmp"))) == PHOTOS + new
        least = ROLES * (PHOTOS + new)
        assert least <= self.backend.photo_requests <= least + ROLES * in_flight
        images = [record["image"] for record in self.taggerd.records()]
        assert len(images) == len(set(images)) == PHOTOS + new

    def kept(self) -> list[Path]:
        """Return the damaged ledgers that are kept beside the new one."""
        return sorted(self.ledger.parent.glob("ledger.sqlite.damaged-*[0-9]"))


@pytest.fixture
def tagged(taggerd: Program, inbox: Path, backend: CountingBackend) -> _Tagged:
    """Return a tagged folder; the daemon is stopped."""
    return _Tagged(taggerd, inbox, backend)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(d, marks=[pytest.mark.long] if n else [])
        for n, d in enumerate(SEEN_AT_THE_START)
    ],
)
def test_the_daemon_starts_over(tagged: _Tagged, damage: Callable[[Path], None]) -> None:
    """It keeps the damaged ledger under a name that it logs, and pays for what is new only."""
    damage(tagged.ledger)
    damaged = tagged.ledger.read_bytes()
    photo(tagged.inbox / "new.jpg", 99)
    daemon = tagged.taggerd.start("--input-dir", tagged.inbox)
    until(lambda: tagged.taggerd.status()["counts"]["recorded"] == PHOTOS + 1)
    until(lambda: len(tagged.taggerd.records()) == PHOTOS + 1)
    assert tagged.taggerd.stop(daemon) == 0
    (aside,) = tagged.kept()
    assert aside.read_bytes() == damaged
    assert str(aside) in tagged.taggerd.log()
    tagged.holds(new=1)


@pytest.mark.long
@pytest.mark.parametrize("damage", SEEN_AT_THE_START)
def test_a_scan_starts_over(tagged: _Tagged, damage: Callable[[Path], None]) -> None:
    """So does a scan, which names it on stderr."""
    damage(tagged.ledger)
    photo(tagged.inbox / "new.jpg", 99)
    scan = tagged.taggerd("scan", tagged.inbox)
    assert scan.returncode == 0, scan.stderr
    (aside,) = tagged.kept()
    assert str(aside) in scan.stderr
    tagged.holds(new=1)


@pytest.mark.long
@pytest.mark.parametrize("damage", [_emptied, _removed])
def test_a_ledger_that_is_gone_is_made_again(
    tagged: _Tagged, damage: Callable[[Path], None]
) -> None:
    """There is nothing to keep, and nothing is paid for twice."""
    damage(tagged.ledger)
    photo(tagged.inbox / "new.jpg", 99)
    scan = tagged.taggerd("scan", tagged.inbox)
    assert scan.returncode == 0, scan.stderr
    assert tagged.kept() == []
    tagged.holds(new=1)


@pytest.mark.long
def test_a_log_that_is_lost_costs_nothing(
    taggerd: Program, inbox: Path, backend: CountingBackend
) -> None:
    """A killed daemon's changes lie in the -wal; without it the ledger is old, and still right."""
    taggerd.base_url = backend.base_url
    for number in range(PHOTOS):
        photo(inbox / f"{number}.jpg", number)
    daemon = taggerd.start("--input-dir", inbox)
    until(lambda: len(taggerd.records()) == PHOTOS)
    until(lambda: taggerd.status()["counts"]["recorded"] == PHOTOS)
    daemon.kill()
    daemon.wait()
    sidecars = {path: path.read_bytes() for path in inbox.glob("*.xmp")}
    for ending in ("-wal", "-shm"):
        (taggerd.state / f"ledger.sqlite{ending}").unlink()
    photo(inbox / "new.jpg", 99)
    scan = taggerd("scan", inbox)
    assert scan.returncode == 0, scan.stderr
    assert {path: path.read_bytes() for path in sidecars} == sidecars
    assert backend.photo_requests == ROLES * (PHOTOS + 1)
    assert len(taggerd.records()) == PHOTOS + 1


@pytest.mark.parametrize(
    "damage", [_unreadable_text, pytest.param(_unreadable_role, marks=pytest.mark.long)]
)
def test_damage_met_in_the_middle_of_work(tagged: _Tagged, damage: Callable[[Path], None]) -> None:
    """The daemon opens a new ledger, by itself; no record that waited in it is lost."""
    damage(tagged.ledger)
    photo(tagged.inbox / "new.jpg", 99)
    daemon = tagged.taggerd.start("--input-dir", tagged.inbox)
    until(lambda: tagged.taggerd.status()["counts"]["recorded"] == PHOTOS + 1)
    until(lambda: len(tagged.taggerd.records()) == PHOTOS + 1)
    assert tagged.taggerd.stop(daemon) == 0
    (aside,) = tagged.kept()
    assert str(aside) in tagged.taggerd.log()
    tagged.holds(new=1, in_flight=1)


def test_a_scan_that_meets_damage_ends_at_once(tagged: _Tagged) -> None:
    """It says so in one line, for which it need not wait; the next one starts over."""
    _unreadable_text(tagged.ledger)
    photo(tagged.inbox / "new.jpg", 99)
    scan = tagged.taggerd("scan", tagged.inbox)
    assert scan.returncode == 1
    assert len([line for line in scan.stderr.splitlines() if line.startswith("taggerd: ")]) == 1
    scan = tagged.taggerd("scan", tagged.inbox)
    assert scan.returncode == 0, scan.stderr
    (aside,) = tagged.kept()
    assert str(aside) in scan.stderr
    tagged.holds(new=1)
