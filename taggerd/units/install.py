"""``taggerd service install`` and ``uninstall``: the steps, in order."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from taggerd.errors import ConfigurationError
from taggerd.photo import printable
from taggerd.units.accounts import Account, account, my_account
from taggerd.units.dropin import MARK, NAME, program_of, unquoted
from taggerd.units.folders import writable_folder
from taggerd.units.installation import Change, Installation, Wanted, make_users, unit_text
from taggerd.units.kinds import MACHINE_USER, Kind, ServiceUnit
from taggerd.units.program import program
from taggerd.units.systemctl import ServiceFailed, Systemctl, command

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LINGER = Path("/var/lib/systemd/linger")
"""Holds a file for each user whose systemd runs without a login (loginctl enable-linger)."""
_LOG_LINES = "15"


@dataclass(frozen=True, slots=True)
class Choice:
    """Which service a person means."""

    user: str | None = None
    """``--user``."""
    system: bool = False
    """``--system``."""
    prefix: Path = Path("/")

    def new(self) -> Kind:
        """Return the kind of service to install.

        Raises:
            ConfigurationError: it is not said which, or root alone may.
        """
        if self.user is not None and self.system:
            message = "--user and --system exclude each other: as a person, or as its own user"
            raise ConfigurationError(message)
        kind = Kind.PERSON if self.user else Kind.MACHINE if self.system else Kind.SESSION
        if kind is Kind.SESSION and os.geteuid() == 0:
            person = os.environ.get("SUDO_USER", "NAME")
            message = (
                f"whose photos? --user {printable(person)} for a service that runs as that person, "
                "--system for one with a user of its own"
            )
            raise ConfigurationError(message)
        return kind

    def existing(self) -> ServiceUnit:
        """Return the service that is meant, of those that are there.

        Raises:
            ConfigurationError: none or several are.
        """
        if self.user is not None or self.system:
            kind = self.new()
            return ServiceUnit(kind, account(self.user or MACHINE_USER), self.prefix)
        found = self._found()
        if len(found) == 1:
            return found[0]
        if found:
            lines = [f"{each.name}: taggerd service …{each.switches}" for each in found]
            message = "\n".join(["several services are installed: say which", *lines])
        else:
            message = "no service is installed: taggerd service install, see README"
        raise ConfigurationError(message)

    def _found(self) -> list[ServiceUnit]:
        me = my_account()
        people = [me]
        if me.uid == 0:
            folder = self.prefix / "etc" / "systemd" / "system"
            names = [p.parent.name for p in folder.glob(f"taggerd@*.service.d/{NAME}")]
            people = [account(n.removeprefix("taggerd@").removesuffix(".service.d")) for n in names]
        units = [ServiceUnit(Kind.PERSON, each, self.prefix) for each in people]
        if me.uid:
            own = [ServiceUnit(Kind.SESSION, me, self.prefix), *units]
            if found := [unit for unit in own if is_there(unit)]:
                return found  # the machine's is not what they mean
            units = []
        with suppress(ConfigurationError):  # no such user, no such service
            units.append(ServiceUnit(Kind.MACHINE, account(MACHINE_USER), self.prefix))
        return [unit for unit in units if is_there(unit)]


def is_there(unit: ServiceUnit) -> bool:
    """Say whether a service was installed, by this program or with the package."""
    if any((folder / NAME).exists() for folder in unit.drop_ins.values()):
        return True
    return unit.systemctl.says("is-enabled", "--", unit.name) == "enabled"


def can_install(run: Path = Path("/run")) -> bool:
    """Say whether this user's own session can have the service."""
    try:
        kind = Choice().new()
        Systemctl(of_session=kind is Kind.SESSION).refuse_unless_there(run)
    except ConfigurationError:
        return False
    return True


