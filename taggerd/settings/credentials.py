"""Credentials that systemd passes: files in ``$CREDENTIALS_DIRECTORY``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from taggerd.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping


def credentials(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Return the names of the credentials that systemd passed, sorted.

    Raises:
        ConfigurationError: their folder cannot be read.
    """
    folder = environment.get("CREDENTIALS_DIRECTORY")
    if not folder:
        return ()
    try:
        return tuple(sorted(entry.name for entry in os.scandir(folder) if entry.is_file()))
    except FileNotFoundError:
        return ()
    except OSError as error:
        message = f"cannot read the credentials in {folder}: {error.strerror}"
        raise ConfigurationError(message) from error


def credential(name: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the credential *name* without line ends at its end; None if it was not passed.

    Raises:
        ConfigurationError: it cannot be read, or is not UTF-8 text. The message does not quote it.
    """
    if name not in credentials(environment):
        return None
    path = Path(environment["CREDENTIALS_DIRECTORY"]) / name
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        message = f"cannot read the credential {path}: {error.strerror}"
        raise ConfigurationError(message) from error
    except UnicodeDecodeError:
        message = f"the credential {path} is not UTF-8 text; write it again"
        raise ConfigurationError(message) from None
    return text.rstrip("\r\n")
