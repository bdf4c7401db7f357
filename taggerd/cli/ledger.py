"""``taggerd ledger``: look after the queue and the answers."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taggerd.cli import instances, options
from taggerd.errors import ConfigurationError, StartError
from taggerd.ledger import back_up
from taggerd.photo import printable

if TYPE_CHECKING:
    from taggerd.settings import Settings

app = typer.Typer(
    help="Look after the queue and the answers: back up, share, move.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
EMBEDDED = "embedded"
"""What ``move --to`` calls the ledger in the state directory."""


@app.command("backup")
@options.configured(options.STATE)
def backup(
    load: options.Load,
    file: Annotated[Path, typer.Argument(help="The new file.", metavar="FILE", readable=False)],
    *,
    instance: instances.Name = None,
) -> None:
    """Copy the ledger into FILE, while the service runs, and check the copy.

    FILE must not exist. It holds which photos were seen, wait, failed and were answered, and the
    answers; photos and sidecars are not in it. To restore it: stop the service, remove
    ledger.sqlite-wal and ledger.sqlite-shm in the state directory, copy FILE to ledger.sqlite
    there, and start the service. A ledger in PostgreSQL is backed up with pg_dump.
    """
    at = instances.target(load, load(log_level="error"), instance, reads_only=True)
    if at.settings.ledger.url is not None:
        message = "ledger.url is a PostgreSQL database: back it up with pg_dump --schema=taggerd"
        raise ConfigurationError(message)
    (target,) = options.absolute([file])
    made = back_up(at.settings.state_directory, target)
    counts = made.counts
    typer.echo(
        f"{printable(target)}: {made.size / 1e6:.1f} MB, checked; {counts.queued} queued, "
        f"{counts.recorded} tagged, {counts.quarantined} failed"
    )


@app.command("init")
@options.configured()
def init(
    load: options.Load,
    *,
    role: Annotated[
        str | None,
        typer.Option(
            "--grant",
            help="Let this role, too, use the ledger: it may read and write its rows alone.",
            metavar="ROLE",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Make the ledger in the PostgreSQL database of ledger.url, in a schema of its own.

    The role needs the right to create schemas in the database, or to own the schema taggerd; no
    superuser, no extension. May be run again, and by several machines at once.
    """
    from taggerd.ledger.postgres import administration, opening  # noqa: PLC0415 - an extra

    url = _url(load(log_level="error").settings)
    try:
        made = opening.init(url)
    except StartError as error:
        message = f"{error}\nwhat its administrator runs first: {administration.preparation(url)}"
        raise StartError(message) from error
    if role is not None:
        administration.grant(url, role)
    what = "made" if made else "was there already"
    granted = f"; {role} may use it" if role else ""
    typer.echo(f"{administration.shown(url)}: schema {opening.newest_version()} {what}{granted}")


@app.command("check")
@options.configured()
def check(load: options.Load) -> None:
    """Say what the ledger of ledger.url is like: versions, rights, TLS, clocks, roots.

    Ends with exit code 2 where it cannot be used, and says why. Changes nothing.
    """
    from taggerd.ledger.postgres import administration, opening  # noqa: PLC0415 - an extra

    it = administration.about(_url(load(log_level="error").settings))
    rights = "owns it" if it.owns else "reads and writes its rows"
    tls = it.tls or ("none: on this machine" if it.is_local else "NONE: use sslmode=verify-full")
    warning = "; a superuser: it needs no such rights" if it.superuser else ""
    ahead = it.ahead_seconds
    clock = "like this machine's" if abs(ahead) < 1 else f"{abs(ahead):.0f} s "
    clock += "" if abs(ahead) < 1 else ("ahead" if ahead > 0 else "behind") + " of this machine's"
    roots = [f"{printable(root)} {n} folders" for root, n in it.roots.items()]
    rows = {
        "ledger": f"{it.address}, PostgreSQL {it.server}",
        "schema": f"{it.schema}, this taggerd's is {opening.newest_version()}",
        "role": f"{it.role}, which {rights}{warning}",
        "TLS": tls,
        "clock": clock,
        "roots": "; ".join(roots) or "none yet",
        "moved": it.away,
    }
    for name, text in rows.items():
        if text:
            typer.echo(f"{name:<9}{text}")
    if it.away:
        raise typer.Exit(StartError.exit_code)


@app.command("upgrade")
@options.configured()
def upgrade(load: options.Load) -> None:
    """Bring the ledger of ledger.url up to this version: all of it, or nothing.

    No program may use it meanwhile; those that do are named. Needs the role that owns it.
    """
    from taggerd.ledger.postgres import administration, opening  # noqa: PLC0415 - an extra

    url = _url(load(log_level="error").settings)
    done = "brought up to" if opening.upgrade(url) else "has"
    typer.echo(f"{administration.shown(url)}: {done} schema {opening.newest_version()}")


@app.command("move")
@options.configured(options.STATE)
def move(
    load: options.Load,
    *,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            help="postgresql://USER@HOST/DATABASE, made by init and empty; or embedded: from "
            "ledger.url into the state directory. Keep a password out of it: other users see it "
            "in the process list; ~/.pgpass and PGPASSWORD are read.",
            metavar="ADDRESS",
        ),
    ],
) -> None:
    """Move the ledger into a PostgreSQL database, or back: whole or not at all.

    Nothing may use either meanwhile. Rows are copied in one transaction, read back and compared.
    The old file is kept under another name, and is not opened by mistake. Paths below import
    folders that have a name are kept by it. Run it again if it was cut short.
    """
    from taggerd.ledger.postgres import administration  # noqa: PLC0415 - an extra
    from taggerd.ledger.postgres.move import move_in, move_out, opened  # noqa: PLC0415 - likewise
    from taggerd.ledger.postgres.naming import Naming  # noqa: PLC0415 - likewise

    settings = load(log_level="error").settings
    directory = settings.state_directory
    naming = Naming(settings.service.host_name, settings.arrivals.named)
    if to == EMBEDDED:
        url = _url(settings)
        with opened(url) as connection:
            moved = move_out(directory, connection, naming, time.time())
        where = f"{printable(directory)}: now remove ledger.url"
    elif to.startswith(("postgresql://", "postgres://")):
        shown = administration.shown(to)
        with opened(to) as connection:
            moved = move_in(directory, connection, naming, shown, time.time())
        where = f"{shown}: now set ledger.url; the old file is {moved.kept}"
    else:
        message = "--to must be embedded, or begin with postgresql://"  # it may hold a password
        raise ConfigurationError(message)
    typer.echo(f"{moved.photos} photos and {moved.answers} answers are in {where}")


def _url(settings: Settings) -> str:
    """Return ``ledger.url``.

    Raises:
        ConfigurationError: it is not set.
    """
    if settings.ledger.url is None:
        message = "ledger.url is not set: the ledger is a file in the state directory"
        raise ConfigurationError(message)
    return settings.ledger.url.get_secret_value()
