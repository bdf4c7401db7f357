"""Users of this machine, and programs run as one of them."""

from __future__ import annotations

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from taggerd.errors import ConfigurationError
from taggerd.photo import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

SECONDS = 120.0
"""Longest run of a program; a backend that is away answers within its own time limit."""
_OF_A_LOGIN = ("HOME", "USER", "LOGNAME", "XDG_")
"""Variables that name the folders of whoever is logged in."""
_OF_TAGGERD = ("TAGGERD_", "STATE_DIRECTORY", "RUNTIME_DIRECTORY", "CREDENTIALS_DIRECTORY")
"""Variables of this shell that the service will not have."""


@dataclass(frozen=True, slots=True)
class Account:
    """A user of this machine."""

    name: str
    uid: int
    gid: int
    home: Path

    @property
    def is_mine(self) -> bool:
        """Whether this process runs as that user."""
        return os.geteuid() == self.uid

    @property
    def config(self) -> Path:
        """Folder of the settings of this user's programs, as their systemd sees it."""
        named = Path(os.environ.get("XDG_CONFIG_HOME", "")) if self.is_mine else Path()
        return named if named.is_absolute() else self.home / ".config"

    def run(
        self, command: Sequence[str | Path], groups: Sequence[int] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Run *command* as this user, without what only the present shell knows.

        Args:
            command: the program and its arguments.
            groups: more groups than the user has; root alone may give some.

        Raises:
            ConfigurationError: this user cannot run it.
        """
        dropped = _OF_TAGGERD if self.is_mine else (*_OF_TAGGERD, *_OF_A_LOGIN)
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.upper().startswith(dropped)
        }
        if not self.is_mine:
            environment |= {"HOME": str(self.home), "USER": self.name, "LOGNAME": self.name}
        # Without root's rights nobody becomes another, not even themselves.
        other = os.geteuid() == 0
        try:
            return subprocess.run(  # noqa: S603 - our own program, and test(1)
                [str(word) for word in command],
                user=self.uid if other else None,
                group=self.gid if other else None,
                extra_groups=[*os.getgrouplist(self.name, self.gid), *groups] if other else None,
                env=environment,
                cwd="/",
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="backslashreplace",
                timeout=SECONDS,
                check=False,
            )
        except (OSError, subprocess.SubprocessError) as error:
            # SubprocessError is all that is said when the change of user fails.
            reason = error.strerror if isinstance(error, OSError) else str(error)
            message = (
                f"{printable(command[0])} cannot be run as user {self.name} ({reason}): install "
                "taggerd where that user may read it, e.g. in /opt/taggerd"
            )
            raise ConfigurationError(message) from error


def account(name: str) -> Account:
    """Return a user by name.

    Raises:
        ConfigurationError: there is none.
    """
    try:
        return _of(pwd.getpwnam(name))
    except (KeyError, ValueError):
        message = f"no such user: {printable(name)}; getent passwd lists those of this machine"
        raise ConfigurationError(message) from None


def my_account() -> Account:
    """Return the user who runs this process.

    Raises:
        ConfigurationError: the machine does not know them by name.
    """
    try:
        return _of(pwd.getpwuid(os.geteuid()))
    except KeyError:
        message = f"user {os.geteuid()} has no name on this machine: a service needs one"
        raise ConfigurationError(message) from None


def _of(entry: pwd.struct_passwd) -> Account:
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, Path(entry.pw_dir))
