"""A comparison in a browser: photos down, candidates across; a click votes, the winner is taken."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from support.browsing import check_accessible, expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page
    from support.browsing import Site


def compared(site: Site) -> str:
    """Compare two prompt profiles by three photos; return the address of the page."""
    program = site.program
    program.environment["TAGGERD__BACKEND__PRICE"] = '{"input_per_million": 1.0}'
    done = program(
        *("compare", "--prompt-profile", "default", "--prompt-profile", "concise"),
        *("--sample", "3", "--json", site.folder),
    )
    assert done.returncode == 0, done.stderr
    return f"/compare/{json.loads(done.stdout)['id']}"


def test_a_click_votes_and_the_winner_is_written_into_the_settings(
    site: Site, visit: Callable[..., Page]
) -> None:
    """After somebody has seen which lines change; nothing else is written meanwhile."""
    before = {path: path.read_bytes() for path in site.folder.iterdir()}
    address = compared(site)
    settings = site.program.home / "config" / "taggerd" / "taggerd.toml"
    page = visit(site)
    page.click("nav >> text=Compare")
    expect(page.locator("main a").first).to_be_visible()
    check_accessible(page)
    page.click("main a")
    expect(page).to_have_url(f"{site.url}{address}")
    expect(page.locator("tbody tr")).to_have_count(3)
    check_accessible(page)
    expect(page.locator("tbody tr").first.locator("td")).to_have_count(2)
    expect(page.locator("thead")).to_contain_text("USD")
    for number in (0, 1):
        page.locator(f"#photo-{number} td").nth(1).locator("button").click()
        page.wait_for_selector(f"#photo-{number} td.best")
    page.locator("#photo-2 td").nth(0).locator("button").click()
    page.wait_for_selector("#photo-2 td.best")
    expect(page.locator("thead .votes b")).to_have_text(["1", "2"])
    expect(page.locator(".lead")).to_contain_text("3 of 3 photos voted")
    assert not settings.exists()
    page.locator("tfoot button.first").click()
    expect(page.locator("main")).to_contain_text("prompts.profile")
    assert not settings.exists()
    check_accessible(page)
    page.click("text=Write it into the settings")
    page.wait_for_selector("text=Written into the settings")
    assert 'profile = "concise"' in settings.read_text()
    assert {path: path.read_bytes() for path in site.folder.iterdir()} == before
    page.locator("#photo-2 td.best button").click()  # a second click undoes a vote
    page.wait_for_selector("#photo-2:not(:has(.best))")


def test_without_a_script_it_works_as_well(site: Site, visit: Callable[..., Page]) -> None:
    """Each vote is a form; the page comes back at the photo."""
    address = compared(site)
    page = visit(site, java_script_enabled=False)
    page.goto(f"{site.url}{address}")
    page.locator("#photo-1 td").nth(0).locator("button").click()
    expect(page).to_have_url(f"{site.url}{address}#photo-1")
    expect(page.locator("#photo-1 td.best")).to_have_count(1)
