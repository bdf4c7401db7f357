"""What hosts that share a ledger know of each other: who lives, who does what, who asks how much.

Only a ledger that several hosts share has a fleet. All times are taken by one clock, that of the
database: those of the hosts may be apart. What a host holds ends by itself when nothing is heard of
it any more, so that whatever dies, another goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

LEASE_SECONDS = 30.0
"""How long a lease, a share and a sign of life last."""
RENEW_SECONDS = 10.0
"""Between two signs of life of a host: two may be lost before it counts as dead."""
JOURNAL = "journal"
"""The lease of the host that writes the day files."""

Change: TypeAlias = 'Literal["photos", "outbox", "fleet"]'
"""What changed: photos can be claimed; records wait; a lease, an outage, a share or a pause."""


def watch_lease(root: str) -> str:
    """Return the name of the lease of the host that watches *root*."""
    return f"watch:{root}"


def probe_lease(endpoint: str) -> str:
    """Return the name of the lease of the host that probes *endpoint*, which is away."""
    return f"probe:{endpoint}"


def fair_shares(most: int, wanted: Mapping[str, int]) -> dict[str, int]:
    """Deal *most* among those who want so many each: nobody gets more than they want.

    What one leaves, the others get. Where it does not come out even, the first by name get one
    more; where there are more names than there is to deal, the last get none.
    """
    shares = dict.fromkeys(wanted, 0)
    left = most
    for begun, name in enumerate(sorted(wanted, key=lambda name: (wanted[name], name))):
        fair = -(-left // (len(wanted) - begun)) if wanted[name] else 0
        shares[name] = min(wanted[name], fair)
        left -= shares[name]
    return shares


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """What a host says of itself."""

    version: str
    duties: tuple[str, ...]
    roots: tuple[str, ...] = ()
    """Names of the roots that it has."""
    photos_an_hour: float | None = None
    """Of this host, in the last hour; None: none."""
    health: str = ""
    """The word of ``taggerd status``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A host that was heard of, alive or not."""

    name: str
    version: str
    duties: tuple[str, ...]
    roots: tuple[str, ...]
    seen_seconds: float
    """How long ago it gave its last sign of life."""
    alive: bool
    """That was less than :data:`LEASE_SECONDS` ago, and it did not say that it ends."""
    photos_an_hour: float | None
    health: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """An endpoint that a host found away."""

    reason: str
    host: str
    """Which one found it."""
    seconds: float
    """How long ago."""


class Fleet(Protocol):
    """The hosts that share a ledger, as one of them sees them.

    Each coroutine but :meth:`changed` is one transaction. They raise
    :class:`~taggerd.errors.StorageError` while the database is away; whoever held a lease then has
    it for :data:`LEASE_SECONDS` since it was last renewed, and not longer.
    """

    @property
    def host(self) -> str:
        """The name of this host."""

    async def beat(self, about: HostFacts) -> None:
        """Give a sign of life, and renew each lease that this program holds.

        Raises:
            HostInUse: another living host has this name.

        """

    async def leave(self) -> None:
        """Let go of all that this program holds, and say that this host does not live any more."""

    async def hosts(self) -> list[Host]:
        """Return all hosts that were heard of in the last days, by name."""

    async def hold(self, lease: str) -> bool:
        """Take *lease*, or renew it; return whether this program holds it now."""

    async def let_go(self, lease: str) -> None:
        """Give *lease* back, so that another host may take it at once."""

    async def holders(self) -> Mapping[str, str]:
        """Return the host that holds each lease that somebody holds."""

    async def share(self, endpoint: str, most: int, wanted: int, *, used: int = 0) -> int:
        """Return how many requests this program may have at *endpoint* from now on.

        To be asked again at least every :data:`RENEW_SECONDS`: a share ends like a lease.

        Args:
            endpoint: its address.
            most: requests that all programs together may have there; the smallest that any of them
                names counts.
            wanted: how many this one could use now; 0 gives its share back.
            used: how many it has in flight now, which count whatever is returned. If fewer are
                returned, begin none until enough have ended, and ask again then: only now may
                others have them.

        """

    async def outages(self) -> Mapping[str, Outage]:
        """Return the endpoints that are away."""

    async def set_outage(self, endpoint: str, reason: str | None) -> None:
        """Say why *endpoint* is away; None: it is there again. The first reason stays."""

    async def changed(self, seconds: float, *, of: Change | None = None) -> bool:
        """Wait until another program changed something, or so many *seconds*; say whether it did.

        *of*: only such changes. What changed since the last call for the same *of* counts. While
        the database is away this waits, and raises nothing.
        """
