"""A browser, and reviews to open in it. ``scripts/test-browser`` runs these tests."""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from support.browsing import ELSEWHERE, Site, close
from support.program import Program, photo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Return Debian's Chromium."""
    driver = pytest.importorskip("playwright.sync_api", reason="scripts/test-browser installs it")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("Chromium is not there: apt-get install chromium")
    # It refuses to run as root with its sandbox; it opens nothing but what the tests serve.
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    options += [f"--host-resolver-rules=MAP {ELSEWHERE} 127.0.0.1"]
    with driver.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=options)
        yield opened
        opened.close()


def _site(home: Path, photos: int = 5) -> Site:
    (home / "home").mkdir()
    for number in range(photos):
        photo(home / "photos" / f"IMG_{number:04}.jpg", number, size=(1200, 800))
    site = Site(Program(home / "home"), home / "photos")
    site.tag()
    site.start()
    return site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Return a review of five tagged photos, of this test alone: it may change them."""
    opened = _site(tmp_path)
    yield opened
    opened.end()


@pytest.fixture(scope="session")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Return a review of twelve tagged photos that all tests look at, and none changes."""
    opened = _site(tmp_path_factory.mktemp("gallery"), 12)
    yield opened
    opened.end()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Return what logs a new browser in at a site: ``visit(site, color_scheme="dark")``.

    A test fails if a script of a page fails, or tries what the policy forbids.
    """
    with ExitStack() as stack:

        def visit(at: Site, **options: Any) -> Page:  # noqa: ANN401 - Playwright's
            page = at.visit(browser, **options)
            stack.callback(close, page.context)
            return page

        yield visit


@pytest.fixture
def page(site: Site, visit: Callable[..., Page]) -> Page:
    """Return the first page of the site, in a browser that is logged in."""
    return visit(site)
