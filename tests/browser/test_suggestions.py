"""Suggestions in a browser: a keyword is dropped from three photos, offered, and taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.browsing import check_accessible

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page
    from support.browsing import Site

WORD = "landscape format"


def test_one_click_takes_a_keyword_that_was_dropped_three_times(
    site: Site, visit: Callable[..., Page]
) -> None:
    """Shown with the photos; the settings say it then, and not before."""
    settings = site.program.home / "config" / "taggerd" / "taggerd.toml"
    page = visit(site)
    page.click("nav >> text=Suggestions")
    assert "nothing to suggest yet" in page.inner_text("main")
    check_accessible(page)
    page.click("nav >> text=Photos")
    found = page.locator("main a[href*='/photos/']").evaluate_all(
        "links => [...new Set(links.map((link) => link.pathname))]"
    )
    for address in found[:3]:
        page.goto(f"{page.url.split('/photos')[0]}{address}")
        page.click(f"button[aria-label='Drop {WORD}']")
        page.wait_for_selector(f"text=Dropped “{WORD}”")
    page.click("nav >> text=Suggestions")
    assert f"Never write the keyword “{WORD}”" in page.inner_text("main")
    assert page.locator(".evidence img").count() == 3
    check_accessible(page)
    assert not settings.exists()
    page.click("button:has-text('Take it')")
    page.wait_for_selector("text=added to keywords.stop")
    assert f'stop = ["{WORD}"]' in settings.read_text()
    assert "nothing to suggest yet" in page.inner_text("main")
