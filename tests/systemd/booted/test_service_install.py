"""``taggerd service`` where no package brought units: three kinds of service, one after the other.

Each test makes users and folders of its own, and leaves its service installed unless it says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.machine import settings

if TYPE_CHECKING:
    from support.machine import Machine

OWN_ENVIRONMENT = """
set -eu
venv=$HOME/.local/share/pipx/venvs/taggerd
mkdir -p "$HOME/.local/bin" "$HOME/.local/share/pipx/venvs"
python3 -m venv --without-pip "$venv"
cp /opt/taggerd/lib/python3*/site-packages/*.pth "$(echo "$venv"/lib/python3*/site-packages)"
sed "1s|.*|#!$venv/bin/python|" /opt/taggerd/bin/taggerd > "$venv/bin/taggerd"
chmod 755 "$venv/bin/taggerd"
ln -s "$venv/bin/taggerd" "$HOME/.local/bin/taggerd"
"""
"""Installs taggerd for one user, as pipx lays it out."""


@pytest.fixture(scope="module")
def machine(machine: Machine) -> Machine:
    """Return a machine with the program in /opt/taggerd, and nothing of it known to systemd."""
    machine.run(
        "rm -f /usr/lib/systemd/*/taggerd* /usr/lib/*.d/taggerd.conf; rm -rf /run/taggerd;"
        "userdel taggerd; groupdel taggerd-slots; systemctl daemon-reload; chmod 755 /srv"
    )
    return machine


def tags(machine: Machine, folder: str, user: str | None, *, number: int = 0) -> None:
    """Let a photo arrive in *folder*, and wait until it has a sidecar."""
    (path,) = machine.photos(folder, range(number, number + 1), user=user)
    machine.until(f"test -e {path}.xmp")


def opened(machine: Machine, unit: str) -> list[str]:
    """Return the folders that a service may write to, as systemd read them."""
    return machine.property(unit, "ReadWritePaths").split()


def test_root_installs_for_a_person(machine: Machine) -> None:
    """From nothing to a tagged photo by one command; a second one changes nothing."""
    machine.user("alice")
    machine.run("mkdir -p ~/Pictures/import", user="alice")
    said = machine.run(
        ["taggerd", "service", "install", "--user", "alice", "/home/alice/Pictures/import"]
    ).stdout
    assert said.splitlines()[-2].startswith("taggerd@alice.service: ")
    configured = settings("/home/alice/Pictures/import")
    machine.write("/home/alice/.config/taggerd/taggerd.toml", configured, user="alice")
    machine.run("systemctl reload taggerd@alice")
    tags(machine, "/home/alice/Pictures/import", "alice")
    assert opened(machine, "taggerd@alice") == ["-/run/taggerd/slots", "-/home/alice/Pictures"]
    pid = machine.property("taggerd@alice", "MainPID")
    again = machine.run("taggerd service install --user alice").stdout
    assert "write" not in again
    assert machine.property("taggerd@alice", "MainPID") == pid
    assert machine.run("systemctl is-enabled taggerd@alice").stdout == "enabled\n"


def test_a_folder_that_is_made_again_stays_writable(machine: Machine) -> None:
    """The folder above is opened: a new import folder of the same name is no read-only one."""
    machine.run("rm -r ~/Pictures/import && mkdir ~/Pictures/import", user="alice")
    tags(machine, "/home/alice/Pictures/import", "alice", number=1)


def test_the_users_commands_find_its_state_also_when_it_is_stopped(machine: Machine) -> None:
    """One queue for the service and its user's commands: nothing is paid for twice."""
    machine.run("systemctl stop taggerd@alice")
    said = machine.run("taggerd status", user="alice", check=False).stdout
    assert "/var/lib/taggerd-alice" in said
    assert machine.run("taggerd service status", user="alice", check=False).returncode == 3
    machine.run("systemctl start taggerd@alice")
    assert machine.run("taggerd service status", user="alice").stdout.startswith(
        "taggerd@alice.service: active, enabled"
    )


def test_the_drop_in_follows_new_folders(machine: Machine) -> None:
    """Status names what no longer fits, an installation mends it, and photos there are tagged."""
    machine.run("mkdir -p /srv/more/import && chown alice: /srv/more /srv/more/import")
    configured = settings("/home/alice/Pictures/import", "/srv/more/import")
    machine.write("/home/alice/.config/taggerd/taggerd.toml", configured, user="alice")
    found = machine.run("taggerd service status", user="alice", check=False)
    assert found.returncode == 1
    assert "taggerd service install --user alice" in found.stderr
    assert "the drop-in follows" in machine.run("taggerd service install --user alice").stdout
    tags(machine, "/srv/more/import", "alice", number=2)


