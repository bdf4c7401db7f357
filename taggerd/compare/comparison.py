"""A comparison: photos down, candidates across, and the votes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taggerd.settings import Settings


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model with a prompt profile."""

    model: str
    """Empty: the one that the settings or the backend choose."""
    profile: str

    @property
    def name(self) -> str:
        """What people call it."""
        return f"{self.model or 'the usual model'} · {self.profile}"


@dataclass(slots=True)
class Reply:
    """What a candidate says of one photo."""

    model: str = ""
    """Those that answered, by their own account."""
    caption: str = ""
    description: str = ""
    keywords: tuple[str, ...] = ()
    own: dict[str, str] = field(default_factory=dict)
    """By role of the user's own."""
    seconds: float = 0.0
    """How long the backend took, also where the answers were held."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    price: float | None = None
    """In ``currency``; None without ``backend.price``."""
    error: str = ""
    """Why there are no words."""


@dataclass(slots=True)
class Shown:
    """One photo, and what the candidates say of it."""

    name: str
    """Of the file, printable."""
    folder: str
    replies: list[Reply]
    """In the order of the candidates."""
    vote: int | None = None
    """Index of the candidate that is the best one here."""


@dataclass(frozen=True, slots=True)
class Total:
    """One candidate over all photos; means are of those that it answered about."""

    candidate: Candidate
    model: str
    """As it was named, else those that answered; empty: none did."""
    votes: int
    answered: int
    seconds: float
    tokens: float
    per_thousand: str
    """What a thousand photos cost; empty without prices."""


@dataclass(slots=True)
class Comparison:
    """What ``taggerd compare`` found."""

    id: str
    at: float
    """Seconds since the epoch."""
    candidates: tuple[Candidate, ...]
    photos: list[Shown]
    currency: str = ""
    chosen: int | None = None
    """Index of the candidate that was written into the settings."""

    def vote(self, photo: int, candidate: int | None) -> bool:
        """Note which *candidate* is the best about *photo*, by index; return whether both exist.

        None takes the vote away.
        """
        exists = candidate is None or 0 <= candidate < len(self.candidates)
        if not (exists and 0 <= photo < len(self.photos)):
            return False
        if candidate is not None and self.photos[photo].replies[candidate].error:
            return False
        self.photos[photo].vote = candidate
        return True

    @property
    def totals(self) -> list[Total]:
        """Each candidate's total, in their order."""
        return [self._total(number) for number in range(len(self.candidates))]

    def _total(self, number: int) -> Total:
        replies = [each.replies[number] for each in self.photos]
        answered = [reply for reply in replies if not reply.error]
        count = max(len(answered), 1)
        prices = [reply.price for reply in answered if reply.price is not None]
        thousand = f"{sum(prices) / len(prices) * 1000:.2f} {self.currency}" if prices else ""
        return Total(
            self.candidates[number],
            self.candidates[number].model or next((r.model for r in answered if r.model), ""),
            sum(each.vote == number for each in self.photos),
            len(answered),
            sum(reply.seconds for reply in answered) / count,
            sum(reply.prompt_tokens + reply.completion_tokens for reply in answered) / count,
            thousand,
        )

    def settings_for(self, number: int, settings: Settings) -> dict[str, str]:
        """Return the settings that make a candidate the one that is asked, by dotted key.

        A role that has a model of its own in *settings* gets this one as well: it was asked so.
        """
        wanted = self.candidates[number]
        values = {"prompts.profile": wanted.profile}
        if wanted.model:
            values["backend.model"] = wanted.model
            for role in (*type(settings.roles).model_fields, *settings.roles.own):
                if settings.roles.named(role).model:
                    values[f"roles.{role}.model"] = wanted.model
        return values
