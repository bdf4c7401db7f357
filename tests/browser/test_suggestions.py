"""Suggestions in a browser: a keyword is dropped from three photos, offered, and taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.browsing import check_accessible, expect

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
    expect(page.locator("main")).to_contain_text("nothing to suggest yet")
    check_accessible(page)
    page.click("nav >> text=Photos")
    expect(page.locator(".tile")).to_have_count(5)
    found = page.locator("main a[href*='/photos/']").evaluate_all(
        "links => [...new Set(links.map((link) => link.pathname))]"
    )
    for address in found[:3]:
        page.goto(f"{page.url.split('/photos')[0]}{address}")
        page.click(f"button[aria-label='Drop {WORD}']")
        page.wait_for_selector(f"text=Dropped “{WORD}”")
    page.click("nav >> text=Suggestions")
    expect(page.locator("main")).to_contain_text(f"Never write the keyword “{WORD}”")
    expect(page.locator(".evidence img")).to_have_count(3)
    check_accessible(page)
    assert not settings.exists()
    page.click("button:has-text('Take it')")
    page.wait_for_selector("text=added to keywords.stop")
    assert f'stop = ["{WORD}"]' in settings.read_text()
    expect(page.locator("main")).to_contain_text("nothing to suggest yet")
