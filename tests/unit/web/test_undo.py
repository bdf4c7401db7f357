"""Whose action the undo of a page undoes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import httpx
import pytest
from PIL import Image

from taggerd.catalogue import Entry
from taggerd.metadata import Edit
from taggerd.review import Review, open_library
from taggerd.services.pools import Disks, Pools
from taggerd.settings import Settings
from taggerd.settings.configuration import Configuration
from taggerd.testing import InMemoryLedger, ThreadWorkers
from taggerd.web.app import make_app
from taggerd.web.server import make_keys
from taggerd.web.site import Site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """The review of a folder with two photos, with threads for processes."""
    state = tmp_path / "state"
    state.mkdir()
    given = {"arrivals": {"roots": [str(tmp_path)]}, "state_directory": str(state)}
    settings = Settings.model_validate(given)
    workers, disks = ThreadWorkers(settings.workers), Disks()
    async with open_library(settings, Pools(workers, workers, workers, disks)) as library:
        for name in ("a.jpg", "b.jpg"):
            Image.new("RGB", (16, 16)).save(tmp_path / name)
            library.catalogue.put([Entry(path=tmp_path / name)])
        pools = Pools(workers, workers, workers, disks)
        review = Review(settings, InMemoryLedger(), pools, library)
        yield Site(configuration=Configuration(settings, {}, None), review=review)
    disks.close()
    await workers.close()


@pytest.fixture
async def ana(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who is logged in, and sends the token with what she posts."""
    keys = make_keys(site.configuration, 8437)
    transport = httpx.ASGITransport(make_app(site, keys))
    base = "http://127.0.0.1:8437"
    async with httpx.AsyncClient(transport=transport, base_url=base) as client:
        name = keys.sessions.begin("ana")
        client.cookies.set(keys.cookie, name)
        session = keys.sessions.find(name, password="")
        assert session
        client.headers["X-CSRF-Token"] = session.csrf
        yield client


def hidden(page: str, name: str) -> str:
    """Return the value of a hidden field of *page*."""
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found
    return found[1]


async def test_the_undo_of_many_undoes_what_was_done_to_them(
    ana: httpx.AsyncClient, site: Site
) -> None:
    """Ben has written a caption since: it stays."""
    added = await ana.post("/photos/add", data={"all": "1", "word": "sea"}, follow_redirects=True)
    assert "to 2 photos" in added.text
    path = site.configuration.settings.arrivals.roots[0].path / "a.jpg"
    await site.review.edit(path, Edit(caption="Sopot"), "ben")
    sent = {"done": hidden(added.text, "done")}
    undone = await ana.post("/photos/undo", data=sent, follow_redirects=True)
    assert "Undone." in undone.text
    entry = await site.review.words(path)
    assert (entry.caption.text, entry.keywords) == ("Sopot", ())


async def test_the_undo_of_a_page_undoes_what_the_page_shows(
    ana: httpx.AsyncClient, site: Site
) -> None:
    """Ana's page is from before Ben's edit: her undo is of her own."""
    path = site.configuration.settings.arrivals.roots[0].path / "a.jpg"
    await site.review.edit(path, Edit(add=("sea",)), "ana")
    address = f"/photos/{Entry(path=path).key}"
    sent = {"which": hidden((await ana.get(address)).text, "which")}
    await site.review.edit(path, Edit(caption="Sopot"), "ben")
    await ana.post(f"{address}/undo", data=sent)
    entry = await site.review.words(path)
    assert (entry.caption.text, entry.keywords) == ("Sopot", ())


async def test_to_ask_again_offers_no_undo(ana: httpx.AsyncClient, site: Site) -> None:
    """It would undo what was done before."""
    path = site.configuration.settings.arrivals.roots[0].path / "a.jpg"
    await site.review.edit(path, Edit(add=("sea",)), "ana")
    address = f"/photos/{Entry(path=path).key}"
    asked = await ana.post(f"{address}/retag", follow_redirects=True)
    assert "asked about again" in asked.text
    assert 'name="done"' not in asked.text
