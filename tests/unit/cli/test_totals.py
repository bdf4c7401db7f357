"""What a scan takes, in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from taggerd.arrivals import Skip
from taggerd.cli.totals import estimate_lines, preview_lines, so_far, totals
from taggerd.photo import FieldChange, Preview, Usage
from taggerd.scan import Estimate, Tally
from taggerd.settings import Price

PRICE = Price(input_per_million=2.0, output_per_million=10.0, currency="EUR")


def test_progress_shows_failures_tokens_and_price_so_far() -> None:
    """As short as a bar wants it; what is zero is not said."""
    tally = Tally()
    assert so_far(tally, PRICE) == ""
    tally.spent = {"a": Usage(2, 900, 50), "b": Usage(1, 200, 50)}
    tally.failed = [Skip(Path("/in/a.jpg"), "empty")]
    assert so_far(tally, PRICE) == "1 failed, 1.2k tokens, 0.0032 EUR"
    assert so_far(tally, Price()) == "1 failed, 1.2k tokens"


def test_the_end_shows_totals() -> None:
    """All requests, their tokens, what they cost and how fast it went."""
    tally = Tally(spent={"a": Usage(30, 9000, 1000)}, seconds=60.0)
    tally.outcomes["tagged"] = 10
    assert totals(tally, PRICE) == (
        "30 requests; 10,000 tokens (9,000 asked, 1,000 answered); 0.0280 EUR; "
        "60 s (600 photos an hour)"
    )
    assert totals(Tally(seconds=60.0), PRICE) == ""


@pytest.mark.parametrize("over", [False, True])
def test_an_estimate_says_what_it_rests_on_and_whether_the_budget_suffices(over: bool) -> None:
    """Two lines at most."""
    found = Estimate(
        photos=1200,
        requests=3600,
        basis="from 214 photos that eye-2 took here",
        tokens=Usage(3600, 900_000, 100_000),
        seconds=7200.0,
        price="2.80 EUR",
        budget="2.00 EUR a day, 0.50 EUR of it spent today",
        over_budget=over,
    )
    first, second = estimate_lines(found)
    assert first == (
        "1,200 photos: about 3,600 requests, 1,000,000 tokens, 2 h 0 min, 2.80 EUR "
        "(from 214 photos that eye-2 took here)"
    )
    assert second.startswith("budget: 2.00 EUR a day, 0.50 EUR of it spent today")
    assert ("not enough" in second) is over


def test_a_preview_shows_old_and_new() -> None:
    """Fields that change alike are one line; keywords come and go one by one."""
    found = Preview(
        (
            FieldChange("dc:title", ("A dog",), ("Two dogs",)),
            FieldChange("photoshop:Headline", ("A dog",), ("Two dogs",)),
            FieldChange("dc:description", (), ("x" * 400,)),
            FieldChange("keywords", ("cat", "sea"), ("sea", "dog")),
        ),
        ("kept tiff:ImageDescription: a human wrote it",),
    )
    lines = list(preview_lines(found))
    assert lines[0] == '  dc:title, photoshop:Headline: "A dog" → "Two dogs"'
    assert lines[1].startswith('  dc:description: (nothing) → "xxx')
    assert len(lines[1]) < 340
    assert lines[2:] == [
        "  keywords: - cat, + dog",
        "  kept tiff:ImageDescription: a human wrote it",
    ]
    assert list(preview_lines(Preview())) == ["  nothing would change"]
