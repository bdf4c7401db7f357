"""Depiction: what the describer says of what pixels show, in the form that a prompt asks for."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taggerd.inference.pixels import Look

_BRIGHT, _DARK = 0.62, 0.28
_HARD, _SOFT = 0.27, 0.09
_SHARP, _BLURRED = 0.11, 0.03
_MOST_KEYWORDS = 12
_SHAPES = {
    "landscape": "landscape-format",
    "portrait": "portrait-format",
    "square": "square",
    "panorama": "panoramic",
}


def answer(prompt: str, seen: Look) -> str:
    """Answer a prompt about a picture.

    What is asked for is told by the prompt's own words: one colour, keywords, sentences, else a
    caption.
    """
    asked = prompt.casefold()
    if re.search(r"\bcolou?r\b", asked) and "one word" in asked:
        return _one_colour(asked, seen)
    if re.search(r"\b(keywords?|tags)\b", asked):
        return json.dumps({"keywords": keywords(seen, _most(asked))})
    if re.search(r"\bsentences\b|\bparagraph\b", asked):
        return description(seen)
    if "describe" in asked and not re.search(r"\bcaption\b|\bone (line|sentence)\b", asked):
        return description(seen)
    return caption(seen)


def answers(keys: Sequence[str], seen: Look) -> str:
    """Answer under several keys at once: keywords, description, and captions under any other."""
    said = {"keywords": keywords(seen), "description": description(seen)}
    return json.dumps({key: said.get(key) or caption(seen) for key in keys})


def _one_colour(asked: str, seen: Look) -> str:
    """Name the largest colour, of those that the question offers if it offers any."""
    offered = [name for name, _ in seen.colours if re.search(rf"\b{name}\b", asked)]
    return (offered or [seen.colours[0][0]])[0]


def _most(asked: str) -> int:
    """Return how many keywords a prompt allows."""
    match = re.search(r"(\d{1,3})\s+(?:\w+\s+)?(?:keywords|tags)", asked)
    return min(int(match[1]), _MOST_KEYWORDS) if match else _MOST_KEYWORDS


def caption(seen: Look) -> str:
    """Say it in one line."""
    words = [word for word in (_light(seen), _SHAPES[seen.shape]) if word]
    start = f"{_a(' '.join(words))} picture in"
    if seen.monochrome:
        return f"{start} {_tones(seen)}"
    accent = f" with a touch of {seen.accent}" if seen.accent else ""
    return f"{start} {_listed(seen.main)}{accent}{_placing(seen)}"


def _placing(seen: Look) -> str:
    """Say what is above what, or where the light is, if that is clear."""
    if seen.top != seen.bottom:
        return f", {seen.top} above {seen.bottom}"
    return f", brightest {_place(seen.brightest)}" if seen.brightest else ""


def _place(part: str) -> str:
    """Return a part of the frame with its preposition."""
    return {"left": "on the left", "right": "on the right"}.get(part, f"at the {part}").replace(
        "at the middle", "in the middle"
    )


def _tones(seen: Look) -> str:
    """Name the tones of a picture without colour."""
    names = seen.main
    if len(names) > 1:
        return f"{_listed(names)} tones"
    return {"black": "black", "white": "white"}.get(names[0], "grey tones")


def _light(seen: Look) -> str:
    """Name the light: bright, dark, high-contrast, low-contrast; empty if it is none of them."""
    if seen.brightness >= _BRIGHT:
        return "bright"
    if seen.brightness <= _DARK:
        return "dark"
    if seen.contrast >= _HARD:
        return "high-contrast"
    return "low-contrast" if seen.contrast <= _SOFT else ""


def description(seen: Look) -> str:
    """Say it in three sentences."""
    kind = "no colour" if seen.monochrome else f"{seen.warmth} colours" if seen.warmth else ""
    shares = [f"{name} ({share:.0%})" for name, share in seen.colours[:4] if share >= 0.03]  # noqa: PLR2004 - less is not seen
    covered = _listed(tuple(shares))
    first = f"{_a(_SHAPES[seen.shape])} picture{f' with {kind}' if kind else ''}"
    light = "bright" if seen.brightness >= _BRIGHT else "of middle brightness"
    light = "dark" if seen.brightness <= _DARK else light
    contrast = "high" if seen.contrast >= _HARD else "low" if seen.contrast <= _SOFT else "medium"
    where = f"; the lightest part lies {_place(seen.brightest)}" if seen.brightest else ""
    layout = (
        f"The upper part is mostly {seen.top}, the lower mostly {seen.bottom}."
        if seen.top != seen.bottom
        else f"Both the upper and the lower part are mostly {seen.top}."
    )
    return (
        f"{first}; its area is {covered}. {layout} It is {light}, with {contrast} contrast{where}."
    )


def _a(word: str) -> str:
    """Put the article before a word that begins a sentence."""
    return f"{'An' if word[0] in 'aeiou' else 'A'} {word}"


def keywords(seen: Look, most: int = _MOST_KEYWORDS) -> list[str]:
    """Say it in words to search by, the surest first."""
    words = ["monochrome"] if seen.monochrome else []
    words += seen.main
    if light := _light(seen):
        words.append(light.replace("-", " "))
    if seen.warmth:
        words.append(f"{seen.warmth} colours")
    words.append(f"{seen.shape} format")
    if seen.sharpness >= _SHARP:
        words.append("fine detail")
    elif seen.sharpness <= _BLURRED:
        words.append("smooth surfaces")
    return list(dict.fromkeys(words))[:most]


def _listed(names: tuple[str, ...]) -> str:
    """Join names as in a sentence."""
    if len(names) < 2:  # noqa: PLR2004 - nothing to join
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"
