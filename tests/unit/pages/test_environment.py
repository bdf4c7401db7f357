"""Templates, static files and Markdown: what reaches a page is text."""

from __future__ import annotations

import pytest
from jinja2 import UndefinedError

from taggerd.pages import environment, markdown, static_file
from taggerd.pages.environment import static_address


def test_what_a_template_gets_is_text() -> None:
    """Markup is escaped and bidi controls are shown, without a filter in the template."""
    page = environment().from_string("<p>{{ caption }}</p>")
    shown = page.render(caption="<script>alert(1)</script>\u202egpj")
    assert shown == "<p>&lt;script&gt;alert(1)&lt;/script&gt;\\u202egpj</p>"


def test_a_name_that_is_missing_is_an_error() -> None:
    """A misspelt name does not become an empty page."""
    with pytest.raises(UndefinedError):
        environment().from_string("{{ captoin }}").render(caption="x")


@pytest.mark.parametrize("name", ["../templates/base.html", "/etc/passwd", "", "no.css"])
def test_static_files_are_looked_up_in_a_table(name: str) -> None:
    """No name becomes a path."""
    assert static_file(name) is None
    with pytest.raises(LookupError):
        static_address(name)


def test_markdown_has_no_html() -> None:
    """HTML inside it is shown; an address that runs something is no link."""
    html = markdown("<script>x</script> **bold** [a](javascript:alert(1)) <img src=x onerror=y>")
    assert "<strong>bold</strong>" in html
    assert "<script" not in html
    assert "<img" not in html
    assert "href" not in html


def test_markdown_has_tables_and_anchors() -> None:
    """Headings can be linked to as on GitHub, and links can be led elsewhere."""
    html = markdown(
        "## Who writes `what`?\n\n[hooks](hooks.md#one)\n\n| a |\n|---|\n| b |\n",
        link=lambda href: f"/help/{href.replace('.md', '')}",
    )
    assert '<h2 id="who-writes-what">' in html
    assert 'href="/help/hooks#one"' in html
    assert "<td>b</td>" in html
