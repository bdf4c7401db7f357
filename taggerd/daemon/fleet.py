"""The hosts that share a ledger, as ``taggerd status`` shows them, and what is wrong with them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from taggerd.daemon.health import Problem, described
from taggerd.photo import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from taggerd.ledger import Host


@described
@dataclass(frozen=True, slots=True, kw_only=True)
class HostStatus:
    """One of the hosts that share the ledger."""

    name: str
    version: str
    duties: tuple[str, ...]
    """What it may do."""
    holds: tuple[str, ...]
    """What it does now that one host does alone: ``journal``, and ``watch:`` with a root's name."""
    roots: tuple[str, ...]
    """Names of its import folders; ``@HOST/path`` for one without a name."""
    alive: bool
    """It gave a sign of life in the last half minute, and did not end since."""
    seen_seconds: float
    """How long ago it gave the last one."""
    photos_an_hour: float | None
    """Photos that it tagged in the last hour; None: none."""
    health: str
    """Its own word."""


def statuses_of(hosts: Iterable[Host], holders: Mapping[str, str]) -> tuple[HostStatus, ...]:
    """Return the *hosts* with what each holds."""
    held: defaultdict[str, list[str]] = defaultdict(list)
    for lease, host in sorted(holders.items()):
        held[host].append(lease)
    return tuple(
        HostStatus(
            name=host.name,
            version=host.version,
            duties=tuple(map(printable, host.duties)),
            holds=tuple(map(printable, held[host.name])),
            roots=tuple(map(printable, host.roots)),
            alive=host.alive,
            seen_seconds=round(host.seen_seconds, 1),
            photos_an_hour=host.photos_an_hour,
            health=host.health,
        )
        for host in hosts
    )


def problems_of_others(hosts: Iterable[Host], here: str) -> Iterator[Problem]:
    """Yield what the living *hosts*, but the one that is *here*, say of themselves."""
    for host in hosts:
        if host.alive and host.name != here and host.health == "degraded":
            text = f"{host.name} is degraded: taggerd status there says why"
            yield Problem(kind="hosts", subject=host.name, text=text)


def problems_of(hosts: Sequence[Host]) -> Iterator[Problem]:
    """Yield what is wrong with the *hosts* that share a ledger: duties that nobody has."""
    living = [host for host in hosts if host.alive]
    have: dict[str, str] = {"tag": "photos wait", "journal": "records wait"}
    for duty, waits in have.items():
        if not any(duty in host.duties for host in living):
            text = f"no living host has the duty {duty}: {waits}; start one, or set service.duties"
            yield Problem(kind="hosts", subject=duty, text=text)
    watched = {root for host in living if "watch" in host.duties for root in host.roots}
    for root in sorted({root for host in hosts for root in host.roots} - watched):
        shown = printable(root)
        text = f"no living host watches {shown}: what arrives there waits"
        yield Problem(kind="hosts", subject=shown, text=text)
    versions = sorted({host.version for host in living})
    if len(versions) > 1:
        named = ", ".join(f"{host.name} {host.version}" for host in living)
        text = f"the hosts have different versions: {named}; they work together, update the others"
        yield Problem(kind="versions", subject="versions", text=text)


def waiting_for_backend(living: Sequence[Host]) -> Iterator[Problem]:
    """Yield the *living* hosts that wait for a backend, if all do that ask any."""
    asking = [host for host in living if "tag" in host.duties]
    if asking and all(host.health == "waiting for backend" for host in asking):
        for host in asking:
            text = f"{host.name} waits for the backend: taggerd status there says why"
            yield Problem(kind="backend", subject=host.name, text=text)
