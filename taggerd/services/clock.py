"""The clock of all services."""

from __future__ import annotations

from datetime import datetime


def local_now() -> datetime:
    """Return the local time, aware."""
    return datetime.now().astimezone()
