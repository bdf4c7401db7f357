"""IPTC-IIM follows what is embedded into XMP; exiftool, which did not write it, reads it."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support import embeddable
from support.embeddable import behind_start, jpeg
from support.embedded import edit, restore, write

from taggerd.metadata import Edit, Edited, Options, UndoOptions, undo_embedded
from taggerd.metadata.embedding.iim import (
    PHOTOSHOP,
    Iim,
    Said,
    followed,
    iim_of,
    rest_of,
    segment_with,
    undone,
)
from taggerd.metadata.embedding.photo import origin
from taggerd.photo import Keyword, Photo, Provenance, Sidecar, Tags

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

EMBED = Options(target="embed")
DESCRIPTION = "Two dogs run over wet sand. The sky is grey."
CAPTION = "Two dogs on a beach & <surf>"

pytestmark = pytest.mark.skipif(
    shutil.which("exiftool") is None,
    reason="exiftool is not there: apt-get install libimage-exiftool-perl",
)


def _exiftool(*words: str | Path) -> bytes:
    return subprocess.run(
        ["exiftool", "-config", "", *words], check=True, capture_output=True
    ).stdout


_WORDS = ("Headline", "Caption-Abstract", "By-line", "City")


def _shown(path: Path) -> dict[str, Any]:
    """Return what a reader of IPTC-IIM alone shows, and both digests."""
    options = ("-j", "-struct", "-IPTC:all", "-Photoshop:all", "-CurrentIPTCDigest")
    (shown,) = json.loads(_exiftool(*options, path))
    return {key: value for key, value in shown.items() if key != "SourceFile"}


def _digest(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=32).hexdigest()


@pytest.fixture
def embed(
    photo_of: Callable[..., Photo], tags: Tags, provenance: Provenance
) -> Callable[..., Sidecar]:
    """Embed tags into a photo."""

    def run(
        path: Path, keywords: tuple[Keyword, ...] = tags.keywords, description: str = DESCRIPTION
    ) -> Sidecar:
        given = replace(tags, keywords=keywords, description=description)
        digest = origin(path) or _digest(path)
        (done,) = write(photo_of(path), given, replace(provenance, digest=digest), EMBED)
        assert done.embedded, done.notes
        return done

    return run


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """Return a JPEG as Photo Mechanic leaves them: IPTC-IIM, Photoshop's resources, no XMP."""
    path = tmp_path / "a.jpg"
    Image.new("RGB", (32, 24), "teal").save(path, dpi=(72, 72))
    _exiftool(
        "-overwrite_original", "-codedcharacterset=utf8", "-IPTC:Keywords=Ünal",
        "-IPTC:Keywords=harbour", "-IPTC:By-line=Zoë", "-IPTC:City=Køge",
        "-Photoshop:XResolution=300", "-Photoshop:IPTCDigest=new", path,
    )  # fmt: skip
    return path


def test_a_reader_of_iptc_shows_the_new_words(photo: Path, embed: Callable[..., Sidecar]) -> None:
    """Keywords, caption and headline follow XMP; a human's keywords come first and stay."""
    before = _shown(photo)
    done = embed(photo)
    shown = _shown(photo)
    assert shown["Keywords"] == ["Ünal", "harbour", "dog", "beach", "car park"]
    assert shown["Caption-Abstract"] == DESCRIPTION
    assert shown["Headline"] == CAPTION
    assert shown["CodedCharacterSet"] == "UTF8"
    assert shown["IPTCDigest"] == shown["CurrentIPTCDigest"]
    ours = {"Keywords", "Caption-Abstract", "Headline", "IPTCDigest", "CurrentIPTCDigest"}
    for key in (before.keys() | shown.keys()) - ours:
        assert shown[key] == before[key], key
    assert not any("IPTC" in note for note in done.notes)


def test_an_undo_restores_the_bytes(photo: Path, embed: Callable[..., Sidecar]) -> None:
    """Also after a second pass with other words, and the file stays the same photo in between."""
    before = photo.read_bytes()
    digest = _digest(photo)
    embed(photo)
    assert origin(photo) == digest
    embed(photo, keywords=(Keyword("cat"),), description="A cat.")
    assert _shown(photo)["Keywords"] == ["Ünal", "harbour", "cat"]
    assert _shown(photo)["Caption-Abstract"] == "A cat."
    outcome = undo_embedded(photo, UndoOptions(), EMBED)
    assert outcome.end == "restored"
    assert photo.read_bytes() == before


def test_an_undo_after_somebody_edited_iptc(photo: Path, embed: Callable[..., Sidecar]) -> None:
    """Ours go, theirs stay, whatever they did."""
    embed(photo)
    _exiftool("-overwrite_original", "-IPTC:Keywords+=mine", "-IPTC:Headline=Mine", photo)
    undo_embedded(photo, UndoOptions(), EMBED)
    shown = _shown(photo)
    assert shown["Keywords"] == ["Ünal", "harbour", "mine"]
    assert shown["Headline"] == "Mine"
    assert "Caption-Abstract" not in shown
    assert shown["By-line"] == "Zoë"
    assert shown["IPTCDigest"] == shown["CurrentIPTCDigest"]


def test_an_edit_reaches_iptc(
    photo: Path, embed: Callable[..., Sidecar], photo_of: Callable[..., Photo]
) -> None:
    """What a person took out of XMP, of whosever words, is not left where others look first."""
    embed(photo)
    before = _shown(photo)
    mine = Edit(caption="Mine", description="", drop=("dog", "harbour"), add=("Køge",))
    done = edit(photo_of(photo), mine, EMBED)
    assert isinstance(done, Edited)
    shown = _shown(photo)
    assert shown["Keywords"] == ["Ünal", "beach", "car park", "Køge"]
    assert shown["Headline"] == "Mine"
    assert "Caption-Abstract" not in shown
    assert shown["By-line"] == "Zoë"
    assert shown["IPTCDigest"] == shown["CurrentIPTCDigest"]
    restore(photo_of(photo), done.undo, EMBED)
    again = _shown(photo)
    assert sorted(again.pop("Keywords")) == sorted(before.pop("Keywords"))
    assert {key: again[key] for key in _WORDS} == {key: before[key] for key in _WORDS}


