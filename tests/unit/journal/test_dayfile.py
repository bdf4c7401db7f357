"""The day file: exactly once, whole lines, whatever crashed in between."""

from __future__ import annotations

import gzip
import json
import resource
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.records import noon

from taggerd.errors import ConfigurationError, StorageError
from taggerd.journal import Entry, Journal
from taggerd.journal.dayfile import DayFile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.records import MakesEntries

DAY = "2025-11-20"


def ids(journal: Journal, day: str = DAY) -> list[str]:
    """Return the ids in the day's file as a foreign reader of JSONL would find them."""
    text = (journal.results / f"{day}.jsonl").read_text(encoding="utf-8")
    assert text == "" or text.endswith("\n")
    return [json.loads(line)["id"] for line in text.splitlines()]


@contextmanager
def disk_full_at(size: int) -> Iterator[None]:
    """Let no file grow beyond *size* bytes, as a full disk would: the write before it is cut."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_each_entry_is_appended_once(journal: Journal, entry: MakesEntries) -> None:
    """Redelivery adds nothing: in the same batch, later, or by a new process."""
    journal.deliver([entry(1), entry(2), entry(1)])
    journal.deliver([entry(2), entry(3)])
    again = Journal(journal.directory, retention_days=0, compress_after_days=0)
    again.open()
    again.deliver([entry(3), entry(1), entry(4)])
    assert ids(journal) == ["record-1", "record-2", "record-3", "record-4"]


def test_entries_go_to_their_own_day(journal: Journal, entry: MakesEntries) -> None:
    """The day is the entry's, not the clock's, and one delivery may hold several days."""
    journal.deliver([entry(1, "2025-11-21"), entry(2, "2025-11-20"), entry(3, "2025-11-21")])
    assert ids(journal, "2025-11-20") == ["record-2"]
    assert ids(journal, "2025-11-21") == ["record-1", "record-3"]
    assert journal.days() == ["2025-11-20", "2025-11-21"]


def test_what_another_process_appended_is_known(journal: Journal, entry: MakesEntries) -> None:
    """Ids kept in memory are brought up to date when somebody else wrote meanwhile."""
    other = Journal(journal.directory, retention_days=0, compress_after_days=0)
    journal.deliver([entry(1)])
    other.deliver([entry(2)])
    journal.deliver([entry(2), entry(3)])
    other.deliver([entry(3), entry(1)])
    assert ids(journal) == ["record-1", "record-2", "record-3"]


def test_a_file_that_was_replaced_or_emptied_is_read_again(
    journal: Journal, entry: MakesEntries
) -> None:
    """What a person took out of the file is delivered again; memory does not claim it is there."""
    path = journal.results / f"{DAY}.jsonl"
    journal.deliver([entry(1)])
    path.write_bytes(b"")
    journal.deliver([entry(1)])
    path.unlink()
    journal.deliver([entry(1), entry(2)])
    path.write_text(path.read_text().replace("record-1", "record-9"))
    journal.deliver([entry(1)])
    assert ids(journal) == ["record-9", "record-2", "record-1"]


WRITER = """
import json, sys
from pathlib import Path
from taggerd.journal import Entry, Journal
journal = Journal(Path(sys.argv[1]), retention_days=0, compress_after_days=0)
journal.open()
for number in range(60):
    line = json.dumps({"schema_version": 1, "id": f"r{number}", "caption": "x" * 5000})
    journal.deliver([Entry(f"r{number}", "2025-11-20", line)])
"""


def test_processes_share_a_day(journal: Journal) -> None:
    """Three processes that deliver the same entries at once leave each of them once, unmixed."""
    command = [sys.executable, "-c", WRITER, str(journal.directory)]
    writers = [subprocess.Popen(command) for _ in range(3)]
    assert [writer.wait(180) for writer in writers] == [0, 0, 0]
    assert sorted(ids(journal)) == sorted(f"r{number}" for number in range(60))


def test_half_a_line_is_moved_away(journal: Journal, entry: MakesEntries) -> None:
    """A crash in the middle of a line costs the file nothing, and the half is kept in .torn."""
    path = journal.results / f"{DAY}.jsonl"
    journal.deliver([entry(1)])
    half = entry(2).line.encode()[:150]
    path.write_bytes(path.read_bytes() + half)
    journal.open()
    assert ids(journal) == ["record-1"]
    assert path.with_name(f"{DAY}.jsonl.torn").read_bytes() == half + b"\n"
    journal.deliver([entry(2)])
    assert ids(journal) == ["record-1", "record-2"]


def test_half_a_line_of_another_process_is_moved_away_on_append(
    journal: Journal, entry: MakesEntries
) -> None:
    """A record is never glued to the half line of a process that died meanwhile."""
    path = journal.results / f"{DAY}.jsonl"
    journal.deliver([entry(1)])
    path.write_bytes(path.read_bytes() + b'{"schema_version": 1, "id": "x')
    journal.deliver([entry(2)])
    assert ids(journal) == ["record-1", "record-2"]


def test_a_long_half_line_is_found_to_its_start(journal: Journal, entry: MakesEntries) -> None:
    """The end of the last whole line is found also when the half one is megabytes long."""
    path = journal.results / f"{DAY}.jsonl"
    journal.deliver([entry(1)])
    path.write_bytes(path.read_bytes() + b"\0" * 2_500_000)
    journal.open()
    assert ids(journal) == ["record-1"]


def test_a_whole_line_without_line_end_is_kept(journal: Journal, entry: MakesEntries) -> None:
    """Only the line end was lost: the record stays and is not delivered twice."""
    path = journal.results / f"{DAY}.jsonl"
    path.write_text(entry(1).line)
    journal.open()
    journal.deliver([entry(1), entry(2)])
    assert ids(journal) == ["record-1", "record-2"]
    assert not path.with_name(f"{DAY}.jsonl.torn").exists()


def test_a_full_disk_leaves_whole_lines(journal: Journal, entry: MakesEntries) -> None:
    """A write that is cut by a full disk is undone, named, and done again when there is room."""
    path = journal.results / f"{DAY}.jsonl"
    journal.deliver([entry(1)])
    before = path.read_bytes()
    batch = [entry(2), entry(3)]
    cut = len(before) + len(batch[0].line) + 40
    with disk_full_at(cut), pytest.raises(StorageError, match=rf"cannot write .*{DAY}\.jsonl"):
        journal.deliver(batch)
    assert path.read_bytes() == before
    journal.deliver(batch)
    assert ids(journal) == ["record-1", "record-2", "record-3"]


def test_a_half_surrogate_is_stored_as_json(journal: Journal) -> None:
    """Half an emoji from a model neither loses the record nor breaks the file's UTF-8."""
    line = json.dumps({"schema_version": 1, "id": "a", "caption": "\ud83d"}, ensure_ascii=False)
    journal.deliver([Entry("a", DAY, line)])
    stored = (journal.results / f"{DAY}.jsonl").read_bytes().decode("utf-8")
    assert json.loads(stored)["caption"] == "\ud83d"


