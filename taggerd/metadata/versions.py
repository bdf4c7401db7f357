"""Which foreign program writes metadata here."""

from __future__ import annotations

import shutil
import subprocess

_LONGEST_SECONDS = 10


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
