"""The state of the service: what the daemon publishes, and what ``taggerd status`` makes of it.

Every field is defined here, once: the published file and ``taggerd status --json`` are these
classes as JSON.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from taggerd import __version__
from taggerd.daemon.causes import Cause, FailedPhoto, causes_of
from taggerd.daemon.fleet import (
    HostStatus,
    problems_of,
    problems_of_others,
    statuses_of,
    waiting_for_backend,
)
from taggerd.daemon.health import (
    KINDS,
    Health,
    Problem,
    dated,
    described,
    health_of,
    state_problem,
)
from taggerd.daemon.instances import Instance, daemon_of
from taggerd.daemon.publication import read_back, read_published
from taggerd.errors import NotProbed, StorageError
from taggerd.inference.budget import spent_message
from taggerd.ledger import Counts, Host, LedgerReader, Pause
from taggerd.photo import Usage, printable
from taggerd.runner.pause import closed_reason
from taggerd.services import local_now, make_journal, read_ledger

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    from taggerd.arrivals import Arrivals, RootHealth
    from taggerd.daemon.health import Kind
    from taggerd.daemon.hosts import Membership
    from taggerd.daemon.publication import Publisher
    from taggerd.errors import BackendError
    from taggerd.runner.runner import Runner
    from taggerd.services import Services
    from taggerd.settings import Backend, Settings

SCHEMA_VERSION = 1
SERVED = frozenset({"watching", "polling", "elsewhere"})
"""States of an import folder that nobody has to look at."""
OF_HOSTS = frozenset({"hosts", "versions"})
"""Kinds of problems of the hosts together."""
LATE_SECONDS = 45.0
"""A daemon says at least every quarter of a minute that it lives."""
FAILED_SHOWN = 20
"""Failed photos listed by ``taggerd status --json``; the rest are counted."""
FAILED_READ = 1000
"""Failed photos whose causes are told apart."""


@described
@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointStatus:
    """One backend."""

    base_url: str
    error: str
    """Why it cannot be used; empty if it can."""
    model: str
    warnings: tuple[str, ...]
    requests: int
    """Requests in flight."""
    limit: int
    """Most requests in flight now; below ``max_concurrency`` while the backend refuses some."""
    max_concurrency: int


@described
@dataclass(frozen=True, slots=True, kw_only=True)
class RootStatus:
    """One import folder."""

    path: str
    mode: str
    state: str
    detail: str
    """Why it is neither watched nor polled; empty if it is."""


@described
@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonStatus:
    """What the running daemon publishes."""

    pid: int
    version: str
    started_at: float
    """Seconds since the epoch."""
    updated_at: float
    """When the daemon last said that it lives, seconds since the epoch."""
    backend: str
    backend_away: bool
    """Whether no endpoint can be used; False while paused."""
    endpoints: tuple[EndpointStatus, ...]
    models: dict[str, str]
    """Model per role, as asked."""
    paused: str
    """Until when work is paused or off schedule, and why; empty while it is neither."""
    problems: tuple[Problem, ...]
    """What is wrong."""
    in_flight: int
    queued: int
    tagged: int
    quarantined: int
    roots: tuple[RootStatus, ...]

    @property
    def health(self) -> Health:
        """The word, and the problems in their order."""
        return health_of(self.problems, backend_away=self.backend_away)

    def differs(self, before: DaemonStatus | None) -> bool:
        """Say whether more than the time passed since the status *before*."""
        return before is None or replace(before, updated_at=self.updated_at) != self

    @property
    def one_line(self) -> str:
        """The line for systemd's STATUS."""
        health = self.health
        parts = [f"{self.queued} queued", f"{self.in_flight} in flight"]
        parts += [f"{self.tagged} tagged", f"{self.quarantined} failed"]
        parts += [self.paused] if self.paused else []
        told = "; ".join([", ".join(parts), *(problem.text for problem in health.grave[:1])])
        more = f" (and {len(health.grave) - 1} more)" if health.grave[1:] else ""
        return f"{health.word}: {told}{more}"


