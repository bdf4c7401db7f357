"""Hooks on a ledger in memory, with a clock that is set and a webhook that answers as told."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from taggerd.hooks import PHOTOS, Hooks
from taggerd.photo import Notice
from taggerd.settings import Hooks as HookSettings
from taggerd.testing import InMemoryLedger, InMemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass
class Stage:
    """What the hooks work with."""

    now: float = 1_750_000_000.0
    store: InMemoryStore = field(default_factory=InMemoryStore)
    empty: bool = True
    """Whether the queue is."""
    away: bool = False
    refused: set[str] = field(default_factory=set)
    """Ids that the webhook does not take."""
    heard: list[dict[str, Any]] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Open the ledger."""
        self.ledger = InMemoryLedger(self.store, clock=lambda: self.now)

    def moment(self) -> datetime:
        """Return the time."""
        return datetime.fromtimestamp(self.now, UTC)

    def answer(self, request: httpx.Request) -> httpx.Response:
        """Be the webhook."""
        notice = request.headers["webhook-id"]
        self.tried.append(notice)
        if self.away:
            message = "connection refused"
            raise httpx.ConnectError(message)
        if notice in self.refused:
            return httpx.Response(400)
        self.heard.append(json.loads(request.content))
        return httpx.Response(200)

    def settings(self, *names: str, **more: Any) -> HookSettings:  # noqa: ANN401 - settings
        """Return settings in which the hooks *names* are webhooks."""
        return HookSettings(**{name: {"url": "http://hook.test"} for name in names}, **more)

    def hooks(self, settings: HookSettings, **more: Any) -> Hooks:  # noqa: ANN401 - its arguments
        """Make the hooks."""

        async def queue_is_empty() -> bool:
            return self.empty

        return Hooks(
            settings,
            self.ledger,
            now=self.moment,
            queue_is_empty=queue_is_empty,
            chance=lambda: 0.0,
            transport=httpx.MockTransport(self.answer),
            **more,
        )

    async def record(self, *numbers: int, error: str = "") -> None:
        """Journal the records of some photos, as the relay does."""
        await self.ledger.delivered([], [self.notice(n, error) for n in numbers])

    def notice(self, number: int, error: str = "") -> Notice:
        """Return what the relay keeps of a photo's record."""
        record = {
            "id": f"{number}-2025.1",
            "image": f"/srv/import/{number}.jpg",
            "files": [f"/srv/import/{number}.jpg"],
            "sidecars": [f"/srv/import/{number}.jpg.xmp"],
            "keywords": [{"keyword": "pier", "score": None}],
            "caption": "A pier",
            "duration_seconds": 1.5,
            "error": error,
        }
        return Notice(str(record["id"]), PHOTOS, self.now, json.dumps(record))

    def types(self) -> list[str]:
        """Return what was heard, in order."""
        return [each["type"] for each in self.heard]


@pytest.fixture
def stage() -> Stage:
    """Return an empty stage."""
    return Stage()


async def settle(hooks: Hooks, stage: Stage, *, until: Iterable[str] | None = None) -> None:
    """Let *hooks* run until nothing more happens; *until*: all that was ever heard then."""
    hooks.wake()
    for delivery in hooks._deliveries.values():
        delivery._wake.set()  # the clock of the test has moved, the loop's has not
    for _ in range(500):
        await asyncio.sleep(0)
    assert until is None or stage.types() == list(until)
