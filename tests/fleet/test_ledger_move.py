"""A ledger moves into a database and back: whole or not at all, whenever it is killed."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from support.dying import COPYING_IN, MOVING_IN, MOVING_OUT
from support.program import CountingBackend, Program, photo, until

from taggerd.ledger.moved import FILE

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

PHOTOS = 6
BROKEN = 2


@pytest.fixture
def archive(
    taggerd: Program, backend: CountingBackend, inbox: Path, empty_database: str
) -> Program:
    """Return the program with photos that are tagged and some that failed, and a ledger to be."""
    taggerd.base_url = backend.base_url
    taggerd.environment["TAGGERD__ARRIVALS__ROOTS"] = json.dumps(
        [{"name": "archive", "path": str(inbox)}]
    )
    for number in range(PHOTOS):
        photo(inbox / "2025" / f"{number}.jpg", number)
    for number in range(BROKEN):
        (inbox / f"broken-{number}.jpg").write_bytes(b"\xff\xd8\xff" + bytes(3000))
    assert taggerd("scan").returncode == 1
    done(shared(taggerd, empty_database, "ledger", "init"))
    return taggerd


def shared(program: Program, url: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command with the ledger in the database."""
    program.environment["TAGGERD__LEDGER__URL"] = url
    try:
        return program(*arguments)
    finally:
        del program.environment["TAGGERD__LEDGER__URL"]


def done(ended: subprocess.CompletedProcess[str]) -> str:
    """Return what a command has printed, which ended well."""
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def states(program: Program) -> dict[str, int]:
    """Return how many photos the file has in each state."""
    with closing(sqlite3.connect(program.state / "ledger.sqlite")) as ledger:
        return dict(ledger.execute("SELECT state, count(*) FROM photos GROUP BY 1").fetchall())


def rows(url: str, query: bytes) -> list[tuple[Any, ...]]:
    """Return what the database says."""
    with psycopg.connect(url) as session:
        return session.execute(query).fetchall()


EXPECTED = {"recorded": PHOTOS, "quarantined": BROKEN}
STATES = b"SELECT state, count(*)::int FROM taggerd.photos GROUP BY 1"


@pytest.mark.slow
def test_there_and_back(
    archive: Program, backend: CountingBackend, inbox: Path, empty_database: str
) -> None:
    """All is there, below the root's name; nothing is asked again; the old file is kept, unused."""
    asked = backend.photo_requests
    said = done(archive("ledger", "move", "--to", empty_database))
    assert f"{PHOTOS + BROKEN} photos and {3 * PHOTOS} answers are in postgresql://" in said
    assert dict(rows(empty_database, STATES)) == EXPECTED
    paths = {row[0] for row in rows(empty_database, b"SELECT path FROM taggerd.folders")}
    assert paths == {b"archive:/", b"archive:/2025/"}
    (kept,) = archive.state.glob("ledger.sqlite.moved-*")
    assert not (archive.state / "ledger.sqlite").exists()

    refused = archive("scan", inbox / "2025")
    assert refused.returncode == 2
    assert "was moved to postgresql://" in refused.stderr
    assert not (archive.state / "ledger.sqlite").exists()

    done(shared(archive, empty_database, "scan", inbox / "2025"))
    assert backend.photo_requests == asked

    done(shared(archive, empty_database, "ledger", "move", "--to", "embedded"))
    assert states(archive) == EXPECTED
    assert not (archive.state / FILE).exists()
    assert kept.exists()
    done(archive("scan", inbox / "2025"))
    assert backend.photo_requests == asked
    gone = shared(archive, empty_database, "scan", inbox / "2025")
    assert gone.returncode == 2
    assert "was moved to" in gone.stderr

    done(archive("ledger", "move", "--to", empty_database))
    assert dict(rows(empty_database, STATES)) == EXPECTED


@pytest.mark.long
@pytest.mark.parametrize("where", COPYING_IN)
def test_a_kill_before_the_database_has_taken_anything(
    archive: Program, inbox: Path, backend: CountingBackend, empty_database: str, where: str
) -> None:
    """Nothing has happened: the old ledger is in force, and the database is as empty as it was."""
    asked = backend.photo_requests
    to = ("ledger", "move", "--to", empty_database)
    assert archive.die_at(where, *to) == -9
    done(archive("scan", inbox / "2025"))
    for table in ("photos", "folders", "contents", "notes"):
        assert rows(empty_database, f"SELECT * FROM taggerd.{table}".encode()) == []  # noqa: S608
    done(archive(*to))
    assert dict(rows(empty_database, STATES)) == EXPECTED
    assert backend.photo_requests == asked


