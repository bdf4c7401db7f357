"""No local user, and no program that is stopped, stalls the work by holding slots."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import structlog
from support.program import until

from taggerd.errors import StorageError
from taggerd.inference import Slots
from taggerd.inference.concurrency import COMMON
from taggerd.journal import dayfile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.program import CountingBackend, Program

URL = "http://127.0.0.1:8000/v1"
NOBODY = 65534
MEMBERS = 4242
"""Number of the group for slots."""
UNITS = Path(__file__).parents[2] / "systemd"

HOLDER = """
import fcntl, os, sys, time
files, uid, groups = sys.argv[1].split(","), int(sys.argv[2]), sys.argv[3]
if uid:
    os.setgroups([int(g) for g in groups.split(",") if g])
    os.setgid(uid)
    os.setuid(uid)
held = [os.open(file, os.O_RDONLY) for file in files]
for file in held:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
print("held", flush=True)
sys.stdin.read()
"""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")


class Clock:
    """A clock that sleeping moves on."""

    def __init__(self) -> None:
        """Begin at zero."""
        self.now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Let so much time pass at once."""
        self.now += seconds
        await asyncio.sleep(0)


@contextmanager
def holding(*files: Path, uid: int = 0, groups: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """Let another process hold locks on *files*; it has ended afterwards."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, ",".join(map(str, files)), str(uid), groups],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None
        if holder.stdout.readline() != b"held\n":
            _, error = holder.communicate()
            raise PermissionError(error.decode())
        yield holder
    finally:
        holder.kill()
        holder.communicate()


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """Return a folder as systemd/tmpfiles.d makes it."""
    folder = tmp_path / "slots"
    folder.mkdir()
    if os.geteuid() == 0:
        for above in tmp_path.parents[:3]:
            if above != Path("/tmp"):  # noqa: S108 - the tests' own are below it
                above.chmod(0o755)
        tmp_path.chmod(0o755)
        os.chown(folder, 0, MEMBERS)
    folder.chmod(0o2770)
    return folder


async def made(folder: Path, count: int = 1) -> list[Path]:
    """Return the files of the slots, and of their turnstile, in *folder*, made by a first use."""
    slots = Slots(folder, URL, count)
    held = [await slots.take() for _ in range(count)]
    assert None not in held
    slots.close()
    return sorted(folder.iterdir())  # noqa: ASYNC240 - a test's own folder


@as_root
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
async def test_only_the_group_for_slots_reaches_them(shared: Path, umask: int) -> None:
    """Files are 0660 in a folder 2770: a stranger opens, so locks, none; a member does."""
    before = os.umask(umask)
    try:
        files = await made(shared)
    finally:
        os.umask(before)
    for file in files:
        assert (file.stat().st_mode & 0o777, file.stat().st_gid) == (0o660, MEMBERS)
    with pytest.raises(PermissionError), holding(*files, uid=NOBODY):
        pass
    with holding(*files, uid=NOBODY, groups=str(MEMBERS)):
        pass


@as_root
@pytest.mark.parametrize("which", ["slot", "turnstile", "both"])
async def test_who_holds_them_for_ever_is_named_and_passed(shared: Path, which: str) -> None:
    """After a bounded wait requests go on, the next at once; that is said once."""
    slot, turnstile = await made(shared)
    files = {"slot": [slot], "turnstile": [turnstile], "both": [slot, turnstile]}[which]
    clock = Clock()
    waits = Slots(shared, URL, 1, longest_wait=600, sleep=clock.sleep, clock=clock)
    with structlog.testing.capture_logs() as logs:
        with holding(*files, uid=NOBODY, groups=str(MEMBERS)) as holder:
            async with waits.slot():
                assert 600 <= clock.now < 601
            async with waits.slot(), waits.slot():
                assert clock.now < 602
            assert [line["event"] for line in logs] == ["requests are sent without a slot"]
            assert re.search(rf"held by pid {holder.pid} \(\S+, user nobody\)$", waits.trouble)
            assert logs[0]["reason"] == waits.trouble
        async with waits.slot():
            assert waits.trouble == ""
    assert logs[-1]["event"] == "requests wait for slots again"
    waits.close()


@pytest.mark.parametrize("which", [0, 1])
async def test_a_holder_that_is_stopped_stalls_nobody(tmp_path: Path, which: int) -> None:
    """Ctrl-Z on a scan, or SIGSTOP: it cannot release anything, so nobody waits for it."""
    file = (await made(tmp_path / "slots"))[which]
    clock = Clock()
    waits = Slots(tmp_path / "slots", URL, 1, longest_wait=60, sleep=clock.sleep, clock=clock)
    with holding(file) as holder:
        holder.send_signal(signal.SIGSTOP)
        os.waitpid(holder.pid, os.WUNTRACED)  # noqa: ASYNC222 - until it is stopped
        async with waits.slot():
            assert clock.now < 1
            assert "which is stopped" in waits.trouble
        holder.send_signal(signal.SIGCONT)
    async with waits.slot():
        assert waits.trouble == ""
    waits.close()


async def test_one_that_works_is_waited_for(tmp_path: Path) -> None:
    """Neither an hour without a limit nor what somebody else's lock says lets a request pass."""
    slot, _ = await made(tmp_path / "slots")
    clock = Clock()
    waits = Slots(tmp_path / "slots", URL, 1, sleep=clock.sleep, clock=clock)
    with holding(slot):
        waiting = asyncio.create_task(waits.take())
        while clock.now < 3600 and not waiting.done():  # noqa: ASYNC110 - the test's own clock
            await asyncio.sleep(0)
        assert not waiting.done()
    held = await waiting
    assert held is not None
    assert waits.trouble == ""
    waits.close()


async def test_a_pipe_in_the_place_of_a_slot_stops_nothing(tmp_path: Path) -> None:
    """Opening it does not wait for a writer; requests go without slots."""
    slot, _ = await made(tmp_path / "slots")
    slot.unlink()
    os.mkfifo(slot)
    slots = Slots(tmp_path / "slots", URL, 1)
    async with asyncio.timeout(180), slots.slot():
        pass
    slots.close()


@pytest.mark.long
def test_a_scan_beside_a_stopped_scan_tags_its_photos(
    taggerd: Program, backend: CountingBackend, card: Path
) -> None:
    """And says why it does not wait."""
    taggerd.base_url = backend.base_url
    taggerd.environment["TAGGERD__BACKEND__MAX_CONCURRENCY"] = "1"
    holder = subprocess.Popen(
        taggerd.command("slot", "--", "sleep", "600"),
        env=taggerd.full_environment(),
        cwd=taggerd.home,
    )
    try:
        name = Path(f"/proc/{holder.pid}/comm")
        until(lambda: name.read_text().strip() == "sleep")
        holder.send_signal(signal.SIGSTOP)
        os.waitpid(holder.pid, os.WUNTRACED)
        done = taggerd("scan", card)
        assert done.returncode == 0, done.stderr
        assert len(taggerd.records()) == 5
        (line,) = [x for x in done.stderr.splitlines() if "without a slot" in x]
        assert f"pid {holder.pid} (sleep, user " in line
        assert "which is stopped" in line
        other = taggerd("slot", "--", "sh", "-c", "exit 7")
        assert other.returncode == 7
        assert "which is stopped; going on without one" in other.stderr
    finally:
        holder.kill()
        holder.wait()


def test_a_service_says_in_its_status_who_holds_the_slots(
    taggerd: Program, backend: CountingBackend, inbox: Path
) -> None:
    """``backend.slot_wait_seconds`` bounds the wait."""
    taggerd.base_url = backend.base_url
    taggerd.environment |= {
        "TAGGERD__BACKEND__MAX_CONCURRENCY": "1",
        "TAGGERD__BACKEND__SLOT_WAIT_SECONDS": "0.5",
    }
    assert taggerd("slot", "--", "true").returncode == 0
    with holding(*(taggerd.state / "slots").iterdir()) as holder:
        taggerd.start("--input-dir", inbox)
        until(lambda: f"held by pid {holder.pid}" in taggerd.status_text())
        late = taggerd("slot", "--wait", "0.2", "--", "true")
        assert late.returncode == 1
        assert f"held by pid {holder.pid} (" in late.stderr


def test_a_lock_on_the_days_records_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may read them may lock them: the records stay in the ledger, and it is said why."""
    monkeypatch.setattr(dayfile, "LOCK_SECONDS", 0.1)
    for above in (tmp_path, *tmp_path.parents[:3]) if os.geteuid() == 0 else ():
        if above != Path("/tmp"):  # noqa: S108 - the tests' own are below it
            above.chmod(0o755)
    day = dayfile.DayFile(tmp_path, "2025-11-20")
    entry = dayfile.Entry("1", "2025-11-20", '{"id": "1"}')
    day.append([])
    with holding(day.path, uid=NOBODY if os.geteuid() == 0 else 0):
        with pytest.raises(StorageError, match="another program keeps it locked"):
            day.append([entry])
        with pytest.raises(StorageError, match=str(day.path)):
            day.repair()
    day.append([entry])
    assert day.path.read_bytes() == b'{"id": "1"}\n'


def test_the_group_for_slots_opens_nothing_else() -> None:
    """Neither to write settings nor to see the state: it owns the folder for slots alone."""
    sysusers = (UNITS / "sysusers.d" / "taggerd.conf").read_text()
    tmpfiles = (UNITS / "tmpfiles.d" / "taggerd.conf").read_text()
    assert re.findall(r"^[ugm] .*taggerd-slots.*$", sysusers, flags=re.MULTILINE) == [
        "g taggerd-slots -",
        "m taggerd taggerd-slots",
    ]
    rules = [line.split() for line in tmpfiles.splitlines() if not line.startswith("#")]
    assert [rule[1:5] for rule in rules if rule[4] == "taggerd-slots"] == [
        [str(COMMON), "2770", "root", "taggerd-slots"]
    ]
    assert ["/etc/taggerd", "0755", "root", "root"] in [rule[1:5] for rule in rules]
    for unit in UNITS.rglob("*.service"):
        text = unit.read_text()
        assert not re.search(r"^(Group|StateDirectoryMode)=.*slots", text, flags=re.MULTILINE)
        if re.search(r"^ProtectSystem=strict", text, flags=re.MULTILINE):
            assert f"-{COMMON}" in text
