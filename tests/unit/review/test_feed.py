"""The catalogue says what the journal and the ledger say, and of no photo twice."""

from __future__ import annotations

import json
import shutil
from datetime import date
from typing import TYPE_CHECKING

import pytest
from support.records import DAY, record_of
from support.reviewing import Photos

from taggerd.arrivals import work_below
from taggerd.catalogue import Catalogue, Group, Query, Word, key_of
from taggerd.errors import StorageError
from taggerd.ledger import Correction, Deferred, Failed, Finished, Outgoing
from taggerd.photo import Keyword, Tags
from taggerd.review.feed import Feed
from taggerd.services import make_journal
from taggerd.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

NEXT_DAY = "2025-11-21"


async def test_a_record_becomes_an_entry(photos: Photos) -> None:
    """With whose words they are and which model said them."""
    path = photos.add()
    photos.journal(path, run="scan-7")
    await photos.end(path)
    photos.feed.news()
    entry = photos.entry(path)
    assert entry.caption == Word("Caption 1", "machine", "model-a")
    assert entry.description == Word("Description 1.", "machine", "model-b")
    assert entry.keywords[0] == Word("tree", "machine", "model-a")
    assert (entry.day, entry.run, entry.state, entry.error) == (DAY, "scan-7", "tagged", "")
    assert entry.digest == f"{1:064x}"


async def test_only_what_is_new_is_read(photos: Photos) -> None:
    """Feeding goes on where it left off, also in the next process; a later record wins."""
    path, other = photos.add(), photos.add("b.jpg")
    photos.journal(path)
    photos.feed.news()
    marks = photos.catalogue.notes()
    photos.feed.news()
    assert photos.catalogue.notes() == marks
    photos.journal(other)
    photos.journal(path, tags=Tags(caption="Later", keywords=(Keyword("new"),)))
    photos.journal(path, day=NEXT_DAY, dry_run=True)
    later = Feed(photos.catalogue, photos.settings)
    read: list[int] = []
    journal = make_journal(photos.settings)
    read += [len(records) for _, records, _ in journal.read_on({DAY: marks[f"day {DAY}"]})]
    later.news()
    assert read == [2, 1]
    assert photos.entry(path).caption.text == "Later"
    assert photos.catalogue.groups("keyword", Query(folder=str(photos.folder))) == [
        Group("new", 1),
        Group("tree", 1),
        Group("word 2", 1),
    ]


async def test_a_day_that_is_compressed_or_cut_off_is_read_again(photos: Photos) -> None:
    """No record is lost by it, and an older one replaces no later one."""
    path = photos.add()
    photos.journal(path)
    photos.feed.news()
    photos.journal(photos.add("b.jpg"))
    journal = make_journal(photos.settings)
    journal._compress_after_days = 1
    journal.tidy(date(2026, 1, 1))
    assert not (journal.results / f"{DAY}.jsonl").exists()
    photos.journal(path, day=NEXT_DAY, tags=Tags(caption="Later"))
    photos.feed.news()
    assert photos.catalogue.count(Query()) == 2
    assert photos.entry(path).caption.text == "Later"
    photos.journal(photos.add("c.jpg"))  # a late record: both files of the day are there
    photos.feed.news()
    assert photos.catalogue.count(Query()) == 3
    assert photos.entry(path).caption.text == "Later"
    marks = photos.catalogue.notes()
    photos.feed.news()
    assert photos.catalogue.notes() == marks


async def test_half_a_line_is_waited_for(photos: Photos) -> None:
    """What is still being written is read when it is whole; a damaged line stops nothing."""
    path = photos.add()
    photos.journal(path)
    photos.feed.news()
    file = make_journal(photos.settings).results / f"{DAY}.jsonl"
    whole = file.read_bytes()
    line = whole.replace(b"record-1", b"record-9").replace(b"Caption 1", b"Caption 9")
    line = line.replace(b"T09:0", b"T10:0")
    file.write_bytes(whole + b"{damaged\n" + line[:100])
    photos.feed.news()
    assert photos.entry(path).caption.text == "Caption 1"
    with file.open("ab") as opened:
        opened.write(line[100:])
    photos.feed.news()
    assert photos.entry(path).caption.text == "Caption 9"


