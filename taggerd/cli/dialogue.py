"""Questions to a person at a terminal of 80 columns, each with an answer for Enter."""

from __future__ import annotations

import select
import sys
import textwrap
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.prompt import Confirm, Prompt

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.text import TextType

_INDENT = "   "
_DEAF_SECONDS = 0.2
"""Until a Ctrl-C is heard that comes in the instant before an answer is waited for."""


class Dialogue:
    """Asks, or takes each answer for Enter without asking."""

    def __init__(self, *, asks: bool) -> None:
        """Begin; *asks*: there is somebody to answer."""
        self.asks = asks
        self._console = _Console(highlight=False, emoji=False)
        self._width = min(self._console.width, 80)

    def head(self, text: str) -> None:
        """Print the question that some lines are about."""
        self._console.print()
        self._console.print(escape(text), style="bold", soft_wrap=True)

    def say(self, text: str = "", *, indent: str = _INDENT, style: str = "") -> None:
        """Print *text*, wrapped; a line that begins with a space is a command, and stays one."""
        lines = [indent + text]
        if not text.startswith(" ") and len(lines[0]) > self._width:
            hanging = "  " if text.startswith("- ") else ""
            lines = textwrap.wrap(
                text,
                self._width,
                initial_indent=indent,
                subsequent_indent=indent + hanging,
                break_long_words=False,
                break_on_hyphens=False,
            )
        for line in lines:
            self._console.print(escape(line.rstrip()), style=style, soft_wrap=True)

    def rows(self, rows: Sequence[tuple[str, ...]]) -> None:
        """Print *rows* in columns, with numbers to choose by."""
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for number, row in enumerate(rows, 1):
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
            self.say(f" {number:>2}  {'  '.join(cells)}".rstrip(), indent="  ")

    def number(self, question: str, most: int, default: int) -> int:
        """Return a number from 1 to *most*."""
        while True:
            said = self.text(question, str(default))
            if said.isdecimal() and 1 <= int(said) <= most:
                return int(said)
            self.say(f"Please type a number from 1 to {most}.")

    def text(self, question: str, default: str, *, hidden: bool = False) -> str:
        """Return what is typed, or *default*."""
        if not self.asks:
            return default
        shown = f"{_INDENT}{question}" + (f" [{default}]" if default else "")
        answer = Prompt.ask(
            escape(shown), console=self._console, default="", show_default=False, password=hidden
        )
        return answer.strip() or default

    def yes(self, question: str, *, default: bool = True) -> bool:
        """Return whether the answer is yes."""
        if not self.asks:
            return default
        shown = f"{_INDENT}{question} [{'Y/n' if default else 'y/N'}]"
        return _Confirm.ask(
            escape(shown),
            console=self._console,
            default=default,
            show_default=False,
            show_choices=False,
        )

    @contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """Show that something takes a while."""
        if not self._console.is_terminal:
            yield
            return
        with self._console.status(escape(text), spinner="line"):
            yield

    def stopped(self, text: str) -> None:
        """Say that it was stopped, below the ``^C`` of the terminal."""
        sys.stdout.write(f"\n\n{text}\n")


class _Console(Console):
    """Hears Ctrl-C at each question, whenever it comes.

    Python hears a signal between two of its steps. One that comes after the last step before
    ``input()`` waits is not heard until a line is typed.
    """

    def input(self, prompt: TextType = "", *, password: bool = False, **options: Any) -> str:  # noqa: ANN401 - rich's
        """See rich. What is hidden is not waited for here: it would be shown meanwhile."""
        self.print(prompt, end="")
        while not password and not select.select([sys.stdin], [], [], _DEAF_SECONDS)[0]:
            pass
        return super().input(password=password, **options)


class _Confirm(Confirm):
    """Takes whole words too."""

    validate_error_message = f"{_INDENT}Please answer y or n"

    def process_response(self, value: str) -> bool:
        return super().process_response(value.strip().lower()[:1])
