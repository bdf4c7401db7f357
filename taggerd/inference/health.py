"""The health of one endpoint: whether it may be asked about photos, and why not.

One object holds all that is known of it, for the endpoint that judges an error and for the request
that is about to be sent: a circuit breaker with its backoff, the hold on requests while a fault is
being looked into, and the watch for a model that gives every picture the same answer.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple

from taggerd.errors import (
    BackendBusy,
    BackendFailed,
    BackendTimeout,
    BackendUnreachable,
    NotProbed,
)
from taggerd.logs import get_logger
from taggerd.retry import policy_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from taggerd.errors import BackendError
    from taggerd.photo import Answer

SUSPICIOUS_REPEATS = 5
"""So many different pictures in a row, all described in the very same words, are suspicious."""

REFUSALS_AFTER_PROBE = 3
"""So many photos may be refused once a probe has passed, before the endpoint is at fault again: it
has just shown that it answers. With none, one such photo would end the attempts at those beside it
each time, and keep them from ever being asked about."""

_probing: ContextVar[bool] = ContextVar("probing", default=False)

log = get_logger(__name__)


@contextmanager
def probing() -> Iterator[None]:
    """Mark the requests of this block as probes: they are sent whatever the endpoint's health.

    A context variable, because a probe passes through all of the code that asks about photos.
    """
    token = _probing.set(True)
    try:
        yield
    finally:
        _probing.reset(token)


def is_probing() -> bool:
    """Return whether the request at hand is a probe and not about a photo."""
    return _probing.get()


_OUTAGE = (BackendBusy, BackendFailed, BackendTimeout, BackendUnreachable)
"""What a server that goes down and comes up again shows one after the other."""


def _is_one_outage(before: BackendError | None, error: BackendError) -> bool:
    """Say whether *error* calls for the same as the one *before* it."""
    return type(error) is type(before) or (
        isinstance(before, _OUTAGE) and isinstance(error, _OUTAGE)
    )


class Health:
    """Healthy until a fault; then nothing about a photo is sent until a probe passes.

    How long to wait between probes is in :mod:`taggerd.retry`.
    """

    def __init__(
        self,
        name: Callable[[], str] = str,
        *,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Begin healthy.

        Args:
            name: gives the endpoint's name, for the log.
            chance: from 0 to 1, for the jitter of waits.
        """
        self.error: BackendError | None = None
        """Why no photo may be asked about; None: it may."""
        self.outages = 0
        """How often it could not be asked any more."""
        self.answers = 0
        """How many there were about photos."""
        self._name = name
        self._chance = chance
        self._failures = 0
        """Waits since the last answer."""
        self._refusals_left = 0
        self._settled = asyncio.Event()
        """Cleared while a probe finds out whether a fault is the endpoint's."""
        self._settled.set()
        self._repeats: dict[tuple[str, str], _Repeats] = {}
        self._genuine: set[tuple[str, str, str]] = set()

    # The circuit breaker.

    def fault(self, error: BackendError) -> None:
        """Stop requests because of *error*; faults of requests already in flight change nothing."""
        if self._refusals_left and not policy_of(error).throttles:
            self._refusals_left -= 1
        elif self.error is None:
            self._tell(error)
            self.error = error
            self.outages += 1

    def probed(self, error: BackendError | None) -> None:
        """Take over what a probe found, None for healthy.

        An outage is logged when it begins and when it ends; in between, only what asks for
        something else to be done. The words of an error may differ each time.
        """
        before = self.error
        if error is None and before is not None:
            log.info("backend is usable", base_url=self._name())
        elif error is not None and not _is_one_outage(before, error):
            self._tell(error)
        if error is not None and (before is None or isinstance(before, NotProbed)):
            self.outages += 1
        self.error = error

    def _tell(self, error: BackendError) -> None:
        log.warning("backend unusable; work waits for it", base_url=self._name(), reason=str(error))

    def answered(self) -> None:
        """Note an answer: the next outage starts with a short wait again."""
        self._failures = self._refusals_left = 0
        self.answers += 1

    async def recover(
        self,
        probe: Callable[[], Awaitable[BackendError | None]],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Wait and *probe* until the endpoint is healthy."""
        at_fault = not isinstance(self.error, NotProbed)
        while self.error is not None:
            await self.probe_later(probe, sleep)
        self.recovered(at_fault=at_fault)

    async def probe_later(
        self,
        probe: Callable[[], Awaitable[BackendError | None]],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        """Wait as long as the error asks for, longer each time, and *probe* once."""
        if self.error is not None and (backoff := policy_of(self.error).backoff):
            self._failures += 1
            asked = self.error.retry_after_seconds or 0.0
            await sleep(backoff.seconds(self._failures, asked=asked, chance=self._chance()))
        self.probed(await probe())

    def recovered(self, *, at_fault: bool) -> None:
        """Note that a probe passed, here or at another host; *at_fault*: the endpoint had been."""
        self._refusals_left = REFUSALS_AFTER_PROBE if at_fault else 0

    # Requests about to be sent.

    async def wait_for_verdict(self) -> None:
        """Wait while a probe finds out whether a fault is the endpoint's. Probes do not wait."""
        if not is_probing():
            await self._settled.wait()

    def may_send(self) -> bool:
        """Return whether to send now, or to return the permit and wait for the verdict again.

        Raises:
            BackendError: the endpoint is at fault, which was found while this request waited.
        """
        if is_probing():
            return True
        if self._settled.is_set() and (refusal := self.refusal):
            raise refusal
        return self._settled.is_set()

    @property
    def refusal(self) -> BackendError | None:
        """The error of a photo that is not asked about, because the endpoint is at fault."""
        return type(self.error)(str(self.error), asked=False) if self.error else None

    @contextmanager
    def in_doubt(self) -> Iterator[None]:
        """Hold back requests about photos while a probe finds out whose fault it is."""
        self._settled.clear()
        try:
            yield
        finally:
            self._settled.set()

    # A model that says the same of every picture.

    def repeats_itself(self, digest: str, answer: Answer) -> bool:
        """Take note of *answer* about the picture *digest*; return whether its text came too often.

        A burst of one scene is rightly described alike, so this proves nothing by itself: ask
        about a picture of another kind before blaming the model.
        """
        key = (answer.role, answer.model)
        if not answer.text or (*key, answer.text) in self._genuine:
            return False
        last = self._repeats.get(key)
        before = last.digests if last and last.text == answer.text else frozenset()
        self._repeats[key] = _Repeats(answer.text, before | {digest})
        return len(self._repeats[key].digests) >= SUSPICIOUS_REPEATS

    def trust(self, answer: Answer) -> None:
        """Accept the text of *answer* from now on, however often it comes."""
        self._genuine.add((answer.role, answer.model, answer.text))

    def forget_repeats(self) -> None:
        """Count from zero, as after the model was replaced."""
        self._repeats.clear()


class _Repeats(NamedTuple):
    """What a model said last in one role, and of which pictures in a row."""

    text: str
    digests: frozenset[str]
