"""Suggestions in the browser: shown with their evidence, taken by one click, or dismissed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import httpx
import pytest
from starlette.applications import Starlette

from taggerd.catalogue import key_of
from taggerd.ledger import Correction
from taggerd.review.suggestions import suggestions
from taggerd.services import open_ledger
from taggerd.settings import configuration
from taggerd.web.suggestions import routes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from taggerd.settings.configuration import Configuration


@pytest.fixture
async def loaded(tmp_path: Path) -> Configuration:
    """Settings, and a ledger in which three people dropped a keyword with markup in it."""
    file = tmp_path / "taggerd.toml"
    file.write_text(f'state_directory = "{tmp_path / "state"}"\n')
    found = configuration.load({}, cwd=tmp_path, config=file)
    async with open_ledger(found.settings) as ledger:
        await ledger.correct(
            [
                Correction(
                    photo=tmp_path / f"{n}.jpg",
                    kind="dropped",
                    field="keywords",
                    before="<b>sky",
                    model="eye",
                    action=str(n),
                )
                for n in range(3)
            ]
        )
    return found


@pytest.fixture
async def client(loaded: Configuration) -> AsyncIterator[httpx.AsyncClient]:
    """A browser that is logged in: the door has tests of its own."""
    app = Starlette(routes=[*routes])
    app.state.site = SimpleNamespace(configuration=loaded)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as browser:
        yield browser


async def test_a_suggestion_is_shown_with_its_photos(
    client: httpx.AsyncClient, loaded: Configuration, tmp_path: Path
) -> None:
    """What a model said stays text; nothing is changed by looking."""
    before = loaded.file.read_text() if loaded.file else ""
    shown = await client.get("/suggestions")
    assert shown.status_code == 200
    assert "Never write the keyword “&lt;b&gt;sky”" in shown.text
    assert "You dropped it from 3 photos." in shown.text
    for number in range(3):
        assert f"/photos/{key_of(tmp_path / f'{number}.jpg')}" in shown.text
    assert loaded.file
    assert loaded.file.read_text() == before


async def test_one_click_takes_it(client: httpx.AsyncClient, loaded: Configuration) -> None:
    """The settings say it; it is not offered again, and taking it twice changes nothing."""
    (offered,) = suggestions(loaded)
    taken = await client.post(f"/suggestions/{offered.key}/take")
    assert (taken.status_code, taken.headers["location"]) == (303, "/suggestions")
    assert loaded.file
    file = loaded.file
    assert 'stop = ["<b>sky"]' in file.read_text()
    assert "nothing to suggest" in (await client.get("/suggestions")).text
    again = await client.post(
        f"/suggestions/{offered.key}/take", headers={"Accept": "application/json"}
    )
    assert again.json()["message"] == "It was taken or dismissed already."
    assert file.read_text().count("sky") == 1


async def test_what_is_dismissed_is_gone(client: httpx.AsyncClient, loaded: Configuration) -> None:
    """And the settings are as they were."""
    (offered,) = suggestions(loaded)
    await client.post(f"/suggestions/{offered.key}/dismiss")
    assert suggestions(loaded) == []
    assert loaded.file
    assert "sky" not in loaded.file.read_text()
    assert (await client.post(f"/suggestions/{offered.key}/explode")).status_code == 404
