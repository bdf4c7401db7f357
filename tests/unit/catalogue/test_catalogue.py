"""The catalogue: what is put in is found again, in order, by every part of a query."""

from __future__ import annotations

import os
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from taggerd.catalogue import Catalogue, Entry, Group, Query, Word, key_of
from taggerd.photo import Stamp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taggerd.catalogue import State

DAY = "2025-06-30"


def entry(path: str | bytes = "/photos/a.jpg", *keywords: str, **values: object) -> Entry:
    """Return an entry with machine *keywords*."""
    made = Entry(path=Path(os.fsdecode(path)), day=DAY, models={"caption": "eye:12b"})
    words = tuple(Word(keyword, "machine", "eye:12b") for keyword in keywords)
    return replace(made, keywords=words, **values)  # type: ignore[arg-type]


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    """Open an empty catalogue."""
    opened = Catalogue.open(tmp_path)
    yield opened
    opened.close()


def names(catalogue: Catalogue, query: Query) -> list[str]:
    """Return the names of the photos that *query* means, and check that the count says so too."""
    found = [each.name for each in catalogue.find(query).entries]
    assert catalogue.count(query) == len(found)
    return found


def test_an_entry_comes_back_as_it_was_put(catalogue: Catalogue) -> None:
    """Every field, also of a path that is no UTF-8, and words of every script."""
    full = Entry(
        path=Path(os.fsdecode(b"/photos/\xff/\n1.jpg")),
        day=DAY,
        run="run-1",
        digest="ab" * 32,
        caption=Word("A caption", "human"),
        description=Word("写真 <b>", "machine", "eye:12b"),
        keywords=(Word("Animals/Dog", "machine", "eye:12b"), Word("Rex", "human")),
        rejected=("cat",),
        own={"mood": "calm"},
        models={"caption": "eye:12b", "keywords": "other"},
        state="reviewed",
        error="none",
        at=1751234567.25,
        stamps={Path(os.fsdecode(b"/photos/\xff/\n1.xmp")): Stamp(1, 2**70, 3, 4)},
    )
    catalogue.put([full])
    assert catalogue.get(full.key) == full
    assert catalogue.find(Query()).entries == [full]
    assert full.key == key_of(full.path)
    assert len(full.key) == 24


def test_a_later_entry_takes_the_earlier_ones_stead(catalogue: Catalogue) -> None:
    """Nothing is found by what it said before, and no group keeps a photo that is gone."""
    catalogue.put([entry("/photos/a.jpg", "dog", "sun", caption=Word("Old words"))])
    catalogue.put([entry("/photos/a.jpg", "cat", "sun", state="failed", caption=Word("New"))])
    assert names(catalogue, Query(text="old")) == []
    assert names(catalogue, Query(keyword="dog")) == []
    assert names(catalogue, Query(text="new", keyword="cat", state="failed")) == ["a.jpg"]
    assert catalogue.groups("keyword") == [Group("cat", 1), Group("sun", 1)]
    assert catalogue.groups("state") == [Group("failed", 1)]


