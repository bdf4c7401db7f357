"""Settings files are changed in what was named, and in nothing else."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

from taggerd.errors import ConfigurationError
from taggerd.settings import display
from taggerd.settings.configuration import load
from taggerd.settings.editing import Line, change, create, plan

MINE = """\
# My settings, 2026.
[backend]   # the machine below the stairs
# It was slower before:
model = "llava"        # works
#model = "qwen2.5-vl"  # try this
timeout_seconds = 60   # seconds

[keywords]
stop = [
    "photo",  # of course it is
    "image",
]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return the name of a settings file that does not exist."""
    return tmp_path / "config" / "taggerd.toml"


def written(file: Path, text: str) -> Path:
    """Write a settings file."""
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(text.encode())
    file.chmod(0o600)
    return file


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", '[arrivals]\nroots = ["/in"]\n'),
        ("# mine\n", '# mine\n\n[arrivals]\nroots = ["/in"]\n'),
        (
            "[arrivals]  # here\nrecursive = false\n",
            '[arrivals]  # here\nroots = ["/in"]\nrecursive = false\n',
        ),
        ("[arrivals]\n#roots = []\n\n[image]\n", '[arrivals]\nroots = ["/in"]\n\n[image]\n'),
        ("[arrivals]\n#roots = [1]\n", '[arrivals]\nroots = ["/in"]\n#roots = [1]\n'),
        ("[image]\n#roots = []\n", '[image]\n#roots = []\n\n[arrivals]\nroots = ["/in"]\n'),
        ('[arrivals]\nroots = ["/a"]  # a\n', '[arrivals]\nroots = ["/in"]  # a\n'),
        ("arrivals = {recursive = false}\n", 'arrivals = {recursive = false,roots = ["/in"]}\n'),
        ("arrivals.recursive = false\n", 'arrivals.recursive = false\narrivals.roots = ["/in"]\n'),
        (
            '[prompts]\nprofile = """\n[arrivals]\n"""\n',
            '[prompts]\nprofile = """\n[arrivals]\n"""\n\n[arrivals]\nroots = ["/in"]\n',
        ),
        ("[arrivals]\r\n#roots = []\r\n", '[arrivals]\r\nroots = ["/in"]\r\n'),
        (
            "[image]\r\nquality = 80",
            '[image]\r\nquality = 80\r\n\r\n[arrivals]\r\nroots = ["/in"]\r\n',
        ),
    ],
)
def test_a_setting_goes_where_its_owner_would_write_it(
    file: Path, text: str, expected: str
) -> None:
    """Behind what explains it, else first in its table, else at the end; the rest stays."""
    written(file, text)
    assert change(file, {"arrivals.roots": [Path("/in")]}).lines[0].key == "arrivals.roots"
    assert file.read_bytes().decode() == expected


def test_comments_order_and_other_settings_stay(file: Path) -> None:
    """One value changes; each comment, also the one behind it, is where it was."""
    written(file, MINE)
    change(file, {"backend.model": "moondream", "keywords.max": 9})
    expected = MINE.replace('"llava"  ', '"moondream"  ').replace(
        "[keywords]\n", "[keywords]\nmax = 9\n"
    )
    assert file.read_text() == expected


def test_a_new_file_explains_every_setting(file: Path) -> None:
    """It is the file of `config init` with the values in the lines of their defaults."""
    values = {
        "state_directory": "/var/tmp/taggerd",  # noqa: S108 - never made
        "backend.model": 'a "quoted" one',
        "sidecar.naming": "stem",
        "metadata.fields.keywords": ["dc:subject"],
        "arrivals.roots": [Path("/photos/ünter wegs")],
    }
    made = change(file, values)
    assert made.before is None
    old, new = display.template().splitlines(), file.read_text().splitlines()
    assert len(old) == len(new)
    assert sum(a != b for a, b in zip(old, new, strict=True)) == len(values)
    settings = load(config=file).settings
    assert settings.backend.model == 'a "quoted" one'
    assert settings.arrivals.roots[0].path == Path("/photos/ünter wegs")
    assert file.stat().st_mode & 0o777 == 0o600


def test_every_setting_can_be_set_in_a_new_file(file: Path) -> None:
    """No default is written in a form that its own value does not replace."""
    rows = [row for row in display.rows(load()) if row.value not in (None, "", [])]
    values = {row.key: row.value for row in rows if row.key != "state_directory"}
    change(file, values)
    said = tomllib.loads(file.read_text())
    assert {key: said[key.split(".")[0]] is not None for key in values}
    assert file.read_text().count("\n") == display.template().count("\n")


def test_what_changes_can_be_shown_first(file: Path) -> None:
    """A plan names old and new and writes nothing; what is the same is not named."""
    written(file, MINE)
    planned = plan(
        file,
        {"backend.model": "moondream", "backend.timeout_seconds": 60, "backend.api_key": "sk-1"},
    )
    assert planned.lines == (
        Line("backend.model", '"llava"', '"moondream"'),
        Line("backend.api_key", "", display.HIDDEN),
    )
    assert file.read_text() == MINE
    planned.write()
    assert 'api_key = "sk-1"' in file.read_text()


def test_a_file_that_says_it_already_is_not_touched(file: Path) -> None:
    """To answer the same again writes nothing."""
    written(file, MINE)
    before = file.stat()
    assert change(file, {"backend.model": "llava"}).lines == ()
    assert file.stat() == before


def test_what_changed_meanwhile_is_left_alone(file: Path) -> None:
    """Between look and write its owner saved something else: theirs stays."""
    written(file, MINE)
    planned = plan(file, {"backend.model": "moondream"})
    file.write_text("# theirs\n")
    with pytest.raises(ConfigurationError, match="changed meanwhile"):
        planned.write()
    assert file.read_text() == "# theirs\n"
    file.unlink()
    with pytest.raises(ConfigurationError, match="changed meanwhile"):
        planned.write()
    assert list(file.parent.iterdir()) == []


def test_a_file_that_appeared_meanwhile_is_left_alone(file: Path) -> None:
    """A new file never replaces one."""
    planned = plan(file, {"backend.model": "moondream"})
    written(file, MINE)
    with pytest.raises(ConfigurationError, match="already exists"):
        planned.write()
    with pytest.raises(ConfigurationError, match="already exists"):
        create(file, "")
    assert [each.name for each in file.parent.iterdir()] == [file.name]
    assert file.read_text() == MINE


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"backend.modle": "x"}, "no such setting"),
        ({"image.quality": 1000}, "image.quality"),
        ({"backend": 1}, "backend"),
        ({"backend.model.name": "x"}, "backend"),
        ({"backend.model": "\udcff"}, "cannot be kept in TOML"),
    ],
)
def test_settings_that_would_not_load_are_never_written(
    file: Path, values: dict[str, object], complaint: str
) -> None:
    """The result is loaded before it takes the file's name."""
    written(file, MINE)
    with pytest.raises(ConfigurationError, match=complaint):
        change(file, values)
    assert [each.name for each in file.parent.iterdir()] == [file.name]
    assert file.read_text() == MINE


