"""Names of import folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from taggerd.errors import ConfigurationError
from taggerd.settings.configuration import load


def loaded(tmp_path: Path, roots: str, *given: Path) -> dict[str, Path]:
    """Return the named folders of a file with these *roots*, where the switches say *given*."""
    file = tmp_path / "t.toml"
    file.write_text(f"[arrivals]\nroots = [{roots}]\n")
    return load(
        {"arrivals": {"roots": [*given]}} if given else {}, config=file
    ).settings.arrivals.named


def test_a_folder_may_have_a_name(tmp_path: Path) -> None:
    """Only tables with a name count; one may lie in another."""
    roots = '"/a", {name = "archive", path = "/mnt/n/"}, {name = "2025_x-y", path = "/mnt/n/25"}'
    assert loaded(tmp_path, roots) == {"archive": Path("/mnt/n"), "2025_x-y": Path("/mnt/n/25")}


@pytest.mark.parametrize(
    ("roots", "complaint"),
    [
        ('{name = "a b", path = "/a"}', "letters, digits, - and _ alone, not 'a b'"),
        ('{name = "-a", path = "/a"}', "letters, digits, - and _ alone, not '-a'"),
        ('{name = "a:/b", path = "/a"}', "letters, digits, - and _ alone"),
        ('{name = "@a", path = "/a"}', "letters, digits, - and _ alone"),
        ('{name = "ä", path = "/a"}', "letters, digits, - and _ alone"),
        (f'{{name = "{"a" * 64}", path = "/a"}}', "1 to 63 letters"),
        (
            '{name = "a", path = "/a"}, {name = "A", path = "/b"}',
            "two import folders have the name 'A', '/a' and '/b'",
        ),
        ('{name = "a", path = "/a"}, "/a/"', "'/a' is listed twice"),
        ('{name = "a", path = "/a"}, {name = "b", path = "/x/../a"}', "'/a' is listed twice"),
    ],
)
def test_a_name_that_cannot_be_one_is_named(tmp_path: Path, roots: str, complaint: str) -> None:
    """A name has plain characters and is one folder's alone; a folder has one name."""
    with pytest.raises(ConfigurationError, match=r"t\.toml: arrivals\.roots") as caught:
        loaded(tmp_path, roots)
    assert complaint in str(caught.value)


def test_a_path_on_the_command_line_is_the_folder_of_that_name(tmp_path: Path) -> None:
    """``--input-dir`` and the environment name a path, and mean the folder that has it."""
    roots = f'{{name = "a", path = "{os.fspath(tmp_path)}/n"}}, {{name = "b", path = "/b"}}'
    assert loaded(tmp_path, roots, tmp_path / "n") == {"a": tmp_path / "n"}
    assert loaded(tmp_path, roots, tmp_path / "x" / ".." / "n") == {"a": tmp_path / "n"}
    assert loaded(tmp_path, roots, tmp_path / "other") == {}
    assert loaded(tmp_path, roots, tmp_path / "n" / "below") == {}
