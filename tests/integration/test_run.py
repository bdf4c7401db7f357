"""``taggerd run``: the daemon."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest
from support.program import SECONDS, listening, photo, until

if TYPE_CHECKING:
    from pathlib import Path

    from support.program import CountingBackend, Program


def sidecars(folder: Path) -> int:
    """Count the sidecars below a folder."""
    return len(list(folder.rglob("*.xmp")))


def test_photos_that_are_there_and_photos_that_arrive_are_tagged(
    taggerd: Program, card: Path, inbox: Path
) -> None:
    """What lies in the folder at the start is tagged, and so is what is copied in later."""
    photo(inbox / "early.jpg", 77)
    daemon = taggerd.start("--input-dir", inbox)
    until(lambda: sidecars(inbox) == 1)
    shutil.copytree(card, inbox / "DCIM" / "100")
    until(lambda: sidecars(inbox) == 6)
    assert taggerd.stop(daemon) == 0
    assert len(taggerd.records()) == 6
    assert list((taggerd.outputs / "summaries").glob("*.html"))


@pytest.mark.long
def test_run_and_scan_write_the_same_sidecar(
    taggerd: Program, card: Path, inbox: Path, tmp_path: Path
) -> None:
    """One photo, tagged by the daemon and by a scan: the same bytes but for the dates.

    And for the seal, which is a hash over them.
    """
    shutil.copy(card / "IMG_0002.jpg", inbox)
    daemon = taggerd.start("--input-dir", inbox)
    until(lambda: sidecars(inbox) == 1)
    taggerd.stop(daemon)
    other = type(taggerd)(tmp_path / "other")
    other.home.mkdir()
    other("scan", card / "IMG_0002.jpg")
    by_run = (inbox / "IMG_0002.jpg.xmp").read_text()
    by_scan = (card / "IMG_0002.jpg.xmp").read_text()
    undated = [
        re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+([+-]\d\d:\d\d|Z)?|made \w{16,}", "DATE", s)
        for s in (by_run, by_scan)
    ]
    assert undated[0] == undated[1]
    assert "DATE" in undated[0]


def test_a_stopped_daemon_goes_on_where_it_was(
    taggerd: Program, inbox: Path, backend: CountingBackend
) -> None:
    """Killed in the middle of its work and started again, it asks and loses nothing twice."""
    taggerd.base_url = backend.base_url
    for number in range(20):
        photo(inbox / f"{number}.jpg", number)
    daemon = taggerd.start("--input-dir", inbox)
    until(lambda: backend.photo_requests >= 15)
    taggerd.stop(daemon, signal.SIGKILL)
    daemon = taggerd.start("--input-dir", inbox)
    until(lambda: len(taggerd.records()) == 20)
    taggerd.stop(daemon)
    assert sidecars(inbox) == 20
    assert len({record["image"] for record in taggerd.records()}) == 20
    in_flight = 8  # queue.photos_in_flight: each may lose the one answer that was on its way
    assert backend.photo_requests <= 60 + in_flight


def test_sigterm_leaves_the_rest_queued(
    taggerd: Program, inbox: Path, backend: CountingBackend
) -> None:
    """A stop ends photos in flight within the time given, and the others stay queued."""
    taggerd.base_url = backend.base_url
    taggerd.environment["TAGGERD__SERVICE__DRAIN_SECONDS"] = "120"
    for number in range(40):
        photo(inbox / f"{number}.jpg", number)
    daemon = taggerd.start("--input-dir", inbox)
    until(lambda: sidecars(inbox) >= 1)
    assert taggerd.stop(daemon) == 0
    counts = taggerd.status()["counts"]
    assert counts["claimed"] == 0
    assert counts["quarantined"] == 0
    assert counts["recorded"] == sidecars(inbox) == len(taggerd.records())
    assert taggerd("scan", inbox).returncode == 0
    assert sidecars(inbox) == 40


def test_a_second_daemon_on_the_same_state_is_refused(taggerd: Program, inbox: Path) -> None:
    """It says so in one line and ends with 2; the first goes on."""
    first = taggerd.start("--input-dir", inbox)
    second = taggerd("run", "--input-dir", inbox)
    assert second.returncode == 2
    (said,) = [line for line in second.stderr.splitlines() if line.startswith("taggerd: ")]
    assert said == second.stderr.splitlines()[-1]
    assert str(first.pid) in said
    assert first.poll() is None


@pytest.mark.long
def test_a_scan_beside_the_daemon_shares_its_ledger(
    taggerd: Program, card: Path, inbox: Path, backend: CountingBackend
) -> None:
    """A scan of another folder works while the daemon runs, and nothing is asked twice."""
    taggerd.base_url = backend.base_url
    taggerd.start("--input-dir", inbox)
    assert taggerd("scan", card).returncode == 0
    shutil.copy(card / "IMG_0000.jpg", inbox)
    until(lambda: sidecars(inbox) == 1)
    assert backend.photo_requests == 15


@pytest.mark.long
def test_a_scan_of_the_daemon_s_own_folder_takes_other_photos(
    taggerd: Program, inbox: Path, backend: CountingBackend
) -> None:
    """Both work on one folder at once; each photo is claimed by one of them, asked about once.

    The backend answers nothing until more photos are claimed than one program takes.
    """
    answering = threading.Event()

    def held(_path: str, body: bytes) -> None:
        if b"system" in body:  # about a photo, not a preflight's
            answering.wait(SECONDS)

    taggerd.base_url = backend.base_url
    taggerd.environment["TAGGERD__QUEUE__PHOTOS_IN_FLIGHT"] = "8"
    for number in range(24):
        photo(inbox / f"{number}.jpg", number)
    backend.script = held
    daemon = taggerd.start("--input-dir", inbox)
    until(lambda: taggerd.status()["counts"]["claimed"] == 8)
    # The daemon's four requests leave it slots of the backend: its preflight needs one.
    scan = subprocess.Popen(
        taggerd.command("scan", inbox),
        env={**taggerd.full_environment(), "TAGGERD__BACKEND__MAX_CONCURRENCY": "8"},
        cwd=taggerd.home,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: taggerd.status()["counts"]["claimed"] == 16)
    finally:
        answering.set()
        # 1: the daemon was still at the last of them when the scan had no more to do.
        assert scan.wait(SECONDS) in {0, 1}
    until(lambda: len(taggerd.records()) == 24)
    assert taggerd.stop(daemon) == 0
    assert sidecars(inbox) == 24
    assert len({record["image"] for record in taggerd.records()}) == 24
    assert backend.photo_requests == 72


def test_sighup_reloads_and_keeps_the_old_settings_where_the_new_are_wrong(
    taggerd: Program, inbox: Path, tmp_path: Path
) -> None:
    """A new import folder is taken up without a restart; wrong settings are named and ignored."""
    second = tmp_path / "second"
    second.mkdir()
    settings = taggerd.home / "config" / "taggerd" / "taggerd.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text(f'[arrivals]\nroots = ["{inbox}"]\n')
    daemon = taggerd.start()
    settings.write_text(f'[arrivals]\nroots = ["{inbox}", "{second}"]\n')
    daemon.send_signal(signal.SIGHUP)
    until(lambda: len(taggerd.live().get("roots", [])) == 2)
    photo(second / "a.jpg", 1)
    until(lambda: sidecars(second) == 1)
    settings.write_text("[arivals]\n")
    daemon.send_signal(signal.SIGHUP)
    until(lambda: "did you mean arrivals" in taggerd.log())
    photo(second / "b.jpg", 2)
    until(lambda: sidecars(second) == 2)
    assert taggerd.stop(daemon) == 0


def test_settings_that_cannot_be_served_are_refused_on_reload(
    taggerd: Program, inbox: Path
) -> None:
    """A profile that is not there is named, and the daemon goes on with what it has."""
    settings = taggerd.home / "config" / "taggerd" / "taggerd.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text(f'[arrivals]\nroots = ["{inbox}"]\n')
    daemon = taggerd.start()
    settings.write_text(f'[arrivals]\nroots = ["{inbox}"]\n[prompts]\nprofile = "nosuch"\n')
    assert taggerd("config", "check").returncode == 2
    daemon.send_signal(signal.SIGHUP)
    until(lambda: "no prompt profile 'nosuch'" in taggerd.log())
    photo(inbox / "a.jpg", 1)
    until(lambda: sidecars(inbox) == 1)
    assert daemon.poll() is None


def test_a_reload_takes_a_new_key(taggerd: Program, inbox: Path, backend: CountingBackend) -> None:
    """Whoever corrects the API key need not restart."""
    settings = taggerd.home / "config" / "taggerd" / "taggerd.toml"
    settings.parent.mkdir(parents=True)
    text = '[arrivals]\nroots = ["{}"]\n[backend]\napi_key = "{}"\n'
    settings.write_text(text.format(inbox, "wrong"))
    backend.key = "right"
    taggerd.base_url = backend.base_url
    photo(inbox / "a.jpg", 1)
    daemon = taggerd.start()
    until(lambda: "key" in taggerd.problem("backend"))
    settings.write_text(text.format(inbox, "right"))
    daemon.send_signal(signal.SIGHUP)
    until(lambda: sidecars(inbox) == 1)


@pytest.mark.long
def test_kills_while_photos_wait_for_their_answers_charge_none(
    taggerd: Program, card: Path, inbox: Path, backend: CountingBackend
) -> None:
    """Three crashes while the backend thinks are no photo's fault."""
    thinking = threading.Event()

    def script(_path: str, body: bytes) -> None:
        if b'"system"' in body:
            thinking.wait(SECONDS)

    backend.script = script
    taggerd.base_url = backend.base_url
    shutil.copytree(card, inbox / "card")
    for crash in range(1, 4):
        daemon = taggerd.start("--input-dir", inbox)
        asked = 4 * crash
        until(lambda: backend.photo_requests >= asked)  # noqa: B023 - called at once
        taggerd.stop(daemon, signal.SIGKILL)
    thinking.set()
    taggerd.start("--input-dir", inbox)
    until(lambda: len(taggerd.records()) == 5)
    assert {record["error"] for record in taggerd.records()} == {""}


