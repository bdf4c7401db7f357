"""What a photo file itself carries, so that a new sidecar does not hide it.

digiKam, for one, ignores the file's own metadata once a sidecar is there. So a new sidecar starts
with the title, description, keywords, rating, label, place, capture time, creator and rights that
stand in the file's XMP, else in its IPTC, else in its EXIF. The XMP packet is read with this room's
own parser; Exiv2 only finds it, because reading one file that binds ``dc`` to another URI makes
Exiv2 misread later files of the process.

Runs Exiv2 on foreign bytes: call it in a worker process only.
"""

from __future__ import annotations

import dataclasses
import os
import re
from fractions import Fraction
from typing import TYPE_CHECKING

from taggerd.errors import SidecarRefused
from taggerd.metadata.keywords.lists import machine_entries
from taggerd.metadata.ownership import Ownership
from taggerd.metadata.xmp.document import Document, Form, Property
from taggerd.metadata.xmp.namespaces import Name, named
from taggerd.metadata.xmp.splice import Array, Entry, Value
from taggerd.metadata.xmp.text import is_camera_text, xml_text
from taggerd.metadata.xmp.tree import BLANK
from taggerd.photo import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

_LANGUAGES = ("dc:title", "dc:description", "dc:rights", "tiff:ImageDescription",
              "Iptc4xmpCore:AltTextAccessibility",
              "Iptc4xmpCore:ExtDescrAccessibility")  # fmt: skip
_BAGS = ("dc:subject", "lr:hierarchicalSubject")
_SEQUENCES = ("dc:creator", "digiKam:TagsList")
_PLAIN = ("photoshop:Headline", "photoshop:Instructions", "acdsee:notes",
          "xmp:Rating", "xmp:Label", "xmp:CreateDate",
          "photoshop:DateCreated", "exif:DateTimeOriginal", "exif:GPSLatitude",
          "exif:GPSLongitude", "exif:GPSAltitude", "exif:GPSAltitudeRef", "exif:GPSMapDatum",
          "exif:GPSTimeStamp", "exif:GPSDateStamp", "exif:GPSVersionID")  # fmt: skip

Fields = dict[str, Value]
"""Property → what it is to be in the new sidecar."""

_TIME = re.compile(r"(\d{4}):(\d\d):(\d\d)[ T](\d\d):(\d\d):(\d\d)")
_OFFSET = re.compile(r"[+-]\d\d:\d\d|Z")


@dataclasses.dataclass(frozen=True, slots=True)
class Own:
    """What a photo file itself says, taggerd's embedded words and all."""

    fields: Fields = dataclasses.field(default_factory=dict)
    """As a new sidecar has them."""
    description: str = ""
    """EXIF's ImageDescription as it is, also a camera's."""
    keywords: tuple[str, ...] = ()
    """Of IPTC-IIM."""
    notes: tuple[str, ...] = ()
    """What could not be read."""


def own(path: Path) -> Own:
    """Return what the photo at *path* says to its readers; never fails, as :func:`carried`."""
    try:
        packet, exif, iptc = native_read(path)
    except (RuntimeError, ImportError, UnicodeError, OSError, ValueError) as error:
        return Own(notes=(_unreadable(path, error),))
    fields, notes = _fields(path, packet, exif, iptc, ours=True)
    said = exif.get("Exif.Image.ImageDescription")
    words = from_iptc(iptc).get("dc:subject")
    return Own(
        fields,
        said.strip() if isinstance(said, str) else "",
        tuple(entry.text for entry in words.entries) if isinstance(words, Array) else (),
        notes,
    )


def carried(path: Path) -> tuple[Fields, tuple[str, ...]]:
    """Return what the photo at *path* carries, and notes about what could not be read.

    Never fails: a file that Exiv2 cannot read carries nothing, and a note says so.
    """
    try:
        packet, exif, iptc = native_read(path)
    except (RuntimeError, ImportError, UnicodeError, OSError, ValueError) as error:
        return {}, (_unreadable(path, error),)
    return _fields(path, packet, exif, iptc, ours=False)


def _unreadable(path: Path, error: Exception) -> str:
    said = str(error).replace(f"{path}: ", "")
    reason = " ".join(said.split())[:200] or type(error).__name__
    return f"{printable(path.name)}: its own metadata cannot be read ({reason})"


def _fields(
    path: Path,
    packet: bytes,
    exif: Mapping[str, object],
    iptc: Mapping[str, object],
    *,
    ours: bool,
) -> tuple[Fields, tuple[str, ...]]:
    """Join what XMP, IPTC and EXIF say; *ours*: with what taggerd embedded."""
    notes: list[str] = []
    fields: Fields = {}
    if packet.strip(b" \t\r\n\0"):
        try:
            fields = _from_xmp(Document(_trimmed_packet(packet)), ours=ours)
        except SidecarRefused as refusal:
            notes.append(f"{printable(path.name)}: its own XMP cannot be read (it {refusal})")
    for source in (from_iptc(iptc), from_exif(exif)):
        for field, value in source.items():
            fields.setdefault(field, value)
    return fields, tuple(notes)


