"""Gathers photos into bursts while they are on their way, in one process and in memory.

Each photo that is claimed is a candidate, in their order. When it is decoded it waits in its burst
until that is complete, and then asks, or waits for the answers of the one that does. A burst is
complete when a later photo of its camera does not belong to it, when no photo is being decoded and
no other can be claimed, when all that may be in flight wait, and at the latest a moment after its
last photo. So nothing can wait for ever, and a kill loses no more than what was not answered yet.
"""

from __future__ import annotations

import asyncio
import math
from bisect import bisect_right, insort
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from taggerd.burst.shots import belongs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Hashable, Mapping

    from taggerd.burst.shots import Shot
    from taggerd.photo import Answer
    from taggerd.settings import Burst

LONGEST_WAIT_SECONDS = 5.0
"""After its last photo, whatever else is on its way: one that takes long to decode holds no burst
up, nor do photos of other cameras."""
_REMEMBERED = 64
"""Bursts whose answers a photo that comes late still takes."""


@dataclass(eq=False)
class _Member:
    number: int
    name: str
    shot: Shot
    begun: int
    """Answers that it has already: an earlier run was ended before it had them all."""
    inherited: asyncio.Future[Mapping[str, Answer]]
    """The answers that it takes; none: it asks itself."""

    @property
    def rank(self) -> tuple[int, float, int]:
        return self.begun, self.shot.fingerprint.sharpness, -self.number


@dataclass(eq=False)
class _Burst:
    members: list[_Member] = field(default_factory=list)
    """All of them, also those that have gone on."""
    waiting: list[_Member] = field(default_factory=list)
    asked: _Member | None = None
    """The one that asks, or has; None: it is still open, or nobody could answer."""
    answers: Mapping[str, Answer] = field(default_factory=dict)
    closed: bool = False
    timer: asyncio.TimerHandle | None = None

    @property
    def shots(self) -> list[Shot]:
        return [member.shot for member in self.members]

    @property
    def last(self) -> int:
        return max(member.number for member in self.members)

    def takes(self, member: _Member, settings: Burst) -> bool:
        """Say whether *member* belongs; one that comes late only if it is not the sharper one."""
        if self.closed:
            late = self.asked is None or member.rank > (*self.asked.rank[:2], math.inf)
            if late or member.begun:
                return False
        return belongs(member.shot, self.shots, settings)

    def let_ask(self) -> None:
        """Let the sharpest of those that wait ask."""
        self.asked = max(self.waiting, key=lambda member: member.rank, default=None)
        if self.asked is not None:
            self.waiting.remove(self.asked)
            _go_on(self.asked, {})

    def share(self, answers: Mapping[str, Answer]) -> None:
        """Give the *answers* to those that wait and those that come late."""
        self.answers = answers
        while self.waiting:
            _go_on(self.waiting.pop(), answers)


def _go_on(member: _Member, answers: Mapping[str, Answer]) -> None:
    if not member.inherited.done():  # it is cancelled at this moment
        member.inherited.set_result(answers)


class Candidate:
    """A photo that is claimed, and whose burst is not known yet."""

    def __init__(self, gathering: Gathering, number: int) -> None:
        """Be the one with this *number* in the order of claims."""
        self._gathering, self._number = gathering, number

    def leave(self) -> None:
        """Make clear that the photo will belong to no burst any more."""
        self._gathering.leave(self._number)

    @asynccontextmanager
    async def join(
        self, shot: Shot, name: str, answers: Mapping[str, Answer]
    ) -> AsyncIterator[Mapping[str, Answer]]:
        """Wait until the burst of *shot* is complete, and yield the answers that it takes.

        Without any, it asks; what *answers* holds when the block ends is what the others take. If
        the block raises, the next sharpest asks.

        Args:
            shot: the photo as it is compared.
            name: what the answers that others take of it say that they are inherited from.
            answers: those that the photo has already; they are added to in the block.
        """
        async with self._gathering.joined(self._number, shot, name, answers) as inherited:
            yield inherited


