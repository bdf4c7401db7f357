"""The pages of photos as a photographer uses them: by eye, by keyboard, by touch."""

from __future__ import annotations

import re
import shutil
from html import escape
from typing import TYPE_CHECKING

import pytest
from support.browsing import SECONDS, Site, check_accessible, expect
from support.program import Program, photo, until

from taggerd.catalogue import Catalogue, Entry, Word

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Page

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
DARK = {"color_scheme": "dark"}
SCRIPT = "<script>document.title='run'</script>"
TILE = ".tile h2 a"


def _open_first(page: Page, site: Site, query: str = "") -> None:
    page.goto(f"{site.url}/photos{query}")
    page.locator(TILE).first.click()
    expect(page.locator("main.photo")).to_be_visible()


def _said(page: Page, text: str) -> None:
    expect(page.locator("#done")).to_contain_text(text)


@pytest.mark.parametrize("options", [{}, DARK, PHONE], ids=["light", "dark", "phone"])
def test_everybody_can_use_each_page(
    gallery: Site, visit: Callable[..., Page], options: dict[str, object]
) -> None:
    """axe-core finds nothing: contrast, names, order of headings, as they are and while used."""
    page = visit(gallery, **options)
    check_accessible(page)
    page.goto(f"{gallery.url}/photos")
    check_accessible(page)
    page.locator(".pick input").first.check()
    expect(page.locator("#bulk")).to_be_visible()
    check_accessible(page)
    page.locator("#bulk [name=all]").check()
    page.get_by_role("button", name="Ask again").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Ask again about 12 photos?")
    check_accessible(page)
    page.goto(f"{gallery.url}/photos?keyword=nothing+has+this")
    check_accessible(page)
    _open_first(page, gallery)
    check_accessible(page)
    page.keyboard.press("d")
    expect(page.get_by_role("textbox", name="Description")).to_be_focused()
    check_accessible(page)
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    check_accessible(page)
    page.goto(f"{gallery.url}/photos/{'0' * 24}")
    check_accessible(page)


def test_a_photo_is_reviewed_by_keyboard_alone(page: Page, site: Site) -> None:
    """Find, open, edit, drop, add, accept, undo, go on and back: no pointer is needed."""
    keys = page.keyboard
    keys.press("/")
    keys.type("IMG_0001")
    keys.press("Enter")
    expect(page.locator(".tile")).to_have_count(1)
    page.goto(f"{site.url}/photos?state=tagged")
    for key in ("ArrowRight", "ArrowRight", "Enter"):
        keys.press(key)
    expect(page.locator("main.photo")).to_be_visible()

    keys.press("c")  # what follows at once goes into the field, and is no other key
    keys.press("Control+A")
    keys.type("Said by a human")
    keys.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Said by a human")
    expect(page.locator(".field").first).to_contain_text("human")

    keys.press("x")
    word = page.evaluate("document.activeElement.value")
    keys.press("x")
    _said(page, f"Dropped “{word}”.")
    expect(page.locator(f"#chips button[value='{word}']")).to_have_count(0)
    keys.press("Escape")
    keys.press("n")
    keys.type("lighthouse")
    keys.press("Enter")
    expect(page.locator("#chips .by-human")).to_contain_text("lighthouse")
    expect(page.locator("#add")).to_be_focused()
    keys.press("Escape")

    keys.press("x")
    old = page.evaluate("document.activeElement.value")
    keys.press("e")
    keys.type("renamed by keys")
    keys.press("Enter")
    _said(page, f"Renamed “{old}” to “renamed by keys”.")
    expect(page.locator("#chips .by-human")).to_contain_text(["lighthouse", "renamed by keys"])

    here = page.url
    keys.press("a")
    _said(page, "Accepted")
    expect(page).not_to_have_url(here)
    keys.press("u")
    expect(page).to_have_url(here)
    expect(page.locator(".panel .state")).to_contain_text("To review")
    keys.press("j")
    expect(page).not_to_have_url(here)
    keys.press("k")
    expect(page).to_have_url(here)
    keys.press("Escape")
    expect(page.locator(f"#p-{here.partition('?')[0][-24:]} h2 a")).to_be_focused()


