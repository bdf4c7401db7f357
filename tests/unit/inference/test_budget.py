"""What may be spent in a day: it holds over restarts and programs, and photos only wait."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import httpx
import pytest
from pydantic import ValidationError
from support.scripted import chat
from support.site import Site

from taggerd.attempt import RunOptions
from taggerd.errors import BudgetSpent, StorageError
from taggerd.inference.budget import Budget, spent_message
from taggerd.photo import Usage
from taggerd.runner.pause import why_nothing_starts
from taggerd.runner.runner import Runner
from taggerd.settings import Backend, Settings
from taggerd.testing import InMemoryLedger

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from taggerd.services import Services

NOON = datetime(2025, 6, 2, 12).astimezone()
TODAY = "2025-06-02"
PRICES = {
    "input_per_million": 2.0,
    "output_per_million": 10.0,
    "currency": "EUR",
    "models": {"large": {"input_per_million": 20}, "local": {}},
}


def backend(budget: str | float, **price: object) -> Backend:
    """Return settings with a *budget*, and with prices where they are given."""
    return Backend.model_validate({"budget_per_day": budget, "price": price})


def site_with(budget: str, home: Path) -> Site:
    """Return a site whose backend answers each question with a thousand tokens."""
    site = Site.below(home)
    table = site.settings.model_dump()
    table["backend"] = {"base_url": "http://backend.test/v1", "budget_per_day": budget}
    site.settings = Settings.model_validate(table)
    site.now = lambda: NOON
    site.answer = thousand_tokens
    return site


def thousand_tokens(request: httpx.Request) -> httpx.Response:
    """Answer with a thousand tokens; keywords where JSON is wanted."""
    wants_json = b"response_format" in request.content or b"JSON" in request.content
    said = '{"keywords": ["sea", "boat"]}' if wants_json else f"A boat at sea, {request.headers}"
    body = chat(said).json()
    body["usage"] = {"prompt_tokens": 900, "completion_tokens": 100}
    return httpx.Response(200, json=body)


async def tag_all(services: Services, site: Site, *, scan: bool) -> Counter[str]:
    """Let a runner tag what it may; the daemon's ends when it would have to wait."""
    heard: Counter[str] = Counter()
    runner: Runner

    async def reason() -> str:
        told = await why_nothing_starts(services)
        if told:
            runner.stop()
        return told

    runner = Runner(
        services,
        RunOptions(run="r", within=(site.folder,)),
        on_outcome=[lambda outcome: heard.update([outcome.kind])],
        more_to_come=lambda: False,
        pause_reason=None if scan else reason,
        trouble_timeout=9.0 if scan else None,
    )
    await runner.work(drain_seconds=9)
    return heard


@pytest.mark.parametrize(
    ("text", "spent", "holds"),
    [
        ("2500 tokens", {"a": Usage(1, 2000, 499)}, False),
        ("2500 tokens", {"a": Usage(1, 2000, 400), "b": Usage(1, 0, 100)}, True),
        ("3 requests", {"a": Usage(2), "b": Usage(1)}, True),
        ("0.01", {"small": Usage(1, 4000, 199)}, False),
        ("0.01", {"small": Usage(1, 4000, 200)}, True),
        ("0.01", {"large": Usage(1, 500, 9_000_000)}, True),
        ("0.01", {"local": Usage(9, 9_000_000, 9_000_000)}, False),
        ("0", {}, True),
    ],
)
def test_a_budget_is_spent_by_its_unit(text: str, spent: Mapping[str, Usage], holds: bool) -> None:
    """Money by each model's own price; a model that is free costs nothing."""
    options = Backend.model_validate({"budget_per_day": text, "price": PRICES})
    assert bool(spent_message(options, spent, NOON)) is holds


def test_what_is_said_names_what_was_spent_and_until_when() -> None:
    """Until the next local midnight, as people write it."""
    options = Backend.model_validate({"budget_per_day": 2, "price": PRICES})
    told = spent_message(options, {"small": Usage(9, 1_000_000, 5_000)}, NOON)
    assert told == "today's budget is spent (2.05 EUR of 2.00 EUR) until Tuesday 00:00"
    options = Backend.model_validate({"budget_per_day": "500000 tokens"})
    told = spent_message(options, {"small": Usage(9, 500_000, 1)}, NOON)
    assert "(500,001 tokens of 500,000 tokens)" in told


@pytest.mark.parametrize("wrong", ["five", "5 EUR", "-1", "1e9 tokens", "5 photos", True])
def test_a_budget_that_nobody_can_keep_is_refused(wrong: object) -> None:
    """With what to write instead."""
    with pytest.raises(ValidationError, match="budget_per_day"):
        Backend.model_validate({"budget_per_day": wrong, "price": PRICES})


