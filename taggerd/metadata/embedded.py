"""The metadata inside a photo file, which a new sidecar would hide.

digiKam, for one, ignores the file's own metadata once there is a sidecar. So a new sidecar starts
with the title, description, keywords, rating, label, position, capture time, creator and rights
from the file's XMP, else from its IPTC, else from its EXIF. Each is found on its own
(:mod:`.blocks`). The packet is parsed here, like a sidecar; EXIF and IPTC-IIM are read by Exiv2,
which gets small TIFFs of our own with nothing else in them.

Runs Exiv2 on foreign bytes: call it in a decoder process only.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

from taggerd.errors import SidecarRefused
from taggerd.metadata.blocks import Blocks, blocks_of
from taggerd.metadata.camera import Camera, is_camera_text
from taggerd.metadata.embedding.container import FileSource
from taggerd.metadata.embedding.iim import is_cut_off
from taggerd.metadata.exif import tiff_of_iptc
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

    from taggerd.files import OpenFile

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
    "dc:title": "ObjectName",
    "dc:description": "Caption",
    "dc:rights": "Copyright",
    "photoshop:Headline": "Headline",
    "photoshop:Instructions": "SpecialInstructions",
    "dc:subject": "Keywords",
    "dc:creator": "Byline",
}
_EXIF = {
    "dc:description": "Exif.Image.ImageDescription",
    "dc:creator": "Exif.Image.Artist",
    "dc:rights": "Exif.Image.Copyright",
}

_TIME = re.compile(r"(\d{4}):(\d\d):(\d\d)[ T](\d\d):(\d\d):(\d\d)")
_DIGITS = re.compile(r"[0-9]{1,9}")
_RATIONAL = re.compile(r"(-?[0-9]{1,10})(?:/(-?[0-9]{1,10}))?")
_OFFSET = re.compile(r"[+-]\d\d:\d\d|Z")


_BRACKET = "bracket"
_AUTO_BRACKET = "2"
"""Exif 2.32, ExposureMode."""


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
    exposure: str = ""
    """EXIF's exposure compensation as it is; "bracket" where the camera varied it."""
    notes: tuple[str, ...] = ()
    """What could not be read."""
    unread: bool = False
    """A title and keywords may be in it that could not be read."""
    beside: Fields = dataclasses.field(default_factory=dict)
    """What EXIF and IPTC-IIM say, whatever XMP says."""
    has_iptc: bool = False
    damaged: tuple[str, ...] = ()
    """Which of EXIF and IPTC-IIM is."""

    @property
    def is_of_a_bracket(self) -> bool:
        """Whether the camera varied the exposure from photo to photo by itself."""
        return self.exposure == _BRACKET


Said = Mapping["Path", Embedded]
"""What each file of a photo says."""


def unreadable(path: Path, reason: str) -> Embedded:
    """Return what is known of a photo that could not be read at all."""
    fault = f"its own metadata cannot be read ({reason})"
    note = f"{printable(path.name)}: {fault}"
    return Embedded(notes=(note,), unread=True, damaged=(fault,))


def read_embedded(file: OpenFile, *, with_ours: bool = False) -> Embedded:
    """Return what the open photo *file* says.

    Never fails: what cannot be read says nothing, and a note says why.

    Args:
        file: the photo.
        with_ours: the words that taggerd embedded too. In a new sidecar they would pass for human.
    """
    try:
        found = blocks_of(FileSource(file.descriptor))
    except OSError as error:
        return unreadable(file.path, error.strerror or type(error).__name__)
    return _said_by(found, printable(file.path.name), with_ours=with_ours)


def _said_by(found: Blocks, name: str, *, with_ours: bool) -> Embedded:
    damaged = ["its EXIF is damaged"] if found.exif.damaged else []
    exif, fault = _native(found.exif.tiff(), "EXIF")
    damaged += fault
    iptc, fault = _native(tiff_of_iptc(found.iptc) if found.iptc else b"", "IPTC-IIM")
    iptc_is_damaged = bool(fault) or is_cut_off(found.iptc)
    damaged += ["its IPTC-IIM is damaged"] if iptc_is_damaged and not fault else fault
    camera = camera_of(exif)
    from_iptc, from_exif = iptc_fields(iptc, camera), exif_fields(exif)
    fields: Fields = {}
    faults = [f"its own metadata cannot be read ({found.damaged})"] if found.damaged else []
    faults += damaged
    unread = found.packet is None and (bool(found.damaged) or iptc_is_damaged)
    if found.packet is not None:
        try:
            document = Document(_trimmed_packet(found.packet))
            fields = _xmp_fields(document, camera, with_ours=with_ours)
        except SidecarRefused as refusal:
            faults.append(f"its own XMP cannot be read (it {refusal})")
            unread = True
    description, keywords = exif.get(_EXIF["dc:description"]), from_iptc.get("dc:subject")
    return Embedded(
        {**from_exif, **from_iptc, **fields},
        description.strip() if isinstance(description, str) else "",
        tuple(entry.text for entry in keywords.entries) if isinstance(keywords, Array) else (),
        camera,
        _exposure(exif),
        tuple(f"{name}: {fault}" for fault in faults),
        unread,
        from_exif | from_iptc,
        bool(found.iptc),
        tuple(damaged),
    )


def _exposure(exif: Mapping[str, object]) -> str:
    """Return EXIF's exposure compensation (tags as Exiv2 names them)."""
    if exif.get("Exif.Photo.ExposureMode") == _AUTO_BRACKET:
        return _BRACKET
    said = exif.get("Exif.Photo.ExposureBiasValue")
    return said if isinstance(said, str) else ""


