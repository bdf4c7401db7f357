"""Sameness: notices a model that says the very same of every picture.

A burst of one scene is described alike for good reason, so the words alone prove nothing: whoever
keeps a :class:`Sameness` asks about a picture of another kind before the model is blamed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from taggerd.photo import Answer

PICTURES = 5
"""So many different pictures in a row, all described in the very same words, are suspicious."""


class _Run(NamedTuple):
    """What a model said last in one role, and of which pictures in a row."""

    text: str
    digests: frozenset[str]


class Sameness:
    """Keeps what each model said last in each role."""

    def __init__(self) -> None:
        """Begin with nothing heard."""
        self._runs: dict[tuple[str, str], _Run] = {}
        self._fair: set[tuple[str, str, str]] = set()

    def suspects(self, digest: str, answer: Answer) -> bool:
        """Hear *answer* about the picture *digest*; say whether its text came too often by now."""
        key = (answer.role, answer.model)
        if not answer.text or (*key, answer.text) in self._fair:
            return False
        held = self._runs.get(key)
        before = held.digests if held and held.text == answer.text else frozenset()
        self._runs[key] = _Run(answer.text, before | {digest})
        return len(self._runs[key].digests) >= PICTURES

    def acquit(self, answer: Answer) -> None:
        """Take the text of *answer* for a fair one from now on."""
        self._fair.add((answer.role, answer.model, answer.text))

    def forget(self) -> None:
        """Begin anew, as after the model was mended."""
        self._runs.clear()
