"""The exported page as a browser opens it from a disk: no server, no network, nobody's script."""

from __future__ import annotations

import io
import shutil
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image
from support.browsing import check_accessible, close, expect, new_page

from taggerd.pages import DayRow, Export, Shown, Word, export, index_of_days

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page
    from support.browsing import Site

HOSTILE = (
    "</script><script>document.title = 'mine'</script>"
    "<img src=http://127.0.0.1:9/x onerror=\"document.title = 'mine'\">"
)
WORDS = ("tree", "river", "café", "dog", "night", "snow", "beach", "tower", "bird", "horse")


@cache
def picture(digest: str) -> bytes:
    """Return a small JPEG."""
    made = io.BytesIO()
    colour = (int(digest[-2:], 16), 120, 90)
    Image.new("RGB", (96, 64), colour).save(made, "JPEG")
    return made.getvalue()


def photo(number: int, **changes: Any) -> Shown:  # noqa: ANN401 - any field
    """Return photo *number*: each word is on every tenth photo."""
    values: dict[str, Any] = {
        "path": Path(f"/srv/photos/{number % 3}/IMG_{number}.JPG"),
        "day": "2025-11-20",
        "at": datetime(2025, 11, 20, 9, tzinfo=UTC) + timedelta(seconds=12 * number),
        "state": "tagged",
        "digest": f"{number % 256:02x}",
        "caption": Word(f"Photo {number} of a {WORDS[number % 10]}", model="model"),
        "description": Word("Written by hand.", "human" if number % 2 else "machine"),
        "keywords": (Word(WORDS[number % 10]), Word("photo"), Word("mine", "human")),
    }
    return Shown(**values | changes)


def exported(folder: Path, *photos: Shown) -> Path:
    """Write the page of *photos* to *folder* and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    what = Export(
        title="2025-11-20", photos=photos, stem="day", folder=folder, index="../index.html"
    )
    for name, content in export(what, picture):
        (folder / name).write_bytes(b"".join(content))
    return folder / "day.html"


@pytest.fixture
def opened(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Return what opens a file; a script that fails or is refused fails the test."""
    pages: list[Page] = []

    def open_file(path: Path, **options: Any) -> Page:  # noqa: ANN401 - Playwright's
        page = new_page(browser, **options)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri())
        setattr(page, "asked", asked)  # noqa: B010 - no attribute of Playwright's type
        pages.append(page)
        return page

    yield open_file
    for page in pages:
        close(page.context)
        others = [url for url in getattr(page, "asked")[1:] if not url.startswith("data:")]  # noqa: B009
        assert others == [], "a page of its own asks nobody"


def shown(page: Page, photos: int) -> None:
    """Fail unless so many photos can be seen."""
    expect(page.locator("article:visible")).to_have_count(photos)


def test_a_thousand_photos_are_searched(tmp_path: Path, opened: Callable[..., Page]) -> None:
    """Words, parts of names and accents that nobody types; and it says how many there are."""
    page = opened(exported(tmp_path, *(photo(n) for n in range(1000))))
    shown(page, 1000)
    page.keyboard.press("/")
    page.keyboard.type("cafe")
    shown(page, 100)
    expect(page.locator("#found")).to_have_text("100 of 1,000")
    page.fill("#find", "photo 12 IMG_12")
    shown(page, 11)  # 12, and 120 to 129
    page.fill("#find", "no such word")
    expect(page.locator("#none")).to_be_visible()
    page.click("#clear")
    shown(page, 1000)
    expect(page.locator("#none")).to_be_hidden()


def test_keywords_filter(tmp_path: Path, opened: Callable[..., Page]) -> None:
    """By keyboard above, by a click below a photo; together with the search, all must fit."""
    page = opened(exported(tmp_path, *(photo(n) for n in range(100))))
    chip = page.locator(".chips.day button", has_text="dog")
    chip.focus()
    page.keyboard.press("Enter")
    expect(chip).to_have_attribute("aria-pressed", "true")
    shown(page, 10)
    page.fill("#find", "IMG_3")
    shown(page, 2)  # 3 and 33
    expect(page.locator("#found")).to_have_text("2 of 100 with dog")
    page.click("#clear")
    page.locator("article:visible .chips li", has_text="snow").first.click()
    shown(page, 10)
    page.locator(".chips.day button", has_text="snow").click()
    shown(page, 100)