@pytest.mark.long
@pytest.mark.parametrize("where", MOVING_IN)
def test_a_kill_on_the_way_into_the_database(
    archive: Program, inbox: Path, backend: CountingBackend, empty_database: str, where: str
) -> None:
    """One of the two is in force, never both, and the same command finishes the move."""
    asked = backend.photo_requests
    to = ("ledger", "move", "--to", empty_database)
    assert archive.die_at(where, *to) == -9
    old = archive("scan", inbox / "2025").returncode
    new = shared(archive, empty_database, "scan", inbox / "2025").returncode
    assert (old, new) in {(0, 2), (2, 2), (2, 0)}
    done(archive(*to))
    assert dict(rows(empty_database, STATES)) == EXPECTED
    done(shared(archive, empty_database, "scan", inbox / "2025"))
    assert archive("scan", inbox / "2025").returncode == 2
    assert backend.photo_requests == asked


@pytest.mark.long
@pytest.mark.parametrize("where", MOVING_OUT)
def test_a_kill_on_the_way_out_of_the_database(
    archive: Program, inbox: Path, backend: CountingBackend, empty_database: str, where: str
) -> None:
    """One of the two is in force, never both, and the same command finishes the move."""
    asked = backend.photo_requests
    done(archive("ledger", "move", "--to", empty_database))
    archive.environment["TAGGERD__LEDGER__URL"] = empty_database
    assert archive.die_at(where, "ledger", "move", "--to", "embedded") == -9
    del archive.environment["TAGGERD__LEDGER__URL"]
    old = shared(archive, empty_database, "scan", inbox / "2025").returncode
    new = archive("scan", inbox / "2025").returncode
    assert (old, new) in {(0, 2), (2, 2), (2, 0)}
    done(shared(archive, empty_database, "ledger", "move", "--to", "embedded"))
    assert states(archive) == EXPECTED
    done(archive("scan", inbox / "2025"))
    assert shared(archive, empty_database, "scan", inbox / "2025").returncode == 2
    assert backend.photo_requests == asked


@pytest.mark.slow
def test_what_is_in_use_or_not_empty_is_not_moved(
    archive: Program, inbox: Path, empty_database: str
) -> None:
    """Each is refused in one line, with exit code 2, and nothing has changed."""
    to = ("ledger", "move", "--to", empty_database)
    daemon = archive.start()
    refused = archive(*to)
    assert (refused.returncode, "stop it" in refused.stderr) == (2, True)
    assert archive.stop(daemon) == 0

    archive.environment["TAGGERD__LEDGER__URL"] = empty_database
    user = archive.start()
    del archive.environment["TAGGERD__LEDGER__URL"]
    other = Program(archive.home / "other", archive.base_url, dict(archive.environment))
    other.home.mkdir()
    assert other("scan", inbox, "--no-meta").returncode == 1
    refused = other(*to)
    assert (refused.returncode, "stop" in refused.stderr) == (2, True), refused.stderr
    until(lambda: dict(rows(empty_database, STATES)) == EXPECTED)
    assert archive.stop(user) == 0

    refused = archive(*to)
    assert refused.returncode == 2
    assert "is not empty" in refused.stderr
    assert states(archive) == EXPECTED


@pytest.mark.slow
def test_photos_that_have_no_path_here_stay_in_the_database(
    archive: Program, empty_database: str
) -> None:
    """Half of a ledger would be asked about again: it is refused, and names the root."""
    done(archive("ledger", "move", "--to", empty_database))
    archive.environment["TAGGERD__ARRIVALS__ROOTS"] = "[]"
    refused = shared(archive, empty_database, "ledger", "move", "--to", "embedded")
    assert refused.returncode == 2
    assert "2 folders have no path on this machine, archive:/2025 is one" in refused.stderr
    assert dict(rows(empty_database, STATES)) == EXPECTED
    assert not list(archive.state.glob(".ledger.sqlite*"))
