"""Take back what taggerd wrote below some paths: finds what holds it, and tells the ledger."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from taggerd import metadata
from taggerd.arrivals import SidecarPhotos, Skip, complete_photos, find
from taggerd.errors import WorkerLost
from taggerd.ledger import Rewritten
from taggerd.services import has_ledger, metadata_options, open_ledger
from taggerd.workers.pool import Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from taggerd.ledger import Ledger
    from taggerd.metadata import Options, UndoOptions, UndoOutcome
    from taggerd.photo import Photo, PhotoFile
    from taggerd.settings import Settings
    from taggerd.settings.configuration import Configuration

BATCH = 100
"""Sidecars between two words to the ledger."""


class UndoRequest(NamedTuple):
    """What ``taggerd undo`` was asked for."""

    paths: Sequence[Path]
    """Photos, sidecars, or folders."""
    wanted: UndoOptions


@dataclass(slots=True)
class Found:
    """What lies below the paths."""

    sidecars: dict[Path, bool] = field(default_factory=dict)
    """Each once; True: it, or its photo, was named itself."""
    photos: list[PhotoFile] = field(default_factory=list)
    bare: list[Path] = field(default_factory=list)
    """Photos without a sidecar."""
    named_bare: list[Path] = field(default_factory=list)
    """Those of them that were named themselves."""
    embeddable: dict[Path, bool] = field(default_factory=dict)
    """Photo files that tags may have been embedded into; True: the photo was named itself."""
    unreadable: list[Skip] = field(default_factory=list)


@dataclass(slots=True)
class Tally:
    """How an undo went."""

    ends: Counter[str] = field(default_factory=Counter)
    """Of sidecars."""
    photos: Counter[str] = field(default_factory=Counter)
    """Of photo files that tags had been embedded into."""
    unreadable: list[Skip] = field(default_factory=list)
    waiting: int = 0
    """Files of photos that are in the queue: they will be tagged."""

    @property
    def all_well(self) -> bool:
        """Whether everything that was found could be taken back."""
        return not (self.ends["refused"] or self.photos["refused"] or self.unreadable)


async def undo_photos(
    configuration: Configuration, request: UndoRequest, told: Callable[[UndoOutcome, bool], None]
) -> Tally:
    """Take back what is asked for; *told* of every file, and whether it was named itself.

    The files alone say what is to be taken back. Where there is a ledger it learns which photos
    are not tagged any more: they are left alone until somebody asks for them again.

    Raises:
        ConfigurationError: a path cannot be read. StartError: the state cannot be used.
        StorageError: a disk is full or failing.

    """
    settings, wanted = configuration.settings, request.wanted
    options = metadata_options(settings)
    found = await asyncio.to_thread(_find, request.paths, settings, options)
    tally = Tally(unreadable=found.unreadable)
    sidecar_photos = SidecarPhotos()
    async with AsyncExitStack() as stack:
        ledger = None
        if has_ledger(settings) and not wanted.dry_run:
            ledger = await stack.enter_async_context(open_ledger(settings))
        sidecars = iter(found.sidecars.items())
        while batch := list(islice(sidecars, BATCH)):
            untagged: list[Path] = []
            try:
                for path, named in batch:
                    done = await asyncio.to_thread(metadata.undo_sidecar, path, wanted, options)
                    tally.ends[done.end] += 1
                    told(done, named)
                    if done.untagged:
                        untagged += sidecar_photos.of(path)
            finally:
                if ledger is not None and untagged:
                    await ledger.mark_undone(untagged)
        holding = await _take_out(found, settings, request, tally=tally, told=told, ledger=ledger)
        for path in found.named_bare:
            if path not in holding:
                told(metadata.UndoOutcome(path=path, end="nothing", reason="has no sidecar"), True)  # noqa: FBT003 - see told
        if ledger is not None:
            if wanted.since is None and wanted.parts == metadata.PARTS:
                # An earlier undo may have died before it said so.
                await ledger.mark_undone(path for path in found.bare if path not in holding)
            states = await ledger.file_states(found.photos)
            tally.waiting = sum(s.state in {"queued", "claimed"} for s in states.values())
    return tally


async def _take_out(  # noqa: PLR0913 - the parts of one undo
    found: Found,
    settings: Settings,
    request: UndoRequest,
    *,
    tally: Tally,
    told: Callable[[UndoOutcome, bool], None],
    ledger: Ledger | None,
) -> set[Path]:
    """Take out what was embedded into photos; return those that held or hold something of ours."""
    holding: set[Path] = set()
    options = metadata_options(settings)
    workers = Workers(settings.workers)
    try:
        for path, named in found.embeddable.items():
            try:
                done = await workers.run(metadata.undo_embedded, path, request.wanted, options)
            except WorkerLost as error:
                done = metadata.UndoOutcome(path=path, end="refused", reason=str(error))
            if done.end == "nothing" and done.untagged:
                continue
            holding.add(path)
            tally.photos[done.end] += 1
            # One by one and at once: a daemon that watches sees the file change.
            if ledger is not None and done.before is not None and done.stamp is not None:
                rewritten = Rewritten(path, done.before, done.stamp)
                await ledger.mark_undone([path] if done.untagged else [], [rewritten])
            told(done, named)
    finally:
        await workers.close()
    return holding


def _find(paths: Sequence[Path], settings: Settings, options: Options) -> Found:
    """Look for sidecars, and photos that may hold tags themselves, at and below *paths*.

    Raises:
        ConfigurationError: a path is not there or cannot be read.

    """
    found = Found()
    for path in paths:
        below = find([path], settings)
        named = not below.folders
        for skip in below.skipped:
            if skip.kind == "sidecar":
                found.sidecars[skip.path] = found.sidecars.get(skip.path, False) or named
            elif skip.named or skip.kind == "unreadable":
                found.unreadable.append(skip)
        found.photos += [seen.file for seen in below.seen]
        for photo in complete_photos(below.photos) if named else below.photos:
            _add_sidecars_of(photo, found, options, named=named)
    return found


def _add_sidecars_of(photo: Photo, found: Found, options: Options, *, named: bool) -> None:
    """Add the sidecars that *photo* has, and its files themselves."""
    for file in photo.files:
        if metadata.embeddable(file.path):
            found.embeddable[file.path] = found.embeddable.get(file.path, False) or named
    there = [path for path in metadata.plan(photo, options) if os.path.lexists(path)]
    for path in there:
        found.sidecars[path] = found.sidecars.get(path, False) or named
    if not there:
        found.bare.append(photo.primary.path)
        found.named_bare += [photo.primary.path] if named else []
