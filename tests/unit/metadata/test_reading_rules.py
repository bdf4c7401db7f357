"""What five programs see after a pass, by their own documented rules: description, every keyword.

The rules are written down here once more, from the programs' documentation and source and with
exiftool as the parser; ``taggerd show`` must say the same.

* Lightroom (Adobe's help, "Metadata basics and actions"; XMP specification, part 3): IMG.xmp beside
  proprietary raw files; of all others the file itself. Caption is dc:description, for which Exif's
  ImageDescription stands; keywords are dc:subject with the places that lr:hierarchicalSubject gives
  them.
* darktable (src/common/exif.cc, _exif_decode_xmp_data; src/develop/lightroom.c): IMG.ext.xmp, at
  import also IMG.xmp; tags are lr:hierarchicalSubject, without it dc:subject.
* digiKam (Settings, Metadata, Sidecars; dmetadatasettingscontainer.cpp): IMG.ext.xmp instead of the
  file's own metadata; the first of digiKam:TagsList, MicrosoftPhoto:LastKeywordXMP,
  lr:hierarchicalSubject, mediapro:CatalogSets, acdsee:categories, dc:subject.
* Immich (docs/features/xmp-sidecars; metadata.service.ts): IMG.ext.xmp, else IMG.xmp, its tags over
  the file's by name; ImageDescription, else Description; TagsList, else HierarchicalSubject.
* PhotoPrism (internal/meta; pull request 5563 of May 2026): both names; dc:title, else
  photoshop:Headline; dc:description; dc:subject. Releases before that read dc:subject only as an
  rdf:Seq, which the XMP specification does not allow and nobody but darktable 3.0 wrote: for them
  keywords must be in the photo itself.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple
from xml.etree import ElementTree as ET

import pytest
from PIL import Image
from support.embedded import view, write

from taggerd.metadata import Options
from taggerd.photo import Photo, PhotoFile, Stamp

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from taggerd.photo import Provenance, Tags

    Make = Callable[..., bytes]
    Read = dict[str, Any]

CAMERA = "OLYMPUS DIGITAL CAMERA"
HIERARCHY = (
    "<lr:hierarchicalSubject><rdf:Bag><rdf:li>Places|Norway|Oslo</rdf:li><rdf:li>Anna</rdf:li>"
    "</rdf:Bag></lr:hierarchicalSubject>"
)
TAGS_LIST = (
    "<digiKam:TagsList><rdf:Seq><rdf:li>Places/Norway/Oslo</rdf:li><rdf:li>Anna</rdf:li></rdf:Seq>"
    "</digiKam:TagsList>"
)
SUBJECT = "<dc:subject><rdf:Seq><rdf:li>Oslo</rdf:li><rdf:li>Anna</rdf:li></rdf:Seq></dc:subject>"
DARKTABLE = (
    'xmlns:darktable="http://darktable.sf.net/" darktable:xmp_version="5" xmp:Rating="3" '
    'darktable:history_end="0"'
)


class Scene(NamedTuple):
    """A photo as a user has it."""

    photo: str
    sidecar: str = ""
    body: str = ""
    attributes: str = ""
    camera: str = ""
    unseen_by: tuple[str, ...] = ()
    """Programs that read no such sidecar, whatever it says."""
    human: tuple[str, ...] = ()


HUMAN = ("Oslo", "Anna")
SCENES = {
    "no sidecar": Scene("IMG.JPG", unseen_by=("Lightroom",)),
    "no sidecar, raw": Scene("IMG.CR3", unseen_by=("digiKam",)),
    "Lightroom": Scene("IMG.CR3", "IMG.xmp", HIERARCHY, unseen_by=("digiKam",), human=HUMAN),
    "digiKam": Scene("IMG.JPG", "IMG.JPG.xmp", TAGS_LIST, unseen_by=("Lightroom",), human=HUMAN),
    "darktable": Scene(
        "IMG.JPG", "IMG.JPG.xmp", HIERARCHY + SUBJECT, DARKTABLE, "", ("Lightroom",), HUMAN
    ),
    "camera": Scene("IMG.JPG", camera=CAMERA, unseen_by=("Lightroom",)),
    "camera, sidecar": Scene(
        "IMG.JPG", "IMG.JPG.xmp", TAGS_LIST, "", CAMERA, ("Lightroom",), HUMAN
    ),
}  # fmt: skip


class Seen(NamedTuple):
    """What a program sees."""

    description: str
    keywords: list[str]
    """Levels by ``/``."""


@cache
def _parsed(path: Path) -> Read:
    program = shutil.which("exiftool")
    if program is None:
        pytest.skip("exiftool is not installed: apt-get install libimage-exiftool-perl")
    command = [program, "-j", "-G1", "-struct", os.fspath(path)]
    output = subprocess.run(command, capture_output=True, check=True).stdout
    found: Read = json.loads(output)[0]
    return found


def parsed(path: Path) -> Read:
    """Return what exiftool reads in one file, which does not change again, by group and name."""
    return dict(_parsed(path))


def words(read: Read, name: str, separator: str = "") -> list[str]:
    """Return a keyword list."""
    value = read.get(name, [])
    listed = [str(word) for word in (value if isinstance(value, list) else [value])]
    return [word.replace(separator, "/") for word in listed] if separator else listed


def first(photo: Path, *names: str) -> Path | None:
    """Return the first of the sidecars that is there."""
    there = (photo.with_name(name) for name in names)
    return next((path for path in there if path.exists()), None)


def lightroom(photo: Path) -> Seen:
    """See Adobe's help."""
    raw = photo.suffix == ".CR3"
    read = parsed((first(photo, f"{photo.stem}.xmp") or photo) if raw else photo)
    placed = words(read, "XMP-lr:HierarchicalSubject", "|")
    leaves = {word.split("/")[-1] for word in placed}
    flat = [word for word in words(read, "XMP-dc:Subject") if word not in leaves]
    said = read.get("XMP-dc:Description") or read.get("IFD0:ImageDescription", "")
    return Seen(said, placed + flat)


