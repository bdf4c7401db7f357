"""The journal: the outputs folder with its day files, summaries, metrics, pages and thumbnails.

::

    results/YYYY-MM-DD.jsonl    one record a photo (.gz once packed, .torn: half lines set aside)
    summaries/YYYY-MM-DD.md     for reading
    summaries/YYYY-MM-DD.html   the same as a contact sheet
    metrics/YYYY-MM-DD.json     figures
    thumbnails/ab/DIGEST.jpg    for the contact sheet

Summaries, pages and metrics are derived from the results and may be made again at any time.
"""

from __future__ import annotations

import errno
import json
import os
import re
import threading
from collections import OrderedDict
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from taggerd.errors import ConfigurationError
from taggerd.journal.day import Day
from taggerd.journal.dayfile import DayFile, Entry
from taggerd.journal.disk import TEMPORARY_SUFFIX, failing_as_storage, replace
from taggerd.journal.markdown import markdown
from taggerd.journal.metrics import counts, metrics
from taggerd.journal.page import page
from taggerd.photo import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_DAY_FILE = re.compile(r"(\d{4}-\d{2}-\d{2})\.(jsonl|jsonl\.gz|jsonl\.torn|md|html|json)")
_DIGEST = re.compile(r"[0-9a-f]{16,128}")
_OPEN_DAYS = 3
"""Days whose ids are kept in memory: today, yesterday around midnight, one late delivery."""

_UNFIT = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENOENT, errno.ELOOP}
)
"""What is wrong with the folder that was named, rather than with the disk."""


class Summary(NamedTuple):
    """The files that tell of one day."""

    markdown: Path
    html: Path
    metrics: Path


