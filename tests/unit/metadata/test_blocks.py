"""EXIF and IPTC-IIM inside photos are read as Exiv2 reads them, each on its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.embeddable import KINDS, chunk, exif, iptc, made, png, webp
from support.program import corpus

from taggerd import files
from taggerd.metadata.blocks import Blocks, Held, blocks_of
from taggerd.metadata.embedding.container import FileSource
from taggerd.metadata.embedding.iim import is_cut_off
from taggerd.metadata.exif import tiff_of_iptc

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_GROUPS = {
    "Image": ("ImageDescription", "Make", "Model", "Artist", "Copyright", "Rating"),
    "Photo": ("DateTimeOriginal", "OffsetTimeOriginal", "SubSecTimeOriginal"),
    "GPSInfo": (
        "GPSLatitudeRef", "GPSLatitude", "GPSLongitudeRef", "GPSLongitude", "GPSAltitudeRef",
        "GPSAltitude",
    ),
}  # fmt: skip
_DATASETS = ("ObjectName", "Caption", "Copyright", "Headline", "SpecialInstructions", "Keywords",
             "Byline")  # fmt: skip


def _read(path: Path) -> Blocks:
    files.work_below(path.parent)
    with files.open_file(path) as file:
        return blocks_of(FileSource(file.descriptor))


def _ours(found: Blocks) -> dict[str, str | list[str]]:
    """Return what Exiv2 reads out of what it is given."""
    return _by_exiv2(found.exif.tiff(), tiff_of_iptc(found.iptc))


def _theirs(path: Path) -> dict[str, str | list[str]]:
    """Return what Exiv2 reads out of the whole file."""
    data = path.read_bytes()
    return _by_exiv2(data, data)


def _by_exiv2(with_exif: bytes, with_iptc: bytes) -> dict[str, str | list[str]]:
    said: dict[str, str | list[str]] = {}
    exif_read, iptc_read = _read_by_exiv2(with_exif)[0], _read_by_exiv2(with_iptc)[1]
    for group, names in _GROUPS.items():
        for name in names:
            if text := exif_read.get(f"Exif.{group}.{name}", "").strip():
                said[name] = text
    for name in _DATASETS:
        words = iptc_read.get(f"Iptc.Application2.{name}", [])
        if words:
            said[f"IPTC {name}"] = words if isinstance(words, list) else [words]
    return said


def _read_by_exiv2(data: bytes) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    pyexiv2 = pytest.importorskip("pyexiv2")
    if not data:
        return {}, {}
    pyexiv2.set_log_level(3)
    image = pyexiv2.ImageData(data)
    try:
        return _decoded(image.read_exif), _decoded(image.read_iptc)
    finally:
        image.close()


def _decoded(read: Any) -> Mapping[str, Any]:  # noqa: ANN401 - pyexiv2 has no types
    try:
        found: Mapping[str, Any] = read(encoding="utf-8")
    except UnicodeDecodeError:
        found = read(encoding="latin-1")
    return found


@pytest.mark.parametrize("name", KINDS)
def test_every_format_is_read_as_exiv2_reads_it(tmp_path: Path, name: str) -> None:
    """Our own samples: texts, numbers, words of IPTC-IIM; nothing in them is called damaged."""
    path = made(tmp_path, name)
    found = _read(path)
    assert _ours(found) == _theirs(path)
    assert (found.damaged, found.exif.damaged, is_cut_off(found.iptc)) == ("", False, False)


def test_real_photos_are_read_as_exiv2_reads_them() -> None:
    """Cameras, phones and editors; what Exiv2 cannot read at all is read here none the less."""
    pyexiv2 = pytest.importorskip("pyexiv2")
    compared = 0
    for path in sorted(corpus("photos").iterdir()):
        found = _read(path)
        assert (found.damaged, found.exif.damaged, is_cut_off(found.iptc)) == ("", False, False), (
            path
        )
        try:
            theirs = _theirs(path)
        except RuntimeError:
            continue
        assert _ours(found) == theirs, path
        compared += 1
    assert compared > 30, pyexiv2.__version__


def test_exif_where_it_is_rare() -> None:
    """In PNG and WebP, with JPEG's head before it or without; as text, as ImageMagick has it."""
    plain = exif().tobytes()
    bare = plain.removeprefix(b"Exif\0\0")
    lines = b"\nexif\n%8d\n" % len(plain) + plain.hex().encode() + b"\n"
    data = png()
    for text in (chunk(b"tEXt", b"Raw profile type exif\0" + lines), chunk(b"eXIf", bare)):
        assert blocks_of(Held(data[:33] + text + data[33:])).exif.tiff().count(b"Model 1") == 1
    for form in (plain, bare):
        assert blocks_of(Held(webp(exif=form))).exif.tiff().count(b"Model 1") == 1


def test_all_that_the_hostile_files_hold(tmp_path: Path) -> None:
    """No file makes it raise, and what a file says beside its damage is found."""
    for path in sorted(corpus("hostile").iterdir()):
        _read(path)
    block = iptc("Anna")
    path = tmp_path / "a.jpg"
    path.write_bytes(b"\xff\xd8\xff\xe1\0\x0cExif\0\0MM\0\xff" + block + b"\xff\xda\0\2")
    found = _read(path)
    assert found.iptc == b"\x1c\x02\x19\0\x04Anna"
    assert found.exif.damaged
