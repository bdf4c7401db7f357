"""Commands and the running service, whose states are in different folders."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import pytest
from support.program import CountingBackend, Program, photo, until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.long


class Shell(Program):
    """A shell whose settings name no state directory."""

    def full_environment(self) -> dict[str, str]:
        """Return the environment without a state directory."""
        environment = super().full_environment()
        del environment["TAGGERD__STATE_DIRECTORY"]
        return environment


@pytest.fixture
def shell(taggerd: Program) -> Shell:
    """Return a shell beside the service *taggerd*."""
    return Shell(taggerd.home)


def other_service(taggerd: Program, tmp_path: Path) -> Program:
    """Return a second service, whose runtime file is in the same folder."""
    home = tmp_path / "other"
    home.mkdir()
    return Program(home, environment={"TAGGERD_RUNTIME_DIRECTORY": str(taggerd.home / "runtime")})


def test_a_shell_finds_the_running_service(taggerd: Program, shell: Shell, inbox: Path) -> None:
    """Status says that it runs, pause and resume are confirmed by it, retry finds its photos."""
    (inbox / "bad.jpg").write_bytes(b"not a picture")
    daemon = taggerd.start("--input-dir", inbox)
    until(lambda: taggerd.live().get("quarantined") == 1)
    using = f"using the running service's state in {taggerd.state}\n"
    status = shell("status")
    assert f"pid {daemon.pid}" in status.stdout
    assert "bad.jpg" in status.stdout
    assert status.stderr == using
    paused = shell("pause", "training")
    assert (paused.stdout, paused.stderr) == ("paused until taggerd resume (training)\n", using)
    assert taggerd.live()["paused"] == "paused until taggerd resume (training)"
    resumed = shell("resume")
    assert (resumed.stdout, resumed.stderr) == ("resumed\n", using)
    assert taggerd.live()["paused"] == ""
    before = taggerd.live()["updated_at"]
    retried = shell("retry", "--all")
    assert (retried.stdout, retried.stderr) == ("1 photo is back in the queue\n", using)
    assert taggerd.live()["updated_at"] > before
    assert not (shell.home / ".local").exists()
    taggerd.stop(daemon)
    assert "not running" in shell("status").stdout


def test_two_services_are_listed_and_chosen_from(
    taggerd: Program, shell: Shell, inbox: Path, tmp_path: Path
) -> None:
    """Nothing is guessed: the command lists them, and --instance takes a PID."""
    other = other_service(taggerd, tmp_path)
    try:
        (other.home / "inbox").mkdir()
        programs = ((taggerd, inbox), (other, other.home / "inbox"))
        pids = [each.start("--input-dir", folder).pid for each, folder in programs]
        unclear = shell("pause")
        assert unclear.returncode == 2
        assert "several services run: choose one with --instance" in unclear.stderr
        for pid, state in zip(pids, (taggerd.state, other.state), strict=True):
            assert f"pid {pid}" in unclear.stderr
            assert str(state) in unclear.stderr
        assert not taggerd.live()["paused"]
        assert shell("pause", "--instance", pids[1]).returncode == 0
        assert other.live()["paused"]
        assert not taggerd.live()["paused"]
        listed = taggerd("status")  # its state directory is named: it is not asked which
        assert f"pid {pids[0]}" in listed.stdout
        assert "\nother    " in listed.stdout
        assert [each["pid"] for each in taggerd.status()["others"]] == [pids[1]]
        wrong = shell("status", "--instance", "nobody")
        assert wrong.returncode == 2
        assert "--instance nobody: no such service runs" in wrong.stderr
        both = shell("status", "--instance", pids[0], "--state-directory", other.state)
        assert "exclude each other" in both.stderr
    finally:
        other.end()


@pytest.mark.parametrize("below", [".", "2026/trip", ".."])
def test_a_folder_has_one_daemon(
    taggerd: Program, inbox: Path, tmp_path: Path, backend: CountingBackend, below: str
) -> None:
    """A second one, with a state of its own, would pay for each photo again: it does not start."""
    taggerd.base_url = backend.base_url
    other = other_service(taggerd, tmp_path)
    other.base_url = backend.base_url
    photo(inbox / "2026" / "trip" / "a.jpg")
    daemon = taggerd.start("--input-dir", inbox)
    link = tmp_path / "link"
    link.symlink_to(inbox / below)
    refused = other("run", "--input-dir", link)
    assert refused.returncode == 2
    last = refused.stderr.splitlines()[-1]
    assert "is an import folder of another taggerd" in last
    assert f"pid {daemon.pid}" in last
    assert "stop that one" in last
    until(lambda: len(taggerd.records()) == 1)
    assert taggerd.stop(daemon) == 0
    assert backend.photo_requests == 3
    assert not list(taggerd.runtime.iterdir())


def test_a_daemon_of_a_service_manager_waits_for_its_folder(
    taggerd: Program, inbox: Path, tmp_path: Path
) -> None:
    """Nobody stands there to start it again once the other one has ended."""
    daemon = taggerd.start("--input-dir", inbox)
    other = other_service(taggerd, tmp_path)
    other.environment["NOTIFY_SOCKET"] = str(tmp_path / "nobody-listens")
    try:
        waiting = other.start("--input-dir", inbox, ready=False)
        until(lambda: "import folder of another taggerd" in other.log())
        assert waiting.poll() is None
        assert taggerd.stop(daemon) == 0
        until(lambda: other.live().get("pid") == waiting.pid)
    finally:
        other.end()


def test_the_state_directory_of_the_command_outranks_all(
    taggerd: Program, shell: Shell, inbox: Path, tmp_path: Path
) -> None:
    """Named in the command or by --config, it is used, whatever runs elsewhere."""
    taggerd.start("--input-dir", inbox)
    settings = tmp_path / "settings.toml"
    settings.write_text(f'state_directory = "{tmp_path}/own"\n')
    for named in (["--state-directory", tmp_path / "own"], ["--config", settings]):
        status = json.loads(shell("status", "--json", *named).stdout)
        assert not status["running"]
        assert len(status["others"]) == 1


def test_a_killed_service_is_not_found(taggerd: Program, shell: Shell, inbox: Path) -> None:
    """Its runtime file is still there and counts for nothing."""
    daemon = taggerd.start("--input-dir", inbox)
    assert list((taggerd.home / "runtime").glob("*.json"))
    taggerd.stop(daemon, signal.SIGKILL)
    shown = shell("status")
    assert "not running" in shown.stdout
    assert "other " not in shown.stdout
    assert not list((taggerd.home / "runtime").glob("*.json"))


def test_nobody_listens(taggerd: Program, tmp_path: Path) -> None:
    """Pause and retry say that no daemon runs, and what that means."""
    paused = taggerd("pause")
    assert paused.stdout == "paused until taggerd resume\n"
    assert paused.stderr == "no taggerd is running: it holds for the next one\n"
    assert "no taggerd is running" in taggerd("resume").stderr
    card = photo(tmp_path / "card" / "bad.jpg").parent
    (card / "bad.jpg").write_bytes(b"not a picture")
    assert taggerd("scan", card).returncode == 1
    assert taggerd("retry", "--all").stderr == "no taggerd is running: run taggerd scan\n"


def test_where_the_user_may_not_act_the_sudo_line_is_named(
    taggerd: Program, powerless: Program, inbox: Path
) -> None:
    """One line that can be copied, exit 2, and nothing is done."""
    taggerd.powerless = False
    taggerd.start("--input-dir", inbox)
    taggerd.state.chmod(0o000)
    shell = Shell(powerless.home, powerless=True)
    refused = shell("pause", "--for", "2h", "my reason")
    taggerd.state.chmod(0o700)
    assert refused.returncode == 2
    line = f"taggerd pause --state-directory {taggerd.state} --for 2h 'my reason'\n"
    assert line in refused.stderr
    assert "sudo -u " in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert taggerd.live()["paused"] == ""