def test_a_backend_that_is_down_is_waited_for(
    taggerd: Program, card: Path, inbox: Path, backend: CountingBackend
) -> None:
    """The service starts degraded; photos stay queued, uncharged; all drains afterwards."""
    down = True

    def script(_path: str, _body: bytes) -> tuple[int, dict[str, str], bytes] | None:
        return (503, {}, b"loading") if down else None

    backend.script = script
    taggerd.base_url = backend.base_url
    shutil.copytree(card, inbox / "a")
    daemon = taggerd.start("--input-dir", inbox)
    until(lambda: taggerd.live().get("queued") == 5 and taggerd.problem("backend"))
    assert sidecars(inbox) == 0
    down = False
    until(lambda: sidecars(inbox) == 5)
    taggerd.stop(daemon)
    assert {record["attempts"] for record in taggerd.records()} == {1}


def test_status_works_with_the_daemon_up_and_down(
    taggerd: Program, card: Path, inbox: Path
) -> None:
    """Queue, backend, roots and today's counts are shown; down, it says that nothing runs."""
    daemon = taggerd.start("--input-dir", inbox)
    shutil.copytree(card, inbox / "a")
    until(lambda: len(taggerd.records()) == 5)
    shown = until(lambda: (s := taggerd.status_text()) and "5 tagged" in s and s)
    assert "daemon   running" in shown
    assert f"folder   {inbox}: watching" in shown
    taggerd.stop(daemon)
    shown = taggerd.status_text()
    assert "daemon   not running" in shown
    assert "5 tagged" in shown