@pytest.mark.parametrize("day", ["../../etc/passwd", "2025-02-30", "20251120", ""])
def test_a_day_is_a_day(journal: Journal, day: str) -> None:
    """What becomes part of a file name must be a day."""
    with pytest.raises(ConfigurationError, match="not a date"):
        journal.deliver([Entry("a", day, "{}")])
    with pytest.raises(ConfigurationError, match="not a date"):
        journal.summarise(day)


def test_packing_keeps_every_record(journal: Journal, entry: MakesEntries) -> None:
    """A packed day reads the same, its ids are still known, and late records are added to it."""
    journal.deliver([entry(1), entry(2)])
    file = DayFile(journal.results, DAY)
    file.compress()
    assert not file.path.exists()
    assert journal.days() == [DAY]
    journal.deliver([entry(1), entry(3)])
    assert ids(journal) == ["record-3"]
    assert [line.id for line in file.read() if line] == ["record-1", "record-2", "record-3"]
    file.compress()
    with gzip.open(file.compressed, "rt") as packed:
        assert [json.loads(line)["id"] for line in packed] == ["record-1", "record-2", "record-3"]


def test_packing_cut_short_loses_and_doubles_nothing(journal: Journal, entry: MakesEntries) -> None:
    """Killed between the new .gz and the removal of the JSONL: the next pack brings order."""
    journal.deliver([entry(1), entry(2)])
    file = DayFile(journal.results, DAY)
    whole = file.path.read_bytes()
    file.compress()
    file.path.write_bytes(whole)
    assert [line.id for line in file.read() if line] == ["record-1", "record-2"]
    file.compress()
    with gzip.open(file.compressed, "rb") as packed:
        assert packed.read() == whole


def test_a_damaged_packed_file_is_not_packed_into(journal: Journal, entry: MakesEntries) -> None:
    """Nothing is appended behind a break where no reader would find it; the break is counted."""
    journal.deliver([entry(1), entry(2)])
    file = DayFile(journal.results, DAY)
    file.compress()
    file.compressed.write_bytes(file.compressed.read_bytes()[:-12])
    damaged = file.compressed.read_bytes()
    journal.deliver([entry(3)])
    file.compress()
    assert file.compressed.read_bytes() == damaged
    assert "record-3" in ids(journal)
    assert journal.recent(noon(DAY)).counts["damaged_lines"] == 1


def test_packing_on_a_full_disk_changes_nothing(journal: Journal, entry: MakesEntries) -> None:
    """Without room for the packed file the JSONL stays."""
    journal.deliver([entry(number) for number in range(50)])
    file = DayFile(journal.results, DAY)
    whole = file.path.read_bytes()
    with disk_full_at(200), pytest.raises(StorageError):
        file.compress()
    assert file.path.read_bytes() == whole
    assert not file.compressed.exists()


def test_a_record_delivered_while_packing_is_kept(journal: Journal, entry: MakesEntries) -> None:
    """Who waited for the lock of a file that packing removed writes into the new one."""
    journal.deliver([entry(1)])
    file = DayFile(journal.results, DAY)
    command = [sys.executable, "-c", LATE, str(journal.directory)]
    with file._locked(create=False) as held:
        late = subprocess.Popen(command)
        while not has_open(late.pid, file.path):
            assert late.poll() is None
        file._compress(held)
    assert late.wait(180) == 0
    assert [line.id for line in file.read() if line] == ["record-1", "late"]


def has_open(pid: int, path: Path) -> bool:
    """Say whether process *pid* has *path* open: it locks it next."""
    with suppress(OSError):  # a descriptor that it closed meanwhile
        return path in [each.readlink() for each in Path(f"/proc/{pid}/fd").iterdir()]
    return False


LATE = """
import sys
from pathlib import Path
from taggerd.journal import Entry, Journal
journal = Journal(Path(sys.argv[1]), retention_days=0, compress_after_days=0)
journal.deliver([Entry("late", "2025-11-20", '{"schema_version": 1, "id": "late"}')])
"""
