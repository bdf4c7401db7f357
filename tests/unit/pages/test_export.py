"""The export: one file that needs nothing else, or several, and tables beside it."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from taggerd import catalogue
from taggerd.catalogue import Entry
from taggerd.pages import Export, Shown, Word, export, of_entry
from taggerd.pages.days import DayRow, index_of_days
from taggerd.pages.plots import Bar, columns, frequencies, throughput

NINE = datetime(2025, 11, 20, 9, 0, tzinfo=UTC)
SCRIPT = "</script><script>document.title = 'mine'</script>"


def photo(number: int = 1, folder: str = "/srv/card", **changes: Any) -> Shown:  # noqa: ANN401
    """Return photo *number*, tagged so many minutes after nine."""
    values: dict[str, Any] = {
        "path": Path(folder) / f"IMG_{number}.JPG",
        "day": "2025-11-20",
        "at": NINE + timedelta(minutes=number),
        "state": "tagged",
        "digest": f"{number:064x}",
        "caption": Word(f"Caption {number}", model="model-a"),
        "description": Word(f"Description {number}.", "human"),
        "keywords": (Word("tree"), Word("oak", "human")),
        "models": {"caption": "model-a"},
    }
    return Shown(**values | changes)


def made(
    *photos: Shown,
    size: int = 4,
    limit: int = 10_000_000,
    **changes: Any,  # noqa: ANN401
) -> dict[str, str]:
    """Return the content of each file by name."""
    exported = Export(**{"title": "2025-11-20", "photos": photos, "stem": "day"} | changes)
    found = export(exported, lambda digest: b"x" * size if digest else b"", limit=limit)
    return {name: b"".join(content).decode() for name, content in found}


def test_one_page_and_two_tables() -> None:
    """Everything is in one file; a spreadsheet and a program have theirs beside it."""
    files = made(photo(1), photo(2))
    assert list(files) == ["day.html", "day.csv", "day.jsonl"]
    assert files["day.html"].count("data:image/jpeg;base64,eHh4eA==") == 2
    assert "Thursday, 20 November 2025" in files["day.html"]


def test_the_policy_names_what_may_run() -> None:
    """The only script and style are the page's own, by their hashes, and nothing may be loaded."""
    page = made(photo(caption=Word(SCRIPT)))["day.html"]
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', page)
    assert re.fullmatch(
        r"default-src 'none'; img-src data:; style-src 'sha256-[\w+/=]+'; "
        r"script-src 'sha256-[\w+/=]+'; base-uri 'none'; form-action 'none'",
        policy,
    )
    assert page.count("<script") == 1
    assert SCRIPT in unescape(page)
    assert not re.search(r"<[^>]+\s(?:on\w+|style)=", page)


def test_nothing_but_data_is_an_address() -> None:
    """No page of one file leads anywhere by itself."""
    page = made(photo(1), photo(2, "/srv/other"), folder=Path("/out"), index="../index.html")
    addresses = re.findall(r'\s(?:href|src)="([^"]*)"', page["day.html"])
    assert all(a.startswith(("data:", "#")) for a in addresses), addresses


def test_links_wait_for_where_the_page_was_made() -> None:
    """The script shows them there alone; without a folder, or if it cannot be named, none."""
    page = made(photo(), folder=Path("/out"))["day.html"]
    assert 'data-at="/out/day.html"' in page
    assert 'data-href="file:///srv/card/IMG_1.JPG"' in page
    for folder in (None, Path(os.fsdecode(b"/out/\xff"))):
        page = made(photo(), folder=folder)["day.html"]
        assert "data-at=" not in page
        assert "data-href=" not in page


def test_a_large_page_is_split_by_folder() -> None:
    """Whole folders as far as they fit, a larger one in pieces; every photo is on one page."""
    photos = [photo(n, f"/srv/{folder}") for folder in "abc" for n in range(10)]
    photos += [photo(n, "/srv/large") for n in range(50)]
    files = made(*photos, size=15_000, limit=450_000)
    parts = {n: f for n, f in files.items() if re.fullmatch(r"day\.\d+\.html", n)}
    assert len(parts) > 3
    assert all(len(page) <= 450_000 for page in parts.values())
    shown = [re.findall(r'class="name">(IMG_\d+)', page) for page in parts.values()]
    assert sorted(name for names in shown for name in names) == sorted(p.path.stem for p in photos)
    pages_of = {
        folder: sum(f"<h2><bdi>/srv/{folder}</bdi>" in page for page in parts.values())
        for folder in ("a", "b", "c", "large")
    }
    assert pages_of["a"] == pages_of["b"] == pages_of["c"] == 1
    assert pages_of["large"] == 3
    contents = files["day.html"]
    assert re.findall(r'<a href="(day\.\d+\.html)">', contents) == list(parts)
    assert len(files["day.jsonl"].splitlines()) == len(photos)


def test_a_thousand_photos_fit_a_mail() -> None:
    """With thumbnails of 14 kB, which most are, they are one file of at most 25 MB."""
    files = made(*(photo(n) for n in range(1000)), size=14_000, limit=24_000_000)
    assert len(files["day.html"]) <= 25_000_000
    larger = made(*(photo(n) for n in range(1000)), size=20_000, limit=24_000_000)
    assert all(len(content) <= 25_000_000 for content in larger.values())


