"""What a server that goes away behind a commit has done is neither lost nor done twice."""

from __future__ import annotations

import asyncio
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest
from support.ledger import DIGEST, PostgresState, answer, file
from support.postgres import name_in

from taggerd.errors import LedgerAway, StorageError
from taggerd.ledger import Finished, Outgoing
from taggerd.ledger.postgres import database
from taggerd.ledger.postgres.ledger import PostgresLedger
from taggerd.photo import Usage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.postgres import PostgresServer


@pytest.fixture
async def state(postgres_server: PostgresServer) -> AsyncIterator[PostgresState]:
    """A database of its own; whoever is still there at the end is closed."""
    made = PostgresState(postgres_server)
    yield made
    for ledger in made.opened:
        await ledger.close()
    made.close()


def ask(state: PostgresState, statement: str) -> None:
    """Execute a statement in the ledger's database."""
    state._server.execute(statement, database=name_in(state.url))


class Cut:
    """A relay before the server that can lose one answer."""

    def __init__(self, folder: Path, server: Path) -> None:
        """Listen in *folder* for what goes to the socket *server*."""
        self.folder = folder
        self._server = server
        self.behind = b""
        """The answer to the next statement with this text is lost."""
        self.away = False
        """Nobody is let through, from the next cut on if that is wanted."""
        self.goes_away = False
        self.cuts = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Begin."""
        socket = self.folder / ".s.PGSQL.5432"
        self._listener = await asyncio.start_unix_server(self._serve, socket)
        return self

    async def __aexit__(self, *_: object) -> None:
        """End."""
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.away:
            writer.close()
            return
        theirs, mine = await asyncio.open_unix_connection(self._server)
        cutting = asyncio.Event()

        async def forward() -> None:
            try:
                while data := await reader.read(65536):
                    if self.behind and self.behind in data:
                        self.behind = b""
                        cutting.set()
                    mine.write(data)
            finally:
                mine.close()

        async def back() -> None:
            try:
                while data := await theirs.read(65536):
                    if cutting.is_set():
                        self.cuts += 1
                        self.away = self.goes_away
                        break
                    writer.write(data)
            finally:
                writer.close()
                mine.close()

        for copying in (forward(), back()):
            task = asyncio.create_task(copying)
            self._tasks.add(task)


@pytest.fixture
async def cut(state: PostgresState) -> AsyncIterator[Cut]:
    """A way to the state's database that can be cut."""
    with tempfile.TemporaryDirectory(prefix="taggerd-cut-", dir="/tmp") as folder:
        async with Cut(Path(folder), state._server.folder / ".s.PGSQL.5432") as relay:
            yield relay


async def open_through(cut: Cut, state: PostgresState) -> PostgresLedger:
    """Open the ledger behind the relay."""
    url = state.url.replace(str(state._server.folder), str(cut.folder))
    ledger = await PostgresLedger.open(url, clock=lambda: state.now, skew=0.0)
    state.opened.append(ledger)
    return ledger


async def test_what_was_committed_and_not_answered_is_done_once(
    state: PostgresState, cut: Cut
) -> None:
    """Whether the answer to a commit is lost at an end, at an answer or at spending."""
    ledger = await open_through(cut, state)
    await ledger.admit([file()])
    claim = await state.claim_one(ledger)
    usage = Usage(1, 100, 10)
    spent = {("2025-06-30", "m"): usage}
    cut.behind = b"INTO taggerd.answers"
    await ledger.checkpoint(claim, DIGEST, answer(), spent=spent)
    assert cut.cuts == 1
    cut.behind = b"COMMIT"
    await ledger.checkpoint(claim, DIGEST, answer("keywords"), answer(), spent=spent)
    assert cut.cuts == 2
    cut.behind = b"COMMIT"
    await ledger.spend("2025-06-30", "m", usage)
    assert cut.cuts == 3
    assert await ledger.spent("2025-06-30") == {"m": Usage(3, 300, 30)}
    cut.behind = b"INTO taggerd.outbox"
    assert await ledger.end(claim, Finished(DIGEST, Outgoing("1", "2025-06-30", "{}")))
    assert cut.cuts == 4
    assert len(await ledger.outbox(9)) == 1
    assert (await ledger.counts()).recorded == 1
    assert not await ledger.end(claim, Finished(DIGEST))


async def test_a_statement_by_itself_is_not_repeated_if_that_does_harm(
    state: PostgresState, cut: Cut
) -> None:
    """Whether its own answer is lost or that of its commit, it has happened once or not at all."""
    ledger = await open_through(cut, state)
    usage = Usage(1, 100, 10)
    spending = partial(ledger._database.do, "spend", day="today", model="m", **usage._asdict())
    cut.behind = b"INTO taggerd.spending"
    with pytest.raises(StorageError):
        await ledger._run(spending)
    assert await ledger.spent("today") == {}
    cut.behind = b"COMMIT"
    await ledger._run(spending)
    assert await ledger.spent("today") == {"m": usage}
    assert cut.cuts == 2


@pytest.mark.parametrize("again", [Usage(1, 100, 10), Usage(2, 150, 20)])
async def test_spending_that_nobody_was_told_of_counts_once(
    state: PostgresState, cut: Cut, monkeypatch: pytest.MonkeyPatch, again: Usage
) -> None:
    """It is undone before it is added again, by itself or with more; once, whatever is lost."""
    monkeypatch.setattr(database, "DOUBT_SECONDS", 0.3)
    monkeypatch.setattr(database, "REST_SECONDS", 0.0)
    ledger = await open_through(cut, state)
    cut.goes_away = True
    for behind, spent in ((b"COMMIT", Usage(1, 100, 10)), (b"COMMIT", again)):
        cut.away, cut.behind = False, behind
        with pytest.raises(LedgerAway):
            await ledger.spend("today", "m", spent)
    assert cut.cuts == 2
    cut.away = False
    await ledger.spend("today", "m", again)
    assert await ledger.spent("today") == {"m": again}


async def test_what_a_claim_took_that_nobody_was_told_of_is_put_back(
    state: PostgresState, cut: Cut, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the program lives nobody else gets it; it is claimed again, and costs no attempt."""
    monkeypatch.setattr(database, "DOUBT_SECONDS", 0.3)
    monkeypatch.setattr(database, "REST_SECONDS", 0.0)
    ledger = await open_through(cut, state)
    await ledger.admit([file()])
    cut.goes_away, cut.behind = True, b"COMMIT"
    with pytest.raises(LedgerAway):
        await state.claim(ledger)
    assert cut.cuts == 1
    cut.away = False
    claim = await state.claim_one(ledger)
    assert claim.attempt == 1
    assert await state.claim(ledger) == []
    assert await ledger.end(claim, Finished(DIGEST))


async def test_what_a_crash_of_the_server_undid_is_done_again(state: PostgresState) -> None:
    """It counts as not done, also if the server is back before anybody waits for its disk."""
    ledger = await state.open()
    await ledger.admit([file()])
    claim = await state.claim_one(ledger)
    usage = Usage(1, 100, 10)
    spent = {("2025-06-30", "m"): usage}
    await ledger._keep(DIGEST, (answer(),), spent)
    ask(state, "UPDATE taggerd.commits SET number = number - 1")
    ask(state, "DELETE FROM taggerd.spending")
    ask(state, "DELETE FROM taggerd.answers")
    state._server.hang_up(state.url)
    with pytest.raises(StorageError):
        await ledger._on_disk()
    await ledger.checkpoint(claim, DIGEST, answer(), spent=spent)
    assert await ledger.spent("2025-06-30") == {"m": usage}
    assert len(await ledger.answers(DIGEST)) == 1
