"""The service of one person, taggerd@NAME, as shipped: what an administrator does to it.

All tests use the same service, which each leaves running, with every photo tagged.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from support.machine import settings
from support.program import CountingBackend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.machine import Machine
    from support.program import Reply

UNIT = "taggerd@alice"
HOME = "/home/alice"
SETTINGS = f"{HOME}/.config/taggerd/taggerd.toml"
ROOT = "/srv/photos/import"
KEY = "sk-of-nobody-else"
MORE = "[service]\ndrain_seconds = 3\n"


class Person:
    """A person whose service runs, and the backend it asks."""

    def __init__(self, machine: Machine) -> None:
        """Make the person, and start the service with a key that it must show."""
        self.machine = machine
        with machine.network():
            self.backend = CountingBackend()
        self.backend.key = KEY
        self.photos: list[str] = []
        machine.run("groupadd photos")
        machine.user("alice", "-G", "photos")
        machine.run(f"mkdir -p {ROOT} && chown -R alice:photos /srv/photos")
        machine.write(SETTINGS, self.settings(), user="alice")
        machine.write("/etc/taggerd/api_key-alice", KEY, mode="600")
        machine.write(
            f"/etc/systemd/system/{UNIT}.service.d/key.conf",
            "[Service]\nLoadCredential=backend.api_key:/etc/taggerd/api_key-alice\n",
        )
        machine.run(["systemctl", "daemon-reload"])
        machine.run(["systemctl", "enable", "--now", UNIT])

    def settings(self, *more_roots: str) -> str:
        """Return the settings file."""
        return settings(ROOT, *more_roots, base_url=self.backend.base_url, more=MORE)

    def add(self, count: int, folder: str = ROOT) -> list[str]:
        """Copy in photos that nobody has seen; return their paths."""
        first = len(self.photos)
        paths = self.machine.photos(folder, range(first, first + count), user="alice")
        self.photos += paths
        return paths

    def tagged(self, paths: list[str], seconds: float = 120.0) -> None:
        """Wait until photos have sidecars."""
        listed = " && ".join(f"test -e {path}.xmp" for path in paths)
        self.machine.until(listed, seconds)

    def hold(self) -> Callable[[], None]:
        """Let the backend answer nothing about a photo until the returned function is called."""
        answered = threading.Event()

        def script(_path: str, body: bytes) -> Reply | None:
            if b'"system"' in body:
                answered.wait(120)
            return None

        self.backend.script = script

        def release() -> None:
            self.backend.script = lambda _path, _body: None
            answered.set()

        return release

    def back(self) -> None:
        """Let the backend come back where it was."""
        with self.machine.network():
            self.backend = CountingBackend(self.backend.port)
        self.backend.key = KEY


@pytest.fixture(scope="module")
def person(machine: Machine) -> Iterator[Person]:
    """Return the person."""
    person = Person(machine)
    yield person
    person.backend.close()


def test_a_photo_gets_a_sidecar_of_its_owner_and_group(machine: Machine, person: Person) -> None:
    """Also where the group is not the owner's first, in a folder without setgid."""
    (path,) = person.add(1)
    person.tagged([path])
    machine.run(["chgrp", "photos", path])
    (other,) = person.add(1)
    machine.run(["chgrp", "photos", other])
    person.tagged([other])
    assert machine.run(["stat", "-c", "%U:%G", f"{other}.xmp"]).stdout == "alice:photos\n"


def test_a_key_by_credential_is_shown_to_the_backend_alone(
    machine: Machine, person: Person
) -> None:
    """It reaches the backend, and stands in no log, status or environment."""
    person.tagged(person.add(1))
    assert {key for key, _ in person.backend.asked} == {KEY}
    pid = machine.property(UNIT, "MainPID")
    seen = [
        machine.journal(),
        machine.run(["systemctl", "status", UNIT]).stdout,
        machine.run(["cat", f"/proc/{pid}/environ", f"/proc/{pid}/cmdline"]).stdout,
        machine.run("taggerd status --json; taggerd config show", user="alice", check=False).stdout,
    ]
    assert all(text and KEY not in text for text in seen)


def test_a_reload_takes_up_another_folder(machine: Machine, person: Person) -> None:
    """``systemctl reload`` works with a credential, and what is queued stays queued."""
    machine.run(["mkdir", "/srv/photos/second"], user="alice")
    release = person.hold()
    held = person.add(5)
    machine.until(lambda: person.backend.at_once > 0)
    machine.write(SETTINGS, person.settings("/srv/photos/second"), user="alice")
    machine.run(["systemctl", "reload", UNIT])
    release()
    person.tagged([*person.add(1, "/srv/photos/second"), *held])


def test_a_reload_with_bad_settings_changes_nothing(machine: Machine, person: Person) -> None:
    """It fails and says why; the service goes on with the settings it has."""
    pid = machine.property(UNIT, "MainPID")
    machine.write(SETTINGS, "[arrivals]\nroots = 7\n", user="alice")
    assert machine.run(["systemctl", "reload", UNIT], check=False).returncode
    machine.write(SETTINGS, person.settings("/srv/photos/second"), user="alice")
    person.tagged(person.add(1, "/srv/photos/second"))
    assert machine.property(UNIT, "MainPID") == pid
    assert "arrivals.roots" in machine.journal("-u", UNIT)


def test_a_backend_that_goes_is_waited_for(machine: Machine, person: Person) -> None:
    """Photos of an outage are tagged when the backend is back, none is given up on."""
    person.backend.die()
    paths = person.add(10)
    machine.until(lambda: "backend" in machine.property(UNIT, "StatusText"))
    person.back()
    person.tagged(paths)


