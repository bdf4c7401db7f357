"""The figures as a file for node_exporter's textfile collector."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

MODE = 0o644
"""node_exporter runs as a user of its own. Without this the file would be as private as the
service's umask makes it."""


def replace(path: Path, content: bytes) -> None:
    """Put *content* at *path* in one step: node_exporter may read at any moment. Blocks.

    Raises:
        OSError: the system's reason why not; the old file stays.

    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    new = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), MODE)
            file.write(content)
        new.replace(path)
    except OSError:
        with suppress(OSError):
            new.unlink()
        raise
