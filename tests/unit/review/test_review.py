"""What a person does in a review: on the disk at once, and in the ledger."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Literal

import pytest
from PIL import Image
from support.ledger import answer

from taggerd import files
from taggerd.errors import Conflict, PhotoGone, StorageError
from taggerd.ledger import Finished
from taggerd.metadata import Edit
from taggerd.photo import PhotoFile, Stamp
from taggerd.review import Review, open_library
from taggerd.services.pools import Disks, Pools
from taggerd.settings import Settings
from taggerd.testing import InMemoryLedger, ThreadWorkers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def review(tmp_path: Path) -> AsyncIterator[Review]:
    """A review of what lies in a folder, with threads for processes."""
    state = tmp_path / "state"
    state.mkdir()
    roots = {"roots": [str(tmp_path)]}
    settings = Settings.model_validate({"arrivals": roots, "state_directory": str(state)})
    workers, disks = ThreadWorkers(settings.workers), Disks()
    pools = Pools(workers, workers, workers, disks)
    async with open_library(settings, pools) as library:
        yield Review(settings, InMemoryLedger(), pools, library)
    disks.close()
    await workers.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A photo without a sidecar."""
    path = tmp_path / "a.jpg"
    Image.new("RGB", (16, 16)).save(path)
    return path


async def test_an_edit_is_written_and_kept(review: Review, path: Path) -> None:
    """In the sidecar, and in the photo's history with who said so."""
    done = await review.edit(path, Edit(caption="Sopot", add=("sea",)), by="ana")
    assert done.changed
    assert "Sopot" in path.with_name("a.jpg.xmp").read_text()
    history = await review.history(path)
    assert [(h.kind, h.field, h.after, h.who, h.action) for h in history] == [
        ("edited", "caption", "Sopot", "ana", done.action),
        ("added", "keywords", "sea", "ana", done.action),
    ]
    assert not (await review.edit(path, Edit(caption="Sopot", add=("sea",)))).changed


async def test_the_second_of_two_people_is_told(review: Review, path: Path) -> None:
    """With both texts; and what the first wrote stays."""
    await review.edit(path, Edit(caption="One", seen={"caption": ""}))
    with pytest.raises(Conflict, match="somebody else has changed the caption") as caught:
        await review.edit(path, Edit(caption="Two", seen={"caption": ""}))
    assert (caught.value.field, caught.value.seen, caught.value.now) == ("caption", "", "One")


async def test_one_photo_that_fails_stops_no_other(review: Review, path: Path) -> None:
    """Forty are selected, and one is gone."""
    gone = path.with_name("gone.jpg")
    first, second = await review.edit_all([gone, path], Edit(add=("sea",)))
    assert "is not there" in first.error
    assert second.changed
    assert [each.changed for each in await review.accept([path], "ana")] == [True]


def linked_away(path: Path) -> Path:
    """Let a photo and a folder beside it be links to another folder, and return that."""
    outside = path.parent.parent / f"{path.parent.name}-outside"
    outside.mkdir()
    path.rename(outside / "a.jpg")
    path.symlink_to(outside / "a.jpg")
    (path.parent / "day").symlink_to(outside)
    return outside


async def test_no_edit_goes_through_a_link(review: Review, path: Path) -> None:
    """Neither one that took the photo's name nor one that took its folder's leads anywhere."""
    outside = linked_away(path)
    for each in (path, path.parent / "day" / "a.jpg"):
        with pytest.raises(PhotoGone):
            await review.edit(each, Edit(add=("sea",)))
        for action in (review.reject, review.retag):
            (outcome,) = await action([each])
            assert outcome.error
    assert [each.name for each in outside.iterdir()] == ["a.jpg"]
    assert not path.with_name("a.jpg.xmp").is_file()


