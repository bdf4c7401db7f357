"""What an error costs a photo: :mod:`taggerd.retry` applied to one claim."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from taggerd.attempt import outgoing
from taggerd.errors import (
    AnswerError,
    BackendError,
    ClaimLost,
    PhotoMoved,
    PhotoRefused,
    TaggerdError,
)
from taggerd.ledger import Deferred, Failed, Moved
from taggerd.retry import MOST_UPSETS, UPSET, policy_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from taggerd.journal import Record
    from taggerd.ledger import Claim, Ending
    from taggerd.photo import Preview
    from taggerd.pipeline import Result
    from taggerd.retry import Policy
    from taggerd.runner.outcome import Kind


LONG_DUE = 1.0
"""Seconds since the epoch: a photo that was not asked about comes behind those that never waited,
and ahead of all that upset the backend."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How an attempt ends: for the queue, and for everybody who listens."""

    ending: Ending
    kind: Kind | None = None
    """None: nobody is told."""
    reason: str = ""
    error: TaggerdError | None = None
    record: Record | None = None
    preview: Preview | None = None

    @property
    def waits_here(self) -> bool:
        """Whether the photo waits for this machine, or for the backend it alone upsets.

        An endpoint that is away is waited for as a whole.
        """
        return self.error is not None and policy_of(self.error).pauses != "endpoint"

    def recorded(self, record: Record, asked_as: str) -> Verdict:
        """Return the verdict on a photo that failed, with its *record*.

        *asked_as*: which questions were asked; another model or prompt may do better over them.
        """
        if not isinstance(self.ending, Failed):
            return self
        over_questions = isinstance(self.error, AnswerError | PhotoRefused)
        ending = replace(
            self.ending, record=outgoing(record), asked_as=asked_as if over_questions else ""
        )
        return replace(self, ending=ending, record=record)


class Judge:
    """Decides by the retry policy, and by what a photo has met before in this run."""

    def __init__(self, now: Callable[[], float]) -> None:
        """Remember nothing yet; *now*: seconds since the epoch."""
        self._now = now
        self._tolerated: Counter[int] = Counter()
        self._deferred: Counter[int] = Counter()
        self._ended = 0
        """How many attempts came to an end of their own."""
        self._upsets: dict[int, tuple[int, int]] = {}
        """How often a photo met a fault of the whole backend, each after others had ended, and how
        many had when it did last."""

    def decide(self, claim: Claim, error: TaggerdError) -> Verdict:
        """Return what *error* costs the photo of *claim*.

        Some servers answer a picture they cannot read with a plain 500, or drop the connection. So
        a backend that answers a control picture, and fails on this photo time and again, makes it
        the photo's fault.
        """
        policy, reason = policy_of(error), str(error)
        if isinstance(error, PhotoMoved):
            return Verdict(Moved(), "moved", reason)
        if isinstance(error, ClaimLost):  # whoever has it now says how it went
            return Verdict(Deferred(reason), None, reason)
        if policy.tolerated is not None:
            self._tolerated[claim.id] += 1
            if self._tolerated[claim.id] > policy.tolerated:
                reason = f"the backend answers other pictures and fails on this one: {error}"
                return photo_failed(PhotoRefused(reason), final=True)
        if _upsets_backend(error) and self._upset(claim) > MOST_UPSETS:
            reason = f"the backend fails each time that it is asked about this photo: {error}"
            return photo_failed(PhotoRefused(reason), final=True)
        if policy.at_fault == "photo":
            final = policy.costs == "every attempt"
            return photo_failed(error, final=final, slow=policy.slow)
        return Verdict(
            Deferred(reason, self._until(claim, error, policy)), "waiting", reason, error
        )

    def forget(self, claim: Claim) -> None:
        """Forget what the photo of *claim* met: its attempt came to an end of its own."""
        self._ended += 1
        self._upsets.pop(claim.id, None)
        self._tolerated.pop(claim.id, None)
        self._deferred.pop(claim.id, None)

    def _upset(self, claim: Claim) -> int:
        """Count one more fault of the whole backend that the photo of *claim* met."""
        times, ended = self._upsets.get(claim.id, (0, -1))
        self._upsets[claim.id] = (times + (self._ended > ended), self._ended)
        return self._upsets[claim.id][0]

    def _until(self, claim: Claim, error: TaggerdError, policy: Policy) -> float:
        """Return when a photo that is not at fault may be claimed again."""
        if policy.backoff is None:
            return 0.0
        self._deferred[claim.id] += 1
        times = self._deferred[claim.id]
        if policy.pauses == "endpoint":  # it is waited for as a whole
            if times == 1:
                return 0.0
            return self._now() + UPSET.seconds(times - 1) if _upsets_backend(error) else LONG_DUE
        if policy.pauses not in {"photo", "program"}:
            return 0.0
        return self._now() + policy.backoff.seconds(times)


def _upsets_backend(error: TaggerdError) -> bool:
    """Say whether the whole backend was at fault when it was asked about the photo at hand."""
    return isinstance(error, BackendError) and error.asked and policy_of(error).pauses == "endpoint"


def photo_failed(error: TaggerdError, *, final: bool = False, slow: bool = False) -> Verdict:
    """Return the verdict on a photo that is itself at fault: *final*, another attempt is vain."""
    return Verdict(Failed(str(error), final=final, slow=slow), "failed", str(error), error)


def sidecars_failed(error: TaggerdError) -> Verdict:
    """Return the verdict on a photo that nothing can be written for: the next run tries again."""
    return Verdict(Failed(str(error), final=True, for_sidecars=True), "failed", str(error), error)


def verdict_on(result: Result) -> Verdict:
    """Return the verdict on an attempt that came through."""
    if result.record is None:
        return Verdict(result.ending, "already tagged")
    reason = result.record.error
    kind: Kind = "failed" if reason else "held" if result.record.held else "tagged"
    return Verdict(result.ending, kind, reason, record=result.record, preview=result.preview)
