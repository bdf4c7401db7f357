"""Pages: the templates, the static files and what turns photos and Markdown into HTML.

::

    templates/   one file per page; `base.html` is the frame of the web's pages
    static/      style sheets and scripts; nothing is loaded from anywhere else

Everything that reaches a template is text: autoescape is on, controls and bidi marks are shown as
escapes, and an unknown name is an error rather than an empty string.
"""

from taggerd.pages.days import DayRow, index_of_days
from taggerd.pages.environment import environment, render
from taggerd.pages.export import Export, export
from taggerd.pages.plots import Bar, columns, frequencies
from taggerd.pages.shown import Shown, Word, of_entry, of_record, with_words
from taggerd.pages.static import StaticFile, static_file
from taggerd.pages.text import markdown

__all__ = [
    "Bar",
    "DayRow",
    "Export",
    "Shown",
    "StaticFile",
    "Word",
    "columns",
    "environment",
    "export",
    "frequencies",
    "index_of_days",
    "markdown",
    "of_entry",
    "of_record",
    "render",
    "static_file",
    "with_words",
]
