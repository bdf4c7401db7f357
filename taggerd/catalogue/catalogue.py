"""Photos by what is written about them: put in, looked up, searched, counted, grouped."""

from __future__ import annotations

import base64
import os
from array import array
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from taggerd.catalogue.database import Connection, Database
from taggerd.catalogue.entry import STATES, Entry, entry_json, entry_of, sort_key
from taggerd.catalogue.selection import Group, Kind, Query, Selection, folded, storable
from taggerd.catalogue.text import searchable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

_BATCH = 500
"""Photos in one transaction: so long do other writers wait."""


class Found(NamedTuple):
    """A page of photos."""

    entries: list[Entry]
    next: str
    """The cursor behind the last of them; empty: there are no more."""


class Catalogue:
    """All photos. Threads and processes may share it.

    Every method raises :class:`~taggerd.errors.StorageError` where the disk is full or failing. A
    damaged catalogue is replaced by an empty one.
    """

    def __init__(self, database: Database) -> None:
        """Use *database*."""
        self._database = database

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open the catalogue in the state directory *folder*, making it if need be.

        Raises:
            StorageError: it cannot be made or read.
        """
        catalogue = cls(Database(folder / "catalogue.sqlite"))
        catalogue.count(Query())
        return catalogue

    def close(self) -> None:
        """Close the file; using it opens it again."""
        self._database.close()

    # In.

    def put(self, entries: Iterable[Entry], notes: Mapping[str, str] | None = None) -> None:
        """Keep *entries*, each in the stead of what was known of its path, and *notes* with them.

        The notes are kept with the last of the entries, or not at all.
        """
        batch: list[Entry] = []
        for entry in entries:
            batch.append(entry)
            if len(batch) == _BATCH:
                self._put(batch, {})
                batch = []
        self._put(batch, notes or {})

    def _put(self, entries: Iterable[Entry], notes: Mapping[str, str]) -> None:
        def work(connection: Connection) -> None:
            terms = _Terms(connection)
            for entry in entries:
                _put(connection, terms, entry)
            terms.store()
            connection.executemany("INSERT OR REPLACE INTO notes VALUES (?, ?)", notes.items())

        self._database.write(work)

    def drop(self, keys: Iterable[str]) -> None:
        """Forget the photos with these *keys*."""
        wanted = list(keys)

        def work(connection: Connection) -> None:
            terms = _Terms(connection)
            for key in wanted:
                if known := _known(connection, key):
                    number, old = known
                    terms.change(number, _terms_of(old), {})
                    connection.execute(_UNWORD, (number, *_texts_of(old)))
                    connection.execute("DELETE FROM entries WHERE id = ?", (number,))
                    connection.execute("DELETE FROM photos WHERE id = ?", (number,))
            terms.store()

        self._database.write(work)

    def clear(self) -> None:
        """Forget everything, notes included."""

        def work(connection: Connection) -> None:
            for table in ("photos", "entries", "terms", "tagged", "notes"):
                connection.execute(f"DELETE FROM {table}")  # noqa: S608 - ours
            connection.execute("INSERT INTO words (words) VALUES ('delete-all')")

        self._database.write(work)

    def notes(self) -> dict[str, str]:
        """Return all notes that were put."""
        return self._database.read(lambda c: dict(c.execute("SELECT key, value FROM notes")))

    # Out.

    def get(self, key: str) -> Entry | None:
        """Return the photo with *key*; None: it is not known."""
        return self.get_all((key,)).get(key)

    def get_all(self, keys: Collection[str]) -> dict[str, Entry]:
        """Return those of the photos with *keys* that are known."""

        def work(connection: Connection) -> dict[str, Entry]:
            known = ((key, _known(connection, key)) for key in keys)
            return {key: found[1] for key, found in known if found}

        return self._database.read(work)

    def find(self, query: Query, after: str = "", limit: int = 100) -> Found:
        """Return the photos that *query* means.

        Those that need a human come first, then the latest day's, by folder and in shooting order.

        Args:
            query: which.
            after: the cursor of an earlier page; what has changed since is in it as it is now.
            limit: at most so many.
        """
        start = _cursor_bytes(after)

        def work(connection: Connection) -> Found:
            selection = Selection.of(connection, query)
            rows = selection.page(connection, start, limit + 1) if selection else []
            entries = [entry_of(path, entry) for path, entry, _ in rows[:limit]]
            more = len(rows) > limit
            return Found(entries, _cursor(rows[limit - 1][2]) if more and limit else "")

        return self._database.read(work)

    def every(self, query: Query) -> Iterator[Entry]:
        """Yield every photo that *query* means, a thousand at a time."""
        cursor = ""
        while True:
            found = self.find(query, cursor, 1000)
            yield from found.entries
            if not (cursor := found.next):
                return

    def paths(self) -> Iterator[tuple[str, Path]]:
        """Yield key and path of every photo, some thousand at a time, in any order."""
        last = 0
        while True:
            rows = self._database.read(partial(_paths_after, number=last))
            yield from ((key.hex(), Path(os.fsdecode(path))) for _, key, path in rows)
            if not rows:
                return
            last = rows[-1][0]

    def neighbours(
        self, key: str, query: Query, most: int = 1
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the keys of at most so many photos before and behind that with *key* in *query*.

        Both are in the order of :meth:`find`. The photo itself need not fit the query (any more).
        """

        def work(connection: Connection) -> tuple[tuple[str, ...], tuple[str, ...]]:
            selection = Selection.of(connection, query)
            at = connection.execute(
                "SELECT sort FROM photos WHERE key = ?", (_key_bytes(key),)
            ).fetchone()
            if selection is None or at is None:
                return (), ()
            before = selection.beside(connection, at[0], most, back=True)
            return before[::-1], selection.beside(connection, at[0], most, back=False)

        return self._database.read(work)

    def count(self, query: Query) -> int:
        """Return how many photos *query* means."""

        def work(connection: Connection) -> int:
            selection = Selection.of(connection, query)
            return selection.count(connection) if selection else 0

        return self._database.read(work)

    def groups(self, kind: Kind, query: Query | None = None, limit: int = 0) -> list[Group]:
        """Return the groups of *kind* among the photos that *query* means.

        Days come latest first, folders by name, states as :data:`STATES` has them, and all others
        with the most photos first.

        Args:
            kind: what they have in common.
            query: which photos; None: all.
            limit: at most so many groups; 0: all.
        """

        def work(connection: Connection) -> list[Group]:
            selection = Selection.of(connection, query or Query())
            return selection.groups(connection, kind) if selection else []

        groups = self._database.read(work)
        if kind == "state":
            groups.sort(key=lambda group: STATES.index(group.value))
        elif kind == "folder":
            groups.sort(key=lambda group: group.value.casefold())
        elif kind in {"day", "run"}:
            groups.sort(key=lambda group: group.value, reverse=True)
        else:
            groups.sort(key=lambda group: (-group.photos, group.value.casefold(), group.value))
        return groups[:limit] if limit else groups


