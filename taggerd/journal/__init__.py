"""The journal: what was done, day by day, for programs (JSONL, metrics) and for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taggerd.lazy import at_first_use

if TYPE_CHECKING:
    from taggerd.journal.day import Day
    from taggerd.journal.dayfile import Entry, read_lines
    from taggerd.journal.journal import Journal, Summary
    from taggerd.journal.metrics import Figures, History, metrics_schema
    from taggerd.journal.record import Record, record_schema
    from taggerd.journal.scanfile import check_scan_file, write_jsonl, write_summary
else:
    __getattr__ = at_first_use(
        __name__,
        {
            "day": "Day",
            "dayfile": "Entry read_lines",
            "journal": "Journal Summary",
            "metrics": "Figures History metrics_schema",
            "record": "Record record_schema",
            "scanfile": "check_scan_file write_jsonl write_summary",
        },
    )

__all__ = [
    "Day",
    "Entry",
    "Figures",
    "History",
    "Journal",
    "Record",
    "Summary",
    "check_scan_file",
    "metrics_schema",
    "read_lines",
    "record_schema",
    "write_jsonl",
    "write_summary",
]