def darktable(photo: Path) -> Seen:
    """See src/common/exif.cc."""
    path = first(photo, f"{photo.name}.xmp", f"{photo.stem}.xmp")
    own = parsed(photo)
    read = {"XMP-dc:Description": own.get("IFD0:ImageDescription", "")}
    read |= parsed(path) if path else {}
    listed = words(read, "XMP-lr:HierarchicalSubject", "|") or words(read, "XMP-dc:Subject")
    return Seen(read["XMP-dc:Description"], listed)


def digikam(photo: Path) -> Seen:
    """See dmetadatasettingscontainer.cpp."""
    read = parsed(first(photo, f"{photo.name}.xmp") or photo)
    order = (
        ("XMP-digiKam:TagsList", "/"), ("XMP-microsoft:LastKeywordXMP", "/"),
        ("XMP-lr:HierarchicalSubject", "|"), ("XMP-mediapro:CatalogSets", "|"),
        ("XMP-dc:Subject", ""),
    )  # fmt: skip
    listed = next((found for name in order if (found := words(read, *name))), [])
    texts = ("XMP-dc:Description", "XMP-exif:UserComment", "XMP-tiff:ImageDescription",
             "IFD0:ImageDescription")  # fmt: skip
    return Seen(next((read[name] for name in texts if name in read), ""), listed)


def immich(photo: Path) -> Seen:
    """See metadata.service.ts: by name without the group, the sidecar's over the file's."""
    path = first(photo, f"{photo.name}.xmp", f"{photo.stem}.xmp")
    read: Read = {}
    for each in [photo, *([path] if path else [])]:
        read |= {name.rpartition(":")[2]: value for name, value in parsed(each).items()}
    said = read.get("ImageDescription") or read.get("Description") or ""
    listed = words(read, "TagsList") or words(read, "HierarchicalSubject", "|")
    return Seen(said.strip(), listed)


def photoprism(photo: Path) -> Seen:
    """See internal/meta."""
    path = first(photo, f"{photo.name}.xmp", f"{photo.stem}.xmp")
    read = parsed(photo)
    read["XMP-dc:Description"] = read.get("IFD0:ImageDescription", "")
    read |= parsed(path) if path else {}
    return Seen(read["XMP-dc:Description"], words(read, "XMP-dc:Subject"))


RULES: dict[str, Callable[[Path], Seen]] = {
    "Lightroom": lightroom, "darktable": darktable, "digiKam": digikam, "Immich": immich,
    "PhotoPrism": photoprism,
}  # fmt: skip


@pytest.fixture
def scene(tmp_path: Path, sidecar: Make) -> Callable[[Scene], Photo]:
    """Make the files of a scene."""

    def make(scene: Scene) -> Photo:
        path = tmp_path / scene.photo
        exif = Image.Exif()
        if scene.camera:
            exif[0x010E] = scene.camera
        Image.new("RGB", (8, 8), "red").save(path, "JPEG", exif=exif)
        if scene.sidecar:
            data = sidecar(scene.body, scene.attributes)
            (tmp_path / scene.sidecar).write_bytes(data)
        return Photo((PhotoFile(path, Stamp.of(path.lstat())),))

    return make


def leaves(keywords: list[str] | tuple[str, ...]) -> set[str]:
    """Return the last levels."""
    return {word.split("/")[-1] for word in keywords}


@pytest.mark.parametrize("name", SCENES)
def test_everybody_sees_the_description_and_all_keywords(
    scene: Callable[[Scene], Photo], tags: Tags, provenance: Provenance, name: str
) -> None:
    """Human and machine; who reads no such sidecar sees nothing, and ``show`` knows who does."""
    told = SCENES[name]
    photo = scene(told)
    write(photo, tags, provenance, Options())
    shown = {each.reader: each for each in view(photo, Options()).readers}
    assert shown.keys() == RULES.keys()
    wanted = {word.word for word in tags.keywords} | set(told.human)
    for program, rule in RULES.items():
        seen = rule(photo.primary.path)
        if program in told.unseen_by:
            assert seen == (told.camera, []), program
        else:
            assert seen.description == tags.description, program
            assert leaves(seen.keywords) == wanted, program
        assert shown[program].description == seen.description, program
        assert leaves(shown[program].keywords) == leaves(seen.keywords), program
        assert len(shown[program].keywords) == len(leaves(seen.keywords)), program


def test_earlier_releases_of_photoprism_show_no_keywords(
    scene: Callable[[Scene], Photo], tags: Tags, provenance: Provenance
) -> None:
    """They find an rdf:Bag, and ``show`` says so; title and description they find as others do."""
    photo = scene(SCENES["no sidecar"])
    write(photo, tags, provenance, Options())
    root = ET.parse(photo.primary.path.with_name("IMG.JPG.xmp")).getroot()  # noqa: S314 - ours
    rdf, dc = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}", "{http://purl.org/dc/elements/1.1/}"
    assert root.find(f".//{dc}subject/{rdf}Bag/{rdf}li") is not None
    assert root.find(f".//{dc}subject/{rdf}Seq") is None
    last = [each.text for each in root.iterfind(f".//{dc}description/{rdf}Alt/{rdf}li")][-1]
    assert last == tags.description
    notes = {each.reader: each.note for each in view(photo, Options()).readers}
    assert "May 2026" in notes.pop("PhotoPrism")
    assert not any(notes.values())