async def test_states_are_those_of_the_ledger(photos: Photos) -> None:
    """What waits, failed or was undone is shown as that, with the reason, until it is tagged."""
    waits, fails, bare, undone = (photos.add(f"{n}.jpg") for n in range(4))
    photos.journal(fails, error="no picture", error_kind="X", metadata_written=False)
    for path in (bare, undone):
        photos.journal(path)
    await photos.end(waits, Deferred("the backend is away", until=1e13))
    await photos.end(fails, Failed("no picture", final=True))
    await photos.end(bare, Finished("ab" * 32, sidecars_written=False))
    await photos.end(undone)
    await photos.ledger.mark_undone([undone])
    photos.feed.news()
    assert [photos.entry(each).state for each in (waits, fails, bare, undone)] == [
        "queued",
        "failed",
        "queued",
        "rejected",
    ]
    assert photos.entry(fails).error == "no picture"
    found = photos.catalogue.find(Query()).entries
    assert [each.path for each in found][:2] == [fails, undone]
    for path in (waits, fails):
        photos.journal(path)
    await photos.ledger.retry([fails])
    photos.feed.news()
    assert photos.entry(fails).state == "queued"
    for path in (waits, fails):
        for claim in await photos.ledger.claim(9, within=[path], run="other", now=2e13):
            await photos.ledger.end(claim, Finished("cd" * 32))
    photos.feed.news()
    assert [photos.entry(each).state for each in (waits, fails)] == ["tagged", "tagged"]
    assert photos.entry(fails).error == ""


async def test_what_people_decided_stands_until_the_photo_is_tagged_again(photos: Photos) -> None:
    """Accepted is reviewed, rejected is rejected; undone it is neither."""
    path = photos.add()
    photos.journal(path)
    await photos.end(path)
    photos.feed.news()

    async def correct(kind: str, minutes: float, action: str) -> str:
        made = Correction(photo=path, kind=kind, action=action, at=photos.at(minutes))  # type: ignore[arg-type]
        await photos.ledger.correct([made])
        photos.feed.news()
        return str(photos.entry(path).state)

    assert await correct("accepted", 2, "a") == "reviewed"
    assert await correct("edited", 2.5, "b") == "reviewed"
    assert await correct("rejected", 3, "c") == "rejected"
    await photos.ledger.undo_corrections("c")
    photos.feed.news()
    assert photos.entry(path).state == "reviewed"
    photos.written += 10
    photos.journal(path)  # with other words
    photos.feed.news()
    assert photos.entry(path).state == "tagged"


async def test_what_was_accepted_is_reviewed_when_it_is_written(photos: Photos) -> None:
    """The same words in a later record are the accepted ones, also in a catalogue made again."""
    path = photos.add()
    tags = Tags(caption="The same")
    photos.journal(path, tags=tags, metadata_written=False, held=True)
    photos.feed.news()
    correction = Correction(photo=path, kind="accepted", action="a", at=photos.at(1.5))
    await photos.ledger.correct([correction])
    photos.written += 10
    photos.journal(path, tags=tags)
    await photos.end(path)
    photos.feed.news()
    assert photos.entry(path).state == "reviewed"
    assert photos.entry(path).written
    photos.feed.forget()
    photos.feed.news()
    assert photos.entry(path).state == "reviewed"
    photos.written += 1
    photos.journal(path, tags=Tags(caption="Another"))
    photos.feed.news()
    assert photos.entry(path).state == "tagged"


async def test_a_photo_without_a_record_is_found_and_one_that_is_gone_is_not(
    photos: Photos,
) -> None:
    """Tagged before, it leaves no record; what is out of sight is not gone."""
    kept, bare, gone = (photos.add(f"{n}.jpg") for n in range(3))
    away = photos.folder / "card" / "b.jpg"
    photos.add("card/b.jpg")
    for path in (kept, gone, away):
        photos.journal(path)
    await photos.end(kept)
    await photos.end(bare)
    gone.unlink()
    shutil.rmtree(away.parent)
    photos.feed.news()
    photos.feed.census()
    assert {path for _, path in photos.catalogue.paths()} == {kept, bare, away}
    assert photos.entry(bare).state == "tagged"
    assert photos.entry(bare).digest == "ab" * 32
    assert photos.entry(bare).day


async def test_a_jpeg_takes_the_stead_of_the_raw_that_it_joins(photos: Photos) -> None:
    """One photo is one entry."""
    raw = photos.add("a.cr3")
    photos.journal(raw)
    await photos.end(raw)
    photos.feed.news()
    jpeg = photos.add("a.jpg")
    await photos.end(jpeg)
    photos.feed.news()
    photos.feed.census()
    assert [path for _, path in photos.catalogue.paths()] == [jpeg]


