"""Finds the photos below some paths: what is taken there, and what is not, and why."""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from taggerd import files
from taggerd.arrivals.filters import OWN_FOLDER, SIDECAR, Filters, folders_below
from taggerd.arrivals.unpacking import is_archive
from taggerd.arrivals.walk import Seen, Skip, see, walk
from taggerd.errors import ConfigurationError
from taggerd.photo import IMAGE_EXTENSIONS, Photo, PhotoFile, Stamp, extension, group, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from taggerd.settings import Settings


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


def work_below(paths: Iterable[Path], settings: Settings) -> None:
    """Let this process touch what lies below the import folders and below *paths*. Blocks.

    Of a single file that is its folder.
    """
    named = [root.path for root in settings.arrivals.roots]
    named += [settings.arrivals.release_to] if settings.arrivals.release_to else []
    for path in map(_absolute, paths):
        with suppress(ConfigurationError):  # find() says why it cannot be read
            named.append(path if _is_folder(path) else path.parent)
    files.work_below(*named)


def reach(path: Path, settings: Settings) -> None:
    """Let this process touch the photo at *path*, whose name was kept from before. Blocks.

    It lies in an import folder, or was tagged on request. Nobody names its folder now: where that
    has become a link below an import folder, it is not followed. A photo that another host alone
    can reach has no absolute path.
    """
    if not path.is_absolute():
        return
    if not _is_declared(path):
        work_below([], settings)
    if not _is_declared(path):
        files.work_below(path.parent)


def _is_declared(path: Path) -> bool:
    return any(path.is_relative_to(root) for root in files.declared())


def find(paths: Sequence[Path], settings: Settings) -> Found:
    """Find the photos below *paths*: folders, or single files.

    One of several that does not exist or cannot be read is skipped.

    Raises:
        ConfigurationError: none of them exists and can be read.
    """
    found = Found()
    faults: dict[Path, str] = {}
    named = list(dict.fromkeys(map(_absolute, paths)))
    for path in named:
        filters = _filters_for(path, settings)
        try:
            if _is_folder(path):
                found.seen += walk(path, filters, skipped=found.skipped.append)
                found.folders.append(path)
            else:
                _find_file(path, filters, found)
        except ConfigurationError as error:
            faults[path] = str(error)
    if named and len(faults) == len(named):
        raise ConfigurationError("\n".join(faults.values()))
    for path, fault in faults.items():
        reason = fault.removeprefix(f"{printable(path)} ")
        found.skipped.append(Skip(path, reason, "unreadable", named=True))
    by_path = {seen.file.path: seen for seen in found.seen}  # overlapping folders: each file once
    found.seen = []
    for seen in by_path.values():
        (found.archives if is_archive(seen.file) else found.seen).append(seen)
    return found


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow the user's links


def _filters_for(path: Path, settings: Settings) -> Filters:
    """Return what is taken at *path*: what the daemon takes, if it is at or below a root."""
    above = (r for r in settings.arrivals.roots if path.is_relative_to(r.path))
    root = max(above, key=lambda r: len(r.path.parts), default=None)
    own = folders_below(path, settings.own_folders, OWN_FOLDER)
    return Filters.of(settings.arrivals, root, own)


def _is_folder(path: Path) -> bool:
    """Say whether *path* is, or should be, a folder: what does not exist is no file."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return True
    except OSError as error:
        message = f"{printable(path)} cannot be read: {error.strerror}"
        raise ConfigurationError(message) from error


def _find_file(path: Path, filters: Filters, found: Found) -> None:
    """Take one file that was named itself."""
    try:
        seen = filters.verdict(path, path.parent) or see(path)
    except OSError as error:
        message = f"{printable(path)} cannot be read: {error.strerror}"
        raise ConfigurationError(message) from error
    if isinstance(seen, str):
        found.skipped.append(Skip(path, seen, "sidecar" if seen == SIDECAR else "", named=True))
    else:
        found.seen.append(seen)


def complete_photos(photos: Iterable[Photo]) -> list[Photo]:
    """Return *photos* with all their files: of a raw and its JPEG perhaps one alone was named."""
    found: list[Photo] = []
    for photo in photos:
        path = photo.primary.path
        together = {path: photo.primary}
        with suppress(OSError):  # a folder that may be entered, but not listed
            for other in map(path.with_name, files.names_in(path.parent)):
                if other.stem == path.stem and extension(other) in IMAGE_EXTENSIONS:
                    together[other] = PhotoFile(other, Stamp.of(files.lstat(other)))
        found += [p for p in group(together.values()) if any(file.path == path for file in p.files)]
    return found


class SidecarPhotos:
    """Finds the photo files that a sidecar belongs to; lists each folder once."""

    def __init__(self) -> None:
        """Know no folder yet."""
        self._folder: Path | None = None
        self._stems: defaultdict[str, list[Path]] = defaultdict(list)

    def of(self, sidecar: Path) -> list[Path]:
        """Return the files that *sidecar* is named after."""
        photo = sidecar.with_suffix("")
        if extension(photo) in IMAGE_EXTENSIONS:
            return [photo]
        if sidecar.parent != self._folder:
            self._folder, self._stems = sidecar.parent, defaultdict(list)
            with suppress(OSError):
                for path in map(sidecar.with_name, files.names_in(sidecar.parent)):
                    if extension(path) in IMAGE_EXTENSIONS:
                        self._stems[path.stem].append(path)
        return self._stems[sidecar.stem]

    def there(self, sidecar: Path) -> list[PhotoFile]:
        """Return those of them that are there, as they are now."""
        found = []
        for path in self.of(sidecar):
            with suppress(OSError):
                seen = see(path)
                found += [seen.file] if isinstance(seen, Seen) else []
        return found
