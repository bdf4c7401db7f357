"""Own roles, context and combined requests, as the user sets them and as the backend sees them."""

from __future__ import annotations

import base64
import json
import re
import shutil
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image
from support.program import CountingBackend, Program, corpus, photo

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OWN = """
prompts.context = ["date", "folder"]
[roles.alt_text]
prompt = "Retell for {date} in {{own}} words: {caption}; {keywords}"
fields = ["Iptc4xmpCore:ExtDescrAccessibility"]
[roles.color_narration]
prompt = "Tell the colours again: {alt_text}"
fields = ["photoshop:Instructions"]
max_characters = 30
"""
EXTENDED = "{http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/}ExtDescrAccessibility"
INSTRUCTIONS = "{http://ns.adobe.com/photoshop/1.0/}Instructions"


@pytest.fixture
def backend() -> Iterator[CountingBackend]:
    """A backend that keeps what it was asked."""
    made = CountingBackend()
    yield made
    made.close()


@pytest.fixture
def program(tmp_path: Path, backend: CountingBackend) -> Iterator[Program]:
    """The program with a backend that keeps what it was asked."""
    made = Program(tmp_path, backend.base_url)
    (tmp_path / "photos").mkdir()
    yield made
    made.end()


def settings(program: Program, text: str) -> None:
    """Write the settings file."""
    file = program.home / "config" / "taggerd" / "taggerd.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def asked(backend: CountingBackend) -> list[str]:
    """Return the texts of all requests about photos, in order."""
    about = [b for b in backend.bodies if any(m["role"] == "system" for m in b["messages"])]
    return [body["messages"][-1]["content"][-1]["text"] for body in about]


def text_in(sidecar: Path, name: str) -> str:
    """Return the text of one property."""
    root = ET.fromstring(sidecar.read_text())  # noqa: S314 - our own sidecar
    return " ".join("".join(found.itertext()).strip() for found in root.iter(name))


def taken(path: Path, number: int = 0) -> Path:
    """Make a photo of the Grand Canyon's rim in June 2024."""
    made = photo(path, number)
    with Image.open(made) as image:
        exif = image.getexif()
        exif.get_ifd(0x8825).update({1: "N", 2: (36.0, 3.0, 27.36), 3: "W", 4: (112.0, 8.0, 24.72)})
        exif.get_ifd(0x8769)[0x9003] = "2024:06:30 12:00:00"
        image.save(made, exif=exif)
    return made


def test_own_roles_are_asked_written_recorded_and_shown(
    program: Program, backend: CountingBackend
) -> None:
    """In order, with earlier answers in them; a human's text stays; the archive is not re-asked."""
    settings(program, OWN)
    first = taken(program.home / "photos" / "a.jpg")
    assert program("scan", program.home / "photos").returncode == 0
    (record,) = program.records()
    said = record["roles"]
    assert list(said) == ["caption", "keywords", "description", "alt_text", "color_narration"]
    assert record["models"].keys() == said.keys()
    assert record["usage"]["requests"] == 5
    assert re.fullmatch(r"[0-9a-f]{32}", record["prompt_profile_digest"])
    texts = asked(backend)
    assert texts[3] == (
        f"Retell for June 2024 in {{own}} words: {said['caption']}; {said['keywords']}"
    )
    assert texts[4].endswith(f"Tell the colours again: {said['alt_text']}")
    sidecar = first.with_name("a.jpg.xmp")
    assert text_in(sidecar, EXTENDED) == said["alt_text"]
    assert text_in(sidecar, INSTRUCTIONS) == said["color_narration"]
    assert len(said["color_narration"]) <= 30
    assert record["prompt_profile_digest"] in sidecar.read_text()
    (page,) = (program.outputs / "summaries").glob("*.html")
    (summary,) = (program.outputs / "summaries").glob("*.md")
    assert "<b>alt text</b>" in page.read_text()
    assert said["alt_text"] in page.read_text()
    assert "| color_narration |" in summary.read_text()

    sidecar.write_text(sidecar.read_text().replace(said["alt_text"], "My own words"))
    settings(program, OWN.replace("Retell", "Say again"))
    assert program("scan", program.home / "photos").returncode == 0
    assert len(asked(backend)) == 5  # a new prompt sends no request for what is tagged
    again = program("scan", "--overwrite-metadata", program.home / "photos")
    assert again.returncode == 0, again.stderr
    assert asked(backend)[8].startswith("Say again")
    assert text_in(sidecar, EXTENDED) == said["alt_text"]


