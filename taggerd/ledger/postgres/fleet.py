"""The hosts that share a PostgreSQL ledger: :class:`taggerd.ledger.fleet.Fleet` in its tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from taggerd.errors import HostInUse
from taggerd.ledger.fleet import LEASE_SECONDS, Host, Known, Lent
from taggerd.ledger.postgres import journalled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from taggerd.ledger.fleet import Change, HostFacts, Json
    from taggerd.ledger.queries import Database

T = TypeVar("T")

KNOWN_DAYS = 7
"""A host that was not heard of for longer is forgotten."""
_RECORDS = 500
"""Read at once."""
_BOOT = Path("/proc/sys/kernel/random/boot_id")


def machine_of(directory: Path | None) -> str:
    """Return which boot of which machine this is, with which state *directory*.

    Its daemon holds a lock there: another program that says the same of itself is dead. A clone of
    a virtual machine has a boot of its own.
    """
    try:
        boot = _BOOT.read_text("ascii").strip()
        status = directory.stat() if directory is not None else None
    except OSError:
        return ""
    return f"{boot} {status.st_dev}:{status.st_ino}" if status is not None else ""


def hosts_in(database: Database) -> list[Host]:
    """Return the hosts that were heard of, by name."""
    rows = database.rows("hosts", seconds=LEASE_SECONDS, days=KNOWN_DAYS)
    return [_host(row) for row in rows]


def _host(row: Mapping[str, Any]) -> Host:
    return Host(**{**row, "duties": _texts(row["duties"]), "roots": _texts(row["roots"])})


def _texts(text: str) -> tuple[str, ...]:
    found = _read(text)
    return tuple(map(str, found)) if isinstance(found, list) else ()


def _read(text: str) -> Json:
    """Return what *text* says; None if it is no JSON, which another host may have written."""
    try:
        said: Json = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return said


def holders_in(database: Database) -> dict[str, str]:
    """Return the host that holds each lease."""
    return {row["name"]: row["host"] for row in database.rows("lease_holders")}


class InThread(Protocol):
    """Calls a function in the thread that owns the database."""

    async def __call__(self, work: Callable[[], T], /) -> T:
        """Return what *work* returns, or raise what it raises."""


class PostgresFleet:
    """One host's view of the fleet; its program is an owner of the ledger."""

    def __init__(  # noqa: PLR0913 - all by name but three
        self,
        database: Database,
        in_thread: InThread,
        changed: Callable[[float, Change | None], Awaitable[bool]],
        *,
        host: str,
        program: str,
        machine: str,
    ) -> None:
        """Use the ledger's *database*.

        Args:
            database: belongs to one thread.
            in_thread: calls a function in that thread.
            changed: waits for what other programs change.
            host: the name of this host.
            program: the owner that this program is.
            machine: see :func:`machine_of`.
        """
        self.host = host
        self._database = database
        self._in_thread = in_thread
        self._changed = changed
        self._program = program
        self._machine = machine

    async def _run(self, work: Callable[[], T]) -> T:
        """Do *work* as one transaction, in the thread that owns the database."""

        def in_transaction() -> T:
            with self._database.transaction():
                return work()

        return await self._in_thread(in_transaction)

    def _tell(self, change: Change) -> None:
        self._database.rows("tell", change=change)

    async def beat(self, about: HostFacts) -> Known:
        """See the port."""
        facts = {
            "host": self.host,
            "program": self._program,
            "version": about.version,
            "duties": json.dumps(about.duties),
            "roots": json.dumps(about.roots),
            "photos_an_hour": about.photos_an_hour,
            "health": about.health,
        }
        # The usual case is one statement: hosts say this day and night.
        again = await self._in_thread(
            lambda: self._database.row(
                "beat_again", **facts, seconds=LEASE_SECONDS, days=KNOWN_DAYS
            )
        )
        if again is not None:
            return Known([_host(row) for row in again["hosts"]], again["holders"])
        await self._run(lambda: self._enter(facts))
        return Known(await self.hosts(), await self.holders())

    def _enter(self, facts: Mapping[str, str | float | None]) -> None:
        """Begin to live as this host."""
        database, program = self._database, self._program
        row = database.row("program_of_host", host=self.host, seconds=LEASE_SECONDS)
        if row is not None and row["program"] not in {"", program}:
            same_machine = bool(self._machine) and row["machine"] == self._machine
            if not same_machine and not row["silent"]:
                message = (
                    f"another living host is called {self.host}: give each its own name, "
                    "service.host"
                )
                raise HostInUse(message)
            if same_machine:  # it was killed, and this program was started in its stead
                database.do("let_go_of_all", program=row["program"])
                database.do("adopt_lent", program=program, killed=row["program"])
        database.do("beat_host", **facts, machine=self._machine)
        self._tell("fleet")

    async def leave(self) -> None:
        """See the port."""

        def work() -> None:
            self._database.do("let_go_of_all", program=self._program)
            self._database.do("leave_host", host=self.host, program=self._program)
            self._tell("fleet")

        await self._run(work)

    async def hosts(self) -> list[Host]:
        """See the port."""
        return await self._in_thread(lambda: hosts_in(self._database))

    async def hold(self, lease: str) -> bool:
        """See the port."""
        held = {"lease": lease, "program": self._program, "host": self.host}
        return await self._in_thread(
            lambda: self._database.do("hold_lease", **held, seconds=LEASE_SECONDS) > 0
        )

    async def let_go(self, lease: str) -> None:
        """See the port."""

        def work() -> None:
            if self._database.do("let_go_of_lease", lease=lease, program=self._program):
                self._tell("fleet")

        await self._run(work)

    async def holders(self) -> dict[str, str]:
        """See the port."""
        return await self._in_thread(lambda: holders_in(self._database))

    async def lent(self) -> list[Lent]:
        """See the port."""
        rows = await self._in_thread(
            lambda: self._database.rows("lent", owner=self._program, limit=_RECORDS)
        )
        readable = self._database.paths.readable
        return [Lent(row["record"], row["day"], readable(row["line"])) for row in rows]

    async def agree(self, key: str, change: Callable[[Json, float], tuple[Json, bool]]) -> None:
        """See the port."""

        def work() -> None:
            row = self._database.row("agreement", key=key)
            if row is None:
                self._database.do("begin_agreement", key=key)
                row = self._database.one("agreement", key=key)
            value, told = change(_read(row["value"]), row["now"])
            text = json.dumps(value)
            if value is None:
                self._database.do("end_agreement", key=key)
            elif text != row["value"]:
                self._database.do("agree", key=key, value=text)
            if told:
                self._tell("endpoints")

        await self._run(work)

    async def forget_records(self, before: str) -> None:
        """See the port. A few at once: meanwhile nothing waits for them."""
        while await self._run(lambda: journalled.forget(self._database, before)):
            pass

    async def changed(self, seconds: float, *, of: Change | None = None) -> bool:
        """See the port."""
        return await self._changed(seconds, of)
