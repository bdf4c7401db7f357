"""Which problems on_problem has heard of: each once when it begins, and once when it ends."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import TypeAdapter, ValidationError

if TYPE_CHECKING:
    from collections.abc import Iterable

_STEADY_SECONDS = 30.0
"""A problem is over when it has been gone for so long: after a restart, or where a disk comes and
goes, it would otherwise end and begin again."""
_MOST = 100


class Problem(Protocol):
    """A problem of the daemon."""

    @property
    def kind(self) -> str:
        """One of a few words, e.g. ``"backend"``."""

    @property
    def subject(self) -> str:
        """What has it: an address, a folder."""

    @property
    def text(self) -> str:
        """One line for people."""

    @property
    def since(self) -> float:
        """Seconds since the epoch."""


@dataclass(slots=True)
class Known:
    """A problem that lasts, or was just over."""

    kind: str
    subject: str
    text: str
    since: float
    said: bool = False
    gone_since: float | None = None


class Problems:
    """The problems that are known."""

    def __init__(self, kept: object, *, backend_minutes: float) -> None:
        """Begin with those that :meth:`kept` returned; a backend has to be away for so long."""
        self._backend_seconds = backend_minutes * 60
        self._known: dict[tuple[str, str], Known] = {}
        try:
            said = TypeAdapter(list[Known]).validate_python(kept or [])
        except ValidationError:
            said = []
        for each in said:
            self._known[each.kind, each.subject] = each

    def kept(self) -> list[dict[str, Any]]:
        """Return those that were said, as JSON: they are not said again after a restart."""
        return [asdict(each) | {"gone_since": None} for each in self._known.values() if each.said]

    def observe(self, problems: Iterable[Problem], now: float) -> None:
        """Take note of all *problems* that there are at *now*."""
        there = {(each.kind, each.subject): each for each in problems}
        for key, each in there.items():
            if key in self._known:
                self._known[key].gone_since = None
                self._known[key].text = each.text
            elif len(self._known) < _MOST:
                since = min(each.since or now, now)
                self._known[key] = Known(each.kind, each.subject, each.text, since)
        for key in self._known.keys() - there.keys():
            known = self._known[key]
            if not known.said:
                del self._known[key]
            elif known.gone_since is None:
                known.gone_since = now

    def changes(self, now: float) -> tuple[list[Known], list[Known]]:
        """Return those to be said as begun and as over, and count them as said."""
        begun = [each for each in self._known.values() if not each.said and self._due(each) <= now]
        for each in begun:
            each.said = True
        over = [
            each
            for each in self._known.values()
            if each.gone_since is not None and each.gone_since + _STEADY_SECONDS <= now
        ]
        for each in over:
            del self._known[each.kind, each.subject]
        return begun, over

    def due_in(self, now: float) -> float | None:
        """Return in how many seconds there may be a change to say; None: never by itself."""
        due = [self._due(each) for each in self._known.values() if not each.said]
        gone = (each.gone_since for each in self._known.values())
        due += [since + _STEADY_SECONDS for since in gone if since is not None]
        return max(0.0, min(due) - now) if due else None

    def _due(self, problem: Known) -> float:
        return problem.since + (self._backend_seconds if problem.kind == "backend" else 0.0)
