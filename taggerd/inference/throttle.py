"""How many requests at once an endpoint copes with, as it teaches by refusing some.

Additive increase, multiplicative decrease, as TCP does it (RFC 5681): a refusal (429, 503) or a
timeout halves the limit, once for all requests in flight; an answer adds 1/limit, which is one more
a round. It begins at the largest limit, which is set by somebody who knows the machine. A number of
requests that was refused is not tried again for a while (:mod:`taggerd.retry`). Latency teaches it
nothing: servers that batch take longer for one request, and less for all of them, the more they
have to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from taggerd.retry import CONCURRENCY

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager


@dataclass(slots=True)
class Throttle:
    """The limit of one program, or of all hosts together; times by whatever clock they share."""

    size: float
    """Requests at once, now."""
    ceiling: float
    """So many at most until :attr:`held_until`."""
    refusals: int = 0
    """How often, in a row, too many were sent again soon."""
    hold: float = CONCURRENCY.first
    held_until: float = 0.0

    @classmethod
    def of(cls, most: int) -> Throttle:
        """Begin with *most* requests at once."""
        return cls(float(most), float(most))

    def answered(self, count: int, most: int, now: float) -> None:
        """Note so many answers that came while no more requests could be sent; at most *most*."""
        ceiling = self.ceiling if now < self.held_until else float(most)
        for _ in range(count):
            self.size = min(self.size + 1 / self.size, ceiling)

    def refused(self, in_flight: int, now: float) -> None:
        """Note that of so many requests in flight one was too much."""
        again = now < self.held_until + self.hold
        self.refusals = self.refusals + 1 if again else 1
        self.hold = CONCURRENCY.seconds(self.refusals)
        self.held_until = now + self.hold
        self.ceiling = max(1.0, min(in_flight, int(self.size)) - 1.0)
        self.size = max(1.0, self.size / 2)

    def is_over(self, most: int, now: float) -> bool:
        """Say whether it teaches nothing any more."""
        return self.size >= most and now >= self.held_until + self.hold


class Share(Protocol):
    """What one program may have of the limit of all hosts."""

    @property
    def permits(self) -> int:
        """So many requests may be in flight; where there are more, none is begun."""

    @property
    def granted(self) -> int:
        """The same as it was last dealt, also in the moments in which nothing may be begun."""

    def held(self) -> AbstractAsyncContextManager[None]:
        """Hold one of the permits; raises LedgerAway in the block where the share ends."""

    def follow(self) -> None:
        """Note that other permits are held or waited for than before."""

    def answered(self) -> None:
        """Note an answer that came while no more requests could be sent."""

    def refused(self) -> None:
        """Note that a request was too much."""
