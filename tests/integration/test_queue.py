"""The queue from outside: what failed, why, how it is tried again; damage in full work."""

from __future__ import annotations

import fcntl
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from support.program import photo, until

if TYPE_CHECKING:
    from pathlib import Path

    from support.program import Program


@pytest.fixture
def card(tmp_path: Path) -> Path:
    """A folder with one photo and one file that is none."""
    folder = tmp_path / "card"
    folder.mkdir()
    photo(folder / "good.jpg", 1)
    (folder / "bad.jpg").write_bytes(b"not a picture")
    return folder


@pytest.mark.long
def test_what_failed_is_listed_and_retried(taggerd: Program, card: Path) -> None:
    """Status names it with its reason; retry takes paths, --all or --failed, and nothing else."""
    assert taggerd("scan", card).returncode == 1
    (failed,) = taggerd.status()["failed"]
    assert failed["path"] == str(card / "bad.jpg")
    assert failed["reason"]
    assert failed["reason"] in taggerd.status_text()
    assert taggerd("retry").returncode == 2
    assert taggerd("retry", "--all", card).returncode == 2
    assert "no photo to retry" in taggerd("retry", card / "good.jpg").stdout
    mistyped = taggerd("retry", card / "bda.jpg")
    assert mistyped.returncode == 2
    assert f"{card / 'bda.jpg'}: no such photo" in mistyped.stderr
    assert taggerd("retry", "--failed", card / "bad.jpg").stdout == "1 photo is back in the queue\n"
    assert taggerd("scan", card).returncode == 1
    assert taggerd("retry", "--all").stdout == "1 photo is back in the queue\n"
    assert taggerd("scan", card).returncode == 1
    photo(card / "bad.jpg", 2)  # replaced: it leaves quarantine by itself
    assert taggerd("scan", card).returncode == 0
    assert taggerd.status()["counts"]["quarantined"] == 0


def test_retry_failed_takes_what_has_no_sidecar(taggerd: Program, card: Path) -> None:
    """A photo that is recorded without one is written by the next run, not paid for again."""
    (card / "bad.jpg").unlink()
    assert taggerd("scan", "--no-meta", card).returncode == 0
    assert taggerd.status()["counts"]["unwritten"] == 1
    shown = taggerd("status").stdout
    assert "1 answered, not written (undone, dropped or --no-meta)" in shown
    assert "today    1 record, 1 photo, 1 tagged" in shown
    assert "no photo to retry" in taggerd("retry", "--all").stdout
    assert taggerd("retry", "--failed").stdout == "1 photo is back in the queue\n"
    assert taggerd.status()["counts"]["queued"] == 1


@pytest.mark.long
def test_a_photo_that_the_program_always_died_of_is_journalled_once(
    taggerd: Program, card: Path
) -> None:
    """Nobody opens it again: its record says why it failed, and so does the scan."""
    (card / "bad.jpg").unlink()
    taggerd("scan", "--no-meta", card)
    taggerd("retry", "--failed")  # it is in the queue
    known = len(taggerd.records())
    with closing(sqlite3.connect(taggerd.state / "ledger.sqlite")) as ledger, ledger:
        ledger.execute("UPDATE photos SET crashes = 10")
    assert taggerd("scan", card).returncode == 1
    (last,) = taggerd.records()[known:]
    assert last["error"] == "the program died 10 times while reading it"
    assert taggerd.status()["counts"]["quarantined"] == 1
    taggerd("scan", card)
    assert len(taggerd.records()) == known + 1


@pytest.mark.long
def test_a_ledger_damaged_under_a_running_daemon_is_replaced(taggerd: Program, card: Path) -> None:
    """It is kept aside and named in the log; the new one is filled from the disk, nothing is paid.

    The daemon goes on, without a restart.
    """
    (card / "bad.jpg").unlink()
    daemon = taggerd.start("--input-dir", card)
    until(lambda: taggerd.live().get("tagged") == 1)
    database = taggerd.state / "ledger.sqlite"
    with closing(sqlite3.connect(database)) as other:
        # What the daemon still wrote would stand in its log, and hide the damage.
        until(lambda: other.execute("SELECT count(*) FROM outbox").fetchone() == (0,))
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with database.open("r+b") as damaged:
        damaged.seek(4096)
        damaged.write(b"\xff" * (database.stat().st_size - 4096))
    with closing(sqlite3.connect(database)) as other:
        other.execute("PRAGMA user_version = 3")  # so that the daemon looks at the file again
    until(lambda: list(taggerd.state.glob("ledger.sqlite.damaged-*")))
    photo(card / "later.jpg", 3)
    until(lambda: (card / "later.xmp").exists() or (card / "later.jpg.xmp").exists())
    until(lambda: taggerd.live().get("tagged") == 2)
    assert daemon.poll() is None
    assert "is kept as" in taggerd.log()
    until(lambda: len(taggerd.records()) == 2)
    assert taggerd.stop(daemon) == 0


@pytest.mark.long
def test_a_daemon_waits_with_a_damaged_ledger_for_whoever_has_it_open(
    taggerd: Program, card: Path
) -> None:
    """It does not end with 2, after which systemd leaves it alone; a command ends with 1.

    It says so once. Nobody replaces what another works with. As soon as that one is gone, it is
    done.
    """
    (card / "bad.jpg").unlink()
    taggerd.state.mkdir()
    ledger = taggerd.state / "ledger.sqlite"
    ledger.write_bytes(b"this is not a database" * 1000)
    with (taggerd.state / "ledger.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        daemon = taggerd.start("--input-dir", card, ready=False)
        until(lambda: "work is blocked" in taggerd.log())
        assert daemon.poll() is None
        assert "once no other taggerd uses it" in taggerd.log()
        scan = taggerd("scan", card)
        assert (scan.returncode, scan.stderr.count("\n")) == (1, 1), scan.stderr
        assert not list(taggerd.state.glob("ledger.sqlite.damaged-*"))
    until(lambda: taggerd.live().get("tagged") == 1)
    assert list(taggerd.state.glob("ledger.sqlite.damaged-*"))
    assert taggerd.log().count("work is blocked") == 1
    assert taggerd.stop(daemon) == 0
