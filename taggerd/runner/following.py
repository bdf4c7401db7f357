"""What follows when a photo is tagged: it is released, and hooks hear of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taggerd.hooks import Hooks
from taggerd.runner.release import Releases

if TYPE_CHECKING:
    from taggerd.attempt import RunOptions
    from taggerd.runner.outcome import Outcome
    from taggerd.services import Services


class Following:
    """What follows in one run; it hears of each record that is journalled."""

    def __init__(self, services: Services, options: RunOptions, *, sweeps: bool) -> None:
        """Prepare; with *sweeps*, photos that were tagged at any time are released as well."""

        async def queue_is_empty() -> bool:
            waiting = await services.ledger.waiting(options.within, options.run)
            return waiting.nothing_left and await services.ledger.all_delivered()

        self._releases = Releases(services)
        wanted = services.settings.arrivals.release_to is not None
        self.hooks = Hooks(
            services.settings.hooks,
            services.ledger,
            now=services.now,
            queue_is_empty=queue_is_empty,
            release=self._releases.of if wanted else None,
            beside=self._releases.run if wanted and sweeps else None,
        )
        services.relay.on_delivered = self.hooks.wake

    async def begin(self) -> None:
        """Bring to its end what was interrupted, before anybody looks at the folders.

        Without this a photo that was killed on its way would be found as a new one, and recorded
        twice.
        """
        await self._releases.begin()

    def hear(self, outcome: Outcome) -> None:
        """Hear of an attempt that ended."""
        self._releases.hear(outcome)

    async def finish(self) -> list[str]:
        """Wait, at the end of a scan, until all has followed; return what has not, a line each."""
        if await self.hooks.finish():
            await self._releases.release_pending()
        return self.hooks.troubles()
