"""Who shares the ledger, or owns its server, writes rows that taggerd never would.

They reach no file outside the import folders, stop nobody's work, and show nothing but text.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from taggerd.daemon.fleet import problems_of, statuses_of
from taggerd.ledger import Finished
from taggerd.ledger.postgres import opening
from taggerd.ledger.postgres.ledger import PostgresLedger
from taggerd.ledger.postgres.naming import Naming
from taggerd.ledger.postgres.reading import read_shared
from taggerd.photo import PhotoFile, Stamp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from taggerd.ledger import Json

BOMB = "[" * 20_000 + "]" * 20_000
"""JSON that no reader of limited depth can read."""


@pytest.fixture
def session(empty_database: str) -> psycopg.Connection[Any]:
    """Return a connection of another host's, with its rights."""
    opening.init(empty_database)
    session = psycopg.connect(empty_database, autocommit=True)
    session.execute("SET search_path = taggerd")
    return session


@pytest.fixture
async def ledger(
    session: psycopg.Connection[Any], empty_database: str
) -> AsyncIterator[PostgresLedger]:
    """Return this host's ledger."""
    with session:
        opened = await PostgresLedger.open(empty_database, paths=Naming("here"), host="here")
        yield opened
        await opened.close()


PATHS = {
    "above a root": (b"archive:/../../etc/", b"passwd", b""),
    "above the tree": (b"@here/srv/../../etc/", b"passwd", b""),
    "a folder in a name": (b"archive:/a/", b"../../../etc/passwd", b""),
    "an absolute name": (b"archive:/a/", b"/etc/passwd", b".jpg"),
    "a folder in a suffix": (b"archive:/a/", b"x", b".jpg/../../y"),
    "NUL in a folder": (b"archive:/a\0b/", b"x", b".jpg"),
    "NUL in a name": (b"archive:/a/", b"x\0y", b".jpg"),
    "no name": (b"archive:/a/", b"", b""),
    "the folder above": (b"archive:/a/", b"..", b""),
    "no folder": (b"archive:/a", b"x", b".jpg"),
    "nothing": (b"", b"x", b".jpg"),
    "a name that no root has": (b"a'; DROP TABLE photos; --:/a/", b"x", b".jpg"),
    "a relative path": (b"srv/a/", b"x", b".jpg"),
    "longer than any path": (b"archive:/" + b"a/" * 3000, b"x", b".jpg"),
}


@pytest.mark.parametrize("kind", PATHS)
def test_a_path_that_no_host_has_is_not_kept(session: psycopg.Connection[Any], kind: str) -> None:
    """The database refuses it: nobody would be able to use it, and nobody meets it."""
    folder, stem, suffix = PATHS[kind]
    with session, pytest.raises(psycopg.errors.CheckViolation):
        _put(session, folder, stem, suffix)


def _put(session: psycopg.Connection[Any], folder: bytes, stem: bytes, suffix: bytes) -> None:
    session.execute("INSERT INTO folders (path) VALUES (%s) ON CONFLICT DO NOTHING", [folder])
    query = "INSERT INTO files VALUES (1, 1, NULL, 1, 1, 1, 1, %s, %s)"
    session.execute(query, [stem, suffix])


STAMPS = {"a fraction": "1.5", "no number": "NaN", "too large": "1" + "0" * 400}


@pytest.mark.parametrize("kind", STAMPS)
def test_a_stamp_that_no_file_has_is_not_kept(session: psycopg.Connection[Any], kind: str) -> None:
    """Who claimed the photo could not read it, and no other photo would be claimed."""
    query = (
        "INSERT INTO files VALUES (1, 1, NULL, %s::numeric, %s::numeric, %s::numeric, 1, 'a', 'b')"
    )
    for index in range(3):
        values = ["1", "1", "1"]
        values[index] = STAMPS[kind]
        with pytest.raises(psycopg.errors.CheckViolation):
            session.execute(query, values)
    session.close()


