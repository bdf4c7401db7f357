"""What the describer says about a picture, in the form that a prompt asks for."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from taggerd.inference.languages import american

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taggerd.inference.describer.pixels import PixelSummary

_BRIGHT, _DARK = 0.62, 0.28
_HARD, _SOFT = 0.27, 0.09
_SHARP, _BLURRED = 0.11, 0.03
_MOST_KEYWORDS = 12
_AMERICAN = re.compile(r"\bEnglish \([^()]*United States")
"""How a prompt names the language ``en-US``."""
_SHAPES = {
    "landscape": "landscape-format",
    "portrait": "portrait-format",
    "square": "square",
    "panorama": "panoramic",
}


def answer(prompt: str, summary: PixelSummary) -> str:
    """Answer a prompt about a picture, in the English that it asks for.

    The words of the prompt tell what it asks for: one colour, keywords, sentences, else a caption.
    """
    said = _answer(prompt.casefold(), summary)
    return american(said) if _AMERICAN.search(prompt) else said


def _answer(asked: str, summary: PixelSummary) -> str:
    if re.search(r"\bcolou?r\b", asked) and "one word" in asked:
        return _one_colour(asked, summary)
    if re.search(r"\b(keywords?|tags)\b", asked):
        return json.dumps({"keywords": keywords(summary, _most(asked))})
    if re.search(r"\bsentences\b|\bparagraph\b", asked):
        return description(summary)
    if "describe" in asked and not re.search(r"\bcaption\b|\bone (line|sentence)\b", asked):
        return description(summary)
    return caption(summary)


def answers(prompt: str, keys: Sequence[str], summary: PixelSummary) -> str:
    """Answer under several keys at once: keywords, description, and captions under any other."""
    spelt = american if _AMERICAN.search(prompt) else str
    words = [spelt(word) for word in keywords(summary)]
    said = {"keywords": words, "description": spelt(description(summary))}
    return json.dumps({key: said.get(key) or spelt(caption(summary)) for key in keys})


def _one_colour(asked: str, summary: PixelSummary) -> str:
    """Name the largest colour, of those that the question offers if it offers any."""
    asked = asked.replace("gray", "grey")
    offered = [name for name, _ in summary.colours if re.search(rf"\b{name}\b", asked)]
    return (offered or [summary.colours[0][0]])[0]


def _most(asked: str) -> int:
    """Return how many keywords a prompt allows."""
    match = re.search(r"(\d{1,3})\s+(?:\w+\s+)?(?:keywords|tags)", asked)
    return min(int(match[1]), _MOST_KEYWORDS) if match else _MOST_KEYWORDS


def caption(summary: PixelSummary) -> str:
    """Describe the picture in one line."""
    words = [word for word in (_light(summary), _SHAPES[summary.shape]) if word]
    start = f"{_a(' '.join(words))} picture in"
    if summary.monochrome:
        return f"{start} {_tones(summary)}"
    accent = f" with a touch of {summary.accent}" if summary.accent else ""
    return f"{start} {_listed(summary.main)}{accent}{_layout(summary)}"


def _layout(summary: PixelSummary) -> str:
    """Name the colours above and below, or where the light is, if that is clear."""
    if summary.top != summary.bottom:
        return f", {summary.top} above {summary.bottom}"
    return f", brightest {_at(summary.brightest)}" if summary.brightest else ""


def _at(part: str) -> str:
    """Return a part of the frame with its preposition."""
    return {"left": "on the left", "right": "on the right"}.get(part, f"at the {part}").replace(
        "at the middle", "in the middle"
    )


def _tones(summary: PixelSummary) -> str:
    """Name the tones of a picture without colour."""
    names = summary.main
    if len(names) > 1:
        return f"{_listed(names)} tones"
    return {"black": "black", "white": "white"}.get(names[0], "grey tones")


def _light(summary: PixelSummary) -> str:
    """Name the light: bright, dark, high-contrast, low-contrast; empty if none of them."""
    if summary.brightness >= _BRIGHT:
        return "bright"
    if summary.brightness <= _DARK:
        return "dark"
    if summary.contrast >= _HARD:
        return "high-contrast"
    return "low-contrast" if summary.contrast <= _SOFT else ""


def description(summary: PixelSummary) -> str:
    """Describe the picture in three sentences."""
    kind = f"{summary.warmth} colours" if summary.warmth else ""
    kind = "no colour" if summary.monochrome else kind
    shares = [f"{name} ({share:.0%})" for name, share in summary.colours[:4] if share >= 0.03]  # noqa: PLR2004 - less is not seen
    covered = _listed(tuple(shares))
    first = f"{_a(_SHAPES[summary.shape])} picture{f' with {kind}' if kind else ''}"
    light = "bright" if summary.brightness >= _BRIGHT else "of medium brightness"
    light = "dark" if summary.brightness <= _DARK else light
    contrast = "high" if summary.contrast >= _HARD else "medium"
    contrast = "low" if summary.contrast <= _SOFT else contrast
    where = f"; the lightest part lies {_at(summary.brightest)}" if summary.brightest else ""
    layout = (
        f"The upper part is mostly {summary.top}, the lower mostly {summary.bottom}."
        if summary.top != summary.bottom
        else f"Both the upper and the lower part are mostly {summary.top}."
    )
    return (
        f"{first}; its area is {covered}. {layout} It is {light}, with {contrast} contrast{where}."
    )


def _a(word: str) -> str:
    """Put the article before a word that begins a sentence."""
    return f"{'An' if word[0] in 'aeiou' else 'A'} {word}"


def keywords(summary: PixelSummary, most: int = _MOST_KEYWORDS) -> list[str]:
    """Return words to search by, the most certain first."""
    words = ["monochrome"] if summary.monochrome else []
    words += summary.main
    if light := _light(summary):
        words.append(light.replace("-", " "))
    if summary.warmth:
        words.append(f"{summary.warmth} colours")
    words.append(f"{summary.shape} format")
    if summary.sharpness >= _SHARP:
        words.append("fine detail")
    elif summary.sharpness <= _BLURRED:
        words.append("smooth surfaces")
    return list(dict.fromkeys(words))[:most]


def _listed(names: tuple[str, ...]) -> str:
    """Join names as in a sentence."""
    if len(names) < 2:  # noqa: PLR2004 - nothing to join
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"
