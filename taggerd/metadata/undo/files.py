"""Take taggerd's words back out of the files on the disk: sidecars, and photos themselves.

:func:`withdraw_embedded` runs Exiv2 on foreign bytes: call it in a worker process only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from taggerd.errors import (
    PhotoGone,
    PhotoMoved,
    SidecarChanged,
    SidecarError,
    SidecarUnwritable,
)
from taggerd.metadata import atomic
from taggerd.metadata.copies import with_record
from taggerd.metadata.embedding.photo import mentions_us, take_back
from taggerd.metadata.undo.content import PARTS, End, Part, undo

if TYPE_CHECKING:
    from datetime import date, datetime
    from pathlib import Path

    from taggerd.metadata.sidecars import Options
    from taggerd.photo import Stamp


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """What is to be taken back."""

    parts: frozenset[Part] = PARTS
    since: date | None = None
    """Only what was tagged on this local day or later; None: all."""
    dry_run: bool = False
    """Only say what would happen."""
    now: datetime | None = None
    """Local time, for the name of a backup."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawn:
    """What became of one sidecar, or of one photo file that tags were embedded into."""

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


def withdraw(path: Path, wanted: Withdrawal, options: Options) -> Withdrawn:
    """Take taggerd's words out of the sidecar at *path*.

    One that is refused or cannot be written stays as it is byte for byte, and ``reason`` says why.

    Raises:
        PhotosDiskError: the disk is full, read-only or failing.
    """
    reason = ""
    for _ in options.patience.tries():
        try:
            return _withdraw(path, wanted, options)
        except SidecarChanged as error:
            reason = f"{error}; run taggerd undo again"
        except SidecarUnwritable as error:
            return Withdrawn(path=path, end="refused", reason=f"{error}; make it writable")
        except SidecarError as error:
            reason = f"{error}; left as it was"
            if not options.patience.may_grow(path):
                break
    return Withdrawn(path=path, end="refused", reason=reason)


def _withdraw(path: Path, wanted: Withdrawal, options: Options) -> Withdrawn:
    """Read, undo and write once."""
    old = atomic.read(path)
    if old is None:
        return Withdrawn(path=path, end="nothing", reason="is not there", untagged=True)
    data = with_record(path, old.data)
    undone = undo(data, options.fields, wanted.parts, wanted.since, options.own)
    backup = kept = None
    if options.backup_originals and wanted.now is not None:
        backup = backup_name(path, wanted.now)
    if undone.end != "nothing" and not wanted.dry_run:
        if undone.data is None:
            atomic.remove(path, old)
        else:
            kept = atomic.replace(path, old, undone.data, backup=backup)
    return Withdrawn(
        path=path,
        end=undone.end,
        parts=undone.parts,
        reason=undone.reason,
        backup=kept,
        untagged=undone.untagged,
    )


def backup_name(path: Path, now: datetime) -> Path:
    """Return the name under which the old bytes of *path* are kept."""
    return path.with_name(f"{path.name}.orig-{now:%Y%m%dT%H%M%S}")


def withdraw_embedded(path: Path, wanted: Withdrawal, options: Options) -> Withdrawn:
    """Take out of the photo file *path* what taggerd embedded into it.

    One that is refused or cannot be written stays as it is byte for byte, and ``reason`` says why;
    one that taggerd never embedded into is nobody's business, also if it is damaged.

    Raises:
        PhotosDiskError: the disk is full, read-only or failing.
    """
    refused = Withdrawn(path=path, end="refused", embedded=True)
    try:
        return _taken_back(path, wanted, options)
    except PhotoGone:
        return replace(refused, end="nothing", reason="is not there", untagged=True)
    except PhotoMoved:
        reason = "was changed by another program at the same moment; run taggerd undo again"
        return replace(refused, reason=reason)
    except SidecarUnwritable as error:
        refused = replace(refused, reason=f"{error}; make it writable")
    except SidecarError as error:
        refused = replace(refused, reason=f"{error}; left as it was")
    if mentions_us(path):
        return refused
    return replace(refused, end="nothing", reason="nothing in it is taggerd's", untagged=True)


def _taken_back(path: Path, wanted: Withdrawal, options: Options) -> Withdrawn:
    backup = None
    if options.backup_originals and wanted.now is not None:
        backup = backup_name(path, wanted.now)
    done = take_back(
        path,
        lambda core: undo(core, options.fields, wanted.parts, wanted.since, options.own),
        backup=backup,
        dry_run=wanted.dry_run,
    )
    undone, end, reason = done.undone, done.undone.end, done.undone.reason
    if end in {"removed", "restored"}:
        end = "restored" if done.exact else "cleaned"
        reason = (
            ""
            if done.exact
            else "nothing of taggerd's is left in it, but it is not byte for byte what it was"
        )
    return Withdrawn(
        path=path,
        end=end,
        parts=undone.parts,
        reason=reason,
        backup=done.backup,
        untagged=undone.untagged,
        embedded=True,
        before=done.before,
        stamp=done.stamp,
    )
