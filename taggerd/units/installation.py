"""Installs a service: which files have to change, and the steps around them."""

from __future__ import annotations

import grp
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taggerd.errors import ConfigurationError
from taggerd.photo import printable
from taggerd.units.addresses import addresses
from taggerd.units.dropin import MARK, NAME, drop_in, program_of, quoted
from taggerd.units.files import shipped
from taggerd.units.folders import may_be_remade, writable_folder
from taggerd.units.kinds import MACHINE_USER, Kind, ServiceUnit
from taggerd.units.program import what_it_needs
from taggerd.units.systemctl import ServiceFailed, command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence


_FOLDERS = ("arrivals.release_to", "journal.directory")
_FILES = ("metrics.textfile", "metrics.listen")
"""Settings other than the import folders that name what a service writes to."""
SYSTEM_FILE = "etc/taggerd/taggerd.toml"
_MODE = 0o644
_SLOTS = "taggerd-slots"
"""The group that shares the slots of a backend."""
_PRIVATE = ("tmp", "var/tmp")
"""Folders of which a service has its own."""
_NO_EXEC = ("srv", "mnt", "media", "run", "var")
"""Folders whose files the shipped units do not let run."""
_HOMES = ("home", "root")
_HIDDEN = (*_HOMES, "run/user", *_PRIVATE)
"""Folders that a service of the machine's own user does not see."""


@dataclass(frozen=True, slots=True)
class Change:
    """A file that has to change."""

    path: Path
    text: str | None
    """What is to stand in it; None: it has to go."""

    def make(self) -> None:
        """Write or remove the file.

        Raises:
            ServiceFailed: the system's reason.
        """
        try:
            if self.text is None:
                self.path.unlink(missing_ok=True)
                with suppress(OSError):  # others have drop-ins there
                    if self.path.name == NAME:
                        self.path.parent.rmdir()
                return
            self.path.parent.mkdir(parents=True, exist_ok=True)
            new = self.path.with_name(f".{self.path.name}.new")
            new.write_text(self.text, encoding="utf-8")
            new.chmod(_MODE)
            new.replace(self.path)
        except OSError as error:
            message = f"{printable(self.path)}: cannot be written: {error.strerror}"
            raise ServiceFailed(message) from error

    @property
    def line(self) -> str:
        """What is done, for people."""
        return f"{'remove' if self.text is None else 'write'} {printable(self.path)}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the settings of a service's user say."""

    roots: tuple[Path, ...]
    state_directory: Path
    keeps_state: bool
    """Whether the state stays there: it is set, or there is a ledger already."""
    others: tuple[Path, ...]
    """More that it writes to."""
    addresses: tuple[str, ...] | None
    """Other machines that it asks; None: they are not known."""
    in_system_file: bool
    """Whether any setting comes from ``/etc/taggerd/taggerd.toml``."""


