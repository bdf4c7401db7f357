"""The one jinja2 environment of the project."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from taggerd.pages.static import static_file
from taggerd.pages.text import day_title, markdown, moment, number
from taggerd.photo import escape_controls


@cache
def environment() -> Environment:
    """Return the environment; the same one for every page.

    What belongs to one request (``csrf_input``) comes with the values of :func:`render`.
    """
    made = Environment(
        loader=PackageLoader("taggerd.pages", "templates"),
        autoescape=True,
        finalize=_without_controls,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= {"static": static_address, "inlined": inlined}
    made.filters |= {"day": day_title, "markdown": markdown, "moment": moment, "number": number}
    return made


def render(template: str, /, **values: object) -> str:
    """Return the page that ``templates/<template>`` makes of *values*."""
    return environment().get_template(template).render(**values)


def static_address(name: str) -> str:
    """Return the address of a static file, which changes with its content.

    Raises:
        LookupError: there is no such file.
    """
    file = static_file(name)
    if file is None:
        message = f"no static file {name}"
        raise LookupError(message)
    return f"/static/{name}?v={file.version}"


def inlined(name: str) -> Markup:
    """Return the content of a static file, to stand in a ``<style>`` or ``<script>`` as it is.

    Raises:
        LookupError: there is no such file.
    """
    file = static_file(name)
    if file is None:
        message = f"no static file {name}"
        raise LookupError(message)
    return Markup(file.content.decode())  # noqa: S704 - a file of ours


def _without_controls(value: object) -> object:
    """Return what a template shows of *value*; what is HTML already is our own."""
    return escape_controls(value) if type(value) is str else value
