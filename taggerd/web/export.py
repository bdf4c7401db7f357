"""Photos to take along: those of a grid as a page that needs nothing else, as CSV or JSON Lines."""

from __future__ import annotations

import asyncio
import io
import re
from typing import TYPE_CHECKING, NamedTuple
from zipfile import ZipFile

from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from taggerd.pages import Export, export, of_entry
from taggerd.services import make_journal
from taggerd.web.addresses import query_of, title_of
from taggerd.web.site import site_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from starlette.requests import Request

    from taggerd.catalogue import Catalogue, Query

MOST = 20_000
"""Photos of one export: their words fit the memory, and one page in ten opens at all."""
KINDS = {"html": "text/html", "csv": "text/csv", "jsonl": "application/jsonl"}
_BLOCK = 256 * 1024
"""Bytes sent at once."""


class Download(NamedTuple):
    """A file that a browser saves."""

    name: str
    media_type: str
    content: Iterable[bytes]


async def _export(request: Request) -> Response:
    """Send the photos that the query means, in the kind that ``as`` names."""
    query, kind = query_of(request.query_params), request.query_params.get("as", "html")
    if kind not in KINDS:
        raise HTTPException(404, "There are html, csv and jsonl.")
    site = site_of(request)
    journal = make_journal(site.configuration.settings)
    catalogue = site.review.library.catalogue
    made = await asyncio.to_thread(download, catalogue, query, kind, journal.thumbnail_of)
    headers = {"Content-Disposition": f'attachment; filename="{made.name}"'}
    return StreamingResponse(_in_blocks(made.content), media_type=made.media_type, headers=headers)


def download(
    catalogue: Catalogue, query: Query, kind: str, picture: Callable[[str], bytes]
) -> Download:
    """Return the photos that *query* means as a file: pages that do not fit one are a ZIP.

    Args:
        catalogue: of the photos.
        query: which.
        kind: one of :data:`KINDS`.
        picture: returns the thumbnail that a digest names; empty if there is none.

    Raises:
        HTTPException: there are none, or more than :data:`MOST`.
    """
    count = catalogue.count(query)
    if not count:
        raise HTTPException(404, "No photo matches.")
    if count > MOST:
        message = f"{count:,} photos are too many for one export: choose a day or a folder."
        raise HTTPException(413, message)
    title = title_of(query)
    stem = "-".join(re.findall(r"[A-Za-z0-9]+", query.day or title))[:60] or "photos"
    photos = [of_entry(entry) for entry in catalogue.every(query)]
    files = export(Export(title=title, photos=photos, stem=stem), picture)
    if kind != "html":
        name = f"{stem}.{kind}"
        return Download(name, KINDS[kind], next(made for each, made in files if each == name))
    name, content = next(files)
    if name == f"{stem}.html":
        return Download(name, KINDS[kind], content)
    return Download(f"{stem}.zip", "application/zip", _zipped([(name, content)], files))


def _zipped(*files: Iterable[tuple[str, Iterable[bytes]]]) -> Iterator[bytes]:
    """Yield a ZIP of *files*; their pictures are JPEGs, so it is not compressed."""
    buffer = _Buffer()
    with ZipFile(buffer, "w") as archive:
        for some in files:
            for name, content in some:
                with archive.open(name, "w") as member:
                    for chunk in content:
                        member.write(chunk)
                        yield buffer.taken()
    yield buffer.taken()


class _Buffer(io.RawIOBase):
    """Holds what was written since somebody took it; ZIP does without going back."""

    def __init__(self) -> None:
        self._held: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: bytes, /) -> int:  # type: ignore[override]
        self._held.append(bytes(data))
        return len(data)

    def taken(self) -> bytes:
        held, self._held = b"".join(self._held), []
        return held


def _in_blocks(content: Iterable[bytes]) -> Iterator[bytes]:
    """Yield *content* in blocks: a template yields each word alone."""
    held: list[bytes] = []
    size = 0
    for chunk in content:
        held.append(chunk)
        size += len(chunk)
        if size >= _BLOCK:
            yield b"".join(held)
            held, size = [], 0
    yield b"".join(held)


routes = (Route("/export", _export),)
