"""``taggerd status``: queue, backend, roots and today's counts."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from taggerd.cli import options
from taggerd.daemon import status as standing

if TYPE_CHECKING:
    from taggerd.daemon.status import Standing

LATE_SECONDS = 30.0
"""A daemon that is well says how it is every few seconds."""


@options.configured(options.STATE)
def status(load: options.Load, *, as_json: options.AsJson = False) -> None:
    """Show queue, backend, folders and today's counts.

    It works whether the daemon runs or not.
    """
    loaded = load(log_level="error")
    now = asyncio.run(standing.standing(loaded.settings))
    typer.echo(json.dumps(asdict(now), indent=2) if as_json else "\n".join(_lines(now)))


def _lines(now: Standing) -> list[str]:
    """Put the standing into lines for people."""
    counts = now.counts
    lines = [_daemon_line(now)]
    lines += [f"resting  {now.resting}"] if now.resting else []
    if now.running and now.live:
        lines += _live_lines(now.live)
    lines.append(
        f"queue    {counts['queued']} queued, {counts['claimed']} under way, "
        f"{counts['recorded']} tagged, {counts['unwritten']} asked about but not written"
        f"{' (undone, dry run or --no-meta)' if counts['unwritten'] else ''}, "
        f"{counts['quarantined']} set aside"
    )
    lines += [f"disk     {trouble}" for trouble in now.disks]
    lines.append(f"today    {_today(now.today) or 'nothing yet'}")
    lines.append(f"outputs  {now.outputs}")
    lines += [f"aside    {photo['path']}: {photo['reason']}" for photo in now.set_aside]
    if len(now.set_aside) < counts["quarantined"]:
        lines.append(f"aside    and {counts['quarantined'] - len(now.set_aside)} more")
    if now.set_aside:
        lines.append("         taggerd retry PATH puts a photo back into the queue")
    return lines


def _today(counts: dict[str, Any]) -> str:
    """Put the day's counts into words; what is zero is not said."""
    shown = {
        key.removesuffix("s") if value == 1 and key in {"records", "photos"} else key: value
        for key, value in counts.items()
        if value
    }
    return ", ".join(f"{value} {key.replace('_', ' ')}" for key, value in shown.items())


def _daemon_line(now: Standing) -> str:
    if not now.running:
        return f"daemon   not running (state: {now.state_directory})"
    if not now.live:
        return "daemon   starting"
    since = _at(now.live["started_at"])
    return f"daemon   running since {since}, pid {now.live['pid']}, version {now.live['version']}"


def _at(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))


def _live_lines(live: dict[str, Any]) -> list[str]:
    """Say how the daemon's parts are."""
    said_at = live["updated_at"]
    late = abs(time.time() - said_at) > LATE_SECONDS
    lines = [f"         it said what follows at {_at(said_at)}, and nothing since"] if late else []
    lines += [_endpoint_line(endpoint) for endpoint in live["endpoints"]]
    for root in live["roots"]:
        detail = f": {root['detail']}" if root["detail"] else ""
        lines.append(f"root     {root['path']}: {root['state']}{detail}")
    lines += [f"paused   {live['paused']}"] if live["paused"] else []
    lines += [f"journal  {live['outputs_error']}"] if live["outputs_error"] else []
    return lines


def _endpoint_line(endpoint: dict[str, Any]) -> str:
    """Say how one endpoint is."""
    limit, most = endpoint["limit"], endpoint["max_concurrency"]
    few = f" (of {most}: it refuses more or answers too late)" if limit < most else ""
    usable = f"usable, model {endpoint['model']}, {endpoint['requests']} of {limit} requests{few}"
    notes = "".join(f"; {warning}" for warning in endpoint.get("warnings", ()))
    return f"backend  {endpoint['base_url'].rstrip(':')}: {endpoint['error'] or usable + notes}"
