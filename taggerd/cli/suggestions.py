"""``taggerd suggestions``: what people's corrections suggest to set."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from taggerd.cli import interrupts, options
from taggerd.errors import ConfigurationError
from taggerd.photo import brief, printable
from taggerd.review.suggestions import dismiss as dismissed
from taggerd.review.suggestions import suggestions as suggested
from taggerd.review.suggestions import take as taken

if TYPE_CHECKING:
    from taggerd.review.suggestions import Suggestion

_SHOWN = 3
"""Photos that are named as evidence; the others are counted."""


@options.configured(options.STATE)
def suggestions(
    load: options.Load,
    *,
    take: Annotated[
        list[str] | None,
        typer.Option(help="Set what the suggestion KEY offers; may be repeated.", metavar="KEY"),
    ] = None,
    take_all: Annotated[bool, typer.Option("--take-all", help="Set all that is offered.")] = False,
    dismiss: Annotated[
        list[str] | None,
        typer.Option(help="Never offer KEY again; may be repeated.", metavar="KEY"),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Show what your corrections suggest: keywords to stop, synonyms, captions as examples.

    They come from the review (taggerd web): a keyword that was dropped from three photos, a keyword
    that was renamed, a caption that was edited. Nothing is changed unless you take it, and nothing
    leaves this machine by it; captions in prompts.examples are sent to the backend.
    """
    loaded = load(log_level="error")
    offered = suggested(loaded)
    chosen = _named(offered, take or []) if not take_all else offered
    for each in _named(offered, dismiss or []):
        interrupts.run(dismissed(each, loaded))
        typer.echo(f"{each.key} is not offered again")
    for each in chosen:
        typer.echo(f"{each.key} {taken(each, load(log_level='error'))}")
    if chosen:
        typer.echo("a running daemon reads it when it is reloaded: systemctl reload taggerd")
    if chosen or dismiss:
        return
    if as_json:
        typer.echo(json.dumps([_as_json(each) for each in offered], indent=2, ensure_ascii=False))
        return
    for each in offered:
        _show(each)
    typer.echo(
        "to take one: taggerd suggestions --take KEY"
        if offered
        else "nothing to suggest: no keyword was dropped from three photos or renamed, and no "
        "caption was edited"
    )


def _named(offered: list[Suggestion], keys: list[str]) -> list[Suggestion]:
    """Return the suggestions that *keys* name.

    Raises:
        ConfigurationError: one is not offered.

    """
    by_key = {each.key: each for each in offered}
    for key in keys:
        if key not in by_key:
            message = f"{printable(key)}: no such suggestion; taggerd suggestions shows them"
            raise ConfigurationError(message)
    return [by_key[key] for key in keys]


def _show(suggestion: Suggestion) -> None:
    """Print one suggestion, and what speaks for it."""
    text, before = brief(suggestion.text), brief(suggestion.instead_of)
    count = f"{len(suggestion.photos)} photo{'' if len(suggestion.photos) == 1 else 's'}"
    said = {
        "stop": f"never write the keyword {text!r}: it was dropped from {count}",
        "vocabulary": f"write {text!r} for {before!r}: it was renamed in {count}",
        "example": f"show as an example of a caption: {text!r}, instead of {before!r}",
    }[suggestion.kind]
    typer.echo(f"{suggestion.key}  {said}")
    for path in suggestion.photos[:_SHOWN]:
        typer.echo(f"          {printable(path)}")
    if rest := len(suggestion.photos[_SHOWN:]):
        typer.echo(f"          and {rest} more")


def _as_json(suggestion: Suggestion) -> dict[str, object]:
    return {
        "key": suggestion.key,
        "kind": suggestion.kind,
        "setting": suggestion.setting,
        "text": suggestion.text,
        "instead_of": suggestion.instead_of,
        "photos": [printable(path) for path in suggestion.photos],
    }
