"""Makes the pictures in the README; scripts/picture installs what it needs."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from playwright.sync_api import sync_playwright
from rich.console import Console
from rich.text import Text
from samples.photos import make_samples
from support.terminal import COLUMNS, terminal

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SCRIPTS = Path(__file__).parent
TAGGERD = [os.fspath(Path(sys.executable).with_name("taggerd"))]
SHOWN = "IMG_0427.JPG"
"""The photo whose page is shown."""

_HOME = """home => { for (const each of document.querySelectorAll("h2"))
  each.innerHTML = each.innerHTML.replaceAll(home, "/home/marta"); }"""
"""A picture shows no folder of the machine that made it."""


def main() -> None:
    """Make all pictures."""
    with (
        tempfile.TemporaryDirectory(prefix="taggerd-picture-") as folder,
        sync_playwright() as play,
    ):
        home = Path(folder, "marta")
        photos = home / "Pictures" / "Import"
        photos.mkdir(parents=True)
        make_samples(photos)
        environment = {"HOME": os.fspath(home), "LANG": "en_GB.UTF-8", "PATH": os.environ["PATH"]}
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        chromium = shutil.which("chromium")
        browser = play.chromium.launch(executable_path=chromium, args=options)
        _setup(browser, environment, home)
        _run(environment, "scan", photos)
        _review(browser, environment)
        _report(browser, environment, home)
        browser.close()


def _setup(browser: Browser, environment: dict[str, str], home: Path) -> None:
    """Answer the questions of ``taggerd setup`` with Enter, and show the terminal."""
    command = [
        *TAGGERD,
        "setup",
        "--base-url",
        "builtin:",
        "--program",
        "darktable",
        "--preview",
        "2",
    ]
    with terminal([*command, "--no-service"], environment, home) as shown:
        while shown.wait_for("]: "):
            shown.type("\r")
        shown.end()
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    console.print(Text.from_ansi(shown.text.strip().replace(os.fspath(home), "~")))
    page = browser.new_page(viewport={"width": 1000, "height": 400})
    page.set_content(console.export_svg(title="taggerd setup"))
    _keep(page, "setup.png", "svg")


def _review(browser: Browser, environment: dict[str, str]) -> None:
    """Mend a photo's words in the browser, and show its page."""
    command = [*TAGGERD, "web", "--listen", "127.0.0.1:0"]
    web = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own
    try:
        printed = web.stdout or io.StringIO()
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(printed.readline().split()[-1])
        page.goto(f"{page.url}photos?q={SHOWN}")
        page.click("h2 a[href^='/photos/']")
        page.goto(page.url.partition("?")[0])  # among all photos
        for keys, words in (("c", "Evening on the fell"), ("n", "fell")):
            page.keyboard.press(keys)
            page.keyboard.press("Control+A")
            page.keyboard.type(words)
            with page.expect_navigation():
                page.keyboard.press("Enter")
        page.evaluate("document.activeElement.blur()")
        page.wait_for_load_state("networkidle")
        _keep(page, "review.png")
    finally:
        web.terminate()
        web.wait()


def _report(browser: Browser, environment: dict[str, str], home: Path) -> None:
    """Show the day's page."""
    _run(environment, "report")
    (path, *_) = home.glob(".local/state/taggerd/outputs/summaries/20*.html")
    page = browser.new_page(viewport={"width": 1280, "height": 1180})
    page.goto(path.as_uri())
    page.evaluate(_HOME, os.fspath(home))
    _keep(page, "report.png")


def _run(environment: dict[str, str], *arguments: object) -> None:
    """Run a command of taggerd's to its end."""
    command = [*TAGGERD, *map(str, arguments)]
    subprocess.run(command, env=environment, check=True, capture_output=True)  # noqa: S603 - our own


def _keep(page: Page, name: str, part: str = "") -> None:
    """Keep a picture of *page*, or of a part of it, beside this script.

    In 256 colours it is a fifth of the size, and looks the same.
    """
    shot = page.locator(part).screenshot() if part else page.screenshot()
    image = Image.open(io.BytesIO(shot)).convert("RGB").quantize(256)
    image.save(SCRIPTS / name, optimize=True)
    sys.stdout.write(f"{SCRIPTS / name}\n")


if __name__ == "__main__":
    main()
