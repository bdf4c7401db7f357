"""The commands by name: what ``taggerd --help`` says of each, and which function it is.

A command's module is imported when the command is called: all of them load most of the program,
which takes a second that ``--help``, the shell's completion and ``status`` do without.
"""

from __future__ import annotations

import gc
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, NamedTuple

import typer
from typer.core import TyperGroup

from taggerd import __version__
from taggerd.docs import topics

if TYPE_CHECKING:
    from collections.abc import Container

    from typer.core import TyperCommand


class Command(NamedTuple):
    """A command that need not be imported to be listed."""

    where: str
    """``MODULE:NAME`` in this package: its function, or the Typer of a group."""
    help: str
    """The first paragraph of its own help."""


COMMANDS = {
    "setup": Command(
        "setup:setup",
        "Set taggerd up: a few questions, a preview of five photos, and the settings are written.",
    ),
    "run": Command("run:run", "Watch the import folders and tag what arrives."),
    "scan": Command("scan:scan", "Tag the photos below PATH that have no tags yet."),
    "compare": Command(
        "compare:compare",
        "Ask several models or prompts about the same photos, and show their words side by side.",
    ),
    "preflight": Command("preflight:preflight", "Check whether the backend can be used."),
    "status": Command(
        "status:status", "Show the service's health, queue, backend, folders and today's counts."
    ),
    "retry": Command("retry:retry", "Put failed photos back into the queue."),
    "pause": Command("pause:pause", "Stop the daemon from sending requests for a while."),
    "resume": Command("pause:resume", "End the pause."),
    "accept": Command("accept:accept", "Write the words that wait to be accepted (review.hold)."),
    "show": Command("show:show", "Show whose words photos carry and what programs display."),
    "undo": Command("undo:undo", "Remove taggerd's words; yours stay."),
    "rewrite": Command(
        "rewrite:rewrite",
        "Apply changed settings to tagged photos, from stored answers and without a request.",
    ),
    "adopt": Command("adopt:adopt", "Take words that another tagger wrote for taggerd's own."),
    "suggestions": Command(
        "suggestions:suggestions",
        "Show what your corrections suggest: keywords to stop, synonyms, captions as examples.",
    ),
    "report": Command(
        "report:report",
        "Rebuild a day's summary, metrics and page, with its photos as CSV and JSON Lines.",
    ),
    "metrics": Command(
        "metrics:metrics",
        "Show photos, speed and times of each day, and of each run with its models.",
    ),
    "list-registry": Command("list_registry:list_registry", "List the models of the registry."),
    "slot": Command("slot:slot", "Run COMMAND within the limit on backend requests."),
    "web": Command("web:web", "Review photos in the browser."),
    "version": Command(
        "version:version",
        "Show the version; with --verbose everything that a report of a fault should name.",
    ),
    "help": Command("topics:show_topic", "Show a chapter of the documentation."),
    "config": Command("config:app", "Write, show and check the settings."),
    "ledger": Command("ledger:app", "Look after the queue and the answers: back up, share, move."),
    "service": Command("service:app", "Install, remove and look at the service that systemd runs."),
}
"""In the order of ``taggerd --help``; groups last, as Typer has them."""


class _Program(TyperGroup):
    """The program, whose commands are imported when they are called."""

    def resolve_command(
        self,
        ctx: Any,  # noqa: ANN401 - Typer exports no type for it
        args: list[str],
    ) -> tuple[str | None, Any, list[str]]:
        """Return the command that *args* begin with, and the rest."""
        name, found, rest = super().resolve_command(ctx, args)
        command = found and loaded(str(name))
        if not gc.isenabled():  # see __main__.py
            gc.freeze()  # or the end of the process looked through all modules three times
            gc.enable()
        return name, command, rest


def program(*, whole: bool = True) -> typer.Typer:
    """Return the program; unless *whole*, its commands are names with one line of help."""
    return _program(COMMANDS if whole else ())


def loaded(name: str) -> TyperCommand:
    """Return the command *name*, imported."""
    group = typer.main.get_command(_program({name}))
    command: TyperCommand = group.commands[name]  # type: ignore[attr-defined]  # there is more than one command
    return command


def _program(imported: Container[str]) -> typer.Typer:
    """Return the program with the commands *imported*, and the names of the others."""
    app = typer.Typer(
        name="taggerd",
        cls=_Program,
        help="Tags photos as they arrive: captions, keywords and descriptions in XMP sidecars.",
        epilog=f"taggerd help TOPIC explains one of: {', '.join(topics())}.",
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name, command in COMMANDS.items():
        if name not in imported:
            app.command(name, help=command.help)(_not_imported)
        elif isinstance(it := resolve_name(f"{__package__}.{command.where}"), typer.Typer):
            app.add_typer(it, name=name)
        else:
            app.command(name)(it)
    return app


def _not_imported() -> None:
    """Stand for a command that is only listed."""


def _version(value: bool) -> None:  # noqa: FBT001 - the form Typer calls
    if value:
        typer.echo(f"taggerd {__version__}")
        raise typer.Exit


def _root(
    *,
    version: bool = typer.Option(
        False,  # noqa: FBT003 - the form Typer wants
        "--version",
        callback=_version,
        is_eager=True,
        help="Show the version.",
    ),
) -> None:
    """Tag photos as they arrive: captions, keywords and descriptions in XMP sidecars."""
