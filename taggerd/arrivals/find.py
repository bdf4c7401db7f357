"""The photos below some paths: what is taken there, and what is not, and why."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from taggerd.arrivals.filters import OWN_FOLDER, Filters, apart_in
from taggerd.arrivals.unpacking import is_archive
from taggerd.arrivals.walk import Seen, see, walk
from taggerd.errors import ConfigurationError
from taggerd.photo import group, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taggerd.photo import Photo
    from taggerd.settings import Settings


class Skip(NamedTuple):
    """A file that is not taken, and why."""

    path: Path
    reason: str
    named: bool = False
    """The user named this very file."""


@dataclass(slots=True)
class Found:
    """What lies below the paths that were named."""

    seen: list[Seen] = field(default_factory=list)
    skipped: list[Skip] = field(default_factory=list)
    archives: list[Seen] = field(default_factory=list)
    """To be unpacked; where ``arrivals.unpack`` is off they are skipped."""
    folders: list[Path] = field(default_factory=list)
    """Those that were named and read."""
    refused: list[Skip] = field(default_factory=list)
    """Archives that could not be unpacked."""

    @property
    def photos(self) -> list[Photo]:
        """The photos that the seen files make."""
        return group(seen.file for seen in self.seen)


def find(paths: Sequence[Path], settings: Settings) -> Found:
    """Look for photos below *paths*: folders, or single files.

    Raises:
        ConfigurationError: a path is not there or cannot be read.

    """
    found = Found()
    for path in dict.fromkeys(Path(os.path.abspath(path)) for path in paths):  # noqa: PTH100 - resolve() would follow the user's links
        filters = _filters_for(path, settings)
        if _is_folder(path):
            found.seen += walk(
                path, filters, skipped=lambda p, why: found.skipped.append(Skip(p, why))
            )
            found.folders.append(path)
        else:
            _find_file(path, filters, found)
    by_path = {seen.file.path: seen for seen in found.seen}  # overlapping folders are named once
    found.seen = []
    for seen in by_path.values():
        (found.archives if is_archive(seen.file) else found.seen).append(seen)
    return found


def _filters_for(path: Path, settings: Settings) -> Filters:
    """Return what is taken at *path*: as the daemon takes it, if it is at or below a root."""
    arrivals = settings.arrivals
    above = (r for r in arrivals.roots if path.is_relative_to(r.path))
    root = max(above, key=lambda r: len(r.path.parts), default=None)
    ignore = [*arrivals.ignore, *(root.ignore if root else ())]
    recursive = arrivals.recursive if root is None or root.recursive is None else root.recursive
    apart = apart_in(path, settings.own_folders, OWN_FOLDER)
    extensions = arrivals.extensions(recursive=recursive)
    return Filters(extensions, ignore, recursive=recursive, apart=apart)


def _is_folder(path: Path) -> bool:
    """Say whether *path* is, or should be, a folder; what is not there is none of a file."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return True
    except OSError as error:
        message = f"{printable(path)}: cannot be looked at: {error.strerror}"
        raise ConfigurationError(message) from error


def _find_file(path: Path, filters: Filters, found: Found) -> None:
    """Take one file that was named itself."""
    try:
        seen = filters.verdict(path, path.parent) or see(path)
    except OSError as error:
        message = f"{printable(path)}: cannot be looked at: {error.strerror}"
        raise ConfigurationError(message) from error
    if isinstance(seen, str):
        found.skipped.append(Skip(path, seen, named=True))
    else:
        found.seen.append(seen)
