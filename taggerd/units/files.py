"""Where the unit files lie, be taggerd installed or run from a checkout."""

from __future__ import annotations

from pathlib import Path

from taggerd.errors import StartError

_PACKAGE = Path(__file__).parents[1]
_FOLDERS = (_PACKAGE / "data" / "systemd", _PACKAGE.parent / "systemd")
"""In a wheel, and in a checkout."""


def shipped(name: str) -> Path:
    """Return the file that ships as *name*, e.g. ``taggerd@.service`` or ``user/taggerd.service``.

    Raises:
        StartError: the installation lacks it.
    """
    for folder in _FOLDERS:
        if (file := folder / name).is_file():
            return file
    message = f"this installation of taggerd lacks systemd/{name}: install it again"
    raise StartError(message)
