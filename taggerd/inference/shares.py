"""What programs on several hosts agree on about one endpoint: a value, and how it changes.

Nothing here waits or asks. A program's share lives until its lease ends, also if the program is
dead: others get only what is left. So there are never more requests in flight than the smallest
``max_concurrency`` of those who ask, at no instant. A share is made smaller in two steps: the
program is told so, and others get the rest only when it says that it holds no more.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from taggerd.inference.throttle import Throttle
from taggerd.retry import ENDPOINT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
T = TypeVar("T")

LEASE_SECONDS = 30.0
"""How long a share lasts after its program was last heard of."""
ALONE_SECONDS = 5.0
"""How long a program keeps what others wait for, where there are more programs than requests."""
STEP_ASIDE_SECONDS = 1.0
"""So much longer than others waits whoever probed last, or found the endpoint away: if its own
network is at fault, another finds that out."""


@dataclass(slots=True)
class Program:
    """One program that asks the endpoint."""

    host: str
    most: int
    """Its ``max_concurrency``."""
    wanted: int = 0
    """How many requests it could have in flight now."""
    share: int = 0
    """How many it may have."""
    held: int = 0
    """How many it may have by what it was told last: no less than :attr:`share`."""
    since: float = 0.0
    """When it got a share, or lost its last one."""
    until: float = 0.0
    told: int = -1
    """The share that it was sent for; -1: it has asked since."""


@dataclass(slots=True)
class Away:
    """Why the endpoint is away."""

    host: str
    """Where that was found."""
    program: str
    """That found it."""
    kind: str
    """Name of the error's class."""
    reason: str
    probe_at: float
    """When it is probed next."""
    probes: int = 0
    last: str = ""
    """The program that probed last, at first the one that found it."""
    prober: str = ""
    until: float = 0.0
    """While it probes."""


@dataclass(slots=True)
class Demand:
    """What a program says when it asks for its share."""

    host: str
    most: int
    wanted: int
    used: int
    """How many requests it has in flight; it begins no more until it has its answer."""
    answered: int = 0
    """Answers since it last asked, that came while it could send no more."""
    refused: bool = False
    """Whether a request was too much that was sent since the limit was last cut."""
    cuts: int = 0
    """How often the limit was cut, as far as it knows."""
    probing: bool = False
    """Whether it probes the endpoint, which is away."""
    learnt: bool = False
    """Whether it learnt something about the endpoint's models that it has noted."""


