"""Names that last: what was made, renamed or removed in a folder outlives a power cut."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Make the names in *folder* last.

    Raises:
        OSError: it cannot be opened (one may write to a folder and not read it) or synced (some
            network file systems cannot), or its disk fails.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
