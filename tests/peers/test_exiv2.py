"""Exiv2, with which digiKam, darktable and gThumb read XMP, understands what taggerd writes."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from support.program import photo

if TYPE_CHECKING:
    from pathlib import Path

    from support.program import Program

HUMAN = """<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:digiKam="http://www.digikam.org/ns/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/"
    exif:FNumber="28/10" digiKam:PickLabel="3">
   <dc:title><rdf:Alt><rdf:li xml:lang="x-default">My own</rdf:li></rdf:Alt></dc:title>
   <digiKam:TagsList><rdf:Seq><rdf:li>Places/Oslo</rdf:li></rdf:Seq></digiKam:TagsList>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
"""


def _exiv2(path: Path) -> dict[str, str]:
    """Return every property that Exiv2's own program reads, by its key."""
    program = shutil.which("exiv2")
    if program is None:
        pytest.skip("exiv2 is not installed: apt-get install exiv2")
    command = [program, "-PXkt", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Warning" not in done.stderr, done.stderr
    lines = (line.split(maxsplit=1) for line in done.stdout.splitlines() if line.startswith("Xmp."))
    return {line[0]: line[1].strip() if len(line) > 1 else "" for line in lines}


@pytest.mark.parametrize("human", [False, True], ids=["new", "digiKam's"])
def test_exiv2_reads_every_field(taggerd: Program, tmp_path: Path, human: bool) -> None:
    """All that we write and all that was there, without a warning."""
    path = photo(tmp_path / "photos" / "IMG.jpg")
    sidecar = path.with_name("IMG.jpg.xmp")
    before = {}
    if human:
        sidecar.write_text(HUMAN)
        before = _exiv2(sidecar)
    assert taggerd("scan", path.parent).returncode == 0
    read = _exiv2(sidecar)
    listed = {key: read[f"Xmp.{key}"] for key in ("dc.subject", "lr.hierarchicalSubject")}
    for words in (*listed.values(), read["Xmp.digiKam.TagsList"]):
        assert "red" in words.split(", ")
        assert "landscape format" in words.split(", ")
    assert read["Xmp.dc.description"].startswith('lang="x-default" A landscape-format picture')
    assert read["Xmp.tiff.ImageDescription"] == read["Xmp.dc.description"]
    title = "My own" if human else "A low-contrast landscape-format picture in red"
    assert read["Xmp.dc.title"] == f'lang="x-default" {title}'
    assert "red" in read["Xmp.photoshop.Headline"]
    if human:
        assert listed["lr.hierarchicalSubject"].split(", ")[0] == "Places|Oslo"
    for key, value in before.items():
        assert read[key] == value or (key, value in read[key]) == ("Xmp.digiKam.TagsList", True)
