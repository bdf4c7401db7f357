"""``taggerd status``: health, queue, backend, folders and today's counts."""

from __future__ import annotations

import json
import textwrap
import time
from collections import defaultdict
from dataclasses import asdict, replace
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Annotated

import typer

from taggerd.cli import instances, options
from taggerd.daemon.health import NOTED
from taggerd.daemon.instances import line_of
from taggerd.daemon.status import service_status

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping

    from taggerd.daemon.fleet import HostStatus
    from taggerd.daemon.health import Problem
    from taggerd.daemon.status import DaemonStatus, EndpointStatus, ServiceStatus, Spent

WIDTH = 80
CAUSES_SHOWN = 10

Row = tuple[str, str]
"""A label, empty where the row goes with the one above, and what there is to say."""

_LABEL = 9
"""Width of the labels."""
_SPACE = "\x1f"
"""Stands for a space at which no line may break."""
_MANY = {
    "root": "import folders",
    "photos disk": "import folders",
    "backend": "backends",
    "confinement": "decoders",
}
"""What several subjects of one kind of problem are called."""


@options.configured(options.STATE)
def status(
    load: options.Load,
    *,
    as_json: options.AsJson = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it again every two seconds, until Ctrl-C.")
    ] = False,
    instance: instances.Name = None,
) -> None:
    """Show the service's health, queue, backend, folders and today's counts.

    It works whether the daemon runs or not. Other services that run are listed, and all hosts
    that share the ledger: it tells of the whole, wherever it is asked. Exit code 0:
    healthy; 1: degraded, or waiting for the backend; 3: down.
    """
    at = instances.target(load, load(log_level="error"), instance, reads_only=True)
    if watch and not as_json:
        raise typer.Exit(resolve_name("taggerd.cli.live:watch")(at).health.exit_code)
    it = found(at)
    typer.echo(json.dumps(asdict(it), indent=2) if as_json else "\n".join(lines(it)))
    raise typer.Exit(it.health.exit_code)


def found(at: instances.Target) -> ServiceStatus:
    """Return the status of the service *at*."""
    return replace(service_status(at.settings, foreign=at.foreign), others=at.others)


def lines(status: ServiceStatus) -> list[str]:
    """Return the status as lines for people, at most :data:`WIDTH` wide; paths stay whole.

    The first begins with the health, in one word.
    """
    word = f"{status.health.word}{', ' if status.paused else ''}{status.paused}"
    first = textwrap.wrap(word, WIDTH, break_on_hyphens=False)
    return [*first, *(line for label, text in _rows(status) for line in _wrapped(label, text))]


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
    yield from _problem_rows(status.health.problems)
    yield "daemon", _daemon(status)
    for host in status.hosts:
        yield "host", _host(host, status.host)
    if status.running and status.live:
        yield from _live_rows(status.live, {problem.subject for problem in status.health.grave})
    queue = f"{counts.queued} queued; {counts.claimed} in flight"
    yield "queue", f"{queue}; {counts.recorded} tagged; {counts.quarantined} failed"
    if counts.held:
        waits = "waits" if counts.held == 1 else "wait"
        yield "held", f"{_photos(counts.held)} {waits} to be accepted: taggerd accept, taggerd web"
    if counts.unwritten:
        yield "", f"{counts.unwritten} answered, not written (undone, dropped or --no-meta)"
    if status.photos_per_hour:
        yield "speed", _speed(status.photos_per_hour, status.seconds_left)
    yield "today", _today(status.today) or "nothing yet"
    if status.spent.requests:
        yield "spent", _spent(status.spent)
    yield "outputs", _whole(status.outputs)
    yield from _failed_rows(status)
    for other in status.others:
        yield "other", _whole(line_of(other))


def _problem_rows(problems: Iterable[Problem]) -> Iterator[Row]:
    """Yield what is wrong: a row for each cause, however many things it strikes."""
    causes: defaultdict[tuple[str, str], list[Problem]] = defaultdict(list)
    for problem in problems:
        causes[problem.kind, problem.text.replace(problem.subject, "")].append(problem)
    for (kind, _), struck in causes.items():
        first = struck[0]
        since = f" (since {_at(first.since)})" if first.since else ""
        label = "note" if kind in NOTED else "problem"
        if len(struck) == 1:
            yield label, f"{_unbroken(first)}{since}"
        else:
            yield label, f"{len(struck)} {_MANY.get(kind, kind)}: {_unbroken(first)}{since}"
            yield "", f"also {', '.join(_whole(each.subject) for each in struck[1:])}"


