"""The drop-in that fits a shipped unit to a machine."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from taggerd.errors import ConfigurationError
from taggerd.units import shipped
from taggerd.units.dropin import drop_in, program_of, quoted, unquoted

UNITS = ["taggerd.service", "taggerd@.service", "taggerd-scan@.service", "user/taggerd.service"]
STRICT = "[Service]\nExecStart=/opt/taggerd/bin/taggerd run\nProtectSystem=strict\n"


def values(text: str, key: str) -> list[str]:
    """Return what *key* is set to, in order."""
    lines = [line for line in text.splitlines() if line.startswith(f"{key}=")]
    return [line.partition("=")[2] for line in lines]


@pytest.mark.parametrize("unit", UNITS)
def test_every_command_of_a_unit_starts_the_installed_program(unit: str) -> None:
    """A pipx, uv or venv installation is started, reloaded and checked where it is."""
    text = shipped(unit).read_text()
    program = Path("/home/alice/.local/bin/taggerd")
    changed = drop_in(text, program=program)
    assert values(changed, "ExecStart")[0] == ""
    assert values(changed, "ExecStart")[1].startswith(f"{program} ")
    assert program_of(text) not in changed
    for key in ("ExecStart", "ExecReload"):
        expected = [line.replace(program_of(text), str(program)) for line in values(text, key)]
        assert values(changed, key) == ([""] if expected else []) + expected


def test_the_units_own_program_is_left_to_it() -> None:
    """Where the unit starts the right program already, the drop-in says nothing of it."""
    assert "Exec" not in drop_in(STRICT, program=None)


def test_exactly_the_named_folders_are_opened() -> None:
    """The list of the unit is replaced; each folder stands once, and may be missing."""
    import_folders = [(Path("/srv/a/one"), Path("/srv/a")), (Path("/srv/a/two"), Path("/srv/a"))]
    text = drop_in(STRICT, program=None, folders=import_folders, own=[Path("/run/taggerd/slots")])
    assert values(text, "ReadWritePaths") == ["", "-/run/taggerd/slots", "-/srv/a"]
    assert text.index("# /srv/a/one") < text.index("-/srv/a\n")


def test_no_import_folder_is_required() -> None:
    """A card that is missing keeps nothing from starting: its folder is no RequiresMountsFor=."""
    text = drop_in(
        STRICT,
        program=None,
        needed=[Path("/opt/taggerd")],
        folders=[(Path("/media/card"), Path("/media"))],
    )
    assert values(text, "RequiresMountsFor") == ["/opt/taggerd"]


@pytest.mark.parametrize(
    "name", ["/srv/a b", '/srv/"a"', "/srv/100%h", r"/srv/a\b", "/srv/it's", "/srv/Zoë", "/srv/a#b"]
)
def test_any_printable_name_is_one_word(name: str) -> None:
    """Spaces, quotes, backslashes and percent signs mean nothing in it."""
    assert unquoted(quoted(name)) == name


@pytest.mark.parametrize("name", ["/srv/a\nExecStart=/bin/sh", "/srv/a\x1b[2J", "/srv/\udcff"])
def test_a_name_that_would_end_the_line_is_refused(name: str) -> None:
    """Nobody adds a line to root's unit by the name of a folder."""
    with pytest.raises(ConfigurationError, match="rename it"):
        quoted(name)


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)
def test_systemd_reads_names_as_they_are(tmp_path: Path) -> None:
    """The quoting is systemd's own: a program with an odd name is found."""
    program = tmp_path / "a b 100% é" / "taggerd"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / "odd.service"
    odd = tmp_path / 'a "b" 100% c\\d'
    paths = [(odd, odd)]
    unit.write_text("[Service]\nExecStart=/bin/true run\nProtectSystem=strict\n")
    added = drop_in(unit.read_text(), program=program, folders=paths, needed=[program, odd])
    folder = tmp_path / "odd.service.d"
    folder.mkdir()
    (folder / "50.conf").write_text(added)
    command = ["systemd-analyze", "verify", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert (done.stdout + done.stderr, done.returncode) == ("", 0)


@pytest.mark.parametrize("name", ['/opt/"a"/taggerd', r"/opt/a\b/taggerd", "/opt/it's/taggerd"])
def test_a_program_that_systemd_does_not_start_is_refused(name: str) -> None:
    """It takes no quotes and backslashes in the path of a program, however they are written."""
    with pytest.raises(ConfigurationError, match="rename it"):
        drop_in(STRICT, program=Path(name))
