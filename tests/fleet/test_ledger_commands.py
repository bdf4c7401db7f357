"""``taggerd ledger init``, ``check`` and ``upgrade``: rights, TLS, and what each says."""

from __future__ import annotations

import os
import subprocess
import threading
from typing import TYPE_CHECKING

import psycopg
import pytest
from support import postgres
from support.postgres import ROLE, PostgresServer, name_in

from taggerd.ledger.postgres import opening

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.program import CountingBackend, Program

SECRET = "correct-horse-battery"  # noqa: S105 - of this test
NAME = "db.test"
"""What the server's certificate calls it."""

pytestmark = pytest.mark.slow


@pytest.fixture
def program(taggerd: Program, empty_database: str) -> Program:
    """Return the program with a database for its ledger."""
    taggerd.environment["TAGGERD__LEDGER__URL"] = empty_database
    return taggerd


def use(program: Program, url: str) -> None:
    """Give it another address."""
    program.environment["TAGGERD__LEDGER__URL"] = url


def said(program: Program, *arguments: object, code: int = 0) -> str:
    """Run a command to its expected end; return all that it said, which names no password."""
    ended = program(*arguments)
    text = ended.stdout + ended.stderr
    assert ended.returncode == code, text
    assert SECRET not in text
    assert "Traceback" not in text
    return text


def test_init_check_and_upgrade(program: Program) -> None:
    """Each may be run again; check says what there is."""
    assert "schema" in said(program, "ledger", "init")
    assert "was there already" in said(program, "ledger", "init")
    assert "has schema" in said(program, "ledger", "upgrade")
    shown = said(program, "ledger", "check")
    for part in ("PostgreSQL 1", "taggerd, which owns it", "none: on this machine", "like this"):
        assert part in shown
    assert "superuser" not in shown


