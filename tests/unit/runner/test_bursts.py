"""A run with bursts: who is asked about, whose words stand in the sidecars, what a kill costs."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import httpx
import pytest
from PIL import Image
from support.bursts import Frame, handheld, slide, write

from taggerd.attempt import RunOptions
from taggerd.ledger import Released
from taggerd.runner.runner import Runner
from taggerd.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from support.site import Site

    from taggerd.journal import Record
    from taggerd.photo import Answer

ROLES = 3


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a burst wait for its photos for as long as a busy machine decodes them."""
    monkeypatch.setattr("taggerd.burst.gathering.LONGEST_WAIT_SECONDS", 600.0)


async def tagged(site: Site, *, burst: bool = True, **options: bool) -> dict[str, Record]:
    """Run until nothing is left; return the records by photo."""
    tables = site.settings.model_dump() | {"burst": {"enabled": burst}}
    site.settings = Settings.model_validate(tables)
    records: dict[str, Record] = {}
    async with site.services() as services:
        await Runner(
            services,
            RunOptions(run="r", within=(site.folder,), **options),
            on_outcome=[lambda o: records.update({o.photo.name: o.record} if o.record else {})],
            more_to_come=lambda: False,
        ).work(drain_seconds=0)
    return records


def sidecar(path: Path) -> str:
    """Return the text of a photo's sidecar."""
    (found,) = path.parent.glob(f"{path.stem}*.xmp")
    return found.read_text(encoding="utf-8")


async def test_one_photo_of_a_burst_is_asked_about(site: Site) -> None:
    """The others take its words; records and sidecars name it, its model and its backend."""
    frames = [*handheld(1, 5), *handheld(2, 4, start=60), Frame(scene=3, at=120)]
    paths = write(site.folder, frames)
    await site.admit(*paths)
    records = await tagged(site)
    assert site.questions == 3 * ROLES
    asked = {name for name, record in records.items() if record.usage["requests"]}
    assert len(asked) == 3
    for path in paths:
        record = records[path.name]
        assert not record.error
        assert set(record.models) == {"caption", "keywords", "description"}
        assert record.backend
        text = sidecar(path)
        if path.name in asked:
            assert not record.inherited_from
            assert "inherited_from" not in text
        else:
            assert record.inherited_from in asked
            assert f"<taggerd:inherited_from>{record.inherited_from}<" in text
            assert record.caption == records[record.inherited_from].caption
            assert record.usage == {"requests": 0, "prompt_tokens": 0, "completion_tokens": 0}


async def test_nothing_changes_where_it_is_off(site: Site) -> None:
    """Which it is by default: each photo is asked about, and no property says anything."""
    paths = write(site.folder, handheld(1, 3))
    await site.admit(*paths)
    assert not site.settings.burst.enabled
    records = await tagged(site, burst=False)
    assert site.questions == 3 * ROLES
    assert not any(record.inherited_from for record in records.values())
    assert not any("inherited_from" in sidecar(path) for path in paths)


@pytest.mark.parametrize(
    "frames",
    [
        [Frame(scene=4, at=n * 0.1, across=n * 90.0 - 150) for n in range(4)],
        [Frame(scene=4, at=n * 0.1, stops=stops) for n, stops in enumerate((0, -1, 1))],
        [Frame(scene=4, at=n * 0.1, bias=bias) for n, bias in enumerate((0, -1 / 3, 1 / 3))],
        [Frame(scene=4, at=n * 0.1, mode=2) for n in range(3)],
        [Frame(scene=4, camera=("Canon", "EOS R6", serial)) for serial in "123"],
        [slide(n, at=n * 3.0) for n in range(4)],
        [Frame(scene=4, bare=True), Frame(scene=4, bare=True, blur=1)],
        [Frame(scene=4, at=n * 2.0) for n in range(3)],
        [Frame(scene=4, at=n * 0.1, blur=900, subject=n * 40.0) for n in range(2)],
    ],
    ids=[
        "pan",
        "bracket",
        "thirds",
        "auto-bracket",
        "cameras",
        "slides",
        "no-exif",
        "minutes",
        "fog",
    ],
)
async def test_what_is_no_burst_is_asked_about_each(site: Site, frames: list[Frame]) -> None:
    """No photo carries the words of another scene, exposure, camera or moment."""
    paths = write(site.folder, frames)
    await site.admit(*paths)
    records = await tagged(site)
    assert site.questions == len(paths) * ROLES
    assert not any(record.inherited_from for record in records.values())


async def test_photos_of_two_folders_or_sizes_are_no_burst(site: Site) -> None:
    """A prompt may name the folder; a crop of a photo shows something else."""
    (photo,) = write(site.folder, [Frame(scene=4)])
    folder = site.folder / "other"
    folder.mkdir()
    (other,) = write(folder, [Frame(scene=4, at=0.1)], "OTHER_")
    smaller = photo.with_name("smaller.jpg")
    with Image.open(photo) as image:
        image.reduce(2).save(smaller, "JPEG", exif=image.getexif())
    await site.admit(photo, other, smaller)
    records = await tagged(site)
    assert site.questions == 3 * ROLES
    assert not any(record.inherited_from for record in records.values())


