"""Merging changes what is taggerd's and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from taggerd import settings
from taggerd.metadata.merge import Merged, digest_in, merge
from taggerd.metadata.options import Options
from taggerd.metadata.xmp.document import Document
from taggerd.metadata.xmp.namespaces import named
from taggerd.photo import Provenance, Tags

Make = Callable[..., bytes]
Run = Callable[..., Merged]
Read = Callable[[bytes, str], list[str]]

CAPTION = "Two dogs on a beach & <surf>"
DESCRIPTION = "Two dogs run over wet sand. The sky is grey."


def _alt(field: str, *items: tuple[str, str]) -> str:
    inner = "".join(f'<rdf:li xml:lang="{lang}">{text}</rdf:li>' for lang, text in items)
    return f"<{field}><rdf:Alt>{inner}</rdf:Alt></{field}>"


def test_every_field_is_filled(merged: Run, sidecar: Make, texts: Read) -> None:
    """An empty sidecar gets caption, description, keywords in all fields of the settings."""
    data = merged(sidecar()).data
    for field in ("photoshop:Headline", "dc:title", "Iptc4xmpCore:AltTextAccessibility"):
        assert texts(data, field) == [CAPTION]
    for field in ("dc:description", "tiff:ImageDescription"):
        assert texts(data, field) == [DESCRIPTION]
    for field in ("dc:subject", "lr:hierarchicalSubject", "digiKam:TagsList"):
        assert texts(data, field) == ["dog", "beach", "car park"]
    assert b"<rdf:Seq>" in data.split(b"TagsList")[1]


def test_provenance_is_recorded(merged: Run, sidecar: Make, texts: Read) -> None:
    """The taggerd namespace says what wrote, when, with which models, about which file."""
    data = merged(sidecar()).data
    assert texts(data, "taggerd:version") == ["0.1.0"]
    assert texts(data, "taggerd:date") == ["2025-01-02T03:04:05+00:00"]
    assert texts(data, "taggerd:profile") == ["default"]
    assert texts(data, "taggerd:models") == ["caption=eye-2", "keywords=eye-2"]
    assert texts(data, "taggerd:keywords") == ["dog", "beach", "car park"]
    assert digest_in(Document.load(data)) == "ab" * 32


def test_the_same_tags_again_change_nothing(sidecar: Make, tags: Tags) -> None:
    """A second pass that could only say another date gives the same bytes back."""
    first = Provenance(
        version="1",
        date=datetime(2025, 1, 1, tzinfo=UTC),
        profile="p",
        models={"caption": "m"},
        digest="00",
    )
    fields = settings.Fields()
    data = merge(sidecar(), tags, first, Options(fields=fields)).data
    later = replace(first, date=first.date + timedelta(days=1))
    assert merge(data, tags, later, Options(fields=fields)).data == data
    other = replace(later, digest="11")
    assert digest_in(Document.load(merge(data, tags, other, Options(fields=fields)).data)) == "11"


@pytest.mark.parametrize(
    "human",
    [
        _alt("dc:description", ("x-default", "Mine")),
        _alt("dc:description", ("fr", "Mine")),
        _alt("dc:description", ("x-default", " "), ("fr", "Mine")),
        "<dc:description>Mine</dc:description>",
        "<dc:description><rdf:Bag><rdf:li>Mine</rdf:li></rdf:Bag></dc:description>",
        '<dc:description rdf:parseType="Resource"><rdf:value>Mine</rdf:value></dc:description>',
        "<dc:description><![CDATA[Mine]]></dc:description>",
    ],
)
def test_a_human_text_is_kept(merged: Run, sidecar: Make, human: str) -> None:
    """In whatever form it is written; its twin, which would hide it in Immich, stays empty."""
    result = merged(sidecar(human))
    assert human.encode() in result.data
    assert DESCRIPTION.encode() not in result.data
    assert "kept dc:description: a human wrote it" in result.notes


def test_a_human_attribute_is_kept(merged: Run, sidecar: Make) -> None:
    """A text in attribute form is a human's as well."""
    result = merged(sidecar(attributes='dc:description="Mine"'))
    assert b'dc:description="Mine"' in result.data
    assert DESCRIPTION.encode() not in result.data


