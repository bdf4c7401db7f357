"""Summary, page and metrics: what people and programs are told of a day."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from support.records import noon

from taggerd.journal.metrics import percentile
from taggerd.journal.summary import escaped
from taggerd.photo import Keyword, Tags
from taggerd.relay import publish_day

if TYPE_CHECKING:
    from support.records import MakesEntries

    from taggerd.journal import Journal

DAY = "2025-11-20"
START = datetime(2025, 11, 20, 9, 0, tzinfo=UTC)

NASTY = [
    "a | b \\| c",
    "<script>alert('x')</script>",
    "`code` *bold* _it_ ~~gone~~ [link](http://x) ![img](y) $1$",
    "line\nbreak\r\n# heading\u2028- list",
    "&amp; &lt; \\",
    "1. first",
    '" onerror="alert(1)',
    "日本語 كلمة 🌲",
]


class Page(HTMLParser):
    """The texts, tags and addresses of a page."""

    def __init__(self, html: str) -> None:
        """Read *html*."""
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep a tag with its attributes."""
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Keep a text."""
        self.texts.append(data)

    def images(self) -> list[str]:
        """Return the addresses of the pictures."""
        return [str(attributes["src"]) for tag, attributes in self.tags if tag == "img"]


def cells(markdown: str) -> list[list[str]]:
    """Return all table rows of *markdown* as a CommonMark reader shows them."""
    reader = MarkdownIt("commonmark", {"html": True}).enable("table")
    rows: list[list[str]] = []
    for token in reader.parse(markdown):
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline" and token.level >= 3 and rows:
            children = token.children or []
            assert {child.type for child in children} <= {"text"}, token.content
            rows[-1].append("".join(child.content for child in children))
        elif token.type == "table_close":
            rows.append([])
    return [row for row in rows if row]


def summary_of(journal: Journal, *entries: object) -> tuple[str, Page, dict[str, object]]:
    """Deliver *entries* and return the day's Markdown, page and metrics."""
    journal.deliver(list(entries))  # type: ignore[arg-type]
    paths = journal.summarise(DAY)
    page = Page(publish_day(journal, DAY)[0].read_text(encoding="utf-8"))
    return paths.markdown.read_text(encoding="utf-8"), page, json.loads(paths.metrics.read_text())


@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1))
def test_any_text_survives_markdown(text: str) -> None:
    """In a table cell and in a heading, a Markdown reader shows exactly the text that was meant."""
    seen = " ".join(text.split())
    if not seen:
        return
    table = f"| a | b |\n| --- | --- |\n| {escaped(text)} | z |\n"
    assert cells(table) == [["a", "b"], [seen, "z"]]
    (heading,) = (t for t in MarkdownIt().parse(f"## {escaped(text)}\n") if t.type == "inline")
    assert "".join(child.content for child in heading.children or []) == seen


def test_file_names_stay_readable_in_markdown() -> None:
    """The common IMG_1234 is not littered with backslashes."""
    assert escaped("IMG_1234_edit.JPG") == "IMG_1234_edit.JPG"


@pytest.mark.parametrize("text", NASTY)
def test_foreign_text_is_only_text(journal: Journal, entry: MakesEntries, text: str) -> None:
    """Whatever a model, a file name or an error says, it is shown and never obeyed."""
    seen = " ".join(text.split())
    tags = Tags(caption=text, description=text, keywords=(Keyword(text),))
    markdown, page, _ = summary_of(
        journal,
        entry(1, tags=tags, notes=(text,)),
        entry(2, tags=Tags(), error=text, image=Path("/srv/import") / text.replace("/", "_")),
    )
    rows = cells(markdown)
    assert ["IMG_1.JPG", seen, seen, seen, seen] in rows
    assert any(row[2] == seen for row in rows)
    assert page.text.count(seen) >= 5
    assert [tag for tag, _ in page.tags].count("script") == 1  # our own
    assert all("onerror" not in attributes for _, attributes in page.tags)


