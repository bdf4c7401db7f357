"""A day's records as people look at them: by photo, by folder, in shooting order."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from taggerd.journal.record import Record


@dataclass(frozen=True)
class Folder:
    """The photos of one folder."""

    path: str
    """Printable."""
    photos: tuple[Record, ...]

    @cached_property
    def keywords(self) -> list[tuple[str, int]]:
        """Keywords and how many photos have them, most frequent first."""
        return _frequencies(self.photos)


class Day:
    """The records of one day, or of one scan."""

    def __init__(self, title: str, records: Iterable[Record | None]) -> None:
        """Take *records* in the order they were written; None stands for a damaged line."""
        lines = list(records)
        self.title = title
        self.records = [record for record in lines if record is not None]
        self.damaged_lines = len(lines) - len(self.records)

    @cached_property
    def photos(self) -> list[Record]:
        """The latest record of each photo, by folder and then by name, IMG_2 before IMG_10."""
        latest = {os.fsencode(record.image): record for record in self.records}
        return sorted(latest.values(), key=_shooting_order)

    @cached_property
    def failed(self) -> list[Record]:
        """The photos with an error."""
        return [photo for photo in self.photos if photo.error]

    @cached_property
    def tagged(self) -> list[Record]:
        """The photos without an error."""
        return [photo for photo in self.photos if not photo.error]

    @cached_property
    def folders(self) -> list[Folder]:
        """The photos that have something to show, by folder."""
        shown = [photo for photo in self.photos if photo.has_words or not photo.error]
        by_folder = groupby(shown, key=lambda photo: photo.image.parent)
        return [Folder(photos[0].folder, photos) for _, group in by_folder if (photos := (*group,))]

    @cached_property
    def keywords(self) -> list[tuple[str, int]]:
        """Keywords and how many photos have them, most frequent first."""
        return _frequencies(self.photos)

    def values(self, name: str) -> list[str]:
        """Return the different values of a text field, e.g. ``"backend"``, over all records."""
        found: Iterable[str] = (getattr(record, name) for record in self.records)
        return list(dict.fromkeys(filter(None, found)))

    @property
    def models(self) -> list[str]:
        """The different models, over all roles and records."""
        named = (model for record in self.records for model in record.models.values())
        return list(dict.fromkeys(filter(None, named)))


def _frequencies(photos: Iterable[Record]) -> list[tuple[str, int]]:
    counts = Counter(word for photo in photos for word in photo.words)
    return sorted(counts.items(), key=lambda item: (-item[1], item[0].casefold(), item[0]))


def _shooting_order(photo: Record) -> tuple[bytes, list[tuple[int, str]], bytes]:
    pieces = re.split(r"([0-9]+)", photo.image.name.casefold())
    natural = [(int(p[:18]), "") if p.isdigit() and p.isascii() else (-1, p) for p in pieces]
    return (os.fsencode(photo.image.parent), natural, os.fsencode(photo.image))
