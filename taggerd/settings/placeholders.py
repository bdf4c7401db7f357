"""Filling: texts with places in braces, ``{caption}``, that other words are put into.

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


def filled(template: str, words: Mapping[str, str]) -> str:
    """Return *template* with *words* in its places; a place without a word stays empty.

    What is put in is never looked at again: braces in it are braces.
    """
    return "".join(
        text + (words.get(name, "") if name is not None else "") for text, name in _parts(template)
    )


def places(template: str) -> tuple[str, ...]:
    """Return the names of the places in *template*, each once.

    Raises:
        ValueError: braces that do not match.
    """
    return tuple(dict.fromkeys(name for _, name in _parts(template) if name is not None))


def check(template: str, known: Collection[str], where: str) -> None:
    """Refuse a *template* with places that cannot be filled.

    Args:
        template: the text.
        known: the names that it may hold.
        where: what the message begins with, for people.

    Raises:
        ConfigurationError: one line.
    """
    try:
        unknown = next((name for name in places(template) if name not in known), None)
    except ValueError:
        message = f"{where}: its braces do not match; write {{{{ and }}}} for braces of the text"
        raise ConfigurationError(message) from None
    if unknown is None:
        return
    near = get_close_matches(unknown, known, n=1)
    hint = f"did you mean {{{near[0]}}}? " if near else ""
    offered = ", ".join(f"{{{name}}}" for name in known)
    message = f"{where}: nothing is known as {{{unknown}}}; {hint}known: {offered}"
    raise ConfigurationError(message)


def _parts(template: str) -> Iterator[tuple[str, str | None]]:
    """Take *template* apart: a text, and the name of the place after it, if there is one."""
    for text, name, form, conversion in Formatter().parse(template):
        if name is None:
            yield text, None
            continue
        more = (f"!{conversion}" if conversion else "") + (f":{form}" if form else "")
        yield text, name + more
