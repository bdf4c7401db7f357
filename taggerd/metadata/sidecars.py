"""Write a photo's sidecars: the room's door.

Everything here runs in a worker process: a new sidecar is seeded from the photo itself by Exiv2.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from os.path import lexists
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from taggerd import settings
from taggerd.errors import PhotoMoved, SidecarChanged, SidecarError, SidecarUnwritable
from taggerd.metadata import atomic, naming
from taggerd.metadata.copies import with_record
from taggerd.metadata.embedded import Fields, carried, names_of
from taggerd.metadata.embedding.formats import embeddable
from taggerd.metadata.embedding.photo import change_packet, embed
from taggerd.metadata.merge import Merged, merge, yielded
from taggerd.metadata.new import new_sidecar
from taggerd.metadata.patience import Patience
from taggerd.metadata.undo.files import Withdrawal, backup_name, withdraw_embedded
from taggerd.photo import Sidecar, printable

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from taggerd.metadata.naming import Naming, Target
    from taggerd.metadata.xmp.namespaces import Name
    from taggerd.metadata.xmp.splice import Value
    from taggerd.photo import Photo, Provenance, Tags


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How sidecars are written; picklable."""

    target: Literal["sidecar", "embed", "both"] = "sidecar"
    """Where tags go."""
    fields: settings.Fields = field(default_factory=settings.Fields)
    """Which answer goes into which property."""
    own: frozenset[settings.TextField] = frozenset()
    """The properties that take what roles of the user's own say."""
    naming: Naming = "auto"
    """How a new sidecar is called."""
    overwrite: bool = False
    """Replace texts that a human wrote."""
    backup_originals: bool = False
    """Keep the bytes of a sidecar before it changes, beside it."""
    language: str = ""
    """The texts' language, BCP 47; empty: not said."""
    root: str = ""
    """Machine keywords are listed once more under this one."""

    patience: Patience = field(default_factory=Patience)
    """With another program that writes at the same moment."""

    def merged(  # noqa: PLR0913 - see merge
        self,
        data: bytes,
        tags: Tags,
        provenance: Provenance,
        *,
        made: bool = False,
        seeds: Mapping[Name, Value] = MappingProxyType({}),
        carry: Callable[[], Fields] = dict,
    ) -> Merged:
        """Merge *tags* into the sidecar *data*; see :func:`.merge.merge`."""
        return merge(
            data,
            tags,
            provenance,
            self.fields,
            overwrite=self.overwrite,
            language=self.language,
            root=self.root,
            made=made,
            seeds=seeds,
            carry=carry,
        )


def plan(photo: Photo, options: Options) -> tuple[Path, ...]:
    """Return the sidecars that :func:`write` would write, whether or not they exist yet."""
    return tuple(target.path for target in naming.targets(photo, options.naming))


def yield_to_humans(photo: Photo, options: Options) -> tuple[Sidecar, ...]:
    """Take machine texts out of *photo* and its sidecars that hide what a human wrote since.

    One that cannot be understood or written stays as it is: it is spoken of when it is tagged.

    Returns:
        The photo's own files that were changed.

    Raises:
        PhotosDiskError: the disk is full, read-only or failing.
    """
    for path in plan(photo, options):
        with suppress(SidecarError):
            old = atomic.read(path)
            if old is not None and (data := yielded(old.data)) != old.data:
                atomic.replace(path, old, data)
    changed: list[Sidecar] = []
    for file in photo.files:
        path, stamp = file.path, file.stamp
        if embeddable(path):
            with suppress(SidecarError, PhotoMoved):
                atomic.clear(path)
                new, _ = change_packet(path, stamp, yielded)
                if new != stamp:
                    changed.append(Sidecar(path=path, written=True, embedded=True, stamp=new))
    return tuple(changed)


def write(
    photo: Photo, tags: Tags, provenance: Provenance, options: Options
) -> tuple[Sidecar, ...]:
    """Write *tags* into every sidecar of *photo*, or its files themselves, each on its own.

    A sidecar that already says all this is left alone (``written`` is False). One that is refused
    or cannot be written stays as it is byte for byte and says why in ``error``; the others are
    written all the same. A file that is not embedded into gets a sidecar whose notes say why, and
    so does one that has a sidecar already: readers would look there alone.

    Raises:
        PhotoMoved: a file that was to be embedded into changed or went meanwhile.
        PhotosDiskError: the disk is full, read-only or failing.
    """
    targets = naming.targets(photo, options.naming)
    if options.target == "sidecar":
        return tuple(_write_one(target, tags, provenance, options) for target in targets)
    if options.target == "both":
        # First the sidecars: a new one starts with the words in the file, which are human yet.
        sidecars = [_write_one(target, tags, provenance, options) for target in targets]
        embedded, refused = _embed_all(photo, tags, provenance, options)
        return (*embedded, *_with_reasons(sidecars, targets, refused))
    embedded, refused = _embed_all(photo, tags, provenance, options)
    targets = tuple(t for t in targets if refused.keys() & set(t.files) or lexists(t.path))
    sidecars = [_write_one(target, tags, provenance, options) for target in targets]
    return (*embedded, *_with_reasons(sidecars, targets, refused))