async def test_a_released_photo_is_followed(photos: Photos, tmp_path: Path) -> None:
    """It lies elsewhere, with the same words."""
    released = tmp_path / "released"
    arrivals = photos.settings.arrivals.model_copy(update={"release_to": released})
    settings = photos.settings.model_copy(update={"arrivals": arrivals})
    path = photos.add("card/a.jpg")
    photos.journal(path)
    feed = Feed(photos.catalogue, settings)
    feed.news()
    (released / "card").mkdir(parents=True)
    path.rename(released / "card" / "a.jpg")
    feed.census()
    ((_, now),) = photos.catalogue.paths()
    assert now == released / "card" / "a.jpg"
    assert photos.entry(now).caption.text == "Caption 1"
    assert photos.entry(now).day == DAY


async def test_a_catalogue_made_again_says_the_same(photos: Photos) -> None:
    """It holds nothing that is nowhere else."""
    paths = [photos.add(f"{n}.jpg") for n in range(6)]
    for number, path in enumerate(paths[:5]):
        photos.journal(path, day=DAY if number % 2 else NEXT_DAY)
        await photos.end(path, Failed("no", final=True) if number == 3 else None)
        photos.feed.news()
    await photos.ledger.correct([Correction(photo=paths[0], kind="accepted", action="x")])
    await photos.end(paths[5])
    photos.feed.news()
    photos.feed.census()
    before = photos.catalogue.find(Query()).entries
    photos.feed.forget()
    assert photos.catalogue.count(Query()) == 0
    photos.feed.news()
    photos.feed.census()
    assert photos.catalogue.find(Query()).entries == before
    states = dict(photos.catalogue.groups("state"))
    assert states == {"failed": 1, "reviewed": 1, "tagged": 4}


async def test_states_stay_where_the_ledger_cannot_be_read(
    photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records are taken in all the same; when it can be read again, its states are."""
    path = photos.add()
    photos.journal(path)
    await photos.end(path, Failed("no", final=True))
    photos.feed.news()
    assert photos.entry(path).state == "failed"

    def unreadable(*_: object) -> None:
        message = "the ledger cannot be read"
        raise StorageError(message)

    await photos.ledger.retry([path])
    with monkeypatch.context() as patch:
        patch.setattr("taggerd.review.feed.read_ledger", unreadable)
        photos.journal(photos.add("b.jpg"))
        with pytest.raises(StorageError):
            photos.feed.news()
        assert photos.entry(path).state == "failed"
        assert photos.catalogue.get(key_of(photos.folder / "b.jpg")) is not None
    photos.feed.news()
    assert photos.entry(path).state == "queued"


async def test_what_another_host_did_is_known_where_they_share_a_ledger(
    tmp_path: Path, empty_database: str
) -> None:
    """Its records lie in day files of its own; what is done later is heard of as well."""
    from taggerd.ledger.postgres import opening  # noqa: PLC0415 - where a server is
    from taggerd.ledger.postgres.ledger import PostgresLedger  # noqa: PLC0415 - likewise
    from taggerd.ledger.postgres.naming import Naming  # noqa: PLC0415 - likewise

    opening.init(empty_database)
    folder = tmp_path / "photos"
    folder.mkdir()
    settings = Settings.model_validate(
        {
            "arrivals": {"roots": [{"name": "archive", "path": str(folder)}]},
            "state_directory": str(tmp_path / "state"),
            "ledger": {"url": empty_database},
            "service": {"host": "here"},
        }
    )
    work_below([], settings)
    (tmp_path / "state").mkdir(mode=0o700)
    naming = Naming("there", {"archive": folder})
    ledger = await PostgresLedger.open(empty_database, paths=naming, host="there")
    catalogue = Catalogue.open(tmp_path / "state")
    photos = Photos(folder, settings, ledger, catalogue, Feed(catalogue, settings))
    path = photos.add()
    photos.feed.news()
    record = record_of(1, image=path, metadata_written=True)
    line = json.dumps(record.to_json())
    await photos.end(path, Finished("ab" * 32, record=Outgoing(record.id, DAY, line)))
    await ledger.delivered([each.id for each in await ledger.outbox(9)])
    photos.feed.news()
    assert photos.entry(path).caption.text == "Caption 1"
    assert (photos.entry(path).day, photos.entry(path).state) == (DAY, "tagged")
    await ledger.correct([Correction(photo=path, kind="accepted", action="x")])
    photos.feed.news()
    assert photos.entry(path).state == "reviewed"
    catalogue.close()
    await ledger.close()
