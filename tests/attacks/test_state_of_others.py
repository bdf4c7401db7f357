"""State, settings and running services of another user: none of them leads taggerd anywhere."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from typing import TYPE_CHECKING

import pytest
from support.program import Program
from support.racing import NOBODY, give, needs_root

from taggerd.daemon import instances
from taggerd.errors import ConfigurationError, StartError
from taggerd.ledger.opening import refuse_shared
from taggerd.ledger.owners import Lock
from taggerd.settings import configuration
from taggerd.settings.permissions import user_name, why_not_private

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = "root:$6$precious:secret\n"  # noqa: S105 - a file to be left alone
GROUP = 4321


@pytest.fixture(autouse=True)
def _two_users() -> None:
    """Skip where there is only one."""
    needs_root()


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """Return a file of root's, in a folder of root's."""
    folder = tmp_path / "root-only"
    folder.mkdir(mode=0o700)
    file = folder / "shadow"
    file.write_text(SECRET)
    file.chmod(0o600)
    return file


@contextlib.contextmanager
def forged(folder: Path, state: Path) -> Iterator[None]:
    """Announce, as the other user, a running service whose state is in *state*."""
    file = folder / f"{os.getpid()}.json"
    table = {
        "name": "taggerd",
        "pid": os.getpid(),
        "user": user_name(NOBODY),
        "state_directory": str(state),
        "outputs": str(state / "journal"),
        "version": "1",
        "started_at": time.time(),
    }
    file.write_text(json.dumps(table))
    give(folder, file)
    with file.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


@pytest.mark.parametrize(
    "command", [("status",), ("pause",), ("status", "--instance", user_name(NOBODY))]
)
def test_an_announced_service_leads_root_to_no_file(
    tmp_path: Path, secret: Path, command: tuple[str, ...]
) -> None:
    """Its state directory holds links to root's files: root is told whom to become instead."""
    home, folder, state = (tmp_path / name for name in ("home", "run", "state"))
    for each in (home, folder, state):
        each.mkdir()
    for name in ("ledger.lock", "ledger.sqlite-wal", "daemon.lock", "status.json"):
        (state / name).symlink_to(secret)
    (state / "ledger.sqlite").touch()
    (state / "owners").symlink_to(secret.parent)
    give(state, *state.iterdir())
    shell = Program(home, environment={"TAGGERD_RUNTIME_DIRECTORY": str(folder)})
    environment = shell.full_environment()
    del environment["TAGGERD__STATE_DIRECTORY"]
    shell.full_environment = lambda: environment  # type: ignore[method-assign]  # no state is named
    with forged(folder, state):
        done = shell(*command)
    assert secret.read_text() == SECRET
    assert [*secret.parent.iterdir()] == [secret]
    assert done.returncode == 2
    assert f"sudo -u {user_name(NOBODY)} taggerd {command[0]}" in done.stderr
    assert "using the running service" not in done.stderr


def test_looking_for_services_removes_nothing_of_roots(tmp_path: Path) -> None:
    """The other user's folder is a link to one with a file of digits: nobody holds its lock."""
    theirs = tmp_path / "run" / "user" / str(NOBODY)
    theirs.mkdir(parents=True)
    victim = tmp_path / "root-only"
    victim.mkdir(mode=0o700)
    kept = victim / "1700000000.json"
    kept.write_text('{"precious": 1}')
    (theirs / "taggerd").symlink_to(victim)
    give(theirs, theirs / "taggerd")
    assert instances.running({}, tmp_path / "run") == ()
    assert kept.exists()


def test_looking_for_services_removes_nothing_in_a_folder_of_others(tmp_path: Path) -> None:
    """The name may be exchanged between the look and the removal."""
    theirs = tmp_path / "run" / "user" / str(NOBODY) / "taggerd"
    theirs.mkdir(parents=True)
    stale = theirs / "4711.json"
    stale.write_text("{}")
    give(theirs, stale)
    assert instances.running({}, tmp_path / "run") == ()
    assert stale.exists()


def test_a_service_is_not_announced_in_a_folder_of_others(tmp_path: Path) -> None:
    """``sudo -E`` keeps XDG_RUNTIME_DIR: they would exchange the file for a link."""
    theirs = tmp_path / "theirs"
    (theirs / "taggerd").mkdir(parents=True)
    give(theirs, theirs / "taggerd")
    environ = {"XDG_RUNTIME_DIR": str(theirs)}
    with instances.announced(tmp_path, tmp_path, environ, tmp_path / "no-run") as file:
        assert file is None
    assert not any((theirs / "taggerd").iterdir())


def test_the_state_of_another_user_is_refused(tmp_path: Path, secret: Path) -> None:
    """Also where it is named: nothing in it is opened."""
    state = tmp_path / "bobs"
    state.mkdir(mode=0o700)
    (state / "ledger.lock").symlink_to(secret)
    (state / "ledger.sqlite").touch()
    give(state, *state.iterdir())
    home = tmp_path / "home"
    home.mkdir()
    done = Program(home)("status", "--state-directory", state)
    assert done.returncode == 2
    assert f"it belongs to {user_name(NOBODY)}" in done.stderr
    assert secret.read_text() == SECRET


