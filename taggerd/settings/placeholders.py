"""Templates with placeholders in braces: ``{caption}``.

``{{`` and ``}}`` stand for braces, as in Python's own templates; nothing else of theirs is known:
no indices, no attributes, no formats.
"""

from __future__ import annotations

from difflib import get_close_matches
from string import Formatter
from typing import TYPE_CHECKING

from taggerd.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping


def fill(template: str, words: Mapping[str, str]) -> str:
    """Return *template* with *words* for its placeholders; one without a word becomes empty.

    Braces in the words stay braces.
    """
    return "".join(
        text + (words.get(name, "") if name is not None else "") for text, name in _parts(template)
    )


def names(template: str) -> tuple[str, ...]:
    """Return the names of the placeholders in *template*, each once.

    Raises:
        ValueError: unbalanced braces.
    """
    return tuple(dict.fromkeys(name for _, name in _parts(template) if name is not None))


def check(template: str, known: Collection[str], where: str) -> None:
    """Refuse a *template* with unknown placeholders.

    Args:
        template: the text.
        known: the placeholders that it may contain.
        where: what the message begins with, for people.

    Raises:
        ConfigurationError: one line.
    """
    try:
        unknown = next((name for name in names(template) if name not in known), None)
    except ValueError:
        message = f"{where}: unbalanced braces; write {{{{ and }}}} for literal braces"
        raise ConfigurationError(message) from None
    if unknown is None:
        return
    near = get_close_matches(unknown, known, n=1)
    hint = f"did you mean {{{near[0]}}}? " if near else ""
    offered = ", ".join(f"{{{name}}}" for name in known)
    message = f"{where}: unknown placeholder {{{unknown}}}; {hint}known: {offered}"
    raise ConfigurationError(message)


def _parts(template: str) -> Iterator[tuple[str, str | None]]:
    """Yield the parts of *template*: a text, and the placeholder after it, if there is one."""
    for text, name, form, conversion in Formatter().parse(template):
        if name is None:
            yield text, None
            continue
        more = (f"!{conversion}" if conversion else "") + (f":{form}" if form else "")
        yield text, name + more
