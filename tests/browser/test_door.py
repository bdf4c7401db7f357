"""The door as a browser meets it: links, other sites' pages, and names that lead here."""

from __future__ import annotations

import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import pytest
from support.browsing import ELSEWHERE, SECONDS, check_accessible, close, expect, new_page, watch
from support.program import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page
    from support.browsing import Site


@pytest.fixture
def elsewhere() -> Iterator[Callable[[str], str]]:
    """Return what serves a page of another site, and returns its address."""
    pages: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(pages[-1])

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def serve(page: str) -> str:
        pages.append(page.encode())
        return f"http://{ELSEWHERE}:{server.server_port}/"

    yield serve
    server.shutdown()
    server.server_close()


def test_the_link_logs_in_and_is_not_in_the_address(page: Page, site: Site) -> None:
    """It cannot be copied from the address line, and what it opens is the review."""
    expect(page).to_have_url(f"{site.url}/")
    assert page.context.cookies()[0]["httpOnly"]
    assert page.evaluate("document.cookie") == ""


def test_who_is_not_logged_in_sees_how_to(gallery: Site, browser: Browser) -> None:
    """Nothing of the photos is served, and the page can be used by everybody."""
    page = new_page(browser)
    page.goto(f"{gallery.url}/photos?day=2026-11-22")
    assert "/login?next=" in page.url
    expect(page.locator("main")).to_contain_text("taggerd web")
    check_accessible(page)
    close(page.context)


@pytest.mark.parametrize(
    "attack",
    [
        """<form method=post action="{url}/logout"><input name=csrf value=guess></form>
        <script>document.forms[0].submit()</script>""",
        """<script>
        fetch("{url}/logout", {{method: "POST", mode: "no-cors", credentials: "include"}})
        .finally(() => document.title = "sent")</script>""",
    ],
)
def test_another_sites_page_posts_nothing(
    site: Site, page: Page, elsewhere: Callable[[str], str], attack: str
) -> None:
    """A page that somebody opens beside the review cannot even log them out."""
    other = page.context.new_page()
    other.goto(elsewhere(attack.format(url=site.url)))
    other.wait_for_function(
        "document.title === 'sent' || document.body.innerText.includes('another site')"
    )
    other.close()
    page.reload()
    assert page.url == f"{site.url}/"


def test_another_sites_page_cannot_show_or_read_the_review(
    site: Site, page: Page, elsewhere: Callable[[str], str]
) -> None:
    """Neither in a frame, to have somebody click there, nor as a picture, nor by a script."""
    other = page.context.new_page()
    other.goto(
        elsewhere(
            f"""<iframe src="{site.url}/"></iframe><script>
            fetch("{site.url}/", {{credentials: "include"}}).then(
                () => document.title = "read", () => document.title = "nothing")</script>"""
        )
    )
    other.wait_for_function("document.title")
    assert other.title() == "nothing"
    assert all(not frame.url.startswith(site.url) for frame in other.frames[1:])
    other.close()


def test_a_name_that_is_made_to_lead_here_is_told_nothing(site: Site, page: Page) -> None:
    """DNS rebinding: the browser believes that it asks the other site, and shows it the answer."""
    port = site.url.rpartition(":")[2]
    other = page.context.new_page()
    watch(other)
    answer = other.goto(f"http://{ELSEWHERE}:{port}/")
    assert answer
    assert answer.status == 421
    expect(other.locator("body")).to_contain_text("taggerd")
    other.close()


def test_somebody_logs_in_with_a_password(site: Site, browser: Browser) -> None:
    """The page says what went wrong, can be used by everybody, and goes on to what was wanted."""
    words = "a heron by the weir"
    kept = subprocess.run(
        site.program.command("web", "--set-password"),
        env=site.program.full_environment(),
        input=f"{words}\n",
        text=True,
        capture_output=True,
        check=False,
    )
    assert kept.returncode == 0, kept.stderr
    page = new_page(browser, color_scheme="dark", viewport={"width": 390, "height": 844})
    page.goto(f"{site.url}/photos?state=tagged")
    check_accessible(page)
    page.get_by_label("Password").fill("a wrong one of course")
    page.keyboard.press("Enter")
    page.get_by_role("alert").wait_for()
    check_accessible(page)
    until(lambda: _logged_in(page, words), SECONDS)
    assert page.url == f"{site.url}/photos?state=tagged"
    page.goto(f"{site.url}/no-such-page")
    check_accessible(page)
    close(page.context)


def _logged_in(page: Page, words: str) -> bool:
    """Try; a moment after a wrong password the right one is refused as well."""
    if page.get_by_label("Password").count():
        page.get_by_label("Password").fill(words)
        page.keyboard.press("Enter")
        page.wait_for_load_state()
    return "/login" not in page.url


def test_whoever_logs_out_is_out(page: Page, site: Site) -> None:
    """The overview says who is logged in and how to end that; going back shows nothing."""
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/login")
    page.go_back()
    page.wait_for_url("**/login**")
    page.goto(f"{site.url}/photos")
    assert "/login" in page.url