def _native(tiff: bytes, what: str) -> tuple[Mapping[str, object], list[str]]:
    """Have Exiv2 read a *tiff* that was made of *what*; return that, and what is wrong with it."""
    if not tiff:
        return {}, []
    try:
        import pyexiv2  # noqa: PLC0415 - needs glibc 2.33 and is only for worker processes

        pyexiv2.set_log_level(3)  # warnings go to stdout; errors must raise, so never 4
        image = pyexiv2.ImageData(tiff)
        try:
            return _decoded(image.read_exif if what == "EXIF" else image.read_iptc), []
        finally:
            image.close()
    except (RuntimeError, ImportError, UnicodeError, OSError, ValueError) as error:
        said = " ".join(str(error).split())[:200] or type(error).__name__
        return {}, [f"its {what} cannot be read ({printable(said)})"]


def _decoded(read: Callable[..., Mapping[str, object]]) -> Mapping[str, object]:
    """Read texts as UTF-8, else as Latin-1, in which IPTC was written for decades."""
    try:
        return read(encoding="utf-8")
    except UnicodeDecodeError:
        return read(encoding="latin-1")


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
            kept |= {} if ownership.owns(value, field) else {field: value}
            continue
        ours = machine_entries(field, ownership)
        rest = [
            e for e in value.entries if not ownership.owns(e.text, field) and e.text not in ours
        ]
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


def camera_of(exif: Mapping[str, object]) -> Camera | None:
    """Return make and model; None where EXIF (tags as Exiv2 names them) has neither."""
    make, model = (exif.get(f"Exif.Image.{tag}") for tag in ("Make", "Model"))
    serial = exif.get("Exif.Photo.BodySerialNumber")
    said = [text if isinstance(text, str) else "" for text in (make, model, serial)]
    return Camera(*said) if any(said[:2]) else None


def iptc_fields(iptc: Mapping[str, object], camera: Camera | None = None) -> Fields:
    """Take the fields out of IPTC-IIM."""
    fields: Fields = {}
    for field, local in _IPTC.items():
        value = iptc.get(f"Iptc.Application2.{local}")
        values = value if isinstance(value, list) else [value]
        maker = camera if field in DESCRIPTIONS else None
        if texts := [text for v in values if isinstance(v, str) and (text := _human(v, maker))]:
            fields[field] = _value(field, texts)
    return fields


def _human(text: str, camera: Camera | None) -> str:
    """Return *text* as it can be written; empty if a camera wrote it."""
    text = xml_text(text.replace("\0", " "))
    return "" if is_camera_text(text, camera) or "\ufffd" in text else text


def exif_fields(exif: Mapping[str, object]) -> Fields:
    """Take the fields out of EXIF (tags as Exiv2 names them)."""
    camera = camera_of(exif)

    def text(tag: str) -> str:
        value = exif.get(tag)
        maker = camera if tag == _EXIF["dc:description"] else None
        return _human(value, maker) if isinstance(value, str) else ""

    fields = {field: _value(field, [said]) for field, tag in _EXIF.items() if (said := text(tag))}
    if (rating := text("Exif.Image.Rating")) in {"1", "2", "3", "4", "5"}:
        fields["xmp:Rating"] = rating
    if taken := _capture_time(text):
        fields["exif:DateTimeOriginal"] = taken
    fields |= _position(text)
    return fields


def _capture_time(text: Callable[[str], str]) -> str:
    """Return EXIF's capture time as ISO 8601, with fraction and offset where it has them."""
    found = _TIME.match(text("Exif.Photo.DateTimeOriginal"))
    if found is None or found[1] == "0000":
        return ""
    year, month, day, hour, minute, second = found.groups()
    fraction = text("Exif.Photo.SubSecTimeOriginal")
    offset = text("Exif.Photo.OffsetTimeOriginal")
    return (
        f"{year}-{month}-{day}T{hour}:{minute}:{second}"
        + (f".{fraction}" if _DIGITS.fullmatch(fraction) else "")
        + (offset if _OFFSET.fullmatch(offset) else "")
    )


def _position(text: Callable[[str], str]) -> Fields:
    """Return EXIF's GPS position as XMP writes it (XMP part 2: ``DDD,MM.mmmmmmmmk``)."""
    latitude = _angle(text("Exif.GPSInfo.GPSLatitude"), text("Exif.GPSInfo.GPSLatitudeRef"), "NS")
    longitude = _angle(
        text("Exif.GPSInfo.GPSLongitude"), text("Exif.GPSInfo.GPSLongitudeRef"), "EW"
    )
    if not latitude or not longitude:
        return {}
    fields: Fields = {"exif:GPSLatitude": latitude, "exif:GPSLongitude": longitude}
    altitude = text("Exif.GPSInfo.GPSAltitude")
    if _fraction(altitude) is not None:
        fields["exif:GPSAltitude"] = altitude
        reference = text("Exif.GPSInfo.GPSAltitudeRef")
        fields["exif:GPSAltitudeRef"] = reference if reference in {"0", "1"} else "0"
    return fields


def _angle(text: str, reference: str, references: str) -> str:
    """Return ``"41/1 13/1 1308/100"`` as ``41,13.21800000N``; empty if it is no angle."""
    parts = [_fraction(part) for part in text.split(" ", 3)]
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
    """Read a rational as EXIF holds it, two numbers of 32 bits; None for ``0/0`` and the like.

    By a pattern: ``Fraction("1e900000000")``, which a text in EXIF may say, never ends.
    """
    found = _RATIONAL.fullmatch(text)
    if found is None or not int(found[2] or 1):
        return None
    return Fraction(int(found[1]), int(found[2] or 1))


def names_of(fields: Fields) -> dict[Name, Value]:
    """Return *fields* under their full names."""
    return {named(field): value for field, value in fields.items()}
