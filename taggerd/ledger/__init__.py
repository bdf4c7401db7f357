"""The durable queue: which photos were seen, wait, were answered, are to be journalled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taggerd.lazy import at_first_use

if TYPE_CHECKING:
    from taggerd.ledger.backup import Backup, back_up
    from taggerd.ledger.dry_run import dry_run_ledger
    from taggerd.ledger.fleet import Fleet, Host, HostFacts
    from taggerd.ledger.opening import has_ledger
    from taggerd.ledger.port import (
        Admitted,
        Claim,
        Correction,
        CorrectionKind,
        Counts,
        Deferred,
        Ending,
        Failed,
        FileState,
        Finished,
        Held,
        HeldPhoto,
        Json,
        Ledger,
        Moved,
        Outgoing,
        Pause,
        PhotoState,
        Quarantined,
        Released,
        Rewritten,
        State,
        Waiting,
    )
    from taggerd.ledger.reading import LedgerReader, read_ledger
    from taggerd.ledger.sqlite import SqliteLedger
else:
    __getattr__ = at_first_use(
        __name__,
        {
            "backup": "Backup back_up",
            "dry_run": "dry_run_ledger",
            "fleet": "Fleet Host HostFacts",
            "opening": "has_ledger",
            "port": (
                "Admitted Claim Correction CorrectionKind Counts Deferred Ending Failed "
                "FileState Finished Held HeldPhoto Json Ledger Moved Outgoing Pause PhotoState "
                "Quarantined Released Rewritten State Waiting"
            ),
            "reading": "LedgerReader read_ledger",
            "sqlite": "SqliteLedger",
        },
    )

__all__ = [
    "Admitted",
    "Backup",
    "Claim",
    "Correction",
    "CorrectionKind",
    "Counts",
    "Deferred",
    "Ending",
    "Failed",
    "FileState",
    "Finished",
    "Fleet",
    "Held",
    "HeldPhoto",
    "Host",
    "HostFacts",
    "Json",
    "Ledger",
    "LedgerReader",
    "Moved",
    "Outgoing",
    "Pause",
    "PhotoState",
    "Quarantined",
    "Released",
    "Rewritten",
    "SqliteLedger",
    "State",
    "Waiting",
    "back_up",
    "dry_run_ledger",
    "has_ledger",
    "read_ledger",
]
