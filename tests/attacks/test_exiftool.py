"""exiftool runs with nothing but the photo: no configuration, modules or secrets of the user's."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
from support.embeddable import heif, packet

from taggerd import files
from taggerd.metadata.embedding.container import FileSource
from taggerd.metadata.embedding.heif import Heif, rewrite
from taggerd.metadata.versions import exiftool_version

if TYPE_CHECKING:
    from pathlib import Path

_CONFIGURATION = """
open(my $file, '>', '{marker}'); print $file "run"; close $file;
1;
"""


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a home, a working directory and an environment that want a word; return the marker."""
    marker = tmp_path / "marker"
    for name in ("home", "card"):
        folder = tmp_path / name
        folder.mkdir()
        said = _CONFIGURATION.format(marker=marker)
        (folder / ".ExifTool_config").write_text(said)
        (folder / "strict.pm").write_text(said)
    monkeypatch.chdir(tmp_path / "card")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EXIFTOOL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PERL5LIB", str(tmp_path / "home"))
    monkeypatch.setenv("PERL5OPT", "-Mstrict")
    monkeypatch.setenv("TAGGERD_BACKEND__API_KEY", "sesame")
    return marker


def _rewritten(tmp_path: Path, data: bytes) -> bytes:
    """Have exiftool put a packet into a photo."""
    (tmp_path / "a.heic").write_bytes(data)
    with (
        files.open_file(tmp_path / "a.heic") as original,
        files.new_file(tmp_path / "made") as made,
    ):
        rewrite(original.descriptor, made.descriptor, packet("Anna"))
        return Heif(FileSource(made.descriptor)).packet or b""


def test_no_configuration_is_run(tmp_path: Path, hostile: Path) -> None:
    """Neither the home's nor the working directory's, which may be a card; nor their modules."""
    if shutil.which("exiftool") is None:
        pytest.skip("exiftool is not installed: apt-get install libimage-exiftool-perl")
    assert b"Anna" in _rewritten(tmp_path, heif("heic"))
    assert exiftool_version()[:1].isdigit()
    assert not hostile.exists()


@pytest.mark.usefixtures("hostile")
def test_what_exiftool_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The photo is its standard input: no name of any file is on its command line."""
    program = tmp_path / "bin" / "exiftool"
    program.parent.mkdir()
    program.write_text(
        f"#!/bin/sh\nenv >{tmp_path}/environment; pwd >{tmp_path}/folder\n"
        f'printf "%s\\n" "$@" >{tmp_path}/arguments; ls /proc/self/fd >{tmp_path}/open; cat\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    with files.open_folder(tmp_path):
        _rewritten(tmp_path, heif("heic"))
    told = dict(line.split("=", 1) for line in (tmp_path / "environment").read_text().splitlines())
    assert set(told) <= {"PATH", "LC_ALL", "PWD", "OLDPWD", "SHLVL", "_"}
    assert (tmp_path / "folder").read_text() == "/\n"
    arguments = (tmp_path / "arguments").read_text().splitlines()
    assert arguments[:2] == ["-config", ""]
    assert [word for word in arguments if "/" in word] == [
        word for word in arguments if word.startswith("-XMP<=/proc/self/fd/")
    ]
    assert not any(str(tmp_path) in word for word in arguments)
    assert len((tmp_path / "open").read_text().split()) <= 5  # three, the packet, and ls's own
