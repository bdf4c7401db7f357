"""The outputs folder: made, kept tidy, and refused where it cannot be used."""

from __future__ import annotations

import os
import resource
import stat
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import pytest
from support.records import noon

from taggerd.errors import ConfigurationError, StorageError
from taggerd.journal import Journal
from taggerd.relay import publish_day, publish_since

if TYPE_CHECKING:
    from pathlib import Path

    from support.records import MakesEntries

DIGEST = "ab" + "0" * 62
PAGE = ("html", "csv", "jsonl")


def kept(directory: Path) -> set[str]:
    """Return the files below *directory*, relative."""
    return {str(p.relative_to(directory)) for p in directory.rglob("*") if p.is_file()}


def age(path: Path, day: str) -> None:
    """Let *path* have been written on *day*."""
    moment = datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()
    os.utime(path, (moment, moment))


def test_open_makes_the_folders(tmp_path: Path) -> None:
    """The folders exist after open, also below folders that were missing; again is no error."""
    journal = Journal(tmp_path / "a" / "b", retention_days=0, compress_after_days=0)
    journal.open()
    journal.open()
    folders = {path.name for path in (tmp_path / "a" / "b").iterdir()}
    assert folders == {"results", "summaries", "metrics", "thumbnails"}


def test_a_file_in_the_way_is_a_wrong_setting(tmp_path: Path) -> None:
    """One line that names the folder and what to do."""
    (tmp_path / "outputs").write_text("a file")
    journal = Journal(tmp_path / "outputs", retention_days=0, compress_after_days=0)
    with pytest.raises(ConfigurationError, match=r"cannot make .*outputs.*journal\.directory"):
        journal.open()


def test_days_whose_pages_lack_records(journal: Journal, entry: MakesEntries) -> None:
    """A day is stale from its records' delivery until its pages are made, whoever delivered."""
    journal.deliver([entry(1, "2025-11-19"), entry(2, "2025-11-20")])
    assert journal.stale() == ["2025-11-19", "2025-11-20"]
    for day in journal.stale():
        journal.summarise(day)
    assert journal.stale() == []
    journal.deliver([entry(3, "2025-11-20")])
    assert journal.stale() == ["2025-11-20"]


def test_days_whose_page_lacks_records(journal: Journal, entry: MakesEntries) -> None:
    """The page is made later than the summary, and a crash in between is noticed."""
    journal.deliver([entry(1)])
    journal.summarise("2025-11-20")
    assert journal.unpublished() == ["2025-11-20"]
    publish_day(journal, "2025-11-20")
    assert journal.unpublished() == []
    journal.deliver([entry(2)])
    assert journal.unpublished() == ["2025-11-20"]


def test_parts_that_a_page_has_no_more_are_removed(journal: Journal) -> None:
    """A page of one part leaves none of an earlier one of three; other days' parts stay."""
    names = ("2025-11-20.1.html", "2025-11-20.2.html", "2025-11-21.1.html", "2025-11-20.x.html")
    for name in names:
        (journal.summaries / name).write_text("old")
    paths = journal.publish("2025-11-20", iter([("2025-11-20.html", [b"new", b"er"])]))
    assert [path.read_bytes() for path in paths] == [b"newer"]
    assert kept(journal.summaries) == {"2025-11-20.html", *names[2:]}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere: run as another user")
def test_a_read_only_folder_is_a_wrong_setting(tmp_path: Path) -> None:
    """It is said at start, not at the first photo."""
    journal = Journal(tmp_path / "outputs", retention_days=0, compress_after_days=0)
    journal.open()
    journal.results.chmod(0o500)
    with pytest.raises(ConfigurationError, match="cannot write into"):
        journal.open()


def test_a_thumbnail_is_written_once(journal: Journal) -> None:
    """The first one stays; it lies below the first two digits of its digest."""
    journal.thumbnail(DIGEST, b"first")
    journal.thumbnail(DIGEST, b"second")
    assert (journal.thumbnails / "ab" / f"{DIGEST}.jpg").read_bytes() == b"first"


