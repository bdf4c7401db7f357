"""Write tags into a photo file itself, where that cannot harm it; else say why not.

=================== ===================================================================
JPEG, PNG, WebP     a splice puts the packet in; every other byte is the same
TIFF, DNG           likewise; nothing moves, what is new goes to the end
HEIC, HEIF, AVIF    exiftool writes, where it is installed; compared item by item
proprietary raw     never
=================== ===================================================================

Tags are always written into a copy. It is read again from the disk and compared with the photo
before it replaces it: the packet must be the one meant, and everything else the same. Exiv2 reads
both as well and must find the same EXIF and IPTC. IPTC-IIM is not written: words that it has and
XMP lacks are copied into XMP, and it stays as it was.

Runs Exiv2 on foreign bytes: call it in a worker process only.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from taggerd.errors import PhotoChanged, SidecarChanged, SidecarError, TaggerdError
from taggerd.metadata import atomic
from taggerd.metadata.embedding import heif, replacement
from taggerd.metadata.embedding.container import Edited, FileSource, Span, blocks, digest_of
from taggerd.metadata.embedding.formats import (
    Native,
    body_of,
    comparable,
    container_of,
    embeddable,
    native_of,
)
from taggerd.metadata.embedding.heif import Heif
from taggerd.metadata.embedding.packet import Parts, merged_packet, recorded, undone_packet
from taggerd.metadata.embedding.tiff import Tiff
from taggerd.metadata.undo.content import Undone, UndoOutcome, mentions_us, not_ours
from taggerd.metadata.xmp import refuse
from taggerd.photo import Sidecar, Stamp, printable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from taggerd.metadata.embedding.container import Container
    from taggerd.metadata.options import Options
    from taggerd.photo import PhotoFile, Provenance, Tags


def embed(file: PhotoFile, tags: Tags, provenance: Provenance, options: Options) -> Sidecar:
    """Merge *tags* into the XMP packet of the photo *file*.

    Returns:
        The outcome; ``written`` is False where the file said all this already.

    Raises:
        SidecarError: it is not written to and is as it was; the message says why.
        PhotoMoved: it changed or went meanwhile.
        StorageError: the disk is full or failing.
    """
    path = file.path
    with replacement.opened(path, file.stamp) as original:
        source = FileSource(original)
        container = container_of(path, source)
        native = native_of(original)
        merged = merged_packet(
            container.packet,
            native,
            tags,
            replace(provenance, body=body_of(container)),
            options,
            original=lambda: _digest(source),
        )
        notes = list(merged.notes)
        done = Sidecar(path=path, written=False, embedded=True, shadowing=merged.shadowing)
        if merged.data == container.packet:
            atomic.clear(path)
            return replace(done, notes=merged.notes)
        backup = atomic.backup_name(path, provenance.date) if options.backup_originals else None
        stamp, kept = _replace(path, original, container, native, merged.data, backup=backup)
    if native[1]:
        notes.append(f"{printable(path.name)}: its IPTC-IIM was left unchanged")
    return replace(done, written=True, stamp=stamp, backup=kept, notes=tuple(notes))


def read_packet(path: Path) -> bytes | None:
    """Return the XMP packet in the photo at *path*; None if it has none.

    Raises:
        SidecarError: the file is damaged, unreadable, or of a format that is not embedded into.
        PhotoMoved: it is gone.
        StorageError: the disk fails.
    """
    with replacement.opened(path) as original:
        return container_of(path, FileSource(original)).packet


def embedded_core(path: Path) -> bytes:
    """Return what a sidecar would hold of the packet in the photo at *path*, if it is ours.

    Empty where taggerd embedded nothing, also where the photo is damaged or of another format.

    Raises:
        SidecarError: there is something of taggerd's in it that cannot be read.
        PhotoMoved: it is gone. StorageError: the disk fails.
    """
    if not embeddable(path):
        return b""
    try:
        packet = read_packet(path)
    except SidecarError:
        if file_mentions_us(path):
            raise
        return b""
    return Parts.of(packet).core if packet and mentions_us(packet) else b""


def change_packet(
    path: Path,
    stamp: Stamp,
    change: Callable[[bytes], bytes | None],
    *,
    backup: Path | None = None,
) -> tuple[Stamp, Path | None]:
    """Have *change* make a new packet from the one in the photo at *path*.

    Args:
        path: the photo.
        stamp: what it is taken to be.
        change: gets the packet (empty where there is none); returns another, or None to remove it.
        backup: keep the photo as it was under this name.

    Returns:
        The photo's new stamp, and where the old one was kept.

    Raises:
        SidecarError: it is not written to and is as it was.
        PhotoMoved: it is not what *stamp* says.
        StorageError: the disk is full or failing.
    """
    with replacement.opened(path, stamp) as original:
        container = container_of(path, FileSource(original))
        packet = change(container.packet or b"")
        if packet == container.packet:
            return stamp, None
        return _replace(path, original, container, native_of(original), packet, backup=backup)


def undo_packet(
    path: Path, undo: Callable[[bytes], Undone], *, backup: Path | None, dry_run: bool
) -> UndoOutcome:
    """Take out of the photo at *path* what taggerd embedded.

    Args:
        path: the photo.
        undo: does it on the bytes that a sidecar would have.
        backup: keep the photo as it was under this name.
        dry_run: only say what would happen.

    Raises:
        SidecarError, PhotoMoved, StorageError: as :func:`change_packet`.
    """
    with replacement.opened(path) as original:
        stamp = Stamp.of(os.fstat(original))
        source = FileSource(original)
        container = container_of(path, source)
        if not container.packet or not mentions_us(container.packet):
            if not dry_run:
                with suppress(SidecarError):  # left by an undo that was killed when it was done
                    atomic.clear(path)
            return replace(not_ours(b"").outcome(path), embedded=True)
        core = Parts.of(container.packet).core
        undone = undo(core)
        outcome = replace(undone.outcome(path), embedded=True)
        if undone.end == "nothing":
            return outcome
        packet = undone_packet(container.packet, undone)
        before = recorded(core).original
        whole, exact = undone.end in {"removed", "restored"}, False
        if whole and not isinstance(container, Heif):
            exact = _digest(Edited(source, container.edits(packet))) == before
        if not dry_run:
            new, kept = _replace(
                path, original, container, native_of(original), packet, backup=backup
            )
            outcome = replace(outcome, before=stamp, stamp=new, backup=kept)
    if isinstance(container, Heif) and outcome.stamp is not None:
        with replacement.opened(path, outcome.stamp) as made:  # only exiftool knows what it makes
            exact = _digest(FileSource(made)) == before
    if whole:
        inexact = "nothing of taggerd's is left in it, but it is not byte for byte what it was"
        return replace(
            outcome,
            end="restored" if exact else "cleaned",
            reason="" if exact else inexact,
        )
    return outcome


def file_mentions_us(path: Path) -> bool:
    """Say whether the bytes of *path*, of whatever format, name taggerd's namespace."""
    kept = b""
    with (
        suppress(TaggerdError, OSError),
        replacement.opened(path) as descriptor,
    ):
        source = FileSource(descriptor)
        for block in blocks(source, Span(0, source.size)):
            if mentions_us(kept + block):
                return True
            kept = block[-200:]
    return False


