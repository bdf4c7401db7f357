"""A whole life of a sidecar: tagged, edited with exiftool, tagged by another model, undone."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from support.program import other_words, photo

if TYPE_CHECKING:
    from pathlib import Path

    from support.program import CountingBackend, Program

BEFORE = """<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4">
   <dc:subject><rdf:Bag><rdf:li>Anna</rdf:li><rdf:li>Oslo</rdf:li></rdf:Bag></dc:subject>
   <dc:creator><rdf:Seq><rdf:li>Somebody</rdf:li></rdf:Seq></dc:creator>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
"""
LISTS = ("Subject", "HierarchicalSubject", "TagsList")


def _exiftool(*arguments: object) -> str:
    program = shutil.which("exiftool")
    if program is None:
        pytest.skip("exiftool is not installed: apt-get install libimage-exiftool-perl")
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, check=True)
    return done.stdout.decode()


def _read(path: Path) -> dict[str, Any]:
    """Return the photo's properties but for taggerd's own record."""
    read: dict[str, Any] = json.loads(_exiftool("-j", "-struct", "-XMP:all", "-G1", path))[0]
    return {
        name.partition(":")[2]: value
        for name, value in read.items()
        if name.startswith("XMP-") and not name.startswith(("XMP-taggerd:", "XMP-x:"))
    }


@pytest.mark.long
@pytest.mark.parametrize("there", [True, False], ids=["merged", "made"])
def test_the_humans_version_remains(
    taggerd: Program, backend: CountingBackend, tmp_path: Path, there: bool
) -> None:
    """One text changed, one of our keywords deleted, one of the human's own deleted, one added."""
    taggerd.base_url = backend.base_url
    path = photo(tmp_path / "photos" / "IMG.jpg")
    sidecar = path.with_name("IMG.jpg.xmp")
    if there:
        sidecar.write_text(BEFORE)
    assert taggerd("scan", path.parent).returncode == 0
    said = _read(sidecar)
    gone = next(word for word in said["Subject"] if word not in {"Anna", "Oslo"})
    edits = [f"-{name}-={word}" for name in LISTS for word in (gone, "Oslo")]
    edits += [f"-{name}+=holiday" for name in LISTS]
    _exiftool("-overwrite_original", "-q", "-XMP-dc:Title=My very own", *edits, sidecar)
    edited = _read(sidecar)
    assert gone not in edited["Subject"]
    assert "holiday" in edited["TagsList"]

    backend.script = other_words
    assert taggerd("scan", "--retag", path.parent).returncode == 0
    again = _read(sidecar)
    assert again["Title"] == "My very own"
    for name in LISTS:
        assert "holiday" in again[name]
        assert "wide format" in again[name]
        assert not {gone, "Oslo", "landscape format"} & set(again[name])

    done = taggerd("undo", path.parent)
    assert done.returncode == 0, done.stderr
    left = _read(sidecar)
    human = ["Anna", "holiday"] if there else ["holiday"]
    assert left.pop("Title") == "My very own"
    for name in LISTS:  # a list that was not there before holds only what was added by hand
        words = left.pop(name)
        wanted = human if name == "Subject" else ["holiday"]
        assert (words if isinstance(words, list) else [words]) == wanted, name
    assert left == ({"Rating": 4, "Creator": ["Somebody"]} if there else {})
    assert not re.search(r"<taggerd:|\staggerd:", sidecar.read_text())
