"""``taggerd status``: queue, backend, folders and today's counts."""

from __future__ import annotations

import json
import textwrap
import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import typer

from taggerd.cli import instances, interrupts, options
from taggerd.daemon.status import service_status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from taggerd.daemon.status import DaemonStatus, EndpointStatus, ServiceStatus

LATE_SECONDS = 30.0
"""A healthy daemon publishes its status every few seconds."""
WIDTH = 80
CAUSES_SHOWN = 10

Row = tuple[str, str]
"""A label, empty where the row goes with the one above, and what there is to say."""

_LABEL = 9
"""Width of the labels."""
_SPACE = "\x1f"
"""Stands for a space at which no line may break."""
_MAY_REPEAT = frozenset({""})
"""Labels of what other rows may have said already."""


@options.configured(options.STATE)
def status(
    load: options.Load, *, as_json: options.AsJson = False, instance: instances.Name = None
) -> None:
    """Show queue, backend, folders and today's counts.

    It works whether the daemon runs or not. Other services that run are listed.
    """
    at = instances.target(load, load(log_level="error"), instance, reads_only=True)
    found = replace(interrupts.run(service_status(at.settings)), others=at.others)
    if at.foreign and found.running and found.live:
        found = replace(found, paused=found.live.paused)  # its hours, not those of our settings
    typer.echo(json.dumps(asdict(found), indent=2) if as_json else "\n".join(lines(found)))


def lines(status: ServiceStatus) -> list[str]:
    """Return the status as lines for people, at most :data:`WIDTH` wide; paths stay whole."""
    return [line for label, text in _once(_rows(status)) for line in _wrapped(label, text)]


def _once(rows: Iterable[Row]) -> Iterator[Row]:
    """Leave out what says again what a row above says, e.g. that the backend is away."""
    said: list[str] = []
    for label, text in rows:
        if label not in _MAY_REPEAT or not any(text in earlier for earlier in said):
            yield label, text
        said.append(text)


def _wrapped(label: str, text: str) -> list[str]:
    """Return one row as lines; what does not fit goes on below, indented."""
    found = textwrap.wrap(text, WIDTH - _LABEL, break_long_words=False, break_on_hyphens=False)
    labels = [label, *[""] * (len(found) - 1)]
    return [
        f"{word:<{_LABEL}}{line.replace(_SPACE, ' ')}"
        for word, line in zip(labels, found, strict=True)
    ]


def _whole(path: str) -> str:
    """Keep *path* in one line, so that it can be copied."""
    return path.replace(" ", _SPACE)


def _rows(status: ServiceStatus) -> Iterator[Row]:
    """Yield what there is to say, each with its label."""
    counts = status.counts
    yield "daemon", _daemon(status)
    if status.paused:
        yield "", status.paused
    if status.running and status.live:
        yield from _live_rows(status.live)
    queue = f"{counts.queued} queued; {counts.claimed} in flight"
    yield "queue", f"{queue}; {counts.recorded} tagged; {counts.quarantined} failed"
    if counts.unwritten:
        yield "", f"{counts.unwritten} answered, not written yet (undone or --no-meta)"
    if status.photos_per_hour:
        yield "speed", _speed(status, status.photos_per_hour)
    if status.ledger_error:
        yield "ledger", status.ledger_error
    for trouble in status.disks:
        yield "disk", trouble
    yield "today", _today(status.today) or "nothing yet"
    yield "outputs", _whole(status.outputs)
    yield from _failed_rows(status)
    for other in status.others:
        yield "other", _whole(instances.line_of(other))


def _speed(status: ServiceStatus, per_hour: float) -> str:
    """Return photos an hour and, while they move, how long the rest takes."""
    left = status.counts.queued + status.counts.claimed
    idle = status.paused or not (status.running or status.counts.claimed)
    if status.running and status.live:
        idle = idle or bool(status.live.health.grave)
    speed = f"{per_hour:.0f} photos an hour"
    return f"{speed}, {_spoken(left / per_hour * 3600)} left" if left and not idle else speed


def _spoken(seconds: float) -> str:
    """Return a length of time in words."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than a minute"
    if minutes < 60:  # noqa: PLR2004 - an hour
        return f"about {minutes} min"
    if minutes < 48 * 60:
        return f"about {minutes // 60} h {minutes % 60} min"
    return f"about {round(minutes / 60 / 24)} days"


def _failed_rows(status: ServiceStatus) -> Iterator[Row]:
    """Yield why photos failed: a row for each cause."""
    shown = status.causes[:CAUSES_SHOWN]
    for cause in shown:
        if cause.count == 1:
            yield "failed", f"{_whole(cause.example)}: {cause.reason}"
        else:
            yield "failed", f"{cause.count} photos: {cause.reason}"
            yield "", f"e.g. {_whole(cause.example)}"
    if rest := status.counts.quarantined - sum(cause.count for cause in shown):
        yield "failed", f"and {rest} more"
    if shown:
        yield "", "to try one again: taggerd retry PATH"


def _today(counts: Mapping[str, int]) -> str:
    """Return the day's counts in words, without those that are zero."""
    return ", ".join(f"{n} {_counted(key, n)}" for key, n in counts.items() if n)


def _counted(key: str, number: int) -> str:
    """Return what *number* of the journal's *key* are called."""
    if key == "no_meta":
        return "with --no-meta"
    one = number == 1 and key in {"records", "photos"}
    return (key.removesuffix("s") if one else key).replace("_", " ")


def _daemon(status: ServiceStatus) -> str:
    if not status.running:
        return f"not running (state: {_whole(status.state_directory)})"
    live = status.live
    if not live:
        return "starting"
    return f"running since {_at(live.started_at)}, pid {live.pid}, version {live.version}"


def _at(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))


def _live_rows(live: DaemonStatus) -> Iterator[Row]:
    """Yield the state of the daemon's parts."""
    if abs(time.time() - live.updated_at) > LATE_SECONDS:
        yield "", f"no news from it since {_at(live.updated_at)}; then:"
    for endpoint in live.endpoints:
        yield "backend", _endpoint(endpoint)
    for root in live.roots:
        detail = f": {root.detail}" if root.detail else ""
        yield "folder", f"{_whole(root.path)}: {root.state}{detail}"
    for problem in live.health.problems:
        if problem.kind not in {"backend", "root"}:
            yield "problem", problem.text


def _endpoint(endpoint: EndpointStatus) -> str:
    """Return the state of one backend."""
    limit, most = endpoint.limit, endpoint.max_concurrency
    fewer = f" (instead of {most}: it refuses more or answers too late)" if limit < most else ""
    usable = f"ready, model {endpoint.model}, {endpoint.requests} of {limit} requests{fewer}"
    notes = "".join(f"; {warning}" for warning in endpoint.warnings)
    return f"{endpoint.base_url.rstrip(':')}: {endpoint.error or usable + notes}"