@described
@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What was asked of backends on one day, by all programs of the state directory."""

    requests: int
    prompt_tokens: int
    completion_tokens: int
    price: str
    """By ``backend.price``; empty without one."""
    budget: str
    """Of ``backend.budget_per_day``; empty without one."""

    @classmethod
    def of(cls, options: Backend, spent: Mapping[str, Usage]) -> Spent:
        """Add up what was *spent*, by model, with the prices and the budget in *options*."""
        total, price, limit = Usage(), options.price, options.budget
        for usage in spent.values():
            total = total.plus(usage)
        return cls(
            requests=total.requests,
            prompt_tokens=total.prompt_tokens,
            completion_tokens=total.completion_tokens,
            price=price.text(price.total(spent)) if price.known else "",
            budget=limit.text(limit.amount, price) if limit else "",
        )


@described
@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStatus:
    """What ``taggerd status`` shows, with the daemon up or down."""

    schema_version: int = SCHEMA_VERSION
    health: Health
    running: bool
    live: DaemonStatus | None
    """What the daemon published last; None if it never did."""
    counts: Counts
    failed: tuple[FailedPhoto, ...]
    """Photos that taggerd gave up on, latest first, at most :data:`FAILED_SHOWN`."""
    causes: tuple[Cause, ...]
    """Why the latest :data:`FAILED_READ` of them failed, most frequent first."""
    paused: str
    """Until when a daemon sends no requests, and why; empty if it may."""
    today: dict[str, int]
    """Today's counts from the journal."""
    spent: Spent
    """What backends were asked today."""
    photos_per_hour: float | None
    """Speed of the last hour, pauses apart; None: no photo ended in it."""
    seconds_left: float | None
    """How long the queue takes at this speed; None: it is empty, or nothing moves."""
    state_directory: str
    outputs: str
    others: tuple[Instance, ...] = ()
    """Other daemons that run on this machine."""
    host: str = ""
    """This host among those that share the ledger; empty where none does."""
    hosts: tuple[HostStatus, ...] = ()
    """The hosts that share it, alive or not."""


async def daemon_status(  # noqa: PLR0913 - by name, but the parts
    services: Services,
    arrivals: Arrivals,
    runner: Runner,
    member: Membership,
    started_at: float,
    *,
    outside: Iterable[Problem] = (),
    before: DaemonStatus | None = None,
    counts: Counts | None = None,
) -> DaemonStatus:
    """Gather the state of the daemon's parts.

    Args:
        services: open.
        arrivals: watches.
        runner: works.
        member: knows the other hosts, and hears how this one is.
        started_at: seconds since the epoch.
        outside: problems that these three know nothing of.
        before: the last status: says since when the problems are there.
        counts: of the ledger, where they were just read; among a million photos that takes a tenth
            of a second.

    Raises:
        StorageError: the ledger cannot be read.

    """
    counts = await services.ledger.counts() if counts is None else counts
    inference = services.inference
    now = time.time()
    problems = [*outside, *_problems(services, arrivals, runner)]
    backend_away = not runner.paused and bool(services.endpoints and told(inference.error))
    member.health = health_of(problems, backend_away=backend_away).word
    problems += member.problems()
    return DaemonStatus(
        pid=os.getpid(),
        version=__version__,
        started_at=started_at,
        updated_at=now,
        backend=inference.base_url,
        backend_away=backend_away,
        endpoints=tuple(
            EndpointStatus(
                base_url=endpoint.base_url,
                error=str(endpoint.health.error or ""),
                model=endpoint.backend.model,
                warnings=(
                    *endpoint.warnings,
                    *filter(None, [endpoint.backend.slots_trouble, inference.budget.warning]),
                ),
                requests=endpoint.backend.limit.in_flight,
                limit=endpoint.backend.limit.size,
                max_concurrency=endpoint.backend.limit.most,
            )
            for endpoint in services.endpoints
        ),
        models=inference.models,
        paused=runner.paused,
        problems=dated(problems, before.problems if before else (), now),
        in_flight=runner.in_flight,
        queued=counts.queued,
        tagged=counts.recorded,
        quarantined=counts.quarantined,
        roots=tuple(
            RootStatus(
                path=printable(root.path), mode=root.mode, state=root.state, detail=root.detail
            )
            for root in arrivals.health()
        ),
    )