def test_single_keys_can_be_switched_off(page: Page, site: Site) -> None:
    """Who dictates to the computer says many letters (WCAG 2.1.4); arrows stay."""
    _open_first(page, site)
    page.keyboard.press("?")
    page.get_by_role("checkbox", name="Single keys are on").uncheck()
    page.keyboard.press("Escape")
    here = page.url
    page.keyboard.press("c")
    expect(page.get_by_role("textbox", name="Caption")).to_have_count(0)
    page.keyboard.press("ArrowRight")
    expect(page).not_to_have_url(here)


def test_a_keyword_is_dropped_from_many_photos_and_comes_back(page: Page, site: Site) -> None:
    """Select by keys, drop one word in all of them, and undo it in all of them at once."""
    page.goto(f"{site.url}/photos")
    word = page.locator(".tile").first.get_attribute("data-words").partition("\n")[0]
    carriers = page.locator(".tile").filter(has_text=re.compile(rf"\b{re.escape(word)}\b")).count()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("x")
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+X")
    expect(page.locator("#picked")).to_have_text("5 selected")
    page.keyboard.press("n")
    page.keyboard.type(word)
    page.keyboard.press("Enter")  # decides nothing yet: it once accepted all of them
    expect(page.get_by_role("button", name="Drop")).to_be_focused()
    page.keyboard.press("Enter")
    _said(page, f"Dropped “{word}” from {carriers} photo")
    page.goto(f"{site.url}/photos?keyword={word}")
    expect(page.locator(".tile")).to_have_count(0)
    page.go_back()
    page.goto(f"{site.url}/photos")
    expect(page.locator(".tile")).to_have_count(5)


def test_all_of_it_works_without_a_script(site: Site, visit: Callable[..., Page]) -> None:
    """Reading, searching, editing, selecting: links and forms of the pages themselves."""
    page = visit(site, java_script_enabled=False)
    page.get_by_role("link", name="Photos", exact=True).click()
    page.locator(TILE).first.click()
    page.locator(".edit[data-field='caption'] summary").click()
    page.get_by_role("textbox", name="Caption").fill("Without a script")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Without a script")
    page.get_by_role("textbox", name="Add a keyword").fill("plain")
    page.get_by_role("button", name="Add").click()
    expect(page.locator("#chips .by-human")).to_contain_text("plain")
    page.get_by_role("button", name="Undo").last.click()
    expect(page.locator("#chips .by-human")).to_have_count(0)
    page.get_by_role("link", name="All photos").click()
    page.locator(".pick input").first.check()
    page.locator(".pick input").nth(1).check()
    page.get_by_role("button", name="Accept").click()
    expect(page.locator(".tile .reviewed")).to_have_count(2)
    page.get_by_role("searchbox").fill("Without")
    page.get_by_role("searchbox").press("Enter")
    expect(page.locator(".tile")).to_have_count(1)


def test_a_lost_server_loses_no_word(page: Page, site: Site) -> None:
    """What was typed stays in its field, and the page says that nothing was changed."""
    _open_first(page, site)
    site.end()
    page.keyboard.press("c")
    page.keyboard.press("Control+A")
    page.keyboard.type("Typed while the server was away")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("No answer came from the server")
    expect(page.get_by_role("textbox", name="Caption")).to_have_value(
        "Typed while the server was away"
    )


