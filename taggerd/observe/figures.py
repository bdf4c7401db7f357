"""What the daemon's parts know at one moment, as plain values.

The daemon gathers them when somebody asks; nothing is kept, so each figure has one source: the
ledger, the endpoints, the import folders, the file systems.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Problem(Protocol):
    """One thing that is wrong."""

    @property
    def kind(self) -> str:
        """One of :attr:`Figures.kinds`."""

    @property
    def subject(self) -> str:
        """Which one: an address, a folder."""

    @property
    def text(self) -> str:
        """What is wrong, and what to do: one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointFigures:
    """One backend."""

    base_url: str
    """Without credentials."""
    error: str
    """Why it cannot be used; empty if it can."""
    outages: int
    """How often it could not be used any more."""
    in_flight: int
    limit: int
    """Most requests in flight now."""
    requests: Mapping[str, int]
    """By outcome; only grows."""
    tokens: Mapping[str, int]
    """By kind, as the backend counts them; only grows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RootFigures:
    """One import folder."""

    path: str
    state: str
    """One of :data:`ROOT_STATES`."""
    reconciles: int
    """Whole walks that have ended; only grows."""
    overflows: int
    """How often the kernel dropped events; only grows."""
    last_reconcile: float | None
    """Seconds since the epoch."""


ROOT_STATES = ("watching", "polling", "degraded", "offline", "elsewhere")


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFigures:
    """One of the hosts that share the ledger."""

    name: str
    version: str
    alive: bool
    seen_seconds: float
    """How long ago it gave its last sign of life."""
    photos_an_hour: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskFigures:
    """The file system of one folder."""

    use: str
    """What it is for: ``state``, ``outputs`` or ``photos``."""
    path: str
    free: int
    """Bytes that taggerd may still write, without what is reserved for root."""
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """All of them."""

    health: str
    """One of :attr:`healths`."""
    healths: Sequence[str]
    problems: Sequence[Problem]
    kinds: Sequence[str]
    """What may be wrong."""
    paused: bool
    queue: Mapping[str, int]
    """Photos by state."""
    oldest_queued_at: float | None
    """When the photo that waits longest entered the queue, seconds since the epoch."""
    endpoints: Sequence[EndpointFigures]
    roots: Sequence[RootFigures]
    disks: Sequence[DiskFigures] = field(default=())
    """Those that answered."""
    hosts: Sequence[HostFigures] = field(default=())
    """None where nobody shares the ledger."""
