"""How things stand: what the daemon publishes, and what ``taggerd status`` makes of it."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from taggerd import __version__
from taggerd.errors import StartError, StorageError
from taggerd.ledger import Counts, Quarantined, probe
from taggerd.photo import printable
from taggerd.runner.pause import paused_reason
from taggerd.services import has_ledger, journal_of, local_now, open_ledger

if TYPE_CHECKING:
    from pathlib import Path

    from taggerd.arrivals import Arrivals
    from taggerd.runner.runner import Runner
    from taggerd.services import Services
    from taggerd.settings import Settings

FILE = "status.json"
RESERVE_BYTES = 8192
"""Least size of the file: what is said on a full disk goes into the blocks that it has."""
QUARANTINE_SHOWN = 20
"""Photos listed by ``taggerd status``; the rest are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """What the running daemon says of itself."""

    pid: int
    version: str
    started_at: float
    """Seconds since the epoch."""
    updated_at: float
    backend: str
    backend_error: str
    """Empty if the backend is usable, and while nothing is asked."""
    endpoints: list[dict[str, Any]]
    """Each place that is asked: address, error, model, requests under way, and their limit."""
    models: dict[str, str]
    """Model per role, as asked."""
    paused: str
    """What keeps new photos from being begun; empty while work goes on."""
    resting: str
    """Why nothing is asked, as somebody wants it, and until when; empty while work goes on."""
    outputs_error: str
    """Why records wait in the ledger; empty while all is well."""
    in_flight: int
    queued: int
    tagged: int
    quarantined: int
    roots: list[dict[str, Any]] = field(default_factory=list)

    @property
    def healthy(self) -> bool:
        """Whether nothing waits for somebody to act."""
        roots_well = all(root["state"] in {"watching", "polling"} for root in self.roots)
        return roots_well and not (self.backend_error or self.paused or self.outputs_error)

    @property
    def one_line(self) -> str:
        """The line for systemd's STATUS."""
        parts = [f"{self.queued} queued", f"{self.in_flight} under way"]
        parts += [f"{self.tagged} tagged", f"{self.quarantined} set aside"]
        parts += [f"{root['state']} {root['path']}" for root in self.roots if root["detail"]]
        trouble = self.backend_error or self.paused or self.outputs_error
        state = ("resting" if self.resting else "ok") if self.healthy else "degraded"
        parts += [self.resting] if self.resting else []
        return f"{state}: {', '.join(parts)}" + (f"; {trouble}" if trouble else "")


async def live_of(
    services: Services, arrivals: Arrivals, shift: Runner, started_at: float, outside: str = ""
) -> Live:
    """Gather how the daemon's parts are; *outside*: why photos wait outside of the queue."""
    counts = await services.ledger.counts()
    return Live(
        pid=os.getpid(),
        version=__version__,
        started_at=started_at,
        updated_at=time.time(),
        backend=services.asking.base_url,
        backend_error="" if shift.resting else str(services.asking.trouble or ""),
        endpoints=[
            {
                "base_url": endpoint.base_url,
                "error": str(endpoint.health.error or ""),
                "model": endpoint.backend.model,
                "warnings": endpoint.warnings,
                "requests": endpoint.backend.limit.in_flight,
                "limit": endpoint.backend.limit.size,
                "max_concurrency": endpoint.backend.limit.most,
            }
            for endpoint in services.asking.endpoints
        ],
        models=services.asking.models,
        paused=shift.paused or outside,
        resting=shift.resting,
        outputs_error=services.relay.trouble,
        in_flight=shift.in_flight,
        queued=counts.queued,
        tagged=counts.recorded,
        quarantined=counts.quarantined,
        roots=[
            {
                "path": printable(root.path),
                "mode": root.mode,
                "state": root.state,
                "detail": root.detail,
            }
            for root in arrivals.health()
        ],
    )


def publish(live: Live, state_directory: Path) -> None:
    """Write *live* for ``taggerd status``; a full disk is no reason to stop."""
    fresh = state_directory / f".{FILE}.{os.getpid()}"
    said = json.dumps(asdict(live)).encode().ljust(RESERVE_BYTES)
    try:
        fresh.write_bytes(said)
        fresh.replace(state_directory / FILE)
    except OSError:
        with suppress(OSError):
            fresh.unlink()
        with suppress(OSError):
            _say_in_place(said.rstrip(), state_directory / FILE)


def _say_in_place(said: bytes, file: Path) -> None:
    """Write over *file*, which takes no room that it does not have; nothing where it is too short.

    May raise OSError.
    """
    descriptor = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        if len(said) <= size:
            os.pwrite(descriptor, said.ljust(size), 0)
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What ``taggerd status`` shows, with the daemon up or down."""

    running: bool
    live: dict[str, Any] | None
    """What the daemon said last; None if there never was one."""
    counts: dict[str, int]
    set_aside: list[dict[str, str]]
    """Photos in quarantine, latest first, at most :data:`QUARANTINE_SHOWN`."""
    resting: str
    """Why a daemon asks nothing now, as somebody wants it; empty if nobody does."""
    today: dict[str, Any]
    """Today's counts from the journal."""
    state_directory: str
    outputs: str
    disks: list[str]
    """What is wrong with the disks of both, one line each."""


async def standing(settings: Settings) -> Standing:
    """Look up how things stand.

    Raises:
        StartError: the state cannot be used. StorageError: it cannot be read.

    """
    counts, running, resting = Counts(), False, ""
    set_aside: list[Quarantined] = []
    disks = [
        f"{printable(folder)}: {trouble}"
        for folder in dict.fromkeys((settings.state_directory, settings.journal_directory))
        if (trouble := _trouble(folder))
    ]
    if has_ledger(settings):
        try:
            async with open_ledger(settings) as ledger:
                counts = await ledger.counts()
                set_aside = await ledger.quarantined(QUARANTINE_SHOWN)
                running = ledger.daemon_pid() is not None
                resting = await paused_reason(ledger, settings.schedule.hours, local_now())
        except (StartError, StorageError):
            if not disks:
                raise
            counts, pid = probe(settings.state_directory)
            running = pid is not None
    journal = journal_of(settings)
    return Standing(
        running=running,
        live=_published(settings.state_directory),
        counts=asdict(counts),
        set_aside=[
            {"path": printable(q.photo.primary.path), "reason": q.reason} for q in set_aside
        ],
        resting=resting,
        today=journal.counts(local_now().date().isoformat()),
        state_directory=printable(settings.state_directory),
        outputs=printable(settings.journal_directory),
        disks=disks,
    )


def _trouble(folder: Path) -> str:
    """Say why nothing can be written into *folder*; empty if something can, so far as is seen."""
    try:
        disk = os.statvfs(folder)
    except OSError:
        return ""  # not made yet
    if disk.f_flag & os.ST_RDONLY:
        return "its file system is read-only; remount it and work goes on by itself"
    if disk.f_bavail == 0:
        return "its disk is full; make room and work goes on by itself"
    return ""


def _published(state_directory: Path) -> dict[str, Any] | None:
    """Return what the daemon wrote last, if it can be read."""
    try:
        said: dict[str, Any] = json.loads((state_directory / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return said
