"""Disks that fill up or turn read-only under the program: it waits, says so, and goes on by itself.

The disk is a small tmpfs mounted for the state, the outputs or the photos in turn; a ballast file
fills it, and taking that away makes room again.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from support.program import SECONDS, listening, photo, records_in, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.program import CountingBackend, Program

pytestmark = pytest.mark.long

PHOTOS = 20
MANY = 100
"""Photos that the ledger needs more room for than it has already, on a state disk that is full."""


class Disk:
    """A disk of one megabyte."""

    def __init__(self, folder: Path) -> None:
        """Mount it at *folder*."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._mount("-t", "tmpfs", "-o", "size=1m,mode=700", "taggerd-test")

    def _mount(self, *how: str) -> None:
        def mounted() -> subprocess.CompletedProcess[bytes] | None:
            done = subprocess.run(["mount", *how, self.folder], check=False, capture_output=True)
            return None if b"busy" in done.stderr else done

        done = until(mounted)  # what writes a file there comes to its end
        if done.returncode:
            pytest.skip("needs the right to mount: " + done.stderr.decode().strip())

    def fill(self) -> None:
        """Leave not one byte."""
        with (self.folder / "ballast").open("wb", buffering=0) as ballast:
            for size in (65536, 4096, 1):
                try:
                    while True:
                        ballast.write(bytes(size))
                except OSError:
                    continue

    def empty(self) -> None:
        """Make room again."""
        (self.folder / "ballast").unlink()

    def read_only(self) -> None:
        """Let nothing be written; refused by the kernel while a file is open for writing."""
        self._mount("-o", "remount,ro")

    def writable(self) -> None:
        """Let it be written again."""
        self._mount("-o", "remount,rw")

    def unmount(self) -> None:
        """Take it away, whatever still uses it."""
        subprocess.run(["umount", "-l", self.folder], check=False, capture_output=True)


@dataclass
class Machine:
    """The program with its three places, of which one is a small disk."""

    program: Program
    inbox: Path
    outputs: Path
    backend: CountingBackend
    disk: Disk
    told: list[str]
    """What systemd has been told."""

    def arrive(self, photos: range) -> None:
        """Let photos arrive in one go, written elsewhere before."""
        for number in photos:
            made = photo(self.program.home / "made" / f"{number:02}.jpg", number)
            (self.inbox / made.name).write_bytes(made.read_bytes())

    def records(self) -> list[dict[str, Any]]:
        """Return every record, each line whole."""
        return records_in(self.outputs)

    def attempts(self) -> int:
        """Return the attempts that are charged to photos not in flight."""
        with sqlite3.connect(
            f"file:{self.program.state}/ledger.sqlite?mode=ro", uri=True
        ) as ledger:
            query = "SELECT coalesce(sum(attempts), 0) FROM photos WHERE state <> 'claimed'"
            return int(ledger.execute(query).fetchone()[0])

    def assert_all_is_done_once(self, photos: int) -> None:
        """One record and one sidecar a photo, three requests each, nothing else left behind."""
        records = self.records()
        assert sorted(record["image"] for record in records) == sorted(
            map(str, self.inbox.glob("*.jpg"))
        )
        assert [(r["error"], r["attempts"]) for r in records] == [("", 1)] * photos
        assert self.backend.photo_requests == 3 * photos
        names = {path.name for path in self.inbox.iterdir()}
        stems = {f"{number:02}.jpg" for number in range(photos)}
        assert names == stems | {f"{name}.xmp" for name in stems}
        left = [p for p in self.outputs.rglob("*") if "tmp" in p.name or "torn" in p.name]
        assert left == []
        state = {path.name.split(".")[0] for path in self.program.state.iterdir()}
        assert state <= {"daemon", "ledger", "notices", "owners", "slots", "outputs"}, state
        with sqlite3.connect(self.program.state / "ledger.sqlite") as ledger:
            assert ledger.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        ledger.close()


