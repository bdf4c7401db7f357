"""The metadata inside a photo file, which a new sidecar would hide.

digiKam, for one, ignores the file's own metadata once there is a sidecar. So a new sidecar starts
with the title, description, keywords, rating, label, position, capture time, creator and rights
from the file's XMP, else from its IPTC, else from its EXIF (:mod:`.blocks`).
"""

from __future__ import annotations

import dataclasses
import re
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

from taggerd import files
from taggerd.errors import SidecarRefused
from taggerd.metadata.blocks import Blocks, blocks_of
from taggerd.metadata.camera import Camera, is_camera_text
from taggerd.metadata.embedding.container import FileSource
from taggerd.metadata.keywords.fields import KEYWORD_FIELDS, WRITTEN
from taggerd.metadata.keywords.lists import machine_entries
from taggerd.metadata.ownership import Ownership
from taggerd.metadata.texts import DESCRIPTIONS, TEXT_FIELDS, xml_text
from taggerd.metadata.xmp.document import Document
from taggerd.metadata.xmp.namespaces import Name, named
from taggerd.metadata.xmp.splice import Array, Entry, Value
from taggerd.photo import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from taggerd.metadata.embedding.iim import Words
    from taggerd.metadata.exif import Exif, Number

Form = Literal["Bag", "Seq", "Alt", ""]
Fields = dict[str, Value]
"""Property → its value in a new sidecar."""

_WORDS: dict[str, Form] = {
    **{name: "Alt" if rule.languages else "" for name, rule in TEXT_FIELDS.items()},
    "dc:rights": "Alt",
}
_FORMS: dict[str, Form] = {
    **_WORDS,
    **{name: KEYWORD_FIELDS[name].array for name in WRITTEN},
    "dc:creator": "Seq",
    **dict.fromkeys(
        (
            "xmp:Rating", "xmp:Label", "xmp:CreateDate", "photoshop:DateCreated",
            "exif:DateTimeOriginal", "exif:GPSLatitude", "exif:GPSLongitude", "exif:GPSAltitude",
            "exif:GPSAltitudeRef", "exif:GPSMapDatum", "exif:GPSTimeStamp", "exif:GPSDateStamp",
            "exif:GPSVersionID",
        ),
        "",
    ),
}  # fmt: skip
"""What a new sidecar takes from a photo, and in which form: an array, or plain text."""

_IPTC = {
    "dc:title": 5,
    "dc:description": 120,
    "dc:rights": 116,
    "photoshop:Headline": 105,
    "photoshop:Instructions": 40,
    "dc:subject": 25,
    "dc:creator": 80,
}
"""Datasets of record 2 (IPTC-IIM 4.2, chapter 6)."""
_EXIF = {
    "dc:description": "ImageDescription",
    "dc:creator": "Artist",
    "dc:rights": "Copyright",
}

_BEST = 5
_TIME = re.compile(r"(\d{4}):(\d\d):(\d\d)[ T](\d\d):(\d\d):(\d\d)")
_FRACTION = re.compile(r"[0-9]{1,9}")
_OFFSET = re.compile(r"[+-]\d\d:\d\d|Z")


@dataclasses.dataclass(frozen=True, slots=True)
class Embedded:
    """What a photo file itself says."""

    fields: Fields = dataclasses.field(default_factory=dict)
    """In the form of a new sidecar."""
    description: str = ""
    """EXIF's ImageDescription as it is, also a camera's."""
    keywords: tuple[str, ...] = ()
    """Of IPTC-IIM."""
    camera: Camera | None = None
    """None: EXIF names none."""
    notes: tuple[str, ...] = ()
    """What could not be read."""
    unread: bool = False
    """A title and keywords may be in it that could not be read."""


def embedded(path: Path, *, with_ours: bool = False) -> Embedded:
    """Return what the photo at *path* says.

    Never fails: a file that cannot be read says nothing, and a note says why.

    Args:
        path: the photo.
        with_ours: the words that taggerd embedded too. In a new sidecar they would pass for human.
    """
    try:
        with files.open_file(path) as file:
            found = blocks_of(FileSource(file.descriptor))
    except OSError as error:
        found = Blocks(damaged=error.strerror or type(error).__name__)
    return _said_by(found, printable(path.name), with_ours=with_ours)


