"""The Debian package, from its installation to its purge, by ``dpkg`` alone.

The tests share a machine and its photos: each goes on where the one before it ended.
"""

from __future__ import annotations

import json
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.machine import settings
from support.program import REPOSITORY, CountingBackend

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.machine import Machine
    from support.program import Reply

NEXT = "99.0"
IMPORT = "/home/alice/import"
QUEUED = 12
ONE_ATTEMPT = "[queue]\nmax_attempts = 1\n[service]\ndrain_seconds = 1\n"
"""Whatever is charged to a photo makes it fail."""


def built(*options: str) -> Path:
    """Return a package of this tree."""
    command = [str(REPOSITORY / "scripts" / "package"), "--fast", *options]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=900)
    return Path(result.stdout.strip())


@pytest.fixture(scope="module")
def packages() -> tuple[Path, Path]:
    """Return the package of this version, and one of a later version."""
    return built(), built("--version", NEXT)


@pytest.fixture(scope="module")
def installed(bare: Machine, packages: tuple[Path, Path]) -> Machine:
    """Return a machine on which the package has been installed, and that knows alice."""
    for package, name in zip(packages, ("this", "next"), strict=True):
        bare.copy(package, f"/root/{name}.deb")
    bare.run("dpkg -i /root/this.deb")
    bare.user("alice")
    return bare


@pytest.fixture(scope="module")
def backend(installed: Machine) -> Iterator[CountingBackend]:
    """Return a backend that alice's service reaches."""
    with installed.network():
        server = CountingBackend()
    yield server
    server.close()


def counts(machine: Machine) -> dict[str, int]:
    """Return how many photos of alice's are in which state."""
    text = machine.run("taggerd status --json", user="alice", check=False).stdout
    said: dict[str, Any] = json.loads(text)
    found: dict[str, int] = said["counts"]
    return found


def everything(machine: Machine) -> str:
    """Return a digest of each photo and sidecar."""
    return machine.run(
        "find /home /var/lib/taggerd -path '*import/*' -type f | xargs sha256sum"
    ).stdout


def versions(machine: Machine) -> list[str]:
    """Return the names of the versioned folders."""
    return machine.run("cd /usr/lib/taggerd && ls -d -- *-*").stdout.split()


def test_everything_is_installed_and_nothing_is_started(installed: Machine) -> None:
    """Users, folders and units are there; the administrator has yet to say which photos."""
    installed.run("id taggerd && getent group taggerd-slots && test -d /run/taggerd/slots")
    assert installed.run("dpkg --verify taggerd").stdout == ""
    assert installed.run("systemctl --failed --quiet").stdout == ""
    for unit in ("taggerd.service", "taggerd@.service", "taggerd-scan@.timer"):
        assert installed.run(["systemctl", "is-enabled", unit], check=False).stdout == "disabled\n"
    said = installed.run("systemctl --user --global is-enabled taggerd.service", check=False)
    assert said.stdout == "disabled\n"
    assert installed.run(["pgrep", "-f", "bin/taggerd"], check=False).stdout == ""


def test_everybody_may_read_the_settings(installed: Machine) -> None:
    """No key is there, and a command that cannot read them ends with exit code 2."""
    assert installed.run("stat -c '%a %U:%G' /etc/taggerd").stdout == "755 root:root\n"
    assert (
        "/etc/taggerd/taggerd.toml"
        in installed.run("dpkg-query --showformat '${Conffiles}' --show taggerd").stdout
    )
    installed.run("echo '[image]\nmax_edge = 777' > /etc/taggerd/taggerd.toml")
    assert "777" in installed.run("taggerd config show", user="alice").stdout


def test_its_service_tags(installed: Machine, backend: CountingBackend) -> None:
    """Its units are used as they are, with drop-ins; what is copied in is tagged, for the owner."""
    toml = settings(IMPORT, base_url=backend.base_url, more=ONE_ATTEMPT)
    installed.write("/home/alice/.config/taggerd/taggerd.toml", toml, user="alice")
    installed.run(["mkdir", "-p", IMPORT], user="alice")
    installed.run("taggerd service install --user alice")
    written = installed.run("find /etc/systemd/system -type f -name '*taggerd*'").stdout.split()
    assert all(".d/" in path for path in written)
    (path,) = installed.photos(IMPORT, range(1), user="alice")
    installed.until(f"test -e {path}.xmp")
    assert installed.run(["stat", "-c", "%U:%G", f"{path}.xmp"]).stdout == "alice:alice\n"


