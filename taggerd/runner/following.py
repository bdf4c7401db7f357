"""What follows when a photo is tagged: the hooks, made for one run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taggerd.hooks import Hooks

if TYPE_CHECKING:
    from taggerd.attempt import RunOptions
    from taggerd.services import Services


def hooks_of(services: Services, options: RunOptions) -> Hooks:
    """Return the hooks of a run; from now on they hear of each record that is journalled."""

    async def queue_is_empty() -> bool:
        waiting = await services.ledger.waiting(options.within, options.run)
        return waiting.nothing_left and not await services.ledger.outbox(1)

    hooks = Hooks(
        services.settings.hooks,
        services.ledger,
        now=services.now,
        queue_is_empty=queue_is_empty,
    )
    services.relay.on_delivered = hooks.wake
    return hooks
