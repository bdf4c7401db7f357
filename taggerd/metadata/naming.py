"""Which sidecars a photo has or gets.

One that exists is updated, under either name (``IMG.CR3.xmp`` or ``IMG.xmp``); both exist: both.
None exists: the setting ``sidecar.naming`` decides.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal, NamedTuple

from taggerd.errors import SidecarError
from taggerd.metadata.atomic import read
from taggerd.metadata.xmp.document import Document
from taggerd.metadata.xmp.encoding import decode
from taggerd.metadata.xmp.namespaces import named
from taggerd.photo import IMAGE_EXTENSIONS, extension, is_raw

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from taggerd.photo import Photo

Naming = Literal["auto", "full", "stem"]

_SIDECAR_FOR = named("photoshop:SidecarForExtension")
_OPEN_RAW = frozenset({"dng"})
"""Raw formats that Lightroom writes into instead of beside."""


class Target(NamedTuple):
    """A sidecar to be written, and the files of the photo that it speaks for."""

    path: Path
    files: tuple[Path, ...]


def targets(photo: Photo, naming: Naming) -> tuple[Target, ...]:
    """Return the sidecars of *photo*, each once, those that exist under their name on disk."""
    members = [file.path for file in photo.files]
    found: dict[Path, list[Path]] = {}
    for path in members:
        shared = _Shared(path, members)
        here = [*_existing(_full(path)), *(s for s in _existing(_stem(path)) if shared.speaks(s))]
        for sidecar in here or [_new(path, naming, shared)]:
            found.setdefault(sidecar, []).append(path)
    return tuple(Target(sidecar, tuple(files)) for sidecar, files in _once(found))


def shorter(sidecar: Path) -> Path | None:
    """Return ``IMG.xmp`` for ``IMG.CR3.xmp``; None for one that is not named in full."""
    photo = sidecar.with_suffix("")
    return _stem(photo) if extension(photo) in IMAGE_EXTENSIONS else None


def _full(path: Path) -> Path:
    return path.with_name(path.name + ".xmp")


def _stem(path: Path) -> Path:
    return path.with_suffix(".xmp")


def _existing(sidecar: Path) -> list[Path]:
    """Return the names under which *sidecar* exists, the extension in either case."""
    names = (sidecar, sidecar.with_suffix(".XMP"))
    return [name for name in names if os.path.lexists(name)]


def _once(found: dict[Path, list[Path]]) -> Iterable[tuple[Path, list[Path]]]:
    """Drop a second name of the same file (file systems that ignore case)."""
    seen: set[tuple[int, int]] = set()
    for sidecar, files in found.items():
        try:
            stat = sidecar.lstat()
        except OSError:
            yield sidecar, files
            continue
        if (stat.st_dev, stat.st_ino) not in seen:
            seen.add((stat.st_dev, stat.st_ino))
            yield sidecar, files


def _new(path: Path, naming: Naming, shared: _Shared) -> Path:
    """Return the name of a sidecar that is to be made for *path*."""
    proprietary = is_raw(path) and extension(path) not in _OPEN_RAW
    wants_stem = naming == "stem" or (naming == "auto" and proprietary)
    if wants_stem and not _existing(_stem(path)) and not shared.ambiguous:
        return _stem(path)
    return _full(path)


class _Shared:
    """Whether ``IMG.xmp`` speaks for one file of a photo.

    It may be another picture's: ``IMG.JPG`` and ``IMG.PNG`` from two phones lie in one folder and
    are two photos; and beside ``IMG.CR3.jpg``, ``IMG.CR3.xmp`` is that of ``IMG.CR3``. Then its own
    ``photoshop:SidecarForExtension`` decides, else it is left alone.
    """

    def __init__(self, path: Path, members: list[Path]) -> None:
        self._path = path
        self._members = {member.name for member in members}
        self._known_ambiguous: bool | None = None

    @property
    def ambiguous(self) -> bool:
        """Say whether a picture that is not of this photo has the same stem, or is the stem."""
        if self._known_ambiguous is None:
            try:
                names = [path.name for path in self._path.parent.iterdir()]
            except OSError:
                names = []
            self._known_ambiguous = any(self._is_rival(name) for name in names)
        return self._known_ambiguous

    def _is_rival(self, name: str) -> bool:
        stem, dot, ending = name.rpartition(".")
        return (
            bool(dot)
            and self._path.stem in {stem, name}
            and ending.lower() in IMAGE_EXTENSIONS
            and name not in self._members
        )

    def speaks(self, sidecar: Path) -> bool:
        """Say whether the existing stem sidecar is this file's."""
        meant = _meant_extension(sidecar)
        if meant:
            return meant == extension(self._path)
        return not self.ambiguous


def _meant_extension(sidecar: Path) -> str:
    """Return the extension that Lightroom recorded in *sidecar*, lower case; empty if none."""
    try:
        old = read(sidecar)
        if old is None:
            return ""
        texts = Document(decode(old.data).text).texts(_SIDECAR_FOR)
    except (SidecarError, OSError):
        return ""  # it will be refused, and said so, when it is merged
    return texts[0].strip().lower().lstrip(".") if texts else ""
