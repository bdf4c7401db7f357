"""``taggerd help``: a chapter of the documentation, for people in a terminal."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.markdown import Markdown

from taggerd.docs import chapters
from taggerd.errors import ConfigurationError

WIDTH = 100
"""Columns; longer lines are hard to read."""


def show_topic(
    topic: Annotated[
        str, typer.Argument(help="A chapter or a command.", metavar="TOPIC", show_default=False)
    ],
) -> None:
    """Show a chapter of the documentation.

    "taggerd help COMMAND" is the same as "taggerd COMMAND --help".
    """
    text = chapters().get(topic.lower())
    if text is None:
        message = f"no chapter and no command {topic!r}; the chapters are {', '.join(chapters())}"
        raise ConfigurationError(message)
    if not sys.stdout.isatty():
        typer.echo(text, nl=False)
        return
    console = Console(emoji=False)
    console = Console(emoji=False, width=min(console.width, WIDTH))
    # As git does: less alone shows colours as ESC[1m, and stays open over a page that fits.
    os.environ.setdefault("LESS", "FRX")
    os.environ.setdefault("LESSCHARSET", "utf-8")
    with console.pager(styles=True, links=False):
        console.print(Markdown(text, hyperlinks=False))
