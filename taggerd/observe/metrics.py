"""The metrics: their names, units and labels, in Prometheus's text format.

Names follow https://prometheus.io/docs/practices/naming: base units, the unit as suffix,
``_total`` for what only grows, moments instead of ages. Labels are bounded by the settings and by
this program: addresses of endpoints, import folders, roles, kinds of errors. No photo, model or
text of an answer is one.

Attempts and stages are observed where an attempt ends, from its record, as ``taggerd metrics``
derives its figures; the rest is read from :class:`Figures`.
"""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Protocol

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from taggerd import __version__
from taggerd.observe.figures import ROOT_STATES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from prometheus_client import Metric

    from taggerd.observe.figures import (
        DiskFigures,
        EndpointFigures,
        Figures,
        HostFigures,
        RootFigures,
    )

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Prometheus's text format."""
OUTCOMES = ("tagged", "held", "already tagged", "failed", "will retry", "waiting", "moved")
"""How an attempt ends (:mod:`taggerd.runner.outcome`). All are there from the start: the first
failure shows as an increase."""
BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0)
"""Seconds: from a JPEG that is decoded to a model that runs on a processor."""


class Record(Protocol):
    """What is journalled about an attempt."""

    @property
    def stages(self) -> Mapping[str, float]:
        """Seconds by stage."""

    @property
    def duration_seconds(self) -> float:
        """Seconds of the whole attempt."""

    @property
    def error_kind(self) -> str:
        """Why it failed; empty if it did not."""


class Outcome(Protocol):
    """How an attempt ended."""

    @property
    def kind(self) -> str:
        """One of :data:`OUTCOMES`."""

    @property
    def record(self) -> Record | None:
        """None where nothing is journalled."""


