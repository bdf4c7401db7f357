"""Feeds the catalogue: from the journal's day files, from the ledger, and from what is gone.

All of it blocks. It is idempotent, and each part goes on where it left off: a catalogue that was
thrown away is whole again after one call of each.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby, islice
from operator import itemgetter, methodcaller
from typing import TYPE_CHECKING, TypeVar

from taggerd import files
from taggerd.arrivals import reach
from taggerd.arrivals.release import target_of
from taggerd.catalogue import Entry, Query, key_of
from taggerd.errors import StartError, StorageError
from taggerd.review.entries import with_photo, with_record, with_state
from taggerd.services import make_journal, read_ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from taggerd.catalogue import Catalogue, State
    from taggerd.journal import Record
    from taggerd.ledger import Correction, LedgerReader, PhotoState
    from taggerd.settings import Settings

T = TypeVar("T")

_BATCH = 500
_UNFINISHED: tuple[State, ...] = ("failed", "rejected", "held", "queued")
_DAY, _HOSTS, _CORRECTIONS = "day ", "hosts", "corrections"
"""Notes in the catalogue: how far each day file was read, and the records of all hosts; the last
correction that was heard of."""


class Feed:
    """Carries into the catalogue what has happened since it was last called."""

    def __init__(self, catalogue: Catalogue, settings: Settings) -> None:
        """Prepare; nothing is read."""
        self._catalogue = catalogue
        self._settings = settings
        self._journal = make_journal(settings, whole=True)
        self._unfinished: dict[Path, tuple[str, str]] | None = None
        """State and reason of each photo that was not finished; None: it was not looked yet."""
        self._ledger_was: object = None
        self.unread: dict[Path, None] = {}
        """Photos whose words changed: their sidecars have to be read; whoever does so removes
        them."""

    def news(self) -> None:
        """Take in new records, what people did, and what waits or failed.

        Raises:
            StorageError: a disk is full or failing. StartError: the ledger cannot be used.
        """
        self._records()
        ledger = self._ledger_is()
        if ledger != self._ledger_was:
            self._records_of_hosts()
            self._corrections()
            self._states()
            self._ledger_was = ledger

    def census(self) -> None:
        """Compare all photos of the ledger, and all of the catalogue, with each other.

        Photos that have no record are found by this alone, and so are those that are gone.

        Raises:
            StorageError: a disk is full or failing. StartError: the ledger cannot be used.
        """
        seen: set[bytes] = set()
        second: set[Path] = set()
        last = 0
        while photos := self._listed(last):
            last = max(photo.id for photo in photos.values())
            seen |= {bytes.fromhex(key_of(path)) for path in photos}
            second |= {file.path for photo in photos.values() for file in photo.photo.files[1:]}
            known = self._catalogue.get_all([key_of(path) for path in photos])
            missing = [path for path in photos if key_of(path) not in known]
            self._put(with_photo(None, photos[path]) for path in missing)
        gone: list[str] = []
        moved: list[Entry] = []
        for key, path in self._catalogue.paths():
            if bytes.fromhex(key) in seen:
                continue
            if path in second:  # a JPEG joined its raw, and is read in its stead
                gone.append(key)
            elif (target := self._whereabouts(path)) != path:
                entry = self._catalogue.get(key)
                if target is not None and entry is not None:
                    moved.append(replace(entry, path=target, stamps={}))
                gone.append(key)
        self._put(moved)
        self._catalogue.drop(gone)

    def forget(self) -> None:
        """Throw the catalogue's content away."""
        self._catalogue.clear()
        self._unfinished = self._ledger_was = None

    def settled(self, entries: Iterable[Entry]) -> list[Entry]:
        """Return *entries* in the state that the ledger and people have brought them into.

        Where the ledger cannot be read, in the state that they were in.
        """
        wanted = list(entries)
        try:
            states, corrections = self._known([entry.path for entry in wanted])
        except (StartError, StorageError):
            return [
                with_state(entry, None, ()) if entry.state in {"tagged", "failed"} else entry
                for entry in wanted
            ]
        return [
            with_state(entry, states.get(entry.path), corrections.get(entry.path, ()))
            for entry in wanted
        ]

    def photos(self, paths: Iterable[Path]) -> Mapping[Path, PhotoState]:
        """Return what the ledger knows of *paths*, by the file that is read.

        Raises:
            StorageError, StartError: it cannot be read.
        """
        return self._known(list(paths))[0]

    # The parts.

    def _records(self) -> None:
        marks = {
            key.removeprefix(_DAY): mark
            for key, mark in self._catalogue.notes().items()
            if key.startswith(_DAY)
        }
        for day, records, mark in self._journal.read_on(marks):
            self._take(day, records)
            self._catalogue.put((), {_DAY + day: mark})

    def _records_of_hosts(self) -> None:
        """Do the same with what other hosts have journalled, in folders of their own."""
        mark = self._catalogue.notes().get(_HOSTS, "")
        for records, behind in self._journal.read_on_elsewhere(mark):
            for day, of_day in groupby(records, itemgetter(0)):
                self._take(day, (record for _, record in of_day))
            self._catalogue.put((), {_HOSTS: behind})

    def _take(self, day: str, records: Iterable[Record]) -> None:
        of_photos: dict[Path, list[Record]] = {}
        for record in records:
            if not record.dry_run and record.image.is_absolute():
                of_photos.setdefault(record.image, []).append(record)
        for batch in _batches(of_photos.items()):
            self._put(self._recorded(batch, day))

    def _recorded(self, photos: list[tuple[Path, list[Record]]], day: str) -> list[Entry]:
        known = self._catalogue.get_all([key_of(path) for path, _ in photos])
        entries: list[Entry] = []
        for path, records in photos:
            entry = known.get(key_of(path))
            for record in records:
                entry = with_record(entry, record, day)
            entries += [entry] if entry is not None else []
        return entries

    def _corrections(self) -> None:
        while True:
            last = int(self._catalogue.notes().get(_CORRECTIONS, "0"))
            news: list[Correction] = self._ask(methodcaller("corrections", last, _BATCH)) or []
            if not news:
                return
            known = self._catalogue.get_all([key_of(each.photo) for each in news])
            # A taggerd in another process may have changed the words.
            changed = [replace(entry, stamps={}) for entry in known.values()]
            self._put(changed, {_CORRECTIONS: str(max(each.id for each in news))})

    def _listed(self, after: int) -> Mapping[Path, PhotoState]:
        return self._ask(methodcaller("states_after", after, _BATCH)) or {}

    def _states(self) -> None:
        photos: Mapping[Path, PhotoState] = self._ask(methodcaller("unfinished")) or {}
        now = {p: (str(each.state.state), each.state.reason) for p, each in photos.items()}
        before = self._unfinished
        if before is None:
            before = {
                entry.path: ("", "")
                for state in _UNFINISHED
                for entry in self._catalogue.every(Query(state=state))
            }
        changed = [path for path, state in now.items() if before.get(path) != state]
        for batch in _batches([*changed, *(before.keys() - now.keys())]):
            known = self._catalogue.get_all([key_of(path) for path in batch])
            entries = []
            for path in batch:
                entry = known.get(key_of(path))
                if entry is not None or path in photos:
                    entries.append(with_photo(entry, photos[path]) if path in photos else entry)
            self._put(each for each in entries if each is not None)
        self._unfinished = now

    def _put(self, entries: Iterable[Entry], notes: Mapping[str, str] | None = None) -> None:
        for batch in _batches(entries):
            self._catalogue.put(self.settled(batch))
            self.unread |= {entry.path: None for entry in batch if not entry.stamps}
        if notes:
            self._catalogue.put((), notes)

    def _known(
        self, paths: list[Path]
    ) -> tuple[Mapping[Path, PhotoState], Mapping[Path, list[Correction]]]:
        def ask(
            ledger: LedgerReader,
        ) -> tuple[Mapping[Path, PhotoState], Mapping[Path, list[Correction]]]:
            corrected = {path: ledger.corrections_of(path) for path in paths}
            return ledger.photo_states(paths), corrected

        return (self._ask(ask) if paths else None) or ({}, {})

    def _ask(self, work: Callable[[LedgerReader], T]) -> T | None:
        """Return what *work* makes of the ledger; None if there is none.

        Raises:
            StorageError, StartError: it cannot be read.
        """
        return read_ledger(self._settings, work)

    def _ledger_is(self) -> object:
        """Return what is another after each change of the ledger.

        Raises:
            StorageError, StartError: it cannot be read.
        """
        if self._settings.ledger.url is not None:
            return self._ask(methodcaller("stamp"))
        found = []
        for name in ("ledger.sqlite", "ledger.sqlite-wal"):
            try:
                status = (self._settings.state_directory / name).stat()
                found.append((status.st_ino, status.st_size, status.st_mtime_ns))
            except OSError:
                found.append((0, 0, 0))
        return found

    def _whereabouts(self, path: Path) -> Path | None:
        """Return where a photo is that the ledger does not know; None: it is surely gone.

        What is out of sight, because a card or a share is away, is not gone.
        """
        arrivals = self._settings.arrivals
        roots = [root.path for root in arrivals.roots]
        target = target_of(path, roots, arrivals.release_to) if arrivals.release_to else None
        reach(path, self._settings)
        if files.exists(path):
            return path
        if target is not None and files.exists(target):
            return target
        return None if files.exists(path.parent) else path


def _batches(values: Iterable[T]) -> Iterator[list[T]]:
    each = iter(values)
    while batch := list(islice(each, _BATCH)):
        yield batch