def test_a_dropped_photo_is_found_by_nothing(catalogue: Catalogue) -> None:
    """Not by its key, its words or its groups."""
    gone, kept = entry("/photos/a.jpg", "dog"), entry("/photos/b.jpg", "dog")
    catalogue.put([gone, kept])
    catalogue.drop([gone.key, "no key", "ff" * 12])
    assert catalogue.get(gone.key) is None
    assert names(catalogue, Query(text="dog")) == ["b.jpg"]
    assert catalogue.groups("keyword") == [Group("dog", 1)]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (Query(), True),
        (Query(text="harbour"), True),
        (Query(text="HARB"), True),
        (Query(text="cafe"), True),
        (Query(text="évening fish"), True),
        (Query(text="fish zebra"), False),
        (Query(text="img_0042"), True),
        (Query(text="arbour"), False),
        (Query(text='"blue boat"'), True),
        (Query(text='"boat blue"'), False),
        (Query(text='"blu"'), False),
        (Query(text="京都"), True),
        (Query(text="都の"), True),
        (Query(text="都京"), False),
        (Query(text="calm"), True),
        (Query(text="caption:harbour OR x"), False),
        (Query(text="'); DROP TABLE words; --"), False),
        (Query(text='"'), False),
        (Query(text="!?"), False),
        (Query(text=" \0 "), False),
        (Query(day=DAY), True),
        (Query(day="2025-07-01"), False),
        (Query(folder="/photos/sea"), True),
        (Query(folder="/photos"), False),
        (Query(run="run-7"), True),
        (Query(keyword="BOAT"), True),
        (Query(keyword="boa"), False),
        (Query(model="eye:12b"), True),
        (Query(model="eye"), False),
        (Query(state="tagged"), True),
        (Query(state="held"), False),
        (Query(text="boat", keyword="boat", day=DAY, state="tagged", model="eye:12b"), True),
        (Query(text="boat", keyword="boat", day=DAY, state="failed"), False),
    ],
)
def test_a_query_means_what_all_its_parts_mean(
    catalogue: Catalogue, query: Query, *, found: bool
) -> None:
    """Text is searched by beginnings of words, or exactly; nothing in it is taken for syntax."""
    photo = entry(
        "/photos/sea/IMG_0042.jpg",
        "Boat",
        "fishing",
        "Café",
        run="run-7",
        caption=Word("A blue boat at the harbour"),
        description=Word("Evening light. 京都の朝"),
        own={"mood": "calm"},
    )
    catalogue.put([photo, entry("/photos/other.jpg", "zebra", day="", state="queued", models={})])
    assert ("IMG_0042.jpg" in names(catalogue, query)) is found


def test_what_needs_a_human_comes_first_then_the_latest_in_shooting_order(
    catalogue: Catalogue,
) -> None:
    """IMG_2 before IMG_10, folder by folder, and no state but two jumps the order."""
    ordered = [
        entry("/photos/z.jpg", state="failed"),
        entry("/photos/y.jpg", state="rejected", day="2024-01-01"),
        entry("/photos/a/IMG_2.jpg", day="2025-07-02"),
        entry("/photos/a/img_10.jpg", day="2025-07-02", state="reviewed"),
        entry("/photos/a2/1.jpg", day="2025-07-02", state="held"),
        entry("/photos/a10/1.jpg", day="2025-07-02"),
        entry("/photos/a/IMG_1.jpg", day="2025-07-01"),
    ]
    catalogue.put(reversed(ordered))
    assert catalogue.find(Query()).entries == ordered


def test_pages_hold_each_photo_once(catalogue: Catalogue) -> None:
    """Whatever the size of a page and however many photos fit; a cursor that is none begins."""
    catalogue.put(entry(f"/photos/{n}.jpg", "odd" if n % 2 else "even") for n in range(50))
    for query, expected in ((Query(), 50), (Query(keyword="odd"), 25), (Query(text="od"), 25)):
        seen: list[str] = []
        cursor = ""
        while True:
            page = catalogue.find(query, cursor, limit=7)
            seen += [each.name for each in page.entries]
            if not (cursor := page.next):
                break
        assert len(seen) == expected == len(set(seen))
        assert [each.name for each in catalogue.every(query)] == seen
    assert len(catalogue.find(Query(), "?", limit=7).entries) == 7


def test_the_photos_beside_one_are_those_of_the_query(catalogue: Catalogue) -> None:
    """Next and previous stay in what was chosen, also from a photo that has just left it."""
    photos = [entry(f"/photos/{n}.jpg", "odd" if n % 2 else "even") for n in range(6)]
    catalogue.put(photos)
    keys = [photo.key for photo in photos]
    assert catalogue.neighbours(keys[0], Query()) == ((), (keys[1],))
    assert catalogue.neighbours(keys[3], Query(keyword="odd")) == ((keys[1],), (keys[5],))
    assert catalogue.neighbours(keys[2], Query(keyword="odd")) == ((keys[1],), (keys[3],))
    assert catalogue.neighbours(keys[5], Query(text="odd"), 9) == ((keys[1], keys[3]), ())
    assert catalogue.neighbours("ff", Query()) == ((), ())


