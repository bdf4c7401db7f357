"""Which photos a query means, as SQL: found in order, counted, grouped."""

from __future__ import annotations

import unicodedata
from array import array
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, get_args

from taggerd.catalogue.text import match_expression

if TYPE_CHECKING:
    from taggerd.catalogue.database import Connection
    from taggerd.catalogue.entry import State

Kind: TypeAlias = Literal["day", "folder", "run", "keyword", "model", "state"]
"""What photos are grouped by."""
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which photos are meant: all that fit every part that is given."""

    text: str = ""
    """Words, as their beginnings; ``"in quotes"`` exactly. In caption, description, keywords and
    the file's name, whatever the case and the accents."""
    day: str = ""
    folder: str = ""
    """Printable path of the folder that they lie in, not below."""
    run: str = ""
    keyword: str = ""
    """Whatever the case."""
    model: str = ""
    state: State | Literal[""] = ""


class Group(NamedTuple):
    """Photos that have something in common."""

    value: str
    """What a :class:`Query` names them by."""
    photos: int


@dataclass(frozen=True, slots=True)
class Selection:
    """A query as SQL."""

    terms: tuple[int, ...]
    """Rarest first."""
    text: bool
    """Only photos in ``temp.matched`` fit."""
    text_first: bool
    """There are fewer of them than of any term."""
    at_most: int
    """So many photos fit the rarest part of the query."""
    photos: int
    """All photos."""

    @classmethod
    def of(cls, connection: Connection, query: Query) -> Selection | None:
        """Return what *query* names, as it is known; None: no photo can fit."""
        (photos,) = connection.execute(
            "SELECT coalesce(sum(photos), 0) FROM terms WHERE kind = 'state'"
        ).fetchone()
        found: list[tuple[int, int]] = []
        for kind in KINDS:
            if value := getattr(query, kind):
                row = connection.execute(
                    "SELECT photos, id FROM terms WHERE kind = ? AND value = ?",
                    (kind, folded(value) if kind == "keyword" else storable(value)),
                ).fetchone()
                if row is None:
                    return None
                found.append(row)
        found.sort()
        terms = tuple(number for _, number in found)
        at_most = found[0][0] if found else photos
        if not query.text.strip():
            return cls(terms, text=False, text_first=False, at_most=at_most, photos=photos)
        match = match_expression(query.text)
        matching = _matched(connection, match) if match else 0
        if not matching:
            return None
        first = not terms or matching < at_most
        return cls(terms, True, first, min(matching, at_most), photos)  # noqa: FBT003 - a text

    def page(
        self, connection: Connection, start: bytes, limit: int
    ) -> list[tuple[bytes, str, bytes]]:
        """Return path, entry and sort key of the first photos behind *start*."""
        ids, values = self._ids(few=self._are_few(limit))
        return connection.execute(
            f"SELECT path, entry, sort FROM (SELECT p.id AS id, p.sort AS sort FROM {ids}"  # noqa: S608 - ours
            " AND p.sort > ? ORDER BY p.sort LIMIT ?) JOIN entries USING (id) ORDER BY sort",
            (*values, start, limit),
        ).fetchall()

    def beside(
        self, connection: Connection, at: bytes, most: int, *, back: bool
    ) -> tuple[str, ...]:
        """Return the keys of the photos next to *at*, the nearest first."""
        ids, values = self._ids(few=self._are_few(most))
        ahead = "< ? ORDER BY p.sort DESC" if back else "> ? ORDER BY p.sort"
        rows = connection.execute(
            f"SELECT p.key FROM {ids} AND p.sort {ahead} LIMIT ?",  # noqa: S608 - ours
            (*values, at, most),
        )
        return tuple(key.hex() for (key,) in rows)

    def count(self, connection: Connection) -> int:
        """Return how many photos fit."""
        if len(self.terms) + self.text <= 1:
            return self.at_most
        ids, values = self._ids(few=True)
        (count,) = connection.execute(f"SELECT count(*) FROM {ids}", values).fetchone()  # noqa: S608 - ours
        return int(count)

    def groups(self, connection: Connection, kind: Kind) -> list[Group]:
        """Return the groups of *kind* among the photos that fit, in any order."""
        shown = "SELECT id, shown, photos FROM terms WHERE kind = ?"
        if not self.terms and not self.text:
            return [Group(name, n) for _, name, n in connection.execute(shown, (kind,))]
        # Of the smaller part, those that fit or the others: the terms are counted here, because a
        # join with as many rows takes SQLite three times as long.
        others = self.at_most * 2 > self.photos
        ids, values = self._ids(few=not others)
        if others:
            ids = ids.replace("WHERE ", "WHERE NOT (", 1) + ")"
        numbers = array("I")
        for (terms,) in connection.execute(f"SELECT p.terms FROM {ids}", values):  # noqa: S608 - ours
            numbers.frombytes(terms)
        counts = Counter(numbers)
        rows = connection.execute(shown, (kind,))
        fitting = ((name, n - counts[i] if others else counts[i]) for i, name, n in rows)
        return [Group(name, photos) for name, photos in fitting if photos]

    def _are_few(self, limit: int) -> bool:
        """Say whether sorting all that fit is quicker than looking for *limit* of them in order."""
        return self.at_most**2 <= 4 * limit * self.photos

    def _ids(self, *, few: bool) -> tuple[str, list[int]]:
        """Return the photos that fit, as what follows FROM, and the values that it takes.

        *few*: begin with those that fit the rarest part, rather than with all photos in order.
        """
        terms, text = list(self.terms), self.text
        values: list[int] = []
        source = "photos AS p WHERE true"
        if few and text and self.text_first:
            source = "temp.matched AS m CROSS JOIN photos AS p ON p.id = m.id WHERE true"
            text = False
        elif few and terms:
            source = "tagged AS t CROSS JOIN photos AS p ON p.id = t.photo WHERE t.term = ?"
            values.append(terms.pop(0))
        for number in terms:
            source += " AND EXISTS (SELECT 1 FROM tagged WHERE term = ? AND photo = p.id)"
            values.append(number)
        if text:
            source += " AND EXISTS (SELECT 1 FROM temp.matched WHERE id = p.id)"
        return source, values


def _matched(connection: Connection, match: str) -> int:
    """Fill ``temp.matched`` with the photos that *match*; return how many they are.

    It is filled already if this was asked last and nobody has written since: others change the
    version that SQLite tells, and this connection its own number of changes.
    """
    (version,) = connection.execute("PRAGMA data_version").fetchone()
    if connection.matched[0] != (match, version, connection.total_changes):
        connection.execute("DELETE FROM temp.matched")
        made = connection.execute(
            "INSERT INTO temp.matched SELECT rowid FROM words WHERE words MATCH ?", (match,)
        )
        connection.matched = ((match, version, connection.total_changes), made.rowcount)
    return connection.matched[1]


def folded(keyword: str) -> str:
    """Return *keyword* as it is compared: NFC, whatever the case and the white space around."""
    return storable(unicodedata.normalize("NFC", " ".join(keyword.split()).casefold()))


def storable(text: str) -> str:
    """Return *text* without half surrogate pairs, which SQLite refuses."""
    return text.encode("utf-8", "replace").decode()