class Metrics:
    """Everything that is counted as long as the process lives, over reloads too."""

    def __init__(self) -> None:
        """Begin at zero."""
        # A second series for each, which nobody reads.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.figures: Figures | None = None
        """What is told of the parts; None while they are not there."""
        self._registry = CollectorRegistry()
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)
        self._attempts = Counter(
            "taggerd_attempts",
            "Attempts at photos that ended, by outcome.",
            ["outcome"],
            registry=self._registry,
        )
        for outcome in OUTCOMES:
            self._attempts.labels(_label(outcome))
        self._failures = Counter(
            "taggerd_failures",
            "Photos that taggerd gave up on, by kind of error.",
            ["error"],
            registry=self._registry,
        )
        self._durations = Histogram(
            "taggerd_attempt_duration_seconds",
            "Time of a whole attempt that was journalled, waits for the backend included.",
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._stages = Histogram(
            "taggerd_stage_duration_seconds",
            "Time of each stage of an attempt: decode, one per role that was asked, metadata.",
            ["stage"],
            buckets=BUCKETS,
            registry=self._registry,
        )
        build = Info("taggerd_build", "Version of taggerd and of Python.", registry=self._registry)
        build.info({"version": __version__, "python": platform.python_version()})
        self._registry.register(_Collected(self))

    def ended(self, outcome: Outcome) -> None:
        """Count an attempt that ended."""
        self._attempts.labels(_label(outcome.kind)).inc()
        record = outcome.record
        if record is None:
            return
        if outcome.kind == "failed":
            self._failures.labels(record.error_kind).inc()
        self._durations.observe(record.duration_seconds)
        for stage, seconds in record.stages.items():
            self._stages.labels(stage).observe(seconds)

    def exposition(self, *, process: bool = True) -> bytes:
        """Return all metrics as text.

        Args:
            process: with those of the process. node_exporter has its own of the same names, and
                would refuse the whole file.

        """
        of_process = generate_latest(self._process) if process else b""
        return generate_latest(self._registry) + of_process


class _Collected(Collector):
    """The metrics that are read from the parts when somebody asks."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def describe(self) -> Iterable[Metric]:
        """Return nothing: there may be no parts yet."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield a metric for each figure."""
        figures = self._metrics.figures
        serving = figures is not None and figures.health != "down"
        yield _gauge("taggerd_ready", "Whether the service is serving: 1 or 0.", {(): serving})
        if figures is None:
            return
        yield _gauge(
            "taggerd_health",
            "Health of the service: 1 for the word that holds, 0 for the others.",
            {(_label(word),): word == figures.health for word in figures.healths},
            "state",
        )
        kinds = [problem.kind for problem in figures.problems]
        yield _gauge(
            "taggerd_problems",
            "Things that are wrong now, by kind.",
            {(_label(kind),): kinds.count(kind) for kind in figures.kinds},
            "kind",
        )
        yield _gauge(
            "taggerd_paused", "Whether work is paused or off schedule.", {(): figures.paused}
        )
        yield _gauge(
            "taggerd_queue_photos",
            "Photos in the ledger, by state.",
            {(state,): photos for state, photos in figures.queue.items()},
            "state",
        )
        oldest = figures.oldest_queued_at
        yield _gauge(
            "taggerd_queue_oldest_timestamp_seconds",
            "When the photo that waits longest was queued; absent while none waits.",
            {} if oldest is None else {(): oldest},
        )
        yield from _of_endpoints(figures.endpoints)
        yield from _of_roots(figures.roots)
        yield from _of_disks(figures.disks)
        if figures.hosts:
            yield from _of_hosts(figures.hosts)


def _of_endpoints(endpoints: Iterable[EndpointFigures]) -> Iterator[Metric]:
    """Yield what is known of the backends."""
    yield _gauge(
        "taggerd_backend_breaker_open",
        "Whether no photo is asked about at this endpoint until a probe passes.",
        {(each.base_url,): bool(each.error) for each in endpoints},
        "endpoint",
    )
    yield _gauge(
        "taggerd_backend_requests_in_flight",
        "Requests in flight.",
        {(each.base_url,): each.in_flight for each in endpoints},
        "endpoint",
    )
    yield _gauge(
        "taggerd_backend_requests_limit",
        "Most requests in flight now: fewer than configured while the endpoint refuses some.",
        {(each.base_url,): each.limit for each in endpoints},
        "endpoint",
    )
    yield _counter(
        "taggerd_backend_outages",
        "How often the endpoint could not be used any more.",
        {(each.base_url,): each.outages for each in endpoints},
        "endpoint",
    )
    yield _counter(
        "taggerd_backend_requests",
        "Requests for completions, probes included: answered, or the kind of error.",
        {(e.base_url, outcome): n for e in endpoints for outcome, n in e.requests.items()},
        "endpoint",
        "outcome",
    )
    yield _counter(
        "taggerd_backend_tokens",
        "Tokens as the backend counts them, probes and answers that were not used included.",
        {(e.base_url, kind): n for e in endpoints for kind, n in e.tokens.items()},
        "endpoint",
        "kind",
    )


def _of_roots(roots: Iterable[RootFigures]) -> Iterator[Metric]:
    """Yield what is known of the import folders."""
    yield _gauge(
        "taggerd_root_state",
        "State of an import folder: 1 for the one that it is in, 0 for the others.",
        {(root.path, state): root.state == state for root in roots for state in ROOT_STATES},
        "root",
        "state",
    )
    yield _counter(
        "taggerd_root_reconciles",
        "Walks of the whole import folder that have ended.",
        {(root.path,): root.reconciles for root in roots},
        "root",
    )
    yield _counter(
        "taggerd_root_overflows",
        "How often the kernel dropped events of an import folder, which was then walked instead.",
        {(root.path,): root.overflows for root in roots},
        "root",
    )
    yield _gauge(
        "taggerd_root_last_reconcile_timestamp_seconds",
        "When the last walk of the whole import folder ended.",
        {(r.path,): r.last_reconcile for r in roots if r.last_reconcile is not None},
        "root",
    )


def _of_disks(disks: Iterable[DiskFigures]) -> Iterator[Metric]:
    """Yield what is known of the file systems."""
    yield _gauge(
        "taggerd_disk_free_bytes",
        "Bytes that taggerd may still write to the file system of a folder.",
        {(disk.use, disk.path): disk.free for disk in disks},
        "use",
        "path",
    )
    yield _gauge(
        "taggerd_disk_size_bytes",
        "Size of the file system of a folder.",
        {(disk.use, disk.path): disk.size for disk in disks},
        "use",
        "path",
    )


def _of_hosts(hosts: Sequence[HostFigures]) -> Iterator[Metric]:
    """Yield what is known of the hosts that share the ledger."""
    yield _gauge(
        "taggerd_host_up",
        "Whether a host that shares the ledger gave a sign of life in the last half minute.",
        {(host.name, host.version): host.alive for host in hosts},
        "host",
        "version",
    )
    yield _gauge(
        "taggerd_host_silent_seconds",
        "Since the last sign of life of a host that shares the ledger, by the database's clock.",
        {(host.name,): host.seen_seconds for host in hosts},
        "host",
    )
    yield _gauge(
        "taggerd_host_photos_per_hour",
        "Photos that a host tagged in the last hour.",
        {(host.name,): host.photos_an_hour for host in hosts},
        "host",
    )


def _label(text: str) -> str:
    """Return words as the value of a label."""
    return text.replace(" ", "_")


def _gauge(
    name: str, text: str, values: Mapping[tuple[str, ...], float], *labels: str
) -> GaugeMetricFamily:
    """Return a gauge with a value for each set of labels."""
    family = GaugeMetricFamily(name, text, labels=labels)
    for at, value in values.items():
        family.add_metric(at, float(value))
    return family


def _counter(
    name: str, text: str, values: Mapping[tuple[str, ...], float], *labels: str
) -> CounterMetricFamily:
    """Return a counter, whose name gets ``_total``, with a value for each set of labels."""
    family = CounterMetricFamily(name, text, labels=labels)
    for at, value in values.items():
        family.add_metric(at, float(value))
    return family
