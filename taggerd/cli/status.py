"""``taggerd status``: queue, backend, folders and today's counts."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from taggerd.cli import options
from taggerd.daemon.status import service_status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from taggerd.daemon.status import DaemonStatus, EndpointStatus, ServiceStatus

LATE_SECONDS = 30.0
"""A healthy daemon publishes its status every few seconds."""


@options.configured(options.STATE)
def status(load: options.Load, *, as_json: options.AsJson = False) -> None:
    """Show queue, backend, folders and today's counts.

    It works whether the daemon runs or not.
    """
    loaded = load(log_level="error")
    found = asyncio.run(service_status(loaded.settings))
    typer.echo(json.dumps(asdict(found), indent=2) if as_json else "\n".join(_lines(found)))


def _lines(status: ServiceStatus) -> list[str]:
    """Return the status as lines for people."""
    counts = status.counts
    lines = [_daemon_line(status)]
    lines += [f"         {status.paused}"] if status.paused else []
    if status.running and status.live:
        lines += _live_lines(status.live)
    lines.append(
        f"queue    {counts.queued} queued; {counts.claimed} in flight; {counts.recorded} tagged; "
        f"{counts.unwritten} answered, not written yet"
        f"{' (undone, dry run or --no-meta)' if counts.unwritten else ''}; "
        f"{counts.quarantined} failed"
    )
    lines += [f"disk     {trouble}" for trouble in status.disks]
    lines.append(f"today    {_today(status.today) or 'nothing yet'}")
    lines.append(f"outputs  {status.outputs}")
    lines += [f"failed   {photo.path}: {photo.reason}" for photo in status.failed]
    if len(status.failed) < counts.quarantined:
        lines.append(f"failed   and {counts.quarantined - len(status.failed)} more")
    if status.failed:
        lines.append("         to try one again: taggerd retry PATH")
    return lines


def _today(counts: Mapping[str, int]) -> str:
    """Return the day's counts in words, without those that are zero."""
    words = {
        key.removesuffix("s") if value == 1 and key in {"records", "photos"} else key: value
        for key, value in counts.items()
        if value
    }
    return ", ".join(f"{value} {key.replace('_', ' ')}" for key, value in words.items())


def _daemon_line(status: ServiceStatus) -> str:
    if not status.running:
        return f"daemon   not running (state: {status.state_directory})"
    live = status.live
    if not live:
        return "daemon   starting"
    return f"daemon   running since {_at(live.started_at)}, pid {live.pid}, version {live.version}"


def _at(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))


def _live_lines(live: DaemonStatus) -> list[str]:
    """Return the state of the daemon's parts."""
    late = abs(time.time() - live.updated_at) > LATE_SECONDS
    lines = [f"         no news from it since {_at(live.updated_at)}; then:"] if late else []
    lines += [_endpoint_line(endpoint) for endpoint in live.endpoints]
    lines += [
        f"folder   {root.path}: {root.state}{f': {root.detail}' if root.detail else ''}"
        for root in live.roots
    ]
    lines += [f"blocked  {live.blocked}"] if live.blocked else []
    lines += [f"journal  {live.outputs_error}"] if live.outputs_error else []
    return lines


def _endpoint_line(endpoint: EndpointStatus) -> str:
    """Return the state of one backend."""
    limit, most = endpoint.limit, endpoint.max_concurrency
    fewer = f" (instead of {most}: it refuses more or answers too late)" if limit < most else ""
    usable = f"ready, model {endpoint.model}, {endpoint.requests} of {limit} requests{fewer}"
    notes = "".join(f"; {warning}" for warning in endpoint.warnings)
    return f"backend  {endpoint.base_url.rstrip(':')}: {endpoint.error or usable + notes}"
