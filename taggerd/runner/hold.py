"""Answers that nobody has accepted after some days: written or dropped, as the user set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taggerd.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from taggerd.services import Services

log = get_logger(__name__)

_DAY = 24 * 60 * 60


async def end_long_holds(services: Services, within: Sequence[Path] | None) -> int:
    """Do what ``review.after_hold`` says with what is held for too long; return how many photos.

    Raises:
        StorageError: the ledger cannot be used.

    """
    review, ledger = services.settings.review, services.ledger
    if not review.hold_days:
        return 0
    before = services.now().timestamp() - review.hold_days * _DAY
    end = ledger.accept if review.after_hold == "write" else ledger.drop_held
    ended = await end(within, before=before)
    if ended:
        log.info("nobody accepted in time", photos=ended, after_hold=review.after_hold)
    return ended
