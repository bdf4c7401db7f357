"""The durable queue: which photos were seen, wait, were answered, are to be journalled."""

from taggerd.ledger.backup import Backup, back_up
from taggerd.ledger.dry_run import dry_run_ledger
from taggerd.ledger.port import (
    Admitted,
    Claim,
    Counts,
    Deferred,
    Ending,
    Failed,
    FileState,
    Finished,
    Held,
    Json,
    Ledger,
    Moved,
    Outgoing,
    Pause,
    Quarantined,
    Released,
    Rewritten,
    State,
    Waiting,
)
from taggerd.ledger.reading import LedgerReader, read_ledger
from taggerd.ledger.sqlite import SqliteLedger

__all__ = [
    "Admitted",
    "Backup",
    "Claim",
    "Counts",
    "Deferred",
    "Ending",
    "Failed",
    "FileState",
    "Finished",
    "Held",
    "Json",
    "Ledger",
    "LedgerReader",
    "Moved",
    "Outgoing",
    "Pause",
    "Quarantined",
    "Released",
    "Rewritten",
    "SqliteLedger",
    "State",
    "Waiting",
    "back_up",
    "dry_run_ledger",
    "read_ledger",
]
