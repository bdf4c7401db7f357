"""Undo below some paths: finds the files that hold taggerd's words, and tells the ledger."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from taggerd import files, metadata
from taggerd.arrivals import SidecarPhotos, Skip, complete_photos, find, work_below
from taggerd.errors import WorkerLost
from taggerd.ledger import Rewritten
from taggerd.services import has_ledger, metadata_options, open_ledger, open_pools

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from taggerd.ledger import Ledger
    from taggerd.metadata import Options, UndoOptions, UndoOutcome
    from taggerd.photo import Photo, PhotoFile
    from taggerd.settings import Settings
    from taggerd.settings.configuration import Configuration

BATCH = 100
"""Sidecars per message to the ledger."""


class UndoRequest(NamedTuple):
    """What ``taggerd undo`` was asked for."""

    paths: Sequence[Path]
    """Photos, sidecars, or folders."""
    wanted: UndoOptions


@dataclass(slots=True)
class Found:
    """What lies below the paths."""

    sidecars: dict[Path, bool] = field(default_factory=dict)
    """True: the user named it, or its photo, itself."""
    photos: list[PhotoFile] = field(default_factory=list)
    bare: list[Path] = field(default_factory=list)
    """Photos without a sidecar."""
    named_bare: list[Path] = field(default_factory=list)
    """Those of them that the user named themselves."""
    embeddable: dict[Path, bool] = field(default_factory=dict)
    """Photo files that may have tags embedded; True: the user named the photo itself."""
    unreadable: list[Skip] = field(default_factory=list)


@dataclass(slots=True)
class Tally:
    """How an undo went."""

    ends: Counter[str] = field(default_factory=Counter)
    """Of sidecars."""
    photos: Counter[str] = field(default_factory=Counter)
    """Of photo files with embedded tags."""
    unreadable: list[Skip] = field(default_factory=list)
    waiting: int = 0
    """Files of photos that are in the queue, and so will be tagged."""
    held: int = 0
    """Files of photos whose words wait to be accepted: there is nothing to undo yet."""

    @property
    def all_well(self) -> bool:
        """Whether everything that was found could be undone."""
        return not (self.ends["refused"] or self.photos["refused"] or self.unreadable)


async def undo_photos(
    configuration: Configuration,
    request: UndoRequest,
    on_outcome: Callable[[UndoOutcome, bool], None],
) -> Tally:
    """Undo what *request* asks for.

    The files alone say what there is to undo. The ledger, if there is one, learns which photos are
    not tagged any more: they are left alone until somebody asks for them. *on_outcome* is called
    for each file, with whether the user named it itself.

    Raises:
        ConfigurationError: a path cannot be read. StartError: the state cannot be used.
        StorageError: a disk is full or failing.

    """
    settings, wanted = configuration.settings, request.wanted
    options = metadata_options(settings)
    await asyncio.to_thread(work_below, request.paths, settings)
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
                    on_outcome(done, named)
                    if done.untagged:
                        untagged += sidecar_photos.of(path)
            finally:
                if ledger is not None and untagged:
                    await ledger.mark_undone(untagged)
        holding = await _undo_embedded(
            found, settings, request, tally=tally, on_outcome=on_outcome, ledger=ledger
        )
        for path in found.named_bare:
            if path not in holding:
                outcome = metadata.UndoOutcome(path=path, end="nothing", reason="has no sidecar")
                on_outcome(outcome, True)  # noqa: FBT003 - see on_outcome
        if ledger is not None:
            if wanted.since is None and wanted.parts == metadata.PARTS:
                # An earlier undo may have died before it told the ledger.
                await ledger.mark_undone(path for path in found.bare if path not in holding)
            states = await ledger.file_states(found.photos)
            tally.waiting = sum(s.state in {"queued", "claimed"} for s in states.values())
            tally.held = sum(s.state == "held" for s in states.values())
    return tally


async def _undo_embedded(  # noqa: PLR0913 - the parts of one undo
    found: Found,
    settings: Settings,
    request: UndoRequest,
    *,
    tally: Tally,
    on_outcome: Callable[[UndoOutcome, bool], None],
    ledger: Ledger | None,
) -> set[Path]:
    """Undo what was embedded into photos; return those that held or hold something of ours."""
    holding: set[Path] = set()
    options = metadata_options(settings)
    async with open_pools(settings) as pools:
        for path, named in found.embeddable.items():
            try:
                done = await pools.writers.run(
                    metadata.undo_embedded, path, request.wanted, options
                )
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
            on_outcome(done, named)
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
    there = [path for path in metadata.plan(photo, options) if files.exists(path)]
    for path in there:
        found.sidecars[path] = found.sidecars.get(path, False) or named
    if not there:
        found.bare.append(photo.primary.path)
        found.named_bare += [photo.primary.path] if named else []