def test_a_person_keeps_the_queue_that_they_have(machine: Machine) -> None:
    """Who scanned by hand before goes on with the same ledger."""
    machine.user("carol")
    machine.run("mkdir -p ~/Pictures/import", user="carol")
    configured = settings("/home/carol/Pictures/import")
    machine.write("/home/carol/.config/taggerd/taggerd.toml", configured, user="carol")
    machine.photos("/home/carol/Pictures/import", range(1), user="carol")
    machine.run("taggerd scan", user="carol")
    machine.run("taggerd service install --user carol")
    tags(machine, "/home/carol/Pictures/import", "carol", number=1)
    said = machine.run("taggerd status", user="carol", check=False).stdout
    assert "/home/carol/.local/state/taggerd" in said
    assert "2 tagged" in said
    machine.run("test ! -e /var/lib/taggerd-carol")


def test_a_user_installs_for_themselves(machine: Machine) -> None:
    """Without root: a unit of their own session, which starts their own program."""
    machine.user("bob", lingers=True)
    machine.run(OWN_ENVIRONMENT, user="bob")
    machine.run("mkdir -p ~/Bilder/import", user="bob")
    configured = settings("/home/bob/Bilder/import")
    machine.write("/home/bob/.config/taggerd/taggerd.toml", configured, user="bob")
    machine.run("~/.local/bin/taggerd service install", user="bob")
    starts = machine.run("systemctl --user show -p ExecStart taggerd", user="bob").stdout
    assert "path=/home/bob/.local/bin/taggerd " in starts
    tags(machine, "/home/bob/Bilder/import", "bob")
    log = machine.run("~/.local/bin/taggerd service logs -- --no-pager", user="bob").stdout
    assert "serving" in log
    refused = machine.run("~bob/.local/bin/taggerd service install --user bob", check=False)
    assert refused.returncode == 2
    assert "is installed in the session already" in refused.stderr


def test_setup_installs_the_service_of_a_session(machine: Machine) -> None:
    """From nothing to a tagged photo by one command, without root and without a question."""
    machine.user("dora", lingers=True)
    machine.run(OWN_ENVIRONMENT, user="dora")
    machine.run(
        "~/.local/bin/taggerd setup --yes --base-url builtin: --folder ~/Pictures --preview 0"
        " --service",
        user="dora",
    )
    tags(machine, "/home/dora/Pictures", "dora")


def test_the_machines_own_user_writes_by_the_groups_right(machine: Machine) -> None:
    """--system makes the user, and gives the service the group of the photos and its folders."""
    machine.run(
        "groupadd photos && mkdir -p /srv/photos/import && chgrp photos /srv/photos/import"
        " && chmod 755 /srv/photos/import"
    )
    command = "taggerd service install --system /srv/photos/import"
    refused = machine.run(command, check=False)
    assert refused.returncode == 2
    assert "user taggerd may not write to it" in refused.stderr
    machine.run("chmod 2775 /srv/photos/import")
    configured = settings("/srv/photos/import")
    machine.write("/etc/taggerd/taggerd.toml", configured)
    machine.run(command)
    (photo,) = machine.photos("/root/card", range(1))
    machine.run(f"cp {photo} /srv/photos/import")
    sidecar = "/srv/photos/import/IMG_0000.jpg.xmp"
    machine.until(f"test -e {sidecar}")
    assert machine.run(["stat", "-c", "%G", sidecar]).stdout == "photos\n"


@pytest.mark.parametrize(("unit", "most"), [("taggerd@alice", 1.3), ("taggerd", 1.3)])
def test_with_named_folders_little_is_exposed(machine: Machine, unit: str, most: float) -> None:
    """As installed, with its drop-in, each service is rated by systemd itself."""
    rated = machine.run(["systemd-analyze", "security", "--no-pager", unit]).stdout
    assert float(rated.split("Overall exposure level")[1].split()[2]) <= most, rated


def test_an_import_folder_that_is_missing_at_boot_keeps_nothing_from_starting(
    machine: Machine,
) -> None:
    """The service is up after a reboot, and tags once the folder is there."""
    machine.run("mv /srv/more/import /srv/more/away")
    machine.reboot()
    machine.until("systemctl is-active --quiet taggerd@alice")
    machine.run("mkdir /srv/more/import && chown alice: /srv/more/import")
    tags(machine, "/srv/more/import", "alice", number=3)


def test_uninstalling_leaves_what_is_the_users(machine: Machine) -> None:
    """No unit is left; photos, sidecars, settings and state are."""
    for user in ("bob", "dora"):
        machine.run("~/.local/bin/taggerd service uninstall", user=user)
    for switch in ("--user alice", "--user carol", "--system"):
        machine.run(f"taggerd service uninstall {switch}")
    left = machine.run("find /etc /home/*/.config/systemd -name 'taggerd*' -o -name '50-*'").stdout
    assert left.split() == ["/etc/taggerd", "/etc/taggerd/taggerd.toml"]
    machine.run("test -e /var/lib/taggerd-alice/ledger.sqlite")
    machine.run("test -e /home/bob/Bilder/import/IMG_0000.jpg.xmp")
    machine.run("test -e /home/bob/.config/taggerd/taggerd.toml")
    assert "no service is installed" in machine.run("taggerd service status", check=False).stderr
