"""The durable queue: what was seen, what waits, what was answered, what is to be journalled."""

from taggerd.ledger.looking import Look, look
from taggerd.ledger.port import (
    Admitted,
    Claim,
    Counts,
    Held,
    Json,
    Ledger,
    Outgoing,
    Pause,
    Quarantined,
    Standing,
    State,
)
from taggerd.ledger.sqlite import SqliteLedger

__all__ = [
    "Admitted",
    "Claim",
    "Counts",
    "Held",
    "Json",
    "Ledger",
    "Look",
    "Outgoing",
    "Pause",
    "Quarantined",
    "SqliteLedger",
    "Standing",
    "State",
    "look",
]