def _said_by(found: Blocks, name: str, *, with_ours: bool) -> Embedded:
    camera = camera_of(found.exif)
    from_iptc, from_exif = iptc_fields(found.iptc, camera), exif_fields(found.exif)
    fields: Fields = {}
    faults = [f"its own metadata cannot be read ({found.damaged})"] if found.damaged else []
    faults += damaged_blocks(found)
    unread = found.packet is None and (bool(found.damaged) or found.iptc.damaged)
    if found.packet is not None:
        try:
            document = Document(_trimmed_packet(found.packet))
            fields = _xmp_fields(document, camera, with_ours=with_ours)
        except SidecarRefused as refusal:
            faults.append(f"its own XMP cannot be read (it {refusal})")
            unread = True
    keywords = from_iptc.get("dc:subject")
    return Embedded(
        {**from_exif, **from_iptc, **fields},
        found.exif.text("ImageDescription").strip(),
        tuple(entry.text for entry in keywords.entries) if isinstance(keywords, Array) else (),
        camera,
        tuple(f"{name}: {fault}" for fault in faults),
        unread,
    )


def damaged_blocks(found: Blocks) -> list[str]:
    """Say which of EXIF and IPTC-IIM cannot be read as a whole."""
    said = []
    if found.exif.damaged:
        said.append(f"its EXIF is damaged ({', '.join(sorted(found.exif.damaged))})")
    if found.iptc.damaged:
        said.append("its IPTC-IIM is damaged")
    return said


def _trimmed_packet(packet: bytes) -> bytes:
    """Return the packet without byte order mark and padding."""
    return packet.removeprefix(b"\xef\xbb\xbf").strip(b" \t\r\n\0")


def _xmp_fields(document: Document, camera: Camera | None, *, with_ours: bool) -> Fields:
    """Take the fields out of the file's own XMP packet."""
    fields: Fields = {}
    for field, form in _FORMS.items():
        found = document.read(named(field))
        if found is None:
            continue
        texts = [(item.text, item.language) for item in found.items] or [(found.text, "")]
        entries = [Entry(xml_text(text), language) for text, language in texts if xml_text(text)]
        maker = camera if field in DESCRIPTIONS else None
        if not entries or (field in _WORDS and all(is_camera_text(e.text, maker) for e in entries)):
            continue
        if form == "Alt" and any(entry.language for entry in entries):
            fields[field] = Array("Alt", tuple(entries))
        else:
            fields[field] = _value(field, [entry.text for entry in entries])
    _add_seeds(fields, document)
    return fields if with_ours else _without_ours(fields, Ownership.read(document))


def _value(field: str, texts: Sequence[str]) -> Value:
    """Return *texts* in the form of *field*."""
    form = _FORMS[field]
    if form == "":
        return texts[0]
    if form == "Alt":
        return Array("Alt", (Entry(texts[0], "x-default"),))
    return Array(form, tuple(map(Entry, texts)))


def _without_ours(fields: Fields, ownership: Ownership) -> Fields:
    """Return *fields* without what taggerd embedded."""
    kept: Fields = {}
    for field, value in fields.items():
        if isinstance(value, str):
            kept |= {} if ownership.owns(value) else {field: value}
            continue
        ours = machine_entries(field, ownership)
        rest = [e for e in value.entries if not ownership.owns(e.text) and e.text not in ours]
        kept |= {field: Array(value.kind, tuple(rest))} if rest else {}
    return kept


def _add_seeds(fields: Fields, document: Document) -> None:
    """Add keywords from lists that taggerd does not write to the lists that take them."""
    for lesser in KEYWORD_FIELDS.values():
        if not lesser.seeds:
            continue
        held = fields.get(lesser.seeds)
        known = [entry.text for entry in held.entries] if isinstance(held, Array) else []
        new = filter(None, map(xml_text, document.texts(named(lesser.name))))
        if words := list(dict.fromkeys([*known, *new])):
            fields[lesser.seeds] = _value(lesser.seeds, words)


