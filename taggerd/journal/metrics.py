"""Metrics of a day, from its records alone: counts, latency by stage, tokens, throughput, runs.

Counts of photos use each photo's latest record. Times and tokens use all records: every one of them
took time and cost tokens.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, TypeAdapter, with_config
from typing_extensions import TypedDict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from taggerd.journal.day import Day
    from taggerd.journal.record import Record

METRICS_SCHEMA_VERSION = 1

RECENT = timedelta(hours=1)
"""How far back the speed looks."""
RECENT_GAP = timedelta(minutes=1)
"""A pause longer than this does not count as work: the speed is that of work."""


_DESCRIBED = with_config(ConfigDict(use_attribute_docstrings=True))
"""Takes the text below each field into the schema."""


@_DESCRIBED
class Spread(TypedDict):
    """How long something took, in seconds."""

    count: int
    p50: float
    """Half of all took no longer."""
    p90: float
    p99: float
    max: float


@_DESCRIBED
class Throughput(TypedDict):
    """How fast the work was."""

    active_seconds: float
    """In which at least one photo was worked on."""
    photos_per_hour: float | None
    """Photos tagged in an hour of these; None without any."""


@_DESCRIBED
class Figures(TypedDict):
    """What records took and cost, and what made them."""

    seconds: dict[str, Spread]
    """By stage; ``whole`` is the attempt from its start to its end."""
    usage: dict[str, int]
    """Requests and tokens."""
    throughput: Throughput
    models: dict[str, int]
    """Records by ``role: model``."""
    backends: dict[str, int]
    """Records by address."""
    prompt_profiles: dict[str, int]
    """Records by name."""
    versions: dict[str, int]
    """Records by version of taggerd."""


@_DESCRIBED
class Run(Figures):
    """The metrics of one run."""

    run: str
    started_at: str | None
    """ISO 8601, of the first record."""
    finished_at: str | None
    """ISO 8601, of the last record."""
    records: int
    photos: int
    failed: int
    """Records of photos that were not tagged."""


@_DESCRIBED
class Total(Figures):
    """The metrics of several days together."""

    schema_version: int
    counts: dict[str, int]
    """Photos by what became of them, and records."""
    errors: dict[str, int]
    """Failed photos by kind of error."""


@_DESCRIBED
class Metrics(Total):
    """The metrics of one day."""

    day: str
    """YYYY-MM-DD."""
    runs: list[Run]
    """The earliest first."""


@_DESCRIBED
class History(TypedDict):
    """What ``taggerd metrics --json`` prints."""

    days: list[Metrics]
    """The metrics of each day; they are also in its file below ``metrics/``."""
    all: Total
    """Those of all these days together."""


Span = tuple[datetime, datetime, list["Record"]]
"""Start, end, and the records of it."""


def counts(day: Day) -> dict[str, int]:
    """Return how many records and photos *day* has, and how many were tagged or failed."""
    photos = day.photos
    return {
        "records": len(day.records),
        "photos": len(photos),
        "tagged": sum(not photo.held for photo in day.tagged),
        "failed": len(day.failed),
        "dry_run": sum(photo.dry_run for photo in photos),
        "no_meta": sum(photo.no_meta for photo in photos),
        "held": sum(photo.held for photo in photos),
        "metadata_written": sum(photo.metadata_written for photo in photos),
        "with_notes": sum(bool(photo.notes) for photo in photos),
        "damaged_lines": day.damaged_lines,
    }


def metrics(day: Day) -> Metrics:
    """Return the metrics of *day* as JSON values; times in seconds."""
    runs = [_run(run, records) for run, records in _by_run(day.records).items()]
    return {**total(day), "day": day.title, "runs": runs}


def total(day: Day) -> Total:
    """Return the metrics of the records of *day*, which may be those of several."""
    return {
        "schema_version": METRICS_SCHEMA_VERSION,
        "counts": counts(day),
        "errors": _tally(photo.error_kind for photo in day.failed),
        **_figures(day.records),
    }


def metrics_schema() -> dict[str, Any]:
    """Return the JSON schema of ``taggerd metrics --json``; that of a day's file is in it."""
    return TypeAdapter(History).json_schema(mode="serialization")


