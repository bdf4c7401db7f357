"""What photos carry, and what other programs display of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from taggerd import metadata
from taggerd.arrivals import SidecarPhotos, Skip, complete_photos, find, work_below
from taggerd.photo import Photo, group
from taggerd.services import metadata_options, open_pools, read_embedded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from taggerd.metadata import View
    from taggerd.settings import Settings
    from taggerd.settings.configuration import Configuration


async def show_photos(
    configuration: Configuration, paths: Sequence[Path]
) -> AsyncIterator[View | Skip]:
    """Yield the view of each photo at and below *paths*, or why there is none.

    Raises:
        ConfigurationError: a path is not there or cannot be read.
        StorageError: a disk fails.

    """
    settings = configuration.settings
    await asyncio.to_thread(work_below, paths, settings)
    photos, skipped = await asyncio.to_thread(_find, paths, settings)
    for skip in skipped:
        yield skip
    options = metadata_options(settings)
    async with open_pools(settings) as pools:
        for photo in photos:
            first = Photo(photo.files[:1])
            said = await read_embedded(first, pools.decoders, pools.disks, with_ours=True)
            yield await pools.writers.run(metadata.view, photo, options, said[photo.primary.path])


def _find(paths: Sequence[Path], settings: Settings) -> tuple[list[Photo], list[Skip]]:
    photos: dict[Path, Photo] = {}
    skipped: list[Skip] = []
    for path in paths:
        below = find([path], settings)
        named = not below.folders
        found = complete_photos(below.photos) if named else below.photos
        for skip in below.skipped:
            if named and skip.kind == "sidecar":
                beside = SidecarPhotos().there(skip.path)
                found += complete_photos(group(beside))
                if not beside:
                    skipped.append(Skip(skip.path, "a sidecar without its photo"))
            elif named:
                skipped.append(skip)
        photos |= {photo.primary.path: photo for photo in found}
    return list(photos.values()), skipped