@pytest.mark.long
def test_the_same_bytes_elsewhere_cost_nothing_whatever_is_told_of_them(
    program: Program, backend: CountingBackend
) -> None:
    """Folder and context are no part of what was asked; a copy is written from the answers held."""
    settings(program, OWN)
    first = taken(program.home / "photos" / "one" / "a.jpg")
    assert program("scan", program.home / "photos").returncode == 0
    assert any("folder: one" in text for text in asked(backend))
    before = len(asked(backend))
    (program.home / "photos" / "two").mkdir()
    copy = program.home / "photos" / "two" / "b.jpg"
    shutil.copy2(first, copy)
    assert program("scan", program.home / "photos").returncode == 0
    assert len(asked(backend)) == before
    assert text_in(copy.with_name("b.jpg.xmp"), EXTENDED)


def test_no_coordinate_leaves_the_machine(program: Program, backend: CountingBackend) -> None:
    """Of real photos with a position and of our own: towns, months, no figure of a position."""
    settings(program, '[prompts]\ncontext = ["place", "date", "folder", "keywords"]\n')
    photos = program.home / "photos"
    for path in (*corpus("photos").glob("*gps*"), *corpus("photos").glob("*iphone*")):
        shutil.copy(path, photos / path.name)
    taken(photos / "36.0576,-112.1402" / "rim.jpg")
    assert program("scan", photos).returncode == 0
    texts = asked(backend)
    assert any("place: Grand Canyon" in text or "near Grand Canyon" in text for text in texts)
    assert any("place: Palisade, Colorado, United States" in text for text in texts)
    assert any("labels: " in text for text in texts)
    for text in texts:
        hints = text.partition("\n\n")[0] if text.startswith("Hints") else ""
        assert not re.search(r"\d+[.,]\d|\d\s*°|GPS|\b36\b|\b112\b", hints), hints
    for body in backend.bodies:
        sent = json.dumps(body)
        assert "36.057" not in sent
        assert "112.14" not in sent
    assert len(_pictures(backend)) >= len(texts)
    for picture in _pictures(backend):
        assert b"Exif" not in picture
        assert b"adobe" not in picture


def _pictures(backend: CountingBackend) -> list[bytes]:
    """Return the pictures of all requests."""
    contents = [m["content"] for body in backend.bodies for m in body["messages"]]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    return [base64.b64decode(url.partition(",")[2]) for url in urls]


def test_without_context_only_pixels_and_prompts_are_sent(
    program: Program, backend: CountingBackend
) -> None:
    """``context = []``: the same three texts for every photo, wherever it was taken."""
    settings(program, "[prompts]\ncontext = []\n")
    taken(program.home / "photos" / "June" / "a.jpg", 1)
    photo(program.home / "photos" / "b.jpg", 2)
    assert program("scan", program.home / "photos").returncode == 0
    texts = asked(backend)
    assert len(texts) == 6
    assert len(set(texts)) == 3
    assert not any("2024" in text or "June" in text or "Hints" in text for text in texts)


def test_combined_asks_once_a_photo(program: Program, backend: CountingBackend) -> None:
    """One request, all answers, each held by itself; an own role that waits is asked after it."""
    settings(program, f'backend.request_mode = "combined"\n{OWN}')
    first = taken(program.home / "photos" / "a.jpg")
    assert program("scan", program.home / "photos").returncode == 0
    texts = asked(backend)
    assert [("one JSON object" in text) for text in texts] == [True, False, False]
    (record,) = program.records()
    assert record["usage"]["requests"] == 3
    assert record["caption"]
    assert record["description"]
    assert record["keywords"]
    assert text_in(first.with_name("a.jpg.xmp"), EXTENDED) == record["roles"]["alt_text"]


def test_a_role_that_cannot_be_costs_nothing(program: Program, backend: CountingBackend) -> None:
    """One line and exit 2, in the check and before a scan; nothing is asked."""
    photo(program.home / "photos" / "a.jpg")
    for command, text, complaint in (
        (("config", "check"), 'prompt = "{capton}"\nfields = []', "unknown placeholder {capton}"),
        (("scan", "photos"), 'prompt = "x"\nfields = ["dc:title"]', "metadata.fields.caption"),
        (("scan", "photos"), 'prompt = "x"\nfields = ["crs:Exposure2012"]', "roles.alt.fields.0"),
    ):
        settings(program, f"[roles.alt]\n{text}\n")
        refused = program(*command)
        assert refused.returncode == 2, refused.stdout
        assert refused.stderr.count("\n") == 1, refused.stderr
        assert complaint in refused.stderr
    assert not backend.requests


