"""What taggerd makes and trusts is written by nobody else, whatever the umask."""

from __future__ import annotations

import os
import stat
import subprocess
from typing import TYPE_CHECKING

import pytest
from support.program import until

from taggerd.settings.permissions import other_writers

if TYPE_CHECKING:
    from pathlib import Path

    from support.program import Program

OTHERS = 0o022


def under(umask: int, program: Program, *arguments: object, code: int = 0) -> str:
    """Run a command under *umask* and return what it says."""
    done = subprocess.run(
        program.command(*arguments),
        env=program.full_environment(),
        cwd=program.home,
        capture_output=True,
        text=True,
        timeout=180,
        umask=umask,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def give_to_a_group(path: Path, mode: int) -> None:
    """Give *path* to a group that is not the user's own, if only its group may write."""
    if not mode & 0o002:
        if os.geteuid() != 0:
            pytest.skip("only root gives a file to any group: run as root")
        os.chown(path, -1, 4321)


def modes(folder: Path) -> dict[Path, int]:
    """Return the mode of everything below *folder*, and its own."""
    return {path: stat.S_IMODE(path.lstat().st_mode) for path in (folder, *folder.rglob("*"))}


@pytest.mark.parametrize(
    "umask", [0o000, 0o002, *(pytest.param(u, marks=pytest.mark.long) for u in (0o022, 0o077))]
)
def test_state_is_private_and_outputs_are_not_everybodys(
    taggerd: Program, card: Path, umask: int
) -> None:
    """State 0700 and 0600; outputs, sidecars and scan files as the umask says, never 0777."""
    records, page = card.parent / "new" / "r.jsonl", card.parent / "new" / "s.html"
    under(umask, taggerd, "scan", "--output-jsonl", records, "--summary", page, card)
    for path, mode in modes(taggerd.state).items():
        if path == taggerd.outputs or taggerd.outputs in path.parents:
            assert not mode & 0o002, path
            assert not mode & umask, path
        else:
            assert mode == (0o700 if path.is_dir() else 0o600), path
    for path, mode in (modes(card) | modes(records.parent)).items():
        assert not mode & 0o002, path
        assert umask == 0o002 or not mode & 0o020, path
    if umask == 0o002:  # chosen: the photographer's programs may update what is made
        assert modes(records.parent)[records] == 0o664


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_a_daemons_state_is_private_too(taggerd: Program, inbox: Path, umask: int) -> None:
    """What it publishes, and its locks."""
    daemon = subprocess.Popen(
        taggerd.command("run", "--input-dir", inbox),
        env=taggerd.full_environment(),
        cwd=taggerd.home,
        stderr=subprocess.DEVNULL,
        umask=umask,
    )
    taggerd.daemons.append(daemon)
    until(lambda: taggerd.live().get("pid") == daemon.pid)
    assert modes(taggerd.runtime)[taggerd.runtime / f"{daemon.pid}.status.json"] == 0o600
    for path, mode in modes(taggerd.state).items():
        assert not mode & 0o077 or taggerd.outputs in (path, *path.parents), path
    assert taggerd.stop(daemon) == 0


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_a_settings_file_is_private(taggerd: Program, umask: int) -> None:
    """Keys are written into it later."""
    under(umask, taggerd, "config", "init")
    file = taggerd.home / "config" / "taggerd" / "taggerd.toml"
    assert modes(file.parent)[file] == 0o600
    assert not modes(file.parent)[file.parent] & OTHERS
    file.unlink()
    taggerd.environment["IMAGEWORKS_PERSONAL_TAGGER__MODEL"] = "m"
    under(umask, taggerd, "config", "import", "--write")
    assert modes(file.parent)[file] == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes a folder for another group")
def test_a_settings_file_for_a_service_is_read_by_its_group(taggerd: Program) -> None:
    """``sudo taggerd config init /etc/taggerd/taggerd.toml``: the service can read it."""
    etc = taggerd.home / "etc"
    etc.mkdir(mode=0o750)
    os.chown(etc, 0, 4321)
    under(0o077, taggerd, "config", "init", etc / "taggerd.toml")
    made = (etc / "taggerd.toml").stat()
    assert (made.st_mode & 0o777, made.st_gid) == (0o640, 4321)


@pytest.mark.parametrize(
    "mode", [0o777, 0o770, *(pytest.param(m, marks=pytest.mark.long) for m in (0o1777, 0o702))]
)
def test_a_state_directory_that_others_may_write_is_refused(
    taggerd: Program, card: Path, mode: int
) -> None:
    """They would decide what goes into sidecars."""
    taggerd.state.mkdir()
    taggerd.state.chmod(mode)
    give_to_a_group(taggerd.state, mode)
    (line,) = [x for x in under(0o022, taggerd, "scan", card, code=2).splitlines() if "state" in x]
    who = "everybody" if mode & 0o002 else "its group"
    assert line.endswith(f"not used: {who} may write to it: chmod go-w {taggerd.state}")
    assert list(taggerd.state.iterdir()) == []
    taggerd.state.chmod(0o750)
    under(0o022, taggerd, "scan", card)


def test_a_state_directory_that_others_may_exchange_is_refused(
    taggerd: Program, card: Path
) -> None:
    """One in a folder that everybody may write is everybody's, unless that is sticky."""
    taggerd.state.mkdir(mode=0o700)
    taggerd.home.chmod(0o777)
    assert "everybody may exchange it" in under(0o022, taggerd, "scan", card, code=2)
    taggerd.home.chmod(0o1777)
    under(0o022, taggerd, "scan", card)


@pytest.mark.parametrize("mode", [0o666, 0o660, 0o602])
def test_settings_that_others_may_write_are_refused(taggerd: Program, mode: int) -> None:
    """They would decide where photos and keys go."""
    file = taggerd.home / "t.toml"
    file.write_text("[image]\nmax_edge = 900\n")
    file.chmod(mode)
    give_to_a_group(file, mode)
    said = under(0o022, taggerd, "config", "show", "--config", file, code=2)
    assert f"{file}: not used: " in said
    assert f"may write to it: chmod go-w {file}" in said
    file.chmod(0o640)
    assert "max_edge = 900" in under(0o022, taggerd, "config", "show", "--config", file)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs the one group whose name is known: root's")
def test_a_users_own_group_is_nobody_else(tmp_path: Path) -> None:
    """Debian's umask for users is 0002, with a group for each of them."""
    mine, others = tmp_path / "mine", tmp_path / "others"
    for path, group in ((mine, 0), (others, 4321)):
        path.touch()
        os.chown(path, 0, group)
        path.chmod(0o660)
    assert other_writers(mine.stat()) == ""
    assert other_writers(others.stat()) == "its group"
