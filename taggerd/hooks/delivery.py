"""Delivers the notices of one hook, oldest first, and tries again what a webhook did not take."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, TypeAlias

from taggerd.hooks import command
from taggerd.hooks.webhook import Sent, Webhook, host_of
from taggerd.logs import get_logger
from taggerd.retry import HOOK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    import httpx

    from taggerd.photo import Notice
    from taggerd.settings import Hook, Hooks

    Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"

log = get_logger(__name__)

_AT_ONCE = 20
"""Notices that are read in one go."""
_MOST_STARTS = 2
"""A command that was running when taggerd died is run once more, not for ever: it may be what
ended taggerd."""
_MOST_REJECTED = 3
"""Notices in a row that a webhook rejects before it is left alone: then it is not the notices."""
_LONGEST_ASKED = 3600.0
"""Seconds; however long a webhook wants to be left alone."""
_DAY_SECONDS = 86_400.0


class Store(Protocol):
    """The part of the ledger that hooks use."""

    async def serve_notices(self) -> bool:
        """Say whether this program is the one that delivers, as long as it runs."""

    async def notify(
        self,
        notices: Iterable[Notice],
        *,
        done: Iterable[Notice] = (),
        notes: Mapping[str, Json] | None = None,
    ) -> None:
        """Keep *notices*, remove those that are *done*, and keep *notes*, in one step."""

    async def due_notices(self, hook: str, limit: int, now: float) -> list[Notice]:
        """Return the oldest notices for *hook* that are due."""

    async def next_notice(self, hook: str) -> float | None:
        """Return when the next notice for *hook* is due; None: there is none."""

    async def defer_notice(self, notice: Notice, until: float) -> None:
        """Count an attempt, and deliver *notice* no sooner than *until*."""

    async def drop_notices(self, hook: str, *, before: float, keep: int) -> int:
        """Drop notices for *hook* from *before*, and all but the latest *keep*; say how many."""

    async def recall(self, key: str) -> Json:
        """Return what was noted under *key*."""


class Delivery:
    """The delivery of one hook's notices."""

    def __init__(  # noqa: PLR0913 - what it works with
        self,
        name: str,
        hooks: Hooks,
        store: Store,
        *,
        now: Callable[[], datetime],
        one_command: asyncio.Lock,
        chance: Callable[[], float],
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Deliver to the hook *name* of *hooks*; *one_command* is shared by all of them."""
        self.name = name
        self._hook: Hook = getattr(hooks, name)
        self._hooks = hooks
        self._store = store
        self._now = now
        self._one_command = one_command
        self._chance = chance
        self._webhook = None
        if self._hook.url:
            self._webhook = Webhook(self._hook, seconds=hooks.timeout_seconds, transport=transport)
        self._wake = asyncio.Event()
        self.settled = asyncio.Event()
        """Set while nothing is left that may be delivered now."""
        self._failures = 0
        self._paused_until = 0.0
        self.trouble = ""
        """Why the webhook takes nothing, or the command failed last; empty while all is well."""

    def wake(self) -> None:
        """There is a new notice."""
        self.settled.clear()
        self._wake.set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        while True:
            self._wake.clear()
            await self.deliver()
            if not self._wake.is_set():
                self.settled.set()
            due = await self._store.next_notice(self.name)
            pause = None
            if due is not None:
                pause = max(0.1, max(due, self._paused_until) - self._now().timestamp())
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()

    async def deliver(self) -> None:
        """Deliver what is due."""
        await self._drop_old()
        while self._paused_until <= (now := self._now().timestamp()):
            notices = await self._store.due_notices(self.name, _AT_ONCE, now)
            if not notices:
                break
            for notice in notices:
                if not await self._deliver_one(notice):
                    break

    async def try_once(self, notice: Notice) -> None:
        """Deliver a notice that the ledger's full disk does not take, if that works now."""
        if self._webhook is not None:
            await self._webhook.send(notice.id, notice.body, int(self._now().timestamp()))
            return
        async with self._one_command:
            seconds = self._hooks.timeout_seconds
            self._failed(await command.run(self._hook.command, notice.body, seconds=seconds))

    async def close(self) -> None:
        """Close the connection."""
        if self._webhook:
            await self._webhook.close()

    async def _drop_old(self) -> None:
        """Drop what has waited for too long, or is too much: a webhook may be gone for ever."""
        before = self._now().timestamp() - self._hooks.keep_days * _DAY_SECONDS
        keep = self._hooks.keep_notices
        dropped = await self._store.drop_notices(self.name, before=before, keep=keep)
        if dropped:
            log.warning(
                "notices that could not be delivered are dropped",
                hook=self.name,
                notices=dropped,
                reason=self.trouble or "hooks.keep_days and hooks.keep_notices",
            )

    async def _deliver_one(self, notice: Notice) -> bool:
        """Deliver one notice; return whether the next may be tried at once."""
        if self._webhook is None:
            await self._run_command(notice)
            return True
        now = self._now().timestamp()
        sent = await self._webhook.send(notice.id, notice.body, int(now))
        if not sent.failure:
            await self._store.notify([], done=[notice])
            self._report("")
            self._failures = 0
            return True
        return await self._put_off(notice, sent)

    async def _put_off(self, notice: Notice, sent: Sent) -> bool:
        """Try *notice* again later, and usually nothing else for a while.

        Returns whether the next may be tried at once: one that the webhook never takes must not
        hold up those behind it.
        """
        self._failures += 1
        self._report(sent.failure)
        asked, now = min(sent.asked_seconds, _LONGEST_ASKED), self._now().timestamp()
        own = HOOK.seconds(notice.attempts + 1, asked=asked, chance=self._chance())
        await self._store.defer_notice(notice, now + own)
        if sent.rejected and self._failures < _MOST_REJECTED:
            return True
        pause = HOOK.seconds(self._failures, asked=asked, chance=self._chance())
        self._paused_until = now + pause
        return False

    async def _run_command(self, notice: Notice) -> None:
        """Run the command for *notice*; it is not tried again if it fails."""
        async with self._one_command:
            if notice.attempts >= _MOST_STARTS:
                why = "taggerd ended twice while it ran"
            else:
                await self._store.defer_notice(notice, 0.0)
                why = await command.run(
                    self._hook.command, notice.body, seconds=self._hooks.timeout_seconds
                )
            await self._store.notify([], done=[notice])
        self._failed(why)

    def _failed(self, why: str) -> None:
        self.trouble = why
        if why:
            program = self._hook.command[0]
            log.warning("a hook's command failed", hook=self.name, command=program, reason=why)

    def _report(self, trouble: str) -> None:
        """Log once that the webhook takes nothing, and once that it does again."""
        if trouble and not self.trouble:
            log.warning(
                "a webhook takes no notices; they are kept and sent again",
                hook=self.name,
                webhook=host_of(self._hook.url or ""),
                reason=trouble,
            )
        elif self.trouble and not trouble:
            log.info("a webhook takes notices again", hook=self.name)
        self.trouble = trouble