def test_the_daemon_tells_systemd_how_it_is(taggerd: Program, inbox: Path, tmp_path: Path) -> None:
    """READY after the watches stand, STATUS in ASCII, WATCHDOG in time, STOPPING at the end."""
    address = tmp_path / "notify"
    taggerd.environment |= {"NOTIFY_SOCKET": str(address), "WATCHDOG_USEC": "2000000"}
    with listening(address) as told:
        daemon = taggerd.start("--input-dir", inbox)
        until(lambda: told.count("WATCHDOG=1") >= 2)
        assert "READY=1" in told
        taggerd.stop(daemon)
    assert "STOPPING=1" in told
    assert all(line.isascii() for line in told)
    assert any(line.startswith("STATUS=") for line in told)


IMPORTS = """
import sys

class Imports:
    def find_spec(name, path=None, target=None):
        if name.startswith("taggerd.") and sys.argv[1:2] == ["run"]:
            print("imports", name, file=sys.stderr, flush=True)

sys.meta_path.insert(0, Imports)
"""
"""Tells on standard error what the daemon imports, its workers apart."""


def test_nothing_is_imported_any_more_once_it_serves(
    taggerd: Program, inbox: Path, backend: CountingBackend
) -> None:
    """What it imported after an upgrade would be another version's: pages were made by both."""
    (taggerd.home / "sitecustomize.py").write_text(IMPORTS)
    paths = [str(taggerd.home), taggerd.full_environment()["PYTHONPATH"]]
    taggerd.environment["PYTHONPATH"] = os.pathsep.join(paths)
    taggerd.base_url = backend.base_url
    daemon = taggerd.start("--input-dir", inbox, "--verbose")
    until(lambda: "all of the program is imported" in taggerd.log())
    serves = taggerd.log()
    assert serves.index(" serving ") < serves.index("imports taggerd.relay.reports\n")
    photo(inbox / "late.jpg", 77)
    until(lambda: sidecars(inbox) == 1)
    assert taggerd.stop(daemon) == 0
    assert list((taggerd.outputs / "summaries").glob("*.html"))
    assert "imports " not in taggerd.log()[len(serves) :]
