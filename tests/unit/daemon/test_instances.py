"""The runtime files: who runs, where its state is, and which files count for nothing."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from taggerd.daemon import instances
from taggerd.daemon.instances import Instance, announced, running
from taggerd.settings.permissions import user_name

if TYPE_CHECKING:
    from pathlib import Path

UID = os.geteuid()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return an empty folder in the role of ``/run``, with the present user's folder."""
    folder = tmp_path / "run"
    (folder / "user" / str(UID)).mkdir(parents=True)
    return folder


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Return a state directory."""
    folder = tmp_path / "state"
    folder.mkdir()
    return folder


def user_environment(run: Path) -> dict[str, str]:
    """Return what a session of the present user has in its environment."""
    return {"XDG_RUNTIME_DIR": str(run / "user" / str(UID))}


def test_a_daemon_is_found_while_it_lives(run: Path, state: Path) -> None:
    """Others read its pid, user, state directory and journal; afterwards nothing is left."""
    environ = user_environment(run)
    with announced(state, state / "outputs", environ, run) as file:
        assert file is not None
        (found,) = running({}, run)
        assert found.pid == os.getpid()
        assert found.has(state)
        assert found.writable
        assert found.outputs == str(state / "outputs")
        assert found.answers_to(str(os.getpid()))
        assert found.answers_to(found.user)
        assert not found.answers_to("another")
    assert running({}, run) == ()
    assert not file.exists()


def test_other_users_may_read_the_file(run: Path, state: Path) -> None:
    """Whatever the umask: who may act is decided by the state directory."""
    before = os.umask(0o077)
    try:
        with announced(state, state, user_environment(run), run) as file:
            assert file is not None
            assert file.stat().st_mode & 0o777 == 0o644
            assert file.parent.stat().st_mode & 0o777 == 0o755
    finally:
        os.umask(before)


def test_a_service_is_called_like_its_unit(run: Path, state: Path) -> None:
    """Under systemd the file is in the unit's own folder, of which readers know."""
    unit = run / "taggerd" / "taggerd@alice"
    unit.mkdir(parents=True)
    with announced(state, state, {"RUNTIME_DIRECTORY": f"{unit}:/elsewhere"}, run) as file:
        assert file is not None
        assert file.parent == unit
        assert [each.name for each in running({}, run)] == ["taggerd@alice"]


def test_tests_have_a_folder_of_their_own(tmp_path: Path, run: Path, state: Path) -> None:
    """It stands for all others, for writer and reader."""
    own = {"TAGGERD_RUNTIME_DIRECTORY": str(tmp_path / "own")}
    with (
        announced(state, state, own, run),
        announced(state, state, user_environment(run), run),
    ):
        assert len(running(own, run)) == 1
        assert [file.parent for file in tmp_path.glob("own/*.json")] == [tmp_path / "own"]


def test_a_daemon_without_any_folder_runs_all_the_more(tmp_path: Path, state: Path) -> None:
    """The file serves the commands; the daemon needs none."""
    none = {"TAGGERD_RUNTIME_DIRECTORY": str(tmp_path / "no" / "such")}
    with announced(state, state, none, tmp_path) as file:
        assert file is None


def test_what_a_killed_daemon_left_counts_for_nothing(run: Path, state: Path) -> None:
    """Without its lock a file is stale, and it is removed: by readers and by the next daemon."""
    environ = user_environment(run)
    with announced(state, state, environ, run) as file:
        assert file is not None
        text = file.read_text()
    for reads in (True, False):
        stale = file.with_name("4711.json")
        stale.write_text(text)
        if reads:
            assert running({}, run) == ()
        else:
            with announced(state, state, environ, run):
                pass
        assert not stale.exists()


@pytest.mark.parametrize(
    "change",
    [{"user": "somebody-else"}, {"state_directory": "relative"}, {"pid": "no number"}, {"name": 7}],
)
def test_a_file_that_lies_is_ignored(run: Path, state: Path, change: dict[str, object]) -> None:
    """Its owner is the user it names, and its fields are what they should be."""
    environ = user_environment(run)
    with announced(state, state, environ, run) as file:
        assert file is not None
        table = {**json.loads(file.read_text()), **change}
    file.write_text(json.dumps(table))
    with file.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert running({}, run) == ()


@pytest.mark.skipif(UID != 0, reason="gives a file to another user")
def test_nobody_speaks_for_the_state_directory_of_another(run: Path, state: Path) -> None:
    """Else a user's file could lead root to any folder of the machine."""
    with announced(state, state, user_environment(run), run) as file:
        assert file is not None
        (found,) = running({}, run)
        other = replace(found, user=user_name(65534))
        file.write_text(json.dumps(_table(other)))
        os.chown(file, 65534, 65534)
        assert running({}, run) == ()
        os.chown(state, 65534, 65534)
        assert running({}, run) == (other,)


def _table(instance: Instance) -> dict[str, object]:
    return {name: getattr(instance, name) for name in Instance.__slots__}


def test_a_user_sees_their_own_and_the_systems(run: Path, state: Path) -> None:
    """Root sees those of all users."""
    theirs = run / "user" / "4711"
    theirs.mkdir()
    with announced(state, state, {"TAGGERD_RUNTIME_DIRECTORY": str(theirs / "taggerd")}, run):
        assert [len(running({}, run, uid=uid)) for uid in (0, 4711, 4712)] == [1, 1, 0]


def test_looking_for_a_daemon_makes_nothing(state: Path) -> None:
    """A state directory in which nothing ran stays empty."""
    assert instances.daemon_of(state) is None
    assert instances.daemon_of(state / "missing") is None
    assert list(state.iterdir()) == []
