"""The relay: moves records from the ledger's outbox into the journal, and renews its pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taggerd.lazy import at_first_use

if TYPE_CHECKING:
    from taggerd.relay.outbox import OutboxRelay
    from taggerd.relay.reports import publish_day, publish_index, publish_since, write_scan_summary
else:
    __getattr__ = at_first_use(
        __name__,
        {
            "outbox": "OutboxRelay",
            "reports": "publish_day publish_index publish_since write_scan_summary",
        },
    )

__all__ = [
    "OutboxRelay",
    "publish_day",
    "publish_index",
    "publish_since",
    "write_scan_summary",
]