def test_a_killed_service_is_started_again(machine: Machine, person: Person) -> None:
    """``kill -9`` loses no photo of the queue."""
    release = person.hold()
    paths = person.add(10)
    machine.until(lambda: person.backend.at_once > 0)
    machine.run(["systemctl", "kill", "-s", "KILL", UNIT])
    release()
    person.tagged(paths)
    assert machine.property(UNIT, "NRestarts") == "1"


def test_a_stuck_service_is_started_again(machine: Machine, person: Person) -> None:
    """A daemon that does nothing any more is ended, and another takes over its queue."""
    quick = f"/run/systemd/system/{UNIT}.service.d/quick.conf"
    machine.write(quick, "[Service]\nWatchdogSec=4\nRestartSec=1\n")
    machine.run(["systemctl", "daemon-reload"])
    machine.run(["systemctl", "restart", UNIT])
    release = person.hold()
    paths = person.add(5)
    machine.until(lambda: person.backend.at_once > 0)
    pid = machine.property(UNIT, "MainPID")
    machine.run(["kill", "-STOP", pid])
    release()
    person.tagged(paths)
    assert machine.property(UNIT, "MainPID") != pid
    assert "Watchdog timeout" in machine.journal("-u", UNIT)
    machine.run(f"rm {quick} && systemctl daemon-reload")
    machine.run(["systemctl", "restart", UNIT])


def test_a_stop_leaves_what_is_in_flight_to_the_next_start(
    machine: Machine, person: Person
) -> None:
    """With 50 photos in flight a stop ends in order, in less than systemd allows."""
    fifty = person.settings().replace("[backend]\n", "[backend]\nmax_concurrency = 50\n")
    machine.write(SETTINGS, fifty, user="alice")
    machine.run(["systemctl", "restart", UNIT])
    # The limit grows with each success.
    person.tagged(person.add(60), 240)
    release = person.hold()
    paths = person.add(60)
    machine.until(lambda: person.backend.at_once >= 50)
    machine.run(["systemctl", "stop", UNIT])
    release()
    assert machine.property(UNIT, "Result") == "success"
    assert "timed out" not in machine.journal("-u", UNIT)
    machine.run(["systemctl", "start", UNIT])
    person.tagged(paths)


def test_a_folder_may_be_removed_and_made_again(machine: Machine, person: Person) -> None:
    """What is copied into the new one is tagged, without a restart."""
    machine.run(["rm", "-r", ROOT])
    machine.until(lambda: machine.property(UNIT, "StatusText").startswith("degraded"))
    machine.run(["mkdir", ROOT], user="alice")
    person.tagged(person.add(1))


def test_a_disk_may_go_and_return(machine: Machine, person: Person) -> None:
    """A mount that comes after the start, goes and returns is written to each time."""
    mount = "mount -t tmpfs -o mode=777 card /mnt/card"
    machine.run("mkdir -p /mnt/card")
    machine.write(SETTINGS, person.settings("/mnt/card/DCIM"), user="alice")
    machine.run(["systemctl", "restart", UNIT])
    machine.run(f"{mount} && install -d -o alice /mnt/card/DCIM")
    person.tagged(person.add(1, "/mnt/card/DCIM"))
    machine.until("umount /mnt/card")
    machine.run(f"{mount} && install -d -o alice /mnt/card/DCIM")
    person.tagged(person.add(1, "/mnt/card/DCIM"))
    machine.until("umount /mnt/card")


def test_the_timer_fires_beside_the_service(machine: Machine, person: Person) -> None:
    """A nightly scan while the service runs ends well, and asks about no photo again."""
    asked = len(person.backend.asked)
    machine.write(
        "/run/systemd/system/taggerd-scan@alice.timer.d/now.conf",
        "[Timer]\nOnCalendar=\nOnActiveSec=1s\nRandomizedDelaySec=0\nAccuracySec=1s\n",
    )
    machine.write(
        "/etc/systemd/system/taggerd-scan@alice.service.d/key.conf",
        "[Service]\nLoadCredential=backend.api_key:/etc/taggerd/api_key-alice\n",
    )
    machine.run("systemctl daemon-reload && systemctl start taggerd-scan@alice.timer")
    scan = "taggerd-scan@alice.service"
    machine.until(lambda: machine.property(scan, "ExecMainExitTimestamp"))
    assert machine.property(scan, "Result") == "success"
    assert machine.property(UNIT, "ActiveState") == "active"
    assert len(person.backend.asked) == asked


def test_two_people_have_two_services(machine: Machine, person: Person) -> None:
    """Each tags their own photos, as themselves."""
    machine.user("bob")
    configured = settings("/home/bob/import")
    machine.write("/home/bob/.config/taggerd/taggerd.toml", configured, user="bob")
    machine.run(["mkdir", "/home/bob/import"], user="bob")
    machine.run(["systemctl", "enable", "--now", "taggerd@bob"])
    (path,) = machine.photos("/home/bob/import", range(1), user="bob")
    person.tagged([*person.add(1), path])
    assert machine.run(["stat", "-c", "%U:%G", f"{path}.xmp"]).stdout == "bob:bob\n"
    machine.run(["systemctl", "disable", "--now", "taggerd@bob"])


def test_a_reboot_is_caught_up_with(machine: Machine, person: Person) -> None:
    """The service starts by itself, its folder missing, and tags what came meanwhile."""
    machine.write(SETTINGS, person.settings("/srv/photos/late"), user="alice")
    machine.run(["systemctl", "stop", UNIT])
    paths = person.add(5)
    person.backend.close()
    machine.reboot()
    person.back()
    person.tagged(paths)
    assert machine.property(UNIT, "ActiveState") == "active"
    machine.run(["mkdir", "/srv/photos/late"], user="alice")
    person.tagged(person.add(1, "/srv/photos/late"))
