"""Names that attack whoever prints them: each output stays what it is; the name can be got back.

A name is bytes, and whoever writes a card chooses them: to forge a line of a log, to move the
cursor, to be an option, markup, a formula or a link, or to be read as another name.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import re
import unicodedata
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit
from xml.etree import ElementTree as ET

import pytest
from markdown_it import MarkdownIt
from support.program import Program, listening, photo, until

from taggerd.photo import printable

NAMES: tuple[bytes, ...] = tuple(
    os.fsencode(name)
    for name in (
        "line\n2026-01-01T00:00:00Z [info] tagged photo=forged.jpg",
        "\x1b[2J\x1b]0;owned\x07\x1b]8;;http:evil\x07.jpg",
        "\r\x08\x7f\x9b31movertyped\t.jpg",
        "\u202egpj.exe\u2066.jpg",
        "\u2028para\u2029\x85graph.jpg",
        "\udcff\udcfe.jpg",
        "\udced\udca0\udc80.jpg",  # a surrogate in UTF-8
        "--config=evil.toml.jpg",
        "-rf.jpg",
        "'; touch owned #\".jpg",
        "$(touch owned)`touch owned`.jpg",
        "%s%n%x{0}{image}{{7*7}}{% raw %}${HOME}.jpg",
        "<script>document.title='owned'<!--.jpg",
        '" onerror="alert(1)" x="<img src=x onerror=alert(1)>.jpg',
        "]]>&amp;&lt;<!ENTITY x SYSTEM 'file:'>.jpg",
        "[click](javascript:alert(1)) ![x](http:evil).jpg",
        "a|b||c| --- |.jpg",
        '=HYPERLINK("http:evil")+cmd|calc.jpg',
        "*?[a-z]~ # **bold** _x_.jpg",
        " \u00a0 spaces at the start.jpg",
        "%2e%2e%2f..\\..\\etc.jpg",
        "e\u0301.jpg",
        "\u00e9.jpg",
        "CON.jpg",
        "literal \\x1b\\n\\u202e.jpg",
        "\U0001f469\u200d\U0001f469\u200d\U0001f467\U0001f3f3\ufe0f\u200d\U0001f308.jpg",
        "\u05d0\u05d1 (1).jpg",
        "x" * 251 + ".jpg",
    )
)
"""In one folder; the longest has no room for a sidecar's ending."""
TOO_LONG = NAMES[-1]
SYSTEMD = {"READY", "STATUS", "STOPPING", "WATCHDOG", "RELOADING", "MONOTONIC_USEC", "MAINPID"}
_ARMED = re.compile(
    r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""What moves a cursor, ends a line unasked, turns the order of letters, or is no text."""


def _armed(text: str) -> list[str]:
    """Return the lines of *text* that do something to whoever shows them."""
    return [line for line in text.split("\n") if _ARMED.search(line)]


def _laid_out(folder: Path) -> Path:
    """Make photos of these names, and a folder of such a name with ones that are damaged."""
    damaged = folder / os.fsdecode(NAMES[0].removesuffix(b".jpg"))
    damaged.mkdir(parents=True)
    for number, name in enumerate(NAMES):
        photo(folder / os.fsdecode(name), number)
        (damaged / os.fsdecode(name)).write_bytes(b"\xff\xd8\xff broken" + bytes([number]))
    return folder


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """Return the program after a scan of a folder of its home that is called card."""
    home = tmp_path_factory.mktemp("home")
    _laid_out(home / "card")
    program = Program(home)
    done = program("scan", home / "card")
    assert done.returncode == 1
    assert _armed(done.stdout + done.stderr) == []
    assert "Traceback" not in done.stderr
    summed = re.search(r"^tagged (\d+) of (\d+) photos", done.stdout + done.stderr, re.MULTILINE)
    assert summed
    assert (int(summed[1]), int(summed[2])) == (len(NAMES) - 1, 2 * len(NAMES))
    assert not list(home.rglob("owned*"))
    return program


@pytest.fixture
def folder(scanned: Program) -> Path:
    """Return the folder that was scanned."""
    return scanned.home / "card"


def _exact(record: dict[str, Any]) -> bytes:
    """Return the path of a record's photo as the record has it."""
    if "image_base64" in record:
        return base64.b64decode(record["image_base64"])
    return os.fsencode(record["image"])


def _paths(folder: Path) -> set[bytes]:
    return {os.fsencode(path) for path in folder.rglob("*.jpg")}


def test_sidecars_lie_beside_their_photos(scanned: Program, folder: Path) -> None:
    """Each parses, each is named after its photo to the byte, and twins have one each."""
    assert scanned
    wanted = {os.fsencode(folder) + b"/" + n + b".xmp" for n in NAMES if n != TOO_LONG}
    found = {os.fsencode(path) for path in folder.rglob("*.xmp")}
    assert found == wanted
    for path in found:
        ET.fromstring(Path(os.fsdecode(path)).read_bytes())  # noqa: S314 - our own


def test_records_are_one_line_each(scanned: Program, folder: Path) -> None:
    """JSON in any editor and shell: no line is forged, and each name comes back to the byte."""
    (file,) = (scanned.outputs / "results").glob("*.jsonl")
    text = file.read_bytes().decode()
    assert len(text.splitlines()) == text.count("\n") == 2 * len(NAMES)
    records = [json.loads(line) for line in text.splitlines()]
    assert {_exact(record) for record in records} == _paths(folder)
    assert _armed(text) == []
    too_long = [r for r in records if _exact(r).endswith(TOO_LONG) and _exact(r).count(b"\n") == 0]
    assert [bool(r["error"]) for r in too_long] == [True]


class _Page(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.addresses: set[str] = set()
        self.names: set[str] = set()
        self._in_name = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.add(tag)
        self.attributes |= set(given)
        self.addresses |= {given[a] or "" for a in ("href", "src", "data-href") if a in given}
        self._in_name = tag == "bdi"

    def handle_data(self, data: str) -> None:
        if self._in_name:
            self.names.add(data)
        self._in_name = False


def test_the_report_page_runs_and_loads_nothing(scanned: Program, folder: Path) -> None:
    """Markup in a name is text; links lead to the photos themselves, by their exact names."""
    (file,) = (scanned.outputs / "summaries").glob("*.html")
    page = _Page(file.read_text(encoding="utf-8"))
    assert not page.tags & {"iframe", "object", "embed", "form", "base"}
    assert file.read_text(encoding="utf-8").count("<script") == 1  # the page's own
    assert not {name for name in page.attributes if name.startswith("on")}
    photos = set()
    for address in page.addresses:
        parts = urlsplit(address)
        if parts.scheme == "file":
            assert not parts.netloc
            photos.add(unquote_to_bytes(parts.path))
        else:
            assert address == "data:," or address.startswith(("#", "data:image/jpeg;base64,")), (
                address
            )
    assert photos == _paths(folder)
    assert {printable(os.fsdecode(name)) for name in NAMES} <= page.names


def test_the_summary_is_a_table_of_names(scanned: Program) -> None:
    """CommonMark shows each name as it is: no markup, no link, no cell too many, no formula."""
    (file,) = (scanned.outputs / "summaries").glob("*.md")
    text = file.read_text(encoding="utf-8")
    assert _armed(text) == []
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    inner = [child for token in tokens for child in token.children or ()]
    kinds = {token.type for token in [*tokens, *inner]}
    assert not {k for k in kinds if k.startswith(("link", "image", "html", "code", "fence", "em"))}
    cells: list[list[str]] = []
    for token, after in itertools.pairwise(tokens):
        if token.type == "tr_open":
            cells.append([])
        elif token.type in {"td_open", "th_open"}:
            cells[-1].append("".join(child.content for child in after.children or ()))
    assert {len(row) for row in cells} == {2, 5}  # keywords; errors and photos
    shown = {row[0] for row in cells if len(row) == 5}
    assert {" ".join(printable(os.fsdecode(name)).split()) for name in NAMES} <= shown


def test_metrics_are_json(scanned: Program) -> None:
    """Names are not in them; what is in them parses."""
    for file in scanned.outputs.rglob("*.json"):
        assert _armed(file.read_text(encoding="utf-8")) == []
        json.loads(file.read_bytes())
    shown = scanned("metrics", "--json")
    assert shown.returncode == 0
    json.loads(shown.stdout)


@pytest.mark.parametrize(
    "words",
    [["status"], ["show"], ["show", "--verbose"], ["scan", "--list"], ["undo", "--dry-run"]],
)
def test_commands_print_lines_for_people(scanned: Program, folder: Path, words: list[str]) -> None:
    """On a terminal nothing moves, and no line is another's."""
    done = scanned(*words, *([] if words == ["status"] else [folder]))
    assert done.returncode in ({3} if words == ["status"] else {0, 1})  # nothing runs
    assert "Traceback" not in done.stderr
    assert _armed(done.stdout) == []
    assert _armed(done.stderr) == []
    assert not [line for line in done.stdout.splitlines() if line.startswith("2026-01-01")]


@pytest.mark.parametrize("words", [["status"], ["show"], ["scan", "--list"]], ids=" ".join)
def test_commands_print_json_for_programs(scanned: Program, folder: Path, words: list[str]) -> None:
    """It parses whatever the names are."""
    done = scanned(*words, "--json", *([] if words == ["status"] else [folder]))
    assert done.returncode in ({3} if words == ["status"] else {0, 1}), done.stderr
    assert _armed(done.stdout) == []
    json.loads(done.stdout)


def test_a_name_can_be_typed_back(scanned: Program, folder: Path) -> None:
    """Each photo is found by its exact name, also one that looks like an option."""
    photos = [folder / os.fsdecode(name) for name in NAMES if name != TOO_LONG]
    shown = scanned("show", "--json", "--", *photos)
    assert shown.returncode == 0, shown.stderr
    assert len(json.loads(shown.stdout)) == len(photos)


@pytest.mark.long
def test_the_service_logs_and_notifies_in_lines(taggerd: Program, tmp_path: Path) -> None:
    """In JSON a line is a record of its own; systemd is told one state, in plain letters."""
    folder, notify = _laid_out(tmp_path / "card"), taggerd.home / "notify"
    taggerd.environment = {
        "NOTIFY_SOCKET": os.fspath(notify),
        "TAGGERD__SERVICE__LOG_FORMAT": "json",
    }
    with listening(notify) as told:
        daemon = taggerd.start("--input-dir", folder)
        until(lambda: len(taggerd.records()) == 2 * len(NAMES))
        taggerd.stop(daemon)
    assert any(line.startswith("STATUS=") for line in told)
    for line in told:
        assert re.match(
            r"(READY|STATUS|STOPPING|WATCHDOG|RELOADING|(MONOTONIC|EXTEND_TIMEOUT)_USEC)=", line
        )
        assert line.isascii()
    logged = taggerd.log()
    assert _armed(logged) == []
    lines = [json.loads(line) for line in logged.splitlines()]
    named = {line["photo"] for line in lines if "photo" in line}
    assert {printable(path) for path in _paths(folder)} >= named
    assert len(named) > len(NAMES)


def test_twins_in_unicode_are_two_photos() -> None:
    """The cases mean what they are said to mean."""
    assert len({unicodedata.normalize("NFC", n.decode(errors="replace")) for n in NAMES}) < len(
        NAMES
    )
    assert max(map(len, NAMES)) <= 255
    assert len(NAMES) >= 22
