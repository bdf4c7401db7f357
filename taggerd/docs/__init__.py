"""The chapters of the documentation, in Markdown: for ``taggerd help``, the browser and GitHub."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent


def topics() -> list[str]:
    """Return the names of the chapters, in alphabetical order; none is read."""
    return sorted(path.stem for path in _FOLDER.glob("*.md"))


@cache
def chapters() -> dict[str, str]:
    """Return each chapter's text by its name, in alphabetical order.

    A chapter is a file ``NAME.md`` of this folder; its first line is its title, ``# Title``.
    """
    return {name: (_FOLDER / f"{name}.md").read_text("utf-8") for name in topics()}


def title(name: str) -> str:
    """Return the title of the chapter *name*.

    Raises:
        KeyError: there is no such chapter.
    """
    return chapters()[name].partition("\n")[0].lstrip("# ")
