"""Ledgers of every earlier version open whole, and a kill in between leaves the old one whole."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest
from support.ledger import DIGEST, QUESTION, ROOT, file, names

from taggerd.errors import StartError
from taggerd.ledger import Counts, Released, database
from taggerd.ledger.converting import teach
from taggerd.ledger.database import Database, statements
from taggerd.ledger.queries import migrations
from taggerd.photo import Answer, Keyword

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.ledger import State

NEWEST = len(migrations())
STAMP = (1000, 1_700_000_000_000_000_000, 42, 64)
DEAD = "0" * 32
SIDECARS = {"tagged.xmp": "11" * 32, "/elsewhere/tagged.xmp": "22" * 32}
CAPTION = Answer(role="caption", question=QUESTION, text="A pier", raw="A pier", model="one")
KEYWORDS = Answer(
    role="keywords",
    question=QUESTION,
    keywords=(Keyword("pier", 0.9), Keyword("sea")),
    raw='<think>hm</think>["pier", "sea"]',
    model="two",
    prompt_tokens=1200,
    completion_tokens=17,
    seconds=1.25,
)


def short(answer: Answer) -> str:
    """Return an answer as versions 1 and 2 kept it."""
    stored = asdict(answer) | {"keywords": [[k.word, k.score] for k in answer.keywords]}
    later = {"role", "question", "requests"}
    stored = {k: v for k, v in stored.items() if v and k not in later}
    if answer.raw == answer.text:
        del stored["raw"]
    return json.dumps(stored)


PHOTOS = {
    # name: columns that differ from a new one's
    "waiting": {"state": "queued"},
    "deferred": {"state": "queued", "not_before": 2e9, "reason": "the backend is down"},
    "anew": {"state": "queued", "anew_since": 5.5},
    "wanted": {
        "state": "queued",
        "wanted_by": "scan",
        "wanted_owner": DEAD,
        "anew_since": 5.5,
        "digest": DIGEST,
        "recorded": 1,
        "sidecars_written": 1,
    },
    "taken": {"state": "claimed", "owner": DEAD, "token": "t", "attempts": 1},
    "tagged": {"state": "recorded", "digest": DIGEST, "recorded": 1, "sidecars_written": 1},
    "unwritten": {"state": "recorded", "digest": "cd" * 32, "recorded": 1},
    "aside": {"state": "quarantined", "reason": "not a picture", "attempts": 3},
}


def fill(connection: sqlite3.Connection) -> None:
    """Fill a database of version 1 with what there may be."""
    execute = connection.execute
    folder = os.fsencode(ROOT) + b"/"
    execute("INSERT INTO folders VALUES (1, ?)", [folder])
    for number, (name, columns) in enumerate(PHOTOS.items(), start=1):
        row = {"id": number, "folder": 1, "since": 7.5, "settled_at": number, **columns}
        if "digest" in row:
            row["digest"] = bytes.fromhex(str(row["digest"]))
        keys, marks = ", ".join(row), ", ".join("?" * len(row))
        execute(f"INSERT INTO photos ({keys}) VALUES ({marks})", list(row.values()))  # noqa: S608 - names of columns
        for suffix in (b".JPG", b".CR3") if name == "tagged" else (b".JPG",):
            file_row = [1, name.encode(), suffix, *STAMP, number]
            execute("INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?)", file_row)
    tagged = [*PHOTOS].index("tagged") + 1
    for sidecar, digest in SIDECARS.items():
        execute("INSERT INTO sidecars VALUES (?, ?, ?)", [tagged, sidecar.encode(), digest])
    for number, answer in enumerate((CAPTION, KEYWORDS), start=1):
        execute("INSERT INTO questions VALUES (?, ?, ?)", [number, answer.role, answer.question])
        held = [bytes.fromhex(DIGEST), number, 100.5 + number, short(answer)]
        execute("INSERT INTO answers VALUES (?, ?, ?, ?)", held)
    for number in (1, 2):
        line = [f"record-{number}", "2025-06-30", "{}", "", DEAD if number == 1 else None]
        execute(
            "INSERT INTO outbox (record, day, line, stream, owner) VALUES (?, ?, ?, ?, ?)", line
        )
    execute("INSERT INTO notes VALUES ('preflight', '[1]')")


def make(path: Path, version: int) -> None:
    """Make a database of *version*; from 1 on with something of everything in it."""
    path.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(path)) as connection, connection:
        teach(connection)
        for number, script in enumerate(migrations()[:version], start=1):
            connection.executescript(script)
            if number == 1:
                fill(connection)
        connection.execute(f"PRAGMA user_version = {version}")


async def assert_whole(state: State) -> None:
    """Say that all that :func:`fill` put into a ledger is in it, and that it works."""
    ledger = await state.open()
    assert ledger.notices == ()
    files = {path.name: stamp for path, stamp in (await ledger.known(ROOT)).items()}
    assert set(files) == {*(f"{name}.JPG" for name in PHOTOS), "tagged.CR3"}
    assert set(files.values()) == {STAMP}
    assert await ledger.counts() == Counts(queued=4, recorded=2, unwritten=1, quarantined=1)
    assert [(one.answer, one.at) for one in await ledger.answers(DIGEST)] == [
        (CAPTION, 101.5),
        (KEYWORDS, 102.5),
    ]
    assert [line.id for line in await ledger.outbox(9)] == ["record-1", "record-2"]
    assert await ledger.recall("preflight") == [1]
    (aside,) = await ledger.quarantined(9)
    assert (aside.photo.files, aside.reason) == ((file("aside.JPG"),), "not a picture")
    claims = {names(c)[0].removesuffix(".JPG"): c for c in await state.claim(ledger)}
    assert set(claims) == {"waiting", "anew", "taken"}
    assert claims["anew"].asked_again_since == 5.5
    assert {claim.attempt for claim in claims.values()} == {1}
    await ledger.admit([file("tagged.JPG", size=5)])
    tagged = await state.claim_one(ledger)
    assert names(tagged) == ["tagged.JPG", "tagged.CR3"]
    assert (tagged.digest, tagged.recorded, tagged.changed) == (DIGEST, True, True)
    assert tagged.sidecars == {ROOT / name: digest for name, digest in SIDECARS.items()}
    await state.tag(ledger, tagged)
    await ledger.forget([file("waiting.JPG").path, file("aside.JPG").path])
    await ledger.end(claims["waiting"], Released())
    assert await ledger.counts() == Counts(queued=1, claimed=2, recorded=2, unwritten=1)
    await ledger.close()


@pytest.mark.parametrize("version", range(1, NEWEST + 1))
async def test_a_ledger_of_every_earlier_version_is_whole(state: State, version: int) -> None:
    """Photos in every state, answers, sidecars, outbox and notes are what they were."""
    make(state.directory / "ledger.sqlite", version)
    await assert_whole(state)


async def test_an_empty_database_becomes_a_ledger(state: State) -> None:
    """A kill came before the first schema: version 0."""
    make(state.directory / "ledger.sqlite", 0)
    ledger = await state.open()
    await ledger.admit([file()])
    await state.tag(ledger, await state.claim_one(ledger))
    assert await ledger.counts() == Counts(recorded=1)


async def test_a_newer_ledger_is_refused_and_left_alone(state: State) -> None:
    """After a downgrade of the program: one line that says so, nothing touched."""
    await (await state.open()).close()
    path = state.directory / "ledger.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {NEWEST + 1}")
    before = path.read_bytes()
    with pytest.raises(StartError, match=f"newer taggerd .schema {NEWEST + 1}") as caught:
        await state.open()
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before
    assert not list(state.directory.glob("*damaged*"))


STEPS = [
    (version, step)
    for version in range(1, NEWEST)
    for step in range(sum(len(list(statements(script))) for script in migrations()[version:]))
]


@pytest.mark.parametrize("dies", [True, False], ids=["killed", "raises"])
async def test_a_migration_that_ends_half_way_leaves_the_old_version_whole(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, dies: bool
) -> None:
    """Killed by SIGKILL, or failing, at one statement or another: the next start finds it all."""
    for version in range(1, NEWEST):
        make(tmp_path / f"{version}.sqlite", version)
    for version, step in STEPS[dies :: 5 if dies else 4]:
        path = tmp_path / f"{version}-{step}" / "ledger.sqlite"
        path.parent.mkdir()
        shutil.copy(tmp_path / f"{version}.sqlite", path)
        if dies:
            _killed_at(path, step)
        else:
            monkeypatch.setattr(database, "statements", _Steps(step).of)
            with pytest.raises(StartError, match="cannot be used"):
                Database(path, 0.0)
            monkeypatch.setattr(database, "statements", statements)
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA user_version").fetchone() == (version,)
            assert connection.execute("SELECT count(*) FROM answers").fetchone() == (2,)
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        state.directory = path.parent
    await assert_whole(state)


class _Steps:
    """Hands out a migration's statements until the last one, which raises or kills."""

    def __init__(self, left: int, number: signal.Signals | None = None) -> None:
        self._left = left
        self._signal = number

    def of(self, script: str) -> Iterator[str]:
        for statement in statements(script):
            if self._left == 0:
                if self._signal is not None:
                    os.kill(os.getpid(), self._signal)
                message = "disk I/O error"
                raise sqlite3.OperationalError(message)
            self._left -= 1
            yield statement


def _killed_at(path: Path, step: int) -> None:
    """Open the ledger at *path* in a process that is killed before that step of its migration."""
    child = os.fork()
    if child == 0:
        try:
            database.statements = _Steps(step, signal.SIGKILL).of  # type: ignore[assignment] # as it is called
            Database(path, 0.0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
