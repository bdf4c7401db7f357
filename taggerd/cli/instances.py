"""On which running service a command acts."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taggerd.daemon import instances
from taggerd.errors import ConfigurationError
from taggerd.photo import printable
from taggerd.services import has_ledger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taggerd.cli import options
    from taggerd.daemon.instances import Instance
    from taggerd.settings import Settings
    from taggerd.settings.configuration import Configuration

Name = Annotated[
    str | None,
    typer.Option(
        "--instance",
        help="The running service to act on, where there are several.",
        metavar="NAME|PID",
        show_default=False,
    ),
]


@dataclass(frozen=True, slots=True)
class Target:
    """What a command acts on."""

    settings: Settings
    """Those in force, with the state directory of the service that was chosen."""
    others: tuple[Instance, ...] = ()
    """The other services that run."""
    foreign: bool = False
    """Whether the service has another state directory than the settings say."""

    @property
    def pid(self) -> int | None:
        """The process id of the daemon; None if none runs."""
        return instances.daemon_of(self.settings.state_directory)


def target(
    load: options.Load,
    loaded: Configuration,
    name: str | None,
    found: Sequence[Instance] | None = None,
    *,
    reads_only: bool = False,
) -> Target:
    """Choose the service to act on; where it is not the settings' own, say so on stderr.

    A state directory that is named in the command, its settings file or the environment outranks
    all. Then *name* chooses; then the settings' own service if it runs; then the only one that
    runs.

    Args:
        load: the switches of the command.
        loaded: the settings in force.
        name: ``--instance``.
        found: the services that run; default: those of this machine.
        reads_only: where the only service may not be used, settle for the own state if there is
            one.

    Raises:
        ConfigurationError: none or several fit, or the one may not be used by this user.

    """
    settings = loaded.settings
    running = tuple(instances.running() if found is None else found)
    if name is not None:
        if "state_directory" in load.given:
            message = "--instance and --state-directory exclude each other: give one of the two"
            raise ConfigurationError(message)
        return _of(_named(name, running), running, settings)
    own = settings.state_directory
    others = tuple(each for each in running if not each.has(own))
    if _is_explicit(load, loaded) or not others or instances.daemon_of(own) is not None:
        return Target(settings, others)
    # Those of other users are named, but never stand in the way of one's own.
    fitting = tuple(each for each in others if each.writable) or others
    if reads_only and not fitting[0].writable and has_ledger(settings):
        return Target(settings, others)
    if len(fitting) > 1:
        raise ConfigurationError(_choice("several services run", others))
    return _of(fitting[0], running, settings)


def _is_explicit(load: options.Load, loaded: Configuration) -> bool:
    """Say whether somebody named the state directory for this very command."""
    named = {"command line", "environment", "$STATE_DIRECTORY", str(load.config)}
    return loaded.origins["state_directory"] in named


def _named(name: str, running: Sequence[Instance]) -> Instance:
    """Return the one instance of that name."""
    fitting = [each for each in running if each.answers_to(name)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise ConfigurationError(_choice(f"several services are called {name}", fitting))
    what = f"--instance {name}: no such service runs"
    raise ConfigurationError(_choice(what, running) if running else what)


def _choice(what: str, fitting: Sequence[Instance]) -> str:
    known = (instances.line_of(each) for each in fitting)
    return "\n".join([f"{what}: choose one with --instance NAME or PID", *known])


def _of(instance: Instance, running: Sequence[Instance], settings: Settings) -> Target:
    """Return *settings* as those of *instance*."""
    others = tuple(each for each in running if each is not instance)
    if not instance.writable:
        message = (
            f"the service of {instance.user} keeps its state in "
            f"{printable(Path(instance.state_directory))}, which you may not use: "
            f"{printable(sudo_line(instance, sys.argv[1:]))}"
        )
        raise ConfigurationError(message)
    if instance.has(settings.state_directory):
        return Target(settings, others)
    state = Path(instance.state_directory)
    typer.echo(f"using the running service's state in {printable(state)}", err=True)
    journal = settings.journal.model_copy(update={"directory": Path(instance.outputs)})
    changed = settings.model_copy(update={"state_directory": state, "journal": journal})
    return Target(changed, others, foreign=True)


def sudo_line(instance: Instance, arguments: Sequence[str]) -> str:
    """Return the command line with which the instance's user does the same."""
    kept, words = [], iter(arguments)
    for word in words:
        if word == "--instance":
            next(words, None)
        elif not word.startswith("--instance="):
            kept.append(word)
    # Before the arguments: behind a "--" it would be one of them.
    state = ["--state-directory", os.fspath(instance.state_directory)]
    return shlex.join(["sudo", "-u", instance.user, "taggerd", *kept[:1], *state, *kept[1:]])
