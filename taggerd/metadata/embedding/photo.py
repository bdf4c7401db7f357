"""Write tags into a photo file itself, where that cannot harm it; else say why not.

=================== ===================================================================
JPEG, PNG, WebP     the packet is put in by a splice; every other byte is the same
TIFF, DNG           likewise; nothing moves, what is new goes to the end
HEIC, HEIF, AVIF    exiftool writes, where it is installed; compared item by item
proprietary raw     never
=================== ===================================================================

Always on a copy, which is read again from the disk and compared with the photo before it takes its
place: the same packet as was meant, and everything else the same. Exiv2 reads both as well and must
find the same EXIF and IPTC. IPTC-IIM is not written: where it holds words that XMP lacks they are
taken over into XMP, and it stays as it was.

Runs Exiv2 on foreign bytes: call it in a worker process only.
"""

from __future__ import annotations

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
    Native,
    body_of,
    comparable,
    container_of,
    embeddable,
    native_of,
    stamp_of,
)
from taggerd.metadata.embedding.heif import Heif
from taggerd.metadata.embedding.packet import (
    Parts,
    changed_packet,
    merged_packet,
    recorded,
    returned_packet,
)
from taggerd.metadata.embedding.tiff import Tiff
from taggerd.metadata.undo.content import Undone, mentions_us, not_ours
from taggerd.photo import Sidecar, Stamp, printable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from taggerd.metadata.embedding.container import Container
    from taggerd.metadata.options import Options
    from taggerd.photo import PhotoFile, Provenance, Tags


def embed(
    file: PhotoFile,
    tags: Tags,
    provenance: Provenance,
    options: Options,
) -> Sidecar:
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
        known = replace(provenance, body=body_of(container))
        merged = merged_packet(
            container.packet,
            native,
            tags,
            known,
            options,
            original=lambda: digest_of(source, Span(0, source.size)),
        )
        outcome = Sidecar(
            path=path,
            written=True,
            embedded=True,
            notes=merged.notes,
            shadowing=merged.shadowing,
        )
        if merged.data == container.packet:
            atomic.clear(path)
            return replace(outcome, written=False)
        backup = atomic.backup_name(path, provenance.date) if options.backup_originals else None
        change = _Change(path, original, container, native, merged.data)
        stamp, kept = change.carry_out(backup)
    if native[1]:
        left = f"{printable(path.name)}: its IPTC-IIM is left as it was"
        outcome = replace(outcome, notes=(*outcome.notes, left))
    return replace(outcome, stamp=stamp, backup=kept)


def read_packet(path: Path) -> bytes | None:
    """Return the XMP packet of the photo at *path* as it stands there; None if it has none.

    Raises:
        SidecarError: the file is of a kind that is not embedded into, damaged, or not readable.
        PhotoMoved: it is gone.
        StorageError: the disk fails.
    """
    with replacement.opened(path, stamp_of(path)) as original:
        return container_of(path, FileSource(original)).packet


