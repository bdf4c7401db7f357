"""The app as a whole: its files, and what it answers when something goes wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, cast

import httpx
import pytest
from starlette.routing import Route

from taggerd.pages import static_file
from taggerd.settings import Settings
from taggerd.settings.configuration import Configuration
from taggerd.web import app
from taggerd.web.app import make_app
from taggerd.web.door import HEADERS
from taggerd.web.server import make_keys
from taggerd.web.site import Site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from starlette.requests import Request

    from taggerd.review import Review


@pytest.fixture
async def client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[httpx.AsyncClient]:
    """Return somebody who is logged in; one page of the app fails."""

    async def fails(_request: Request) -> NoReturn:
        message = "no such table: photos"
        raise RuntimeError(message)

    monkeypatch.setattr(app, "AREAS", (*app.AREAS, (Route("/fails", fails),)))
    configuration = Configuration(Settings(state_directory=tmp_path), {}, None)
    keys = make_keys(configuration, 8437)
    site = Site(configuration=configuration, review=cast("Review", None))
    transport = httpx.ASGITransport(make_app(site, keys), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8437") as client:
        client.cookies.set(keys.cookie, keys.sessions.begin("Ann"))
        yield client


async def test_a_page_that_fails_says_so_and_tells_nothing(
    client: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    """The log has the reason, once; the browser has a page, or JSON where a script asked."""
    answer = await client.get("/fails")
    assert answer.status_code == 500
    assert "could not be made" in answer.text
    assert "no such table" not in answer.text
    assert HEADERS["Content-Security-Policy"] == answer.headers["Content-Security-Policy"]
    said = "".join(capsys.readouterr())
    assert said.count("a page could not be made") == 1
    assert "no such table" in said
    asked = await client.get("/fails", headers={"Accept": "application/json"})
    assert (asked.status_code, list(asked.json())) == (500, ["error"])


async def test_what_is_not_there_is_a_page_as_well(client: httpx.AsyncClient) -> None:
    """With the way back."""
    answer = await client.get("/no-such-page")
    assert answer.status_code == 404
    assert 'href="/"' in answer.text
    asked = await client.get("/static/no-such.css")
    assert asked.status_code == 404


async def test_files_are_kept_until_they_change(client: httpx.AsyncClient) -> None:
    """By their version; an address without one is asked again each time."""
    file = static_file("app.css")
    assert file
    kept = await client.get(f"/static/app.css?v={file.version}")
    assert kept.content == file.content
    assert "immutable" in kept.headers["Cache-Control"]
    for version in ("", "?v=older"):
        answer = await client.get(f"/static/app.css{version}")
        assert answer.headers["Cache-Control"] == "no-cache"


def test_this_machines_names_are_ours_and_no_others(tmp_path: Path) -> None:
    """A browser may ask by the host's name and by those that the settings name."""
    settings = Settings.model_validate(
        {"state_directory": tmp_path, "web": {"hosts": ["photos.example.net"]}}
    )
    keys = make_keys(Configuration(settings, {}, None), 8437)
    assert "photos.example.net" in keys.names
    assert "example.net" not in keys.names
    assert "" not in keys.names
    assert keys.cookie == "taggerd-8437"
    assert keys.sessions.find("", password="") is None
