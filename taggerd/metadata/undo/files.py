"""Undo what taggerd wrote into the files on the disk: sidecars, and photos themselves.

:func:`undo_embedded` runs Exiv2 on foreign bytes: call it in a worker process only.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

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
from taggerd.metadata.undo.content import End, UndoOptions, not_ours, undo

if TYPE_CHECKING:
    from pathlib import Path

    from taggerd.metadata.options import Options
    from taggerd.metadata.xmp.document import Document
    from taggerd.photo import Stamp


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoOutcome:
    """What an undo did to one sidecar, or to one photo file that tags were embedded into."""

    path: Path
    end: End | Literal["refused"]
    parts: tuple[str, ...] = ()
    """What was taken out of it, where it was edited since or only in part."""
    reason: str = ""
    """Why it is as it was."""
    backup: Path | None = None
    untagged: bool = False
    """Nothing of taggerd's is in it now."""
    embedded: bool = False
    """It is the photo itself."""
    before: Stamp | None = None
    """The photo's stamp until now, where it was changed."""
    stamp: Stamp | None = None
    """The photo's new stamp, where it was changed."""


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
    return UndoOutcome(
        path=path,
        end=undone.end,
        parts=undone.parts,
        reason=undone.reason,
        backup=kept,
        untagged=undone.untagged,
    )


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
        return _undo_embedded(path, wanted, options)
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


def _undo_embedded(path: Path, wanted: UndoOptions, options: Options) -> UndoOutcome:
    done = undo_packet(
        path,
        lambda core: undo(core, options, wanted),
        backup=_backup(path, wanted, options),
        dry_run=wanted.dry_run,
    )
    end, reason = done.undone.end, done.undone.reason
    if end in {"removed", "restored"}:
        end = "restored" if done.exact else "cleaned"
        inexact = (
            "nothing from taggerd is left in it, but it is not byte for byte what it was before"
        )
        reason = "" if done.exact else inexact
    return UndoOutcome(
        path=path,
        end=end,
        parts=done.undone.parts,
        reason=reason,
        backup=done.backup,
        untagged=done.undone.untagged,
        embedded=True,
        before=done.before,
        stamp=done.stamp,
    )
