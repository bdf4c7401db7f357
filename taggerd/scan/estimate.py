"""What a scan will take, by what the same models took on this machine before."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from taggerd.errors import TaggerdError
from taggerd.photo import Usage
from taggerd.services import local_now, make_inference, make_journal, read_ledger

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from taggerd.inference import InferenceService
    from taggerd.journal import Journal
    from taggerd.settings import Settings
    from taggerd.settings.configuration import Configuration

LISTING_SECONDS = 5.0
"""How long the backend is waited for that has to say which model it serves."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What photos will take."""

    photos: int
    requests: int
    """At most: photos whose answers are held cost none."""
    basis: str
    """What the figures rest on, or why there are none."""
    tokens: Usage | None = None
    """None: no figures yet."""
    seconds: float | None = None
    price: str = ""
    """By ``backend.price``; empty without one."""
    budget: str = ""
    """Of ``backend.budget_per_day``, and what is spent of it; empty without one."""
    over_budget: bool = False
    """Whether the rest of today's budget does not suffice, as far as there are figures."""


async def estimate_photos(configuration: Configuration, photos: int) -> Estimate:
    """Return what so many *photos* will take. Of the backend at most the list of models is asked.

    Raises:
        ConfigurationError: the settings cannot be used. StartError: the state cannot be used.
        StorageError: the journal or the ledger cannot be read.

    """
    settings, now = configuration.settings, local_now()
    inference = make_inference(configuration)
    try:
        with suppress(TaggerdError, TimeoutError):
            async with asyncio.timeout(LISTING_SECONDS):
                await inference.choose_models()
        spent = await asyncio.to_thread(
            read_ledger, settings, lambda ledger: ledger.spent(f"{now:%Y-%m-%d}")
        )
        return await asyncio.to_thread(
            estimate, photos, inference, make_journal(settings), settings, dict(spent or {}), now
        )
    finally:
        await inference.close()


def estimate(  # noqa: PLR0913, PLR0917 - what an estimate rests on
    photos: int,
    inference: InferenceService,
    journal: Journal,
    settings: Settings,
    spent: Mapping[str, Usage],
    now: datetime,
) -> Estimate:
    """Return what so many *photos* will take, where *spent* was spent today. Reads the journal."""
    roles = inference.models_by_role
    named = ", ".join(dict.fromkeys(filter(None, roles.values()))) or "the backend's model"
    backend = settings.backend
    took = journal.experience(roles, now)
    budget, left = "", None
    if (limit := backend.budget) is not None:
        used = limit.used(spent, backend.price)
        left = limit.amount - used
        budget = (
            f"{limit.text(limit.amount, backend.price)} a day, "
            f"{limit.text(used, backend.price)} of it spent today"
        )
    if not took.photos:
        requests = photos * (1 if backend.request_mode == "combined" else len(roles))
        none = f"no figures yet: {named} has tagged no photo here"
        over = limit is not None and limit.unit == "requests" and requests > (left or 0)
        return Estimate(photos, requests, none, budget=budget, over_budget=over)
    each = took.usage
    share = photos / took.photos
    usage = Usage(
        round(each.requests * share),
        round(each.prompt_tokens * share),
        round(each.completion_tokens * share),
    )
    by_model = {model: _scaled(part, share) for model, part in took.by_model.items()}
    price = backend.price.text(backend.price.total(by_model)) if backend.price.known else ""
    needs = limit.used(by_model, backend.price) if limit else 0.0
    counted = "1 photo" if took.photos == 1 else f"{took.photos} photos"
    return Estimate(
        photos,
        usage.requests,
        f"from {counted} that {took.models or named} took here",
        tokens=usage if usage.tokens else None,
        seconds=took.active_seconds * share,
        price=price,
        budget=budget,
        over_budget=left is not None and needs > left,
    )


def _scaled(usage: Usage, share: float) -> Usage:
    return Usage(*(round(number * share) for number in usage))


def spoken_seconds(seconds: float) -> str:
    """Return a length of time as people say it who plan by it."""
    minutes = round(seconds / 60)
    if seconds < 90:  # noqa: PLR2004 - a minute and a half
        return f"{max(1, round(seconds))} s"
    if minutes < 90:  # noqa: PLR2004 - likewise in minutes
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes / 60 / 24:.1f} days"
