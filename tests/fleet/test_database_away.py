"""The database server goes away under a daemon: it waits, says so, and goes on by itself.

Whatever happens to the server, in the end each photo has one sidecar and one record, and each
question was asked once.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from support import postgres
from support.pooling import pooled
from support.postgres import PostgresServer, name_in
from support.program import listening, photo, until

from taggerd.errors import LedgerAway
from taggerd.ledger import LedgerReader
from taggerd.ledger.postgres import administration, opening
from taggerd.ledger.postgres.ledger import PostgresLedger
from taggerd.ledger.postgres.move import move_out, opened
from taggerd.ledger.postgres.naming import Naming
from taggerd.ledger.postgres.reading import read_shared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from support.program import CountingBackend, Program, Reply

PHOTOS = 24
LATE = 6
"""Photos that arrive while the server is away."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """Return a server whose commits survive its crash."""
    if why := postgres.why_not():
        pytest.skip(why)
    it = PostgresServer(durable=True)
    yield it
    it.close()


class Work:
    """A daemon with photos to tag, and a database for its ledger."""

    def __init__(
        self, program: Program, backend: CountingBackend, inbox: Path, server: PostgresServer
    ) -> None:
        """Make the ledger, and photos that wait."""
        self.program, self.backend, self.inbox, self.server = program, backend, inbox, server
        self.url = server.empty()
        opening.init(self.url)
        self.use(self.url)
        program.base_url = backend.base_url
        program.environment |= {
            "TAGGERD__ARRIVALS__ROOTS": json.dumps([{"name": "archive", "path": str(inbox)}]),
            "TAGGERD__BACKEND__MAX_CONCURRENCY": "2",
        }
        backend.script = self._slowly
        self._photos = 0
        self.arrive(PHOTOS)

    def use(self, url: str) -> None:
        """Reach the database by another address."""
        self.program.environment["TAGGERD__LEDGER__URL"] = url

    def _slowly(self, _path: str, _body: bytes) -> Reply | None:
        threading.Event().wait(0.1)
        return None

    def arrive(self, photos: int) -> None:
        """Put so many more photos into the import folder."""
        for number in range(self._photos, self._photos + photos):
            photo(self.inbox / f"{number:03}.jpg", number)
        self._photos += photos

    def start(self, *, ready: bool = True) -> None:
        """Start the daemon."""
        self.program.start(ready=ready)

    def amid(self, share: float = 0.3) -> None:
        """Wait until so many of the photos are tagged, not more."""
        until(lambda: self.sidecars >= share * PHOTOS)

    @property
    def sidecars(self) -> int:
        """How many there are."""
        return len(list(self.inbox.glob("*.xmp")))

    def says(self, text: str = "ledger") -> bool:
        """Whether the daemon calls the ledger its problem, and says why."""
        return text in self.program.problem("ledger")

    def complete(self) -> None:
        """Wait for all photos, end the daemon, and look at what came of it."""
        until(lambda: len(self.program.records()) >= self._photos, 300)
        until(lambda: self.program.live().get("problems") == [])
        daemon = self.program.daemons[-1]
        assert self.program.stop(daemon) == 0
        records = self.program.records()
        images = [Path(record["image"]).name for record in records]
        assert sorted(images) == [f"{number:03}.jpg" for number in range(self._photos)]
        assert [record["error"] for record in records if record["error"]] == []
        assert {record["attempts"] for record in records} == {1}
        assert self.sidecars == self._photos
        assert self.backend.photo_requests == 3 * self._photos

    def told_once(self) -> None:
        """Assert that the log has one line about the trouble of the runner, and no traceback."""
        log = self.program.log()
        assert log.count("work is blocked") == 1, log
        assert "Traceback" not in log


@pytest.fixture
def work(
    taggerd: Program, backend: CountingBackend, inbox: Path, server: PostgresServer
) -> Iterator[Work]:
    """Return a daemon that is not started yet."""
    work = Work(taggerd, backend, inbox, server)
    yield work
    taggerd.end()
    server.drop(work.url)


def test_a_server_that_is_killed_and_started_again(work: Work) -> None:
    """What was paid for is not paid again; what arrived meanwhile is found by a walk."""
    work.start()
    work.amid()
    work.server.stop(signal.SIGKILL)
    work.arrive(LATE)
    until(work.says)
    before = work.sidecars
    assert work.program.live()["problems"][0]["kind"] == "ledger"
    until(lambda: work.program.live()["updated_at"] > time.time() - 5)
    assert work.sidecars == before, "nothing is written that the ledger could not be told of"
    work.server.start()
    work.complete()
    work.told_once()


@pytest.mark.long
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
def test_a_server_that_restarts(work: Work, how: signal.Signals) -> None:
    """It takes a second or two, and costs nothing."""
    work.start()
    for share in (0.2, 0.5):
        work.amid(share)
        work.server.restart(how)
    work.complete()


@pytest.mark.long
def test_a_failover_that_drops_all_connections(work: Work) -> None:
    """Ten times amid work: each is made again."""
    work.start()
    for count in range(1, 11):
        work.amid(count / 12)
        work.server.hang_up(work.url)
    work.complete()
    assert "Traceback" not in work.program.log()


@pytest.mark.long
def test_a_start_while_the_server_is_away(work: Work, tmp_path: Path) -> None:
    """It counts as started, says what it waits for, and begins when the server is there."""
    work.server.stop()
    try:
        address = tmp_path / "notify"
        with listening(address) as told:
            work.program.environment["NOTIFY_SOCKET"] = str(address)
            work.start(ready=False)
            until(lambda: "READY=1" in told)
            until(lambda: any(t.startswith("STATUS=degraded: the ledger's server") for t in told))
            assert work.program.daemons[-1].poll() is None
            work.server.start()
            work.complete()
    finally:
        work.server.stop()
        work.server.start()


def test_a_scan_while_the_server_is_away(work: Work) -> None:
    """One line, exit code 2, nothing asked."""
    work.server.stop()
    try:
        ended = work.program("scan", work.inbox)
    finally:
        work.server.start()
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1
    assert "the ledger's server cannot be used now" in ended.stderr
    assert work.backend.photo_requests == 0


@pytest.mark.long
def test_a_server_that_hangs(work: Work) -> None:
    """The connection is given up after half a minute, and no watchdog restarts the daemon."""
    work.start()
    work.amid()
    work.server.freeze()
    try:
        until(work.says)
        work.arrive(LATE)
        before = work.sidecars
        told = work.program.live()["updated_at"]
        until(lambda: work.program.live()["updated_at"] > told + 30)
        assert "a part is stuck" not in work.program.log()
        assert work.sidecars == before
    finally:
        work.server.thaw()
    work.complete()


@pytest.mark.long
def test_a_scan_over_a_server_that_hangs_for_a_while(work: Work) -> None:
    """It waits, pays for nothing twice, and ends as if nothing had been."""
    ends: list[subprocess.CompletedProcess[str]] = []
    scan = threading.Thread(target=lambda: ends.append(work.program("scan", work.inbox)))
    scan.start()
    work.amid()
    work.server.freeze()
    threading.Event().wait(32)  # that is what is tested
    work.server.thaw()
    scan.join()
    (ended,) = ends
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert work.sidecars == PHOTOS
    assert work.backend.photo_requests == 3 * PHOTOS


COMMANDS = {
    ("scan",): 2,
    ("status",): 3,
    ("retry", "--failed"): 2,
    ("pause",): 2,
    ("ledger", "check"): 2,
    ("ledger", "init", "--grant", "nobody"): 2,
    ("ledger", "move", "--to", "embedded"): 2,
}
"""Exit codes of commands that no server answers."""


@pytest.mark.long
def test_commands_that_a_server_does_not_answer(work: Work) -> None:
    """Each ends by itself, and says in one line what is wrong."""
    ends: dict[tuple[str, ...], subprocess.CompletedProcess[str]] = {}

    def run(command: tuple[str, ...]) -> None:
        ends[command] = work.program(*command)

    work.server.freeze()
    try:
        together([partial(run, command) for command in COMMANDS])
    finally:
        work.server.thaw()
    for command, code in COMMANDS.items():
        ended = ends[command]
        text = ended.stdout + ended.stderr
        assert ended.returncode == code, (command, text)
        assert "the ledger's server cannot be used now" in " ".join(text.split())
        assert "Traceback" not in text
        assert command == ("status",) or len(text.splitlines()) == 1, text
    assert work.backend.photo_requests == 0


@pytest.mark.long
def test_a_server_that_falls_silent_amid_a_statement(work: Work, tmp_path: Path) -> None:
    """Whoever opens, reads, checks or moves a ledger gives it up, and waits for nobody for ever."""
    ends: list[str] = []
    naming = Naming("here", {"archive": work.inbox})

    def move() -> None:
        with opened(work.url) as connection:
            move_out(tmp_path / "embedded", connection, naming, 0.0)

    def refused(what: Callable[[], object]) -> None:
        with pytest.raises(LedgerAway, match="cannot be used now"):
            what()
        ends.append(str(what))

    asking: list[Callable[[], object]] = [
        move,
        partial(opening.check, work.url),
        partial(administration.about, work.url),
        partial(read_shared, work.url, LedgerReader.counts),
        lambda: asyncio.run(PostgresLedger.open(work.url)),
    ]
    address = work.server.address(name_in(work.url), role="postgres")
    with psycopg.connect(address) as other, psycopg.connect(address, autocommit=True) as watcher:
        other.execute("LOCK TABLE taggerd.photos, taggerd.notes")
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"

        def freeze() -> None:
            until(lambda: watcher.execute(waiting).fetchone() == (len(asking),))
            work.server.freeze()

        frozen = threading.Thread(target=freeze)
        frozen.start()
        try:
            together([partial(refused, each) for each in asking])
        finally:
            frozen.join()
            work.server.thaw()
    assert len(ends) == len(asking)


def together(all_of: Sequence[Callable[[], object]]) -> None:
    """Call *all_of* them at once, and wait for their ends."""
    running = [threading.Thread(target=each) for each in all_of]
    for each in running:
        each.start()
    for each in running:
        each.join()


@pytest.fixture
def small_disk(server: PostgresServer) -> Iterator[Path]:
    """Return a file system of 48 MB, with a tablespace ``small`` in it."""
    folder = server.folder / "small"
    folder.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=48m,mode=1777", "taggerd-tests", str(folder)]
    if subprocess.run(mounting, capture_output=True, check=False).returncode:
        folder.rmdir()
        pytest.skip("nothing can be mounted here")
    try:
        (folder / "space").mkdir(mode=0o700)
        owner = (server.folder / "data").stat()
        os.chown(folder / "space", owner.st_uid, owner.st_gid)
        server.execute(f"CREATE TABLESPACE small LOCATION '{folder}/space'")
        yield folder
        server.execute("DROP TABLESPACE small")
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(file: Path) -> None:
    """Let *file* grow until its disk is full."""
    with file.open("wb", buffering=0) as it, suppress(OSError):
        while True:
            it.write(bytes(1 << 16))


@pytest.mark.long
def test_a_disk_that_is_full_there(work: Work, small_disk: Path) -> None:
    """All that came to an end is kept; work waits, says why, and goes on once there is room."""
    work.server.execute(f"ALTER DATABASE {name_in(work.url)} SET TABLESPACE small")
    work.start()
    try:
        work.amid()
        ballast = small_disk / "ballast"
        fill(ballast)
        until(lambda: work.says("cannot write"))
        work.arrive(LATE)
        assert "make room there" in work.program.problem("ledger")
        ballast.unlink()
        work.complete()
    finally:
        work.program.end()
        work.server.drop(work.url)


LIMITS = {
    "too many connections": ("CONNECTION LIMIT 0", "CONNECTION LIMIT -1", "too many connections"),
    "read-only": (
        "SET default_transaction_read_only = on",
        "RESET default_transaction_read_only",
        "takes no changes now",
    ),
    "statement timeout": ("SET statement_timeout = '1ms'", "RESET statement_timeout", ""),
}


@pytest.mark.long
@pytest.mark.parametrize("name", LIMITS)
def test_a_server_that_refuses_for_a_while(work: Work, name: str) -> None:
    """A standby, a limit, a time-out: it passes by itself, and costs no photo anything."""
    begin, end, text = LIMITS[name]
    database = name_in(work.url)
    work.start()
    work.amid()
    work.server.execute(f"ALTER DATABASE {database} {begin}")
    work.server.hang_up(work.url)
    until(lambda: work.says(text))
    work.server.execute(f"ALTER DATABASE {database} {end}")
    work.server.hang_up(work.url)
    work.complete()


@pytest.mark.long
def test_connections_that_are_closed_when_idle(work: Work) -> None:
    """A proxy or a setting ends them within a second, again and again: nobody notices."""
    work.server.execute(f"ALTER DATABASE {name_in(work.url)} SET idle_session_timeout = '300ms'")
    work.start()
    work.complete()
    assert "work is blocked" not in work.program.log()


POOLS = [("transaction", 5), ("transaction", 1), ("session", 5), ("session", 1)]


@pytest.mark.long
@pytest.mark.parametrize(("mode", "size"), POOLS)
def test_a_pooler(work: Work, mode: str, size: int) -> None:
    """Statements that another connection has prepared, or a pool of one, stop nothing."""
    with pooled(work.server, work.url, mode=mode, size=size) as address:
        work.use(address)
        work.start()
        work.complete()


@pytest.mark.long
def test_a_pooler_whose_pool_is_used_up(work: Work) -> None:
    """Others hold all of its connections for a while: work waits, says so, and goes on."""
    with pooled(work.server, work.url, mode="transaction", size=2) as address:
        work.use(address)
        work.start()
        work.amid()
        with psycopg.connect(address) as one, psycopg.connect(address) as other:
            one.execute("SELECT 1")
            until(lambda: other.execute("SELECT 1"))
            until(work.says)
        work.complete()
