"""The journal: what was done, day by day, for programs (JSONL, metrics) and for people."""

from taggerd.journal.dayfile import Entry
from taggerd.journal.journal import Journal, Summary
from taggerd.journal.metrics import Figures, History, metrics_schema
from taggerd.journal.record import Record, record_schema
from taggerd.journal.scanfile import check_scan_file, write_jsonl, write_summary

__all__ = [
    "Entry",
    "Figures",
    "History",
    "Journal",
    "Record",
    "Summary",
    "check_scan_file",
    "metrics_schema",
    "record_schema",
    "write_jsonl",
    "write_summary",
]
