"""A person's words, written in a review, through everything that taggerd does afterwards."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import pytest
from support.program import other_words, photo, until

from taggerd.errors import Conflict
from taggerd.metadata import Edit
from taggerd.review import Review, open_review
from taggerd.settings import Settings
from taggerd.settings.configuration import Configuration

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from support.program import CountingBackend, Program, Reply

MINE = "\u202bשָׁלוֹם\u202c, Ana's <dog> & 雪"  # noqa: RUF001 - right to left, with marks


def review(
    program: Program, work: Callable[[Review], Awaitable[Any]], target: str = "sidecar"
) -> Any:  # noqa: ANN401 - what the work returns
    """Open the review on the program's state, as the browser's server does, and do *work*."""
    given = {"state_directory": str(program.state), "metadata": {"target": target}}
    configuration = Configuration(Settings.model_validate(given), {}, None)

    async def opened() -> object:
        async with open_review(configuration) as open_:
            return await work(open_)

    return asyncio.run(opened())


def words(program: Program, path: Path) -> dict[str, Any]:
    """Return what ``taggerd show`` says of the only thing that holds words."""
    (shown,) = json.loads(program("show", "--json", path).stdout)
    (one,) = shown["sidecars"] or shown["embedded"]
    return dict(one)


def texts(one: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Return each field with its text and whose it is."""
    return {text["field"]: (text["text"], text["whose"]) for text in one["texts"]}


@pytest.mark.long
@pytest.mark.parametrize("target", ["sidecar", "embed"])
def test_an_edit_outlives_what_taggerd_does(
    taggerd: Program, card: Path, backend: CountingBackend, target: str
) -> None:
    """A retag by another model, a rewrite, overwriting, and an undo of the machine's words."""
    taggerd.base_url = backend.base_url
    taggerd.environment["TAGGERD__METADATA__TARGET"] = target
    path = card / "IMG_0000.jpg"
    assert "tagged 5 of 5" in taggerd("scan", card).stdout
    dropped, *_ = words(taggerd, path)["keywords"]["machine"]
    mine = Edit(caption=MINE, drop=(dropped,), add=("Sopot",))
    assert review(taggerd, lambda r: r.edit(path, mine, "ana"), target).changed
    asked = backend.photo_requests

    assert "5 tagged before" in taggerd("scan", card).stdout
    assert backend.photo_requests == asked
    shown = taggerd("show", path).stdout
    assert "edited" in shown
    backend.script = other_words
    for command in (
        ("scan", "--retag", card),
        ("rewrite", card),
        ("scan", "--retag", "--overwrite-metadata", card),
    ):
        done = taggerd(*command)
        assert done.returncode == 0, done.stderr
        now = words(taggerd, path)
        assert {text for text, whose in texts(now).values() if whose == "human"} == {MINE}
        assert texts(now)["dc:description"][1] == "machine"
        assert now["keywords"]["human"] == ["Sopot"]
        assert dropped not in now["keywords"]["machine"]
        assert dropped in now["keywords"]["rejected"]
    assert "wide format" in words(taggerd, path)["keywords"]["machine"]  # it was asked again

    assert taggerd("undo", card).returncode == 0
    (left,) = json.loads(taggerd("show", "--json", path).stdout)
    (one,) = left["sidecars"] or left["embedded"]
    assert {text["text"] for text in one["texts"]} == {MINE}
    assert one["keywords"]["machine"] == []
    assert {each.name for each in card.iterdir() if each.suffix == ".xmp"} == (
        {"IMG_0000.jpg.xmp"} if target == "sidecar" else set()
    )


@pytest.mark.slow
@pytest.mark.parametrize("target", ["sidecar", pytest.param("embed", marks=pytest.mark.long)])
def test_an_edit_of_a_photo_that_is_being_tagged(
    taggerd: Program, inbox: Path, backend: CountingBackend, target: str
) -> None:
    """The daemon has asked and waits for the answer: it writes around the person's words."""
    taggerd.base_url = backend.base_url
    taggerd.environment["TAGGERD__METADATA__TARGET"] = target
    (taggerd.home / "taggerd.toml").write_text(f'[arrivals]\nroots = ["{inbox}"]\n')
    asked, go_on = threading.Event(), threading.Event()

    def script(path: str, body: bytes) -> Reply | None:
        reply = other_words(path, body)
        if reply is not None:
            asked.set()
            go_on.wait(180)
        return reply

    backend.script = script
    path = photo(inbox / "a.jpg", 1)
    taggerd.start("--config", taggerd.home / "taggerd.toml")
    assert asked.wait(180)
    try:
        assert review(taggerd, lambda r: r.edit(path, Edit(caption=MINE)), target).changed
    finally:
        go_on.set()
    until(lambda: taggerd.status()["counts"]["recorded"] == 1)
    now = words(taggerd, path)
    assert texts(now)["dc:title"] == (MINE, "human")
    assert texts(now)["dc:description"][1] == "machine"
    assert now["keywords"]["machine"]
    assert backend.photo_requests == 3  # nothing is paid for twice


def test_other_programs_read_an_edit(taggerd: Program, card: Path) -> None:
    """To exiftool, the photo has the person's words, and none that was dropped."""
    if shutil.which("exiftool") is None:
        pytest.skip("exiftool is not installed: apt-get install libimage-exiftool-perl")
    path = card / "IMG_0000.jpg"
    assert taggerd("scan", path).returncode == 0
    dropped, *_ = words(taggerd, path)["keywords"]["machine"]
    mine = Edit(caption=MINE, drop=(dropped,), add=("Places|Sopot",))
    review(taggerd, lambda r: r.edit(path, mine))
    command = ["exiftool", "-j", "-XMP:all", os.fspath(card / "IMG_0000.jpg.xmp")]
    (read,) = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert (read["Title"], read["Headline"]) == (MINE, MINE)
    assert "Sopot" in read["Subject"]
    assert dropped not in read["Subject"]
    assert "Places|Sopot" in read["HierarchicalSubject"]
    assert "Places/Sopot" in read["TagsList"]


async def test_two_people_see_each_others_edits(taggerd: Program, card: Path) -> None:
    """Whoever saves a text second is told, and has both."""
    path = card / "IMG_0000.jpg"
    settings = Settings.model_validate({"state_directory": str(taggerd.state)})
    configuration = Configuration(settings, {}, None)
    async with open_review(configuration) as ana, open_review(configuration) as ben:
        await ana.edit(path, Edit(caption="Ana's", seen={"caption": ""}), "ana")
        with pytest.raises(Conflict) as caught:
            await ben.edit(path, Edit(caption="Ben's", seen={"caption": ""}), "ben")
        assert (caught.value.seen, caught.value.now) == ("", "Ana's")
        await ben.edit(path, Edit(caption="Ben's", seen={"caption": "Ana's"}), "ben")
        assert (await ana.words(path)).caption.text == "Ben's"
        assert [each.who for each in await ana.history(path)] == ["ana", "ben"]
