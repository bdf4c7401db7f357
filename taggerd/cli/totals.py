"""What a scan takes, in words: the estimate, the totals, and what a dry run would change."""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from typing import TYPE_CHECKING

from taggerd.photo import Usage
from taggerd.scan.estimate import spoken_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from taggerd.photo import FieldChange, Preview
    from taggerd.scan import Estimate, Tally
    from taggerd.settings import Price

_THOUSAND = 1000
_LONGEST = 300
"""Characters of a text that are shown."""


def summed(spent: Mapping[str, Usage]) -> Usage:
    """Return all that was *spent*, whatever the model."""
    total = Usage()
    for usage in spent.values():
        total = total.plus(usage)
    return total


def so_far(tally: Tally, price: Price) -> str:
    """Return failures, tokens and price so far, as short as a progress bar wants it."""
    tokens = summed(tally.spent).tokens
    shown = f"{tokens / _THOUSAND:.1f}k tokens" if tokens >= _THOUSAND else f"{tokens} tokens"
    parts = [f"{len(tally.failed)} failed"] if tally.failed else []
    parts += [shown] if tokens else []
    parts += [price.text(price.total(tally.spent))] if price.known and tokens else []
    return ", ".join(parts)


def totals(tally: Tally, price: Price) -> str:
    """Return what a scan took in all; empty where nothing was asked."""
    took = summed(tally.spent)
    if not took.requests:
        return ""
    parts = [f"{took.requests:,} request{'' if took.requests == 1 else 's'}"]
    if took.tokens:
        each = f"{took.prompt_tokens:,} asked, {took.completion_tokens:,} answered"
        parts.append(f"{took.tokens:,} tokens ({each})")
    if price.known:
        parts.append(price.text(price.total(tally.spent)))
    tagged = tally.outcomes["tagged"]
    if tally.seconds:
        rate = f" ({tagged / tally.seconds * 3600:,.0f} photos an hour)" if tagged else ""
        parts.append(f"{spoken_seconds(tally.seconds)}{rate}")
    return "; ".join(parts)


def estimate_lines(estimate: Estimate) -> Iterator[str]:
    """Yield what photos will take, and what that rests on."""
    parts = [f"about {estimate.requests:,} requests"]
    if estimate.tokens is not None:
        parts.append(f"{estimate.tokens.tokens:,} tokens")
    if estimate.seconds is not None:
        parts.append(spoken_seconds(estimate.seconds))
    if estimate.price:
        parts.append(estimate.price)
    photos = "1 photo" if estimate.photos == 1 else f"{estimate.photos:,} photos"
    yield f"{photos}: {', '.join(parts)} ({estimate.basis})"
    if estimate.budget:
        enough = ": not enough; scan again tomorrow for the rest" if estimate.over_budget else ""
        yield f"budget: {estimate.budget}{enough}"


def estimate_as_json(estimate: Estimate) -> dict[str, object]:
    """Return *estimate* as a JSON object."""
    tokens = estimate.tokens
    return {
        "photos": estimate.photos,
        "requests": estimate.requests,
        "prompt_tokens": tokens.prompt_tokens if tokens else None,
        "completion_tokens": tokens.completion_tokens if tokens else None,
        "seconds": None if estimate.seconds is None else round(estimate.seconds, 1),
        "price": estimate.price,
        "budget": estimate.budget,
        "over_budget": estimate.over_budget,
        "basis": estimate.basis,
    }


def preview_lines(preview: Preview) -> Iterator[str]:
    """Yield what would change about a photo, old → new, a field a line."""
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for change in preview.changes:
        alike[_changed(change)].append(change.field)
    for changed, fields in alike.items():
        yield f"  {', '.join(fields)}: {changed}"
    for note in preview.notes:
        yield f"  {note}"
    if not preview.changes:
        yield "  nothing would change"


def preview_as_json(preview: Preview) -> dict[str, object]:
    """Return *preview* as a JSON object."""
    return {
        "changes": [
            {"field": each.field, "before": list(each.before), "after": list(each.after)}
            for each in preview.changes
        ],
        "notes": list(preview.notes),
    }


def _changed(change: FieldChange) -> str:
    """Return what changes in a field: words that come and go, or the text before and after."""
    if change.field == "keywords":
        come = [f"+ {word}" for word in change.after if word not in change.before]
        go = [f"- {word}" for word in change.before if word not in change.after]
        return ", ".join((*go, *come))
    before, after = (" ".join("".join(each).split()) for each in (change.before, change.after))
    return f"{_quoted(before)} → {_quoted(after)}"


def _quoted(text: str) -> str:
    shown = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
    return f'"{shown}"' if text else "(nothing)"


async def agreed() -> bool:
    """Wait for a line of the terminal; return whether it agrees. Ctrl-C works meanwhile."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(sys.stdin, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(sys.stdin)
    line = sys.stdin.readline()
    return line.strip().lower() in {"y", "yes"} or (line.endswith("\n") and not line.strip())
