"""Write a photo's sidecars, and its files themselves where tags are embedded.

Everything here runs in a worker process.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from taggerd import files
from taggerd.errors import PhotoMoved, SidecarChanged, SidecarError, SidecarUnwritable
from taggerd.metadata import atomic, naming
from taggerd.metadata.copies import with_record
from taggerd.metadata.embedded import names_of
from taggerd.metadata.embedding.formats import embeddable
from taggerd.metadata.embedding.packet import changed_packet
from taggerd.metadata.embedding.photo import change_packet, embed
from taggerd.metadata.merge import Merged, merge, new_sidecar, unhidden
from taggerd.metadata.undo.content import UndoOptions
from taggerd.metadata.undo.files import undo_embedded
from taggerd.photo import Sidecar, printable

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from taggerd.metadata.atomic import Old
    from taggerd.metadata.camera import Camera
    from taggerd.metadata.embedded import Fields, Said
    from taggerd.metadata.naming import Target
    from taggerd.metadata.options import Options
    from taggerd.metadata.xmp.document import Document
    from taggerd.photo import Photo, Provenance, Tags


def plan(photo: Photo, options: Options) -> tuple[Path, ...]:
    """Return the sidecars that :func:`write` would write, whether or not they exist yet."""
    return tuple(target.path for target in naming.targets(photo, options.naming))


def unhide_human_texts(photo: Photo, options: Options, said: Said) -> tuple[Sidecar, ...]:
    """Take machine texts out of *photo* and its sidecars that hide what a human wrote since.

    What the photo's own files have *said* names the camera, whose words are no human's.

    A file that cannot be understood or written stays as it is: the note comes when it is tagged.

    Returns:
        The photo's own files that were changed.

    Raises:
        PhotosDiskError: the disk is full, read-only or failing.
    """
    own = Own((file.path for file in photo.files), said)
    for path in plan(photo, options):
        with suppress(SidecarError):
            old = atomic.read(path)
            if old is not None and (data := unhidden(old.data, own.camera)) != old.data:
                atomic.replace(path, old, data)
    changed: list[Sidecar] = []
    change = partial(unhidden, camera=own.camera)
    for file in photo.files:
        if embeddable(file.path):
            with suppress(SidecarError, PhotoMoved):
                atomic.clear(file.path)
                new, _ = change_packet(
                    file.path, file.stamp, lambda packet: changed_packet(packet, change)
                )
                if new != file.stamp:
                    changed.append(Sidecar(path=file.path, written=True, embedded=True, stamp=new))
    return tuple(changed)


def write(
    photo: Photo, tags: Tags, provenance: Provenance, options: Options, said: Said
) -> tuple[Sidecar, ...]:
    """Write *tags* into every sidecar of *photo*, or its files themselves, each on its own.

    What the files have *said* themselves a sidecar must not hide.

    A sidecar that already says all this is left alone (``written`` is False). One that is refused
    or cannot be written stays as it is byte for byte and says why in ``error``; the others are
    written all the same. A file that tags cannot be embedded into gets a sidecar, whose notes say
    why, and one that exists is kept up to date in any case: readers would take its old words.

    Raises:
        PhotosDiskError: the disk is full, read-only or failing; nothing is half written.
        PhotoMoved: a photo that is to be embedded into changed or went.
    """
    targets = naming.targets(photo, options.naming)
    if options.target == "sidecar":
        return tuple(_write_one(target, tags, provenance, options, said) for target in targets)
    if options.target == "both":
        sidecars = [_write_one(target, tags, provenance, options, said) for target in targets]
        done, refused = _embed_all(photo, tags, provenance, options, said)
        return (*done, *_with_reasons(sidecars, targets, refused))
    done, refused = _embed_all(photo, tags, provenance, options, said)
    targets = tuple(t for t in targets if refused.keys() & set(t.files) or files.exists(t.path))
    sidecars = [_write_one(target, tags, provenance, options, said) for target in targets]
    return (*done, *_with_reasons(sidecars, targets, refused))


def _embed_all(
    photo: Photo, tags: Tags, provenance: Provenance, options: Options, said: Said
) -> tuple[list[Sidecar], dict[Path, str]]:
    """Embed into the files of *photo*; return the outcomes, and why which files were refused."""
    done: list[Sidecar] = []
    refused: dict[Path, str] = {}
    for file in photo.files:
        path = file.path
        if not embeddable(path):
            refused[path] = ""  # expected of a raw file, and not worth a note
            continue
        try:
            done.append(embed(file, tags, provenance, options, said[path]))
        except SidecarError as error:
            refused[path] = f"{printable(path.name)} was not embedded into: it {error}"
            # What an earlier pass embedded must not contradict the sidecar.
            earlier = undo_embedded(path, UndoOptions(), options)
            if earlier.stamp is not None:
                refused[path] += "; tags embedded earlier were removed"
                emptied = Sidecar(path=path, written=True, embedded=True, emptied=True)
                done.append(replace(emptied, stamp=earlier.stamp))
            elif earlier.end == "refused":
                refused[path] += "; tags embedded earlier are still in it"
    return done, refused


def _with_reasons(
    sidecars: Sequence[Sidecar], targets: Sequence[Target], refused: Mapping[Path, str]
) -> list[Sidecar]:
    """Add to the notes of each sidecar why its files were not embedded into."""
    return [
        replace(sidecar, notes=(*(refused[f] for f in target.files if refused.get(f)),
                                *sidecar.notes))
        for sidecar, target in zip(sidecars, targets, strict=True)
    ]  # fmt: skip


def _write_one(
    target: Target, tags: Tags, provenance: Provenance, options: Options, said: Said
) -> Sidecar:
    """Write one sidecar, merging again when another program wrote at the same moment."""
    name = printable(target.path)
    for _ in options.retries.tries():
        try:
            return _write_once(target, tags, provenance, options, said)
        except SidecarChanged as error:
            reason = f"{name} {error}; run taggerd retry"
        except SidecarUnwritable as error:
            reason = f"{name} {error}; make it writable, then run taggerd retry"
            break
        except SidecarError as error:
            reason = f"{name} {error}; left unchanged: repair or remove it, then run taggerd retry"
            if not options.retries.may_grow(target.path):
                break
        target = target._replace(old=None)
    return Sidecar(path=target.path, written=False, error=reason)


def _write_once(
    target: Target, tags: Tags, provenance: Provenance, options: Options, said: Said
) -> Sidecar:
    """Read, merge and write once."""
    path, own = target.path, Own(target.files, said)
    old = target.old or atomic.read(path)
    if old is None:
        photo = _stat(target.files[0])
        _, merged = merged_with(None, target, tags, provenance, options, own)
        atomic.create(path, merged.data, photo)
        return _outcome(Sidecar(path=path, written=True, created=True), merged, own)
    _, merged = merged_with(old, target, tags, provenance, options, own)
    if merged.data == old.data:
        atomic.clear(path)
        return _outcome(Sidecar(path=path, written=False), merged, own)
    backup = atomic.backup_name(path, provenance.date) if options.backup_originals else None
    kept = atomic.replace(path, old, merged.data, backup=backup)
    return _outcome(Sidecar(path=path, written=True, backup=kept), merged, own)


def merged_with(  # noqa: PLR0913, PLR0917 - what a merge depends on
    old: Old | None,
    target: Target,
    tags: Tags,
    provenance: Provenance,
    options: Options,
    own: Own,
) -> tuple[bytes | Document, Merged]:
    """Return what the sidecar *target* says before, and what it would say; nothing is written.

    Raises:
        SidecarRefused: it cannot be merged safely.
    """
    if old is None:
        blank = new_sidecar(names_of(own.fields()), provenance.version)
        return blank, merge(blank, tags, provenance, options, made=True, unread=own.unread)
    document = with_record(target.path, old.document)
    return document, merge(
        document,
        tags,
        provenance,
        options,
        embedded=own.fields,
        unread=own.unread,
        camera=own.camera,
    )


class Own:
    """What a photo's own files say, and whether anybody asked."""

    def __init__(self, paths: Iterable[Path], said: Said) -> None:
        """Take what the files at *paths* have *said*."""
        self._said = tuple(said[path] for path in paths)
        self._asked = False

    @property
    def notes(self) -> tuple[str, ...]:
        """What could not be read of what was asked for."""
        return tuple(note for said in self._said for note in said.notes) if self._asked else ()

    def fields(self) -> Fields:
        """Return what the files say, the first file's words before the others'."""
        self._asked = True
        found: Fields = {}
        for said in self._said:
            found = said.fields | found
        return found

    def unread(self) -> bool:
        """Say whether a file may hold a title and keywords that could not be read."""
        return any(said.unread for said in self._said)

    def camera(self) -> Camera | None:
        """Return the camera that the first file names which names any."""
        return next((said.camera for said in self._said if said.camera), None)


def _stat(photo: Path) -> os.stat_result:
    """Return the photo's own stat, for the new sidecar's owner and mode."""
    try:
        return files.lstat(photo)
    except OSError:
        message = f"was not created: {printable(photo.name)} is gone"
        raise SidecarUnwritable(message) from None


def _outcome(sidecar: Sidecar, merged: Merged, own: Own) -> Sidecar:
    """Add to *sidecar* what is in it now, and what to say about it."""
    return replace(
        sidecar,
        digest=hashlib.blake2b(merged.data, digest_size=32).hexdigest(),
        notes=(*own.notes, *merged.notes),
        shadowing=merged.shadowing,
    )