def test_a_thumbnail_that_a_power_cut_emptied_is_made_again(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for no disk, and an empty file does not stand for it for ever."""
    monkeypatch.setattr(os, "fsync", None)
    journal.thumbnail(DIGEST, b"first")
    (journal.thumbnails / "ab" / f"{DIGEST}.jpg").write_bytes(b"")
    journal.thumbnail(DIGEST, b"second")
    assert journal.thumbnail_of(DIGEST) == b"second"


@pytest.mark.parametrize("which", [0, 1])
def test_a_summary_that_a_power_cut_emptied_is_made_again(
    journal: Journal, entry: MakesEntries, which: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for no disk; neither file stays empty, whatever its time says."""
    journal.deliver([entry(1)])
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", None)
        made = journal.summarise("2025-11-20")
    assert journal.stale() == []
    whole, before = made[which].read_bytes(), made[which].stat()
    made[which].write_bytes(b"")
    os.utime(made[which], ns=(before.st_atime_ns, before.st_mtime_ns))
    assert journal.stale() == ["2025-11-20"]
    journal.summarise("2025-11-20")
    assert (made[which].read_bytes(), journal.stale()) == (whole, [])


@pytest.mark.parametrize("digest", ["", "../../../etc/cron.d/x", "AB" * 32, "ab/" + "c" * 60])
def test_only_a_digest_names_a_thumbnail(journal: Journal, digest: str) -> None:
    """No other text becomes a path."""
    with pytest.raises(ValueError, match="not a digest"):
        journal.thumbnail(digest, b"jpeg")


def test_a_full_disk_leaves_the_old_summary(journal: Journal, entry: MakesEntries) -> None:
    """A summary is whole: the new one or the one before; no temporary file is left."""
    journal.deliver([entry(1)])
    before = [path.read_bytes() for path in journal.summarise("2025-11-20")]
    journal.deliver([entry(2)])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(StorageError, match=r"cannot write .*2025-11-20\.md"):
            journal.summarise("2025-11-20")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    names = ("summaries/2025-11-20.md", "metrics/2025-11-20.json")
    assert [(journal.directory / name).read_bytes() for name in names] == before


def test_files_follow_the_umask(journal: Journal, entry: MakesEntries) -> None:
    """Outputs are readable by whom the umask lets read, not by their writer alone."""
    old = os.umask(0o027)
    try:
        journal.deliver([entry(1)])
        paths = journal.summarise("2025-11-20")
    finally:
        os.umask(old)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in paths}
    assert modes == {0o640}


def test_tidy_forgets_old_days_only(journal: Journal, entry: MakesEntries) -> None:
    """Day files older than the retention go, with their summaries; foreign files stay."""
    for day in ("2025-11-01", "2025-11-10", "2025-11-20"):
        journal.deliver([entry(1, day)])
        journal.summarise(day)
        publish_day(journal, day)
        publish_since(journal, day)
    foreign = [journal.results / "2025-11-01.txt", journal.summaries / "2025-01-01 notes.md"]
    for path in foreign:
        path.write_text("mine")
    keeping = Journal(journal.directory, retention_days=10, compress_after_days=0)
    keeping.tidy(date(2025, 11, 20))
    days = {"2025-11-10", "2025-11-20"}
    assert set(keeping.days()) == days
    expected = {f"results/{day}.jsonl" for day in days} | {f"metrics/{day}.json" for day in days}
    expected |= {f"summaries/{day}.md" for day in days}
    pages = (f"{name}{day}.{kind}" for day in days for name in ("", "since-") for kind in PAGE)
    expected |= {f"summaries/{page}" for page in pages}
    assert kept(journal.directory) == expected | {
        str(path.relative_to(journal.directory)) for path in foreign
    }


def test_tidy_forgets_thumbnails_that_no_day_shows(journal: Journal) -> None:
    """A thumbnail goes when it was last used before the retention; using it again keeps it."""
    digests = [f"{n:064x}" for n in range(3)]
    paths = [journal.thumbnails / d[:2] / f"{d}.jpg" for d in digests]
    for digest, path in zip(digests, paths, strict=True):
        journal.thumbnail(digest, b"jpeg")
        age(path, "2025-10-01")
    age(paths[1], "2025-11-11")
    journal.thumbnail(digests[2], b"jpeg")
    keeping = Journal(journal.directory, retention_days=10, compress_after_days=0)
    keeping.tidy(date(2025, 11, 20))
    assert [path.exists() for path in paths] == [False, True, True]


def test_tidy_without_limits_deletes_nothing(journal: Journal, entry: MakesEntries) -> None:
    """0 means never."""
    journal.deliver([entry(1, "1999-01-01")])
    journal.thumbnail(DIGEST, b"jpeg")
    age(journal.thumbnails / "ab" / f"{DIGEST}.jpg", "1999-01-01")
    journal.tidy(date(2025, 11, 20))
    assert kept(journal.directory) == {"results/1999-01-01.jsonl", f"thumbnails/ab/{DIGEST}.jpg"}


def test_tidy_packs_old_days(journal: Journal, entry: MakesEntries) -> None:
    """JSONL older than the limit is compressed, the rest stays readable as it is."""
    journal.deliver([entry(1, "2025-11-12"), entry(2, "2025-11-13")])
    packing = Journal(journal.directory, retention_days=0, compress_after_days=7)
    packing.tidy(date(2025, 11, 20))
    assert kept(journal.results) == {"2025-11-12.jsonl.gz", "2025-11-13.jsonl"}
    assert packing.recent(noon("2025-11-12")).counts["records"] == 1


def test_tidy_removes_what_a_crash_left(journal: Journal) -> None:
    """Temporary files of a killed process go after a day; those of a living one stay."""
    old = journal.summaries / ".2025-11-20.md.00ff00ff.taggerd-tmp"
    new = journal.summaries / ".2025-11-20.md.11ff11ff.taggerd-tmp"
    for path, day in ((old, "2025-11-18"), (new, "2025-11-20")):
        path.write_text("half")
        age(path, day)
    journal.tidy(date(2025, 11, 20))
    assert kept(journal.summaries) == {new.name}
    new.unlink()