@dataclass(frozen=True, slots=True)
class Installation:
    """A service, and the program that it is to run."""

    unit: ServiceUnit
    program: Path

    # ---- what is so, and what should be

    def wanted(self) -> Wanted:
        """Read the settings as the service will: as its user, without this shell's variables.

        Raises:
            ConfigurationError: they are wrong; the program's own words.
        """
        printed = self._as_user("config", "show", "--json")
        try:
            rows: Mapping[str, Any] = json.loads(printed)
        except ValueError:
            message = f"{printable(self.program)} is no taggerd: config show --json prints no JSON"
            raise ConfigurationError(message) from None
        state = Path(rows["state_directory"]["value"])
        folders = [_path(rows, key) for key in _FOLDERS]
        folders += [path.parent for key in _FILES if (path := _path(rows, key))]
        system_file = str(self.unit.prefix / SYSTEM_FILE)
        return Wanted(
            tuple(Path(root["path"]) for root in rows["arrivals.roots"]["value"]),
            state,
            rows["state_directory"]["from"] != "default" or _is_there(state / "ledger.sqlite"),
            tuple(path for path in folders if path),
            addresses(rows),
            any(row["from"] == system_file for row in rows.values()),
        )

    def changes(self, wanted: Wanted) -> list[Change]:
        """Return which files have to change so that all is as *wanted*.

        Raises:
            ConfigurationError: a file is somebody else's, or a name fits no unit.
        """
        return [*self._shared_files(), *self._drop_ins(wanted)]

    @property
    def is_installed(self) -> bool:
        """Whether this program installed the service before."""
        return any((folder / NAME).exists() for folder in self.unit.drop_ins.values())

    def _shared_files(self) -> Iterator[Change]:
        for name, path in self.unit.files.items():
            text = shipped(name).read_text(encoding="utf-8")
            ours = f"{MARK}; changes belong in a drop-in (systemctl edit).\n{text}"
            there = _text_of(path)
            if there is not None and MARK not in there:
                if there != text:
                    message = (
                        f"{printable(path)} is not of this installation and says something else: "
                        "keep your changes in a drop-in (systemctl edit) and remove it"
                    )
                    raise ConfigurationError(message)
            elif unit_text(self.unit, name) != text or _text_of(self.unit.packaged(name)) == text:
                if there is not None:
                    yield Change(path, None)  # since then a package brought it
            elif there != ours:
                yield Change(path, ours)

    def _drop_ins(self, wanted: Wanted) -> Iterator[Change]:
        for name, folder in self.unit.drop_ins.items():
            ours = self._drop_in(unit_text(self.unit, name), wanted, is_scan="scan" in name)
            path = folder / NAME
            if _text_of(path) != ours:
                yield Change(path, ours)

    def _drop_in(self, text: str, wanted: Wanted, *, is_scan: bool) -> str:
        unit, home = self.unit, self.unit.account.home
        of_unit = program_of(text).replace("%h", str(home))
        is_same = Path(of_unit).exists() and Path(of_unit).samefile(self.program)
        system = unit.kind is not Kind.SESSION
        keeps = wanted.keeps_state and wanted.state_directory != unit.state_directory
        more = self._protection(wanted) if system else self._protection_of_session()
        if keeps and system:
            more += ["# The state stays where its user's commands look for it.", "StateDirectory="]
        elif is_scan and unit.kind is Kind.MACHINE:
            more += ["StateDirectory=", "StateDirectory=taggerd", "UMask=0027"]
        own = [Path("/run/taggerd/slots")]
        own += [wanted.state_directory] if keeps or not system else []
        own += [] if system else [Path(f"/run/user/{unit.account.uid}/taggerd")]
        needed = [Path(of_unit) if is_same else self.program]
        needed += [home] if unit.kind is Kind.PERSON else []
        return drop_in(
            text,
            program=None if is_same else self.program,
            needed=needed if system else [],
            folders=[
                (path, writable_folder(path, home)) for path in (*wanted.roots, *wanted.others)
            ],
            own=own,
            more=more,
        )

    def _protection(self, wanted: Wanted) -> list[str]:
        """Return what a service of the machine can do without as its settings are."""
        lines = self._homes(wanted)
        if groups := self._groups(wanted.roots):
            names = sorted({grp.getgrgid(group).gr_name for group in groups})
            lines += [f"SupplementaryGroups={' '.join(names)}"]
        if wanted.addresses is not None:
            lines += [
                "# The addresses in the settings: numbers all, for a name may lead elsewhere.",
                "IPAddressDeny=any",
                f"IPAddressAllow={' '.join(('localhost', *wanted.addresses))}",
            ]
        hidden = [path for path in what_it_needs(self.program) if self._is_below(path, _NO_EXEC)]
        if hidden:
            lines += [f"ExecPaths={' '.join(quoted(str(path)) for path in hidden)}"]
        return lines

    def _homes(self, wanted: Wanted) -> list[str]:
        """Return the lines that hide all homes but those that the service needs.

        These as a whole, and read-only: an import folder may be missing at start.
        """
        home, needs = self.unit.account.home, what_it_needs(self.program)
        named = [*wanted.roots, *wanted.others, wanted.state_directory, *needs]
        named += [home] if self.unit.kind is Kind.PERSON else []
        hidden = [path for path in named if self._is_below(path, _HOMES)]
        if not hidden and self.unit.kind is Kind.MACHINE:
            return []  # the unit hides them all
        depth = len(self.unit.prefix.parts) + 2  # "/", "home" and a name
        seen = sorted({Path(*path.parts[:depth]) for path in hidden})
        return ["ProtectHome=tmpfs", *(f"BindReadOnlyPaths={quoted(f'-{path}')}" for path in seen)]

    def _protection_of_session(self) -> list[str]:
        """Return what a service of a session does without; nothing where the kernel refuses it."""
        probe = ["unshare", "--user", "--map-root-user", "--mount", "true"]
        if self.unit.account.run(probe).returncode:
            return [
                "# This machine lets users make no namespaces: it would not start with them.",
                "PrivateUsers=no",
                "CapabilityBoundingSet=~",
            ]
        # The runtime folder is made, and stays when the service stops: other commands use it too.
        runtime = ["RuntimeDirectory=taggerd", "RuntimeDirectoryPreserve=yes"]
        return ["ProtectSystem=strict", "ProtectHome=read-only", *runtime]

    def _groups(self, roots: Sequence[Path]) -> set[int]:
        """Return the groups that the service needs besides those of its user."""
        if self.unit.kind is not Kind.MACHINE:
            return set()
        known = os.getgrouplist(self.unit.account.name, self.unit.account.gid)
        return {group for root in roots if (group := self._group_for(root))} - set(known)

    def _group_for(self, root: Path) -> int | None:
        """Return the group by which the service may write to *root*; None: it may without."""
        if not root.is_dir() or self._may_write(root, ()):
            return None
        group = root.stat().st_gid
        return group if group and self._may_write(root, (group,)) else None

    def _may_write(self, folder: Path, groups: Sequence[int]) -> bool:
        return all(
            self.unit.account.run(["test", right, folder], groups).returncode == 0
            for right in ("-r", "-w", "-x")
        )

    def _is_below(self, path: Path, folders: Sequence[str]) -> bool:
        return any(path.is_relative_to(self.unit.prefix / folder) for folder in folders)

    # ---- refusals

    def refuse_what_cannot_work(self) -> None:
        """Refuse a service that would not start, or would be the second.

        Raises:
            ConfigurationError: why, and what to do.
        """
        unit, who = self.unit, self.unit.account
        hidden = _HIDDEN if unit.kind is Kind.MACHINE else _PRIVATE
        for needed in what_it_needs(self.program):
            if self._is_below(needed, hidden):
                message = (
                    f"{printable(needed)} is out of sight of the service: install taggerd "
                    f"{'outside of home folders' if hidden is _HIDDEN else 'elsewhere'}, "
                    "e.g. in /opt/taggerd"
                )
                raise ConfigurationError(message)
        if unit.kind is Kind.SESSION and os.geteuid() == 0:
            message = "root has no session of its own: say --user NAME or --system"
            raise ConfigurationError(message)
        for other in self._rivals():
            if Installation(other, self.program).is_installed:
                message = (
                    f"{other.name} of {who.name} is installed"
                    f"{' in the session' if other.kind is Kind.SESSION else ''} already: first "
                    f"taggerd service uninstall{other.switches}"
                    f"{f' as {who.name}' if other.kind is Kind.SESSION else ' as root'}"
                )
                raise ConfigurationError(message)

    def _rivals(self) -> Iterator[ServiceUnit]:
        """Yield the other services that would tag the same user's photos."""
        unit = self.unit
        if unit.kind is Kind.SESSION:
            yield ServiceUnit(Kind.PERSON, unit.account, unit.prefix)
        elif unit.kind is Kind.PERSON:
            yield ServiceUnit(Kind.SESSION, unit.account, unit.prefix)

    def refuse_unwritable(self, wanted: Wanted) -> Iterator[str]:
        """Refuse an import folder that the service cannot write to; yield notes on others.

        Raises:
            ConfigurationError: it is there, and its user may not write to it.
        """
        who = self.unit.account
        groups = tuple(self._groups(wanted.roots)) if os.geteuid() == 0 else ()
        for root in wanted.roots:
            if self._is_below(root, _PRIVATE):
                message = (
                    f"{printable(root)}: the service has a /tmp of its own: use another folder"
                )
                raise ConfigurationError(message)
            if not _is_there(root):
                yield f"{printable(root)} is not there: the service waits for it"
            elif not self._may_write(root, groups):
                message = (
                    f"{printable(root)}: user {who.name} may not write to it, where sidecars go: "
                    "permit it by its group (chgrp, chmod g+rwxs) or by setfacl"
                )
                raise ConfigurationError(message)
            if not may_be_remade(root, who.home):
                yield (
                    f"{printable(root)}: the folder above is not opened to the service; if you "
                    "remove and make it again, restart the service"
                )

    # ---- settings

    def add_roots(self, roots: Sequence[Path], wanted: Wanted) -> bool:
        """Write *roots* into the settings if these name no import folder; say whether it did.

        Raises:
            ConfigurationError: they name others.
        """
        if set(roots) <= set(wanted.roots):
            return False
        listed = ", ".join(json.dumps(str(root)) for root in (*wanted.roots, *roots))
        if wanted.roots or (wanted.in_system_file and self.unit.kind is not Kind.MACHINE):
            message = (
                "the settings that are there stay as they are: set arrivals.roots = "
                f"[{printable(listed)}] in them (taggerd config show says where they are) and "
                "say taggerd service install again"
            )
            raise ConfigurationError(message)
        switches = [word for root in roots for word in ("--input-dir", str(root))]
        if self.unit.kind is not Kind.MACHINE:
            self._as_user("config", "init", *switches)
            return True
        file = self.unit.prefix / SYSTEM_FILE
        command(self.program, "config", "init", file, *switches)
        file.chmod(_MODE)  # its user reads it; keys belong in credentials
        return True

    def check(self, wanted: Wanted) -> str:
        """Run ``config check`` as the service's user and return what it printed.

        Raises:
            ConfigurationError: the settings are wrong; its words.
        """
        offline = [] if all(map(_is_there, wanted.roots)) else ["--allow-offline"]
        groups = tuple(self._groups(wanted.roots)) if os.geteuid() == 0 else ()
        return self._as_user("config", "check", *offline, groups=groups)

    def _as_user(self, *arguments: str | Path, groups: Sequence[int] = ()) -> str:
        """Run the program as the service's user and return all it printed."""
        done = self.unit.account.run([self.program, *arguments], groups)
        if done.returncode:
            said = (done.stderr or done.stdout).strip() or f"exit {done.returncode}"
            raise ConfigurationError(said.replace("taggerd: ", ""))
        return done.stdout if "--json" in arguments else done.stdout + done.stderr


