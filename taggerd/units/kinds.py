"""The three ways in which systemd may run taggerd, and which files each of them is made of."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from taggerd.units.systemctl import Systemctl

if TYPE_CHECKING:
    from taggerd.units.accounts import Account

MACHINE_USER = "taggerd"
"""The user that sysusers.d makes."""


class Kind(Enum):
    """Whose systemd runs the service, and as whom."""

    SESSION = "session"
    """The user's own systemd, as that user."""
    PERSON = "person"
    """The machine's, as a person."""
    MACHINE = "machine"
    """The machine's, as a user of its own."""


@dataclass(frozen=True, slots=True)
class ServiceUnit:
    """One service: whose it is, and where its files go."""

    kind: Kind
    account: Account
    prefix: Path = Path("/")
    """Folder in which the machine's ``/etc`` and ``/usr/lib`` lie; another one in tests."""

    @property
    def name(self) -> str:
        """What systemd calls it."""
        return (
            f"taggerd@{self.account.name}.service"
            if self.kind is Kind.PERSON
            else "taggerd.service"
        )

    @property
    def systemctl(self) -> Systemctl:
        """Its manager."""
        return Systemctl(of_session=self.kind is Kind.SESSION)

    @property
    def switches(self) -> str:
        """The switches of ``taggerd service`` that mean this one."""
        named = {Kind.PERSON: f" --user {self.account.name}", Kind.MACHINE: " --system"}
        return named.get(self.kind, "")

    @property
    def folder(self) -> Path:
        """Where its units are written."""
        if self.kind is Kind.SESSION:
            return self.account.config / "systemd" / "user"
        return self.prefix / "etc" / "systemd" / "system"

    @property
    def files(self) -> dict[str, Path]:
        """The files that it shares with others of its kind: by shipped name, where they go."""
        if self.kind is Kind.SESSION:
            return {"user/taggerd.service": self.folder / "taggerd.service"}
        unit = "taggerd@.service" if self.kind is Kind.PERSON else "taggerd.service"
        units = (unit, "taggerd-scan@.service", "taggerd-scan@.timer")
        users = ("sysusers.d/taggerd.conf", "tmpfiles.d/taggerd.conf")
        return {
            **{name: self.prefix / "etc" / name for name in users},
            **{name: self.folder / name for name in units},
        }

    def packaged(self, name: str) -> Path:
        """Return where a package of the distribution installs the shipped file *name*."""
        lib = self.prefix / "usr" / "lib"
        if "sysusers.d" in name or "tmpfiles.d" in name:
            return lib / name
        return lib / "systemd" / (name if name.startswith("user/") else f"system/{name}")

    @property
    def drop_ins(self) -> dict[str, Path]:
        """The drop-ins that are its alone: by shipped unit, the folder of each."""
        if self.kind is Kind.SESSION:
            return {"user/taggerd.service": self.folder / "taggerd.service.d"}
        unit = "taggerd@.service" if self.kind is Kind.PERSON else "taggerd.service"
        return {
            unit: self.folder / f"{self.name}.d",
            "taggerd-scan@.service": self.folder / f"taggerd-scan@{self.account.name}.service.d",
        }

    @property
    def timer(self) -> str:
        """The timer that scans every night; empty where there is none."""
        return "" if self.kind is Kind.SESSION else f"taggerd-scan@{self.account.name}.timer"

    @property
    def state_directory(self) -> Path | None:
        """Folder that systemd makes for its state; None: the user's own."""
        name = {Kind.PERSON: f"taggerd-{self.account.name}", Kind.MACHINE: "taggerd"}.get(self.kind)
        return self.prefix / "var" / "lib" / name if name else None