def test_an_upgrade_keeps_the_queue(installed: Machine, backend: CountingBackend) -> None:
    """Running services are restarted with the new version; what was queued is tagged by it.

    One attempt is all that a photo has: none is charged for the upgrade. A daemon that the package
    does not know of keeps its own version's files, from which it starts workers.
    """
    answered = threading.Event()
    deadline = 120.0

    def held(path: str, _body: bytes) -> Reply | None:
        if path.endswith("/chat/completions"):
            answered.wait(deadline)
        return None

    installed.user("bob")
    toml = settings("/home/bob/import", more="[workers]\nfiles_per_process = 1\n")
    installed.write("/home/bob/.config/taggerd/taggerd.toml", toml, user="bob")
    installed.run("mkdir ~/import", user="bob")
    other = installed.start(["taggerd", "run"], user="bob")
    before = installed.property("taggerd@alice", "MainPID")
    (old,) = versions(installed)

    backend.script = held
    installed.photos(IMPORT, range(1, QUEUED + 1), user="alice")
    installed.until(lambda: counts(installed)["queued"] + counts(installed)["claimed"] == QUEUED)
    try:
        installed.run("dpkg -i /root/next.deb")
        assert installed.run("taggerd --version").stdout == f"taggerd {NEXT}\n"
        after = installed.property("taggerd@alice", "MainPID")
        assert after not in {before, "0"}
        assert f"/{NEXT}-" in installed.read(f"/proc/{after}/cmdline")
        found = counts(installed)
        assert found["queued"] + found["claimed"] == QUEUED
    finally:
        answered.set()
    paths = [f"{IMPORT}/IMG_{number:04}.jpg" for number in range(1, QUEUED + 1)]
    installed.until("test " + " -a ".join(f"-e {path}.xmp" for path in paths))
    assert counts(installed)["quarantined"] == 0

    later = installed.photos("/home/bob/import", range(3), user="bob")
    installed.until("test " + " -a ".join(f"-e {path}.xmp" for path in later))
    assert old in versions(installed)
    assert other.poll() is None
    installed.run(["pkill", "-TERM", "-f", "-u", "bob", "taggerd run"])
    other.wait(180)


def test_a_version_goes_when_nobody_runs_from_it(installed: Machine) -> None:
    """The next installation, of the same package too, leaves only the version that is started."""
    installed.run("dpkg -i /root/next.deb")
    (left,) = versions(installed)
    assert left.startswith(f"{NEXT}-")


def test_what_is_removed_leaves_settings_queue_and_photos(installed: Machine) -> None:
    """Services end; who installs it again goes on where they were."""
    before = everything(installed)
    installed.run("dpkg --remove taggerd")
    assert everything(installed) == before
    installed.run("test ! -e /usr/lib/taggerd -a ! -e /usr/bin/taggerd")
    installed.run("test -e /etc/taggerd/taggerd.toml -a -e /var/lib/taggerd-alice/ledger.sqlite")
    assert installed.run(["pgrep", "-u", "alice"], check=False).stdout == ""
    installed.run("dpkg -i /root/next.deb && systemctl start taggerd@alice")
    assert counts(installed) | {"recorded": 0} == dict.fromkeys(counts(installed), 0)


def test_a_purge_touches_no_photo(installed: Machine) -> None:
    """Photos and sidecars stay, even in the state's own folder; settings and queue go."""
    installed.run("mkdir -p /var/lib/taggerd/import")
    installed.photos("/var/lib/taggerd/import", range(1))
    before = everything(installed)
    installed.run("dpkg --purge taggerd")
    assert everything(installed) == before
    left = installed.run("find /etc/taggerd /var/lib/taggerd-alice", check=False).stdout
    assert left == ""
    installed.run("test -e /var/lib/taggerd/import/IMG_0000.jpg")
    left = "find /etc/systemd /var/lib/systemd/deb-systemd* -name 'taggerd*'"
    assert installed.run(left).stdout == ""
    assert installed.run("systemctl --failed --quiet").stdout == ""
