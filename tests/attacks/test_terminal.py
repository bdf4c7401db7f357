"""Nothing that a photo, a sidecar or a backend says moves a cursor or turns a line around."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from support.program import photo

from taggerd.journal.dayfile import encoded
from taggerd.pages.static import static_files
from taggerd.photo import escape_controls

if TYPE_CHECKING:
    from pathlib import Path

    from support.program import CountingBackend, Program, Reply

CONTROLS = [
    *range(0x7F, 0xA0),
    0x61C,
    0x200E,
    0x200F,
    *range(0x2028, 0x202F),
    *range(0x2066, 0x206A),
]
"""DEL, C1, line separators, and Unicode's Bidi_Control."""
HOSTILE = "".join(map(chr, CONTROLS))
OBEYED = re.compile(f"[{re.escape(HOSTILE)}]|[\x00-\x08\x0b-\x1f]")
TITLE = "Anna\x9b31m\x9d0;title\x9c\u202e gpj\u2066.\u200f end"

SIDECAR = f"""<x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" photoshop:Headline="{TITLE}">
<dc:title><rdf:Alt><rdf:li xml:lang="x-default">{TITLE}</rdf:li></rdf:Alt></dc:title>
<dc:subject><rdf:Bag><rdf:li>{TITLE}</rdf:li><rdf:li>boat</rdf:li></rdf:Bag></dc:subject>
</rdf:Description></rdf:RDF></x:xmpmeta>
"""


def test_a_line_of_jsonl_escapes_what_a_terminal_obeys() -> None:
    """The escape means the same character in JSON."""
    line = json.dumps({"text": HOSTILE + "é\N{ZERO WIDTH JOINER}中"}, ensure_ascii=False)
    stored = encoded(line).decode()
    assert not OBEYED.search(stored.rstrip("\n"))
    assert len(stored.splitlines()) == 1
    assert json.loads(stored) == json.loads(line)
    assert "é\N{ZERO WIDTH JOINER}中" in stored


def test_only_controls_are_escaped() -> None:
    """Letters, emoji and what joins them, colours and line ends stay."""
    text = "\x1b[31mé\n👩\N{ZERO WIDTH JOINER}👧 שלום\u00a0"
    assert escape_controls(text) == text
    assert escape_controls("\x9b\u202e") == "\\u009b\\u202e"


@pytest.fixture
def hostile(taggerd: Program, backend: CountingBackend, tmp_path: Path) -> Program:
    """Return the program after a scan of hostile names, words and answers."""
    card = tmp_path / "card"
    for number, name in enumerate(["\u202egpj.exe", "\x9b31m", "a\u2028b", "plain"]):
        photo(card / f"{name}.jpg", number)
        (card / f"{name}.jpg.xmp").write_text(SIDECAR)

    def script(_path: str, body: bytes) -> Reply | None:
        asked = json.loads(body or b"{}")
        if not any(message["role"] == "system" for message in asked.get("messages", [])):
            return None
        if "keyword" in body.decode().casefold():
            content = json.dumps({"keywords": [f"red{HOSTILE}boat", "\u200fsea\u200e"]})
        else:
            content = f"A red\u200f boat\u202e number \x85{len(backend.bodies)}"
        answer = {
            "model": f"m{TITLE}",
            "choices": [{"message": {"content": content}, "finish_reason": TITLE}],
        }
        return 200, {"Content-Type": "application/json", "Server": "x"}, json.dumps(answer).encode()

    backend.script = script
    taggerd.base_url = backend.base_url
    done = taggerd("scan", card)
    assert not OBEYED.search(done.stdout + done.stderr)
    assert len(taggerd.records()) == 4
    return taggerd


@pytest.mark.long
def test_no_output_of_any_kind_obeys(hostile: Program, tmp_path: Path) -> None:
    """Records, summaries, pages, metrics, and each command that prints."""
    card = tmp_path / "card"
    for file in hostile.outputs.rglob("*"):
        if file.suffix in {".jsonl", ".md", ".html", ".json"}:
            assert not OBEYED.search(file.read_text()), file
    for command in (
        ("show", card),
        ("show", "--verbose", card),
        ("show", "--json", card),
        ("status",),
        ("status", "--json"),
        ("metrics",),
        ("report",),
        ("preflight",),
        ("scan", "--list", card),
        ("undo", "--dry-run", card),
        ("config", "show", "--config", card / "\u202enone.toml"),
        ("scan", card / "\x9b\u202enone"),
    ):
        done = hostile(*command)
        assert not OBEYED.search(done.stdout + done.stderr), command
        assert "Traceback" not in done.stderr
        if "--json" in command:
            json.loads(done.stdout)


def test_what_was_escaped_is_still_there(hostile: Program, tmp_path: Path) -> None:
    """A program that reads the JSON gets the human's words as they are."""
    views = json.loads(hostile("show", "--json", tmp_path / "card").stdout)
    keywords = views[0]["sidecars"][0]["keywords"]["human"]
    assert TITLE in keywords


def test_the_page_may_load_nothing_at_all(hostile: Program) -> None:
    """Whatever gets into it: no script but its own, no frame, no font, no request to anywhere."""
    (page,) = (hostile.outputs / "summaries").glob("*.html")
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', page.read_text())
    directives = dict(each.strip().split(" ", 1) for each in policy.split(";"))
    assert directives == {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": static_files()["export.css"].source_hash,
        "script-src": static_files()["export.js"].source_hash,
        "base-uri": "'none'",
        "form-action": "'none'",
    }


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_a_browser_shows_the_page_with_its_pictures(hostile: Program, tmp_path: Path) -> None:
    """The policy forbids nothing that the page needs: no line about it in the browser's log."""
    (page,) = (hostile.outputs / "summaries").glob("*.html")
    done = subprocess.run(
        [
            "chromium",
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--enable-logging=stderr",
            f"--user-data-dir={tmp_path / 'browser'}",
            f"--screenshot={tmp_path / 'page.png'}",
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Content Security Policy" not in done.stderr
    assert (tmp_path / "page.png").stat().st_size > 10_000