def test_several_machines_make_it_at_once(program: Program) -> None:
    """One makes it, the others find it made."""
    ends: list[subprocess.CompletedProcess[str]] = []
    threads = [
        threading.Thread(target=lambda: ends.append(program("ledger", "init"))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [end.returncode for end in ends] == [0] * 4, [end.stderr for end in ends]
    assert sum("was there already" in end.stdout for end in ends) == 3


def test_a_service_needs_no_right_but_to_read_and_write_rows(
    program: Program,
    postgres_server: PostgresServer,
    empty_database: str,
    backend: CountingBackend,
    card: Path,
) -> None:
    """The owner makes the tables; a role that may change none of them tags photos."""
    role = f"service_{name_in(empty_database)}"
    postgres_server.execute(f"CREATE ROLE {role} LOGIN")
    said(program, "ledger", "init")
    service = empty_database.replace(f"{ROLE}@", f"{role}@")
    use(program, service)
    assert "permission denied" in said(program, "ledger", "check", code=2)
    use(program, empty_database)
    assert f"{role} may use it" in said(program, "ledger", "init", "--grant", role)
    use(program, service)
    assert f"{role}, which reads and writes its rows" in said(program, "ledger", "check")
    program.base_url = backend.base_url
    said(program, "scan", card)
    assert len(list(card.glob("*.xmp"))) == 5
    with psycopg.connect(service, autocommit=True) as session:
        for statement in (
            b"CREATE TABLE taggerd.more (id int)",
            b"DROP TABLE taggerd.photos",
            b"ALTER TABLE taggerd.photos ADD more int",
            b"UPDATE taggerd.schema_versions SET version = 0",
            b"CREATE SCHEMA other",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute(statement)
    assert "does not own" in said(program, "ledger", "init", "--grant", role, code=2)


def test_a_schema_that_an_administrator_made_is_enough(
    program: Program, postgres_server: PostgresServer
) -> None:
    """A role that may create nothing in the database, but owns the schema, makes the tables."""
    postgres_server.execute("CREATE DATABASE owned OWNER postgres")
    url = postgres_server.address("owned")
    use(program, url)
    try:
        refused = said(program, "ledger", "init", code=2)
        assert "permission denied for database owned" in refused
        assert 'CREATE DATABASE "owned" OWNER "taggerd";' in refused
        postgres_server.execute(f"CREATE SCHEMA taggerd AUTHORIZATION {ROLE}", database="owned")
        said(program, "ledger", "init")
        assert "owns it" in said(program, "ledger", "check")
    finally:
        postgres_server.drop(url)


def _not_initialised(url: str) -> str:
    return url


def _newer(url: str) -> str:
    opening.init(url)
    with psycopg.connect(url) as session:
        session.execute(b"INSERT INTO taggerd.schema_versions (version, name) VALUES (999, 'new')")
    return url


def _older(url: str) -> str:
    opening.init(url)
    with psycopg.connect(url) as session:
        session.execute(b"UPDATE taggerd.schema_versions SET version = -version")
    return url


def _no_database(url: str) -> str:
    return url.replace(name_in(url), "missing")


def _no_role(url: str) -> str:
    return url.replace(f"{ROLE}@", f"stranger:{SECRET}@")


def _away(_url: str) -> str:
    return f"postgresql://{ROLE}:{SECRET}@127.0.0.1:1/x"


def _no_name(_url: str) -> str:
    return f"postgresql://{ROLE}:{SECRET}@nowhere.invalid/x"


def _nonsense(_url: str) -> str:
    return f"postgresql://{ROLE}:{SECRET}@host/x?nonsense=1"


TROUBLES: dict[str, tuple[Callable[[str], str], str]] = {
    "not initialised": (_not_initialised, "holds no ledger: taggerd ledger init"),
    "newer": (_newer, "made by a newer taggerd (schema 999"),
    "older": (_older, "taggerd ledger upgrade"),
    "no database": (_no_database, 'database "missing" does not exist'),
    "no role": (_no_role, 'role "stranger" does not exist'),
    "away": (_away, "the ledger's server cannot be used now"),
    "no name": (_no_name, "nowhere.invalid"),
    "nonsense": (_nonsense, "ledger.url is not understood: postgresql://USER@"),
}


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("command", [("ledger", "check"), ("scan",)])
def test_what_is_wrong_is_said_in_one_line(
    program: Program, empty_database: str, card: Path, trouble: str, command: tuple[str, ...]
) -> None:
    """Exit code 2, and nothing of a password."""
    make, text = TROUBLES[trouble]
    use(program, make(empty_database))
    arguments = (*command, card) if command == ("scan",) else command
    shown = said(program, *arguments, code=2)
    assert text in shown
    assert len(shown.splitlines()) == 1, shown


def test_the_extra_is_named_where_it_is_missing(program: Program, tmp_path: Path) -> None:
    """Without PostgreSQL's libraries a command says how to install them."""
    for module in ("psycopg", "procrastinate"):
        (tmp_path / f"{module}.py").write_text(f"raise ModuleNotFoundError(name={module!r})\n")
    environment = program.full_environment()
    environment["PYTHONPATH"] = f"{tmp_path}:{environment['PYTHONPATH']}"
    for command in (
        *(("ledger", each) for each in ("init", "check", "upgrade")),
        ("ledger", "move", "--to", "postgresql://host/name"),
        ("scan", "."),
        ("run", "--input-dir", "."),
    ):
        ended = subprocess.run(
            program.command(*command),
            env=environment,
            cwd=program.home,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert ended.returncode == 2, command
        said = [line for line in ended.stderr.splitlines() if "starting" not in line]
        assert said == ["taggerd: ledger.url needs psycopg: pip install 'taggerd[postgres]'"]


def test_a_program_that_runs_is_not_left_behind_by_an_upgrade(
    program: Program, empty_database: str, inbox: Path
) -> None:
    """An upgrade is refused while a program of the older version lives, and names its host."""
    opening.init(empty_database)
    program.start("--input-dir", inbox)
    with psycopg.connect(empty_database) as session:
        session.execute(b"UPDATE taggerd.schema_versions SET version = -version")
    refused = said(program, "ledger", "upgrade", code=2)
    assert "stop" in refused


# ── TLS and passwords ────────────────────────────────────────────────────────────────────────────


def _openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PostgresServer, Path]]:
    """Return a server that wants TLS and a password, and the authority that vouches for it."""
    if why := postgres.why_not():
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("tls")
    authority, key, request = folder / "ca.pem", folder / "ca.key", folder / "server.csr"
    short = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", 2)
    _openssl("req", "-x509", *short, "-subj", "/CN=test", "-keyout", key, "-out", authority)
    server_key, certificate = folder / "server.key", folder / "server.pem"
    _openssl("req", *short[:4], "-nodes", "-subj", f"/CN={NAME}", "-keyout", server_key,
             "-out", request)  # fmt: skip
    (folder / "names").write_text(f"subjectAltName=DNS:{NAME}\n")
    _openssl("x509", "-req", "-in", request, "-CA", authority, "-CAkey", key, "-CAcreateserial",
             "-days", 2, "-extfile", folder / "names", "-out", certificate)  # fmt: skip
    number = os.getpid()
    loopback = f"127.{number >> 16 & 127 | 64}.{number >> 8 & 255}.{number & 255 or 1}"
    server = PostgresServer(settings={"listen_addresses": loopback})
    for path in (server_key, certificate):
        copy = server.folder / "data" / path.name
        copy.write_bytes(path.read_bytes())
        copy.chmod(0o600)
        owner = (server.folder / "data").stat()
        os.chown(copy, owner.st_uid, owner.st_gid)
    server.execute(f"ALTER ROLE {ROLE} PASSWORD '{SECRET}'")
    for name, value in (("ssl_cert_file", "server.pem"), ("ssl_key_file", "server.key")):
        server.execute(f"ALTER SYSTEM SET {name} = '{value}'")
    server.execute("ALTER SYSTEM SET ssl = on")
    access = server.folder / "data" / "pg_hba.conf"
    access.write_text("local all all trust\nhostssl all all all scram-sha-256\n")
    server.restart()
    server.loopback = loopback  # type: ignore[attr-defined]
    yield server, authority
    server.close()


def test_tls_with_a_server_that_is_verified(
    taggerd: Program, guarded: tuple[PostgresServer, Path]
) -> None:
    """verify-full with the right authority and name works, and check says so; nothing less does."""
    server, authority = guarded
    name = name_in(server.empty())
    loopback = server.loopback  # type: ignore[attr-defined]

    def address(host: str = NAME, secret: str = SECRET, root: Path | str = authority) -> str:
        return (
            f"postgresql://{ROLE}:{secret}@{host}/{name}?hostaddr={loopback}"
            f"&sslmode=verify-full&sslrootcert={root}"
        )

    use(taggerd, address())
    assert f"postgresql://{ROLE}@{NAME}/{name}: schema" in said(taggerd, "ledger", "init")
    assert "TLSv1.3, server verified" in said(taggerd, "ledger", "check")
    assert SECRET not in said(taggerd, "config", "show")
    other = authority.with_name("other.pem")
    _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-subj", "/CN=other", "-keyout", other.with_suffix(".key"), "-out", other)  # fmt: skip
    for url, text in (
        (address(host="other.test"), "does not match host name"),
        (address(root=other), "certificate verify failed"),
        (address(secret="wrong"), "password authentication failed"),
        (address().replace("verify-full", "disable"), "no encryption"),
    ):
        use(taggerd, url)
        assert text in said(taggerd, "ledger", "check", code=2)
        assert text in said(taggerd, "run", "--input-dir", authority.parent, code=2)
    use(taggerd, address().replace(f":{SECRET}", ""))
    taggerd.environment["PGPASSWORD"] = SECRET
    said(taggerd, "ledger", "check")
    taggerd.environment["PGPASSWORD"] = "wrong"
    said(taggerd, "ledger", "check", code=2)
