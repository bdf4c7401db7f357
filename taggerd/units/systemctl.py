"""What systemd is asked and told, by its own commands."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from taggerd.errors import ConfigurationError, TaggerdError

if TYPE_CHECKING:
    from collections.abc import Mapping


class ServiceFailed(TaggerdError):
    """systemd could not do what it was told."""


@dataclass(frozen=True, slots=True)
class Systemctl:
    """The manager of the machine, or of this user's session."""

    of_session: bool = False
    environment: Mapping[str, str] = field(default_factory=lambda: with_session(os.environ))

    @property
    def words(self) -> tuple[str, ...]:
        """How a person calls it."""
        return ("systemctl", "--user") if self.of_session else ("systemctl",)

    def tell(self, *arguments: str) -> None:
        """Run a command of systemctl.

        Raises:
            ServiceFailed: it failed; its own words.
        """
        command(*self.words, *arguments, environment=self.environment)

    def says(self, *arguments: str) -> str:
        """Return what a command prints, whether it succeeds or not; empty if there is none."""
        try:
            return _run((*self.words, *arguments), self.environment).stdout.strip()
        except OSError:
            return ""

    @staticmethod
    def printed(words: list[str]) -> list[str]:
        """Return the lines that one of systemd's programs prints; none if it cannot be run."""
        try:
            return _run(words, None).stdout.splitlines()
        except OSError:
            return []

    def property(self, unit: str, name: str) -> str:
        """Return one property of *unit*, as ``systemctl show`` prints it."""
        return self.says("show", "--value", "-p", name, "--", unit)

    def refuse_unless_there(self, run: Path = Path("/run")) -> None:
        """Refuse a machine or session without systemd.

        Args:
            run: ``/run``: sd_booted(3) looks there.

        Raises:
            ConfigurationError: what lacks, and what to do.
        """
        if not (run / "systemd" / "system").is_dir():
            message = (
                "systemd does not run this machine: let its own init or container start "
                "taggerd run, and stop it by SIGTERM"
            )
            raise ConfigurationError(message)
        if self.of_session and not self.says("show", "--value", "-p", "Version"):
            message = (
                "your session has no systemd of its own (systemctl --user fails): log in at the "
                "desktop or by ssh, or have root run loginctl enable-linger for you"
            )
            raise ConfigurationError(message)


def command(*words: str | Path, environment: Mapping[str, str] | None = None) -> None:
    """Run one of systemd's programs.

    Raises:
        ServiceFailed: it failed; its own words.
    """
    name = " ".join(map(str, words))
    try:
        done = _run([str(word) for word in words], environment)
    except OSError as error:
        message = f"{name}: {error.strerror}"
        raise ServiceFailed(message) from error
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split()) or f"exit {done.returncode}"
        message = f"{name}: {said}"
        raise ServiceFailed(message)


def with_session(environ: Mapping[str, str], run: Path = Path("/run")) -> dict[str, str]:
    """Return *environ* with the folder by which ``systemctl --user`` finds the user's systemd.

    A shell of ``su`` lacks the variable.
    """
    folder = run / "user" / str(os.geteuid())
    known = {"XDG_RUNTIME_DIR": str(folder)} if folder.is_dir() else {}
    return {**known, **environ}


def _run(
    words: list[str] | tuple[str, ...], environment: Mapping[str, str] | None
) -> subprocess.CompletedProcess[str]:
    # No time limit: a start takes as long as the unit allows it.
    return subprocess.run(  # noqa: S603 - systemd's programs, and paths of ours
        words,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="backslashreplace",
        check=False,
    )
