"""Files come and go: which photos they make, and what that means for the queue.

Synchronous; every function runs in its caller's transaction. All files of a stem are always grouped
together, so that the photos do not depend on the order in which files arrived.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, TypeVar

from taggerd.ledger.port import Admitted, FileState, PhotoState, State
from taggerd.photo import group

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from taggerd.ledger.port import Rewritten
    from taggerd.ledger.queries import Database, Row
    from taggerd.photo import Photo, PhotoFile

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Terms:
    """On which terms files are admitted; see :meth:`taggerd.ledger.port.Ledger.admit`."""

    now: float
    again: bool = False
    sidecars: bool = False
    run: str | None = None
    owner: str = ""
    """The owner that the run belongs to."""

    @property
    def asked_again_since(self) -> float | None:
        """What to keep with a photo that is to be asked about again."""
        return self.now if self.again else None


@dataclass(frozen=True, slots=True)
class _Photos:
    """The photos of one stem."""

    of: dict[PhotoFile, int] = field(default_factory=dict)
    """The photo that a file belongs to."""
    made: set[int] = field(default_factory=set)
    joined: set[int] = field(default_factory=set)
    """Photos that were there before and got another file."""


# ── Arrivals ─────────────────────────────────────────────────────────────────────────────────────


def admit(database: Database, files: Sequence[PhotoFile], terms: Terms) -> Admitted:
    """Admit *files*; see :meth:`taggerd.ledger.port.Ledger.admit`."""
    stems: defaultdict[tuple[bytes, bytes], dict[bytes, PhotoFile]] = defaultdict(dict)
    for file in files:
        key = database.paths.key(file.path)
        stems[key.folder, key.stem][key.suffix] = file
    # In order: whoever else admits files of these folders waits for us, and not for each other.
    folders = {path: _folder_id(database, path) for path in sorted({path for path, _ in stems})}
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
        if suffix in known and not database.paths.stamp(known[suffix]).matches(file.stamp)
    }
    before = {
        arrivals.get(s) or database.paths.file(key[0], row): row["photo"]
        for s, row in known.items()
    }
    for file in changed:
        _put_file(database, (folder, key[1]), file, before[file])
    photos = _Photos(before)
    if new:
        photos = _regroup(database, (folder, key[1]), before, new | before.keys(), terms)
    replaced = {photos.of[file] for file in changed}
    for photo in photos.joined | replaced:
        queue(database, photo, terms, changed=photo in replaced)
    settled = photos.made | photos.joined | replaced
    unsettled = {photos.of[file] for file in arrivals.values()} - settled
    requeued = {photo for photo in unsettled if _needs_queueing(database, photo, terms)}
    for photo in requeued:
        queue(database, photo, terms)
    if terms.run is not None:
        for photo in {photos.of[file] for file in arrivals.values()}:
            database.do("request", photo=photo, run=terms.run, owner=terms.owner)
    for file in arrivals.values():
        if file in new:
            yield "new"
        elif file in changed:
            yield "changed"
        else:
            yield "requeued" if photos.of[file] in requeued else "unchanged"


def _needs_queueing(database: Database, photo: int, terms: Terms) -> bool:
    """Say whether an unchanged photo is to be queued again."""
    row = database.one("photo", photo=photo)
    match row["state"]:
        case "recorded":
            settled = row["sidecars_written"] or row["undone"] or row["held"]
            return terms.again or (terms.sidecars and not settled)
        case "quarantined":
            return terms.sidecars and bool(row["sidecars_failed"])
        case "claimed":
            return terms.again and row["asked_again_since"] is None
        case _:
            database.do("ask_again", photo=photo, asked_again_since=terms.asked_again_since)
            return False


def queue(database: Database, photo: int, terms: Terms, *, changed: bool = False) -> None:
    """Queue a photo as if it had just arrived; a claimed one when its claim ends."""
    since = terms.asked_again_since
    if not database.do(
        "queue", photo=photo, now=terms.now, changed=changed, asked_again_since=since
    ):
        database.do("queue_after_claim", photo=photo, changed=changed, asked_again_since=since)


# ── Files that go ────────────────────────────────────────────────────────────────────────────────


def missing_files(database: Database, below: Path) -> dict[Path, float]:
    """Return the files below *below* that are noted as missing, and since when."""
    return {
        database.paths.path(row["folder"] + row["stem"] + row["suffix"]): row["missing_since"]
        for low, high in database.paths.ranges(below)
        for row in database.rows("missing_files", low=low, high=high)
    }


def forget(database: Database, paths: Iterable[Path], now: float) -> None:
    """Remove files, and the photos that have no file left."""
    stems: defaultdict[tuple[bytes, bytes], set[bytes]] = defaultdict(set)
    for path in paths:
        key = database.paths.key(path)
        stems[key.folder, key.stem].add(key.suffix)
    for stem, suffixes in stems.items():
        found = database.row("folder", path=stem[0])
        if found is not None:
            _forget_stem(database, found["id"], stem, suffixes, Terms(now))


def _forget_stem(
    database: Database, folder: int, key: tuple[bytes, bytes], suffixes: set[bytes], terms: Terms
) -> None:
    before: dict[PhotoFile, int] = {}
    remaining: list[PhotoFile] = []
    for row in database.rows("stem_files", folder=folder, stem=key[1]):
        file = database.paths.file(key[0], row)
        before[file] = row["photo"]
        if row["suffix"] in suffixes:
            database.do("forget_file", folder=folder, stem=key[1], suffix=row["suffix"])
        else:
            remaining.append(file)
    _regroup(database, (folder, key[1]), before, remaining, terms)
    database.do("drop_empty_folder", folder=folder)


def relocate(database: Database, moved: Mapping[Path, PhotoFile | None], now: float) -> None:
    """Know moved files by their new path; see :meth:`taggerd.ledger.port.Ledger.relocated`."""
    arrived = [file for file in moved.values() if file is not None]
    photo = _whole_photo(database, moved)
    if photo is None or len(arrived) < len(moved) or any(_is_known(database, f) for f in arrived):
        forget(database, moved, now)
        return
    key = database.paths.key(arrived[0].path)
    folder = _folder_id(database, key.folder)
    for path, file in zip(moved, arrived, strict=True):
        old = database.paths.key(path)
        found = database.one("folder", path=old.folder)
        database.do("forget_file", folder=found["id"], stem=old.stem, suffix=old.suffix)
        _put_file(database, (folder, key.stem), file, photo)
        database.do("drop_empty_folder", folder=found["id"])
    database.do("relocate_photo", photo=photo, folder=folder, stem=key.stem)
    for path, file in zip(moved, arrived, strict=True):
        database.do(
            "move_corrections",
            old=database.paths.stored(path),
            new=database.paths.stored(file.path),
        )


def _whole_photo(database: Database, paths: Collection[Path]) -> int | None:
    """Return the photo that has exactly the files *paths*; None if none has."""
    keys = {database.paths.key(path) for path in paths}
    if len({key[:2] for key in keys}) != 1:
        return None
    key = next(iter(keys))
    folder = database.row("folder", path=key.folder)
    rows = database.rows("stem_files", folder=folder["id"], stem=key.stem) if folder else []
    suffixes = {each.suffix for each in keys}
    photos = {row["photo"] for row in rows if row["suffix"] in suffixes}
    there = {row["suffix"] for row in rows if row["photo"] in photos}
    return photos.pop() if len(photos) == 1 and there == suffixes else None


def _is_known(database: Database, file: PhotoFile) -> bool:
    return database.row("file_stamp", **database.paths.key(file.path)._asdict()) is not None


def drop_if_fileless(database: Database, photo: int) -> None:
    """Remove a photo that has no file left; a claimed one only when its claim has ended."""
    database.do("drop_fileless_photo", photo=photo)


# ── Photos of a stem ─────────────────────────────────────────────────────────────────────────────


def regrouped(
    before: Mapping[PhotoFile, T], files: Iterable[PhotoFile]
) -> Iterator[tuple[Photo, T | None]]:
    """Yield the photos that a stem's *files* make, each with the earlier photo that it continues.

    *before* says which photo had which file. An earlier photo lives on where the first of its files
    is now: where photos become one, in the one whose file is read first; where one falls apart,
    with the file that was read.
    """
    files = set(files)
    heirs: dict[T, PhotoFile] = {}
    for photo in group(before):
        for file in photo.files:
            if file in files:
                heirs.setdefault(before[file], file)
    for photo in group(files):
        known = (before[file] for file in photo.files if file in heirs.values())
        yield photo, next(known, None)


def _regroup(
    database: Database,
    stem: tuple[int, bytes],
    before: Mapping[PhotoFile, int],
    files: Iterable[PhotoFile],
    terms: Terms,
) -> _Photos:
    """Keep the photos that a stem's *files* make; *stem* is the folder's number and the stem."""
    photos = _Photos()
    for photo, kept in regrouped(before, files):
        number = kept or database.insert(
            "new_photo",
            folder=stem[0],
            stem=stem[1],
            now=terms.now,
            asked_again_since=terms.asked_again_since,
        )
        for file in photo.files:
            photos.of[file] = number
            if before.get(file) != number:
                _put_file(database, stem, file, number)
                (photos.joined if kept else photos.made).add(number)
    for number in set(before.values()) - set(photos.of.values()):
        drop_if_fileless(database, number)
    return photos


def _put_file(database: Database, stem: tuple[int, bytes], file: PhotoFile, photo: int) -> None:
    database.do(
        "put_file",
        folder=stem[0],
        stem=stem[1],
        suffix=os.fsencode(file.path.suffix),
        photo=photo,
        **database.paths.columns(file.stamp),
    )


def _folder_id(database: Database, path: bytes) -> int:
    found = database.row("folder", path=path)
    return found["id"] if found else database.insert("new_folder", path=path)


_UNWRITTEN: tuple[State, ...] = ("unwritten", "undone", "dropped")
"""What a photo without sidecars is, by its column ``undone``."""

# ── Single files ─────────────────────────────────────────────────────────────────────────────────


def state_of(database: Database, file: PhotoFile) -> FileState:
    """Return the state of *file*; see :meth:`taggerd.ledger.port.Ledger.file_states`."""
    return state_by(
        database, file, database.row("file_state", **database.paths.key(file.path)._asdict())
    )


def state_by(database: Database, file: PhotoFile, row: Row | None) -> FileState:
    """Return the state of *file* as its *row* has it; None: there is none."""
    if row is None:
        return FileState("new")
    state: State = (
        "changed" if not database.paths.stamp(row).matches(file.stamp) else _state_in(row)
    )
    return FileState(state, row["reason"], row["since"], row["asked_as"])


def _state_in(row: Row) -> State:
    """Return the state that the columns of a photo's *row* mean."""
    state: State = row["state"]
    if state == "recorded" and row["held"]:
        return "held"
    if state == "recorded" and not row["sidecars_written"]:
        return _UNWRITTEN[row["undone"]]
    if state == "quarantined" and row["sidecars_failed"]:
        return "unwritten"
    return state


def photo_states(database: Database, rows: Iterable[Row]) -> dict[Path, PhotoState]:
    """Return the states of the photos whose files *rows* are, by the path of the file that is read.

    The rows of one photo follow each other.
    """
    states: dict[Path, PhotoState] = {}
    for number, grouped in groupby(rows, key=lambda row: row["id"]):
        files = list(grouped)
        row = files[0]
        photo = group(database.paths.file(each["folder"], each) for each in files)[0]
        states[photo.primary.path] = PhotoState(
            photo,
            FileState(_state_in(row), row["reason"], row["since"], row["asked_as"]),
            row["digest"].hex() if row["digest"] else "",
            number,
        )
    return states


def replace_stamp(database: Database, file: Rewritten) -> None:
    """Know a file that taggerd changed by its new stamp, unless somebody else changed it too."""
    key = database.paths.key(file.path)._asdict()
    row = database.row("file_stamp", **key)
    if row is not None and database.paths.stamp(row).matches(file.before):
        database.do("replace_stamp", **key, **database.paths.columns(file.after))
