"""The service's life under systemd: faults at the start, a long stop, crashes, an upgrade in place.

One service of one user; each test leaves it as it found it: stopped, with settings of its own.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from support.machine import settings
from support.program import CountingBackend

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.machine import Machine
    from support.program import Reply

UNIT = "taggerd@alice"
ROOT = "/home/alice/import"
STATE = "/var/lib/taggerd-alice"
TOML = "/home/alice/.config/taggerd/taggerd.toml"
DROP_IN = f"/run/systemd/system/{UNIT}.service.d/test.conf"


@pytest.fixture(scope="module", autouse=True)
def alice(machine: Machine) -> None:
    """Make the user, her folder and settings."""
    machine.user("alice")
    machine.write(TOML, settings(ROOT), user="alice")
    machine.run(["mkdir", "-p", ROOT], user="alice")


@pytest.fixture(autouse=True)
def _stopped(machine: Machine) -> Iterator[None]:
    """Stop the service after the test, and remove what the test has changed."""
    yield
    machine.run(f"systemctl stop {UNIT}; rm -f {DROP_IN}; systemctl daemon-reload")
    machine.run(f"systemctl reset-failed {UNIT}", check=False)
    machine.write(TOML, settings(ROOT), user="alice")


def drop_in(machine: Machine, text: str) -> None:
    """Change the unit until the end of the test."""
    machine.write(DROP_IN, text)
    machine.run("systemctl daemon-reload")


def test_a_day_file_of_root_delays_no_start(machine: Machine) -> None:
    """READY at once and degraded, said once; it recovers by itself."""
    machine.run(f"systemctl start {UNIT}")
    (first,) = machine.photos(ROOT, range(1), user="alice")
    machine.until(f"ls {STATE}/outputs/results/*.jsonl")
    machine.run(f"systemctl stop {UNIT}")
    machine.run(f"chown root: {STATE}/outputs/results/*.jsonl")
    machine.run(f"chmod 600 {STATE}/outputs/results/*.jsonl")
    machine.run(f"systemctl start {UNIT}")
    machine.until(f"systemctl show -p StatusText {UNIT} | grep degraded")
    (second,) = machine.photos(ROOT, range(1, 2), user="alice")
    machine.until(f"test -e {second}.xmp")
    machine.run(f"chown alice: {STATE}/outputs/results/*.jsonl")
    machine.until(f"systemctl show -p StatusText {UNIT} | grep healthy")
    said = machine.journal("-b", "-u", UNIT)
    assert said.count("permission denied") == 1, said
    machine.run(f"rm {first}.xmp {second}.xmp {first} {second}")


def test_a_stop_may_take_as_long_as_the_settings_say(machine: Machine) -> None:
    """`drain_seconds` beyond TimeoutStopSec is asked for: nothing is killed."""
    done = threading.Event()

    def script(_path: str, body: bytes) -> Reply | None:
        if b'"system"' in body:
            done.wait(180)
        return None

    with machine.network():
        backend = CountingBackend()
    backend.script = script
    longer = settings(ROOT, base_url=backend.base_url, more="[service]\ndrain_seconds = 120\n")
    machine.write(TOML, longer, user="alice")
    drop_in(machine, "[Service]\nTimeoutStopSec=3\n")
    machine.run(f"systemctl start {UNIT}")
    (path,) = machine.photos(ROOT, range(10, 11), user="alice")
    machine.until(lambda: backend.photo_requests > 0)
    machine.run(f"systemctl stop --no-block {UNIT}")
    machine.until(f"systemctl show -p ActiveState {UNIT} | grep deactivating")
    threading.Timer(8, done.set).start()
    machine.until(f"systemctl show -p ActiveState {UNIT} | grep inactive")
    assert machine.property(UNIT, "Result") == "success"
    machine.run(f"test -e {path}.xmp && rm {path}.xmp {path}")
    backend.close()


def test_crashes_in_a_row_end_it_never(machine: Machine) -> None:
    """Six in as many seconds, where five in ten minutes were its end: it is started again."""
    drop_in(machine, "[Service]\nRestartSec=100ms\n")
    machine.run(f"systemctl start {UNIT}")
    for number in range(6):
        pid = machine.property(UNIT, "MainPID")
        machine.run(f"kill -SEGV {pid}")
        machine.until(f'test "$(systemctl show -P NRestarts {UNIT})" = {number + 1}')
        machine.until(f"systemctl is-active {UNIT}")
    (path,) = machine.photos(ROOT, range(20, 21), user="alice")
    machine.until(f"test -e {path}.xmp")
    machine.run(f"rm {path}.xmp {path}")


def test_files_replaced_under_it_restart_it(machine: Machine) -> None:
    """It serves with the new files, without a word from anybody, and no photo has failed."""
    site = machine.run("echo /opt/taggerd/lib/python3*/site-packages").stdout.strip()
    machine.run(f"cp -r /opt/checkout/taggerd {site}/taggerd")
    machine.run(f"systemctl start {UNIT}")
    pid = machine.property(UNIT, "MainPID")
    machine.run(
        f"cp {site}/taggerd/pipeline.py {site}/new && mv {site}/new {site}/taggerd/pipeline.py"
    )
    paths = machine.photos(ROOT, range(30, 38), user="alice")
    machine.until(" && ".join(f"test -e {path}.xmp" for path in paths))
    assert machine.property(UNIT, "MainPID") != pid
    assert "status=75" in machine.journal("-b", "-u", UNIT)
    assert '"failed": []' in machine.run("taggerd status --json", user="alice").stdout
    machine.run(f"systemctl stop {UNIT} && rm -r {site}/taggerd")