@pytest.mark.parametrize("powerless", [True, False])
@pytest.mark.parametrize(
    "command",
    [
        ("status",),
        ("metrics",),
        ("report",),
        ("retry", "--all"),
        ("scan", "{photos}"),
        ("scan", "--list", "{photos}"),
        ("undo", "{photos}"),
        ("ledger", "backup", "{photos}/backup"),
        ("run", "--input-dir", "{photos}"),
    ],
    ids=" ".join,
)
def test_a_stranger_and_root_are_refused_in_one_line(
    tmp_path: Path, command: tuple[str, ...], powerless: bool
) -> None:
    """Whoever may not look, and root, who may: told whom to become; nothing is made or changed."""
    home, photos, state = (tmp_path / name for name in ("home", "photos", "state"))
    for folder in (home, photos, state, state / "outputs", state / "outputs" / "results"):
        folder.mkdir(mode=0o700)
    (state / "ledger.sqlite").write_bytes(b"SQLite format 3")
    (state / "outputs" / "results" / "2026-01-01.jsonl").write_text("{}\n")
    give(state, *state.rglob("*"))
    before = {path: path.stat().st_mtime_ns for path in [state, *state.rglob("*")]}
    words = [word.format(photos=photos) for word in command]
    done = Program(home, powerless=powerless)(*words, "--state-directory", state)
    if command == ("metrics",) and not powerless:
        assert "2026-01-01" in done.stdout  # root reads it, and nothing else
    else:
        assert done.returncode in {1, 2}
        last = done.stderr.splitlines()[-1]
        assert f"sudo -u {user_name(NOBODY)}" in last or "ermission denied" in last
    assert "Traceback" not in done.stderr
    assert {path: path.stat().st_mtime_ns for path in [state, *state.rglob("*")]} == before
    assert list(photos.iterdir()) == []


@pytest.mark.parametrize(
    ("owner", "mode", "refused"),
    [
        (NOBODY, 0o755, True),
        (NOBODY, 0o1777, True),
        (0, 0o2775, True),
        (0, 0o777, True),
        (0, 0o1777, False),
        (0, 0o3775, False),
        (0, 0o755, False),
    ],
)
def test_each_folder_above_the_state_is_looked_at(
    tmp_path: Path, owner: int, mode: int, refused: bool
) -> None:
    """Its owner and its writers could exchange the state directory for another."""
    above = tmp_path / "above"
    state = above / "state"
    state.mkdir(parents=True, mode=0o700)
    os.chown(above, owner, GROUP)
    above.chmod(mode)
    assert bool(why_not_private(state)) is refused
    # One that is not there yet is made only where it is to stay.
    with pytest.raises(StartError) if refused else contextlib.nullcontext():
        refuse_shared(above / "new" / "state")


def test_a_link_that_others_may_exchange_leads_to_no_state(tmp_path: Path) -> None:
    """Whoever made it: in their own folder they can bring any link under that name."""
    shared, state = tmp_path / "shared", tmp_path / "state"
    shared.mkdir()
    state.mkdir(mode=0o700)
    link = shared / "link"
    link.symlink_to(state)
    assert why_not_private(link) == ""
    shared.chmod(0o1777)
    assert "may exchange the link" in why_not_private(link)
    give(shared)
    shared.chmod(0o755)
    assert "may exchange it" in why_not_private(link)


def test_a_lock_is_taken_on_an_own_file_only(tmp_path: Path, secret: Path) -> None:
    """Not through a link, nor on a pipe or another user's file."""
    link, pipe, theirs = (tmp_path / name for name in ("link", "pipe", "theirs"))
    link.symlink_to(secret)
    os.mkfifo(pipe)
    theirs.touch()
    give(theirs)
    for path in (link, pipe, theirs):
        with pytest.raises(OSError, match=r"links|regular"):
            Lock(path)
    assert secret.read_text() == SECRET


@pytest.mark.parametrize("theirs", ["the file", "its folder", "a folder above"])
def test_settings_of_another_user_are_refused(tmp_path: Path, theirs: str) -> None:
    """HOME is kept by some sudo: their address would get root's photos and key."""
    folder = tmp_path / "home" / "taggerd"
    folder.mkdir(parents=True)
    file = folder / "taggerd.toml"
    file.write_text('[backend]\nbase_url = "http://evil.example/v1"\n')
    configuration.load(config=file)
    give({"the file": file, "its folder": folder, "a folder above": folder.parent}[theirs])
    with pytest.raises(ConfigurationError, match=r"not used: .*run taggerd as") as refused:
        configuration.load(config=file)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("mode", [0o777, 0o2775])
def test_settings_in_a_folder_that_others_may_write_are_refused(tmp_path: Path, mode: int) -> None:
    """They would put another file in its place."""
    folder = tmp_path / "etc"
    folder.mkdir()
    file = folder / "taggerd.toml"
    file.touch()
    os.chown(folder, 0, GROUP)
    folder.chmod(mode)
    with pytest.raises(ConfigurationError, match="may exchange it"):
        configuration.load(config=file)


def test_a_pipe_of_another_user_holds_no_settings(tmp_path: Path) -> None:
    """It would never end."""
    pipe = tmp_path / "taggerd.toml"
    os.mkfifo(pipe)
    give(pipe)
    with pytest.raises(ConfigurationError, match="another user made it"):
        configuration.load(config=pipe)