def test_part_of_it_is_undone(photo: Path, embed: Callable[..., Sidecar]) -> None:
    """An undo of the keywords leaves the texts."""
    embed(photo)
    undo_embedded(photo, UndoOptions(parts=frozenset({"keywords"})), EMBED)
    assert _shown(photo)["Keywords"] == ["Ünal", "harbour"]
    assert _shown(photo)["Caption-Abstract"] == DESCRIPTION


def test_a_human_caption_stays(photo: Path, embed: Callable[..., Sidecar]) -> None:
    """It is copied into XMP, which then says the same; a camera's is replaced."""
    _exiftool("-overwrite_original", "-IPTC:Caption-Abstract=Mine", photo)
    embed(photo)
    assert _shown(photo)["Caption-Abstract"] == "Mine"


def test_a_caption_that_xmp_does_not_say_stays(photo: Path, embed: Callable[..., Sidecar]) -> None:
    """Where the two differ already, nothing of either is lost, and a note says so."""
    _exiftool("-overwrite_original", "-IPTC:Headline=One", "-XMP-photoshop:Headline=Other", photo)
    done = embed(photo)
    assert _shown(photo)["Headline"] == "One"
    assert "a.jpg: kept the headline in its IPTC-IIM: it is not the one in XMP" in done.notes


def test_latin_1(tmp_path: Path, embed: Callable[..., Sidecar]) -> None:
    """Keywords in the old character set become UTF-8, and the set is named; an undo goes back."""
    path = tmp_path / "a.jpg"
    path.write_bytes(behind_start(jpeg(), embeddable.iptc("Caf\xe9")))
    before = path.read_bytes()
    embed(path)
    shown = _shown(path)
    assert shown["Keywords"] == ["Café", "dog", "beach", "car park"]
    assert shown["CodedCharacterSet"] == "UTF8"
    assert shown["IPTCDigest"] == shown["CurrentIPTCDigest"]
    undo_embedded(path, UndoOptions(), EMBED)
    assert path.read_bytes() == before


def test_other_texts_in_latin_1(photo: Path, embed: Callable[..., Sidecar]) -> None:
    """They would be misread if the set were named: IPTC-IIM stays, and a note says why."""
    _exiftool("-overwrite_original", "-IPTC:all=", photo)
    _exiftool("-overwrite_original", "-charset", "iptc=latin", "-IPTC:City=Køge", photo)
    before = _shown(photo)
    done = embed(photo, description="Ein schöner Hund.")
    assert _shown(photo) == before
    assert any("left unchanged (other texts in it are not in UTF-8)" in n for n in done.notes)


def test_limits(photo: Path, embed: Callable[..., Sidecar]) -> None:
    """Longer words are cut between characters, with a note; XMP has them whole."""
    done = embed(photo, description="ü" * 1500, keywords=(Keyword("ö" * 40),))
    shown = _shown(photo)
    assert shown["Caption-Abstract"] == "ü" * 1000
    assert shown["Keywords"] == ["Ünal", "harbour", "ö" * 32]
    assert "a.jpg: keywords are cut to 64 bytes in its IPTC-IIM" in done.notes
    assert "a.jpg: the caption is cut to 2000 bytes in its IPTC-IIM" in done.notes
    embed(photo, description="A cat.", keywords=(Keyword("cat"),))
    assert _shown(photo)["Keywords"] == ["Ünal", "harbour", "cat"]
    assert _shown(photo)["Caption-Abstract"] == "A cat."


def test_a_photo_without_iptc_gets_none(tmp_path: Path, embed: Callable[..., Sidecar]) -> None:
    """It is an old form that nobody needs who has XMP."""
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg())
    embed(path)
    assert not [key for key in _shown(path) if key in {"Keywords", "Caption-Abstract"}]


@given(
    data=st.one_of(
        st.binary(max_size=60),
        st.lists(
            st.tuples(st.sampled_from([(1, 90), (2, 25), (2, 105), (2, 120), (2, 80), (7, 1)]),
                      st.binary(max_size=80)),
            max_size=6,
        ).map(lambda sets: b"".join(
            struct.pack(">BBBH", 0x1C, *key, len(value)) + value for key, value in sets)),
    ),
    digest=st.none() | st.binary(min_size=15, max_size=16),
    word=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=80),
)  # fmt: skip
def test_whatever_is_in_it(data: bytes, digest: bytes | None, word: str) -> None:
    """It is refused, or the rest stays byte for byte and an undo gives the very segment back."""
    resources = [(0x0404, data), (0x03ED, b"odd"), *([(0x0425, digest)] if digest else [])]
    segment = PHOTOSHOP + b"".join(
        struct.pack(">4sHHI", b"8BIM", kind, 0, len(value)) + value + b"\0" * (len(value) % 2)
        for kind, value in resources
    )
    iim = iim_of(segment)
    if iim is None:
        return
    assert segment_with(segment, iim) == segment
    after = Said((word,), frozenset({word}), {"dc:description": word})
    try:
        made, _ = followed(iim, Said(), after)
    except ValueError:
        return
    new = segment_with(segment, made)
    assert iim_of(new) == made
    assert rest_of(new) == rest_of(segment)
    assert Iim.unpacked(iim.packed) == iim
    assert segment_with(new, undone(made, iim, after, Said())) == segment
