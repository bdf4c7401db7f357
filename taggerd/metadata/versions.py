"""Which foreign programs read and write metadata here."""

from __future__ import annotations

import os
import shutil
import subprocess

_LONGEST_SECONDS = 10


def exiftool() -> str | None:
    """Return the path of the exiftool that is run: the first in ``PATH``; None: there is none.

    Never one in the working directory: where ``PATH`` has an empty or a relative entry, a memory
    card could bring its own.
    """
    folders = [folder for folder in os.get_exec_path() if folder.startswith("/")]
    return shutil.which("exiftool", path=os.pathsep.join(folders))


def exiftool_environment() -> dict[str, str]:
    """Return what exiftool is told: no home with a configuration in it, no modules for Perl."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


def exiv2_version() -> str:
    """Return Exiv2's version, or why it cannot be had; it is loaded: ask in a worker process."""
    try:
        import pyexiv2  # noqa: PLC0415 - for worker processes alone
    except Exception as error:  # noqa: BLE001 - whatever loading a foreign library raises
        return f"cannot be loaded: {' '.join(str(error).split())[:200]}"
    return str(pyexiv2.__exiv2_version__)


def exiftool_version() -> str:
    """Return exiftool's version and path, or "missing"."""
    program = exiftool()
    if program is None:
        return "missing"
    try:
        done = subprocess.run(  # noqa: S603 - as for writing
            [program, "-config", "", "-ver"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=exiftool_environment(),
            cwd="/",
            timeout=_LONGEST_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"does not start: {error}"
    said = done.stdout.decode("ascii", "replace").strip()
    return f"{said or 'says no version'} ({program})"
