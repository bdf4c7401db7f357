"""What a ledger names by paths goes along with it, whatever the layout of the host it comes to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from support.ledger import DIGEST

from taggerd.errors import LedgerAway
from taggerd.ledger import Correction, Finished, Json, Outgoing, SqliteLedger
from taggerd.ledger.postgres import opening
from taggerd.ledger.postgres.move import Moved, move_in, move_out, opened
from taggerd.ledger.postgres.naming import Naming
from taggerd.photo import PhotoFile, Sidecar, Stamp

if TYPE_CHECKING:
    from collections.abc import Mapping

NAS = Naming("nas", {"archive": Path("/tank/photos")})
STATION = Naming("station", {"archive": Path("/mnt/nas")})
STAMP = Stamp(1000, 1_700_000_000_000_000_000, 77, 88)
RELEASE: Json = ["/tank/photos/a.jpg", "/tank/photos/done/a.jpg"]


async def filled(directory: Path) -> None:
    """Make a ledger on the NAS with whatever names a path."""
    ledger = await SqliteLedger.open(directory)
    path = Path("/tank/photos/2025/a.jpg")
    await ledger.admit([PhotoFile(path, STAMP)])
    (claim,) = await ledger.claim(1, within=[Path("/")], run="run", now=2e9)
    beside = [path.with_suffix(".xmp"), Path("/tank/photos/xmp/a.xmp"), Path("/other/a.xmp")]
    sidecars = [Sidecar(path=each, written=True, digest="12") for each in beside]
    await ledger.written(claim, DIGEST, sidecars)
    said = {"image": str(path), "files": [str(path)], "sidecars": [str(beside[1])]}
    await ledger.end(claim, Finished(DIGEST, Outgoing("1", "2025-06-30", json.dumps(said))))
    await ledger.correct([Correction(action="1", photo=path, kind="edited", field="caption")])
    await ledger.note("arrivals.release", RELEASE, here=True)
    await ledger.note("archives in /tank/photos", {"a": 1}, here=True)
    await ledger.note("schedule", "shared")
    await ledger.close()


def into(url: str, directory: Path, naming: Naming) -> Moved:
    """Move a ledger into a database."""
    with opened(url) as connection:
        return move_in(directory, connection, naming, "there", 1.0)


def out_of(url: str, directory: Path, naming: Naming) -> Moved:
    """Move it into a state directory."""
    with opened(url) as connection:
        return move_out(directory, connection, naming, 1.0)


def column(url: str, query: bytes) -> list[Any]:
    """Return what the database says in one column."""
    with psycopg.connect(url) as session:
        return [row[0] for row in session.execute(query).fetchall()]


async def seen(directory: Path, root: Path) -> Mapping[str, object]:
    """Return what names a path in the ledger of *directory*."""
    ledger = await SqliteLedger.open(directory)
    path = root / "2025/a.jpg"
    (line,) = await ledger.outbox(9)
    elsewhere = PhotoFile(path, STAMP._replace(inode=5, device=6))
    await ledger.retry([root])
    await ledger.mark_undone([path])
    found = {
        "state": (await ledger.file_states([elsewhere]))[path].state,
        "record": json.loads(line.line),
        "corrections": len(await ledger.corrections_of(path)),
        "release": await ledger.recall("arrivals.release", here=True),
        "archives": await ledger.recall("archives in /tank/photos", here=True),
        "schedule": await ledger.recall("schedule"),
    }
    await ledger.close()
    return found


async def test_paths_go_along_to_another_layout(tmp_path: Path, empty_database: str) -> None:
    """From one host into the database, and from there to one that mounts the root elsewhere."""
    opening.init(empty_database)
    await filled(tmp_path / "nas")
    assert into(empty_database, tmp_path / "nas", NAS).photos == 1
    (line,) = column(empty_database, b"SELECT line FROM taggerd.outbox")
    assert json.loads(line) == {
        "image": "archive:/2025/a.jpg",
        "files": ["archive:/2025/a.jpg"],
        "sidecars": ["archive:/xmp/a.xmp"],
    }
    (sidecars,) = column(empty_database, b"SELECT sidecars FROM taggerd.photos")
    assert list(json.loads(sidecars)) == ["a.xmp", "archive:/xmp/a.xmp", "@nas/other/a.xmp"]
    notes = set(column(empty_database, b"SELECT key FROM taggerd.notes"))
    assert {"arrivals.release @nas", "archives in /tank/photos @nas", "schedule"} <= notes

    other = tmp_path / "station"
    with psycopg.connect(empty_database) as session:  # what lies in a folder of the NAS alone
        session.execute(b"DELETE FROM taggerd.folders WHERE path LIKE '@nas%'")
    out_of(empty_database, other, STATION)
    found = await seen(other, Path("/mnt/nas"))
    assert found["state"] in {"recorded", "undone"}, "known by its size and time"
    assert found["record"]["image"] == "/mnt/nas/2025/a.jpg"  # type: ignore[index]
    assert found["record"]["sidecars"] == ["/mnt/nas/xmp/a.xmp"]  # type: ignore[index]
    assert found["corrections"] == 1
    assert found["release"] is None, "it is the NAS that has begun it"
    assert found["schedule"] == "shared"


async def test_what_a_host_has_begun_comes_back_to_it(tmp_path: Path, empty_database: str) -> None:
    """Moves and archives in flight are found again, in the database and after the way back."""
    opening.init(empty_database)
    directory = tmp_path / "nas"
    await filled(directory)
    before = await seen(directory, Path("/tank/photos"))
    assert before["release"] == RELEASE
    into(empty_database, directory, NAS)
    out_of(empty_database, directory, NAS)
    assert await seen(directory, Path("/tank/photos")) == before


async def test_a_move_waits_for_no_backup_for_long(tmp_path: Path, empty_database: str) -> None:
    """Whoever reads the tables for hours keeps it out; the next try finds all as it was."""
    opening.init(empty_database)
    directory = tmp_path / "nas"
    await filled(directory)
    with psycopg.connect(empty_database) as backup:
        backup.execute(b"SELECT count(*) FROM taggerd.photos")
        with pytest.raises(LedgerAway, match="the ledger is busy"):
            into(empty_database, directory, NAS)
    assert (await seen(directory, Path("/tank/photos")))["release"] == RELEASE
    assert into(empty_database, directory, NAS).photos == 1
