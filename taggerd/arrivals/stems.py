"""Files of one stem: the rest of a photo of which one file was named, the photos of a sidecar."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from typing import TYPE_CHECKING

from taggerd.photo import IMAGE_EXTENSIONS, Photo, PhotoFile, Stamp, extension, group

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def whole(photos: Iterable[Photo]) -> list[Photo]:
    """Return *photos* with all their files: of a raw and its JPEG only one was named."""
    found: list[Photo] = []
    for photo in photos:
        path = photo.primary.path
        files = {path: photo.primary}
        with suppress(OSError):  # a folder that may be entered, but not listed
            for other in path.parent.iterdir():
                if other.stem == path.stem and extension(other) in IMAGE_EXTENSIONS:
                    files[other] = PhotoFile(other, Stamp.of(other.lstat()))
        found += [p for p in group(files.values()) if any(file.path == path for file in p.files)]
    return found


class Files:
    """The photo files that a sidecar may speak for."""

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
                for path in sidecar.parent.iterdir():
                    if extension(path) in IMAGE_EXTENSIONS:
                        self._stems[path.stem].append(path)
        return self._stems[sidecar.stem]
