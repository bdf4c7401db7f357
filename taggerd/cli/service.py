"""``taggerd service``: systemd runs the daemon, without a package."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from taggerd.cli import options
from taggerd.errors import ConfigurationError
from taggerd.photo import printable
from taggerd.units import Choice, ServiceUnit, install, journal, lag, uninstall

DOWN, DEGRADED = 3, 1
"""Exit codes of ``status``, as of ``taggerd status``."""

app = typer.Typer(
    help="Install, remove and look at the service that systemd runs.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

User = Annotated[
    str | None,
    typer.Option(help="Run as this person, by the machine's systemd.", metavar="NAME"),
]
System = Annotated[
    bool, typer.Option("--system", help="Run as a user of its own, taggerd, for the machine.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]


@app.command("install")
def install_(
    roots: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Import folders; default: arrivals.roots.", metavar="ROOT", show_default=False
        ),
    ] = None,
    *,
    user: User = None,
    system: System = False,
    dry_run: DryRun = False,
) -> None:
    """Install the service, start it, and wait until it is ready.

    Without a switch it belongs to your own session and needs no root. It may write to nothing but
    the import folders: after a change of arrivals.roots say this again. To do so twice changes
    nothing.
    """
    install(Choice(user, system), options.absolute(roots or []), typer.echo, dry_run=dry_run)


@app.command("uninstall")
def uninstall_(*, user: User = None, system: System = False, dry_run: DryRun = False) -> None:
    """Stop the service and remove its files.

    Photos, sidecars, settings, queue and answers stay.
    """
    uninstall(Choice(user, system).existing(), typer.echo, dry_run=dry_run)


@app.command()
def status(*, user: User = None, system: System = False) -> int:
    """Show whether the service is installed and runs.

    Exit code 0: it runs; 1: it does, but its files do not fit the settings; 3: it does not run.
    taggerd status shows its work.
    """
    unit = Choice(user, system).existing()
    enabled = unit.systemctl.says("is-enabled", "--", unit.name) or "not installed"
    state = unit.systemctl.property(unit.name, "ActiveState") or "unknown"
    text = unit.systemctl.property(unit.name, "StatusText")
    typer.echo(f"{unit.name}: {state}, {enabled}{f': {text}' if text else ''}")
    late = _late(unit)
    return DOWN if state != "active" else DEGRADED if late else 0


@app.command(context_settings={"ignore_unknown_options": True})
def logs(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            help="More for journalctl, e.g. --since today, -p warning, TAGGERD_PHOTO=….",
            metavar="ARGUMENT",
            show_default=False,
        ),
    ] = None,
    *,
    user: User = None,
    system: System = False,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with new lines until Ctrl-C.")
    ] = False,
) -> None:
    """Show the service's log, by journalctl."""
    unit = Choice(user, system).existing()
    words = journal(unit, *(["--follow"] if follow else []), *(arguments or []))
    try:
        os.execvp(words[0], words)  # noqa: S606 - it takes our place, terminal and exit code
    except OSError as error:
        message = f"{words[0]} cannot be run: {error.strerror}"
        raise ConfigurationError(message) from error


def _late(unit: ServiceUnit) -> bool:
    """Say on stderr which files do not fit the settings any more."""
    try:
        changes = lag(unit)
    except ConfigurationError as error:
        typer.echo(f"taggerd: {error}", err=True)
        return True
    for change in changes:
        typer.echo(
            f"taggerd: {printable(change.path)} does not fit the settings any more", err=True
        )
    if changes:
        typer.echo(f"taggerd: say taggerd service install{unit.switches}", err=True)
    return bool(changes)
