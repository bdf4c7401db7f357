"""A sidecar that cannot be understood safely is refused, with the reason."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from taggerd.errors import SidecarRefused
from taggerd.metadata.merge import Merged
from taggerd.metadata.xmp.encoding import LARGEST
from taggerd.metadata.xmp.tree import LONGEST_URI, MOST_PARTS

Make = Callable[..., bytes]
Run = Callable[..., Merged]

_RDF = 'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
_DC = 'xmlns:dc="http://purl.org/dc/elements/1.1/"'


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b" " * (LARGEST + 1), "larger than 16 MB"),
        (f'<!DOCTYPE x [<!ENTITY e "e">]><rdf:RDF {_RDF}/>'.encode(), "DOCTYPE"),
        (f"<rdf:RDF {_RDF}><rdf:Description>".encode(), "well-formed"),
        (f"<rdf:RDF {_RDF}/>".encode() + b"\0\0", "well-formed"),
        (b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>', "no rdf:RDF"),
        (f"<a><rdf:RDF {_RDF}/><rdf:RDF {_RDF}/></a>".encode(), "more than one rdf:RDF"),
        (b"<a>" * 101 + b"</a>" * 101, "deeper"),
        pytest.param(b"<a>" + b"<b/>" * MOST_PARTS + b"</a>", "parts", id="elements"),
        pytest.param(
            b"<a" + b"".join(b" b%d=''" % n for n in range(MOST_PARTS)) + b"/>",
            "parts",
            id="attributes",
        ),
        pytest.param(b"<a>" + b"<!---->" * MOST_PARTS + b"</a>", "parts", id="comments"),
        pytest.param(b"<a>" + b"<?b?>" * MOST_PARTS + b"</a>", "parts", id="instructions"),
        pytest.param(
            b"<a xmlns:b='" + b"u" * (LONGEST_URI + 1) + b"'/>", "namespace", id="namespace"
        ),
        (f'<?xml version="1.0" encoding="KOI8-R"?><rdf:RDF {_RDF}/>'.encode(), "koi8-r"),
        (f"<rdf:RDF {_RDF}>\xe9</rdf:RDF>".encode("latin-1"), "well-formed"),
        (b"\xff\xfe<\0a\0\0\xd8", "utf-16-le"),
    ],
)
def test_damaged_bytes_are_refused(merged: Run, data: bytes, reason: str) -> None:
    """Nothing is guessed: the message names what is wrong."""
    with pytest.raises(SidecarRefused, match=f"(?i){reason}"):
        merged(data)


@pytest.mark.parametrize(
    ("descriptions", "reason"),
    [
        ('<rdf:Description rdf:about="a"/><rdf:Description rdf:about="b"/>', "rdf:about"),
        (
            (
                f'<rdf:Description {_DC} dc:format="1"/>'
                f"<rdf:Description {_DC}><dc:format>2</dc:format></rdf:Description>"
            ),
            "dc:format more than once",
        ),
        (
            f'<rdf:Description {_DC}><dc:subject rdf:resource="urn:1"/></rdf:Description>',
            "dc:subject in a form",
        ),
        (
            (
                f"<rdf:Description {_DC}><dc:subject><rdf:Bag><dc:x/></rdf:Bag></dc:subject>"
                "</rdf:Description>"
            ),
            "dc:subject in a form",
        ),
    ],
)
def test_ambiguous_rdf_is_refused(
    merged: Run, sidecar: Make, descriptions: str, reason: str
) -> None:
    """Two subjects, a property twice, a list that is none: no merge can be right."""
    with pytest.raises(SidecarRefused, match=reason):
        merged(sidecar(descriptions=descriptions))


def test_empty_and_equal_abouts_are_one_subject(merged: Run, sidecar: Make) -> None:
    """Adobe's toolkit takes an empty rdf:about as the same subject, and so is it here."""
    data = sidecar(descriptions='<rdf:Description rdf:about="a"/><rdf:Description rdf:about=""/>')
    assert b"dc:subject" in merged(data).data


@pytest.mark.slow
def test_a_sidecar_never_outgrows_what_is_read_again(merged: Run) -> None:
    """Keywords that would be spread over three lists of 16 MB are left as they are."""
    word = "x" * 1000
    items = "".join(f"<rdf:li>{word}{n}</rdf:li>" for n in range(8000))
    subject = f"<dc:subject><rdf:Bag>{items}</rdf:Bag></dc:subject>"
    description = f'<rdf:Description rdf:about="" {_DC}>{subject}</rdf:Description>'
    with pytest.raises(SidecarRefused, match="would become larger than 16 MB"):
        merged(f"<rdf:RDF {_RDF}>{description}</rdf:RDF>".encode())