def _embed_all(
    photo: Photo, tags: Tags, provenance: Provenance, options: Options
) -> tuple[list[Sidecar], dict[Path, str]]:
    """Embed into the files of *photo*; return what became of them, and why which were not."""
    done: list[Sidecar] = []
    refused: dict[Path, str] = {}
    for file in photo.files:
        if not embeddable(file.path):
            refused[file.path] = ""  # expected of a raw file, and not worth a note
            continue
        try:
            done.append(
                embed(
                    file,
                    tags,
                    provenance,
                    options.merged,
                    backup_originals=options.backup_originals,
                )
            )
        except SidecarError as error:
            refused[file.path] = f"{printable(file.path.name)} is not embedded into: it {error}"
            # What an earlier pass embedded must not contradict the sidecar.
            earlier = withdraw_embedded(file.path, Withdrawal(), options)
            if earlier.stamp is not None:
                refused[file.path] += "; what was embedded into it before is taken out"
                done.append(
                    Sidecar(
                        path=file.path,
                        written=True,
                        embedded=True,
                        emptied=True,
                        stamp=earlier.stamp,
                    )
                )
            elif earlier.end == "refused":
                refused[file.path] += "; what was embedded into it before still stands in it"
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


def _write_one(target: Target, tags: Tags, provenance: Provenance, options: Options) -> Sidecar:
    """Write one sidecar, merging again when another program wrote at the same moment."""
    name = printable(target.path)
    for _ in options.patience.tries():
        try:
            return _attempt(target, tags, provenance, options)
        except SidecarChanged as error:
            reason = f"{name} {error}; run taggerd retry"
        except SidecarUnwritable as error:
            reason = f"{name} {error}; make it writable, then run taggerd retry"
            break
        except SidecarError as error:
            reason = f"{name} {error}; left as it was: mend or remove it, then run taggerd retry"
            if not options.patience.may_grow(target.path):
                break
    return Sidecar(path=target.path, written=False, error=reason)


def _attempt(target: Target, tags: Tags, provenance: Provenance, options: Options) -> Sidecar:
    """Read, merge and write once."""
    path = target.path
    old = atomic.read(path)
    if old is None:
        return _create(target, tags, provenance, options)
    own = _Own(target)
    merged = options.merged(with_record(path, old.data), tags, provenance, carry=own.fields)
    merged = Merged(merged.data, (*own.notes, *merged.notes))
    if merged.data == old.data:
        atomic.clear(path)
        return _outcome(path, merged, written=False)
    backup = None
    if options.backup_originals:
        backup = backup_name(path, provenance.date)
    kept = atomic.replace(path, old, merged.data, backup=backup)
    return _outcome(path, merged, written=True, backup=kept)


def _create(target: Target, tags: Tags, provenance: Provenance, options: Options) -> Sidecar:
    """Make a new sidecar, starting with what the photo's files carry."""
    photo = _stat(target.files[0])
    own = _Own(target)
    blank = new_sidecar(names_of(own.fields()), provenance.version)
    merged = options.merged(blank, tags, provenance, made=True)
    atomic.create(target.path, merged.data, photo)
    outcome = Merged(merged.data, (*own.notes, *merged.notes))
    return _outcome(target.path, outcome, written=True, created=True)


class _Own:
    """What a photo's own files say of it; read only when it is asked for."""

    def __init__(self, target: Target) -> None:
        self._files = target.files
        self.notes: tuple[str, ...] = ()

    def fields(self) -> Fields:
        """Return what the files carry, the first file's words before the others'."""
        seeds: Fields = {}
        for file in self._files:
            fields, notes = carried(file)
            seeds = fields | seeds
            self.notes += notes
        return seeds


def _stat(photo: Path) -> os.stat_result:
    """Return the photo's own stat, for the new sidecar's owner and mode."""
    try:
        return photo.stat()
    except OSError:
        message = f"is not made: {printable(photo.name)} is gone"
        raise SidecarUnwritable(message) from None


def _outcome(
    path: Path,
    merged: Merged,
    *,
    written: bool,
    created: bool = False,
    backup: Path | None = None,
) -> Sidecar:
    return Sidecar(
        path=path,
        written=written,
        created=created,
        digest=atomic.digest_of_bytes(merged.data),
        backup=backup,
        notes=merged.notes,
    )