def _problems(services: Services, arrivals: Arrivals, runner: Runner) -> Iterator[Problem]:
    """Yield what is wrong with the parts."""
    if runner.program_error:
        text = f"taggerd is damaged, install it again: {runner.program_error}"
        yield Problem(kind="program", subject="taggerd", text=text)
    if runner.ledger_error is not None:
        yield state_problem(runner.ledger_error, services.settings.state_directory)
    for folder, reason in runner.blocked.items():
        yield Problem(kind="photos disk", subject=printable(folder), text=reason)
    if services.relay.trouble:
        outputs = printable(services.settings.journal_directory)
        yield Problem(kind="outputs", subject=outputs, text=services.relay.trouble)
    for folder, trouble in services.ledger.troubles.items():
        yield Problem(kind="root", subject=printable(folder), text=trouble)
    for root in arrivals.health():
        yield from _problems_of(root)
    for endpoint in () if runner.paused else services.endpoints:
        if text := told(endpoint.health.error):
            yield Problem(kind="backend", subject=endpoint.base_url, text=text)
    for part in services.decoders.lacking:
        yield Problem(kind="confinement", subject=part, text=f"decoders are not confined by {part}")


def _problems_of(root: RootHealth) -> Iterator[Problem]:
    """Yield what is wrong with an import folder."""
    path = printable(root.path)
    if root.read_only:
        yield Problem(kind="photos disk", subject=path, text=root.read_only)
    if root.state not in SERVED:
        yield Problem(kind="root", subject=path, text=f"{path} is {root.state}: {root.detail}")


def told(error: BackendError | None) -> str:
    """Return what is wrong with an endpoint; nothing is, if it has only just been asked."""
    return "" if error is None or isinstance(error, NotProbed) else str(error)


def publish(status: DaemonStatus, publisher: Publisher) -> None:
    """Publish *status* for ``taggerd status``, if it has changed, and that the daemon lives."""
    table = asdict(status)
    del table["updated_at"]
    publisher.publish(table, status.updated_at)


def service_status(settings: Settings, *, foreign: bool = False) -> ServiceStatus:
    """Look up the state of the service, whether the daemon runs or not, and change nothing.

    Args:
        settings: name the state directory.
        foreign: whether the daemon has other settings than these, and so other hours.

    Raises:
        StartError: the state belongs to somebody else, or to a newer taggerd.

    """
    now, directory = local_now(), settings.state_directory
    live, problems = published(directory), list[Problem]()
    try:
        in_ledger = read_ledger(settings, lambda ledger: _InLedger.of(ledger, now))
    except StorageError as refused:
        in_ledger = None
        problems.append(state_problem(refused, directory))
    if in_ledger is None:
        in_ledger = _InLedger()
    if problems and live is not None:  # the daemon's own counts, then
        in_ledger.counts = Counts(
            queued=live.queued,
            claimed=live.in_flight,
            recorded=live.tagged,
            quarantined=live.quarantined,
        )
    running = daemon_of(directory) is not None
    hosts = in_ledger.hosts
    living = [host for host in hosts if host.alive]
    problems += _disk_problems(settings)
    problems += problems_of(hosts) if hosts else ()
    problems += problems_of_others(hosts, settings.service.host_name if running else "")
    if running and live is not None:
        if now.timestamp() - live.updated_at > LATE_SECONDS:
            problems.append(_late(live))
        # Of the hosts the ledger has just told.
        told_here = [p for p in live.problems if p.kind not in OF_HOSTS or not hosts]
        health = health_of((*told_here, *problems), backend_away=live.backend_away)
    else:
        away = [*waiting_for_backend(living)]
        health = health_of(
            (*problems, *away), running=running or bool(living), backend_away=bool(away)
        )
    paused = closed_reason(in_ledger.pause, settings.schedule.hours, now)
    paused = paused or spent_message(settings.backend, in_ledger.spent, now)
    shared = settings.ledger.url is not None and not paused  # by another host's schedule
    if (foreign or shared) and running and live is not None:
        paused = live.paused
    recent = make_journal(settings, whole=bool(hosts)).recent(now)
    counts = in_ledger.counts
    moves = (running or living or counts.claimed) and not paused and not health.grave
    return ServiceStatus(
        health=health,
        running=running,
        live=live,
        counts=counts,
        failed=tuple(in_ledger.failed[:FAILED_SHOWN]),
        causes=causes_of(in_ledger.failed),
        paused=paused,
        today=dict(recent.counts),
        spent=Spent.of(settings.backend, in_ledger.spent),
        photos_per_hour=recent.photos_per_hour,
        seconds_left=seconds_left(counts, recent.photos_per_hour) if moves else None,
        state_directory=printable(directory),
        outputs=printable(settings.journal_directory),
        host=settings.service.host_name if hosts else "",
        hosts=statuses_of(hosts, in_ledger.holders),
    )


