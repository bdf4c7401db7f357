"""What a scan will take: said of what, and by which figures."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support.records import DAY, START, record_of

from taggerd.inference import Backend, InferenceService, load_profile
from taggerd.journal import Entry
from taggerd.photo import Usage
from taggerd.scan.estimate import Estimate, estimate, spoken_seconds
from taggerd.services import make_journal
from taggerd.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from taggerd.journal import Record

NOW = datetime(2025, 11, 21, 12, tzinfo=UTC)
MODELS = dict.fromkeys(("caption", "keywords", "description"), "eye-2")


def estimated(
    home: Path,
    records: Iterable[Record],
    photos: int = 100,
    spent: dict[str, Usage] | None = None,
    **backend: Any,  # noqa: ANN401 - settings of several types
) -> Estimate:
    """Return the estimate for *photos* where the journal holds *records*."""
    table = {"base_url": "http://backend.test/v1", "model": "eye-2", **backend}
    settings = Settings.model_validate({"state_directory": home, "backend": table})
    journal = make_journal(settings)
    journal.open()
    journal.deliver([Entry(r.id, DAY, json.dumps(r.to_json())) for r in records])
    url = settings.backend.base_url
    inference = InferenceService(
        settings, load_profile("default"), {url: Backend(settings.backend)}
    )
    return estimate(photos, inference, journal, settings, spent or {}, NOW)


def of_model(model: str = "eye-2", count: int = 20, **changes: Any) -> list[Record]:  # noqa: ANN401
    """Return records of photos that *model* answered about, four seconds each, back to back."""
    return [
        record_of(
            number,
            id=f"{model}-{number}",
            models=dict.fromkeys(MODELS, model),
            started_at=START + timedelta(seconds=4 * number),
            seconds=4.0,
            **{"usage": {"requests": 3, "prompt_tokens": 900, "completion_tokens": 100}, **changes},
        )
        for number in range(count)
    ]


def test_it_rests_on_what_this_model_took_here(tmp_path: Path) -> None:
    """Requests, tokens and time go by the photo; another model's figures are not this one's."""
    records = [*of_model(), *of_model("other", usage={"requests": 9, "prompt_tokens": 9}, count=50)]
    told = estimated(tmp_path, records)
    assert (told.requests, told.tokens) == (300, Usage(300, 90_000, 10_000))
    assert told.seconds == pytest.approx(400)
    assert told.basis == "from 20 photos that eye-2 took here"
    assert (told.price, told.budget) == ("", "")


def test_without_figures_it_says_so(tmp_path: Path) -> None:
    """Only the requests are known: one for each role, or one for all."""
    told = estimated(tmp_path, of_model("other"))
    assert told.basis == "no figures yet: eye-2 has tagged no photo here"
    assert (told.requests, told.tokens, told.seconds) == (300, None, None)
    assert estimated(tmp_path, [], request_mode="combined").requests == 100


@pytest.mark.parametrize(
    "changes",
    [
        {"error": "the model refused", "error_kind": "PhotoRefused"},
        {"usage": {"requests": 0, "prompt_tokens": 0, "completion_tokens": 0}},
        {"usage": {}},
    ],
)
def test_what_failed_or_was_recalled_counts_for_nothing(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    """It would make the rest look cheaper than it is."""
    assert estimated(tmp_path, of_model(**changes)).tokens is None


def test_a_model_that_answers_with_a_date_in_its_name_is_the_same(tmp_path: Path) -> None:
    """Hosted models do."""
    assert estimated(tmp_path, of_model("eye-2-2025-08-06")).tokens == Usage(300, 90_000, 10_000)


def test_the_price_is_that_of_the_model(tmp_path: Path) -> None:
    """90,000 tokens at 2 a million, and 10,000 at 10."""
    price = {"input_per_million": 2, "output_per_million": 10, "currency": "EUR"}
    told = estimated(tmp_path, of_model(), price=price)
    assert told.price == "0.2800 EUR"


@pytest.mark.parametrize(("spent", "over"), [(0, False), (900_000, True)])
def test_a_budget_that_does_not_suffice_is_named(tmp_path: Path, spent: int, over: bool) -> None:
    """With what is spent of it already."""
    used = {"eye-2": Usage(1, spent, 0)}
    told = estimated(tmp_path, of_model(), spent=used, budget_per_day="950000 tokens")
    assert told.over_budget is over
    assert told.budget == f"950,000 tokens a day, {spent:,} tokens of it spent today"


def test_old_days_are_another_machines(tmp_path: Path) -> None:
    """What a model took a year ago says nothing of today."""
    records = of_model()
    settings = Settings.model_validate({"state_directory": tmp_path})
    journal = make_journal(settings)
    journal.open()
    journal.deliver([Entry(r.id, "2024-11-20", json.dumps(r.to_json())) for r in records])
    assert journal.experience(MODELS, NOW).photos == 0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 s"),
        (89, "89 s"),
        (95, "2 min"),
        (5300, "88 min"),
        (9000, "2 h 30 min"),
        (3e5, "3.5 days"),
    ],
)
def test_a_length_of_time_is_said_as_people_plan(seconds: float, words: str) -> None:
    """No more precise than it is."""
    assert spoken_seconds(seconds) == words
