"""Which sidecars a photo has or gets.

Every one that exists is updated, under either name (``IMG.CR3.xmp`` or ``IMG.xmp``). If there is
none, the setting ``sidecar.naming`` decides.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from taggerd import files
from taggerd.errors import SidecarError
from taggerd.metadata.atomic import read
from taggerd.metadata.xmp.namespaces import named
from taggerd.photo import IMAGE_EXTENSIONS, Stamp, extension, is_raw

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from taggerd.metadata.atomic import Old
    from taggerd.metadata.options import Naming
    from taggerd.photo import Photo

_SIDECAR_FOR = named("photoshop:SidecarForExtension")
_OPEN_RAW = frozenset({"dng"})
"""Raw formats that Lightroom writes into, without a sidecar."""


class Target(NamedTuple):
    """A sidecar to be written, and the files of the photo that it describes."""

    path: Path
    files: tuple[Path, ...]
    old: Old | None = None
    """Its content, where that was read to find out whose it is."""


def targets(photo: Photo, naming: Naming) -> tuple[Target, ...]:
    """Return the sidecars of *photo*, each once, with the name they have on disk."""
    members = [file.path for file in photo.files]
    found: dict[Path, list[Path]] = {}
    read: dict[Path, Old | None] = {}
    for path in members:
        shared = _Shared(path, members, read)
        stems = (stem for stem in _existing(_stem(path)) if shared.describes(stem))
        here = [*_existing(_full(path)), *stems]
        for sidecar in here or [_new(path, naming, shared)]:
            found.setdefault(sidecar, []).append(path)
    return tuple(Target(path, tuple(own), read.get(path)) for path, own in _once(found))


def stamps(paths: Iterable[Path]) -> dict[Path, Stamp]:
    """Return the stamps of a photo's files *paths* and of what may be their sidecars.

    As long as they are the same, so is what :func:`targets` returns, and what stands in those.
    """
    found: dict[Path, Stamp] = {}
    for path in paths:
        for stem in (_full(path), _stem(path)):
            for name in (path, stem, stem.with_suffix(".XMP")):
                with suppress(OSError):
                    found[name] = Stamp.of(files.lstat(name))
    return found


def shorter(sidecar: Path) -> Path | None:
    """Return ``IMG.xmp`` for ``IMG.CR3.xmp``; None for one that is not named in full."""
    photo = sidecar.with_suffix("")
    return _stem(photo) if extension(photo) in IMAGE_EXTENSIONS else None


def _full(path: Path) -> Path:
    return path.with_name(path.name + ".xmp")


def _stem(path: Path) -> Path:
    return path.with_suffix(".xmp")


def _existing(sidecar: Path) -> list[Path]:
    """Return the names under which *sidecar* exists, with its extension in either case."""
    names = (sidecar, sidecar.with_suffix(".XMP"))
    return [name for name in names if files.exists(name)]


def _once(found: dict[Path, list[Path]]) -> Iterable[tuple[Path, list[Path]]]:
    """Drop second names of the same file (on file systems that ignore case)."""
    seen: set[tuple[int, int]] = set()
    for sidecar, own in found.items():
        try:
            stat = files.lstat(sidecar)
        except OSError:
            yield sidecar, own
            continue
        if (stat.st_dev, stat.st_ino) not in seen:
            seen.add((stat.st_dev, stat.st_ino))
            yield sidecar, own


def _new(path: Path, naming: Naming, shared: _Shared) -> Path:
    """Return the name of a new sidecar for *path*."""
    proprietary = is_raw(path) and extension(path) not in _OPEN_RAW
    wants_stem = naming == "stem" or (naming == "auto" and proprietary)
    if wants_stem and not _existing(_stem(path)) and not shared.ambiguous:
        return _stem(path)
    return _full(path)


class _Shared:
    """Whether ``IMG.xmp`` describes one file of a photo.

    It may be another picture's: ``IMG.JPG`` and ``IMG.PNG`` in one folder are two photos, and
    beside ``IMG.CR3.jpg`` ``IMG.CR3.xmp`` belongs to ``IMG.CR3``. Then its own
    ``photoshop:SidecarForExtension`` decides; without one it is left alone.
    """

    def __init__(self, path: Path, members: list[Path], read: dict[Path, Old | None]) -> None:
        self._path = path
        self._read = read
        self._members = {member.name for member in members}
        self._known_ambiguous: bool | None = None

    @property
    def ambiguous(self) -> bool:
        """Say whether a picture of another photo has the same stem, or is named by it."""
        if self._known_ambiguous is None:
            try:
                names = files.names_in(self._path.parent)
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

    def describes(self, sidecar: Path) -> bool:
        """Say whether the existing stem sidecar is this file's."""
        meant = self._meant_extension(sidecar)
        if meant:
            return meant == extension(self._path)
        return not self.ambiguous

    def _meant_extension(self, sidecar: Path) -> str:
        """Return the extension that Lightroom recorded in *sidecar*, lower case; empty if none."""
        try:
            if sidecar not in self._read:
                self._read[sidecar] = read(sidecar)
            old = self._read[sidecar]
            texts = old.document.texts(_SIDECAR_FOR) if old is not None else ()
        except (SidecarError, OSError):
            return ""  # the merge refuses it and says why
        return texts[0].strip().lower().lstrip(".") if texts else ""
