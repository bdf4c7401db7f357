"""Which foreign programs read and write metadata here."""

from __future__ import annotations

import shutil
import subprocess

_LONGEST_SECONDS = 10


def exiv2_version() -> str:
    """Return Exiv2's version, or why it cannot be had; it is loaded: ask in a worker process."""
    try:
        import pyexiv2  # noqa: PLC0415 - for worker processes alone
    except Exception as error:  # noqa: BLE001 - whatever loading a foreign library raises
        return f"cannot be loaded: {' '.join(str(error).split())[:200]}"
    return str(pyexiv2.__exiv2_version__)


def exiftool_version() -> str:
    """Return exiftool's version and path, or "missing"."""
    exiftool = shutil.which("exiftool")
    if exiftool is None:
        return "missing"
    try:
        done = subprocess.run(  # noqa: S603 - the first exiftool in PATH, as for writing
            [exiftool, "-config", "", "-ver"],
            capture_output=True,
            timeout=_LONGEST_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"does not start: {error}"
    said = done.stdout.decode("ascii", "replace").strip()
    return f"{said or 'says no version'} ({exiftool})"
