"""The review from end to end: what is done in the browser, and what other programs read then."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from support.browsing import ELSEWHERE, expect
from support.program import CountingBackend, otherwise

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Page
    from support.browsing import Site

MINE = "A heron by the weir, before rain"


@pytest.fixture
def site(site: Site, backend: CountingBackend) -> Site:
    """Return a site whose photos are tagged again, by a model of other words, on request."""
    otherwise(backend)
    site.program.base_url = backend.base_url
    return site


def read(photo: Path) -> dict[str, Any]:
    """Return what exiftool reads of the sidecar of a photo."""
    if shutil.which("exiftool") is None:
        pytest.skip("exiftool is not there: apt-get install libimage-exiftool-perl")
    sidecar = photo.with_name(f"{photo.name}.xmp")
    said = subprocess.run(
        ["exiftool", "-json", "-XMP:all", sidecar], capture_output=True, text=True, check=True
    )
    (words,) = json.loads(said.stdout)
    assert isinstance(words, dict)
    return words


def opened(page: Page, site: Site, name: str) -> None:
    """Open the page of a photo, from the grid."""
    page.goto(f"{site.url}/photos?q={name}")
    page.locator("main a[href^='/photos/']").first.click()
    page.get_by_text(f"{name}.jpg").first.wait_for()


def caption(page: Page) -> str:
    """Return the caption that the page shows."""
    return str(page.locator(".shown.caption").inner_text())


def write_caption(page: Page, text: str) -> None:
    """Edit the caption with the mouse, and save it."""
    page.locator("details[data-field=caption] summary").click()
    page.locator("textarea.caption").fill(text)
    page.locator("details[data-field=caption] button.first").click()


def test_an_edit_is_in_the_sidecar_at_once_stays_and_can_be_undone(page: Page, site: Site) -> None:
    """From the browser to the sidecar, through another model's answers, and back again."""
    photo = site.folder / "IMG_0002.jpg"
    bytes_before, before = photo.read_bytes(), read(photo)
    opened(page, site, "IMG_0002")
    write_caption(page, MINE)
    expect(page.locator(".shown.caption")).to_have_text(MINE)
    edited = read(photo)
    assert edited["Title"] == edited["Headline"] == edited["AltTextAccessibility"] == MINE
    assert edited["Description"] == before["Description"]
    site.tag("--retag")
    again = read(photo)
    assert again["Title"] == again["Headline"] == MINE
    assert again["Description"] != before["Description"]
    page.reload()
    expect(page.locator(".shown.caption")).to_have_text(MINE)
    page.keyboard.press("u")
    expect(page.locator(".shown.caption")).not_to_have_text(MINE)
    assert read(photo)["Title"] != MINE
    site.tag("--retag")
    assert read(photo)["Title"].startswith("One ")
    assert photo.read_bytes() == bytes_before


def test_two_who_edit_one_photo_lose_nothing(
    site: Site, page: Page, visit: Callable[..., Page]
) -> None:
    """The second is shown both texts, and decides; what they do elsewhere on the photo stays."""
    photo = site.folder / "IMG_0001.jpg"
    other = visit(site)
    opened(page, site, "IMG_0001")
    opened(other, site, "IMG_0001")
    write_caption(page, MINE)
    expect(page.locator(".shown.caption")).to_have_text(MINE)
    write_caption(other, "Two herons")
    expect(other.locator("#problem")).to_contain_text(MINE)
    expect(other.locator("#problem")).to_contain_text("Two herons")
    assert read(photo)["Title"] == MINE
    page.locator("#add").fill("weir")
    page.keyboard.press("Enter")
    expect(page.locator("#chips")).to_contain_text("weir")
    other.get_by_role("button", name="Save mine").click()
    expect(other.locator(".shown.caption")).to_have_text("Two herons")
    words = read(photo)
    assert words["Title"] == "Two herons"
    assert "weir" in words["Subject"]


def test_keywords_of_two_who_work_at_once_are_all_there(
    site: Site, page: Page, visit: Callable[..., Page]
) -> None:
    """Neither of them loads the page again between the two."""
    photo = site.folder / "IMG_0003.jpg"
    other = visit(site)
    for each, word in ((page, "weir"), (other, "heron")):
        opened(each, site, "IMG_0003")
        each.locator("#add").fill(word)
    first = read(photo)["Subject"][0]
    for each in (page, other):
        each.keyboard.press("Enter")
    for each, word in ((page, "weir"), (other, "heron")):
        expect(each.locator("#chips")).to_contain_text(word)
    page.locator(f"#chips button[value='{first}']").click()
    expect(page.locator("#chips")).not_to_contain_text(first)
    assert {"weir", "heron"} <= {*read(photo)["Subject"]}
    assert first not in read(photo)["Subject"]


def test_another_sites_form_edits_no_photo(site: Site, page: Page) -> None:
    """Though somebody is logged in, and the form has all that ours has but the token."""
    opened(page, site, "IMG_0000")
    before = {file.name: file.read_bytes() for file in site.folder.iterdir()}
    edit = f"{page.url.partition('?')[0]}/edit"
    attack = f"""<form method=post action="{edit}"><input name=caption value=hacked>
        <input name=seen_caption value="{caption(page)}"><input name=drop value=blue></form>
        <script>document.forms[0].submit()</script>"""
    other = page.context.new_page()
    other.route(
        f"http://{ELSEWHERE}/", lambda route: route.fulfill(body=attack, content_type="text/html")
    )
    other.goto(f"http://{ELSEWHERE}/")
    expect(other.locator("body")).to_contain_text("another site")
    other.close()
    page.reload()
    assert "hacked" not in page.content()
    assert {file.name: file.read_bytes() for file in site.folder.iterdir()} == before


def test_photos_can_be_read_without_scripts(site: Site, visit: Callable[..., Page]) -> None:
    """From the overview to a photo with its words, and a keyword can be dropped by its form."""
    page = visit(site, java_script_enabled=False)
    page.get_by_role("link", name="Photos", exact=True).first.click()
    page.locator("main a[href^='/photos/']").first.click()
    name = page.locator("dd.mono").first.inner_text()
    word = read(site.folder / name)["Subject"][0]
    expect(page.locator("#chips")).to_contain_text(word)
    page.locator(f"#chips button[value='{word}']").click()
    expect(page.locator("#chips")).not_to_contain_text(word)
    assert word not in read(site.folder / name)["Subject"]
