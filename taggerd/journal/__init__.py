"""The journal: what was done, day by day, for programs (JSONL, metrics) and for people."""

from taggerd.journal.dayfile import Entry
from taggerd.journal.journal import History, Journal, Summary
from taggerd.journal.record import Record
from taggerd.journal.scanfile import check_scan_file, write_jsonl, write_summary

__all__ = [
    "Entry",
    "History",
    "Journal",
    "Record",
    "Summary",
    "check_scan_file",
    "write_jsonl",
    "write_summary",
]
