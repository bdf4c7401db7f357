"""PgBouncer in front of the tests' PostgreSQL server, in the server's own folder."""

from __future__ import annotations

import shutil
import signal
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
import pytest

from support.postgres import ROLE, name_in
from support.program import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.postgres import PostgresServer

PORT = 6432
"""Part of the socket's name; nothing listens on it."""


def why_not() -> str:
    """Say why no pooler can be started here; empty if one can."""
    return "" if shutil.which("pgbouncer") else "PgBouncer is not installed (Debian: pgbouncer)"


@contextmanager
def pooled(server: PostgresServer, url: str, *, mode: str, size: int = 20) -> Iterator[str]:
    """Yield the URL of the database *url* behind a pooler in *mode*, with *size* connections."""
    if why := why_not():
        pytest.skip(why)
    folder = server.folder
    (folder / "users.txt").write_text(f'"{ROLE}" ""\n')
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\n* = host={folder} port=5432\n"
        f"[pgbouncer]\nlisten_port = {PORT}\nunix_socket_dir = {folder}\n"
        f"auth_type = trust\nauth_file = {folder}/users.txt\n"
        f"pool_mode = {mode}\ndefault_pool_size = {size}\nquery_wait_timeout = 5\n"
    )
    with (folder / "pgbouncer.log").open("ab") as log:
        pooler = subprocess.Popen(
            [*server.as_user(), "pgbouncer", folder / "pgbouncer.ini"],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    address = f"postgresql://{ROLE}@/{name_in(url)}?host={folder}&port={PORT}"

    def answers() -> bool:
        assert pooler.poll() is None, (folder / "pgbouncer.log").read_text()
        try:
            psycopg.connect(address).close()
        except psycopg.OperationalError:
            return False
        return True

    try:
        until(answers)
        yield address
    finally:
        pooler.send_signal(signal.SIGTERM)
        pooler.wait()