async def test_the_last_action_is_undone(review: Review, path: Path) -> None:
    """One after the other, until nothing is left; the history tells all of it."""
    await review.edit(path, Edit(caption="One"), by="ana")
    before = path.with_name("a.jpg.xmp").read_bytes()
    await review.edit(path, Edit(caption="Two", drop=("x",)), by="ana")
    await review.accept([path], "ana")
    await review.retag([path], "ana")
    assert (await review.undo(path)).changed  # the acceptance: what is asked stays asked
    assert b"Two" in path.with_name("a.jpg.xmp").read_bytes()
    assert (await review.undo(path)).changed
    assert path.with_name("a.jpg.xmp").read_bytes() == before
    assert (await review.undo(path)).changed
    assert not path.with_name("a.jpg.xmp").exists()
    assert (await review.undo(path)).notes == ("there is nothing to undo",)
    history = await review.history(path)
    undone = {each.kind for each in history if each.undone_at is not None}
    assert (len(history), undone) == (4, {"edited", "accepted"})


async def test_words_that_were_rejected_while_they_waited_come_back(
    review: Review, path: Path
) -> None:
    """An undone rejection queues the photo: its answers are in the ledger, and cost nothing."""
    file = PhotoFile(path, Stamp.of(files.lstat(path)))
    await review._ledger.admit([file])
    (claim,) = await review._ledger.claim(1, within=[path], run="run", now=math.inf)
    await review._ledger.end(claim, Finished("ab" * 32, held=(answer(),)))
    await review.reject([path])
    assert (await review._ledger.file_states([file]))[path].state == "dropped"
    done = await review.undo(path)
    assert done.notes == ("a.jpg is queued: its words come back with the next run",)
    assert (await review._ledger.file_states([file]))[path].state == "queued"


async def test_what_is_undone_is_what_was_named(review: Review, path: Path) -> None:
    """Ben wrote a caption since Ana added a keyword: her undo takes her word, not his."""
    ana = await review.edit(path, Edit(add=("sea",)), by="ana")
    ben = await review.edit(path, Edit(caption="Sopot"), by="ben")
    assert (await review.undo(path, "ana", ana.action)).changed
    entry = await review.words(path)
    assert (entry.caption.text, entry.keywords) == ("Sopot", ())
    assert not (await review.undo(path, "ana", ana.action)).changed
    assert (await review.undo(path, "ben", ben.action)).changed
    assert (await review.words(path)).caption.text == ""


async def test_an_edit_that_cannot_be_kept_is_not_written(
    review: Review, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger's disk is full: nobody could undo the edit."""

    async def full(*_: object) -> None:
        message = "make room on its disk"
        raise StorageError(message)

    monkeypatch.setattr(review._ledger, "correct", full)
    with pytest.raises(StorageError, match="make room"):
        await review.edit(path, Edit(caption="One"))
    assert not path.with_name("a.jpg.xmp").exists()


@pytest.mark.parametrize("target", ["sidecar", "embed", "both"])
async def test_two_people_at_once_lose_no_edit(
    review: Review, path: Path, target: Literal["sidecar", "embed", "both"]
) -> None:
    """Two servers on one state, each with processes of its own, write to one photo."""
    given = review._settings.model_dump() | {"metadata": {"target": target}}
    settings = Settings.model_validate(given)
    ledger, pools = review._ledger, review._pools
    people = [Review(settings, ledger, pools, review.library) for _ in range(2)]
    words = [[f"{name}{number}" for number in range(4)] for name in ("ana", "ben")]

    async def edits(person: Review, mine: list[str]) -> None:
        for word in mine:
            assert (await person.edit(path, Edit(add=(word,)), by=word)).changed

    await asyncio.gather(*map(edits, people, words))
    seen = {word.text for word in (await people[0].words(path)).keywords}
    assert seen == {word for mine in words for word in mine}
    assert len(await people[0].history(path)) == len(seen)
    for _ in seen:
        assert (await people[1].undo(path)).changed
    assert [word.text for word in (await people[0].words(path)).keywords] == []