def test_a_budget_in_money_needs_a_price() -> None:
    """Five of what? It would either stop nothing, or everything."""
    with pytest.raises(ValidationError, match=r"needs \[backend.price\].*500000 tokens"):
        Backend.model_validate({"budget_per_day": 5})


async def test_the_daemon_stops_asking_and_goes_on_the_next_day(tmp_path: Path) -> None:
    """No photo is lost meanwhile, no answer is paid for twice, and a restart forgets nothing."""
    site = site_with("7000 tokens", tmp_path)
    await site.arrive("a.jpg", "b.jpg", "c.jpg", "d.jpg")
    async with site.services() as services:
        services.settings = services.settings.model_copy(
            update={"queue": services.settings.queue.model_copy(update={"photos_in_flight": 1})}
        )
        heard = await tag_all(services, site, scan=False)
        assert heard["failed"] == 0
        assert 6 <= site.questions <= 8
        asked = site.questions
    async with site.services() as services:
        assert "today's budget is spent" in await why_nothing_starts(services)
        assert await tag_all(services, site, scan=False) == {}
        assert site.questions == 0
    counts = await site.ledger.counts()
    assert (counts.recorded + counts.queued, counts.quarantined) == (4, 0)
    site.now = lambda: NOON + timedelta(hours=12)
    async with site.services() as services:
        await tag_all(services, site, scan=False)
        assert asked + site.questions == 4 * 3
    assert (await site.ledger.counts()).recorded == 4


async def test_a_scan_beside_the_daemon_spends_of_the_same_budget(tmp_path: Path) -> None:
    """It ends and says why; its photos wait in the queue."""
    site = site_with("9000 tokens", tmp_path)
    await site.ledger.spend(TODAY, "any", Usage(3, 7500, 500))  # by the daemon
    await site.arrive("a.jpg", "b.jpg")
    async with site.services() as services:
        with pytest.raises(BudgetSpent, match=r"today's budget is spent"):
            await tag_all(services, site, scan=True)
        assert 1 <= site.questions <= 2  # those that were in flight when it was spent
    counts = await site.ledger.counts()
    assert (counts.queued, counts.quarantined) == (2, 0)


async def test_answers_that_are_held_cost_nothing_and_are_written(tmp_path: Path) -> None:
    """A budget that is spent stops requests, not work that needs none."""
    site = site_with("2 requests", tmp_path)
    await site.arrive("a.jpg")
    site.settings, limited = (
        site.settings.model_copy(
            update={"backend": site.settings.backend.model_copy(update={"budget_per_day": ""})}
        ),
        site.settings,
    )
    async with site.services() as services:
        assert await tag_all(services, site, scan=True) == {"tagged": 1}
    (site.folder / "a.jpg.xmp").unlink(missing_ok=True)
    site.settings = limited
    await site.admit(site.folder / "a.jpg", again=False)
    other = site.folder / "copy.jpg"
    other.write_bytes((site.folder / "a.jpg").read_bytes())
    await site.admit(other)
    async with site.services() as services:
        assert await services.inference.budget.reason()
        assert await tag_all(services, site, scan=True) == {"tagged": 1}
        assert site.questions == 0


async def test_what_a_full_disk_does_not_take_is_counted_later() -> None:
    """And it counts for the budget meanwhile."""

    class Full(InMemoryLedger):
        full = True

        async def spend(self, day: str, model: str, usage: Usage) -> None:
            if self.full:
                raise StorageError
            await super().spend(day, model, usage)

    ledger = Full()
    budget = Budget(backend("2000 tokens"))
    budget.count_in(ledger, lambda: NOON)
    budget.add("m", Usage(1, 900, 100))
    await budget.keep()
    assert await budget.today() == {"m": Usage(1, 900, 100)}
    await budget.check()
    budget.add("m", Usage(1, 900, 100))
    await budget.keep()
    with pytest.raises(BudgetSpent):
        await budget.check()
    ledger.full = False
    budget.add("m", Usage(1, 1, 1))
    await budget.keep()
    assert await ledger.spent(TODAY) == {"m": Usage(3, 1801, 201)}
    await ledger.close()


async def test_a_backend_that_counts_no_tokens_is_named() -> None:
    """A limit in tokens or money holds nothing then, and nobody must believe that it does."""
    ledger = InMemoryLedger()
    for text, warns in (("9 tokens", True), ("9 requests", False), ("", False)):
        budget = Budget(backend(text))
        budget.count_in(ledger, lambda: NOON)
        budget.add("mute", Usage(1), answered=False)
        assert not budget.warning
        budget.add("mute", Usage(1))
        assert ("mute does not say how many tokens" in budget.warning) is warns
    await ledger.close()


def test_a_budget_is_no_business_of_a_project() -> None:
    """A file on somebody's card must not raise what may be spent."""
    from taggerd.settings.backend import PROJECT_KEYS  # noqa: PLC0415

    assert not {"budget_per_day", "price"} & PROJECT_KEYS