def seconds_left(counts: Counts, per_hour: float | None) -> float | None:
    """Return how long the queue takes at so many photos an hour; None: not known, or empty."""
    left = counts.queued + counts.claimed
    return left / per_hour * 3600 if left and per_hour else None


def status_schema() -> dict[str, Any]:
    """Return the JSON schema of ``taggerd status --json``."""
    return TypeAdapter(ServiceStatus).json_schema(mode="serialization")


@dataclass(slots=True)
class _InLedger:
    """What the ledger says."""

    counts: Counts = field(default_factory=Counts)
    failed: list[FailedPhoto] = field(default_factory=list)
    pause: Pause | None = None
    spent: dict[str, Usage] = field(default_factory=dict)
    hosts: list[Host] = field(default_factory=list)
    holders: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, ledger: LedgerReader, now: datetime) -> _InLedger:
        """Ask the *ledger*."""
        failed = [
            FailedPhoto(path=printable(each.photo.primary.path), reason=each.reason)
            for each in ledger.quarantined(FAILED_READ)
        ]
        spent = dict(ledger.spent(f"{now:%Y-%m-%d}"))
        pause = ledger.paused(now.timestamp())
        return cls(ledger.counts(), failed, pause, spent, ledger.hosts(), ledger.holders())


def _late(live: DaemonStatus) -> Problem:
    """Return the problem of a daemon that does not say any more how it is."""
    text = (
        "the service has not said how it is for long: it hangs, or this machine is overloaded; "
        "systemd restarts it, or do so yourself"
    )
    return Problem(kind="program", subject=f"pid {live.pid}", text=text, since=live.updated_at)


def _disk_problems(settings: Settings) -> Iterator[Problem]:
    """Yield what is wrong with the disks of the state and of the outputs."""
    outputs = settings.journal_directory
    kinds: dict[Path, Kind] = {outputs: "outputs", settings.state_directory: "state disk"}
    for folder, kind in kinds.items():
        if trouble := _disk_trouble(folder):
            text = f"{printable(folder)}: {trouble}"
            yield Problem(kind=kind, subject=printable(folder), text=text)


def _disk_trouble(folder: Path) -> str:
    """Say why nothing can be written into *folder*; empty if no reason is known."""
    try:
        disk = os.statvfs(folder)
    except OSError:
        return ""  # does not exist yet
    if disk.f_flag & os.ST_RDONLY:
        return "its file system is read-only; remount it and work continues"
    if disk.f_bavail == 0:
        return "its disk is full; make room and work continues"
    return ""


def published(state_directory: Path) -> DaemonStatus | None:
    """Return what the daemon published last; None if that cannot be read."""
    found = read_published(state_directory)
    if found is None:
        return None
    try:
        table = {**json.loads(found.data), "updated_at": found.at}
        return read_back(DaemonStatus, table, _PARTS)
    except (TypeError, ValueError):
        return None


_PARTS = {
    "EndpointStatus": EndpointStatus,
    "RootStatus": RootStatus,
    "Problem": Problem,
    "Kind": KINDS,
}
"""What :class:`DaemonStatus` is made of, by the names in its annotations."""
