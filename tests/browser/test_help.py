"""The documentation in a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.browsing import check_accessible, expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page
    from support.browsing import Site


def test_help_is_found_read_and_left(gallery: Site, visit: Callable[..., Page]) -> None:
    """From the navigation to a chapter, and by its links to another; each is accessible."""
    page = visit(gallery)
    page.click("nav >> text=Help")
    expect(page.get_by_role("link", name="Immich").first).to_be_visible()
    check_accessible(page)
    page.click("text=Immich")
    expect(page.locator("h1")).to_have_text("Immich")
    check_accessible(page)
    page.click("article >> text=hook for Immich")
    expect(page).to_have_url(f"{gallery.url}/help/hooks#recipes")
