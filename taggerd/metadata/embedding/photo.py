"""Write tags into a photo file itself, where that cannot harm it; else say why not.

=================== ===================================================================
JPEG, PNG, WebP     a splice puts the packet in; every other byte is the same
TIFF, DNG           likewise; nothing moves, what is new goes to the end
HEIC, HEIF, AVIF    exiftool writes, where it is installed; compared item by item
proprietary raw     never
=================== ===================================================================

Tags are always written into a copy. It is read again from the disk and compared with the photo
before it replaces it: the packet must be the one meant, and everything else the same. Words that
IPTC-IIM has and XMP lacks are copied into XMP; in a JPEG, IPTC-IIM then follows XMP (see
:mod:`.iim`), elsewhere it stays as it was.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from taggerd.errors import (
    PhotoChanged,
    SidecarChanged,
    SidecarError,
    SidecarRefused,
    TaggerdError,
)
from taggerd.metadata import atomic
from taggerd.metadata.embedding import heif, replacement
from taggerd.metadata.embedding.container import Edited, FileSource, Span, blocks, digest_of
from taggerd.metadata.embedding.formats import (
    body_of,
    container_of,
    embeddable,
)
from taggerd.metadata.embedding.heif import Heif
from taggerd.metadata.embedding.iim import Iim, Said
from taggerd.metadata.embedding.iim import followed as iim_followed
from taggerd.metadata.embedding.iim import undone as iim_undone
from taggerd.metadata.embedding.packet import (
    Parts,
    edited_packet,
    merged_packet,
    recorded,
    undone_packet,
)
from taggerd.metadata.embedding.tiff import Tiff
from taggerd.metadata.undo.content import Undone, UndoOutcome, mentions_us, not_ours
from taggerd.metadata.xmp import refuse
from taggerd.metadata.xmp.document import Document
from taggerd.photo import Sidecar, Stamp, printable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from taggerd.metadata.embedded import Embedded
    from taggerd.metadata.embedding.container import Container
    from taggerd.metadata.options import Options
    from taggerd.photo import PhotoFile, Provenance, Tags


def embed(
    file: PhotoFile, tags: Tags, provenance: Provenance, options: Options, said: Embedded
) -> Sidecar:
    """Merge *tags* into the XMP packet of the photo *file*, whose metadata has *said* so much.

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
        if said.damaged:  # words in it would be hidden from then on
            refuse(f"has metadata that cannot be read ({', '.join(said.damaged)})")
        merged = merged_packet(
            container.packet,
            said,
            tags,
            replace(provenance, body=body_of(container)),
            options,
            original=lambda: _digest(source),
            iim=container.iim,
        )
        notes = list(merged.notes)
        done = Sidecar(path=path, written=False, embedded=True, shadowing=merged.shadowing)
        if merged.data == container.packet:
            atomic.clear(path)
            return replace(done, notes=merged.notes)
        backup = atomic.backup_name(path, provenance.date) if options.backup_originals else None
        new = _Content(merged.data)
        if said.has_iptc or container.iim is not None:
            new, more = _followed(container, merged.data)
            notes += [f"{printable(path.name)}: {note}" for note in more]
        stamp, kept = _replace(path, original, container, new, backup=backup)
    return replace(done, written=True, stamp=stamp, backup=kept, notes=tuple(notes))


class PacketEdit(NamedTuple):
    """A photo's packet before and after a person's edit."""

    file: PhotoFile
    old: bytes | None
    """None: it had none."""
    new: bytes | None


def edited(
    file: PhotoFile, change: Callable[[Document], bytes], said: Embedded, version: str
) -> PacketEdit:
    """Return what a person's edit *change* makes of the packet of *file*; nothing is written.

    Raises:
        SidecarError, PhotoMoved, StorageError: as :func:`embed`.
    """
    with replacement.opened(file.path, file.stamp) as original:
        source = FileSource(original)
        container = container_of(file.path, source)
        if said.damaged and not mentions_us(container.packet or b""):
            refuse(f"has metadata that cannot be read ({', '.join(said.damaged)})")
        new = edited_packet(
            container.packet,
            said,
            change,
            version,
            body=lambda: body_of(container),
            original=lambda: _digest(source),
            iim=container.iim,
        )
    return PacketEdit(file, container.packet, new)


