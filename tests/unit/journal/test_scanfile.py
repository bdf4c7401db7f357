"""The files of one scan."""

from __future__ import annotations

import json
import os
import threading
from typing import TYPE_CHECKING

import pytest

from taggerd.errors import ConfigurationError
from taggerd.journal import Day, check_scan_file, read_lines, write_jsonl
from taggerd.relay import write_scan_summary

if TYPE_CHECKING:
    from pathlib import Path

    from support.records import MakesEntries

    from taggerd.journal import Journal


def day(title: str, lines: list[str]) -> Day:
    """Return the records of a scan."""
    return Day(title, read_lines(lines))


def test_jsonl_of_one_scan(tmp_path: Path, entry: MakesEntries) -> None:
    """One line a record, in order, after what was in the file before."""
    path = tmp_path / "scan.jsonl"
    path.write_text('{"id": "earlier", "schema_version": 0}')
    write_jsonl(path, [entry(1).line, entry(2).line])
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [record["id"] for record in records] == ["earlier", "record-1", "record-2"]
    assert next(iter(records[1])) == "schema_version"
    assert [p.name for p in tmp_path.iterdir()] == ["scan.jsonl"]


def test_a_failing_scan_leaves_the_old_file(tmp_path: Path) -> None:
    """If the records break off, the file of the scan before stays whole."""
    path = tmp_path / "scan.jsonl"
    path.write_text("old")

    def broken() -> object:
        yield "{}"
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_jsonl(path, broken())  # type: ignore[arg-type]
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["scan.jsonl"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """What the link names is replaced, not the link."""
    target, link = tmp_path / "target.jsonl", tmp_path / "link.jsonl"
    target.write_text("old")
    link.symlink_to(target)
    write_jsonl(link, ["{}"])
    assert link.is_symlink()
    assert target.read_text() == "old\n{}\n"


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    """/dev/stdout and named pipes get the lines and are not replaced by a file."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_text()))
    reader.start()
    write_jsonl(pipe, ["{}"])
    reader.join(180)
    assert got == ["{}\n"]
    assert pipe.is_fifo()


def test_summary_by_extension(journal: Journal, tmp_path: Path, entry: MakesEntries) -> None:
    """.md gives Markdown, .html a page with its thumbnails inside, and nothing else is written."""
    folder = tmp_path / "reports & more"
    folder.mkdir()
    journal.thumbnail(f"{1:064x}", b"jpeg")
    lines = [entry(1).line, entry(1).line]
    for name in ("scan.md", "scan.HTML"):
        write_scan_summary(folder / name, day("Scan of #1", lines), journal)
    assert (folder / "scan.md").read_text().startswith("# Scan of #1\n\n1 photo; 1 tag")
    page = (folder / "scan.HTML").read_text()
    assert 'src="data:image/jpeg;base64,anBlZw=="' in page
    assert {path.name for path in folder.iterdir()} == {"scan.md", "scan.HTML"}
    assert "<h1>Scan of #1</h1>" in page


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("file/scan.md", "is not a folder"),
        ("file/deeper/scan.md", "is not a folder"),
        (".", "must end in"),
        ("folder.md", "it is a folder"),
        ("scan.pdf", "must end in .md or .html"),
    ],
)
def test_a_summary_that_cannot_be_written(
    journal: Journal, tmp_path: Path, path: str, reason: str
) -> None:
    """It is said before the work begins, in one line."""
    (tmp_path / "folder.md").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=reason):
        check_scan_file(tmp_path / path, summary=True)
    with pytest.raises(ConfigurationError, match=reason):
        write_scan_summary(tmp_path / path, day("x", []), journal)


@pytest.mark.parametrize("path", ["new.jsonl", "new/deep/x.jsonl", "/dev/null", "/dev/stdout"])
def test_a_file_that_can_be_written(tmp_path: Path, path: str) -> None:
    """Checking makes nothing."""
    check_scan_file(tmp_path / path)
    assert list(tmp_path.iterdir()) == []


def test_missing_folders_are_made(journal: Journal, tmp_path: Path, entry: MakesEntries) -> None:
    """A file in a folder of today's date is written, whether the folder is there or not."""
    write_jsonl(tmp_path / "a" / "b" / "scan.jsonl", [entry(1).line])
    assert (tmp_path / "a" / "b" / "scan.jsonl").read_text().count("\n") == 1
    target = tmp_path / "c" / "d" / "scan.html"
    write_scan_summary(target, day("x", [entry(1).line]), journal)
    assert "<h1>x</h1>" in target.read_text()


def test_a_scan_with_nothing_to_do_has_its_files_too(journal: Journal, tmp_path: Path) -> None:
    """Whoever reads them finds that there was nothing, and not that they are missing."""
    write_jsonl(tmp_path / "scan.jsonl", [])
    assert (tmp_path / "scan.jsonl").read_text() == ""
    for name in ("scan.md", "scan.html"):
        write_scan_summary(tmp_path / name, day("x", []), journal)
        assert "0 photos" in (tmp_path / name).read_text()
