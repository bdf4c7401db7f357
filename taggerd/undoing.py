"""Take back what taggerd wrote below some paths: finds the sidecars, and tells the ledger."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from taggerd import metadata, rooms
from taggerd.arrivals.filters import SIDECAR
from taggerd.arrivals.walk import UNREADABLE
from taggerd.catchup import Skip, find
from taggerd.siblings import Files, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from taggerd.configuration import Configuration
    from taggerd.metadata import Options, Withdrawal, Withdrawn
    from taggerd.photo import Photo, PhotoFile
    from taggerd.settings import Settings

BATCH = 100
"""Sidecars between two words to the ledger."""


class Request(NamedTuple):
    """What ``taggerd undo`` was asked for."""

    paths: Sequence[Path]
    """Photos, sidecars, or folders."""
    withdrawal: Withdrawal


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
    unreadable: list[Skip] = field(default_factory=list)


@dataclass(slots=True)
class Tally:
    """How an undo went."""

    ends: Counter[str] = field(default_factory=Counter)
    unreadable: list[Skip] = field(default_factory=list)
    waiting: int = 0
    """Files of photos that are in the queue: they will be tagged."""

    @property
    def all_well(self) -> bool:
        """Whether everything that was found could be taken back."""
        return not (self.ends["refused"] or self.unreadable)


async def undo(
    configuration: Configuration, request: Request, told: Callable[[Withdrawn, bool], None]
) -> Tally:
    """Take back what is asked for; *told* of every sidecar, and whether it was named itself.

    The sidecars alone say what is to be taken back. Where there is a ledger it learns which photos
    are not tagged any more: they are left alone until somebody asks for them again.

    Raises:
        ConfigurationError: a path cannot be read. StartError: the state cannot be used.
        StorageError: a disk is full or failing.

    """
    settings, wanted = configuration.settings, request.withdrawal
    options = rooms.metadata_options(settings)
    found = await asyncio.to_thread(_find, request.paths, settings, options)
    tally = Tally(unreadable=found.unreadable)
    files = Files()
    async with AsyncExitStack() as stack:
        ledger = None
        if rooms.has_ledger(settings) and not wanted.dry_run:
            ledger = await stack.enter_async_context(rooms.opened_ledger(settings))
        for path in found.named_bare:
            told(metadata.Withdrawn(path=path, end="nothing", reason="has no sidecar"), True)  # noqa: FBT003 - see told
        sidecars = iter(found.sidecars.items())
        while batch := list(islice(sidecars, BATCH)):
            untagged: list[Path] = []
            try:
                for path, named in batch:
                    done = await asyncio.to_thread(metadata.withdraw, path, wanted, options)
                    tally.ends[done.end] += 1
                    told(done, named)
                    if done.untagged:
                        untagged += files.of(path)
            finally:
                if ledger is not None and untagged:
                    await ledger.undone(untagged)
        if ledger is not None:
            if wanted.since is None and wanted.parts == metadata.PARTS:
                await ledger.undone(found.bare)  # an earlier undo may have died before it said so
            standing = await ledger.standing(found.photos)
            tally.waiting = sum(s.state in {"queued", "claimed"} for s in standing.values())
    return tally


def _find(paths: Sequence[Path], settings: Settings, options: Options) -> Found:
    """Look for sidecars at and below *paths*.

    Raises:
        ConfigurationError: a path is not there or cannot be read.

    """
    found = Found()
    for path in paths:
        below = find([path], settings)
        named = not below.folders
        for skip in below.skipped:
            if skip.reason == SIDECAR:
                found.sidecars[skip.path] = found.sidecars.get(skip.path, False) or named
            elif skip.named or skip.reason.startswith(UNREADABLE):
                found.unreadable.append(skip)
        found.photos += [seen.file for seen in below.seen]
        for photo in whole(below.photos) if named else below.photos:
            _add_sidecars_of(photo, found, options, named=named)
    return found


def _add_sidecars_of(photo: Photo, found: Found, options: Options, *, named: bool) -> None:
    """Add the sidecars that *photo* has."""
    there = [path for path in metadata.plan(photo, options) if os.path.lexists(path)]
    for path in there:
        found.sidecars[path] = found.sidecars.get(path, False) or named
    if not there:
        found.bare.append(photo.primary.path)
        found.named_bare += [photo.primary.path] if named else []
