"""The review as a person opens it: a tagged folder, ``taggerd web``, and a browser."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support.program import until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Dialog, Locator, Page

    from support.program import Program

ELSEWHERE = "elsewhere.example"
"""A name of another site, which leads to this machine: as a name server may say."""
SECONDS = 180.0
"""Longest wait for something in a page; a machine that is busy needs seconds."""


@dataclass
class Site:
    """A folder of photos, and the review of them."""

    program: Program
    folder: Path
    printed: list[str] = field(default_factory=list)
    """What ``taggerd web`` has printed."""
    _process: subprocess.Popen[str] | None = None

    def tag(self, *arguments: object) -> None:
        """Tag the folder."""
        ended = self.program("scan", *arguments, self.folder)
        assert ended.returncode in {0, 1}, ended.stderr

    def start(self, *arguments: object) -> None:
        """Serve the review, on a port that is free."""
        with (self.program.home / "web.log").open("ab") as log:
            process = subprocess.Popen(
                self.program.command("web", "--listen", "127.0.0.1:0", *arguments),
                env=self.program.full_environment()
                | {"TAGGERD__ARRIVALS__ROOTS": json.dumps([str(self.folder)])},
                cwd=self.program.home,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self._process, lines = process, process.stdout
        assert lines

        def listen() -> None:
            for line in lines:
                self.printed.append(line)

        threading.Thread(target=listen, daemon=True).start()
        until(lambda: self.printed or process.poll() is not None)
        assert process.poll() is None, self.log()

    def log(self) -> str:
        """Return what it has logged."""
        return (self.program.home / "web.log").read_text(errors="replace")

    @property
    def url(self) -> str:
        """Its address: ``http://127.0.0.1:43210``."""
        return self._last_link().partition("/?")[0]

    def link(self) -> str:
        """Return the link that logs the next browser in."""
        return self._last_link()

    def _last_link(self) -> str:
        return self.printed[-1].split()[-1]

    def visit(self, browser: Browser, **options: Any) -> Page:  # noqa: ANN401 - Playwright's
        """Log a new browser in; what its pages do wrong is in ``page.wrong``.

        Args:
            browser: Chromium.
            options: of its context: ``viewport``, ``color_scheme``, ``java_script_enabled``.

        """
        page = new_page(browser, **options)
        links = len(self.printed)
        page.goto(self.link())
        until(lambda: len(self.printed) > links)
        return page

    def end(self) -> None:
        """Stop serving."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(SECONDS)


def new_page(browser: Browser, **options: Any) -> Page:  # noqa: ANN401 - Playwright's
    """Return a page of a new browser, which nobody has logged in; ``options`` as for ``visit``."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
    context.set_default_timeout(SECONDS * 1000)
    page = context.new_page()
    watch(page)
    return page


def expect(what: Page | Locator) -> Any:  # noqa: ANN401 - Playwright's
    """Return Playwright's assertions, which wait for what they expect.

    A click has an effect, and a page its text, only after the browser has had time for it: what
    ``inner_text`` and its like return at once was empty on a machine under load.
    """
    driver = pytest.importorskip("playwright.sync_api")
    driver.expect.set_options(timeout=SECONDS * 1000)
    return driver.expect(what)


def watch(page: Page) -> None:
    """Note in ``page.wrong`` each error of a script and each thing that the policy forbids."""
    wrong: list[str] = []

    def dismiss(dialog: Dialog) -> None:
        wrong.append(f"{page.url}: a dialog: {dialog.message}")
        dialog.dismiss()

    page.on("pageerror", lambda error: wrong.append(f"{page.url}: {error}"))
    page.on("console", lambda said: _note(wrong, page, said.type, said.text))
    page.on("dialog", dismiss)
    setattr(page, "wrong", wrong)  # noqa: B010 - no attribute of Playwright's type


def _note(wrong: list[str], page: Page, kind: str, text: str) -> None:
    # What the server refuses is for the test to judge: two people edited one photo.
    if kind == "error" and not text.startswith("Failed to load resource"):
        wrong.append(f"{page.url}: {text}")


def check_accessible(page: Page) -> None:
    """Fail if axe-core finds anything that keeps somebody from using *page*."""
    file = Path(os.environ.get("TAGGERD_AXE", ""))
    if not file.is_file():
        pytest.skip("axe-core is not there: scripts/test-browser fetches it")
    page.evaluate(file.read_text(encoding="utf-8") + "\n; undefined")
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    lines = [
        f"{each['impact']}: {each['id']}: {each['help']}\n"
        + "\n".join(f"    {node['html']}\n    {node['failureSummary']}" for node in each["nodes"])
        for each in found["violations"]
    ]
    assert not lines, f"{page.url}\n" + "\n".join(lines)


def close(context: BrowserContext) -> None:
    """Close a browser, and fail if one of its pages did something wrong."""
    wrong = [line for page in context.pages for line in getattr(page, "wrong", ())]
    context.close()
    assert not wrong, "\n".join(wrong)
