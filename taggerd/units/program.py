"""The command that a unit starts: the very taggerd that was run to install it."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from taggerd.errors import ConfigurationError
from taggerd.photo import printable


def program(invoked: str = sys.argv[0], prefix: Path = Path(sys.prefix)) -> Path:
    """Return the path of the ``taggerd`` command, by the name with which it was found.

    A link stays one: it is what leads to the new version after an upgrade.

    Args:
        invoked: how this process was called.
        prefix: the environment that it runs in; for ``python -m taggerd``.

    Raises:
        ConfigurationError: there is no command.
    """
    found = shutil.which(invoked) if Path(invoked).name == "taggerd" else None
    path = Path(os.path.abspath(found)) if found else prefix / "bin" / "taggerd"  # noqa: PTH100 - links stay
    if not os.access(path, os.X_OK):
        message = f"no command {printable(path)} for a unit to start: install taggerd, see README"
        raise ConfigurationError(message)
    return path


def what_it_needs(path: Path) -> tuple[Path, ...]:
    """Return the folders without which the command *path* does not run."""
    package = Path(__file__).parents[2]
    needed = (path, Path(os.path.realpath(path)), Path(sys.prefix), Path(sys.base_prefix), package)
    return tuple(dict.fromkeys(needed))
