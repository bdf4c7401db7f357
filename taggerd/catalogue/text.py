"""What is searched for, and in what: texts as FTS5 cuts them into words."""

from __future__ import annotations

import re

_UNSPACED = re.compile(
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\uff66-\uff9d\U00020000-\U0003ffff])"
)
"""Characters of scripts that put no spaces between words: Thai, Lao, Burmese, Khmer, Japanese,
Chinese."""
_PART = re.compile(r'"([^"]*)"?|([^"\s]+)')
_MOST_PARTS = 16
"""More make a search slow, and find nothing."""
_MOST_CHARACTERS = 500


def searchable(text: str) -> str:
    """Return *text* as it is indexed: each character of an unspaced script is a word of its own."""
    return _UNSPACED.sub(r" \1 ", text.replace("\0", " ")).encode("utf-8", "replace").decode()


def match_expression(text: str) -> str:
    """Return what FTS5 is asked for *text*; empty: there is no word in it.

    All words must be there, each as the beginning of one; what is in quotes, exactly. Whatever else
    FTS5 gives a meaning to is only text here, because all of it is quoted:
    https://sqlite.org/fts5.html#fts5_strings
    """
    parts = []
    for found in _PART.finditer(text[:_MOST_CHARACTERS]):
        exact, word = found.groups()
        said = searchable(word if exact is None else exact).strip()
        if any(character.isalnum() for character in said):
            parts.append(f'"{said}"' if exact is not None else f'"{said}"*')
    return " ".join(parts[:_MOST_PARTS])
