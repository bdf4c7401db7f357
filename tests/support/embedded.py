"""What photos say themselves, read here as a decoder reads it, for the functions that want it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taggerd import files, metadata

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from taggerd.metadata import (
        Adopted,
        Adoption,
        Edit,
        Edited,
        Embedded,
        Inspection,
        Options,
        Said,
        Stale,
        View,
    )
    from taggerd.photo import Photo, Provenance, Sidecar, Tags
    from taggerd.settings import ContextWord


def said_by(path: Path, *, with_ours: bool = False) -> Embedded:
    """Return what the photo at *path* says."""
    try:
        with files.open_file(path) as file:
            return metadata.read_embedded(file, with_ours=with_ours)
    except OSError as error:
        return metadata.unreadable(path, str(error))


def said_by_all(photo: Photo) -> Said:
    """Return what each file of *photo* says."""
    return {file.path: said_by(file.path) for file in photo.files}


def write(
    photo: Photo, tags: Tags, provenance: Provenance, options: Options
) -> tuple[Sidecar, ...]:
    """Read, then write."""
    return metadata.write(photo, tags, provenance, options, said_by_all(photo))


def edit(photo: Photo, wanted: Edit, options: Options) -> Edited | Stale:
    """Read, then edit."""
    return metadata.edit(photo, wanted, options, said_by_all(photo))


def restore(photo: Photo, undo: str, options: Options) -> Edited:
    """Read, then restore."""
    return metadata.restore(photo, undo, options, said_by_all(photo))


def inspect(photo: Photo, options: Options, wanted: Collection[ContextWord] = ()) -> Inspection:
    """Read, then inspect."""
    return metadata.inspect(photo, options, said_by_all(photo), wanted)


def unhide_human_texts(photo: Photo, options: Options) -> tuple[Sidecar, ...]:
    """Read, then unhide."""
    return metadata.unhide_human_texts(photo, options, said_by_all(photo))


def adopt(photo: Photo, adoption: Adoption, options: Options) -> tuple[Adopted, ...]:
    """Read, then adopt."""
    return metadata.adopt(photo, adoption, options, said_by_all(photo))


def view(photo: Photo, options: Options) -> View:
    """Read, then view."""
    return metadata.view(photo, options, said_by(photo.primary.path, with_ours=True))
