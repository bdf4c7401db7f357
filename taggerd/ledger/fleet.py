"""What hosts that share a ledger know of each other: who lives, who does what, who asks how much.

Only a ledger that several hosts share has a fleet. All times are taken by one clock, that of the
database: those of the hosts may be apart. What a host holds ends by itself when nothing is heard of
it any more, so that whatever dies, another goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

LEASE_SECONDS = 30.0
"""How long a lease and a sign of life last."""
RENEW_SECONDS = 10.0
"""Between two signs of life of a host: two may be lost before it counts as dead."""
JOURNAL = "journal"
"""The lease of the host that writes the day files."""

Change: TypeAlias = 'Literal["photos", "outbox", "fleet", "endpoints"]'
"""What changed: photos can be claimed; records wait; a lease or a pause; what is agreed on."""
Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"


def watch_lease(root: str) -> str:
    """Return the name of the lease of the host that watches *root*."""
    return f"watch:{root}"


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


class Known(NamedTuple):
    """What the database knows of the hosts at one moment."""

    hosts: Sequence[Host]
    """See :meth:`Fleet.hosts`."""
    holders: Mapping[str, str]
    """See :meth:`Fleet.holders`."""


class Lent(NamedTuple):
    """A record that only the host that it is lent to may write into its day files."""

    id: str
    day: str
    """As in the journal: local to the host that made it."""
    line: str


class Fleet(Protocol):
    """The hosts that share a ledger, as one of them sees them.

    Each coroutine but :meth:`changed` is one transaction. They raise
    :class:`~taggerd.errors.StorageError` while the database is away; whoever held a lease then has
    it for :data:`LEASE_SECONDS` since it was last renewed, and not longer.
    """

    @property
    def host(self) -> str:
        """The name of this host."""

    async def beat(self, about: HostFacts) -> Known:
        """Give a sign of life, and renew each lease that this program holds.

        Returns what is known of all, as hosts ask for both day and night.

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

    async def lent(self) -> list[Lent]:
        """Return records that this host, and no other, is to journal, whoever does now.

        This program began to, or one that was killed here: they may be in its day files already.
        """

    async def forget_records(self, before: str) -> None:
        """Forget the records that were journalled on days *before* that one, ``"2025-06-30"``."""

    async def agree(self, key: str, change: Callable[[Json, float], tuple[Json, bool]]) -> None:
        """Replace what all hosts agree on under *key*, as one step: nobody else does in between.

        Args:
            key: of what it is; at most 200 characters.
            change: gets what is kept, None for nothing, and the time of the database, seconds since
                the epoch. Returns what is kept from now on, and whether the other hosts are told
                (:data:`Change` ``"endpoints"``). It is called again when another was faster, and
                nothing is written where nothing changes.

        """

    async def changed(self, seconds: float, *, of: Change | None = None) -> bool:
        """Wait until another program changed something, or so many *seconds*; say whether it did.

        *of*: only such changes. What changed since the last call for the same *of* counts. While
        the database is away this waits, and raises nothing.
        """