@pytest.mark.parametrize(
    "camera",
    ["OLYMPUS DIGITAL CAMERA         ", "SONY DSC", "", "  ", "KONICA MINOLTA DIGITAL CAMERA"],
)
def test_camera_words_are_not_human(merged: Run, sidecar: Make, texts: Read, camera: str) -> None:
    """What a camera writes of itself gives way, and so it hides nothing."""
    data = merged(sidecar(_alt("tiff:ImageDescription", ("x-default", camera)))).data
    assert texts(data, "tiff:ImageDescription") == [DESCRIPTION]
    assert texts(data, "dc:description") == [DESCRIPTION]


def test_a_machine_text_is_replaced(merged: Run, sidecar: Make, texts: Read) -> None:
    """What taggerd wrote and nobody touched, a later pass may replace; other languages stay."""
    data = merged(sidecar()).data
    french = b'<rdf:li xml:lang="fr">Deux chiens</rdf:li>'
    data = data.replace(b"</rdf:li>\n    </rdf:Alt>", b"</rdf:li>" + french + b"\n    </rdf:Alt>")
    again = merged(data, description="Another.").data
    assert texts(again, "dc:description") == ["Another.", "Deux chiens"]


def test_an_edited_machine_text_is_human(merged: Run, sidecar: Make, texts: Read) -> None:
    """One changed word makes it the human's; the untouched twin no longer hides it."""
    data = merged(sidecar()).data
    data = data.replace(b"wet sand", b"dry sand", 1)
    again = merged(data, description="Another.").data
    assert texts(again, "dc:description") == [DESCRIPTION.replace("wet", "dry")]
    assert texts(again, "tiff:ImageDescription") == []


def test_a_twin_with_another_language_stays(merged: Run, sidecar: Make, texts: Read) -> None:
    """The machine text would go, but with it a translation that somebody added."""
    data = merged(sidecar()).data.replace(b"wet sand", b"dry sand", 1)
    head, mark, tail = data.partition(b"<tiff:ImageDescription")
    french = b'</rdf:li><rdf:li xml:lang="fr">Deux chiens</rdf:li>'
    data = head + mark + tail.replace(b"</rdf:li>", french, 1)
    again = merged(data, description="Another.").data
    assert "Deux chiens" in texts(again, "tiff:ImageDescription")


def test_a_rewrapped_machine_text_is_still_ours(merged: Run, sidecar: Make, texts: Read) -> None:
    """Programs trim and wrap texts: that is not an edit."""
    data = merged(sidecar()).data.replace(b"sand. The", b"sand.\n   The")
    again = merged(data, description="Another.").data
    assert texts(again, "dc:description") == ["Another."]


def test_overwrite_replaces_human_text_but_the_title(
    merged: Run, sidecar: Make, texts: Read
) -> None:
    """Overwriting is said in the notes, keeps other languages, and never touches a title."""
    body = _alt("dc:description", ("x-default", "Mine"), ("fr", "Le mien"))
    result = merged(sidecar(body + _alt("dc:title", ("x-default", "My title"))), overwrite=True)
    assert texts(result.data, "dc:description") == [DESCRIPTION, "Le mien"]
    assert texts(result.data, "dc:title") == ["My title"]
    assert "replaced dc:description, which a human wrote (overwrite)" in result.notes


def test_overwrite_inserts_only_the_default_language(
    merged: Run, sidecar: Make, texts: Read
) -> None:
    """Where only another language is there, ours becomes the first item."""
    data = sidecar(_alt("dc:description", ("fr", "Le mien")))
    result = merged(data, overwrite=True)
    assert texts(result.data, "dc:description") == [DESCRIPTION, "Le mien"]
    assert b'<rdf:li xml:lang="x-default">Two dogs' in result.data