@pytest.mark.parametrize(
    "row",
    [
        "photos (folder, since, queued_at, state, stem) VALUES (1, 'NaN', 0, 'queued', 'a')",
        "photos (folder, since, queued_at, state, stem) VALUES (1, 0, 'infinity', 'queued', 'a')",
        "pause VALUES (1, '', 'infinity', NULL)",
        "pause VALUES (1, '', 0, 'NaN')",
        "hosts VALUES ('x', '', '', '1', '[]', '[]', 'NaN', '', now())",
        "hosts VALUES ('x', '', '', '1', '[]', '[]', 1, '', 'infinity')",
        "hosts VALUES ('x', '', '', E'\\x1b[2J', '[]', '[]', 1, '', now())",
        "hosts VALUES (E'x\\x1b', '', '', '1', '[]', '[]', 1, '', now())",
        "leases VALUES ('journal', 'x', 'x', 'infinity')",
        "roots VALUES ('a:b', 'x', NULL, NULL)",
        "roots VALUES ('a', 'x', 'b', '../../etc/')",
    ],
)
def test_what_nobody_could_read_is_not_kept(session: psycopg.Connection[Any], row: str) -> None:
    """Neither a time that never comes nor a name that is none."""
    with session, pytest.raises(psycopg.errors.DatabaseError):
        session.execute(f"INSERT INTO {row}".encode())


async def test_work_goes_on_whatever_stands_in_texts(
    session: psycopg.Connection[Any], ledger: PostgresLedger
) -> None:
    """Notes, agreements and answers that cannot be read are as good as none."""
    file = PhotoFile(Path("/srv/a.jpg"), Stamp(1, 2, 3, 4))
    await ledger.admit([file])
    notes = "INSERT INTO notes VALUES ('schedule', %s), ('archives in / @here', 'x')"
    session.execute(notes, [BOMB])
    session.execute("INSERT INTO agreed VALUES ('endpoint x', %s)", [BOMB])
    session.execute("INSERT INTO contents (digest) VALUES (%s)", [bytes.fromhex("ab" * 32)])
    answer = "INSERT INTO answers SELECT id, 0, 'caption', 'q', %s FROM contents"
    session.execute(answer, [BOMB])
    session.execute("UPDATE photos SET sidecars = %s", [BOMB])
    assert await ledger.recall("schedule") is None
    assert await ledger.recall("archives in /", here=True) is None
    heard: list[Json] = []

    def hear(kept: Json, _now: float) -> tuple[Json, bool]:
        heard.append(kept)
        return kept, False

    await ledger.fleet.agree("endpoint x", hear)
    assert heard == [None]
    (claim,) = await ledger.claim(9, within=[Path("/")], run="r", now=time.time())
    assert claim.photo.files == (file,)
    assert await ledger.decoded(claim, "ab" * 32) == []
    assert await ledger.end(claim, Finished("ab" * 32))


async def test_hosts_are_shown_as_text(
    session: psycopg.Connection[Any], ledger: PostgresLedger, empty_database: str
) -> None:
    """Whatever another host calls its folders and duties, no terminal obeys it."""
    row = "INSERT INTO hosts VALUES (%s, 'p', '', '1.0', %s, %s, 1, 'healthy', now())"
    escape = json.dumps(["tag", "\x1b[2J"]), json.dumps(["@evil/\x1b]0;x\x07"])
    session.execute(row, ["evil", *escape])
    session.execute(row, ["odd", BOMB, "nonsense"])
    session.execute("UPDATE hosts SET seen_at = now() - interval '1 hour' WHERE name = 'evil'")
    lease = "INSERT INTO leases VALUES (%s, 'p', 'evil', now() + interval '1 minute')"
    session.execute(lease, ["watch:\x1b[2J"])
    hosts = await ledger.fleet.hosts()
    statuses = statuses_of(hosts, await ledger.fleet.holders())
    assert {status.name for status in statuses} == {"evil", "odd"}
    shown = [text for s in statuses for text in (s.name, *s.duties, *s.holds, *s.roots)]
    shown += [problem.text for problem in problems_of(hosts)]
    assert all(text.isprintable() for text in shown), shown
    assert [host.name for host in read_shared(empty_database, lambda it: it.hosts())] == [
        "evil",
        "odd",
    ]
