"""The service's life under systemd: a fault that lasts at the start."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.machine import settings

if TYPE_CHECKING:
    from support.machine import Machine

UNIT = "taggerd@alice"
ROOT = "/home/alice/import"
STATE = "/var/lib/taggerd-alice"
TOML = "/home/alice/.config/taggerd/taggerd.toml"


@pytest.fixture(scope="module", autouse=True)
def alice(machine: Machine) -> None:
    """Make the user, her folder and settings."""
    machine.user("alice")
    machine.write(TOML, settings(ROOT), user="alice")
    machine.run(["mkdir", "-p", ROOT], user="alice")


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
