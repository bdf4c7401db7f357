"""The journal: the outputs folder with its day files, summaries, metrics, pages and thumbnails.

::

    results/YYYY-MM-DD.jsonl    one record per photo (.gz: compressed, .torn: half lines of a crash,
                                and what is no record)
    summaries/YYYY-MM-DD.md     the summary for reading
    summaries/YYYY-MM-DD.html   the day's page, made elsewhere; .csv and .jsonl beside it
    index.html                  the index of days
    metrics/YYYY-MM-DD.json     counts, latencies, tokens
    thumbnails/ab/DIGEST.jpg    for pages

All but the results and the thumbnails is derived from them and can be made again at any time.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import threading
from collections import OrderedDict
from contextlib import suppress
from dataclasses import replace as replace_fields
from datetime import UTC, date, datetime, timedelta
from itertools import groupby, islice
from typing import TYPE_CHECKING, NamedTuple, Protocol

from taggerd import files
from taggerd.errors import ConfigurationError
from taggerd.journal.day import Day
from taggerd.journal.dayfile import DayFile, Entry, told
from taggerd.journal.disk import TEMPORARY_SUFFIX, failing_as_storage, replace, replacing
from taggerd.journal.experience import MOST_DAYS, MOST_PHOTOS, Experience, alike
from taggerd.journal.metrics import RECENT, counts, metrics, photos_per_hour, total
from taggerd.journal.record import parse
from taggerd.journal.summary import markdown
from taggerd.photo import escape_controls, printable
from taggerd.settings.permissions import why_not_private

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from taggerd.journal.metrics import History, Metrics
    from taggerd.journal.record import Record

_DAY_FILE = re.compile(r"(\d{4}-\d{2}-\d{2})\.(jsonl|jsonl\.gz|jsonl\.torn|json)")
_SUMMARY_FILE = re.compile(r"(?:since-)?(\d{4}-\d{2}-\d{2})(?:\.\d+)?\.(md|html|csv|jsonl)")
"""``since-``: a page of all days from that one on; ``.2.html``: a part of a page."""
_DIGEST = re.compile(r"[0-9a-f]{16,128}")
_HEX = re.compile(r"[0-9a-f]{2}")
_READ_BYTES = 4 << 20
"""Of a day file, at once."""
_READ_RECORDS = 500
"""Of other hosts, at once."""
_OPEN_DAYS = 3
"""Days whose ids are kept in memory: today, yesterday around midnight, one delivered late."""

_UNFIT = frozenset(
    {errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.ENOENT, errno.ELOOP}
)
"""Errors of the folder that was configured, rather than of the disk."""


class Summary(NamedTuple):
    """The files made from one day's records."""

    markdown: Path
    metrics: Path


class Recent(NamedTuple):
    """What was done of late."""

    counts: dict[str, int]
    """Today's counts: ``records, photos, tagged, failed, dry_run, ...``."""
    photos_per_hour: float | None
    """Over the last hour; None: no photo ended in it."""


class Elsewhere(Protocol):
    """What other hosts that share the ledger have journalled, in folders of their own."""

    def days(self) -> Iterable[str]:
        """Return the days that have records."""

    def lines(self, day: str) -> Iterable[str]:
        """Yield the records of *day* of all hosts, in the order they came."""

    def since(self, number: int) -> Iterable[tuple[str, str, int]]:
        """Yield day, line and number of each record behind *number*, in the order they came."""


