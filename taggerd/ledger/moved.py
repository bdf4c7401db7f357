"""What stays in a state directory whose ledger was moved to a database server.

Without it a service with its old settings would begin an empty queue beside the photos of the old
one, and pay for all of them again.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Self

from taggerd.errors import StartError
from taggerd.files import fsync_folder
from taggerd.photo import printable
from taggerd.settings.permissions import open_own

if TYPE_CHECKING:
    from pathlib import Path

FILE = "ledger.moved"


@dataclass(frozen=True, slots=True, kw_only=True)
class Departure:
    """Where a ledger went."""

    id: str
    """Of the move, as the database that took it over knows it."""
    to: str
    """The database's address, without a password."""
    at: float
    kept: str
    """The name that the file has since, in the same folder."""

    @classmethod
    def of(cls, directory: Path) -> Self | None:
        """Return where the ledger of the state *directory* went; None: nowhere.

        Raises:
            StartError: what is there cannot be read.
        """
        path = directory / FILE
        try:
            with os.fdopen(open_own(path), encoding="utf-8") as file:
                return cls(**json.load(file))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, TypeError) as error:
            message = f"{printable(path)} says where the ledger is, and cannot be read: {error}"
            raise StartError(message) from error

    def write(self, directory: Path) -> None:
        """Say in the state *directory* where its ledger went; may raise OSError."""
        part = directory / f".{FILE}.part"
        with suppress(FileNotFoundError):
            part.unlink()
        with os.fdopen(open_own(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "w") as file:
            json.dump(asdict(self), file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(directory / FILE)
        fsync_folder(directory)


def refuse_moved(directory: Path) -> None:
    """Refuse the state *directory* of a ledger that was moved to a database server.

    Raises:
        StartError: it was.
    """
    if departure := Departure.of(directory):
        day = time.strftime("%Y-%m-%d", time.localtime(departure.at))
        message = (
            f"the ledger of {printable(directory)} was moved to {departure.to} on {day}: set "
            "ledger.url to that, or bring it back with: taggerd ledger move --to embedded"
        )
        raise StartError(message)
