"""The documents at the top of the repository say what is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer

import taggerd
from taggerd.cli.commands import program as make_program
from taggerd.docs import chapters, title

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(taggerd.__file__).parent
REPOSITORY = PACKAGE.parent
CHAPTERS = tuple(f"taggerd/docs/{name}.md" for name in chapters())
DOCUMENTS = (
    *("README.md", *CHAPTERS, "ARCHITECTURE.md"),
    *("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"),
)
GLOSSARY_WORDS = 25
FILES_A_CHANGE = 4
LARGE_CHANGES = ("PostgreSQL", "a burst")
"""Features, each with a design of its own."""
_PARTS = {"taggerd", "tests", "scripts", "config", *(path.stem for path in PACKAGE.iterdir())}
"""What the first part of a path may be; others are paths of the user's."""


def _text(name: str) -> str:
    return (REPOSITORY / name).read_text(encoding="utf-8")


def _rows(text: str, heading: str) -> list[list[str]]:
    """Return the cells of the first table below *heading*, without its head."""
    _, _, rest = text.partition(f"\n{heading}\n")
    assert rest, f"no section {heading}"
    table = re.search(r"(?:^\|.*\n)+", rest, re.MULTILINE)
    assert table
    lines = table.group().splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_a_document_links_to_is_there(name: str) -> None:
    """Links to files of the repository, and to headings in them, lead somewhere.

    Those of a chapter lead to other chapters alone: the program shows it where nothing else is.
    """
    links = [link for link in re.findall(r"\]\(([^)]*)\)", _text(name)) if "://" not in link]
    for link in links:
        path, _, heading = link.partition("#")
        target = (REPOSITORY / name).parent / path if path else REPOSITORY / name
        assert target.exists(), link
        assert name not in CHAPTERS or target.stem in chapters(), link
        if heading:
            lines = target.read_text(encoding="utf-8").splitlines()
            slugs = {re.sub(r"[^\w -]", "", line.lstrip("# ").lower()).replace(" ", "-")
                     for line in lines if line.startswith("#")}  # fmt: skip
            assert heading in slugs, link


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_paths_in_a_document_are_there(name: str) -> None:
    """`metadata/xmp/`, `retry.py`, `scripts/lock`: files or folders, here or in the package."""
    named = re.findall(r"`([\w./-]+/[\w.-]*|\w+\.py)`(?! \(new\))", _text(name))
    ours = [path for path in named if path.split("/")[0].removesuffix(".py") in _PARTS]
    gone = [p for p in ours if not (REPOSITORY / p).exists() and not (PACKAGE / p).exists()]
    assert gone == []


def test_the_architecture_names_every_package_and_module() -> None:
    """Whoever looks for a package or a module of the root finds what it is for."""
    text = _text("ARCHITECTURE.md")
    packages = {f"`{path.name}/`" for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    modules = {f"`{path.name}`" for path in PACKAGE.glob("*.py") if not path.name.startswith("__")}
    assert [name for name in sorted(packages | modules) if name not in text] == []


def test_the_glossary_is_short() -> None:
    """More words than can be learnt in five minutes are a private language."""
    words = [row[0] for row in _rows(_text("ARCHITECTURE.md"), "## Glossary")]
    assert 0 < len(words) <= GLOSSARY_WORDS
    assert len(set(words)) == len(words)


def test_a_change_touches_few_files() -> None:
    """Each of the changes names files that exist, at most four of them."""
    rows = _rows(_text("CONTRIBUTING.md"), "## What a change touches")
    assert len(rows) == 13
    for change, files, *_ in rows:
        named = re.findall(r"`([^`]+)`( \(new\))?", files)
        assert named, change
        for path, new in named:
            assert (REPOSITORY / path).exists() is not bool(new), f"{change}: {path}"
        if not any(large in change for large in LARGE_CHANGES):
            assert len(named) <= FILES_A_CHANGE, change


def test_what_stops_an_attacker_is_shown_by_a_test() -> None:
    """Each row of the threat model names tests that there are."""
    tests = {path.stem for path in (REPOSITORY / "tests").rglob("test_*.py")}
    rows = _rows(_text("SECURITY.md"), "## Who is trusted with what")
    assert len(rows) >= 10
    for row in rows:
        assert len(row) == 5, row[0]
        named = set(re.findall(r"`(test_\w+)`", row[-1]))
        assert named, row[0]
        assert named <= tests, row[0]


FOR_USERS = ("README.md", *CHAPTERS)
OF_OTHERS = {"taggerd/docs/llama-server.md", "taggerd/docs/ollama.md", "taggerd/docs/vllm.md"}
"""Chapters that name switches of other programs."""


def _switches(command: Any) -> Iterator[str]:  # noqa: ANN401 - Typer's, untyped
    """Yield the switches of *command* and of those below it."""
    for parameter in command.params:
        yield from (*parameter.opts, *parameter.secondary_opts)
    for each in getattr(command, "commands", {}).values():
        yield from _switches(each)


@pytest.mark.parametrize("name", FOR_USERS)
def test_commands_switches_and_units_that_a_document_names_exist(name: str) -> None:
    """What a reader types from a sentence works."""
    program, text = typer.main.get_command(make_program()), _text(name)
    named = set(re.findall(r"`taggerd ([a-z][a-z-]*)", text))
    assert named <= set(getattr(program, "commands", {}))
    switches = set(re.findall(r"`(?:taggerd [^`]*)?(--[a-z-]+)", text))
    assert name in OF_OTHERS or switches <= {*_switches(program), "--help"}
    units = set(re.findall(r"`(systemd/[\w/@.-]+\.service)`", text))
    assert {unit for unit in units if not (REPOSITORY / unit).exists()} == set()


@pytest.mark.parametrize("name", FOR_USERS)
def test_the_settings_that_a_document_names_are_settings(name: str) -> None:
    """Every ``section.key`` in a text is in the settings file."""
    known, section = set(), ""
    for line in _text("config/taggerd.toml").splitlines():
        if table := re.fullmatch(r"#?\[([\w.]+)\]", line):
            section = table[1]
            known.add(section)
        elif key := re.match(r"#?(\w+) = ", line):
            known.add(f"{section}.{key[1]}")
    named = set(re.findall(r"`([a-z_]+\.[a-z_.]+)[` ]", _text(name)))
    sections = {each.partition(".")[0] for each in known}
    assert {each for each in named if each.partition(".")[0] in sections} - known == set()


@pytest.mark.parametrize("name", chapters())
def test_a_chapter_has_a_title(name: str) -> None:
    """Its first line is a heading, and its name is that of no command: help tells them apart."""
    assert chapters()[name].startswith(f"# {title(name)}\n\n")
    assert name not in {path.stem for path in (PACKAGE / "cli").glob("*.py")}


def test_the_readme_leads_to_the_other_documents() -> None:
    """A stranger begins there."""
    text = _text("README.md")
    assert [name for name in DOCUMENTS[1:] if f"({name})" not in text] == []