def make_users(
    prefix: Path, person: str | None, say: Callable[[str], None], *, dry_run: bool = False
) -> None:
    """Make the user and the group of sysusers.d where they are missing, and *person* a member.

    Its members share the slots of a backend, in the service as in a shell. A member needs no
    ``SupplementaryGroups=``, which systemd rates as an exposure.

    Raises:
        ServiceFailed: systemd could not make them.
    """
    members = {group.gr_name: group.gr_mem for group in grp.getgrall()}.get(_SLOTS)
    needed: list[tuple[str, list[str | Path]]] = []
    if members is None:
        needed.append(
            (f"make user {MACHINE_USER} and group {_SLOTS}", [shipped("sysusers.d/taggerd.conf")])
        )
    if person is not None and person not in (members or []):
        needed.append((f"add {person} to group {_SLOTS}", ["--inline", f"m {person} {_SLOTS}"]))
    for what, arguments in needed:
        say(what)
        if not dry_run:
            command("systemd-sysusers", f"--root={prefix}", *arguments)


def unit_text(unit: ServiceUnit, name: str) -> str:
    """Return the text of a shipped file, as the distribution's package installed it if it did.

    A package's unit may start another program, in ``/usr/bin``; of another version, it counts for
    nothing.
    """
    text = shipped(name).read_text(encoding="utf-8")
    packaged = _text_of(unit.packaged(name)) or ""
    is_this = packaged.replace(program_of(packaged) or "\0", program_of(text)) == text
    return packaged if is_this else text


def _path(rows: Mapping[str, Any], key: str) -> Path | None:
    """Return the path that a setting names; None if there is no such setting, or none is named."""
    value = rows[key]["value"] if key in rows else None
    path = Path(str(value or "").removeprefix("unix:"))
    return path if path.is_absolute() else None


def _text_of(path: Path) -> str | None:
    """Return what stands in a file; None if there is none.

    Raises:
        ConfigurationError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        message = f"{printable(path)}: cannot be read: {error.strerror}"
        raise ConfigurationError(message) from error


def _is_there(path: Path) -> bool:
    return os.path.exists(path)  # noqa: PTH110 - Path.exists raises where one may not look
