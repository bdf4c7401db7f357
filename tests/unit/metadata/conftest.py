"""What the metadata tests share: sidecars made by hand, tags, photos with metadata of their own."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from support.program import corpus

from taggerd import settings
from taggerd.metadata.merge import Merged, merge
from taggerd.metadata.options import Options
from taggerd.metadata.xmp.document import Document
from taggerd.metadata.xmp.namespaces import PREFIXES, named
from taggerd.photo import Keyword, Photo, PhotoFile, Provenance, Stamp, Tags

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TAGS = Tags(
    caption="Two dogs on a beach & <surf>",
    description="Two dogs run over wet sand. The sky is grey.",
    keywords=(Keyword("dog", 0.9), Keyword("beach"), Keyword("car park")),
)
PROVENANCE = Provenance(
    version="0.1.0",
    date=datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC),
    profile="default",
    models={"caption": "eye-2", "keywords": "eye-2"},
    digest="ab" * 32,
)


@pytest.fixture
def tags() -> Tags:
    """Tags with characters that XML escapes."""
    return TAGS


@pytest.fixture
def provenance() -> Provenance:
    """Where the tags come from."""
    return PROVENANCE


@pytest.fixture
def sidecar() -> Callable[..., bytes]:
    """Make a sidecar with a body inside its one description and attributes on it."""

    def make(body: str = "", attributes: str = "", descriptions: str | None = None) -> bytes:
        declared = " ".join(
            f'xmlns:{p}="{uri}"' for p, uri in PREFIXES.items() if p not in {"rdf", "xml", "x"}
        )
        inner = descriptions
        if inner is None:
            inner = (
                f'<rdf:Description rdf:about="" {declared} {attributes}>{body}</rdf:Description>'
            )
        return (
            f'<x:xmpmeta xmlns:x="{PREFIXES["x"]}">\n <rdf:RDF xmlns:rdf="{PREFIXES["rdf"]}">\n'
            f"  {inner}\n </rdf:RDF>\n</x:xmpmeta>\n"
        ).encode()

    return make


@pytest.fixture
def merged() -> Callable[..., Merged]:
    """Merge tags into a sidecar, with other words or settings where they are given."""

    def run(
        data: bytes,
        words: str | None = None,
        *,
        caption: str | None = None,
        description: str | None = None,
        overwrite: bool = False,
        fields: settings.Fields | None = None,
    ) -> Merged:
        given = TAGS
        if words is not None:
            given = replace(given, keywords=tuple(Keyword(w) for w in words.split(",") if w))
        if caption is not None:
            given = replace(given, caption=caption)
        if description is not None:
            given = replace(given, description=description)
        return merge(
            data,
            given,
            PROVENANCE,
            Options(fields=fields or settings.Fields(), overwrite=overwrite),
        )

    return run


@pytest.fixture
def texts() -> Callable[[bytes, str], list[str]]:
    """Read a property's texts out of a sidecar."""

    def read(data: bytes, name: str) -> list[str]:
        return list(Document.load(data).texts(named(name)))

    return read


@pytest.fixture
def photo_of() -> Callable[..., Photo]:
    """Make a photo of files, which are made too where they are not there yet."""

    def make(*paths: Path) -> Photo:
        files = []
        for path in paths:
            if not path.exists():
                Image.new("RGB", (8, 8), "red").save(path, format="JPEG")
            files.append(PhotoFile(path, Stamp.of(path.lstat())))
        return Photo(tuple(files))

    return make


@pytest.fixture(scope="session")
def real_sidecars() -> Path:
    """Return the folder of sidecars that other programs wrote, or skip the test."""
    return corpus("sidecars")
