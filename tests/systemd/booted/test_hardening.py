"""Each protection alone: the program tags with it, or what it costs is what the units say.

The photos belong to a group of their owner's that is not the owner's first, in a folder without
setgid: there a sidecar's group has to be given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.machine import settings
from support.program import CountingBackend

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.machine import Machine

HOME = "/home/alice"
ALONE = [
    "ProcSubset=pid",
    "SystemCallFilter=~@resources|SystemCallErrorNumber=EPERM",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
    "DevicePolicy=closed",
    "PrivateMounts=yes",
    "UMask=0027",
    "UMask=0077",
    "ProtectSystem=strict|ReadWritePaths=-/home -/srv -/mnt -/media",
    "NoExecPaths=-/home -/srv -/mnt -/media -/run /var",
    "IPAddressDeny=any|IPAddressAllow=localhost",
    f"ProtectHome=tmpfs|BindPaths={HOME}",
]


@pytest.fixture(scope="module")
def backend(machine: Machine) -> Iterator[CountingBackend]:
    """Return a backend on the machine's loopback, and make a person whose settings name it."""
    with machine.network():
        serving = CountingBackend()
    machine.run("groupadd photos")
    machine.user("alice", "-G", "photos")
    by_name = serving.base_url.replace("127.0.0.1", "localhost")  # so that it is looked up
    configured = settings(f"{HOME}/import", base_url=by_name)
    machine.write(f"{HOME}/.config/taggerd/taggerd.toml", configured, user="alice")
    yield serving
    serving.close()


def sidecar_of_scan(machine: Machine, properties: str, number: int) -> str:
    """Scan one new photo in a service with *properties*; return its sidecar's owner and mode."""
    (path,) = machine.photos(f"{HOME}/import", range(number, number + 1), user="alice")
    machine.run(["chgrp", "photos", path])
    switches = [word for line in properties.split("|") for word in ("-p", line)]
    machine.run(["systemd-run", "--wait", "-q", "-p", "User=alice", *switches, "taggerd", "scan"])
    return machine.run(["stat", "-c", "%U:%G %a", f"{path}.xmp"]).stdout.strip()


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("properties", ALONE)
def test_a_protection_alone_costs_nothing(machine: Machine, properties: str) -> None:
    """The photo is tagged, and its sidecar has its owner, its group and its mode."""
    assert sidecar_of_scan(machine, properties, ALONE.index(properties)) == "alice:photos 644"


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize(
    "properties", ["PrivateUsers=yes", "SystemCallFilter=~@chown|SystemCallErrorNumber=EPERM"]
)
def test_what_is_left_out_costs_the_group(machine: Machine, properties: str) -> None:
    """The units say that these two cost a sidecar its photo's group: so they do."""
    number = 100 + len(properties)
    assert sidecar_of_scan(machine, properties, number) == "alice:alice 644"