def test_fields_follow_the_settings(merged: Run, sidecar: Make, texts: Read) -> None:
    """Who wants the caption in dc:description gets it there, and nothing elsewhere."""
    fields = settings.Fields(caption=["dc:description"], description=[], keywords=["dc:subject"])
    data = merged(sidecar(), fields=fields).data
    assert texts(data, "dc:description") == [CAPTION]
    for absent in ("photoshop:Headline", "lr:hierarchicalSubject", "digiKam:TagsList"):
        assert texts(data, absent) == []


def test_alt_text_is_cut_between_words(merged: Run, sidecar: Make, texts: Read) -> None:
    """IPTC allows 250 characters for it."""
    (text,) = texts(
        merged(sidecar(), caption="word " * 100).data, "Iptc4xmpCore:AltTextAccessibility"
    )
    assert len(text) <= 250
    assert text.endswith("word…")


def test_text_that_xml_forbids_is_left_out(merged: Run, sidecar: Make, texts: Read) -> None:
    """Control characters and lone surrogates cannot break the sidecar."""
    data = merged(sidecar(), caption="a\x00b\x0b\ud800c\ufffe").data
    assert texts(data, "photoshop:Headline") == ["abc"]


def test_nothing_to_say_keeps_what_was_said(merged: Run, sidecar: Make, texts: Read) -> None:
    """A pass without a caption and keywords takes none away."""
    data = merged(sidecar()).data
    again = merged(data, "", caption="", description="").data
    assert again == data
    assert texts(again, "dc:subject") == ["dog", "beach", "car park"]


@pytest.mark.parametrize(
    ("encoding", "mark"),
    [("utf-16-le", b"\xff\xfe"), ("utf-16-be", b"\xfe\xff"), ("utf-16-le", b""),
     ("latin-1", b""), ("utf-8", b"\xef\xbb\xbf")],
)  # fmt: skip
def test_the_encoding_is_kept(
    merged: Run, sidecar: Make, texts: Read, encoding: str, mark: bytes
) -> None:
    """A sidecar stays in its encoding; what that cannot say is written as a reference."""
    declared = "iso-8859-1" if encoding == "latin-1" else encoding[:6]
    text = f'<?xml version="1.0" encoding="{declared}"?>' + sidecar(
        "<dc:source>M\u00fc\u00df</dc:source>"
    ).decode("utf-8")
    data = mark + text.encode(encoding)
    result = merged(data, "caf\u00e9,\u72ac").data
    assert result.startswith(mark)
    assert "<dc:source>M\u00fc\u00df</dc:source>".encode(encoding) in result
    assert texts(result, "dc:subject") == ["caf\u00e9", "\u72ac"]


def test_line_ends_are_kept(merged: Run, sidecar: Make) -> None:
    """A sidecar with CRLF gets CRLF only."""
    data = sidecar().replace(b"\n", b"\r\n")
    result = merged(data).data
    assert result.count(b"\n") == result.count(b"\r\n")


def test_a_foreign_prefix_is_respected(merged: Run, texts: Read) -> None:
    """``dc`` may stand for something else, and Dublin Core may have any prefix."""
    data = (
        b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description xmlns:dc="http://example.org/not" dc:weird="1"/>'
        b'<rdf:Description xmlns:D="http://purl.org/dc/elements/1.1/"><D:subject><rdf:Bag>'
        b"<rdf:li>old</rdf:li></rdf:Bag></D:subject></rdf:Description></rdf:RDF>"
    )
    result = merged(data).data
    assert texts(result, "dc:subject") == ["old", "dog", "beach", "car park"]
    assert texts(result, "dc:description") == [DESCRIPTION]
    assert b'dc:weird="1"' in result


@pytest.mark.parametrize(
    "rdf",
    ["<rdf:RDF {}/>", "<rdf:RDF {}></rdf:RDF>", "<rdf:RDF {}><rdf:Description/></rdf:RDF>",
     "<RDF {}><Description/></RDF>", "<RDF {}/>"],
)  # fmt: skip
def test_a_description_is_made_or_opened(merged: Run, texts: Read, rdf: str) -> None:
    """No description, or an empty tag of one, is no obstacle, whatever the prefix of RDF."""
    prefix = ":rdf" if "rdf:" in rdf else ""
    data = rdf.format(f'xmlns{prefix}="http://www.w3.org/1999/02/22-rdf-syntax-ns#"').encode()
    assert texts(merged(data).data, "dc:subject") == ["dog", "beach", "car park"]