def camera_of(exif: Exif) -> Camera | None:
    """Return make and model; None where EXIF has neither."""
    said = exif.text("Make"), exif.text("Model")
    return Camera(*said) if any(said) else None


def iptc_fields(iptc: Words, camera: Camera | None = None) -> Fields:
    """Take the fields out of IPTC-IIM."""
    fields: Fields = {}
    for field, dataset in _IPTC.items():
        maker = camera if field in DESCRIPTIONS else None
        if texts := [text for v in iptc.texts.get(dataset, ()) if (text := _human(v, maker))]:
            fields[field] = _value(field, texts)
    return fields


def _human(text: str, camera: Camera | None) -> str:
    """Return *text* as it can be written; empty if a camera wrote it."""
    text = xml_text(text.replace("\0", " "))
    return "" if is_camera_text(text, camera) or "\ufffd" in text else text


def exif_fields(exif: Exif) -> Fields:
    """Take the fields out of EXIF."""
    camera = camera_of(exif)

    def text(tag: str) -> str:
        return _human(exif.text(tag), camera if tag == _EXIF["dc:description"] else None)

    fields = {field: _value(field, [said]) for field, tag in _EXIF.items() if (said := text(tag))}
    rating = exif.number("Rating")
    if rating is not None and 1 <= rating <= _BEST:
        fields["xmp:Rating"] = str(rating)
    if taken := _capture_time(text):
        fields["exif:DateTimeOriginal"] = taken
    fields |= _position(exif)
    return fields


def _capture_time(text: Callable[[str], str]) -> str:
    """Return EXIF's capture time as ISO 8601, with fraction and offset where it has them."""
    found = _TIME.match(text("DateTimeOriginal"))
    if found is None or found[1] == "0000":
        return ""
    year, month, day, hour, minute, second = found.groups()
    fraction = text("SubSecTimeOriginal")
    offset = text("OffsetTimeOriginal")
    return (
        f"{year}-{month}-{day}T{hour}:{minute}:{second}"
        + (f".{fraction}" if _FRACTION.fullmatch(fraction) else "")
        + (offset if _OFFSET.fullmatch(offset) else "")
    )


def _position(exif: Exif) -> Fields:
    """Return EXIF's GPS position as XMP writes it (XMP part 2: ``DDD,MM.mmmmmmmmk``)."""
    latitude = _angle(exif.numbers.get("GPSLatitude", ()), exif.text("GPSLatitudeRef"), "NS")
    longitude = _angle(exif.numbers.get("GPSLongitude", ()), exif.text("GPSLongitudeRef"), "EW")
    if not latitude or not longitude:
        return {}
    fields: Fields = {"exif:GPSLatitude": latitude, "exif:GPSLongitude": longitude}
    height = exif.numbers.get("GPSAltitude", ())
    if len(height) == 1 and height[0][1]:
        fields["exif:GPSAltitude"] = "{}/{}".format(*height[0])
        below = exif.number("GPSAltitudeRef") == 1
        fields["exif:GPSAltitudeRef"] = "1" if below else "0"
    return fields


def _angle(parts: Sequence[Number], reference: str, references: str) -> str:
    """Return degrees, minutes and seconds as ``41,13.21800000N``; empty if they are no angle."""
    if len(parts) != 3 or reference not in tuple(references):  # noqa: PLR2004 - degrees, minutes, seconds
        return ""
    if not all(denominator for _, denominator in parts):
        return ""
    whole, minutes, seconds = (Fraction(*part) for part in parts)
    degrees, rest = divmod(whole * 60 + minutes + seconds / 60, 60)
    if not 0 <= degrees <= 180:  # noqa: PLR2004 - of a circle
        return ""
    return f"{degrees},{float(rest):.8f}{reference}"


def names_of(fields: Fields) -> dict[Name, Value]:
    """Return *fields* under their full names."""
    return {named(field): value for field, value in fields.items()}