async def test_retag_asks_about_each(site: Site) -> None:
    """Its own words take the place of those that it took from another."""
    paths = write(site.folder, handheld(1, 3))
    await site.admit(*paths)
    await tagged(site)
    assert site.questions == ROLES
    await site.admit(*paths, again=True)
    records = await tagged(site, ask_again=True)
    assert site.questions == 3 * ROLES
    assert not any(record.inherited_from for record in records.values())
    assert not any("inherited_from" in sidecar(path) for path in paths)


async def test_a_rewrite_still_says_whose_words_they_are(site: Site) -> None:
    """It sends no request, and takes what is held."""
    paths = write(site.folder, handheld(1, 3))
    await site.admit(*paths)
    first = await tagged(site)
    await site.admit(*paths, again=True)
    again = await tagged(site, rewrite=True)
    assert site.questions == 0
    named = {name: record.inherited_from for name, record in first.items()}
    assert {name: record.inherited_from for name, record in again.items()} == named
    assert sum(map(bool, named.values())) == 2


async def test_if_the_backend_refuses_the_sharpest_the_next_is_asked_about(site: Site) -> None:
    """One photo fails, with its own reason; the burst has words all the same."""
    refused: set[str] = set()

    def refuse_the_first(request: httpx.Request) -> httpx.Response | None:
        picture = next(p for p in _pictures(json.loads(request.content)) if p)
        if picture in refused or not refused:
            refused.add(picture)
            return httpx.Response(400, json={"error": {"message": "image refused"}})
        return None

    site.answer = refuse_the_first
    await site.admit(*write(site.folder, handheld(1, 4)))
    records = await tagged(site)
    failed = [record for record in records.values() if record.error]
    assert len(failed) == 1
    assert not failed[0].inherited_from
    assert sum(bool(record.inherited_from) for record in records.values()) == 2


def _pictures(body: dict[str, object]) -> list[str]:
    """Return the pictures in a request."""
    text = json.dumps(body)
    return [part.split('"')[0] for part in text.split("base64,")[1:]]


async def test_a_burst_larger_than_what_may_be_in_flight_comes_through(site: Site) -> None:
    """Nothing waits for a photo that nobody may claim."""
    tables = site.settings.model_dump() | {"queue": {"photos_in_flight": 2}}
    site.settings = Settings.model_validate(tables)
    await site.admit(*write(site.folder, handheld(1, 7)))
    records = await tagged(site)
    assert len(records) == 7
    assert not any(record.error for record in records.values())


async def test_what_was_answered_before_a_stop_is_inherited_after_it(site: Site) -> None:
    """At most the requests of one burst are lost, whichever photo was sharper."""
    await site.admit(*write(site.folder, handheld(1, 4)))
    stopped: list[asyncio.Task[object]] = []

    def stop(_request: httpx.Request) -> httpx.Response | None:
        if site.questions == ROLES:
            stopped[0].cancel()
        return None

    site.answer = stop
    stopped.append(asyncio.create_task(tagged(site)))
    with suppress(asyncio.CancelledError):
        await stopped[0]
    assert site.questions == ROLES
    site.answer = lambda _request: None
    records = await tagged(site)
    assert site.questions <= ROLES
    assert len(records) == 4
    assert sum(not record.inherited_from for record in records.values()) == 1


@pytest.mark.parametrize(
    "own", [(), ("caption",)], ids=["some are left", "its own and those of another are left"]
)
async def test_words_of_two_photos_are_never_mixed(site: Site, own: tuple[str, ...]) -> None:
    """A kill leaves part of what was taken from a photo that is not there to be compared with."""
    first, *others = write(site.folder, handheld(1, 3))
    await site.admit(first)
    await tagged(site)
    taken: list[Answer] = []
    for held in await site.ledger.answers(site.digest(first.name)):
        source = "" if held.answer.role in own else first.name
        if own or held.answer.role != "caption":
            taken.append(replace(held.answer, inherited_from=source))
    await site.admit(*others)
    async with site.services() as services:
        (claim, *_) = claims = await services.ledger.claim(
            9, now=1e12, run="before", within=[site.folder]
        )
        for path in others:
            for answer in taken:
                await services.ledger.checkpoint(claim, site.digest(path.name), answer)
        for each in claims:
            await services.ledger.end(each, Released())
    records = await tagged(site)
    named = [records[path.name].inherited_from for path in others]
    asked = {path.name for path in others if not records[path.name].inherited_from}
    assert asked
    assert {each for each in named if each} <= asked
    assert site.questions == len(asked) * (ROLES - len(own))