@dataclass(slots=True)
class Agreement:
    """What is agreed on about one endpoint."""

    programs: dict[str, Program] = field(default_factory=dict)
    throttle: Throttle | None = None
    """What the endpoint taught all of them; None: it refuses nothing."""
    cuts: int = 0
    """How often :attr:`throttle` was halved."""
    away: Away | None = None
    freed_by: str = ""
    """The program whose probe ended the last outage."""
    notes: int = 0
    """How often a program noted what it learnt."""

    @classmethod
    def of(cls, kept: Json, now: float) -> Agreement:
        """Read what is *kept* by this version or another; without the programs that are dead."""
        table = kept if isinstance(kept, dict) else {}
        programs = _table(table.get("programs"))
        alive = {name: _made(Program, each) for name, each in programs.items()}
        return cls(
            {name: each for name, each in alive.items() if each and each.until > now},
            _made(Throttle, table.get("throttle")),
            _number(table.get("cuts")),
            _made(Away, table.get("away")),
            str(table.get("freed_by", "")),
            _number(table.get("notes")),
        )

    def to_json(self) -> Json:
        """Return what is kept of it."""
        return asdict(self)

    # Shares.

    @property
    def most(self) -> int:
        """How many requests all programs together may have in flight."""
        most = min((each.most for each in self.programs.values()), default=1)
        return max(1, min(most, int(self.throttle.size)) if self.throttle else most)

    def ask(self, name: str, demand: Demand, now: float) -> bool:
        """Give the program *name* its share; return whether others should ask for theirs now."""
        me = self.programs.setdefault(name, Program(demand.host, demand.most, since=now))
        me.most, me.wanted, me.until, me.told = demand.most, demand.wanted, now + LEASE_SECONDS, -1
        me.held = demand.used
        self.notes += demand.learnt
        self._learn(demand, now)
        targets = self._targets(now)
        free = self.most - sum(each.held for each in self.programs.values() if each is not me)
        share = min(targets[name], max(free, demand.used))  # what it has already costs nobody more
        if bool(share) != bool(me.share):
            me.since = now
        me.share, me.held = share, max(share, demand.used)
        if not (me.wanted or me.held):
            del self.programs[name]
            targets = self._targets(now)
        if self.away is not None and self.away.prober == name and demand.probing:
            self.away.until = now + LEASE_SECONDS
        return self._send_for(name, targets)

    def _learn(self, demand: Demand, now: float) -> None:
        """Take what the endpoint taught one program as said to all."""
        if demand.refused and demand.cuts == self.cuts:
            in_flight = sum(each.held for each in self.programs.values())
            if in_flight > 1:  # one that was alone was not refused for being one of too many
                self.throttle = self.throttle or Throttle.of(self.most)
                self.throttle.refused(in_flight, now)
                self.cuts += 1
        elif self.throttle is not None:
            most = min(each.most for each in self.programs.values())
            self.throttle.answered(demand.answered, most, now)
            if self.throttle.is_over(most, now):
                self.throttle = None

    def _targets(self, now: float) -> dict[str, int]:
        """Return the share that each program should have now."""
        wanted = {name: each.wanted for name, each in sorted(self.programs.items())}
        wanting = [name for name in wanted if wanted[name]]
        if len(wanting) <= self.most:
            return fair_shares(self.most, wanted)

        def urgency(name: str) -> tuple[int, float]:
            each = self.programs[name]
            if not each.share:
                return 1, each.since
            return (0 if now - each.since < ALONE_SECONDS else 2), each.since

        first = sorted(wanting, key=urgency)[: self.most]
        return {name: int(name in first) for name in wanted}

    def _send_for(self, name: str, targets: Mapping[str, int]) -> bool:
        """Say whether another program than *name* has to give something back, or may have more."""
        held = sum(each.held for each in self.programs.values())
        short = any(each.share < targets[who] for who, each in self.programs.items())
        sent = False
        for who, each in self.programs.items():
            target = targets[who]
            gives, gets = short and each.held > target, each.share < target and held < self.most
            if who != name and (gives or gets) and each.told != target:
                each.told, sent = target, True
        return sent

    # Outages.

    def found_away(self, name: str, host: str, kind: str, reason: str, at: float) -> None:
        """Take the endpoint away from all, by what *name* on *host* found; it is probed *at*."""
        if self.away is None:
            self.away = Away(host, name, kind, reason, probe_at=at, last=name)

    def may_probe(self, name: str, now: float) -> float:
        """Let the program *name* probe; return the seconds until it may, if not now (0)."""
        away = self.away
        if away is None:
            return 0.0
        if away.prober and away.prober != name and away.until > now:
            return away.until - now
        begins = away.probe_at + (STEP_ASIDE_SECONDS if away.last == name else 0.0)
        if now >= begins:
            away.prober, away.until = name, now + LEASE_SECONDS
        return max(0.0, begins - now)

    def probed(self, name: str, fault: tuple[str, str, float] | None, now: float) -> None:
        """Note what a probe of *name* found; *fault*: its kind, reason and Retry-After."""
        if fault is None:
            self.freed_by = name if self.away is not None else self.freed_by
            self.away = None
        elif self.away is not None and self.away.prober in {"", name}:
            away = self.away
            away.kind, away.reason, asked = fault
            away.probes += 1
            away.probe_at = now + ENDPOINT.seconds(away.probes, asked=asked)
            away.last, away.prober = name, ""


def fair_shares(most: int, wanted: Mapping[str, int]) -> dict[str, int]:
    """Deal *most* among those who want so many each: nobody gets more than they want.

    What one leaves, the others get. Where it does not come out even, some get one more.
    """
    shares = dict.fromkeys(wanted, 0)
    left = most
    for begun, name in enumerate(sorted(wanted, key=lambda name: (wanted[name], name))):
        shares[name] = min(wanted[name], -(-left // (len(wanted) - begun)))
        left -= shares[name]
    return shares


def _made(kind: Callable[..., T], kept: Any) -> T | None:  # noqa: ANN401 - JSON
    """Return a dataclass of what is *kept*; None where that is another version's."""
    names = {each.name for each in fields(kind)}  # type: ignore[arg-type]
    try:
        return kind(**{name: each for name, each in _table(kept).items() if name in names})
    except TypeError:
        return None


def _table(kept: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return kept if isinstance(kept, dict) else {}


def _number(kept: Any) -> int:  # noqa: ANN401 - JSON
    return kept if isinstance(kept, int) else 0