class Journal:
    """The outputs folder. Threads and processes may share one."""

    def __init__(self, directory: Path, *, retention_days: int, compress_after_days: int) -> None:
        """Name the folder; nothing is touched before :meth:`open`.

        Args:
            directory: the outputs folder.
            retention_days: day files older than this are deleted by :meth:`tidy`; 0: never.
            compress_after_days: JSONL older than this is packed by :meth:`tidy`; 0: never.
        """
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
        """Make the folders and mend what a crash left.

        Raises:
            ConfigurationError: the folder cannot be made or written to.
            StorageError: disk full or failing.
        """
        for folder in self._folders:
            _make_folder(folder)
        for day in self.days():
            DayFile(self.results, day).mend()

    def deliver(self, entries: Sequence[Entry]) -> None:
        """Append each of *entries* to its day's file, exactly once however often it is delivered.

        Durable on return.

        Raises:
            ConfigurationError: an entry's day is not a day.
            StorageError: disk full or failing; deliver all of them again later.
        """
        with self._lock:
            for day, group in groupby(sorted(entries, key=lambda e: e.day), lambda e: e.day):
                self._day_file(day).append(tuple(group))

    def thumbnail(self, digest: str, jpeg: bytes) -> None:
        """Keep a photo's thumbnail; one that is there already is only marked as still in use.

        Raises:
            StorageError: disk full or failing.
        """
        if not _DIGEST.fullmatch(digest):
            message = f"not a digest: {digest!r}"
            raise ValueError(message)
        path = self.thumbnails / digest[:2] / f"{digest}.jpg"
        with failing_as_storage("write", path):
            try:
                os.utime(path)
            except PermissionError:
                return  # made by a taggerd that runs as another user
            except FileNotFoundError:
                path.parent.mkdir(parents=True, exist_ok=True)
                replace(path, jpeg)

    def summarise(self, day: str) -> Summary:
        """Write summary, page and metrics of *day* from its records alone; each atomically.

        A day without records gets an empty summary.

        Raises:
            ConfigurationError: *day* is not a day.
            StorageError: disk full or failing; what was there before stays.
        """
        # Before it is read: what comes meanwhile is not in.
        written_at = _written_at(self.results / f"{_checked(day)}.jsonl")
        with failing_as_storage("read", self.results):
            return self._summarised(self._told(day), written_at)

    def _summarised(self, told: Day, written_at: int | None) -> Summary:
        day = told.title
        summary = Summary(
            self.summaries / f"{day}.md",
            self.summaries / f"{day}.html",
            self.metrics / f"{day}.json",
        )
        figures = json.dumps(metrics(told), indent=2, ensure_ascii=False)
        replace(summary.markdown, markdown(told).encode())
        replace(summary.html, page(told, self.summaries, self.thumbnails).encode())
        replace(summary.metrics, f"{figures}\n".encode())
        if written_at is not None:  # last, and like its results: so it is known which are in
            os.utime(summary.metrics, ns=(written_at, written_at))
        return summary

    def days(self) -> list[str]:
        """Return the days that have records, oldest first.

        Raises:
            StorageError: the disk fails.
        """
        found = _day_files(self.results)
        return sorted({day for day, _, kind in found if kind in {"jsonl", "jsonl.gz"}})

    def stale(self) -> list[str]:
        """Return the days with records that came after the day's pages were made, oldest first.

        Whoever appended them died before it made the pages anew, or is about to. The figures have
        their results' own time: which clock said it, and whether it was right, does not matter.

        Raises:
            StorageError: the disk fails.
        """
        return sorted(
            day
            for day, path, kind in _day_files(self.results)
            if kind == "jsonl" and _written_at(path) != _written_at(self.metrics / f"{day}.json")
        )

    def counts(self, day: str) -> dict[str, int]:
        """Return the day's counts: ``records, photos, tagged, failed, dry_run, ...``.

        Raises:
            ConfigurationError: *day* is not a day.
            StorageError: the disk fails.
        """
        return counts(self._told(day))

    def tidy(self, today: date) -> None:
        """Delete and pack old day files as the settings say; remove what crashes left behind.

        Files that the journal did not make are left alone.

        Raises:
            StorageError: disk full or failing.
        """
        with failing_as_storage("tidy", self.directory):
            self._tidy(today)

    def _tidy(self, today: date) -> None:
        if self._retention_days:
            self._forget_before(today - timedelta(days=self._retention_days))
        if self._compress_after_days:
            limit = (today - timedelta(days=self._compress_after_days)).isoformat()
            for day, _, kind in _day_files(self.results):
                if kind == "jsonl" and day < limit:
                    DayFile(self.results, day).pack()
        for folder in (*self._folders, *self._thumbnail_folders()):
            _remove_older(folder, f".*{TEMPORARY_SUFFIX}", today - timedelta(days=1))

    @property
    def _folders(self) -> tuple[Path, ...]:
        return (self.results, self.summaries, self.metrics, self.thumbnails)

    def _day_file(self, day: str) -> DayFile:
        """Return the day's file with the ids it has learnt, forgetting the day used longest ago."""
        file = self._open.pop(day, None) or DayFile(self.results, _checked(day))
        self._open[day] = file
        while len(self._open) > _OPEN_DAYS:
            self._open.popitem(last=False)
        return file

    def _told(self, day: str) -> Day:
        return Day(day, DayFile(self.results, _checked(day)).read())

    def _thumbnail_folders(self) -> list[Path]:
        return [folder for folder in self.thumbnails.glob("[0-9a-f][0-9a-f]") if folder.is_dir()]

    def _forget_before(self, limit: date) -> None:
        """Delete day files before *limit*, and thumbnails that no later record can have used."""
        for folder in (self.results, self.summaries, self.metrics):
            for day, path, _ in _day_files(folder):
                if day < limit.isoformat():
                    with failing_as_storage("delete", path):
                        path.unlink(missing_ok=True)
        for folder in self._thumbnail_folders():
            # A day's slack, because a file's time and the local day may differ by a time zone.
            _remove_older(folder, "*.jpg", limit - timedelta(days=1))


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
    if not os.access(folder, os.W_OK | os.X_OK):
        message = f"cannot write into {printable(folder)}: permission denied or read-only"
        raise ConfigurationError(message)


def _written_at(path: Path) -> int | None:
    """Return when *path* was last written, in nanoseconds; None where it is not (any more)."""
    with failing_as_storage("read", path), suppress(FileNotFoundError):
        return path.stat().st_mtime_ns
    return None


def _is_day(day: str) -> bool:
    try:
        return date.fromisoformat(day).isoformat() == day
    except ValueError:
        return False


def _checked(day: str) -> str:
    """Return *day*, which becomes part of a file's name."""
    if not _is_day(day):
        message = f"not a day: {printable(day)}; write it as YYYY-MM-DD"
        raise ConfigurationError(message)
    return day


def _day_files(folder: Path) -> Iterator[tuple[str, Path, str]]:
    """Give day, path and kind of the journal's own files in *folder*."""
    with failing_as_storage("read", folder):
        paths = list(folder.iterdir()) if folder.is_dir() else []
    for path in paths:
        if (match := _DAY_FILE.fullmatch(path.name)) and _is_day(match[1]):
            yield match[1], path, match[2]


def _remove_older(folder: Path, pattern: str, limit: date) -> None:
    """Remove files of *folder* that were last written before the day *limit*."""
    for path in folder.glob(pattern):
        with failing_as_storage("delete", path), suppress(FileNotFoundError):
            if datetime.fromtimestamp(path.stat().st_mtime, UTC).date() < limit:
                path.unlink()
