"""Held photos in the review: edited while they wait, accepted or rejected, and written at once."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from support.program import CountingBackend, Program, otherwise, photo

from taggerd.errors import Conflict
from taggerd.metadata import Edit
from taggerd.review import open_review
from taggerd.settings import configuration

if TYPE_CHECKING:
    from pathlib import Path

    from taggerd.settings.configuration import Configuration


@pytest.fixture
def held(taggerd: Program, inbox: Path, monkeypatch: pytest.MonkeyPatch) -> Configuration:
    """Return the settings of a program that has answers for three photos, and no daemon."""
    taggerd.environment["TAGGERD__REVIEW__HOLD"] = "true"
    for number in range(3):
        photo(inbox / f"{number}.jpg", number)
    assert taggerd("scan", inbox).returncode == 0
    for name, value in taggerd.full_environment().items():
        monkeypatch.setenv(name, value)
    config = taggerd.home / "taggerd.toml"
    config.write_text(f'[arrivals]\nroots = ["{inbox}"]\n')
    return configuration.load({}, cwd=taggerd.home, config=config)


def read(path: Path, *fields: str) -> list[str]:
    """Return what exiftool reads of *fields* in a file."""
    done = subprocess.run(
        ["exiftool", "-s3", *(f"-{field}" for field in fields), path],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


@pytest.mark.slow
async def test_an_accepted_photo_is_written_with_what_was_edited_while_it_waited(
    held: Configuration, taggerd: Program, inbox: Path
) -> None:
    """A human's text stays, a dropped keyword stays away, the rest is the machine's."""
    words = {r["image"]: r for r in taggerd.records()}
    first, second, third = (inbox / f"{n}.jpg" for n in range(3))
    dropped = words[str(first)]["keywords"][0]["keyword"]
    async with open_review(held) as review:
        seen = {"caption": words[str(first)]["caption"]}
        edit = Edit(caption="Ana at the pier", drop=(dropped,), seen=seen)
        await review.edit(first, edit, by="ana")
        with pytest.raises(Conflict):  # somebody who saw the same is too late
            await review.edit(first, Edit(caption="Bo at the pier", seen=seen), by="bo")
        assert first.with_name("0.jpg.xmp").exists()
        done = await review.accept([first, second], by="ana")
        assert [(each.changed, each.error) for each in done] == [(True, "")] * 2
        rejected = await review.reject([third], by="ana")
        assert [each.error for each in rejected] == [""]
    written = taggerd.records()[3:]
    assert {r["image"] for r in written} == {str(first), str(second)}
    assert all(r["metadata_written"] and not r["usage"]["requests"] for r in written)
    sidecar = first.with_name("0.jpg.xmp")
    assert read(sidecar, "XMP-photoshop:Headline") == ["Ana at the pier"]
    (keywords,) = read(sidecar, "XMP-dc:Subject")
    assert dropped not in keywords.split(", ")
    assert keywords
    assert read(sidecar, "XMP-dc:Description") == [words[str(first)]["description"]]
    caption = read(second.with_name("1.jpg.xmp"), "XMP-photoshop:Headline")
    assert caption == [words[str(second)]["caption"]]
    counts = taggerd.status()["counts"]
    assert (counts["recorded"], counts["held"], counts["unwritten"]) == (2, 0, 1)
    assert "not accepted before" in taggerd("scan", inbox).stdout


@pytest.mark.long
async def test_new_words_of_a_tagged_photo_are_edited_while_they_wait(
    held: Configuration, taggerd: Program, backend: CountingBackend, inbox: Path
) -> None:
    """Who reads the words that wait edits those: the older ones on the disk are no conflict."""
    path = inbox / "0.jpg"
    taggerd.base_url = backend.base_url
    assert taggerd("scan", "--no-hold", path).returncode == 0
    otherwise(backend)
    assert taggerd("scan", "--retag", path).returncode == 0
    async with open_review(held) as review:
        await review.library.refresh()
        seen = {"caption": (await review.words(path)).caption.text}
        assert seen["caption"] != read(path.with_name("0.jpg.xmp"), "XMP-photoshop:Headline")[0]
        edited = await review.edit(path, Edit(caption="Ana", seen=seen), by="ana")
        assert edited.changed
        with pytest.raises(Conflict):  # somebody who saw the same is too late
            await review.edit(path, Edit(caption="Bo", seen=seen), by="bo")
        await review.accept([path], by="ana")
    assert read(path.with_name("0.jpg.xmp"), "XMP-photoshop:Headline") == ["Ana"]
