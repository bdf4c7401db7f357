"""The state of a running service: what other commands, and other people, may do to it.

All tests use the same service of alice, which each leaves running.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from support.machine import settings

if TYPE_CHECKING:
    from support.machine import Machine

UNIT = "taggerd@alice"
STATE = "/var/lib/taggerd-alice"
SETTINGS = "/home/alice/.config/taggerd/taggerd.toml"
ROOT = "/srv/in"


def tagged(machine: Machine) -> int:
    """Return how many photos the ledger knows as tagged."""
    shown = machine.run(
        f"taggerd status --json --state-directory {STATE}", user="alice", check=False
    )
    return int(json.loads(shown.stdout)["counts"]["recorded"])


@pytest.fixture(scope="module")
def service(machine: Machine) -> Machine:
    """Return a machine on which alice's service has tagged two photos and a bad one failed."""
    machine.user("alice")
    machine.user("mallory")
    machine.write(SETTINGS, settings(ROOT), user="alice")
    machine.run(f"mkdir -p {ROOT} && chown alice: {ROOT}")
    machine.run(["systemctl", "enable", "--now", UNIT])
    for path in machine.photos(ROOT, range(2), user="alice"):
        machine.until(f"test -e {path}.xmp")
    machine.until(lambda: tagged(machine) == 2)
    return machine


def test_a_newer_command_leaves_the_ledger_of_the_service(service: Machine) -> None:
    """Its status shows the older service's queue; what would migrate the ledger is refused."""
    service.run(
        'python=$(sed -n "1s/^#!//p" "$(readlink -f "$(command -v taggerd)")") && '
        'from=$("$python" -c "import taggerd; print(taggerd.__path__[0])") && '
        'mkdir -p /opt/newer && cp -r "$from" /opt/newer/taggerd && '
        'echo "CREATE TABLE later (id INTEGER PRIMARY KEY) STRICT;" '
        ">/opt/newer/taggerd/ledger/steps/0999_later.sql && "
        'printf \'#!/bin/sh\\nPYTHONPATH=/opt/newer exec %s -m taggerd "$@"\\n\' "$python" '
        ">/opt/newer/taggerd.sh && chmod 755 /opt/newer/taggerd.sh"
    )
    newer = "/opt/newer/taggerd.sh"
    shown = service.run(f"{newer} status --json", user="alice")
    assert json.loads(shown.stdout)["counts"]["recorded"] == 2
    refused = service.run(f"{newer} pause", user="alice", check=False)
    assert refused.returncode == 2
    assert "in use by an older taggerd" in refused.stderr
    pid = service.property(UNIT, "MainPID")
    (path,) = service.photos(ROOT, range(2, 3), user="alice")
    service.until(f"test -e {path}.xmp")
    service.run(["systemctl", "restart", UNIT])
    assert service.property(UNIT, "MainPID") != pid
    assert service.property(UNIT, "ActiveState") == "active"
    # Alone, the newer one migrates, and the older one refuses what it does not know.
    service.run(["systemctl", "stop", UNIT])
    service.run(f"{newer} resume", user="alice")
    older = service.run("taggerd resume", user="alice", check=False)
    assert older.returncode == 2
    assert "created by a newer taggerd (schema 999" in older.stderr
    # The way back, as the log says it.
    service.run(
        f"cd {STATE} && rm -f ledger.sqlite-wal ledger.sqlite-shm && "
        "mv ledger.sqlite.schema-* ledger.sqlite",
        user="alice",
    )
    service.run(["systemctl", "start", UNIT])
    service.until(lambda: tagged(service) == 3)


def test_a_run_beside_the_service_is_refused(service: Machine) -> None:
    """In a terminal, with a state of its own, on the service's folder or one below or above it."""
    service.run(f"mkdir -p {ROOT}/2026 && chown alice: {ROOT}/2026")
    for folder in (ROOT, f"{ROOT}/2026", "/srv"):
        run = ["taggerd", "run", "--state-directory", "/home/alice/own", "--input-dir", folder]
        refused = service.run(run, user="alice", check=False)
        assert refused.returncode == 2, refused.stderr
        assert f"import folder of another taggerd ({UNIT}, pid " in refused.stderr


@pytest.mark.parametrize("user", ["mallory", "root"])
def test_others_are_told_whom_to_become(service: Machine, user: str) -> None:
    """One line, no traceback, and nothing in alice's state belongs to somebody else."""
    for command in ("status", "pause", "ledger backup /tmp/b", f"scan {ROOT}", "retry --all"):
        told = service.run(f"taggerd {command} --state-directory {STATE}", user=user, check=False)
        assert told.returncode in {1, 2}, told
        assert "Traceback" not in told.stderr
        last = told.stderr.splitlines()[-1]
        assert "sudo -u alice" in last or "ermission denied" in last, told.stderr
    assert service.run(f"find {STATE} ! -user alice").stdout == ""


def test_an_idle_service_leaves_its_disk_alone(service: Machine) -> None:
    """What it publishes is in memory; a command that asks it writes nothing there either."""
    newest = f"find {STATE} ! -name '*-shm' -printf '%T@ %p\\n' | sort -n | tail -1"
    live = f"stat -c %Y /run/taggerd/{UNIT}/*.status.json"
    service.until(lambda: "healthy" in service.run("taggerd status", user="alice").stdout)
    before, lived = service.run(newest).stdout, service.run(live).stdout
    service.until(lambda: service.run(live).stdout > lived)  # it says that it lives
    service.run("taggerd status", user="alice")
    assert service.run(newest).stdout == before
    assert "status.json" not in service.run(["ls", "-A", STATE]).stdout


def test_a_backup_of_the_running_service_is_restored(service: Machine) -> None:
    """As README says it; photos tagged since the backup keep their sidecars, as they are."""
    service.run("taggerd ledger backup /home/alice/backup", user="alice")
    again = service.run("taggerd ledger backup /home/alice/backup", user="alice", check=False)
    assert again.returncode == 2
    (path,) = service.photos(ROOT, range(10, 11), user="alice")
    service.until(f"test -e {path}.xmp")
    service.until(lambda: tagged(service) == 4)
    seal = service.run(["sha256sum", f"{path}.xmp"]).stdout
    service.run(["systemctl", "stop", UNIT])
    service.run(
        f"cd {STATE} && rm -f ledger.sqlite-wal ledger.sqlite-shm && "
        "install -m 600 /home/alice/backup ledger.sqlite",
        user="alice",
    )
    assert tagged(service) == 3
    service.run(["systemctl", "start", UNIT])
    service.until(lambda: tagged(service) == 4)
    assert service.run(["sha256sum", f"{path}.xmp"]).stdout == seal
