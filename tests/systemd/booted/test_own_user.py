"""The service with a user of its own, as shipped, for a folder that a photographer shares."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.machine import settings

if TYPE_CHECKING:
    from support.machine import Machine

ROOT = "/srv/photos/import"
MAKE = f"install -d -o alice -g photos -m 775 {ROOT}"
SETGID = f"install -d -o alice -g photos -m 2775 {ROOT}"
_numbers = iter(range(1000))


@pytest.fixture(scope="module")
def machine(machine: Machine) -> Machine:
    """Return a machine whose service is enabled and running, with its import folder missing."""
    machine.run("groupadd photos")
    machine.user("alice", "-G", "photos")
    machine.write("/etc/taggerd/taggerd.toml", settings(ROOT))
    machine.write(
        "/etc/systemd/system/taggerd.service.d/group.conf",
        "[Service]\nSupplementaryGroups=photos\n",
    )
    machine.run("systemctl daemon-reload && systemctl enable --now taggerd")
    return machine


def tagged(machine: Machine) -> str:
    """Let Alice copy in a photo; return the path of its sidecar, once it is there."""
    (path,) = machine.photos(ROOT, range(number := next(_numbers), number + 1), user="alice")
    machine.until(f"test -e {path}.xmp")
    return f"{path}.xmp"


def test_a_folder_that_is_missing_at_start_is_waited_for(machine: Machine) -> None:
    """The service is up without it (once: 226/NAMESPACE), and tags when it appears."""
    assert machine.property("taggerd", "ActiveState") == "active"
    machine.run(SETGID)
    tagged(machine)


def test_a_folder_that_is_made_again_is_written_to(machine: Machine) -> None:
    """Without a restart: the folder above is opened to the service, not the folder."""
    machine.run(["rm", "-r", ROOT])
    machine.until(lambda: machine.property("taggerd", "StatusText").startswith("degraded"))
    machine.run(SETGID)
    tagged(machine)


@pytest.mark.parametrize("make", [MAKE, SETGID])
def test_the_photographer_may_edit_a_sidecar(machine: Machine, make: str) -> None:
    """Its owner cannot be given by a service without rights; its group lets them write."""
    machine.run(make)
    (path,) = machine.photos(ROOT, range(number := next(_numbers), number + 1))
    machine.run(f"chown alice:photos {path} && chmod 644 {path}")
    machine.until(f"test -e {path}.xmp")
    assert machine.run(["stat", "-c", "%G %a", f"{path}.xmp"]).stdout == "photos 664\n"
    machine.run(f"echo >> {path}.xmp", user="alice")


def test_a_missing_folder_keeps_nothing_from_booting(machine: Machine) -> None:
    """After a reboot without it the service runs, and tags once it is there."""
    machine.run(["rm", "-r", ROOT])
    machine.reboot()
    machine.until("systemctl is-active --quiet taggerd")
    machine.run(SETGID)
    tagged(machine)