def write_edit(edit: PacketEdit, *, backup: Path | None = None) -> Sidecar:
    """Write *edit* into its photo, whose packet must be the one that was edited.

    Raises:
        SidecarError, PhotoMoved, StorageError: as :func:`embed`.
    """
    path = edit.file.path
    with replacement.opened(path, edit.file.stamp) as original:
        container = container_of(path, FileSource(original))
        if container.packet != edit.old:
            message = f"{printable(path)} was changed at the same moment"
            raise PhotoChanged(message)
        new, notes = _Content(edit.new), list[str]()
        if edit.new is None:
            new = _Content(None, _undone_iim(container, None))
        elif container.iim is not None:
            new, notes = _followed(container, edit.new, edited=True)
        stamp, kept = _replace(path, original, container, new, backup=backup)
    notes = [f"{printable(path.name)}: {note}" for note in notes]
    return Sidecar(
        path=path, written=True, embedded=True, stamp=stamp, backup=kept, notes=tuple(notes)
    )


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
        new = _Content(packet, _undone_iim(container, packet))
        return _replace(path, original, container, new, backup=backup)


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
        whole = undone.end in {"removed", "restored"}
        iim = _undone_iim(container, None if whole else packet)
        before = recorded(core).original
        exact = False
        if whole and not isinstance(container, Heif):
            edits = [*container.edits(packet), *container.iim_edits(iim)]
            exact = _digest(Edited(source, edits)) == before
        if not dry_run:
            content = _Content(packet, iim)
            new, kept = _replace(path, original, container, content, backup=backup)
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
            if not record.body or record.body != body_of(container):
                return ""
            return record.digest or record.original  # none: a person's words, not tagged yet
    except (TaggerdError, OSError):
        return ""  # the fault is reported when the photo is read or written


def packet_of(path: Path) -> Document | None:
    """Return the XMP packet of the photo at *path*; None where it has none that can be read."""
    try:
        with replacement.opened(path) as original:
            packet = container_of(path, FileSource(original)).packet
            return Document.load(Parts.of(packet).core) if packet else None
    except (TaggerdError, OSError):
        return None


class _Content(NamedTuple):
    """What is to be in a photo file."""

    packet: bytes | None
    iim: Iim | None = None
    """None: it stays."""


def _followed(
    container: Container, packet: bytes, *, edited: bool = False
) -> tuple[_Content, list[str]]:
    """Return *packet*, and the IPTC-IIM in step with it, where that is possible; and notes."""
    new, reason = _Content(packet), ""
    core = Parts.of(packet).core
    if container.iim is not None and recorded(core).iptc:
        before = Parts.of(container.packet).core if container.packet else None
        try:
            iim, notes = iim_followed(container.iim, Said.by(before), Said.by(core), edited=edited)
            container.iim_edits(iim)
        except (ValueError, SidecarRefused) as error:
            reason = f" ({error})"
        else:
            return _Content(packet, iim), notes
    return new, [f"its IPTC-IIM was left unchanged{reason}"]


def _undone_iim(container: Container, packet: bytes | None) -> Iim | None:
    """Return the IPTC-IIM as it is to be when XMP is *packet* again; None: as it is.

    Without a packet it is the one that was there before taggerd, if nobody edited it since.
    """
    if container.iim is None or not container.packet:
        return None
    core = Parts.of(container.packet).core
    first = Iim.unpacked(recorded(core).iptc)
    if first is None:
        return None
    after = Said.by(Parts.of(packet).core) if packet else Said()
    with suppress(ValueError):
        return iim_undone(container.iim, first, Said.by(core), after)
    return None


def _digest(source: FileSource | Edited) -> str:
    return digest_of(source, Span(0, source.size))


def _replace(
    path: Path,
    original: int,
    container: Container,
    new: _Content,
    *,
    backup: Path | None,
) -> tuple[Stamp, Path | None]:
    """Replace the photo by a copy with *new* content; return its stamp, and where it was kept."""
    packet, iim = new

    def make(descriptor: int) -> None:
        if isinstance(container, Heif):
            heif.rewrite(original, descriptor, packet)
            return
        edits = [*container.edits(packet), *container.iim_edits(iim)]
        source = Edited(FileSource(original), edits)
        with open(descriptor, "wb", closefd=False) as copy:
            copy.writelines(blocks(source, Span(0, source.size)))

    def check(descriptor: int) -> None:
        made = container_of(path, FileSource(descriptor))
        if made.packet != packet:
            refuse("could not be verified: the packet in its copy is not the intended one")
        if made.iim != (iim or container.iim):
            refuse("could not be verified: the IPTC-IIM in its copy is not the intended one")
        if made.fingerprint() != container.fingerprint():
            refuse("could not be verified: something besides XMP differs in its copy")
        if isinstance(made, Tiff) and isinstance(container, Tiff) and not made.keeps(container):
            refuse("could not be verified: its copy differs in other places")

    try:
        return replacement.exchange(path, original, make, check, backup=backup)
    except SidecarChanged as error:
        message = f"{printable(path)} {error}"
        raise PhotoChanged(message) from error