def test_a_hostile_library_runs_nothing(tmp_path: Path, opened: Callable[..., Page]) -> None:
    """Markup in captions, keywords, names and errors is text, and loads nothing."""
    bad = photo(
        1,
        path=Path("/srv/<img src=x onerror=alert(1)>.jpg"),
        caption=Word(HOSTILE),
        description=Word("\u202e" + "x" * 250),
        keywords=(Word(HOSTILE, "human"), Word("javascript:alert(1)")),
    )
    failed = photo(2, state="failed", error=HOSTILE, notes=(HOSTILE,))
    page = opened(exported(tmp_path, bad, failed))
    page.locator(".chips.day button").first.click()
    page.fill("#find", "script")
    assert page.title() == "Thursday, 20 November 2025 · 2 photos"
    assert page.locator("script").count() == 1
    expect(page.locator("article h3").first).to_have_text(HOSTILE)
    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")


def test_links_are_there_where_the_page_was_made(
    tmp_path: Path, opened: Callable[..., Page]
) -> None:
    """In a copy, as in a mail, there are none that lead nowhere."""
    made = exported(tmp_path / "made here & there", photo(1))
    links = opened(made).locator("a[href]")
    assert [link.get_attribute("href") for link in links.all()] == [
        "../index.html",
        "file:///srv/photos/1/IMG_1.JPG",
    ]
    copied = tmp_path / "copied.html"
    shutil.copyfile(made, copied)
    assert opened(copied).locator("a[href]").count() == 0


def test_without_script_all_can_be_read(tmp_path: Path, opened: Callable[..., Page]) -> None:
    """No search is shown that does nothing."""
    page = opened(exported(tmp_path, photo(1), photo(2)), java_script_enabled=False)
    expect(page.locator("article h3")).to_have_text(["Photo 1 of a river", "Photo 2 of a café"])
    expect(page.locator("#find")).to_be_hidden()
    expect(page.locator(".chips.day")).to_be_visible()


def test_the_review_exports_what_it_shows(
    tmp_path: Path, gallery: Site, visit: Callable[..., Page], opened: Callable[..., Page]
) -> None:
    """A link above the grid saves its photos, with their pictures, as one file."""
    page = visit(gallery)
    page.goto(f"{gallery.url}/photos?q=IMG_0003")
    with page.expect_download() as saving:
        page.get_by_role("link", name="page", exact=True).click()
    saved = tmp_path / saving.value.suggested_filename
    saving.value.save_as(saved)
    alone = opened(saved)
    shown(alone, 1)
    expect(alone.locator("article .name")).to_have_text("IMG_0003.jpg")
    alone.wait_for_function("document.querySelector('article img').naturalWidth > 0")
    assert alone.locator("a[href]").count() == 0
    with page.expect_download() as saving:
        page.get_by_role("link", name="CSV").click()
    assert saving.value.path().read_text("utf-8-sig").count("IMG_0003.jpg") == 1


@pytest.mark.parametrize(
    "options",
    [
        {"color_scheme": "light"},
        {"color_scheme": "dark"},
        {"viewport": {"width": 375, "height": 740}},
    ],
    ids=["light", "dark", "phone"],
)
def test_everybody_can_use_it(
    tmp_path: Path, opened: Callable[..., Page], options: dict[str, Any]
) -> None:
    """axe-core finds nothing, on the page or on the index, whatever is chosen."""
    photos = (photo(n) for n in range(20))
    page = opened(exported(tmp_path, *photos, photo(40, state="failed", error="broken")), **options)
    page.locator("summary").click()
    page.locator(".chips.day button").first.click()
    check_accessible(page)
    index = tmp_path / "index.html"
    rows = [DayRow(f"2025-11-{n}", n, n % 2, "day.html", [("CSV", "day.csv")]) for n in (18, 20)]
    index.write_bytes(index_of_days(rows))
    check_accessible(opened(index, **options))
