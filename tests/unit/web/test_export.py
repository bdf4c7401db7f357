"""Photos to take along: what a person sees in the grid, in one file."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import ZipFile

import pytest
from starlette.exceptions import HTTPException

from taggerd.catalogue import Catalogue, Entry, Query, Word
from taggerd.web import export
from taggerd.web.export import download

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    """Return a catalogue of twenty photos in two folders, with a person's word in each."""
    opened = Catalogue.open(tmp_path)
    opened.put(
        Entry(
            path=Path(f"/srv/{number % 2}/IMG_{number}.JPG"),
            day="2025-11-20",
            digest=f"{number:064x}",
            caption=Word(f"Caption {number}", "machine", "model-a"),
            keywords=(Word("tree", "human"),),
            at=1.7e9 + number,
        )
        for number in range(20)
    )
    yield opened
    opened.close()


def small(digest: str) -> bytes:
    """Return a thumbnail."""
    return b"jpeg" if digest else b""


def test_a_page_has_the_photos_of_the_query(catalogue: Catalogue) -> None:
    """Those alone, with the words that people wrote, and without links to this machine's files."""
    made = download(catalogue, Query(folder="/srv/1"), "html", small)
    page = b"".join(made.content).decode()
    assert (made.name, made.media_type) == ("srv-1.html", "text/html")
    assert page.count("<article>") == 10
    assert page.count('class="human">tree') == 10
    assert "file://" not in page


def test_tables(catalogue: Catalogue) -> None:
    """CSV and JSON Lines have the same photos."""
    made = download(catalogue, Query(day="2025-11-20"), "jsonl", small)
    lines = b"".join(made.content).splitlines()
    assert made.name == "2025-11-20.jsonl"
    assert len(lines) == 20
    assert json.loads(lines[0])["keywords"] == [{"text": "tree", "by": "human", "model": ""}]
    table = b"".join(download(catalogue, Query(), "csv", small).content)
    assert table.count(b"\r\n") == 21


def test_what_does_not_fit_one_page_is_a_zip(catalogue: Catalogue) -> None:
    """With a page that leads to its parts, and the tables."""
    made = download(catalogue, Query(), "html", lambda _: bytes(8_000_000))
    assert made.name == "All-photos.zip"
    with ZipFile(io.BytesIO(b"".join(made.content))) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        contents = archive.read("All-photos.html").decode()
    parts = [name for name in names if name.count(".") == 2]
    assert len(parts) == 10
    assert all(f'href="{name}"' in contents for name in parts)
    assert {"All-photos.csv", "All-photos.jsonl"} < set(names)


def test_none_and_too_many(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said, with what to do, before anything is made."""
    with pytest.raises(HTTPException, match="No photo matches"):
        download(catalogue, Query(keyword="boat"), "html", small)
    monkeypatch.setattr(export, "MOST", 19)
    with pytest.raises(HTTPException, match="choose a day or a folder"):
        download(catalogue, Query(), "html", small)


def test_a_name_is_one_that_every_disk_takes(catalogue: Catalogue) -> None:
    """Whatever is searched for: it stands in a header, and becomes a file."""
    path = Path('/srv/"; x=\r\n/../ü/IMG.JPG')
    catalogue.put([Entry(path=path, caption=Word("ü"))])
    folders = [group.value for group in catalogue.groups("folder")]
    folder = next(each for each in folders if "x=" in each)
    made = download(catalogue, Query(folder=folder), "html", small)
    assert made.name == "srv-x-r-n.html"