def test_errors_come_first(journal: Journal, entry: MakesEntries) -> None:
    """Failed photos are listed before everything else, with reason and attempts."""
    markdown, page, metrics = summary_of(
        journal,
        entry(1),
        entry(2, tags=Tags(), error="IMG_2.JPG is no picture", error_kind="PhotoUndecodable"),
        entry(3, tags=Tags(), error="IMG_3.JPG is no picture", error_kind="PhotoUndecodable"),
        entry(4, tags=Tags(), error="cannot be read", error_kind="PhotoUnreadable"),
    )
    assert markdown.index("## Errors") < markdown.index("## Keywords") < markdown.index("## /srv")
    assert cells(markdown)[1][:4] == [
        "IMG_2.JPG",
        "/srv/import/card",
        "IMG_2.JPG is no picture",
        "1",
    ]
    assert page.text.index("IMG_4.JPG") < page.text.index("Caption 1")
    assert metrics["errors"] == {"PhotoUndecodable": 2, "PhotoUnreadable": 1}


def test_the_latest_record_of_a_photo_is_told(journal: Journal, entry: MakesEntries) -> None:
    """A photo recorded twice is listed once; the metrics count both, and both were paid for."""
    markdown, page, metrics = summary_of(
        journal,
        entry(1, tags=Tags(), error="the model said nothing"),
        entry(1, id="again", tags=Tags(caption="Second thoughts")),
    )
    assert "Errors" not in markdown
    assert "1 processed more than once" in markdown
    assert page.text.count("IMG_1.JPG") == 1
    assert "Second thoughts" in page.text
    counts = metrics["counts"]
    assert isinstance(counts, dict)
    assert (counts["records"], counts["photos"], counts["tagged"]) == (2, 1, 1)
    assert metrics["usage"] == {"completion_tokens": 20, "prompt_tokens": 200, "requests": 6}


def test_a_failed_photo_with_answers_is_shown_with_them(
    journal: Journal, entry: MakesEntries
) -> None:
    """Answers whose sidecar could not be written are seen, and that they were not written too."""
    markdown, page, _ = summary_of(journal, entry(1, error="read-only folder"))
    assert cells(markdown)[-1][:4] == ["IMG_1.JPG", "Caption 1", "Description 1.", "tree, word 1"]
    assert cells(markdown)[-1][4] == "not tagged: read-only folder"
    assert "Caption 1" in page.text


def test_photos_are_told_by_folder_in_shooting_order(journal: Journal, entry: MakesEntries) -> None:
    """Folders stand apart, and IMG_2 comes before IMG_10."""
    names = ["b/IMG_10.JPG", "b/IMG_2.JPG", "a/z.JPG", "b/IMG_2.CR3"]
    entries = [entry(n, image=Path("/srv") / name) for n, name in enumerate(names, start=1)]
    markdown, page, _ = summary_of(journal, *entries)
    headings = [line for line in markdown.splitlines() if line.startswith("## /")]
    assert headings == ["## /srv/a (1)", "## /srv/b (3)"]
    files = [row[0] for row in cells(markdown) if len(row) == 5 and row[0] != "file"]
    assert files == ["z.JPG", "IMG_2.CR3", "IMG_2.JPG", "IMG_10.JPG"]
    assert [page.text.count(name) for name in files] == [1, 1, 1, 1]


def test_keywords_are_counted(journal: Journal, entry: MakesEntries) -> None:
    """The most frequent keyword of the day stands first, with the number of photos."""
    few = Tags(keywords=(Keyword("zebra"), Keyword("tree")))
    markdown, _, _ = summary_of(journal, entry(1, tags=few), entry(2), entry(3))
    rows = cells(markdown)
    assert rows[rows.index(["keyword", "photos"]) + 1] == ["tree", "3"]
    assert "Most frequent: tree (3)" in markdown


def test_dry_runs_are_marked(journal: Journal, entry: MakesEntries) -> None:
    """Nobody takes a dry run's words for written ones."""
    markdown, page, metrics = summary_of(journal, entry(1, dry_run=True), entry(2))
    assert [row[4] for row in cells(markdown)[-2:]] == ["dry run", ""]
    assert page.texts.count("dry run") == 1
    assert metrics["counts"]["dry_run"] == 1  # type: ignore[index]


def test_names_that_are_not_utf8(journal: Journal, entry: MakesEntries) -> None:
    """Two photos whose printable names are equal are two photos, and the links lead to both."""
    folder = Path("/srv/caf")
    first = folder / os.fsdecode(b"\xe9.jpg")
    second = folder / "\\xe9.jpg"
    _, page, metrics = summary_of(journal, entry(1, image=first), entry(2, image=second))
    assert metrics["counts"]["photos"] == 2  # type: ignore[index]
    links = {a["data-href"] for _, a in page.tags if "data-href" in a}
    assert links == {"file:///srv/caf/%E9.jpg", "file:///srv/caf/%5Cxe9.jpg"}


