"""A PostgreSQL server of the tests' own: in a folder in /tmp, on a Unix socket.

It runs Debian's programs as an unprivileged user, which initdb insists on. Tests connect as a role
that owns its databases and is no superuser.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from support.program import until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROLE = "taggerd"
"""Owns the databases of the tests; no superuser."""
PORT = 5432
"""Part of the socket's name; nothing listens on it."""
_SETTINGS = {
    "autovacuum_naptime": "10s",
    "jit": "off",
    "listen_addresses": "",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
}
_MEMORY_BYTES = 4 << 30
"""Bytes that the servers of all test processes may need."""
_FORGETFUL = {"fsync": "off", "full_page_writes": "off"}
"""Unless what a power cut does is what is tested: a crash of the server alone loses nothing."""


def programs() -> Path | None:
    """Return the folder of the newest server's programs; None if none is installed."""
    found = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    return max((path.parent for path in found), key=lambda p: int(p.parent.name), default=None)


def why_not() -> str:
    """Say why no server can be started here; empty if one can."""
    if programs() is None:
        return "PostgreSQL is not installed (Debian: postgresql)"
    return ""


class PostgresServer:
    """A running server; :meth:`close` ends it and removes its folder."""

    def __init__(self, *, durable: bool = False, settings: Mapping[str, str] | None = None) -> None:
        """Make a cluster and start it.

        Args:
            durable: commits wait for the disk, as they do in service.
            settings: further settings of postgresql.conf.
        """
        found = programs()
        assert found is not None
        self._programs = found
        self._settings = {**_SETTINGS, **({} if durable else _FORGETFUL), **(settings or {})}
        # Not below pytest's folder: that is root's alone, and its name too long for a socket.
        self.folder = Path(tempfile.mkdtemp(prefix="taggerd-pg-", dir=_home(durable=durable)))
        self._user = _unprivileged()
        if self._user is not None:
            os.chown(self.folder, self._user.pw_uid, self._user.pw_gid)
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = count(1)
        self._templates: dict[Callable[[str], object], str] = {}
        try:
            self._initialise()
            self.start()
            self.execute(f"CREATE ROLE {ROLE} LOGIN")
            # Its name is that of our schema, which would otherwise be searched for it alone.
            self.execute(f"ALTER ROLE {ROLE} SET search_path TO public")
        except BaseException:
            self.close()
            raise

    def _initialise(self) -> None:
        # initdb's own check of a text search configuration needs no locale of the machine's.
        arguments = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"]
        subprocess.run(
            [
                *self.as_user(),
                self._programs / "initdb",
                "--no-sync",
                *arguments,
                "--pgdata",
                self.folder / "data",
            ],
            check=True,
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
        )

    def as_user(self) -> list[str]:
        """Return what runs a program as the unprivileged user, and ends it however we end."""
        command = ["setpriv", "--pdeathsig", "QUIT"]
        if self._user is not None:
            user, group = self._user.pw_uid, self._user.pw_gid
            command += [f"--reuid={user}", f"--regid={group}", "--clear-groups"]
        return command

    # The server.

    def start(self) -> None:
        """Start it, on the data that it left; returns once it answers."""
        assert self._process is None
        settings = {**self._settings, "unix_socket_directories": str(self.folder)}
        switches = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *self.as_user(),
                    self._programs / "postgres",
                    "-D",
                    self.folder / "data",
                    *switches,
                ],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Control-C is the tests', which then end it
            )
        until(self._answers)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "log").read_text()[-5000:]
        with suppress(psycopg.OperationalError):
            self.execute("SELECT 1")
            return True
        return False

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT ends the clients' sessions first, SIGQUIT and SIGKILL are a crash."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Let it hang: it keeps its connections, takes new ones, and answers nobody."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on where it was."""
        self._signal(signal.SIGCONT)

    def _signal(self, how: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(how)  # first: from then on it makes no more processes
        parent = str(self._process.pid)
        for status in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):  # it has ended
                if status.read_text().rpartition(")")[2].split()[1] == parent:
                    os.kill(int(status.parent.name), how)

    def restart(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it and start it again."""
        self.stop(how)
        # After a SIGKILL its children let go of the memory that they share a moment later.
        self.start()

    def close(self) -> None:
        """End it and remove all that it has kept."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def execute(self, statement: str, *, database: str = "postgres") -> list[tuple[object, ...]]:
        """Execute *statement* as the superuser, in no transaction; return its rows."""
        with psycopg.connect(self.address(database, role="postgres"), autocommit=True) as session:
            cursor = session.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    # Its databases.

    def address(self, database: str, *, role: str = ROLE) -> str:
        """Return the URL of a database."""
        return f"postgresql://{role}@/{database}?host={self.folder}&port={PORT}"

    def empty(self, template: str = "template0") -> str:
        """Return the URL of a new database, without any table of ours."""
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} OWNER {ROLE} TEMPLATE {template}")
        return self.address(name)

    def prepared(self, prepare: Callable[[str], object]) -> str:
        """Return the URL of a new database, a copy of one that *prepare* was given the URL of."""
        if prepare not in self._templates:
            name = f"template_{len(self._templates) + 1}"
            self.execute(f"CREATE DATABASE {name} OWNER {ROLE} TEMPLATE template0")
            prepare(self.address(name))
            self._templates[prepare] = name
        return self.empty(self._templates[prepare])

    def drop(self, url: str) -> None:
        """Remove a database, whoever is still connected to it."""
        self.execute(f"DROP DATABASE IF EXISTS {name_in(url)} WITH (FORCE)")

    def hang_up(self, url: str) -> None:
        """Close every connection to a database, as a failover does."""
        self.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "  # noqa: S608 - a name of ours
            f"WHERE datname = '{name_in(url)}' AND pid <> pg_backend_pid()"
        )


def name_in(url: str) -> str:
    """Return the name of the database that a URL of :meth:`PostgresServer.address` names."""
    return url.partition("@/")[2].partition("?")[0]


def _home(*, durable: bool) -> Path:
    """Return where a server keeps its data: in memory if it may be lost and there is room.

    There a database of a test's own is made three times as fast.
    """
    memory = Path("/dev/shm")  # noqa: S108 - a folder of our own below it
    with suppress(OSError):
        if (
            not durable
            and shutil.disk_usage(memory).free >= _MEMORY_BYTES
            and os.access(memory, os.W_OK)
        ):
            return memory
    return Path("/tmp")  # noqa: S108


def _unprivileged() -> pwd.struct_passwd | None:
    """Return the user that the server runs as; None: whoever runs the tests."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")
