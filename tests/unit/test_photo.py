"""Photos are grouped from files, and paths are printed."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from taggerd.photo import Photo, PhotoFile, Stamp, group, printable

STAMP = Stamp(1, 2, 3, 4)


def files(*names: str) -> list[PhotoFile]:
    """Make files of these names in one folder."""
    return [PhotoFile(Path("/card") / name, STAMP) for name in names]


def names(photos: list[Photo]) -> list[list[str]]:
    """Return the file names of each photo."""
    return [[file.path.name for file in photo.files] for photo in photos]


def test_raw_and_jpeg_of_one_stem_are_one_photo_read_from_the_jpeg() -> None:
    """A raw file and the JPEG beside it are one picture; the JPEG is the one that is decoded."""
    assert names(group(files("IMG_1.CR3", "IMG_1.JPG"))) == [["IMG_1.JPG", "IMG_1.CR3"]]


def test_rendered_files_of_one_stem_stay_apart() -> None:
    """Without a raw file, equal stems may be two phones' pictures: they are not merged."""
    assert names(group(files("IMG_1.PNG", "IMG_1.JPG"))) == [["IMG_1.JPG"], ["IMG_1.PNG"]]


def test_grouping_does_not_depend_on_the_order_of_arrival() -> None:
    """The same files make the same photos in whatever order they come."""
    arrived = files("A.CR3", "A.JPG", "A.HEIC", "B.jpg", "B.png")
    expected = group(arrived)
    for order in itertools.permutations(arrived):
        assert group(order) == expected


def test_stems_in_two_folders_are_two_photos() -> None:
    """A stem counts within its folder only."""
    there = PhotoFile(Path("/other/A.JPG"), STAMP)
    assert len(group([*files("A.CR3"), there])) == 2


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"/a/plain.jpg", "/a/plain.jpg"),
        (b"/a/two\nlines.jpg", "/a/two\\nlines.jpg"),
        (b"/a/\xff.jpg", "/a/\\xff.jpg"),
        ("/a/grüße 🌅.jpg".encode(), "/a/grüße 🌅.jpg"),
        (b"/a/\x1b[31m.jpg", "/a/\\x1b[31m.jpg"),
    ],
)
def test_a_path_is_printed_on_one_line_of_valid_text(raw: bytes, shown: str) -> None:
    """No name can break a line, send control codes to a terminal, or be invalid UTF-8."""
    assert printable(Path(os.fsdecode(raw))) == shown


@pytest.mark.parametrize(
    ("kept", "seen", "same"),
    [
        (
            Stamp(5, 1_234_567_890_123_456_789, 0, 0),
            Stamp(5, 1_234_567_890_123_456_789, 7, 8),
            True,
        ),
        (
            Stamp(5, 1_234_567_890_123_456_789, 0, 0),
            Stamp(5, 1_234_567_890_123_456_700, 7, 8),
            True,
        ),
        (
            Stamp(5, 1_234_567_890_000_000_000, 0, 0),
            Stamp(5, 1_234_567_890_123_456_700, 7, 8),
            True,
        ),
        (
            Stamp(5, 1_234_567_890_123_456_789, 0, 0),
            Stamp(5, 1_234_567_890_123_456_788, 7, 8),
            False,
        ),
        (
            Stamp(5, 1_234_567_891_000_000_000, 0, 0),
            Stamp(5, 1_234_567_890_123_456_700, 7, 8),
            False,
        ),
        (
            Stamp(5, 1_234_567_890_123_456_789, 0, 0),
            Stamp(6, 1_234_567_890_123_456_789, 7, 8),
            False,
        ),
        (Stamp(5, 9, 7, 8), Stamp(5, 9, 7, 8), True),
        (Stamp(5, 9, 7, 1), Stamp(5, 9, 7, 8), False),
        (Stamp(5, 9, 1, 8), Stamp(5, 9, 7, 8), False),
    ],
)
def test_of_another_hosts_stamp_size_and_time_count(kept: Stamp, seen: Stamp, same: bool) -> None:
    """Inode and device say nothing across hosts; a mount that cuts times off changes no photo."""
    assert kept.matches(seen) == same