@pytest.mark.long
def test_an_own_role_comes_from_the_environment_too(program: Program) -> None:
    """As any other setting; ``config show`` names every value's place."""
    program.environment["TAGGERD__ROLES__ALT__PROMPT"] = "Again: {caption}"
    program.environment["TAGGERD__ROLES__ALT__FIELDS"] = '["acdsee:notes"]'
    shown = json.loads(program("config", "show", "--json").stdout)
    assert shown["roles.alt.fields"] == {"value": ["acdsee:notes"], "from": "environment"}
    assert shown["roles.alt.max_characters"]["from"] == "default"
    program.environment["TAGGERD__ARRIVALS__ROOTS"] = json.dumps([str(program.home)])
    assert program("config", "check").returncode == 0


def test_an_answer_held_back_is_shown_and_kept_by_its_role(
    program: Program, backend: CountingBackend
) -> None:
    """Status says why; the record has the model's own words under the role; nothing is written."""
    refusal = "I'm sorry, I can't assist with that."

    def script(_path: str, body: bytes) -> Any:  # noqa: ANN401 - a scripted answer
        if b"Describe this photo" not in body:
            return None
        answer = {"choices": [{"message": {"content": refusal}}], "model": "m"}
        return 200, {"Content-Type": "application/json"}, json.dumps(answer).encode()

    backend.script = script
    photo(program.home / "photos" / "a.jpg")
    assert program("scan", program.home / "photos").returncode == 1
    (failed,) = program.status()["failed"]
    assert "description" in failed["reason"]
    assert "rejected" in failed["reason"]
    record = program.records()[-1]
    assert record["raw"] == {"description": refusal}
    assert record["error_kind"] == "AnswerRejected"
    assert list(record["roles"]) == ["caption", "keywords"]
    assert not (program.home / "photos" / "a.jpg.xmp").exists()


def test_profiles_are_listed_with_their_digests(program: Program) -> None:
    """The shipped ones and the user's, which is in force, and what each is for."""
    folder = program.home / "config" / "taggerd" / "prompts"
    folder.mkdir(parents=True)
    settings(program, '[prompts]\nprofile = "mine"\n')
    shipped = (program.home / "mine").with_suffix(".toml")
    shipped.write_text(
        'description = "Mine."\n[roles.caption]\nprompt = "One."\nmax_tokens = 50\n'
        '[roles.keywords]\nprompt = "Two."\nmax_tokens = 50\nwants = "keywords"\n'
        '[roles.description]\nprompt = "Three."\nmax_tokens = 50\n'
    )
    shipped.replace(folder / "mine.toml")
    listed = program("config", "prompts", "--json")
    rows = {row["name"]: row for row in json.loads(listed.stdout)}
    assert list(rows) == ["accessibility", "concise", "default", "stock", "mine"]
    assert len({row["digest"] for row in rows.values()}) == 5
    assert [name for name, row in rows.items() if row["chosen"]] == ["mine"]
    assert rows["mine"]["from"] == "yours"
    assert rows["stock"]["from"] == "shipped"
    assert rows["stock"]["roles"] == ["caption", "keywords", "description"]
    lines = program("config", "prompts").stdout
    assert "* mine: Mine." in lines
    assert rows["mine"]["digest"] in lines
    (folder / "bad.toml").write_text("system = ")
    refused = program("config", "prompts")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1


def test_a_description_is_built_on_caption_and_keywords(
    program: Program, backend: CountingBackend
) -> None:
    """A built-in role's prompt quotes the other answers; a second scan sends no request."""
    photo(program.home / "photos" / "a.jpg")
    program.environment["TAGGERD__ROLES__DESCRIPTION__PROMPT"] = "On {caption} with {keywords}"
    assert program("scan", "photos").returncode == 0
    record = program.records()[-1]
    texts = [body["messages"][-1]["content"][-1] for body in backend.bodies[-3:]]
    told = f"On {record['roles']['caption']} with {record['roles']['keywords']}"
    assert told in [text["text"].split("\n\n")[-1] for text in texts]
    asked = backend.photo_requests
    assert program("scan", "photos").returncode == 0
    assert backend.photo_requests == asked