def _unbroken(problem: Problem) -> str:
    """Return the text of *problem*, with its subject in one line."""
    return problem.text.replace(problem.subject, _whole(problem.subject))


def _photos(count: int) -> str:
    return f"{count} photo{'' if count == 1 else 's'}"


def _speed(per_hour: float, seconds_left: float | None) -> str:
    """Return photos an hour and, while they move, how long the rest takes."""
    speed = f"{per_hour:.0f} photos an hour"
    return speed if seconds_left is None else f"{speed}, {_spoken(seconds_left)} left"


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


def _spent(spent: Spent) -> str:
    """Return what backends were asked today, and of how much."""
    tokens = spent.prompt_tokens + spent.completion_tokens
    price = f", {spent.price}" if spent.price else ""
    budget = f" (budget: {spent.budget} a day)" if spent.budget else ""
    requests = f"{spent.requests:,} request{'' if spent.requests == 1 else 's'}"
    return f"today {requests}, {tokens:,} tokens{price}{budget}"


def _counted(key: str, number: int) -> str:
    """Return what *number* of the journal's *key* are called."""
    if key == "no_meta":
        return "with --no-meta"
    one = number == 1 and key in {"records", "photos"}
    return (key.removesuffix("s") if one else key).replace("_", " ")


def _daemon(status: ServiceStatus) -> str:
    if not status.running:
        state = f"(state: {_whole(status.state_directory)})"
        if living := [host.name for host in status.hosts if host.alive]:
            return f"not running on {status.host} {state}; it runs on {', '.join(living)}"
        return f"not running {state}"
    live = status.live
    if not live:
        return "starting"
    return f"running since {_at(live.started_at)}, pid {live.pid}, version {live.version}"


def _host(host: HostStatus, here: str) -> str:
    """Return what there is to say of one of the hosts that share the ledger."""
    name = f"{host.name} (this one)" if host.name == here else host.name
    what = f"{name}: {', '.join(host.duties)}; version {host.version}"
    seen = f"last sign of life {_ago(host.seen_seconds)}"
    if not host.alive:
        return f"{what}; not running, {seen}"
    holds = [_whole(lease.partition(":")[2]) for lease in host.holds if lease != "journal"]
    now = [f"watches {', '.join(holds)}"] if holds else []
    now += ["writes the journal"] if "journal" in host.holds else []
    doing = f"; now {' and '.join(now)}" if now else ""
    speed = f"; {host.photos_an_hour:.0f} photos an hour" if host.photos_an_hour else ""
    return f"{what}; {host.health or 'starting'}; {seen}{speed}{doing}"


def _ago(seconds: float) -> str:
    """Return how long ago something was."""
    whole = max(0, round(seconds))
    return f"{whole} s ago" if whole < 100 else f"{_spoken(seconds)} ago"  # noqa: PLR2004 - seconds


def _at(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))


def _live_rows(live: DaemonStatus, said: Container[str]) -> Iterator[Row]:
    """Yield the state of the daemon's parts; *said*: those of which a problem says it already."""
    for endpoint in live.endpoints:
        yield "backend", _endpoint(endpoint, said)
    for root in live.roots:
        detail = f": {root.detail}" if root.detail and root.path not in said else ""
        yield "folder", f"{_whole(root.path)}: {root.state}{detail}"


def _endpoint(endpoint: EndpointStatus, said: Container[str]) -> str:
    """Return the state of one backend."""
    limit, most = endpoint.limit, endpoint.max_concurrency
    fewer = f" (instead of {most}: it refuses more or answers too late)" if limit < most else ""
    usable = f"ready, model {endpoint.model}, {endpoint.requests} of {limit} requests{fewer}"
    notes = "".join(f"; {warning}" for warning in endpoint.warnings)
    error = "cannot be used" if endpoint.base_url in said else endpoint.error
    return f"{endpoint.base_url.rstrip(':')}: {error or usable + notes}"