def test_thumbnails_are_in_the_page(journal: Journal, entry: MakesEntries) -> None:
    """A thumbnail is part of the page; a photo without one has a tile and no dead link."""
    journal.thumbnail(f"{1:064x}", b"jpeg")
    paths = summary_of(journal, entry(1), entry(2), entry(3, digest=""))
    images = paths[1].images()
    assert images == ["data:image/jpeg;base64,anBlZw=="]


def test_a_page_needs_nothing_from_outside(journal: Journal, entry: MakesEntries) -> None:
    """No script, style sheet, font or picture is fetched from anywhere."""
    _, page, _ = summary_of(journal, entry(1))
    assert not {"iframe", "object", "embed"} & {tag for tag, _ in page.tags}
    assert [a for tag, a in page.tags if tag == "script"] == [{}]
    links = [attributes for tag, attributes in page.tags if tag == "link"]
    assert [link["href"] for link in links] == ["data:,"]
    assert "@import" not in page.text
    assert "url(http" not in page.text


def test_a_day_without_photos(journal: Journal) -> None:
    """An empty day has a page, a summary and metrics that say so."""
    markdown, page, metrics = summary_of(journal)
    assert "0 photos" in markdown
    assert "No photos yet" in page.text
    assert metrics["runs"] == []
    assert metrics["throughput"] == {"active_seconds": 0, "photos_per_hour": None}


def test_two_thousand_photos(journal: Journal, entry: MakesEntries) -> None:
    """A full card makes one page, and its pictures are loaded only when they are scrolled to."""
    journal.thumbnail("ab" * 32, b"jpeg")
    entries = [entry(number, digest="ab" * 32) for number in range(2000)]
    _, page, _ = summary_of(journal, *entries)
    lazy = [a for tag, a in page.tags if tag == "img" and a["loading"] == "lazy"]
    assert len(lazy) == 2000


def test_the_summary_comes_from_the_records_alone(journal: Journal, entry: MakesEntries) -> None:
    """Made twice, or from the packed file, everything is the same to the byte."""
    journal.deliver([entry(number) for number in range(5)])
    first = [path.read_bytes() for path in journal.summarise(DAY)]
    pages = [path.read_bytes() for path in publish_day(journal, DAY)]
    packing = type(journal)(journal.directory, retention_days=0, compress_after_days=1)
    packing.tidy(START.date() + timedelta(days=9))
    assert not (journal.results / f"{DAY}.jsonl").exists()
    assert [path.read_bytes() for path in journal.summarise(DAY)] == first
    assert [path.read_bytes() for path in publish_day(journal, DAY)] == pages


def test_damaged_and_foreign_lines(journal: Journal, entry: MakesEntries) -> None:
    """Lines that are no records are counted and left out; values of a wrong type do no harm."""
    wrong = {
        "schema_version": 9,
        "id": "odd",
        "image": 7,
        "keywords": "x",
        "stages": {"decode": "NaN", "caption": float("nan")},
        "usage": [],
        "notes": [3],
        "digest": "../../x",
        "started_at": "yesterday",
        "duration_seconds": -1,
        "attempts": 10**400,
        "backend": {},
    }
    path = journal.results / f"{DAY}.jsonl"
    lines = [b"{half", b"\0\0\0", b"[]", b'{"id": 5}', json.dumps(wrong).encode(), b"\xff\xfe"]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    _, page, metrics = summary_of(journal, entry(1))
    assert metrics["counts"]["damaged_lines"] == 5  # type: ignore[index]
    assert metrics["counts"]["records"] == 2  # type: ignore[index]
    assert page.images() == []


def test_latency_by_stage(journal: Journal, entry: MakesEntries) -> None:
    """Percentiles are nearest-rank over all records: of 1..100 seconds p50 is 50, p99 is 99."""
    entries = [entry(n, stages={"decode": float(n)}, seconds=0.5) for n in range(1, 101)]
    _, _, metrics = summary_of(journal, *entries)
    seconds = metrics["seconds"]
    assert isinstance(seconds, dict)
    expected = {"count": 100, "p50": 50.0, "p90": 90.0, "p99": 99.0, "max": 100.0}
    assert seconds["decode"] == expected
    assert seconds["whole"]["max"] == 0.5


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([7.0], 0.5, 7.0), ([1.0, 2.0], 0.5, 1.0), ([1.0, 2.0], 0.51, 2.0), ([1.0, 2.0], 1.0, 2.0)],
)
def test_percentile(values: list[float], share: float, expected: float) -> None:
    """Nearest rank: the ceil(share * n)-th of n values."""
    assert percentile(values, share) == expected


