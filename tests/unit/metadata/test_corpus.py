"""Real sidecars, read before and after by a program that is not ours: nothing foreign changes."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
from support.rewriting import rewritten

from taggerd.errors import SidecarRefused
from taggerd.metadata.keywords.fields import WRITTEN
from taggerd.metadata.merge import Merged
from taggerd.metadata.options import Options
from taggerd.metadata.undo.content import undo
from taggerd.metadata.xmp.document import Document
from taggerd.metadata.xmp.namespaces import named
from taggerd.settings import TextField

Run = Callable[..., Merged]

_REFUSED = {
    # Not well-formed, or not RDF at all: for every reader.
    "exiftool_t_images_XMP2.xmp", "exiv2_test_data_issue_1821_poc.xmp",
    "exiv2_test_data_issue_1954_poc.xmp", "hand_truncated.xmp", "hand_zero.xmp",
    # Refused by rule: two subjects, a DOCTYPE, a property twice.
    "hand_about_mixed.xmp", "hand_doctype_xxe.xmp", "hand_dup_prop.xmp",
}  # fmt: skip
_TEXTS = {
    "XMP-dc:Description", "XMP-dc:Title", "XMP-photoshop:Headline", "XMP-tiff:ImageDescription",
    "XMP-iptcCore:AltTextAccessibility",
}  # fmt: skip
_LISTS = {
    "XMP-dc:Subject", "XMP-lr:HierarchicalSubject", "XMP-digiKam:TagsList",
    "XMP-microsoft:LastKeywordXMP", "XMP-mediapro:CatalogSets",
}  # fmt: skip
_NOT_CONTENT = ("System:", "File:", "ExifTool:", "SourceFile", "XMP-taggerd:")


@pytest.fixture
def pairs(real_sidecars: Path, tmp_path: Path, merged: Run) -> tuple[Path, Path, set[str]]:
    """Every sidecar of the corpus in two folders, untouched and merged, and the refused ones."""
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    after.mkdir()
    refused = set()
    for path in sorted(real_sidecars.iterdir()):
        data = path.read_bytes()
        try:
            result = merged(data)
        except SidecarRefused:
            refused.add(path.name)
            continue
        assert merged(result.data).data == result.data, f"a second pass changes {path.name}"
        (before / path.name).write_bytes(data)
        (after / path.name).write_bytes(result.data)
    return before, after, refused


def _exiftool(folder: Path) -> dict[str, dict[str, object]]:
    program = shutil.which("exiftool")
    if program is None:
        pytest.skip("exiftool is not installed: apt-get install libimage-exiftool-perl")
    command = [program, "-struct", "-j", "-G1", "-a", "-u", "-q", str(folder)]
    output = subprocess.run(command, capture_output=True, check=True).stdout
    return {Path(read["SourceFile"]).name: read for read in json.loads(output)}


def _listed(value: object) -> list[object]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


@pytest.mark.slow
def test_nothing_foreign_changes(pairs: tuple[Path, Path, set[str]]) -> None:
    """With exiftool every foreign property reads the same, and every old keyword is there."""
    before, after, refused = pairs
    assert refused == _REFUSED
    old, new = _exiftool(before), _exiftool(after)
    assert old.keys() == new.keys()
    for name, was in old.items():
        now = new[name]
        foreign = [
            {k: v for k, v in read.items()
             if not k.startswith(_NOT_CONTENT) and k not in _TEXTS | _LISTS}
            for read in (was, now)
        ]  # fmt: skip
        assert foreign[0] == foreign[1], name
        for field in _LISTS:
            assert all(word in _listed(now.get(field)) for word in _listed(was.get(field))), name
        assert "dog" in [str(word).lower() for word in _listed(now["XMP-dc:Subject"])], name
        assert now["XMP-taggerd:Digest"] == "ab" * 32, name


@pytest.mark.slow
def test_human_texts_stay(pairs: tuple[Path, Path, set[str]]) -> None:
    """A text changes only where it was blank or a camera's own."""
    before, after, _ = pairs
    old, new = _exiftool(before), _exiftool(after)
    cameras = ("DIGITAL CAMERA", " DSC", "binary comment", "DCF 1.0")
    for name, was in old.items():
        for field in _TEXTS & was.keys():
            text = str(was[field]).strip()
            if text and not any(camera in text for camera in cameras):
                assert new[name][field] == was[field], (name, field)


@pytest.mark.slow
def test_an_undo_gives_every_byte_back(real_sidecars: Path, merged: Run, tmp_path: Path) -> None:
    """Of every sidecar that is merged, also after a retag; of one rewritten since, every word."""
    rewrote = 0
    for number, path in enumerate(sorted(real_sidecars.iterdir())):
        if path.name in _REFUSED:
            continue
        before = path.read_bytes()
        for overwrite in (False, True):
            data = merged(before, overwrite=overwrite).data
            again = merged(data, "cat,pier", caption="Another").data
            assert undo(data, Options()).data == before, path.name
            assert undo(again, Options()).data == before, path.name
        if number % 8:
            continue  # a process each
        changed = rewritten(tmp_path, data)
        done = undo(merged(changed, "cat,pier", caption="Another").data, Options())
        if changed != data:
            rewrote += 1
            assert done.end == "cleaned", path.name
        assert done.data is not None
        was, now = (Document.load(data) for data in (before, done.data))
        for field in (*get_args(TextField), *WRITTEN):
            assert _words(was, field) == _words(now, field), (path.name, field)
    assert rewrote > 10


def _words(document: Document, field: str) -> list[str]:
    """Return what a field says, in the white space that Exiv2 leaves."""
    return sorted(" ".join(text.split()) for text in document.texts(named(field)))