# ── Storing ──────────────────────────────────────────────────────────────────────────────────────

_WORD = "INSERT INTO words (rowid, caption, description, keywords, name) VALUES (?, ?, ?, ?, ?)"
_UNWORD = (
    "INSERT INTO words (words, rowid, caption, description, keywords, name)"
    " VALUES ('delete', ?, ?, ?, ?, ?)"
)
"""The index is told what it was given: https://sqlite.org/fts5.html#the_delete_command"""


def _put(connection: Connection, terms: _Terms, entry: Entry) -> None:
    sort, old = sort_key(entry), None
    if known := _known(connection, entry.key):
        number, old = known
        if old == entry:
            return
        connection.execute("UPDATE photos SET sort = ? WHERE id = ?", (sort, number))
    else:
        made = connection.execute(
            "INSERT INTO photos (key, sort, terms) VALUES (?, ?, x'')",
            (bytes.fromhex(entry.key), sort),
        )
        number = made.lastrowid or 0
    connection.execute(
        "INSERT OR REPLACE INTO entries VALUES (?, ?, ?)",
        (number, os.fsencode(entry.path), entry_json(entry)),
    )
    texts = _texts_of(entry)
    if old is None or texts != _texts_of(old):
        if old is not None:
            connection.execute(_UNWORD, (number, *_texts_of(old)))
        connection.execute(_WORD, (number, *texts))
    terms.change(number, _terms_of(old) if old else {}, _terms_of(entry))


