"""The day's budget: what all programs of a state directory spent, and whether they may spend more.

Every request that a backend answers is counted, also those of probes and of answers that were not
used: they are paid for as well.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Protocol

from taggerd.errors import BudgetSpent, StorageError
from taggerd.logs import get_logger
from taggerd.photo import Usage
from taggerd.settings.hours import spoken

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from taggerd import settings
    from taggerd.photo import Spending

log = get_logger(__name__)


class Accounts(Protocol):
    """Keeps what was spent, for all programs together; the ledger does."""

    async def spend(self, day: str, model: str, usage: Usage) -> None:
        """Add *usage* of *model* to a local *day*."""

    async def spent(self, day: str) -> Mapping[str, Usage]:
        """Return what was spent on a local *day*, by model."""


def spent_message(options: settings.Backend, spent: Mapping[str, Usage], now: datetime) -> str:
    """Say that today's budget is spent, and until when; empty if it is not, or there is none.

    Args:
        options: the budget and the prices.
        spent: what was spent on the day of *now*, by model.
        now: local.

    """
    limit, price = options.budget, options.price
    if limit is None or (used := limit.used(spent, price)) < limit.amount:
        return ""
    tomorrow = datetime.combine(now.date() + timedelta(1), time())
    of_limit = f"{limit.text(used, price)} of {limit.text(limit.amount, price)}"
    return f"today's budget is spent ({of_limit}) until {spoken(tomorrow, now)}"


class Budget:
    """What may be spent in a day, and what was."""

    def __init__(self, options: settings.Backend) -> None:
        """Take limit and prices from *options*; nothing is counted before :meth:`count_in`."""
        self._options = options
        self._accounts: Accounts | None = None
        self._now: Callable[[], datetime] = datetime.now
        self._unkept: defaultdict[tuple[str, str], Usage] = defaultdict(Usage)
        """What is not saved yet, by day and model."""
        self._said = ""
        self.here: dict[str, Usage] = {}
        """What this program spent itself since it was started, by model."""
        self.warning = ""
        """Why the limit cannot be kept; mostly empty."""

    def count_in(self, accounts: Accounts, now: Callable[[], datetime]) -> None:
        """Count in *accounts*; *now*: the local time."""
        self._accounts, self._now = accounts, now

    def add(self, model: str, usage: Usage, *, answered: bool = True) -> None:
        """Count *usage* of *model*; :meth:`keep` saves it, or whoever takes it (:meth:`taken`)."""
        self.here[model] = self.here.get(model, Usage()).plus(usage)
        if self._accounts is None:
            return
        if answered and not usage.tokens:
            self._warn_uncounted(model)
        self.give_back({(self._day(), model): usage})

    def taken(self) -> Spending:
        """Return what is not saved yet, by day and model; the caller saves it with the answers."""
        taken, self._unkept = self._unkept, defaultdict(Usage)
        return taken

    def give_back(self, taken: Spending) -> None:
        """Count what was :meth:`taken` as not saved: the disk is full."""
        for key, usage in taken.items():
            self._unkept[key] = self._unkept[key].plus(usage)

    async def keep(self) -> None:
        """Save what is not saved yet; a disk that is full delays that, and loses nothing."""
        while self._unkept and self._accounts is not None:
            key = next(iter(self._unkept))
            part = self._unkept.pop(key)  # before it is awaited: nobody else may count it as well
            try:
                await self._accounts.spend(*key, part)
            except StorageError as error:
                self.give_back({key: part})
                log.debug("what was spent cannot be saved yet", reason=str(error))
                return

    async def today(self) -> dict[str, Usage]:
        """Return what was spent today, by model. Raises StorageError."""
        if self._accounts is None:
            return {}
        day = self._day()
        spent = dict(await self._accounts.spent(day))
        for (of_day, model), usage in self._unkept.items():
            if of_day == day:
                spent[model] = spent.get(model, Usage()).plus(usage)
        return spent

    async def reason(self) -> str:
        """Return why nothing may be asked until tomorrow; empty: ask. Raises StorageError."""
        if self._options.budget is None or self._accounts is None:
            return ""
        reason = spent_message(self._options, await self.today(), self._now())
        if bool(reason) != bool(self._said):
            if reason:
                log.warning("no requests until tomorrow", reason=reason)
            else:
                log.info("requests go on: today's budget is not spent")
        self._said = reason
        return reason

    async def check(self) -> None:
        """Return if another request may be sent.

        Raises:
            BudgetSpent: today's budget is spent. StorageError: the ledger does not say.
        """
        if reason := await self.reason():
            raise BudgetSpent(reason, asked=False)

    def _day(self) -> str:
        return f"{self._now():%Y-%m-%d}"

    def _warn_uncounted(self, model: str) -> None:
        """Say, once, that a limit in tokens or money cannot be kept."""
        limit = self._options.budget
        if limit is not None and limit.unit != "requests" and not self.warning:
            self.warning = (
                f"model {model} does not say how many tokens it took: they do not count for "
                'backend.budget_per_day; set it in requests, like "200 requests"'
            )
            log.warning(self.warning)