def test_groups_are_those_of_the_photos_that_are_meant(catalogue: Catalogue) -> None:
    """Each with how many photos it has there, in an order that suits its kind."""
    catalogue.put(
        [
            entry("/photos/a/1.jpg", "dog", "sun", day="2025-07-01"),
            entry("/photos/b/2.jpg", "Dog", day="2025-07-02"),
            entry("/photos/b/3.jpg", "cat", state="failed"),
        ]
    )
    assert catalogue.groups("day") == [
        Group("2025-07-02", 1),
        Group("2025-07-01", 1),
        Group(DAY, 1),
    ]
    assert catalogue.groups("folder") == [Group("/photos/a", 1), Group("/photos/b", 2)]
    assert catalogue.groups("keyword", limit=1) == [Group("dog", 2)]
    assert catalogue.groups("keyword", Query(folder="/photos/b")) == [
        Group("cat", 1),
        Group("dog", 1),
    ]
    assert catalogue.groups("state", Query(text="dog")) == [Group("tagged", 2)]
    assert catalogue.groups("model", Query(state="failed")) == [Group("eye:12b", 1)]
    assert catalogue.groups("day", Query(keyword="horse")) == []


def test_notes_are_kept_with_the_entries(catalogue: Catalogue) -> None:
    """Where feeding left off is true of exactly the entries that were fed."""
    catalogue.put([entry()], {"offset": "1"})
    catalogue.put([], {"offset": "2", "other": "3"})
    assert catalogue.notes() == {"offset": "2", "other": "3"}
    catalogue.clear()
    assert catalogue.notes() == {}
    assert catalogue.count(Query()) == 0
    assert catalogue.groups("day") == []


def test_what_is_remembered_of_a_search_is_what_is_there(tmp_path: Path) -> None:
    """A page, its neighbours and its count come of one search; nobody's later words are missed."""
    one, other = Catalogue.open(tmp_path), Catalogue.open(tmp_path)
    query = Query(text="dog")
    one.put([entry("/photos/1.jpg", "dog")])
    assert (one.count(query), other.count(query)) == (1, 1)
    other.put([entry("/photos/2.jpg", "dog")])
    assert (one.count(query), other.count(query)) == (2, 2)
    one.put([entry("/photos/1.jpg", "cat")])
    assert (one.count(query), other.count(query)) == (1, 1)
    assert (one.count(Query(text="cat")), other.count(query)) == (1, 1)
    assert names(one, query) == ["2.jpg"]
    one.close()
    other.close()


@pytest.mark.parametrize("seed", range(3))
def test_every_way_of_asking_agrees(catalogue: Catalogue, seed: int) -> None:
    """Rare or common, found in order or sorted, counted in part or as the rest: the same photos."""
    chance = random.Random(seed)  # noqa: S311 - not a secret
    photos = [
        entry(
            f"/photos/{number % 3}/{number}.jpg",
            *(word for word, share in WORDS.items() if chance.random() < share),
            state=chance.choice(("tagged", "tagged", "reviewed", "failed")),
            day=f"2025-06-{chance.randrange(1, 4):02}",
        )
        for number in range(150)
    ]
    catalogue.put(photos)
    catalogue.drop([photo.key for photo in photos[100:]])
    photos = photos[:100]
    for _ in range(40):
        keyword, text = chance.choice(("", *WORDS)), chance.choice(("", *WORDS))
        folder, state = chance.choice(("", "/photos/1")), chance.choice(SOME_STATES)
        query = Query(keyword=keyword, text=text, state=state, folder=folder)
        fit = [
            photo
            for photo in photos
            if (not keyword or keyword in photo.words)
            and (not text or text in photo.words)
            and (not state or state == photo.state)
            and (not query.folder or query.folder == photo.folder)
        ]
        found = list(catalogue.every(query))
        assert {each.key for each in found} == {each.key for each in fit}
        assert [each.key for each in found] == [
            each.key for each in catalogue.every(Query()) if each in fit
        ]
        assert catalogue.find(query, limit=1).entries == found[:1]
        assert catalogue.count(query) == len(fit)
        assert dict(catalogue.groups("keyword", query)) == Counter(
            word for photo in fit for word in photo.words
        )
        assert dict(catalogue.groups("day", query)) == Counter(photo.day for photo in fit)


WORDS = {"sun": 0.95, "sea": 0.6, "dog": 0.3, "kite": 0.02}
"""Keywords, and in which share of the photos they are."""
SOME_STATES: tuple[State | Literal[""], ...] = ("", "tagged", "failed")