def _figures(records: Sequence[Record]) -> Figures:
    """Return how long *records* took, what they cost, and what made them."""
    active = sum((end - start).total_seconds() for start, end, _ in spans(records, timedelta()))
    tagged = sum(not record.error for record in records)
    usage: Counter[str] = Counter()
    for record in records:
        usage.update(record.usage)
    return {
        "seconds": _latency(records),
        "usage": dict(sorted(usage.items())),
        "throughput": {
            "active_seconds": round(active, 3),
            "photos_per_hour": round(tagged / active * 3600, 1) if active else None,
        },
        "models": _tally(f"{r}: {m}" for record in records for r, m in record.models.items() if m),
        "backends": _tally(record.backend for record in records),
        "prompt_profiles": _tally(record.prompt_profile for record in records),
        "versions": _tally(record.version for record in records),
    }


def photos_per_hour(records: Iterable[Record], now: datetime) -> float | None:
    """Return how many photos an hour were worked on of late; None: none within the hour."""
    recent = (r for r in records if r.finished_at and now - RECENT <= r.finished_at <= now)
    joined = spans(recent, RECENT_GAP)
    active = sum((end - start).total_seconds() for start, end, _ in joined)
    ended = sum(len(members) for _, _, members in joined)
    return ended / active * 3600 if active else None


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile: the least value that *share* of all do not exceed.

    *ordered* is sorted and not empty; *share* is over 0 and at most 1.
    """
    return ordered[math.ceil(share * len(ordered)) - 1]


def _latency(records: Iterable[Record]) -> dict[str, Spread]:
    """Return count, p50, p90, p99 and max of the whole attempt and of every stage, in seconds."""
    times: defaultdict[str, list[float]] = defaultdict(list)
    for record in records:
        times["whole"].append(record.duration_seconds)
        for stage, seconds in record.stages.items():
            times[stage].append(seconds)
    return {stage: _spread(sorted(seconds)) for stage, seconds in times.items()}


def _spread(ordered: Sequence[float]) -> Spread:
    def at(share: float) -> float:
        return round(percentile(ordered, share), 4)

    return {"count": len(ordered), "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "max": at(1.0)}


def _tally(values: Iterable[str]) -> dict[str, int]:
    return dict(Counter(filter(None, values)).most_common())


def spans(records: Iterable[Record], gap: timedelta) -> list[Span]:
    """Join *records* that overlap or follow within *gap*; those without times are left out."""
    timed = [
        (record.started_at, max(record.started_at, record.finished_at), record)
        for record in records
        if record.started_at and record.finished_at
    ]
    spans: list[Span] = []
    for start, end, record in sorted(timed, key=lambda span: span[:2]):
        if spans and start - spans[-1][1] <= gap:
            first, last, members = spans[-1]
            members.append(record)
            spans[-1] = (first, max(last, end), members)
        else:
            spans.append((start, end, [record]))
    return spans


def _by_run(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Group *records* by the run that made them, the earliest run first."""
    runs: defaultdict[str, list[Record]] = defaultdict(list)
    for record in records:
        runs[record.run].append(record)
    return runs


def _run(run: str, records: Sequence[Record]) -> Run:
    """Return the figures of one *run*."""
    began = [record.started_at for record in records if record.started_at]
    ended = [record.finished_at for record in records if record.finished_at]
    return {
        "run": run,
        "started_at": min(began).isoformat(timespec="milliseconds") if began else None,
        "finished_at": max(ended).isoformat(timespec="milliseconds") if ended else None,
        "records": len(records),
        "photos": len({record.image for record in records}),
        "failed": sum(bool(record.error) for record in records),
        **_figures(records),
    }