def embedded_core(path: Path) -> bytes:
    """Return what would be a sidecar's bytes of the packet in the photo at *path*, if it is ours.

    Empty where taggerd embedded nothing, also where the photo is damaged or of another kind.

    Raises:
        SidecarError: there is something of taggerd's in it that cannot be got at.
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


def replace_packet(
    path: Path, stamp: Stamp, packet: bytes | None, *, backup: Path | None = None
) -> Stamp:
    """Make *packet* the XMP packet of the photo at *path*; None: take it out.

    Args:
        path: the photo.
        stamp: what it was when its packet was read.
        packet: UTF-8, as :func:`read_packet` gives it.
        backup: keep the photo as it was under this name.

    Returns:
        The photo's new stamp.

    Raises:
        SidecarError: it is not written to and is as it was.
        PhotoMoved: it is not what *stamp* says.
        StorageError: the disk is full or failing.
    """
    return change_packet(path, stamp, lambda _packet: packet, backup=backup, whole=True)[0]


def change_packet(
    path: Path,
    stamp: Stamp,
    change: Callable[[bytes], bytes | None],
    *,
    backup: Path | None = None,
    whole: bool = False,
) -> tuple[Stamp, Path | None]:
    """Have *change* make a new packet of the one in the photo at *path*.

    Args:
        path: the photo.
        stamp: what it is taken to be.
        change: gets what would be a sidecar's bytes (empty where there is no packet) and returns
            new ones; None: the packet goes.
        backup: keep the photo as it was under this name.
        whole: *change* gets and gives the packet as it stands, with its padding.

    Returns:
        The photo's new stamp, and where the old one was kept.

    Raises:
        SidecarError, PhotoMoved, StorageError: as :func:`replace_packet`.
    """
    with replacement.opened(path, stamp) as original:
        container = container_of(path, FileSource(original))
        old = container.packet or b""
        packet = change(old) if whole else changed_packet(old, change)
        if packet == container.packet:
            return stamp, None
        making = _Change(path, original, container, native_of(original), packet)
        return making.carry_out(backup)


class UndonePacket(NamedTuple):
    """The outcome of an undo in a photo file."""

    undone: Undone
    exact: bool = False
    """The file is byte for byte what it was before taggerd."""
    before: Stamp | None = None
    """Of the file that was changed."""
    stamp: Stamp | None = None
    """Of the file as it now is; None: it was not changed."""
    backup: Path | None = None


def undo_packet(
    path: Path, undo: Callable[[bytes], Undone], *, backup: Path | None, dry_run: bool
) -> UndonePacket:
    """Take out of the photo at *path* what taggerd embedded.

    Args:
        path: the photo.
        undo: does it on the bytes that a sidecar would have.
        backup: keep the photo as it was under this name.
        dry_run: only say what would happen.

    Raises:
        SidecarError, PhotoMoved, StorageError: as :func:`replace_packet`.
    """
    stamp = stamp_of(path)
    with replacement.opened(path, stamp) as original:
        source = FileSource(original)
        container = container_of(path, source)
        if not container.packet or not mentions_us(container.packet):
            if not dry_run:
                with suppress(SidecarError):  # of an undo that was killed when it was through
                    atomic.clear(path)
            return UndonePacket(not_ours(b""))
        core = Parts.of(container.packet).core
        undone = undo(core)
        if undone.end == "nothing":
            return UndonePacket(undone)
        packet = returned_packet(container.packet, undone)
        exact = False
        if undone.end in {"removed", "restored"} and not isinstance(container, Heif):
            outcome = Edited(source, container.edits(packet))
            whole = digest_of(outcome, Span(0, outcome.size))
            exact = whole == recorded(core).original
        if dry_run:
            return UndonePacket(undone, exact)
        known = recorded(core).original
        change = _Change(path, original, container, native_of(original), packet)
        new, kept = change.carry_out(backup)
    if isinstance(container, Heif):  # only what exiftool has made can be compared
        with replacement.opened(path, new) as made:
            source = FileSource(made)
            exact = digest_of(source, Span(0, source.size)) == known
    return UndonePacket(undone, exact, stamp, new, kept)


def file_mentions_us(path: Path) -> bool:
    """Say whether the bytes of *path*, of whatever kind, name taggerd's namespace."""
    kept = b""
    with suppress(TaggerdError, OSError), replacement.opened(path, stamp_of(path)) as descriptor:
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
        with replacement.opened(path, stamp_of(path)) as original:
            container = container_of(path, FileSource(original))
            if not container.packet:
                return ""
            record = recorded(Parts.of(container.packet).core)
            return record.digest if record.body and record.body == body_of(container) else ""
    except (TaggerdError, OSError):
        return ""  # whatever it is will be said when it is read or written


class _Change:
    """One packet on its way into one photo."""

    def __init__(
        self,
        path: Path,
        original: int,
        container: Container,
        native: Native,
        packet: bytes | None,
    ) -> None:
        self._path = path
        self._original = original
        self._container = container
        self._native = native
        self._packet = packet

    def carry_out(self, backup: Path | None) -> tuple[Stamp, Path | None]:
        """Return the photo's new stamp and where the old one was kept."""
        try:
            return replacement.exchange(
                self._path, self._original, self._make, self._check, backup=backup
            )
        except SidecarChanged as error:
            message = f"{printable(self._path)} {error}"
            raise PhotoChanged(message) from error

    def _make(self, descriptor: int) -> None:
        """Write the copy."""
        if isinstance(self._container, Heif):
            heif.rewrite(self._original, descriptor, self._packet)
            return
        source = Edited(FileSource(self._original), self._container.edits(self._packet))
        with open(descriptor, "wb", closefd=False) as copy:
            copy.writelines(blocks(source, Span(0, source.size)))

    def _check(self, descriptor: int) -> None:
        """Read the copy from the disk and compare it with the photo."""
        made = container_of(self._path, FileSource(descriptor))
        if made.packet != self._packet:
            message = "could not be verified: the packet in its copy is not the one meant"
            raise SidecarRefused(message)
        if made.fingerprint() != self._container.fingerprint():
            message = "could not be verified: something besides XMP came out different"
            raise SidecarRefused(message)
        old = self._container
        if isinstance(made, Tiff) and isinstance(old, Tiff) and not made.keeps(old):
            message = "could not be verified: its copy differs in other places"
            raise SidecarRefused(message)
        if comparable(native_of(descriptor)) != comparable(self._native):
            message = "could not be verified: Exiv2 reads other EXIF or IPTC in its copy"
            raise SidecarRefused(message)
