"""The service's health: one word, and what is wrong, each thing said once.

This is the one place that decides. ``taggerd status``, systemd's STATUS line, the health endpoint
and notices all take the word and the problems from here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

from pydantic import ConfigDict, with_config

from taggerd.errors import LedgerAway, LedgerDamaged, StorageError
from taggerd.photo import printable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

described = with_config(ConfigDict(use_attribute_docstrings=True))
"""Takes the text below each field of a class into its JSON schema."""

Kind = Literal[
    "program",
    "ledger",
    "state disk",
    "photos disk",
    "outputs",
    "root",
    "hosts",
    "backend",
    "settings",
    "versions",
    "confinement",
]
"""What is wrong, the gravest first:

- ``program``: a part of taggerd itself cannot be loaded or called, or it does not answer.
- ``ledger``: the database is damaged, or its server cannot be used.
- ``state disk``: nothing can be written to, or read from, the disk of the state directory.
- ``photos disk``: an import folder takes no sidecars.
- ``outputs``: records wait in the ledger.
- ``root``: an import folder is neither watched nor polled.
- ``hosts``: of those that share the ledger, none that lives has a duty.
- ``backend``: an endpoint cannot be used.
- ``settings``: the new ones were refused; the old ones are in force.
- ``versions``: hosts that share the ledger have different ones.
- ``confinement``: decoders lack a part of their cage.
"""
KINDS: tuple[Kind, ...] = get_args(Kind)
NOTED: frozenset[Kind] = frozenset({"confinement", "versions"})
"""Said, but no reason to call the service degraded.

A kernel lacks what it lacks for years, and photos are tagged all the same: an alarm that is never
over would be switched off, with all others. Hosts are updated one after the other.
"""

Word = Literal["healthy", "waiting for backend", "degraded", "down"]
"""The health in one word:

- ``healthy``: nothing needs a person; also while paused or off schedule, which somebody asked for.
- ``waiting for backend``: no endpoint can be used, and nothing else is wrong. Photos are queued.
- ``degraded``: it runs, and something needs a person.
- ``down``: it does not run.
"""
EXIT_CODES: dict[Word, int] = {"healthy": 0, "waiting for backend": 1, "degraded": 1, "down": 3}
"""Exit codes of ``taggerd status``: 3 is what the LSB has for a service that does not run.

Waiting is 1 as well: whoever asks whether photos are being tagged must not be told yes.
"""


@described
@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong."""

    kind: Kind
    subject: str
    """Which one: an endpoint's address, a folder, a file, a part of the cage."""
    text: str
    """What is wrong, and what to do: one line."""
    since: float = 0.0
    """Seconds since the epoch; 0: not known, it was met just now."""


@described
@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The word, and the problems that it follows from."""

    word: Word
    problems: tuple[Problem, ...] = ()
    """The gravest kind first."""

    @property
    def exit_code(self) -> int:
        """Exit code of ``taggerd status``."""
        return EXIT_CODES[self.word]

    @property
    def grave(self) -> tuple[Problem, ...]:
        """The problems without those that are merely noted."""
        return tuple(problem for problem in self.problems if problem.kind not in NOTED)


def health_of(
    problems: Iterable[Problem], *, running: bool = True, backend_away: bool = False
) -> Health:
    """Return the health of a service with these *problems*.

    Args:
        problems: all that are known; what has the same kind and subject is said once.
        running: whether the service runs.
        backend_away: whether no endpoint can be used.

    """
    found = Health(word="healthy", problems=_distinct(problems))
    if not running:
        return replace(found, word="down")
    kinds = {problem.kind for problem in found.grave}
    if not kinds:
        return found
    waits = backend_away and kinds == {"backend"}
    return replace(found, word="waiting for backend" if waits else "degraded")


def dated(
    problems: Iterable[Problem], before: Iterable[Problem], now: float
) -> tuple[Problem, ...]:
    """Return *problems*, each once, with the moment since when it is there.

    Args:
        problems: those that are there now.
        before: those of a moment ago; what was there already began when they say.
        now: seconds since the epoch.

    """
    began = {(problem.kind, problem.subject): problem.since for problem in before}
    return tuple(
        replace(problem, since=problem.since or began.get((problem.kind, problem.subject), now))
        for problem in _distinct(problems)
    )


def _distinct(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Return each of the *problems* once, the gravest first: several parts meet a full disk."""
    found: dict[tuple[Kind, str], Problem] = {}
    for problem in sorted(problems, key=lambda each: KINDS.index(each.kind)):
        found.setdefault((problem.kind, problem.subject), problem)
    return tuple(found.values())


def state_problem(error: Exception, state_directory: Path) -> Problem:
    """Return the problem that *error*, met in the state directory, means."""
    of_a_disk = isinstance(error, StorageError) and not isinstance(
        error, LedgerAway | LedgerDamaged
    )
    kind: Kind = "state disk" if of_a_disk else "ledger"
    return Problem(kind=kind, subject=printable(state_directory), text=str(error))
