"""The service of one person, from enabling it to a tagged photo."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.machine import settings

if TYPE_CHECKING:
    from support.machine import Machine


def test_a_photo_is_tagged_for_its_owner(machine: Machine) -> None:
    """A photo copied in gets a sidecar that belongs to the photo's owner and group."""
    machine.user("alice")
    configured = settings("/home/alice/import")
    machine.write("/home/alice/.config/taggerd/taggerd.toml", configured, user="alice")
    machine.run(["mkdir", "-p", "/home/alice/import"], user="alice")
    machine.run("systemctl enable --now taggerd@alice")
    (path,) = machine.photos("/home/alice/import", range(1), user="alice")
    machine.until(f"test -e {path}.xmp")
    assert machine.run(["stat", "-c", "%U:%G", f"{path}.xmp"]).stdout == "alice:alice\n"