def _texts_of(entry: Entry) -> tuple[str, str, str, str]:
    """Return what *entry* is searched by."""
    return (
        searchable(entry.caption.text),
        searchable("\n".join((entry.description.text, *entry.own.values()))),
        searchable("\n".join(entry.words)),
        searchable(entry.name),
    )


def _paths_after(connection: Connection, number: int) -> list[tuple[int, bytes, bytes]]:
    return connection.execute(
        "SELECT id, key, path FROM photos JOIN entries USING (id)"
        " WHERE id > ? ORDER BY id LIMIT 5000",
        (number,),
    ).fetchall()


def _known(connection: Connection, key: str) -> tuple[int, Entry] | None:
    row = connection.execute(
        "SELECT id, path, entry FROM photos JOIN entries USING (id) WHERE key = ?",
        (_key_bytes(key),),
    ).fetchone()
    return (row[0], entry_of(row[1], row[2])) if row else None


def _key_bytes(key: str) -> bytes:
    """Return the bytes of a key from an address; none for what is no key."""
    try:
        return bytes.fromhex(key)
    except ValueError:
        return b""


def _terms_of(entry: Entry) -> dict[tuple[Kind, str], str]:
    """Return what *entry* can be chosen by, and how that is shown."""
    single: dict[Kind, str] = {
        "day": entry.day,
        "folder": entry.folder,
        "run": entry.run,
        "state": entry.state,
    }
    terms = {(kind, value): value for kind, value in single.items() if value}
    terms |= {("model", model): model for model in entry.models.values() if model}
    for word in entry.keywords:
        terms.setdefault(("keyword", folded(word.text)), word.text)
    return {term: storable(shown) for term, shown in terms.items()}


class _Terms:
    """The terms of the photos that one transaction changes."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._ids: dict[tuple[Kind, str], int] = {}
        self._more: dict[int, int] = {}
        """Term to how many photos more have it."""

    def change(
        self, photo: int, old: Mapping[tuple[Kind, str], str], new: Mapping[tuple[Kind, str], str]
    ) -> None:
        """Note that *photo* has the *new* terms in the stead of the *old*."""
        if old.keys() == new.keys():
            return
        gone = [(self._id(term, shown), photo) for term, shown in old.items() if term not in new]
        come = [(self._id(term, shown), photo) for term, shown in new.items() if term not in old]
        numbers = array("I", (self._id(term, shown) for term, shown in new.items()))
        self._connection.execute(
            "UPDATE photos SET terms = ? WHERE id = ?", (numbers.tobytes(), photo)
        )
        self._connection.executemany("DELETE FROM tagged WHERE term = ? AND photo = ?", gone)
        self._connection.executemany("INSERT OR IGNORE INTO tagged VALUES (?, ?)", come)
        for pairs, step in ((gone, -1), (come, 1)):
            for number, _ in pairs:
                self._more[number] = self._more.get(number, 0) + step

    def _id(self, term: tuple[Kind, str], shown: str) -> int:
        if term not in self._ids:
            self._connection.execute(
                "INSERT OR IGNORE INTO terms (kind, value, shown) VALUES (?, ?, ?)", (*term, shown)
            )
            row = self._connection.execute(
                "SELECT id FROM terms WHERE kind = ? AND value = ?", term
            ).fetchone()
            self._ids[term] = row[0]
        return self._ids[term]

    def store(self) -> None:
        """Store how many photos have each term; forget those that none has."""
        changes = [(more, number) for number, more in self._more.items() if more]
        self._connection.executemany("UPDATE terms SET photos = photos + ? WHERE id = ?", changes)
        gone = [(number,) for more, number in changes if more < 0]
        self._connection.executemany("DELETE FROM terms WHERE id = ? AND photos <= 0", gone)


def _cursor(sort: bytes) -> str:
    return base64.urlsafe_b64encode(sort).decode("ascii").rstrip("=")


def _cursor_bytes(cursor: str) -> bytes:
    """Return where a page starts; what is no cursor starts at the beginning."""
    try:
        return base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
    except ValueError:
        return b""