class Gathering:
    """The bursts of one run."""

    def __init__(self, settings: Burst, on_closed: Callable[[], None]) -> None:
        """Gather nothing yet; *on_closed* is called when photos wait that are not asked about.

        They do not count among those in flight, so others can be claimed.
        """
        self._settings = settings
        self._on_closed = on_closed
        self._count = 0
        self._deciding: set[int] = set()
        """Photos that are claimed, and whose burst is not known."""
        self._bursts: list[_Burst] = []
        """By their first photo; those that are closed only for a while."""
        self._numbers: dict[Hashable, list[int]] = {}
        """Of the photos that have joined, by camera, in order."""
        self._drained = self._full = False

    @property
    def enabled(self) -> bool:
        """Whether photos are gathered at all."""
        return self._settings.enabled

    @property
    def following(self) -> int:
        """Number of photos that wait for the answers of another."""
        return sum(len(burst.waiting) for burst in self._bursts if burst.closed)

    def candidate(self) -> Candidate:
        """Return the candidate for a photo that is claimed now."""
        self._count += 1
        self._deciding.add(self._count)
        self._drained = False
        return Candidate(self, self._count)

    def claimed(self, *, drained: bool, full: bool) -> None:
        """Take note of a claim: nothing is left to claim (now), or no more may be in flight."""
        self._drained, self._full = drained, full
        self._close_complete()

    def leave(self, number: int) -> None:
        """See :meth:`Candidate.leave`."""
        if number in self._deciding:
            self._deciding.remove(number)
            self._close_complete()

    @asynccontextmanager
    async def joined(
        self, number: int, shot: Shot, name: str, answers: Mapping[str, Answer]
    ) -> AsyncIterator[Mapping[str, Answer]]:
        """See :meth:`Candidate.join`."""
        loop = asyncio.get_running_loop()
        member = _Member(number, name, shot, len(answers), loop.create_future())
        burst = self._add(member)
        try:
            inherited = await member.inherited
        except asyncio.CancelledError:
            if burst.asked is member:
                burst.let_ask()
            elif member in burst.waiting:
                burst.waiting.remove(member)
            raise
        try:
            yield inherited
        except BaseException:
            if burst.asked is member:
                burst.let_ask()
            raise
        if burst.asked is member:
            burst.share({role: _inherited(answer, name) for role, answer in answers.items()})

    def _add(self, member: _Member) -> _Burst:
        """Put *member* into its burst, which may be a new one."""
        self._deciding.discard(member.number)
        insort(self._numbers.setdefault(member.shot.camera, []), member.number)
        del self._numbers[member.shot.camera][:-_REMEMBERED]
        burst = next((b for b in self._bursts if b.takes(member, self._settings)), None)
        if burst is None:
            burst = _Burst()
            self._bursts.append(burst)
        burst.members.append(member)
        burst.waiting.append(member)
        if burst.answers:
            burst.share(burst.answers)
        if not burst.closed:
            if burst.timer is not None:
                burst.timer.cancel()
            loop = asyncio.get_running_loop()
            burst.timer = loop.call_later(LONGEST_WAIT_SECONDS, self._close, burst)
        self._close_complete()
        return burst

    def _close_complete(self) -> None:
        """Close the bursts that no photo joins any more, as far as can be known."""
        still = [burst for burst in self._bursts if not burst.closed]
        for burst in still:
            if self._is_over(burst) or (self._drained and not self._deciding):
                self._close(burst)
        if self._full and not self._deciding:
            left = next((burst for burst in still if not burst.closed), None)
            if left is not None:
                self._full = False  # until somebody has counted again
                self._close(left)
                self._on_closed()

    def _is_over(self, burst: _Burst) -> bool:
        """Say whether a later photo of the camera does not belong, and none between is to come."""
        numbers = self._numbers[burst.members[0].shot.camera]
        later = bisect_right(numbers, burst.last)
        return later < len(numbers) and numbers[later] < min(self._deciding, default=math.inf)

    def _close(self, burst: _Burst) -> None:
        """Let one photo of *burst* ask; those that had begun to ask go on by themselves."""
        if burst.timer is not None:
            burst.timer.cancel()
        burst.closed, burst.timer = True, None
        burst.let_ask()
        for member in [each for each in burst.waiting if each.begun]:
            burst.waiting.remove(member)
            _go_on(member, {})
        closed = [each for each in self._bursts if each.closed and not each.waiting]
        for each in closed[:-_REMEMBERED]:
            self._bursts.remove(each)
        if burst.waiting:
            self._on_closed()


def _inherited(answer: Answer, name: str) -> Answer:
    """Return *answer* as another photo takes it: that cost nothing, and says whose it is."""
    return replace(
        answer,
        inherited_from=name,
        prompt_tokens=0,
        completion_tokens=0,
        seconds=0.0,
        requests=0,
    )