def install(
    choice: Choice,
    roots: Sequence[Path],
    say: Callable[[str], None],
    *,
    dry_run: bool = False,
    run: Path = Path("/run"),
) -> None:
    """Install a service, start it and wait until it is ready; once more, and nothing changes.

    Args:
        choice: which one.
        roots: import folders for settings that name none yet.
        say: prints a line for people.
        dry_run: only say what would be done.
        run: ``/run``.

    Raises:
        ConfigurationError: it would not work; why, and what to do.
        ServiceFailed: systemd refuses, or the service does not start.
    """
    kind, command_line = choice.new(), program()
    _refuse_request(kind, command_line, choice, roots)
    Systemctl(of_session=kind is Kind.SESSION).refuse_unless_there(run)
    who = _account(kind, choice, say, dry_run=dry_run)
    if who is None:
        return
    unit = ServiceUnit(kind, who, choice.prefix)
    installation = Installation(unit, command_line)
    installation.refuse_what_cannot_work()
    wanted = installation.wanted()
    if dry_run:
        _say_what_would_change(installation, wanted, roots, say)
        return
    if installation.add_roots(roots, wanted):
        say(f"set arrivals.roots = {', '.join(map(str, roots))}")
        wanted = installation.wanted()
    if not wanted.roots:
        message = f"which import folders? taggerd service install{unit.switches} FOLDER …"
        raise ConfigurationError(message)
    for note in installation.refuse_unwritable(wanted):
        say(f"note: {note}")
    for line in installation.check(wanted).splitlines():
        say(line)
    if _start(installation, wanted, say):
        for hint in _hints(unit):
            say(hint)


def uninstall(unit: ServiceUnit, say: Callable[[str], None], *, dry_run: bool = False) -> None:
    """Stop a service and remove what :func:`install` wrote; photos and state stay.

    Raises:
        ConfigurationError: root alone may.
        ServiceFailed: systemd refuses.
    """
    if unit.kind is not Kind.SESSION and os.geteuid() != 0 and not dry_run:
        message = f"root alone may: sudo {printable(program())} service uninstall{unit.switches}"
        raise ConfigurationError(message)
    changes = [
        Change(folder / NAME, None) for folder in unit.drop_ins.values() if (folder / NAME).exists()
    ]
    changes += [Change(path, None) for path in _files_left_by(unit) if _is_ours(path)]
    if not changes and not is_there(unit):
        say(f"{unit.name} is not installed")
        return
    if dry_run:
        say(f"disable {unit.name}")
        for change in changes:
            say(change.line)
        return
    for name in filter(None, (unit.timer, unit.name)):
        if unit.systemctl.property(name, "LoadState") == "loaded":
            unit.systemctl.tell("disable", "--now", "--", name)
    for change in changes:
        change.make()
        say(change.line)
    unit.systemctl.tell("daemon-reload")
    unit.systemctl.says("reset-failed", "--", unit.name)
    state = unit.state_directory
    kept = f"the state in {state}" if state and state.exists() else "the state"
    say(f"{unit.name} is removed; kept: photos, sidecars, settings, {kept}")


def lag(unit: ServiceUnit) -> list[Change]:
    """Return which files no longer fit the settings; none if this user cannot know.

    Raises:
        ConfigurationError: the settings are wrong.
    """
    if not (unit.account.is_mine or os.geteuid() == 0):
        return []
    installation = Installation(unit, _installed_program(unit))
    return installation.changes(installation.wanted()) if installation.is_installed else []


def _installed_program(unit: ServiceUnit) -> Path:
    """Return the command that the service starts, which may be another user's taggerd."""
    for name, folder in unit.drop_ins.items():
        with suppress(OSError):
            text = (folder / NAME).read_text(encoding="utf-8", errors="replace")
            if found := program_of(text) or program_of(unit_text(unit, name)):
                return Path(unquoted(found).replace("%h", str(unit.account.home)))
    return program()


def _refuse_request(kind: Kind, command_line: Path, choice: Choice, roots: Sequence[Path]) -> None:
    """Refuse what this user may not install, and folders that are not there."""
    for root in roots:
        if not root.is_dir():
            message = f"{printable(root)}: no such folder: create it, mount it or correct the path"
            raise ConfigurationError(message)
    if kind is Kind.SESSION or os.geteuid() == 0:
        return
    switch = "--system" if choice.system else f"--user {choice.user}"
    words = " ".join(str(root) for root in roots)
    message = (
        f"root alone may install a service of the machine: sudo {printable(command_line)} service "
        f"install {printable(switch)} {printable(words)}".rstrip()
    )
    if kind is Kind.PERSON and choice.user == my_account().name:
        message += "; without --user it becomes a service of your own session"
    raise ConfigurationError(message)


def _account(
    kind: Kind, choice: Choice, say: Callable[[str], None], *, dry_run: bool
) -> Account | None:
    if kind is Kind.SESSION:
        return my_account()
    person = account(choice.user) if choice.user else None
    make_users(choice.prefix, choice.user, say, dry_run=dry_run)
    if person is None and dry_run:
        with suppress(ConfigurationError):
            return account(MACHINE_USER)
        return None  # what it may read and write is known when there is such a user
    return person or account(MACHINE_USER)


