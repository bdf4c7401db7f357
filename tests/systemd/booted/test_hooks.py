"""Hooks of a service under systemd: notices outlive a kill and a reboot; commands are confined."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from support.hearing import Listener
from support.machine import settings
from support.program import until

if TYPE_CHECKING:
    from support.machine import Machine

PORT = 18399
"""Nothing listens there before the test does."""


def test_a_webhook_hears_of_everything_over_a_kill_and_a_reboot(machine: Machine) -> None:
    """It is away while photos are tagged; a command hears as well, without the unit's variables."""
    machine.user("alice")
    machine.write(
        "/usr/local/bin/hook", "#!/bin/sh\n{ env; cat; } > /srv/in/told.txt\n", mode="755"
    )
    hooks = (
        f'\n[hooks.after_photo]\nurl = "http://127.0.0.1:{PORT}"\nsecret = "s3cret"\n'
        '\n[hooks.after_batch]\ncommand = ["/usr/local/bin/hook"]\n\n[hooks]\nidle_seconds = 1\n'
    )
    machine.write(
        "/home/alice/.config/taggerd/taggerd.toml", settings("/srv/in", more=hooks), user="alice"
    )
    machine.run("mkdir -p /srv/in && chown alice: /srv/in")
    machine.run("systemctl enable --now taggerd@alice")
    paths = machine.photos("/srv/in", range(3), user="alice")
    for path in paths:
        machine.until(f"test -e {path}.xmp")
    machine.until("journalctl -u taggerd@alice | grep -q 'a webhook takes no notices'")
    machine.run("systemctl kill -s KILL taggerd@alice")
    machine.reboot()
    with machine.network():
        listener = Listener(PORT)
    try:
        until(lambda: {n["data"]["photo"] for n in listener.notices("photo.tagged")} == {*paths})
    finally:
        listener.close()
    assert "s3cret" not in machine.journal("-u", "taggerd@alice")
    told = machine.read("/srv/in/told.txt")
    assert "NOTIFY_SOCKET" not in told
    assert json.loads(told.splitlines()[-1])["type"] == "batch.ended"