def native_read(path: Path) -> tuple[bytes, Mapping[str, object], Mapping[str, object]]:
    """Return the XMP packet, EXIF and IPTC of a file."""
    import pyexiv2  # noqa: PLC0415 - needs glibc 2.33 and is only for worker processes

    pyexiv2.set_log_level(3)  # warnings go to stdout; errors must raise, so never 4
    name = os.fsencode(path).decode("latin-1")
    image = pyexiv2.Image(name, encoding="latin-1")
    try:
        packet = image.read_raw_xmp()
        return (
            packet.encode("utf-8", "replace"),
            _decoded(image.read_exif),
            _decoded(image.read_iptc),
        )
    finally:
        image.close()


def _decoded(read: Callable[..., Mapping[str, object]]) -> Mapping[str, object]:
    """Have texts read as UTF-8, else as Latin-1, in which IPTC was written for decades."""
    try:
        return read(encoding="utf-8")
    except UnicodeDecodeError:
        return read(encoding="latin-1")


def _trimmed_packet(packet: bytes) -> bytes:
    """Return the packet without a byte order mark and the padding that cameras leave."""
    return packet.removeprefix(b"\xef\xbb\xbf").strip(b" \t\r\n\0")


def _from_xmp(document: Document, *, ours: bool) -> Fields:
    """Take the fields out of the file's own XMP packet; *ours*: with what taggerd embedded."""
    fields: Fields = {}
    for names, make in (
        (_LANGUAGES, _languages),
        (_BAGS, _bag),
        (_SEQUENCES, _sequence),
        (_PLAIN, _plain),
    ):
        for field in names:
            found = document.read(named(field))
            value = make(found) if found is not None else None
            if value is not None and not (field in _WORDS and _is_camera(value)):
                fields[field] = value
    _join_lists(fields, document)
    return fields if ours else _without_ours(fields, Ownership.read(document))


def _without_ours(fields: Fields, ownership: Ownership) -> Fields:
    """Leave out what taggerd embedded itself: in a new sidecar it would pass for human."""
    kept: Fields = {}
    for field, value in fields.items():
        if isinstance(value, str):
            if not ownership.owns(value):
                kept[field] = value
            continue
        machine = machine_entries(field, ownership)
        entries = tuple(
            entry
            for entry in value.entries
            if not ownership.owns(entry.text) and entry.text not in machine
        )
        if entries:
            kept[field] = Array(value.kind, entries)
    return kept


_SAME_LEVELS = {
    "MicrosoftPhoto:LastKeywordXMP": "digiKam:TagsList",
    "MicrosoftPhoto1:LastKeywordXMP": "digiKam:TagsList",
    "mediapro:CatalogSets": "lr:hierarchicalSubject",
}
"""Lists that are carried in another list of the same separator: a new sidecar needs no third."""


def _join_lists(fields: Fields, document: Document) -> None:
    """Add the keywords of lesser lists to the list that is written in their place."""
    for lesser, field in _SAME_LEVELS.items():
        held = fields.get(field)
        entries = held.entries if isinstance(held, Array) else ()
        known = {entry.text for entry in entries}
        texts = [xml_text(text) for text in document.texts(named(lesser))]
        new = tuple(Entry(text) for text in dict.fromkeys(texts) if text and text not in known)
        if new:
            fields[field] = Array("Seq" if field in _SEQUENCES else "Bag", entries + new)


_WORDS = frozenset({*_LANGUAGES, "photoshop:Headline"})


def _is_camera(value: Value) -> bool:
    """Say whether no human wrote any of *value*."""
    texts = [value] if isinstance(value, str) else [entry.text for entry in value.entries]
    return all(is_camera_text(text) for text in texts)


def _entries(found: Property) -> tuple[Entry, ...]:
    if found.form is Form.ARRAY:
        entries = [Entry(xml_text(item.text), item.language) for item in found.items]
    else:
        entries = [Entry(xml_text(found.text))]
    return tuple(entry for entry in entries if entry.text)


def _languages(found: Property) -> Value | None:
    entries = _entries(found)
    if entries and not any(entry.language for entry in entries):
        entries = (Entry(entries[0].text, "x-default"),)
    return Array("Alt", entries) if entries else None


def _bag(found: Property) -> Value | None:
    entries = tuple(Entry(entry.text) for entry in _entries(found))
    return Array("Bag", entries) if entries else None


def _sequence(found: Property) -> Value | None:
    entries = tuple(Entry(entry.text) for entry in _entries(found))
    return Array("Seq", entries) if entries else None


def _plain(found: Property) -> Value | None:
    text = found.text if not found.items else found.items[0].text
    return text.strip(BLANK) or None