def test_bytes_outside_our_properties_stay(merged: Run, sidecar: Make) -> None:
    """Comments, instructions, CDATA, odd white space: all still there, in their order."""
    before = (
        "<!-- a --><?app keep?><xmp:Nickname ><![CDATA[a <b>]]></xmp:Nickname >\n\n\t"
        "<dc:source>  lead &#xA; trail </dc:source><!-- b -->"
    )
    data = sidecar(before, attributes="xmp:Rating = '5'")
    result = merged(data).data
    for piece in (
        "<!-- a --><?app keep?><xmp:Nickname ><![CDATA[a <b>]]></xmp:Nickname >",
        "<dc:source>  lead &#xA; trail </dc:source>",
        "<!-- b -->",
        "xmp:Rating = '5'",
    ):
        assert piece.encode() in result


def _languages(data: bytes, field: str) -> dict[str, str]:
    found = Document(data).read(named(field))
    return {item.language: item.text for item in found.items} if found else {}


def _said(data: bytes, language: str, text: str, *, overwrite: bool = False) -> bytes:
    fields, tags = settings.Fields(), Tags(caption=text, description=text)
    provenance = Provenance(
        version="0.1.0",
        date=datetime(2025, 1, 2, tzinfo=UTC),
        profile="default",
        models={},
        digest="ab" * 32,
    )
    return merge(
        data, tags, provenance, Options(fields=fields, overwrite=overwrite, language=language)
    ).data


def test_a_language_is_written_besides_the_default(sidecar: Make) -> None:
    """In every field that holds languages; another pass rewords both, another setting takes it."""
    data = _said(sidecar(), "pt-BR", "Um cachorro")
    fields = ("dc:description", "tiff:ImageDescription", "dc:title")
    for field in (*fields, "Iptc4xmpCore:AltTextAccessibility"):
        assert _languages(data, field) == {"x-default": "Um cachorro", "pt-br": "Um cachorro"}
    assert b'xml:lang="pt-BR"' in data
    assert _said(data, "pt-BR", "Um cachorro") == data
    again = _said(data, "pt-BR", "Dois cachorros")
    assert _languages(again, "dc:title") == {
        "x-default": "Dois cachorros",
        "pt-br": "Dois cachorros",
    }
    french = _said(again, "fr", "Deux chiens")
    assert _languages(french, "dc:title") == {"x-default": "Deux chiens", "fr": "Deux chiens"}
    assert _languages(_said(french, "", "Two dogs"), "dc:title") == {"x-default": "Two dogs"}


def test_a_human_text_is_not_hidden_by_our_language(sidecar: Make) -> None:
    """Whoever rewrote the default is shown in every language: our copy goes."""
    data = _said(sidecar(), "fr", "Un chien").replace(b"Un chien", b"Mon chien Rex", 1)
    assert _languages(data, "dc:description")["x-default"] == "Mon chien Rex"
    again = _said(data, "fr", "Un chat")
    assert _languages(again, "dc:description") == {"x-default": "Mon chien Rex"}
    assert _languages(again, "tiff:ImageDescription") == {}


def test_a_human_translation_stays(sidecar: Make) -> None:
    """Ours are replaced around it, in its own language too where it is the setting's."""
    body = _alt("dc:title", ("x-default", ""), ("fr", "Mon chien"), ("de", "Mein Hund"))
    french = _languages(_said(sidecar(body), "fr", "Un chien"), "dc:title")
    assert french == {"x-default": "", "fr": "Mon chien", "de": "Mein Hund"}
    data = _said(sidecar(), "fr", "Un chien")
    edited = data.replace(b'xml:lang="fr">Un chien', b'xml:lang="fr">Mon chien')
    again = _said(edited, "fr", "Un chat")
    assert _languages(again, "dc:title") == {"x-default": "Un chat", "fr": "Mon chien"}
