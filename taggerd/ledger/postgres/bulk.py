"""Admits many new files at once: what a first walk finds, in a few statements a thousand files.

A stem of which nothing is known makes photos of its own; :mod:`taggerd.ledger.admission` does the
others, file by file.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from taggerd.ledger import admission
from taggerd.ledger.port import Admitted
from taggerd.photo import group

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from taggerd.ledger.admission import Terms
    from taggerd.ledger.port import FileState
    from taggerd.ledger.postgres.database import PostgresDatabase
    from taggerd.photo import PhotoFile

_FEW = 10
"""Files for which it is not worth it."""


def admit(database: PostgresDatabase, files: Sequence[PhotoFile], terms: Terms) -> Admitted:
    """Admit *files* in the caller's transaction; see :meth:`taggerd.ledger.port.Ledger.admit`."""
    if len(files) < _FEW:
        return admission.admit(database, files, terms)
    stems: defaultdict[tuple[bytes, bytes], dict[bytes, PhotoFile]] = defaultdict(dict)
    for file in files:
        key = database.paths.key(file.path)
        stems[key.folder, key.stem][key.suffix] = file
    # In order: whoever else admits files of these folders waits for us, and not for each other.
    paths = sorted({folder for folder, _ in stems})
    folders = {row["path"]: row["id"] for row in database.bulk("new_folders", paths=paths)}
    keys = [(folders[folder], stem) for folder, stem in stems]
    rows = database.bulk("stems_known", **_columns(keys, "folders", "stems"))
    known = {(row["folder"], row["stem"]) for row in rows}
    new: list[tuple[int, bytes, Sequence[PhotoFile]]] = []
    left: list[PhotoFile] = []
    for stem, arrivals in zip(keys, stems.values(), strict=True):
        if stem in known:
            left += arrivals.values()
        else:
            new += [(*stem, photo.files) for photo in group(arrivals.values())]
    count = _insert(database, new, terms)
    admitted = Admitted(new=count, unchanged=len(files) - count - len(left))  # named twice
    return admitted + admission.admit(database, left, terms) if left else admitted


def states(database: PostgresDatabase, files: Sequence[PhotoFile]) -> dict[Path, FileState]:
    """Return the states of *files*; see :meth:`taggerd.ledger.port.Ledger.file_states`."""
    keys = [database.paths.key(file.path) for file in files]
    rows = database.bulk("file_states", **_columns(keys, "folders", "stems", "suffixes"))
    known = {row["number"]: row for row in rows}
    return {
        file.path: admission.state_by(database, file, known.get(number))
        for number, file in enumerate(files, 1)
    }


def _insert(
    database: PostgresDatabase,
    photos: Sequence[tuple[int, bytes, Sequence[PhotoFile]]],
    terms: Terms,
) -> int:
    """Keep new *photos*, given by folder, stem and files; return how many files."""
    if not photos:
        return 0
    numbers = [row["id"] for row in database.bulk("photo_ids", count=len(photos))]
    made = [(number, *photo[:2]) for number, photo in zip(numbers, photos, strict=True)]
    database.bulk(
        "new_photos",
        **_columns(made, "ids", "folders", "stems"),
        now=terms.now,
        asked_again_since=terms.asked_again_since,
        run=terms.run,
        run_owner=None if terms.run is None else terms.owner,
    )
    files = [
        (number, folder, *database.paths.key(file.path)[1:], *file.stamp[:4])
        for number, (folder, _, of) in zip(numbers, photos, strict=True)
        for file in of
    ]
    names = "photos", "folders", "stems", "suffixes", "sizes", "mtimes", "inodes", "devices"
    database.bulk("new_files", **_columns(files, *names))
    return len(files)


def _columns(rows: Sequence[Sequence[object]], *names: str) -> dict[str, list[object]]:
    """Return *rows* as lists, numbers as text: their types are the statement's."""
    columns = zip(*rows, strict=True)
    return {
        name: [str(value) if isinstance(value, int) else value for value in column]
        for name, column in zip(names, columns, strict=True)
    }