def origin(path: Path) -> str:
    """Return the digest that the photo at *path* had before anything was embedded into it.

    Empty where nothing was, or where anything but its XMP changed since.
    """
    if not embeddable(path):
        return ""
    try:
        with replacement.opened(path) as original:
            container = container_of(path, FileSource(original))
            if not container.packet:
                return ""
            record = recorded(Parts.of(container.packet).core)
            return record.digest if record.body and record.body == body_of(container) else ""
    except (TaggerdError, OSError):
        return ""  # the fault is reported when the photo is read or written


def _digest(source: FileSource | Edited) -> str:
    return digest_of(source, Span(0, source.size))


def _replace(  # noqa: PLR0913 - the photo, what is in it, and what is to be
    path: Path,
    original: int,
    container: Container,
    native: Native,
    packet: bytes | None,
    *,
    backup: Path | None,
) -> tuple[Stamp, Path | None]:
    """Replace the photo by a copy with *packet*; return its new stamp, and where it was kept."""

    def make(descriptor: int) -> None:
        if isinstance(container, Heif):
            heif.rewrite(original, descriptor, packet)
            return
        source = Edited(FileSource(original), container.edits(packet))
        with open(descriptor, "wb", closefd=False) as copy:
            copy.writelines(blocks(source, Span(0, source.size)))

    def check(descriptor: int) -> None:
        made = container_of(path, FileSource(descriptor))
        if made.packet != packet:
            refuse("could not be verified: the packet in its copy is not the intended one")
        if made.fingerprint() != container.fingerprint():
            refuse("could not be verified: something besides XMP differs in its copy")
        if isinstance(made, Tiff) and isinstance(container, Tiff) and not made.keeps(container):
            refuse("could not be verified: its copy differs in other places")
        if comparable(native_of(descriptor)) != comparable(native):
            refuse("could not be verified: Exiv2 reads other EXIF or IPTC in its copy")

    try:
        return replacement.exchange(path, original, make, check, backup=backup)
    except SidecarChanged as error:
        message = f"{printable(path)} {error}"
        raise PhotoChanged(message) from error