@pytest.mark.parametrize("text", ["model = ", "[backend]\nmodle = 1\n"])
def test_a_file_with_a_mistake_is_left_to_its_owner(file: Path, text: str) -> None:
    """It is said where the mistake is."""
    written(file, text)
    with pytest.raises(ConfigurationError, match=str(file)):
        change(file, {"keywords.max": 9})
    assert file.read_text() == text


def test_a_pyproject_is_left_to_its_project(tmp_path: Path) -> None:
    """Other tools keep theirs there, and its bytes may be trusted."""
    file = written(tmp_path / "pyproject.toml", "[tool.taggerd.keywords]\nmax = 3\n")
    with pytest.raises(ConfigurationError, match=r"set keywords\.max there"):
        change(file, {"keywords.max": 9})


def test_a_file_that_others_may_write_is_not_used(file: Path) -> None:
    """What taggerd would not read it does not write either."""
    written(file, MINE).chmod(0o666)
    with pytest.raises(ConfigurationError, match="everybody may write"):
        change(file, {"keywords.max": 9})


def test_mode_owner_and_a_link_stay(file: Path, tmp_path: Path) -> None:
    """Many keep their settings elsewhere and link to them."""
    target = written(tmp_path / "dotfiles" / "taggerd.toml", MINE)
    target.chmod(0o640)
    file.parent.mkdir()
    file.symlink_to(target)
    if os.geteuid() == 0:
        os.chown(target, 0, 1)
    before = target.stat()
    change(file, {"keywords.max": 9})
    after = target.stat()
    assert file.is_symlink()
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )
    assert "max = 9" in target.read_text()


def test_a_link_to_nothing_is_told(file: Path) -> None:
    """A file behind it would be made where nobody looks."""
    file.parent.mkdir()
    file.symlink_to("gone.toml")
    with pytest.raises(ConfigurationError, match=r"leads to gone\.toml"):
        change(file, {"keywords.max": 9})