@pytest.mark.parametrize("text", ["plain words " * 40, "\"<&'>" * 80, "\u202e" * 90, "日本" * 200])
def test_the_limit_holds_whatever_the_words_are(text: str) -> None:
    """Escapes make them longer: no page is larger than it may be, but for what is above."""
    photos = [
        photo(n, caption=Word(text), keywords=tuple(Word(f"{text[:20]}{i}") for i in range(20)))
        for n in range(300)
    ]
    files = made(*photos, size=3_000, limit=400_000)
    assert len(files) > 5
    pages = [page for name, page in files.items() if name.endswith(".html")]
    assert max(len(page.encode()) for page in pages) < 430_000


def test_who_wrote_it_is_said_by_more_than_colour() -> None:
    """A person's words have a class for colour and sign, and say so to a screen reader."""
    page = made(photo())["day.html"]
    assert '<li dir="auto" class="human">oak<span class="by">by a person</span></li>' in page
    assert '<li dir="auto">tree</li>' in page
    legend = '<span class="human">Written by a person</span>'
    assert legend in page
    assert legend not in made(photo(description=Word(""), keywords=()))["day.html"]
    assert re.search(r'<p dir="auto" class="human">Description 1\.<span class="by">', page)


def test_failed_photos_come_first() -> None:
    """With their reason; one that has words is with the others as well, and marked."""
    files = made(photo(1), photo(2, state="failed", error="no sidecar can be written", attempts=3))
    page = files["day.html"]
    assert page.index("no sidecar can be written") < page.index("Caption 1")
    assert "3 attempts" in page
    assert '<b class="badge bad">not tagged</b>' in page


def test_the_table_is_one_for_spreadsheets() -> None:
    """Texts with commas, quotes and line ends are cells; none is a formula."""
    text = '=HYPERLINK("http://x","y"), "quoted"'
    table = made(photo(caption=Word(text), own={"place": "-1+1"}))["day.csv"]
    assert table.startswith("\ufeffpath,")
    (row,) = csv.DictReader(io.StringIO(table.removeprefix("\ufeff"), newline=""))
    assert row["caption"] == f"'{text}"
    assert row["place"] == "'-1+1"
    assert row["keywords"] == "tree; oak"
    assert row["human_keywords"] == "oak"
    assert row["description_by"] == "human"


def test_the_lines_have_everything_as_it_is() -> None:
    """A program gets the words unchanged, whose they are, and the exact path."""
    text = "=1+1 \u202e \U0001f332"
    path = Path(os.fsdecode(b"/srv/\xff.jpg"))
    (line,) = made(photo(path=path, caption=Word(text)))["day.jsonl"].splitlines()
    assert "\u202e" not in line
    found = json.loads(line)
    assert found["caption"] == {"text": text, "by": "machine", "model": ""}
    assert found["keywords"][1] == {"text": "oak", "by": "human", "model": ""}
    assert found["path_base64"] == "L3Nydi//LmpwZw=="


def test_plots_are_text_for_who_cannot_see_them() -> None:
    """An image with a title and every value in its description; foreign text is escaped."""
    plot = frequencies([Bar("<b>tree</b>", 30), Bar("oak", 3)], title="Photos by keyword")
    assert 'role="img"' in plot
    assert "<desc>&lt;b&gt;tree&lt;/b&gt;: 30; oak: 3</desc>" in plot
    assert "<b>" not in plot
    assert frequencies([], title="x") == columns([Bar("one", 1)], title="x") == ""


@pytest.mark.parametrize(
    ("hours", "width", "at_most"),
    [
        (0.5, "minute", 31),
        (4, "5 minutes", 49),
        (10, "15 minutes", 41),
        (30, "hour", 31),
        (24 * 20, "day", 21),
    ],
)
def test_pace_has_a_column_for_each_stretch(hours: float, width: str, at_most: int) -> None:
    """However long it took there are few columns, and every photo is in one."""
    moments = [NINE + timedelta(hours=hours) * share / 10 for share in range(11)]
    bars, said = throughput(moments)
    assert said == width
    assert 2 < len(bars) <= at_most
    assert sum(bar.value for bar in bars) == 11


def test_pace_over_years() -> None:
    """Ten years are no more columns than a day."""
    bars, said = throughput([NINE, NINE + timedelta(days=3650)])
    assert len(bars) <= 62
    assert said.endswith("days")


def test_the_index_has_the_newest_day_first() -> None:
    """A day without a page has no link to one."""
    page = index_of_days(
        [
            DayRow("2025-10-31", 7, 1, "summaries/2025-10-31.html"),
            DayRow("2025-11-20", 5, 0, "", [("CSV", "summaries/2025-11-20.csv")]),
        ]
    ).decode()
    assert page.index("November 2025") < page.index("October 2025")
    assert re.findall(r'<a href="(\S+)"', page) == [
        "summaries/2025-11-20.csv",
        "summaries/2025-10-31.html",
    ]
    assert "<b>12</b> photos" in page
    assert "<desc>31 Oct: 7; 20 Nov: 5</desc>" in page
    assert "No days yet" in index_of_days([]).decode()


def test_an_entry_of_the_catalogue_is_shown() -> None:
    """What the web knows of a photo and what the journal recorded make the same page."""
    entry = Entry(
        path=Path("/srv/card/IMG_1.JPG"),
        day="2025-11-20",
        digest=f"{1:064x}",
        caption=catalogue.Word("Caption 1", "machine", "model-a"),
        description=catalogue.Word("Description 1.", "human"),
        keywords=(catalogue.Word("tree"), catalogue.Word("oak", "human")),
        models={"caption": "model-a"},
        at=(NINE + timedelta(minutes=1)).timestamp(),
    )
    assert made(of_entry(entry)) == made(photo(1))
