"""Files come and go: which photos they make, and what that means for the queue.

Synchronous; every function runs inside a transaction of its caller. A stem's files are always
grouped anew as a whole, so that the photos do not depend on the order in which files arrived.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from taggerd.ledger.atrest import Place, file_of, stamp_columns, stamp_of
from taggerd.ledger.port import Admitted
from taggerd.photo import group

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from taggerd.ledger.database import Database
    from taggerd.photo import PhotoFile, Stamp


UNDONE = 2
"""In the column ``recorded``: tagged, and its sidecars were taken back on request."""


@dataclass(frozen=True, slots=True)
class Terms:
    """On which terms files are admitted."""

    now: float
    again: bool = False
    sidecars: bool = False
    run: str | None = None
    """The run that asks for the photos."""
    owner: str = ""
    """Whom that run belongs to."""

    @property
    def asked_again_since(self) -> float | None:
        """What to keep with a photo that is to be asked about again."""
        return self.now if self.again else None


@dataclass(frozen=True, slots=True)
class _Photos:
    """The photos of one stem."""

    of: dict[PhotoFile, int] = field(default_factory=dict)
    """Which photo a file belongs to."""
    made: set[int] = field(default_factory=set)
    joined: set[int] = field(default_factory=set)
    """Photos that were there before and got another file."""


def admit(database: Database, files: Sequence[PhotoFile], terms: Terms) -> Admitted:
    """Take *files* in; see :meth:`taggerd.ledger.port.Ledger.admit`."""
    stems: defaultdict[tuple[bytes, bytes], dict[bytes, PhotoFile]] = defaultdict(dict)
    for file in files:
        place = Place.of(file.path)
        stems[place.folder, place.stem][place.suffix] = file
    folders = {path: _folder_id(database, path) for path in {path for path, _ in stems}}
    tally: Counter[str] = Counter()
    for (path, stem), arrivals in stems.items():
        tally.update(_admit_stem(database, (path, stem), folders[path], arrivals, terms))
    tally["unchanged"] += len(files) - tally.total()  # named twice in one batch
    return Admitted(**tally)


def _admit_stem(
    database: Database,
    key: tuple[bytes, bytes],
    folder: int,
    arrivals: Mapping[bytes, PhotoFile],
    terms: Terms,
) -> Iterator[str]:
    """Admit the files of one stem, given by suffix; yield what each was."""
    known = {row["suffix"]: row for row in database.rows("stem_files", folder=folder, stem=key[1])}
    new = {file for suffix, file in arrivals.items() if suffix not in known}
    changed = {
        file
        for suffix, file in arrivals.items()
        if suffix in known and stamp_of(known[suffix]) != file.stamp
    }
    held = {arrivals.get(s) or file_of(key[0], row): row["photo"] for s, row in known.items()}
    for file in changed:
        _put_file(database, (folder, key[1]), file, held[file])
    photos = _Photos(held)
    if new:
        photos = _regroup(database, (folder, key[1]), held, new | held.keys(), terms)
    replaced = {photos.of[file] for file in changed}
    for photo in photos.joined | replaced:
        queue(database, photo, terms, changed=photo in replaced)
    settled = photos.made | photos.joined | replaced
    unsettled = {photos.of[file] for file in arrivals.values()} - settled
    requeued = {photo for photo in unsettled if _wanted(database, photo, terms)}
    for photo in requeued:
        queue(database, photo, terms)
    if terms.run is not None:
        for photo in {photos.of[file] for file in arrivals.values()}:
            database.do("mark_wanted", photo=photo, run=terms.run, owner=terms.owner)
    for file in arrivals.values():
        if file in new:
            yield "new"
        elif file in changed:
            yield "changed"
        else:
            yield "requeued" if photos.of[file] in requeued else "unchanged"


def _wanted(database: Database, photo: int, terms: Terms) -> bool:
    """Say whether an unchanged photo is to be queued again."""
    row = database.one("photo", photo=photo)
    match row["state"]:
        case "recorded":
            unwritten = not row["sidecars_written"] and row["recorded"] != UNDONE
            return terms.again or (terms.sidecars and unwritten)
        case "quarantined":
            return terms.sidecars and bool(row["retryable"])
        case "claimed":
            return terms.again and row["anew_since"] is None
        case _:
            database.do("mark_asked_again", photo=photo, asked_again_since=terms.asked_again_since)
            return False


def queue(database: Database, photo: int, terms: Terms, *, changed: bool = False) -> None:
    """Queue a photo as if it had just arrived; one that is claimed, when its claim ends."""
    if not database.do(
        "queue",
        photo=photo,
        now=terms.now,
        changed=changed,
        asked_again_since=terms.asked_again_since,
    ):
        database.do(
            "queue_after_claim",
            photo=photo,
            changed=changed,
            asked_again_since=terms.asked_again_since,
        )


def forget(database: Database, paths: Iterable[Path], now: float) -> None:
    """Remove files; see :meth:`taggerd.ledger.port.Ledger.forget`."""
    stems: defaultdict[tuple[bytes, bytes], set[bytes]] = defaultdict(set)
    for path in paths:
        place = Place.of(path)
        stems[place.folder, place.stem].add(place.suffix)
    for key, suffixes in stems.items():
        found = database.row("folder", path=key[0])
        if found is not None:
            _forget_stem(database, found["id"], key, suffixes, Terms(now))


def _forget_stem(
    database: Database, folder: int, key: tuple[bytes, bytes], suffixes: set[bytes], terms: Terms
) -> None:
    held: dict[PhotoFile, int] = {}
    remaining: list[PhotoFile] = []
    for row in database.rows("stem_files", folder=folder, stem=key[1]):
        file = file_of(key[0], row)
        held[file] = row["photo"]
        if row["suffix"] in suffixes:
            database.do("forget_file", folder=folder, stem=key[1], suffix=row["suffix"])
        else:
            remaining.append(file)
    _regroup(database, (folder, key[1]), held, remaining, terms)
    database.do("drop_empty_folder", folder=folder)


def drop_if_fileless(database: Database, photo: int) -> None:
    """Remove a photo that has no file left; one that is claimed only when its claim has ended."""
    database.do("drop_fileless_photo", photo=photo)


def _regroup(
    database: Database,
    place: tuple[int, bytes],
    held: Mapping[PhotoFile, int],
    files: Iterable[PhotoFile],
    terms: Terms,
) -> _Photos:
    """Make photos of a stem's present *files*; *held* says which made which photo until now.

    *place* is the folder's number and the stem.

    A photo of the past lives on where the first of its files is now: where photos become one, in
    the one whose file is read first; where one falls apart, with the file that was read.
    """
    files = set(files)
    heirs: dict[int, PhotoFile] = {}
    for photo in group(held):
        for file in photo.files:
            if file in files:
                heirs.setdefault(held[file], file)
    photos = _Photos()
    for photo in group(files):
        known = (held[file] for file in photo.files if file in heirs.values())
        kept = next(known, None)
        number = kept or database.insert(
            "new_photo",
            folder=place[0],
            stem=place[1],
            now=terms.now,
            asked_again_since=terms.asked_again_since,
        )
        for file in photo.files:
            photos.of[file] = number
            if held.get(file) != number:
                _put_file(database, place, file, number)
                (photos.joined if kept else photos.made).add(number)
    for number in set(held.values()) - set(photos.of.values()):
        drop_if_fileless(database, number)
    return photos


def _put_file(database: Database, place: tuple[int, bytes], file: PhotoFile, photo: int) -> None:
    """Keep a file that belongs to *photo*; its *place* is the folder's number and its stem."""
    database.do(
        "put_file",
        folder=place[0],
        stem=place[1],
        suffix=os.fsencode(file.path.suffix),
        photo=photo,
        **stamp_columns(file.stamp),
    )


def restamp(database: Database, path: Path, before: Stamp, after: Stamp) -> None:
    """Note that the file *path* went from one stamp to another by our own doing.

    Not if it is known by another stamp than *before*: then somebody else wrote it.
    """
    place = Place.of(path)._asdict()
    row = database.row("file_stamp", **place)
    if row is not None and stamp_of(row) == before:
        database.do("restamp_file", **place, **stamp_columns(after))


def _folder_id(database: Database, path: bytes) -> int:
    found = database.row("folder", path=path)
    return found["id"] if found else database.insert("new_folder", path=path)