def test_runs_are_told_apart_by_their_identity(journal: Journal, entry: MakesEntries) -> None:
    """Two at the same time are two, and one that pauses is one; each has its own figures.

    Run a: seconds 0 to 30, 10 to 15 (inside the first) and 7200 to 7230: 60 s of work, one of its
    three photos failed. Run b, of another model, works in between: 5 to 25.
    """
    times = (("a", 0, 30), ("a", 10, 5), ("b", 5, 20), ("a", 7200, 30))
    entries = [
        entry(
            n,
            run=f"scan-{run}",
            started_at=START + timedelta(seconds=start),
            seconds=seconds,
            models={"caption": f"model-{run}"},
            error="empty" if start == 10 else "",
        )
        for n, (run, start, seconds) in enumerate(times)
    ]
    _, _, metrics = summary_of(journal, *entries)
    runs: Any = metrics["runs"]
    assert [(run["run"], run["photos"], run["failed"]) for run in runs] == [
        ("scan-a", 3, 1),
        ("scan-b", 1, 0),
    ]
    first, second = runs
    assert first["started_at"] == START.isoformat(timespec="milliseconds")
    assert first["throughput"] == {"active_seconds": 60.0, "photos_per_hour": 120.0}
    assert first["seconds"]["whole"] == {"count": 3, "p50": 30, "p90": 30, "p99": 30, "max": 30}
    assert first["models"] == {"caption: model-a": 3}
    assert second["throughput"] == {"active_seconds": 20.0, "photos_per_hour": 180.0}
    assert second["seconds"]["whole"]["p50"] == 20
    assert second["models"] == {"caption: model-b": 1}
    assert metrics["throughput"] == {"active_seconds": 60.0, "photos_per_hour": 180.0}


def test_photos_an_hour_are_those_of_the_last_hour(journal: Journal, entry: MakesEntries) -> None:
    """Photos that ended within the hour, by the time in which any was in flight; pauses apart."""
    old = [entry(n, started_at=START - timedelta(hours=3)) for n in range(1, 5)]
    # Two bursts of 10 photos in 60 s each, with 20 minutes of nothing in between.
    bursts = [
        entry(100 + n, started_at=START + timedelta(minutes=20 * (n % 2), seconds=3 * n))
        for n in range(20)
    ]
    journal.deliver(old + bursts)
    now = START + timedelta(minutes=30)
    assert journal.recent(now).photos_per_hour == pytest.approx(20 / 114 * 3600, rel=0.001)
    assert journal.recent(now + timedelta(hours=2)).photos_per_hour is None


def test_the_hour_before_midnight_counts_after_it(journal: Journal, entry: MakesEntries) -> None:
    """At a quarter past twelve the photos of yesterday's last hour still tell the speed."""
    late = datetime(2025, 11, 20, 23, 50, tzinfo=UTC)
    journal.deliver([entry(n, started_at=late + timedelta(seconds=10 * n)) for n in range(10)])
    recent = journal.recent(datetime(2025, 11, 21, 0, 15, tzinfo=UTC))
    assert recent.photos_per_hour == pytest.approx(10 / 93 * 3600, rel=0.01)
    assert recent.counts["photos"] == 0


def test_a_clock_set_back_makes_no_negative_time(journal: Journal, entry: MakesEntries) -> None:
    """A record that ends before it began counts as an instant."""
    _, _, metrics = summary_of(journal, replace(entry(1, seconds=-50.0)))
    assert metrics["throughput"]["active_seconds"] == 0  # type: ignore[index]
    assert metrics["seconds"]["whole"]["max"] == 0  # type: ignore[index]


def test_counts_are_those_of_the_metrics(journal: Journal, entry: MakesEntries) -> None:
    """`taggerd status` and the metrics file tell the same."""
    _, _, metrics = summary_of(journal, entry(1), entry(2, tags=Tags(), error="broken"))
    assert journal.recent(noon(DAY)).counts == metrics["counts"]
    assert journal.recent(noon(DAY)).counts["failed"] == 1
    assert journal.recent(noon("1999-01-01")).counts["records"] == 0