def _say_what_would_change(
    installation: Installation, wanted: Wanted, roots: Sequence[Path], say: Callable[[str], None]
) -> None:
    """Say what an installation would do."""
    if new := [root for root in roots if root not in wanted.roots]:
        say(f"set arrivals.roots = {', '.join(map(str, new))}")
        wanted = replace(wanted, roots=(*wanted.roots, *new))
    for change in installation.changes(wanted):
        say(change.line)
        for line in (change.text or "").splitlines() if change.path.name == NAME else []:
            say(f"    {line}")
    say(f"enable {installation.unit.name}")


def _start(installation: Installation, wanted: Wanted, say: Callable[[str], None]) -> bool:
    """Write what has to change, and wait until the service is ready; say whether anything did."""
    unit, systemctl = installation.unit, installation.unit.systemctl
    changes, was_there = installation.changes(wanted), installation.is_installed
    if was_there and any(change.path.name == NAME for change in changes):
        say("settings or program changed since the installation: the drop-in follows")
    _write(installation, wanted, changes, say)
    if changes:
        systemctl.tell("daemon-reload")
    systemctl.tell("enable", "--", unit.name)
    is_up = systemctl.property(unit.name, "ActiveState") == "active"
    try:
        if changes or not is_up:
            say("waiting until it is ready")
            systemctl.tell("restart", "--", unit.name)
    except ServiceFailed as error:
        for line in log_lines(unit):
            say(line)
        again = f"taggerd service logs{unit.switches}"
        message = f"{unit.name} does not start; the lines above say why ({again})"
        raise ServiceFailed(message) from error
    say(f"{unit.name}: {systemctl.property(unit.name, 'StatusText') or 'ready'}")
    return bool(changes)


def _write(
    installation: Installation,
    wanted: Wanted,
    changes: Sequence[Change],
    say: Callable[[str], None],
) -> None:
    """Make *changes*, and the folders that the service expects."""
    unit = installation.unit
    for change in changes:
        change.make()
        say(change.line)
    if unit.kind is Kind.SESSION:
        # A folder that is missing when the service starts cannot be made in a read-only home.
        wanted.state_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for root in wanted.roots if changes else ():
        folder = writable_folder(root, unit.account.home)
        say(f"may write to {printable(folder)} (import folder {printable(root)})")
    for name, path in unit.files.items():
        if name.startswith("tmpfiles.d"):
            present = path if path.exists() else unit.packaged(name)
            command("systemd-tmpfiles", "--create", present)


def log_lines(unit: ServiceUnit) -> list[str]:
    """Return the last lines of a service's log."""
    words = journal(unit, "--lines", _LOG_LINES, "--no-pager", "--quiet", "--output", "cat")
    return Systemctl.printed(words)


def journal(unit: ServiceUnit, *arguments: str) -> list[str]:
    """Return the command line that prints a service's log."""
    switch = "--user-unit" if unit.kind is Kind.SESSION else "--unit"
    return ["journalctl", f"{switch}={unit.name}", *arguments]


def _hints(unit: ServiceUnit) -> list[str]:
    hints = []
    if unit.kind is Kind.SESSION and not (LINGER / unit.account.name).exists():
        hints.append(
            "it starts when you log in and ends when you log out; to run without a login: "
            "loginctl enable-linger"
        )
    if unit.timer:
        hints.append(f"to scan every night as well: systemctl enable --now {unit.timer}")
    return hints


def _files_left_by(unit: ServiceUnit) -> list[Path]:
    """Return the files that no other service uses once *unit* is gone."""
    kinds = [Kind.SESSION] if unit.kind is Kind.SESSION else [Kind.PERSON, Kind.MACHINE]
    units = [ServiceUnit(kind, unit.account, unit.prefix) for kind in kinds]
    own = {folder / NAME for folder in unit.drop_ins.values()}
    others = [path.parent.name for path in unit.folder.glob(f"*/{NAME}") if path not in own]
    persons = [name for name in others if name.startswith("taggerd@")]
    machines = [name for name in others if name == "taggerd.service.d"]
    in_use = {Kind.SESSION: [], Kind.PERSON: persons, Kind.MACHINE: machines}
    used = {path for each in units if in_use[each.kind] for path in each.files.values()}
    files = dict.fromkeys(path for each in units for path in each.files.values())
    return [path for path in files if path not in used]


def _is_ours(path: Path) -> bool:
    try:
        return path.read_text(encoding="utf-8", errors="replace").startswith(MARK)
    except OSError:
        return False
