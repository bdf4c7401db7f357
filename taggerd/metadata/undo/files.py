"""Undo what taggerd wrote into the files on the disk: sidecars, and photos themselves."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from taggerd.errors import (
    PhotoGone,
    PhotoMoved,
    SidecarChanged,
    SidecarError,
    SidecarUnwritable,
)
from taggerd.metadata import atomic, naming
from taggerd.metadata.copies import with_record
from taggerd.metadata.embedding.photo import file_mentions_us, undo_packet
from taggerd.metadata.undo.content import UndoOptions, UndoOutcome, not_ours, undo

if TYPE_CHECKING:
    from pathlib import Path

    from taggerd.metadata.options import Options
    from taggerd.metadata.xmp.document import Document


def undo_sidecar(path: Path, wanted: UndoOptions, options: Options) -> UndoOutcome:
    """Take taggerd's words out of the sidecar at *path*.

    One that is refused or cannot be written stays as it is byte for byte, and ``reason`` says why.

    Raises:
        PhotosDiskError: the disk is full, read-only or failing.
    """
    reason = ""
    for _ in options.retries.tries():
        try:
            return _undo_once(path, wanted, options)
        except SidecarChanged as error:
            reason = f"{error}; run taggerd undo again"
        except SidecarUnwritable as error:
            return UndoOutcome(path=path, end="refused", reason=f"{error}; make it writable")
        except SidecarError as error:
            reason = f"{error}; left unchanged"
            if not options.retries.may_grow(path):
                break
    return UndoOutcome(path=path, end="refused", reason=reason)


def _undo_once(path: Path, wanted: UndoOptions, options: Options) -> UndoOutcome:
    """Read, undo and write once."""
    old = atomic.read(path)
    if old is None:
        return UndoOutcome(path=path, end="nothing", reason="is not there", untagged=True)
    sidecar: bytes | Document = old.data
    if naming.shorter(path) is not None:
        with suppress(SidecarError):
            sidecar = with_record(path, old.document)
    undone = undo(sidecar, options, wanted)
    kept = None
    if undone.end != "nothing" and not wanted.dry_run:
        if undone.data is None:
            atomic.remove(path, old)
        else:
            kept = atomic.replace(path, old, undone.data, backup=_backup(path, wanted, options))
    return replace(undone.outcome(path), backup=kept)


def _backup(path: Path, wanted: UndoOptions, options: Options) -> Path | None:
    """Return the name under which the old bytes are kept, if they are."""
    if not options.backup_originals or wanted.now is None:
        return None
    return atomic.backup_name(path, wanted.now)


def undo_embedded(path: Path, wanted: UndoOptions, options: Options) -> UndoOutcome:
    """Take out of the photo file *path* what taggerd embedded into it.

    One that is refused or cannot be written stays as it is byte for byte, and ``reason`` says why;
    one that taggerd never embedded into is left alone, even if it is damaged.

    Raises:
        PhotosDiskError: the disk is full, read-only or failing.
    """
    refused = UndoOutcome(path=path, end="refused", embedded=True)
    try:
        return undo_packet(
            path,
            lambda core: undo(core, options, wanted),
            backup=_backup(path, wanted, options),
            dry_run=wanted.dry_run,
        )
    except PhotoGone:
        return replace(refused, end="nothing", reason="is not there", untagged=True)
    except PhotoMoved:
        reason = "was changed by another program at the same moment; run taggerd undo again"
        return replace(refused, reason=reason)
    except SidecarUnwritable as error:
        refused = replace(refused, reason=f"{error}; make it writable")
    except SidecarError as error:
        refused = replace(refused, reason=f"{error}; left unchanged")
    if file_mentions_us(path):
        return refused
    return replace(refused, end="nothing", reason=not_ours(b"").reason, untagged=True)
