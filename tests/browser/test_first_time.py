"""The first five minutes: set up, tag, look, accept; nothing but what the README says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.browsing import Site, expect
from support.program import photo

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page
    from support.program import CountingBackend, Program


def test_from_setup_to_the_first_photo_that_is_accepted(
    taggerd: Program, backend: CountingBackend, visit: Callable[..., Page]
) -> None:
    """Three commands, a click and a key; what the setup wrote is what the others go by."""
    folder = taggerd.home / "Pictures"
    for number in range(3):
        photo(folder / f"IMG_{number:04}.jpg", number, size=(1200, 800))
    done = taggerd(
        "setup", "--yes", "--folder", folder, "--program", "darktable", "--base-url",
        backend.base_url, "--preview", "2",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(folder.glob("*.xmp")) == []
    assert taggerd("scan").returncode == 0
    assert len(list(folder.glob("*.xmp"))) == 3
    site = Site(taggerd, folder)
    site.start()
    try:
        page = visit(site)
        page.get_by_role("link", name="Start the review").click()
        page.locator(".shown.caption").wait_for()
        page.keyboard.press("a")
        page.locator("#done").wait_for()
        page.goto(f"{site.url}/photos?state=reviewed")
        expect(page.locator("main a[href^='/photos/']")).to_have_count(1)
    finally:
        site.end()
