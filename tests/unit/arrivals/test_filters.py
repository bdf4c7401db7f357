"""Which names are photos, and the words for those that are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from taggerd.arrivals.filters import Filters

ROOT = Path("/srv/.import")


@pytest.mark.parametrize(
    "below",
    [
        "IMG_1.JPG",
        "a/b/IMG_1.cr3",
        "IMG 1 \udcff\n.heic",
        "~IMG_1.jpg",
        "Wedding.part/IMG_1.jpg",
        "IMG_1.jpg.jpg",
        "",
    ],
)
def test_photos_are_taken(below: str) -> None:
    """A photo's name is taken in any folder, also below a root that is itself hidden."""
    assert Filters().verdict(ROOT / below, ROOT) == ""


@pytest.mark.parametrize(
    ("below", "reason"),
    [
        ("notes.txt", "not an image extension"),
        ("jpg", "not an image extension"),
        ("IMG_1.jpg.xmp.orig-20260101T000000", "not an image extension"),
        ("IMG_1.jpg.xmp", "sidecar"),
        ("IMG_1.XMP", "sidecar"),
        (".IMG_1.jpg", "hidden"),
        ("._IMG_1.jpg", "hidden"),
        (".cache/IMG_1.jpg", "hidden"),
        ("IMG_1.jpg.part", "temporary file of a copy"),
        ("IMG_1.JPG.TMP", "temporary file of a copy"),
        ("IMG_1.jpg.crdownload", "temporary file of a copy"),
        (".IMG_1.jpg.x7Kq2Z", "temporary file of a copy"),
        (".syncthing.IMG_1.jpg.tmp", "temporary file of a copy"),
        ("~syncthing~IMG_1.jpg.tmp", "temporary file of a copy"),
        ("~syncthing~IMG_1.jpg", "temporary file of a copy"),
        ("@eaDir/IMG_1.jpg/SYNOPHOTO_THUMB_XL.jpg", "inside @eaDir"),
        (".stversions/IMG_1.jpg", "inside .stversions"),
        ("a/.Trash-1000/files/IMG_1.jpg", "in the trash"),
        ("$RECYCLE.BIN/x.jpg", "in the trash"),
        ("#recycle/x.jpg", "in the trash"),
        (".trashed-1700000000-IMG_1.jpg", "in the trash"),
        ("rpd-tmp-x1_9/0a1b2c.jpg", "temporary folder of a copy"),
        ("../elsewhere/x.jpg", "outside the import folder"),
    ],
)
def test_others_are_named_with_a_reason(below: str, reason: str) -> None:
    """What is left alone is left alone for a reason that can be printed."""
    assert Filters().verdict(ROOT / below, ROOT) == reason


def test_only_the_extensions_asked_for() -> None:
    """A shorter list of extensions leaves the other formats alone."""
    filters = Filters(["jpg"])
    assert filters.verdict(ROOT / "a.JPG", ROOT) == ""
    assert filters.verdict(ROOT / "a.png", ROOT) == "not an image extension"


@pytest.mark.parametrize(
    ("glob", "below", "taken"),
    [
        ("*_preview.jpg", "a/IMG_preview.jpg", False),
        ("*_preview.jpg", "a/IMG_preview.jpg/IMG_1.jpg", False),
        ("*_preview.jpg", "a/IMG_1.jpg", True),
        ("out/*", "out/deep/IMG_1.jpg", False),
        ("out", "a/out/IMG_1.jpg", False),
        ("a/out", "b/out/IMG_1.jpg", True),
        ("export/", "export/IMG_1.jpg", False),
        ("export.jpg/", "export.jpg", True),
    ],
)
def test_globs_match_names_and_paths(glob: str, below: str, taken: bool) -> None:
    """The user's globs hold for names and for paths below the root, of files and of folders."""
    expected = "" if taken else f"ignored by arrivals.ignore {glob!r}"
    assert Filters(ignore_globs=[glob]).verdict(ROOT / below, ROOT) == expected


def test_not_recursive() -> None:
    """Without recursion only the root's own files are taken."""
    filters = Filters(recursive=False)
    assert filters.verdict(ROOT / "a.jpg", ROOT) == ""
    assert "recursive" in filters.verdict(ROOT / "a/a.jpg", ROOT)
    assert "recursive" in filters.verdict(ROOT / "a", ROOT, is_dir=True)