def from_iptc(iptc: Mapping[str, object]) -> Fields:
    """Take the fields out of IPTC-IIM."""

    def words(local: str) -> list[str]:
        value = iptc.get(f"Iptc.Application2.{local}")
        values = value if isinstance(value, list) else [value]
        texts = [_human(v) for v in values if isinstance(v, str)]
        return [text for text in texts if text]

    made: dict[str, Callable[[list[str]], Value]] = {
        "dc:title:ObjectName": _alt,
        "dc:description:Caption": _alt,
        "dc:rights:Copyright": _alt,
        "photoshop:Headline:Headline": lambda texts: texts[0],
        "photoshop:Instructions:SpecialInstructions": lambda texts: texts[0],
        "dc:subject:Keywords": lambda texts: Array("Bag", tuple(map(Entry, texts))),
        "dc:creator:Byline": lambda texts: Array("Seq", tuple(map(Entry, texts))),
    }
    fields: Fields = {}
    for both, make in made.items():
        field, _, local = both.rpartition(":")
        texts = words(local)
        if texts:
            fields[field] = make(texts)
    return fields


def _alt(texts: list[str]) -> Value:
    return Array("Alt", (Entry(texts[0], "x-default"),))


def _human(text: str) -> str:
    """Return *text* as it can be written, or nothing if only a camera could have put it there."""
    text = xml_text(text.replace("\0", " "))
    return "" if is_camera_text(text) or "\ufffd" in text else text


def from_exif(exif: Mapping[str, object]) -> Fields:
    """Take the fields out of EXIF (tags as Exiv2 names them)."""

    def text(tag: str) -> str:
        value = exif.get(f"Exif.{tag}")
        return _human(value) if isinstance(value, str) else ""

    fields: Fields = {}
    if description := text("Image.ImageDescription"):
        fields["dc:description"] = _alt([description])
    if artist := text("Image.Artist"):
        fields["dc:creator"] = Array("Seq", (Entry(artist),))
    if rights := text("Image.Copyright"):
        fields["dc:rights"] = _alt([rights])
    if (rating := text("Image.Rating")) in {"1", "2", "3", "4", "5"}:
        fields["xmp:Rating"] = rating
    if taken := _capture_time(text):
        fields["exif:DateTimeOriginal"] = taken
    fields |= _place(text)
    return fields


def _capture_time(text: Callable[[str], str]) -> str:
    """Return EXIF's capture time as ISO 8601, with what it has of a fraction and an offset."""
    found = _TIME.match(text("Photo.DateTimeOriginal"))
    if found is None or found[1] == "0000":
        return ""
    year, month, day, hour, minute, second = found.groups()
    fraction = text("Photo.SubSecTimeOriginal")
    offset = text("Photo.OffsetTimeOriginal")
    return (
        f"{year}-{month}-{day}T{hour}:{minute}:{second}"
        + (f".{fraction}" if fraction.isascii() and fraction.isdigit() else "")
        + (offset if _OFFSET.fullmatch(offset) else "")
    )


def _place(text: Callable[[str], str]) -> Fields:
    """Return EXIF's GPS position as XMP writes it (XMP part 2: ``DDD,MM.mmmmmmmmk``)."""
    latitude = _angle(text("GPSInfo.GPSLatitude"), text("GPSInfo.GPSLatitudeRef"), "NS")
    longitude = _angle(text("GPSInfo.GPSLongitude"), text("GPSInfo.GPSLongitudeRef"), "EW")
    if not latitude or not longitude:
        return {}
    fields: Fields = {"exif:GPSLatitude": latitude, "exif:GPSLongitude": longitude}
    altitude = text("GPSInfo.GPSAltitude")
    if _fraction(altitude) is not None:
        fields["exif:GPSAltitude"] = altitude
        reference = text("GPSInfo.GPSAltitudeRef")
        fields["exif:GPSAltitudeRef"] = reference if reference in {"0", "1"} else "0"
    return fields


def _angle(text: str, reference: str, references: str) -> str:
    """Return ``"41/1 13/1 1308/100"`` as ``41,13.21800000N``; empty if it is not an angle."""
    parts = [_fraction(part) for part in text.split()]
    if len(parts) != 3 or reference not in tuple(references):  # noqa: PLR2004 - degrees, minutes, seconds
        return ""
    numbers = [part for part in parts if part is not None]
    if len(numbers) != len(parts):
        return ""
    minutes = numbers[0] * 60 + numbers[1] + numbers[2] / 60
    degrees, rest = divmod(minutes, 60)
    if not 0 <= degrees <= 180:  # noqa: PLR2004 - of a circle
        return ""
    return f"{degrees},{float(rest):.8f}{reference}"


def _fraction(text: str) -> Fraction | None:
    """Read a rational as EXIF writes it; None for ``0/0`` and the like."""
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        return None


def names_of(fields: Fields) -> dict[Name, Value]:
    """Return *fields* under their full names."""
    return {named(field): value for field, value in fields.items()}