class Journal:
    """The outputs folder. Threads and processes may share it.

    Every method raises :class:`StorageError` when the disk is full or failing, and those that take
    a day :class:`ConfigurationError` when it is not a date. A failed call can be repeated; it
    leaves files that were there as they were.
    """

    def __init__(
        self,
        directory: Path,
        *,
        retention_days: int,
        compress_after_days: int,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        """Name the folder; nothing is touched before :meth:`open`.

        Args:
            directory: the outputs folder.
            retention_days: day files older than this are deleted by :meth:`tidy`; 0: never.
            compress_after_days: JSONL older than this is compressed by :meth:`tidy`; 0: never.
            elsewhere: has more records, which count like those in this folder.
        """
        self._elsewhere = elsewhere
        directory = directory.absolute()
        files.work_below(directory)
        self.directory = directory
        self.results = directory / "results"
        self.summaries = directory / "summaries"
        self.metrics = directory / "metrics"
        self.thumbnails = directory / "thumbnails"
        self._retention_days = retention_days
        self._compress_after_days = compress_after_days
        self._open: OrderedDict[str, DayFile] = OrderedDict()
        self._lock = threading.Lock()

    def open(self) -> None:
        """Make the folders and repair what a crash left behind.

        Raises:
            ConfigurationError: the folder cannot be made or written to, or is not ours.
            StorageError: disk full or failing.
        """
        _refuse_shared(self.directory)
        for folder in (self.directory, *self._folders):
            _make_folder(folder)
        for day in self.days():
            DayFile(self.results, day).repair()

    def deliver(self, entries: Sequence[Entry]) -> None:
        """Append each of *entries* to its day's file, once however often it is delivered.

        Durable on return.
        """
        with self._lock:
            for day, group in groupby(sorted(entries, key=lambda e: e.day), lambda e: e.day):
                self._day_file(day).append(tuple(group))

    def reject(self, entry: Entry, today: date) -> Path:
        """Keep an entry that :meth:`deliver` does not take, and return where."""
        file = DayFile(self.results, today.isoformat())
        file.reject(entry.line)
        return file.torn

    def thumbnail(self, digest: str, jpeg: bytes) -> None:
        """Keep a photo's thumbnail; one that exists already is only marked as still in use.

        It waits for no disk: one that a power cut has emptied is made again when the photo is
        seen again, and until then there is none.
        """
        if not _DIGEST.fullmatch(digest):
            message = f"not a digest: {digest!r}"
            raise ValueError(message)
        path = self.thumbnails / digest[:2] / f"{digest}.jpg"
        with failing_as_storage("write", path):
            try:
                with files.open_file(path) as file:
                    whole = file.stat().st_size > 0 or not jpeg
                    os.utime(file.descriptor)
            except PermissionError:
                return  # made by a taggerd that runs as another user
            except FileNotFoundError:
                whole = False
                with suppress(FileExistsError):
                    files.make_folder(path.parent, 0o777).close()
            if not whole:
                replace(path, jpeg, durable=False)

    def thumbnail_of(self, digest: str) -> bytes:
        """Return the thumbnail that *digest* names; empty if there is none."""
        if not _DIGEST.fullmatch(digest):
            return b""
        path = self.thumbnails / digest[:2] / f"{digest}.jpg"
        with (
            failing_as_storage("read", path),
            suppress(FileNotFoundError),
            files.open_file(path) as file,
            file.reader() as opened,
        ):
            return opened.read()
        return b""

    def read(self, day: str) -> Day:
        """Return the records of *day*, which need not have any."""
        elsewhere = self._elsewhere.lines(_checked(day)) if self._elsewhere else ()
        return Day(day, DayFile(self.results, _checked(day)).read(elsewhere))

    def summarise(self, day: str) -> Summary:
        """Write summary and metrics of *day* from its records alone, each file atomically.

        They wait for no disk: :meth:`stale` finds those that a power cut has emptied. A day without
        records gets an empty summary.
        """
        # The time is taken before the records are read: what arrives meanwhile is not in.
        written_at = _written_at(self.results / f"{_checked(day)}.jsonl")
        summary = Summary(
            self.summaries / f"{day}.md",
            self.metrics / f"{day}.json",
        )
        with failing_as_storage("read", self.results):
            content = self.read(day)
            figures = escape_controls(json.dumps(metrics(content), indent=2, ensure_ascii=False))
            replace(summary.markdown, markdown(content).encode(), durable=False)
            replace(summary.metrics, f"{figures}\n".encode(), durable=False)
            if written_at is not None:  # last: what stale() looks at
                with files.open_file(summary.metrics) as file:
                    os.utime(file.descriptor, ns=(written_at, written_at))
        return summary

    def days(self) -> list[str]:
        """Return the days that have records, oldest first."""
        here = self._days_here()
        elsewhere = self._elsewhere.days() if self._elsewhere else ()
        return sorted({*here, *filter(_is_day, elsewhere)})

    def _days_here(self) -> list[str]:
        found = _day_files(self.results)
        return sorted({day for day, _, kind in found if kind in {"jsonl", "jsonl.gz"}})

    def read_on(self, marks: Mapping[str, str]) -> Iterator[tuple[str, list[Record], str]]:
        """Yield the records that came since *marks*, some thousand at once, oldest days first.

        Each with its day, and the mark behind it: kept by its day, it tells the next call where to
        go on. A record may come again.
        """
        for day in self._days_here():
            file, mark = DayFile(self.results, day), marks.get(day, "")
            while (read := file.read_on(mark, _READ_BYTES))[1] != mark:
                records, mark = read
                yield day, records, mark

    def read_on_elsewhere(self, mark: str) -> Iterator[tuple[list[tuple[str, Record]], str]]:
        """Yield the records of all hosts that came since *mark*, some hundred at once.

        Each with its day; and the mark behind them, which tells the next call where to go on. None
        where nobody else journals.
        """
        since = int(mark) if mark.isdecimal() else 0
        lines = iter(self._elsewhere.since(since) if self._elsewhere else ())
        while batch := list(islice(lines, _READ_RECORDS)):
            read = [(day, parse(told(line))) for day, line, _ in batch if _is_day(day)]
            yield [(day, record) for day, record in read if record is not None], str(batch[-1][2])

    def stale(self) -> list[str]:
        """Return the days with records that are newer than the day's summary, oldest first.

        Whoever appended them died before it wrote the summary, or is about to. The metrics file
        has the modification time of the results, so it does not matter whether the clock is right.
        Also those of which a power cut has left an empty file.
        """
        made = ((self.summaries, "md"), (self.metrics, "json"))
        emptied = (
            day
            for day in self.days()
            if any(_is_empty(folder / f"{day}.{k}") for folder, k in made)
        )
        return sorted({*self._older_than_records(self.metrics, "json"), *emptied})

    def unpublished(self) -> list[str]:
        """Return the days whose page lacks records, oldest first; as :meth:`stale`."""
        return self._older_than_records(self.summaries, "html")

    def publish(self, stem: str, made: Iterable[tuple[str, Iterable[bytes]]]) -> list[Path]:
        """Write the files of a page to ``summaries/``, each atomically, and return their paths.

        Args:
            stem: how their names begin: a day, or ``since-`` and a day. Parts that an earlier page
                of that name had, and this one has not, are removed.
            made: yields names and contents; it reads the records only when it is asked for them.
        """
        day = _checked(stem.removeprefix("since-"))
        # The time is taken before the records are read: what arrives meanwhile is not in.
        written_at = _written_at(self.results / f"{day}.jsonl")
        paths = []
        for name, content in made:
            path = self.summaries / name
            with failing_as_storage("write", path), replacing(path) as file:
                file.writelines(content)
            paths.append(path)
        page = self.summaries / f"{stem}.html"
        if written_at is not None and page in paths:
            with failing_as_storage("write", page), files.open_file(page) as opened:
                os.utime(opened.descriptor, ns=(written_at, written_at))
        with failing_as_storage("read", self.summaries):
            names = files.names_in(self.summaries)
        for name in names:
            old = self.summaries / name
            if re.fullmatch(rf"{re.escape(stem)}\.\d+\.html", name) and old not in paths:
                with failing_as_storage("delete", old):
                    files.unlink(old, missing_ok=True)
        return paths

    def counts(self, day: str) -> dict[str, int]:
        """Return the counts of *day* as its metrics have them; from its records if it has none."""
        path = self.metrics / f"{_checked(day)}.json"
        with suppress(OSError, ValueError, KeyError, TypeError):
            with files.open_file(path) as file, file.reader() as opened:
                known = json.load(opened)["counts"]
            return {name: int(known[name]) for name in ("photos", "tagged", "failed")}
        return counts(self.read(day))

    def publish_index(self, page: bytes) -> Path:
        """Write the index of days, and return its path."""
        path = self.directory / "index.html"
        replace(path, page)
        return path

    def published(self, day: str) -> list[str]:
        """Return what there is of the page of *day*: ``html``, ``csv``, ``jsonl``."""
        kinds = ("html", "csv", "jsonl")
        return [kind for kind in kinds if files.exists(self.summaries / f"{day}.{kind}")]

    def _older_than_records(self, folder: Path, kind: str) -> list[str]:
        return sorted(
            day
            for day, path, of_day in _day_files(self.results)
            if of_day == "jsonl" and _written_at(path) != _written_at(folder / f"{day}.{kind}")
        )

    def recent(self, now: datetime) -> Recent:
        """Return what was done today and within the hour before *now*, which is local."""
        today = self.read(now.date().isoformat())
        records = list(today.records)
        yesterday = (now - RECENT).date()
        if yesterday != now.date():
            records += self.read(yesterday.isoformat()).records
        return Recent(counts(today), photos_per_hour(records, now))

    def experience(self, models: Mapping[str, str], now: datetime) -> Experience:
        """Return what the latest photos took that these *models*, by role, answered about."""
        found: list[Record] = []
        oldest = (now.date() - timedelta(MOST_DAYS)).isoformat()
        for day in reversed(self.days()):
            if day < oldest or len(found) >= MOST_PHOTOS:
                break
            found += alike(reversed(self.read(day).records), models)
        return Experience.of([_without_words(record) for record in found[:MOST_PHOTOS]])

    def history(self, since: str = "") -> History:
        """Return the metrics of the days from *since* on, or of all, from their records."""
        days: list[Metrics] = []
        records: list[Record] = []
        for day in self.days():
            if day >= (since and _checked(since)):
                content = self.read(day)
                days.append(metrics(content))
                records += map(_without_words, content.records)
        return {"days": days, "all": total(Day("all", records))}

    def tidy(self, today: date) -> None:
        """Delete and compress old day files as configured; remove what crashes left behind.

        Files that the journal did not make are left alone.
        """
        with failing_as_storage("tidy", self.directory):
            if self._retention_days:
                self._delete_before(today - timedelta(days=self._retention_days))
            if self._compress_after_days:
                limit = (today - timedelta(days=self._compress_after_days)).isoformat()
                for day, _, kind in _day_files(self.results):
                    if kind == "jsonl" and day < limit:
                        DayFile(self.results, day).compress()
            for folder in (self.directory, *self._folders, *self._thumbnail_folders()):
                _remove_older(folder, rf"\..*{TEMPORARY_SUFFIX}", today - timedelta(days=1))

    @property
    def _folders(self) -> tuple[Path, ...]:
        return (self.results, self.summaries, self.metrics, self.thumbnails)

    def _day_file(self, day: str) -> DayFile:
        """Return the day's file, which knows its ids; the one used longest ago is dropped."""
        file = self._open.pop(day, None) or DayFile(self.results, _checked(day))
        self._open[day] = file
        while len(self._open) > _OPEN_DAYS:
            self._open.popitem(last=False)
        return file

    def _thumbnail_folders(self) -> list[Path]:
        with suppress(FileNotFoundError), files.open_folder(self.thumbnails) as folder:
            return [self.thumbnails / name for name in folder.folders() if _HEX.fullmatch(name)]
        return []

    def _delete_before(self, limit: date) -> None:
        """Delete day files before *limit*, and thumbnails that no later record can use."""
        for folder in (self.results, self.summaries, self.metrics):
            pattern = _SUMMARY_FILE if folder == self.summaries else _DAY_FILE
            for day, path, _ in _day_files(folder, pattern):
                if day < limit.isoformat():
                    with failing_as_storage("delete", path):
                        files.unlink(path, missing_ok=True)
        for folder in self._thumbnail_folders():
            # One day more, because a file's time and the local day may differ by a time zone.
            _remove_older(folder, r".*\.jpg", limit - timedelta(days=1))


def _without_words(record: Record) -> Record:
    """Return *record* without its words, of which a year of days would hold a gigabyte."""
    return replace_fields(record, caption="", description="", keywords=(), roles={}, raw={})


def _refuse_shared(directory: Path) -> None:
    """Refuse outputs that everybody may write or that lie in another user's folder.

    Raises:
        ConfigurationError: it is such a folder.
    """
    try:
        why = why_not_private(directory, group_allowed=True)
    except OSError:
        return  # making it says why
    if why:
        message = f"cannot use {printable(directory)}: {why}; or set journal.directory"
        raise ConfigurationError(message)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno not in _UNFIT:
            with failing_as_storage("make", folder):
                raise
        reason = error.strerror or "it is not a folder"
        message = f"cannot make {printable(folder)}: {reason}; set journal.directory"
        raise ConfigurationError(message) from error
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        with failing_as_storage("write into", folder):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
    if not os.access(folder, os.W_OK | os.X_OK):
        message = f"cannot write into {printable(folder)}: permission denied"
        raise ConfigurationError(message)


def _written_at(path: Path) -> int | None:
    """Return when *path* was last written, in nanoseconds; None if it does not exist."""
    with failing_as_storage("read", path), suppress(FileNotFoundError):
        return files.lstat(path).st_mtime_ns
    return None


def _is_empty(path: Path) -> bool:
    """Say whether *path* exists and nothing is in it."""
    with failing_as_storage("read", path), suppress(FileNotFoundError):
        return files.lstat(path).st_size == 0
    return False


def _is_day(day: str) -> bool:
    try:
        return date.fromisoformat(day).isoformat() == day
    except ValueError:
        return False


def _checked(day: str) -> str:
    """Return *day*, which becomes part of a file's name."""
    if not _is_day(day):
        message = f"{printable(day)!r} is not a date; write it as YYYY-MM-DD"
        raise ConfigurationError(message)
    return day


def _day_files(
    folder: Path, pattern: re.Pattern[str] = _DAY_FILE
) -> Iterator[tuple[str, Path, str]]:
    """Yield day, path and kind of the journal's own files in *folder*."""
    names: Sequence[str] = ()
    # Whether it exists is not asked before: of a folder that may not be read that would say "no".
    with failing_as_storage("read", folder), suppress(FileNotFoundError):
        names = files.names_in(folder)
    for name in names:
        if (match := pattern.fullmatch(name)) and _is_day(match[1]):
            yield match[1], folder / name, match[2]


def _remove_older(folder: Path, pattern: str, limit: date) -> None:
    """Remove files of *folder* whose names match and that were last written before *limit*."""
    with failing_as_storage("read", folder), suppress(FileNotFoundError):
        for path in (folder / name for name in files.names_in(folder)):
            if re.fullmatch(pattern, path.name):
                with failing_as_storage("delete", path), suppress(FileNotFoundError):
                    status = files.lstat(path)
                    old = datetime.fromtimestamp(status.st_mtime, UTC).date() < limit
                    if old and stat.S_ISREG(status.st_mode):
                        files.unlink(path)