_WORDS = "مرحبا بالعالم " * 90
_PACKET = f"""<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/">
   <dc:title><rdf:Alt><rdf:li xml:lang="x-default">{escape(SCRIPT)}</rdf:li></rdf:Alt></dc:title>
   <dc:description><rdf:Alt><rdf:li xml:lang="x-default">{_WORDS}</rdf:li></rdf:Alt>
   </dc:description>
   <dc:subject><rdf:Bag><rdf:li>{escape('"><svg onload=alert(3)>')}</rdf:li>
    <rdf:li>{"x" * 250}</rdf:li><rdf:li>javascript:alert(4)</rdf:li></rdf:Bag></dc:subject>
  </rdf:Description></rdf:RDF></x:xmpmeta>"""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Return a review of photos whose names and words were chosen by somebody who wants harm."""
    home = tmp_path_factory.mktemp("hostile")
    (home / "home").mkdir()
    folder = home / "photos" / '"><img src=x onerror=alert(1)>'
    names = ["<img src=x onerror=alert(2)>.jpg", "gpj.\u202egnp.jpg", "a&b#?.jpg"]
    for number, name in enumerate(names):
        photo(folder / name, number)
        (folder / f"{name}.xmp").write_text(_PACKET, encoding="utf-8")
    photo(folder / f"{'n' * 241}.jpg", 3)
    site = Site(Program(home / "home"), home / "photos")
    site.tag()
    site.start()
    yield site
    site.end()


@pytest.mark.parametrize("options", [{}, PHONE], ids=["desktop", "phone"])
def test_a_hostile_library_is_text(
    hostile: Site, visit: Callable[..., Page], options: dict[str, object]
) -> None:
    """Markup in names and words is shown, runs nothing, and pushes nothing out of the window."""
    page = visit(hostile, **options)
    narrow = "document.documentElement.scrollWidth <= innerWidth + 1"
    assert page.evaluate(narrow)
    page.goto(f"{hostile.url}/photos")
    assert page.evaluate(narrow)
    addresses = [each.get_attribute("href") for each in page.locator(TILE).all()]
    assert len(addresses) == 4
    titles = []
    for address in addresses:
        page.goto(f"{hostile.url}{address}")
        titles.append(page.get_by_role("heading", level=1).inner_text())
        assert page.evaluate(narrow)
        check_accessible(page)
        assert "run" not in {page.title(), page.evaluate("document.title")}
    assert SCRIPT in titles
    page.goto(
        f"{hostile.url}/photos?q=%3Cscript%3Ealert(5)%3C/script%3E&keyword=%22%3E%3Ciframe%3E"
    )
    assert page.locator("main script, main iframe").count() == 0


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Return a review of a thousand photos: one is tagged, and the others are known as its like."""
    home = tmp_path_factory.mktemp("thousand")
    (home / "home").mkdir()
    folder = home / "photos"
    first = photo(folder / "IMG_0000.jpg", 1)
    site = Site(Program(home / "home"), folder)
    site.tag()
    (thumbnail,) = site.program.outputs.glob("thumbnails/*/*.jpg")
    catalogue = Catalogue.open(site.program.state)
    words = tuple(Word(word, "machine", "a model") for word in ("harbour", "boats", "evening"))
    for number in range(1, 1000):
        path = folder / f"IMG_{number:04}.jpg"
        shutil.copyfile(first, path)
        caption = Word(f"Boats in the harbour, {number}", "machine", "a model")
        entry = Entry(path=path, digest=thumbnail.stem, caption=caption, keywords=words)
        catalogue.put([entry])
    catalogue.close()
    site.start()
    yield site
    site.end()


def test_a_thousand_photos_scroll(thousand: Site, visit: Callable[..., Page]) -> None:
    """All are reached by scrolling, pictures are loaded as they come near, nothing stands still."""
    page = visit(thousand)
    page.add_init_script(
        "window.tasks = []; new PerformanceObserver((list) => window.tasks.push("
        "...list.getEntries().map((each) => each.duration))).observe({type: 'longtask'})"
    )
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{thousand.url}/photos")
    assert sum("/thumbnails/" in url for url in asked) < 100, "only what is near"
    tiles = page.locator(".tile")

    def scrolled() -> bool:
        page.mouse.wheel(0, 3000)
        return bool(tiles.count() == 1000)

    until(scrolled, SECONDS)
    assert len(set(page.locator(TILE).evaluate_all("all => all.map((each) => each.href)"))) == 1000
    assert page.evaluate("Math.max(0, ...window.tasks)") < 200 * _SLOW


_SLOW = 10
"""So many times longer may a task take on a shared machine than on a photographer's."""
