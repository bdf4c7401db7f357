"""The documentation in the browser."""

from __future__ import annotations

import re

import httpx
import pytest
from starlette.applications import Starlette

from taggerd import docs
from taggerd.web import chapters

pytestmark = pytest.mark.asyncio


async def served(path: str) -> httpx.Response:
    """Return what the help serves at *path*."""
    transport = httpx.ASGITransport(Starlette(routes=[*chapters.routes]))
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        return await client.get(path)


async def test_the_contents_list_every_chapter() -> None:
    """Each by its title, with a link to it."""
    page = (await served("/help")).text
    for name in docs.chapters():
        assert f'href="/help/{name}"' in page
    assert ">Lightroom Classic</a>" in page
    titles = re.findall(r'<li><a href="/help/[^>]*>([^<]+)</a>', page)
    assert titles == sorted(titles, key=str.casefold)


async def test_links_between_chapters_lead_to_pages_of_this_site() -> None:
    """As does a link to a heading in one; other addresses stay as they are."""
    for name in docs.chapters():
        page = await served(f"/help/{name}")
        assert page.status_code == 200
        links = re.findall(r'<a href="([^"]+)"', page.text)
        assert not [link for link in links if ".md" in link and "://" not in link]
        for link in (link for link in links if link.startswith("/help/") and "#" in link):
            path, _, heading = link.partition("#")
            assert f'id="{heading}"' in (await served(path)).text, link


async def test_a_chapter_that_is_not_there_is_said_to_be_missing() -> None:
    """An old bookmark gets a 404, not a blank page."""
    assert (await served("/help/no-such-chapter")).status_code == 404
