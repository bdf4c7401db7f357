"""What the journal holds of the service: entries with fields, each with its priority.

The tests share alice's service, in order.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from support.machine import settings
from support.program import CountingBackend

from taggerd.logs import CANNOT_RUN, MESSAGE_IDS

if TYPE_CHECKING:
    from support.machine import Machine

UNIT = "taggerd@alice"
FOLDER = "/home/alice/import"
CONFIGURATION = "/home/alice/.config/taggerd/taggerd.toml"


def entries(machine: Machine, *matches: str) -> list[dict[str, Any]]:
    """Return the entries of the service that match."""
    command = ["journalctl", "-u", UNIT, "-o", "json", "-q", "--no-pager", *matches]
    return [json.loads(line) for line in machine.run(command).stdout.splitlines()]


def test_a_photo_is_found_by_its_path(machine: Machine) -> None:
    """One entry a photo: of priority info, with an id for the kind of event."""
    machine.user("alice")
    machine.write(CONFIGURATION, settings(FOLDER), user="alice")
    machine.run(["mkdir", "-p", FOLDER], user="alice")
    machine.run(f"systemctl enable --now {UNIT}")
    first, _ = machine.photos(FOLDER, range(2), user="alice")
    machine.until(f"test $(ls {FOLDER}/*.xmp | wc -l) = 2")
    machine.until(lambda: len(entries(machine, f"MESSAGE_ID={MESSAGE_IDS['tagged']}")) == 2)
    (entry,) = entries(machine, f"TAGGERD_PHOTO={first}")
    assert entry["MESSAGE"] == f"tagged photo={first}"
    assert (entry["PRIORITY"], entry["SYSLOG_IDENTIFIER"]) == ("6", "taggerd")
    assert entry["_TRANSPORT"] == "journal"
    (entry,) = entries(machine, f"TAGGERD_ROOT={FOLDER}")
    assert entry["MESSAGE_ID"] == MESSAGE_IDS["watching"]
    # Only what systemd itself says of the unit has no identity of ours.
    ours = entries(machine, "SYSLOG_IDENTIFIER=taggerd")
    assert {entry["_TRANSPORT"] for entry in ours} == {"journal"}


def test_an_outage_is_two_entries(machine: Machine) -> None:
    """Of twelve photos that wait for a backend that is away, none has an entry of its own."""
    with machine.network():
        backend = CountingBackend()
    away = True
    backend.script = lambda _path, _body: (503, {}, b"loading") if away else None
    machine.write(CONFIGURATION, settings(FOLDER, base_url=backend.base_url), user="alice")
    machine.run(f"systemctl restart {UNIT}")
    photos = machine.photos(FOLDER, range(2, 14), user="alice")
    machine.until(lambda: entries(machine, f"TAGGERD_ENDPOINT={backend.base_url}"))
    away = False
    machine.until(f"test $(ls {FOLDER}/*.xmp | wc -l) = 14")
    machine.until(lambda: entries(machine, f"TAGGERD_PHOTO={photos[-1]}"))
    found = [
        entry["MESSAGE_ID"] for entry in entries(machine, f"TAGGERD_ENDPOINT={backend.base_url}")
    ]
    assert found == [
        MESSAGE_IDS["backend unusable; work waits for it"],
        MESSAGE_IDS["backend is usable"],
    ]
    for path in photos:
        assert len(entries(machine, f"TAGGERD_PHOTO={path}")) == 1
    backend.close()


def test_why_it_does_not_start_is_an_error(machine: Machine) -> None:
    """`journalctl -p err` names the setting; it was information, as all that a program prints."""
    machine.write(CONFIGURATION, settings(FOLDER, more="[backend2]\nmodel = 1\n"), user="alice")
    machine.run(f"systemctl restart {UNIT}", check=False)
    machine.until(lambda: entries(machine, f"MESSAGE_ID={MESSAGE_IDS[CANNOT_RUN]}"))
    entry = entries(machine, f"MESSAGE_ID={MESSAGE_IDS[CANNOT_RUN]}")[0]
    assert "backend2" in entry["MESSAGE"]
    assert entry["PRIORITY"] == "3"
    machine.run(f"systemctl stop {UNIT}")


def test_json_lines_bear_their_priority(machine: Machine) -> None:
    """By setting, for a collector that reads the journal: they were all of one priority."""
    more = '[service]\nlog_format = "json"\n'
    text = settings(FOLDER, "/home/alice/nowhere", more=more)
    machine.write(CONFIGURATION, text, user="alice")
    machine.run(f"systemctl reset-failed {UNIT}; systemctl start {UNIT}")
    machine.until(lambda: entries(machine, "-p", "4..4", "-g", "nowhere"))
    entry = entries(machine, "-p", "4..4", "-g", "nowhere")[0]
    assert json.loads(entry["MESSAGE"])["import_folder"] == "/home/alice/nowhere"