@pytest.fixture
def machine(
    request: pytest.FixtureRequest, taggerd: Program, inbox: Path, backend: CountingBackend
) -> Iterator[Machine]:
    """Return the program, with a small disk for what the parameter names."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root: run the tests as root")
    outputs = taggerd.home / "outputs"
    taggerd.base_url = backend.base_url
    taggerd.environment["TAGGERD__JOURNAL__DIRECTORY"] = str(outputs)
    folder = {"state": taggerd.state, "outputs": outputs, "photos": inbox}[request.param]
    disk = Disk(folder)
    try:
        with listening(taggerd.home / "notify") as told:
            taggerd.environment["NOTIFY_SOCKET"] = str(taggerd.home / "notify")
            yield Machine(taggerd, inbox, outputs, backend, disk, told)
    finally:
        taggerd.end()
        disk.unmount()


KINDS = {"state": "state disk", "outputs": "outputs", "photos": "photos disk"}
"""The kind of problem on each disk."""


def said(machine: Machine, kind: str) -> str:
    """Return what the daemon says of a *kind* of problem; ``taggerd status`` shows it."""
    text = machine.program.problem(kind)
    return text if text in " ".join(machine.program.status_text().split()) else ""


@pytest.mark.parametrize("machine", ["state", "outputs", "photos"], indirect=True)
def test_the_daemon_waits_for_room(machine: Machine) -> None:
    """It says why it waits, charges nobody, and pays for nothing twice, then or later."""
    photos = MANY if machine.disk.folder == machine.program.state else PHOTOS
    daemon = machine.program.start("--input-dir", machine.inbox)
    machine.arrive(range(1))
    until(lambda: len(machine.records()) == 1)
    if machine.disk.folder == machine.inbox:
        machine.arrive(range(1, photos))  # before they can be tagged: they settle first
        machine.disk.fill()
    else:
        machine.disk.fill()
        machine.arrive(range(1, photos))
    kind = KINDS[machine.disk.folder.name if machine.disk.folder != machine.inbox else "photos"]
    line = until(lambda: (s := said(machine, kind)) and ("full" in s or "space" in s) and s)
    assert "make room" in line
    assert machine.program.status()["health"]["word"] == "degraded"
    assert until(
        lambda: [t for t in machine.told if t.startswith("STATUS=degraded") and line[-9:] in t]
    )
    assert machine.attempts() == 0
    assert daemon.poll() is None
    machine.disk.empty()
    until(lambda: len(machine.records()) == photos)
    until(lambda: not machine.program.problem(kind))
    assert machine.program.stop(daemon) == 0
    machine.assert_all_is_done_once(photos)


@pytest.mark.parametrize("machine", ["outputs", "photos"], indirect=True)
def test_the_daemon_waits_for_a_disk_that_is_read_only(machine: Machine) -> None:
    """As for a full one: also photos with a sidecar of before are only waited for."""
    daemon = machine.program.start("--input-dir", machine.inbox)
    machine.arrive(range(1))
    until(lambda: len(machine.records()) == 1)
    if machine.disk.folder == machine.inbox:
        machine.arrive(range(1, 4))
    machine.disk.read_only()
    if machine.disk.folder != machine.inbox:
        machine.arrive(range(1, 4))
    kind = "photos disk" if machine.disk.folder == machine.inbox else "outputs"
    line = until(lambda: "ead-only" in (s := said(machine, kind)) and s)
    assert "remount" in line
    assert machine.attempts() == 0
    if machine.disk.folder == machine.inbox:
        assert machine.backend.photo_requests == 3, "nothing is asked that cannot be written"
    machine.disk.writable()
    until(lambda: len(machine.records()) == 4)
    until(lambda: not machine.program.problem(kind))
    assert machine.program.stop(daemon) == 0
    machine.assert_all_is_done_once(4)


@pytest.mark.parametrize("machine", ["state"], indirect=True)
def test_a_reload_and_a_stop_on_a_full_state_disk(machine: Machine) -> None:
    """The daemon outlives a reload there, ends well on a signal, and loses nothing."""
    daemon = machine.program.start("--input-dir", machine.inbox)
    machine.arrive(range(1))
    until(lambda: len(machine.records()) == 1)
    machine.disk.fill()
    machine.arrive(range(1, MANY))
    until(lambda: said(machine, "state disk"))
    daemon.send_signal(signal.SIGHUP)
    until(lambda: "reloading" in machine.program.log())
    until(
        lambda: (
            machine.program.log().count("serving") == 2
            or "work is blocked" in machine.program.log()
        )
    )
    assert machine.program.stop(daemon) == 0, machine.program.log()
    machine.disk.empty()
    daemon = machine.program.start("--input-dir", machine.inbox)
    until(lambda: len(machine.records()) == MANY)
    assert machine.program.stop(daemon) == 0
    assert len({record["image"] for record in machine.records()}) == MANY
    # What was asked and found no room before the stop could not be kept: that alone is paid again.
    assert machine.backend.photo_requests <= 3 * MANY + 3 * 8


@pytest.mark.parametrize("machine", ["state"], indirect=True)
def test_a_state_disk_that_is_read_only_at_the_start(machine: Machine) -> None:
    """A scan says it in one line, the service waits, `status` answers; then both go on."""
    machine.arrive(range(2))
    assert machine.program("scan", machine.inbox).returncode == 0
    machine.arrive(range(3))
    machine.disk.read_only()
    refused = machine.program("scan", machine.inbox)
    assert refused.returncode in {1, 2}
    (line,) = refused.stderr.strip().splitlines()[-1:]
    assert line.startswith("taggerd: "), refused.stderr
    assert "ead-only" in line
    assert "Traceback" not in refused.stderr
    daemon = machine.program.start("--input-dir", machine.inbox, ready=False)
    until(lambda: "ead-only" in machine.program.log())
    shown = machine.program.status_text()
    assert "2 tagged" in shown
    assert "its file system is read-only" in shown
    machine.disk.writable()
    until(lambda: len(machine.records()) == 3)
    assert machine.program.stop(daemon) == 0
    machine.assert_all_is_done_once(3)


@pytest.mark.parametrize("machine", ["state", "outputs"], indirect=True)
def test_a_scan_without_room_ends_and_a_later_one_finishes(machine: Machine) -> None:
    """One clear line and exit code 1; with room the next scan finishes, asking nothing twice."""
    machine.arrive(range(2))
    assert machine.program("scan", machine.inbox).returncode == 0
    machine.arrive(range(PHOTOS))
    machine.disk.fill()
    scan = machine.program("scan", machine.inbox)
    assert scan.returncode == 1, scan
    said = [line for line in (scan.stdout + scan.stderr).splitlines() if "full" in line]
    assert said, scan
    assert "Traceback" not in scan.stderr
    machine.disk.empty()
    assert machine.program("scan", machine.inbox).returncode == 0
    machine.assert_all_is_done_once(PHOTOS)


@pytest.mark.parametrize("machine", ["photos"], indirect=True)
def test_a_scan_finds_a_read_only_mount_before_it_asks(machine: Machine) -> None:
    """It says so in one line, pays for nothing, records each photo's failure and ends with 1.

    What is tagged there already is well. Without sidecars to write it works as ever; remounted, the
    next scan tags the rest by itself.
    """
    machine.arrive(range(1))
    assert machine.program("scan", machine.inbox).returncode == 0
    machine.arrive(range(1, 4))
    elsewhere = photo(machine.program.home / "elsewhere" / "a.jpg", 9)
    machine.disk.read_only()
    scan = machine.program("scan", machine.inbox, elsewhere)
    assert scan.returncode == 1, scan
    (line,) = [line for line in (scan.stdout + scan.stderr).splitlines() if "ead-only" in line]
    assert str(machine.inbox) in line
    assert "tagged 1 of 4 photos; 3 failed; 1 tagged before" in scan.stdout
    assert machine.backend.photo_requests == 6
    failed = [record for record in machine.records() if record["error"]]
    assert [record["error"].count("read-only") for record in failed] == [1] * 3
    assert machine.program.status()["counts"]["quarantined"] == 3
    alone = machine.program("scan", "--no-meta", "--state-directory", "other", machine.inbox)
    assert alone.returncode == 0, alone
    fresh = machine.program("scan", "--state-directory", "third", machine.inbox / "00.jpg")
    assert fresh.returncode == 0, "a ledger that was lost learns that it is tagged"
    machine.disk.writable()
    assert "tagged 3 of 3 photos" in machine.program("scan", machine.inbox).stdout


@pytest.mark.parametrize("machine", ["photos"], indirect=True)
def test_a_scan_waits_for_room_on_the_photos_disk(machine: Machine) -> None:
    """It says what it waits for, and finishes by itself, asking nothing twice."""
    machine.arrive(range(PHOTOS))
    machine.disk.fill()
    program = machine.program
    with subprocess.Popen(
        program.command("scan", machine.inbox),
        env=program.full_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as scan:
        try:
            assert scan.stdout
            line = next(line for line in scan.stdout if line.startswith("waiting: "))
            assert "No space left on device; make room" in line
            asked = machine.backend.photo_requests
            assert asked < 3 * PHOTOS, "photos whose sidecar finds no room are not all paid for"
            machine.disk.empty()
            _, errors = scan.communicate(timeout=SECONDS)
            said = [line for line in errors.splitlines() if not line.startswith("note: ")]
            assert (scan.returncode, said) == (0, [])
        finally:
            scan.kill()
    machine.assert_all_is_done_once(PHOTOS)
