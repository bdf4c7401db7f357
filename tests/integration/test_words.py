"""Vocabulary and language, as the user sets them and as the sidecars show them."""

from __future__ import annotations

import signal
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import pytest
from support.program import Program, photo, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
LISTS = {
    "dc": "{http://purl.org/dc/elements/1.1/}subject",
    "lr": "{http://ns.adobe.com/lightroom/1.0/}hierarchicalSubject",
    "digiKam": "{http://www.digikam.org/ns/1.0/}TagsList",
}
TITLE = "{http://purl.org/dc/elements/1.1/}title"
LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"


def _items(sidecar: Path, name: str) -> list[ET.Element]:
    root = ET.fromstring(sidecar.read_text())  # noqa: S314 - our own sidecar
    return [item for found in root.iter(name) for item in found.iter(f"{RDF}li")]


def _words(sidecar: Path, name: str) -> list[str]:
    return [item.text or "" for item in _items(sidecar, LISTS[name])]


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    """The program with a settings file that names a list."""
    made = Program(tmp_path)
    (tmp_path / "list.txt").write_text("[Hue]\n\tWarm\n\t\tReds\n\t\t\t{scarlet}\n\tBlues\n")
    settings = tmp_path / "config" / "taggerd" / "taggerd.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text(
        f'arrivals.roots = ["{tmp_path}/photos"]\n'
        f'[keywords]\nvocabulary = "{tmp_path}/list.txt"\nmode = "only"\n'
        '[metadata]\nlanguage = "en-GB"\n[ownership]\nkeyword = "AI"\n'
    )
    (tmp_path / "photos").mkdir()
    yield made
    made.end()


def test_a_scan_writes_words_in_their_places(program: Program) -> None:
    """Each list as its readers want it; the texts in their language; only words of the list."""
    picture = photo(program.home / "photos" / "a.jpg", 0)  # red
    scanned = program("scan", program.home / "photos")
    assert scanned.returncode == 0, scanned.stderr
    sidecar = picture.with_name("a.jpg.xmp")
    assert _words(sidecar, "dc") == ["Reds", "Warm"]
    assert _words(sidecar, "lr") == ["Hue|Warm|Reds", "AI|Hue|Warm|Reds"]
    assert _words(sidecar, "digiKam") == ["Hue/Warm/Reds", "AI/Hue/Warm/Reds"]
    languages = [item.get(LANGUAGE) for item in _items(sidecar, TITLE)]
    assert languages == ["x-default", "en-GB"]
    (record,) = program.records()
    assert record["keywords"] == [{"keyword": "Reds", "score": None}]


@pytest.mark.long
def test_the_describer_s_english_is_not_marked_as_another_language(program: Program) -> None:
    """It speaks English whatever it is asked for."""
    picture = photo(program.home / "photos" / "a.jpg", 0)
    program.environment["TAGGERD__METADATA__LANGUAGE"] = "fr"
    program("scan", program.home / "photos")
    titles = _items(picture.with_name("a.jpg.xmp"), TITLE)
    assert [item.get(LANGUAGE) for item in titles] == ["x-default"]


def test_a_bad_list_costs_nothing(program: Program) -> None:
    """One line and exit 2: in the check, before a scan, before the service."""
    (program.home / "list.txt").write_text("a\n\t\t\tb\n")
    photo(program.home / "photos" / "a.jpg")
    for command in (["config", "check"], ["scan"], ["run"]):
        refused = program(*command)
        assert refused.returncode == 2, command
        assert refused.stderr.count("\n") == 1 + (command == ["run"]), refused.stderr
        assert "list.txt: line 2: 'b' is indented by 3 tabs" in refused.stderr
    assert list((program.home / "photos").iterdir()) == [program.home / "photos" / "a.jpg"]


def test_an_answer_in_the_wrong_script_is_shown_and_not_written(program: Program) -> None:
    """Status says why, the record holds the raw words, no sidecar is made."""
    program.environment["TAGGERD__METADATA__LANGUAGE"] = "ja"
    photo(program.home / "photos" / "a.jpg")
    scanned = program("scan", program.home / "photos")
    assert scanned.returncode == 1
    (failed,) = program.status()["failed"]
    assert "not in the script of Japanese" in failed["reason"]
    (record,) = program.records()
    assert record["error_kind"] == "AnswerRejected"
    assert "picture" in record["raw"]["caption"]
    assert not (program.home / "photos" / "a.jpg.xmp").exists()


@pytest.mark.long
def test_an_edited_list_counts_after_a_reload(program: Program) -> None:
    """SIGHUP reads it again; a broken one is named, and the one in force stays."""
    daemon = program.start()
    words = program.home / "list.txt"
    words.write_text("a\n\t\t\tb\n")
    daemon.send_signal(signal.SIGHUP)
    until(lambda: "the old ones stay" in program.log())
    first = photo(program.home / "photos" / "a.jpg", 0)
    until(lambda: first.with_name("a.jpg.xmp").exists())
    assert _words(first.with_name("a.jpg.xmp"), "dc") == ["Reds", "Warm"]
    words.write_text("Rouge\n\t{red}\n")
    daemon.send_signal(signal.SIGHUP)
    until(lambda: "reloading" in program.log())
    second = photo(program.home / "photos" / "b.jpg", 8)
    until(lambda: second.with_name("b.jpg.xmp").exists())
    assert _words(second.with_name("b.jpg.xmp"), "dc") == ["Rouge"]
    assert program.stop(daemon) == 0
