"""Metrics of the hardened service: a Prometheus scrapes it, and its sandbox lets it show them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from support.machine import settings
from support.observing import asked, get, prometheus, samples
from support.program import until

if TYPE_CHECKING:
    from pathlib import Path

    from support.machine import Machine

UNIT = "taggerd@alice"
CONFIGURATION = "/home/alice/.config/taggerd/taggerd.toml"
TEXTFILE = "/var/lib/prometheus/node-exporter/taggerd.prom"
SOCKET = f"/run/taggerd/{UNIT}/metrics.sock"
ASK = """
import socket, sys
asked = socket.socket(socket.AF_UNIX)
asked.connect(sys.argv[1])
asked.sendall(b"GET /readyz HTTP/1.1\\r\\nHost: taggerd\\r\\n\\r\\n")
print(asked.makefile().read())
"""


def test_prometheus_scrapes_the_service(machine: Machine, tmp_path: Path) -> None:
    """From its first photo on, over the loopback."""
    machine.user("alice")
    machine.run(["mkdir", "-p", "/home/alice/import"], user="alice")
    listen = '[metrics]\nlisten = "127.0.0.1:9108"\n'
    machine.write(CONFIGURATION, settings("/home/alice/import", more=listen), user="alice")
    machine.run(f"systemctl enable --now {UNIT}")
    (path,) = machine.photos("/home/alice/import", range(1), user="alice")
    machine.until(f"test -e {path}.xmp")
    with machine.network():
        status, ready = get("http://127.0.0.1:9108/readyz")
        assert (status, json.loads(ready)["health"]) == (200, "healthy")
        with prometheus("127.0.0.1:9108", tmp_path) as url:
            tagged = 'taggerd_attempts_total{outcome="tagged", job="taggerd"} == 1'
            until(lambda: asked(url, "query", query=tagged)["result"])
            (target,) = asked(url, "targets")["activeTargets"]
            assert target["health"] == "up"
            assert asked(url, "alerts")["alerts"] == []


def test_a_socket_and_a_text_file_do_the_same(machine: Machine) -> None:
    """The one in the unit's own folder; for the other a drop-in opens node_exporter's."""
    machine.run("install -d -o alice /var/lib/prometheus/node-exporter")
    machine.write(
        f"/etc/systemd/system/{UNIT}.service.d/metrics.conf",
        "[Service]\nReadWritePaths=/var/lib/prometheus/node-exporter\n",
    )
    shown = f'[metrics]\nlisten = "unix:{SOCKET}"\ntextfile = "{TEXTFILE}"\n'
    machine.write(CONFIGURATION, settings("/home/alice/import", more=shown), user="alice")
    machine.run(f"systemctl daemon-reload; systemctl restart {UNIT}")
    said = machine.run(["python3", "-c", ASK, SOCKET], user="alice").stdout
    assert "200 OK" in said
    assert '"health"' in said
    machine.photos("/home/alice/import", range(1, 2), user="alice")
    machine.until(f"test -e {TEXTFILE}")
    assert machine.run(["stat", "-c", "%a", TEXTFILE]).stdout == "644\n"
    machine.run(f"systemctl stop {UNIT}")
    found = samples(machine.read(TEXTFILE))
    assert found["taggerd_ready"] == 0
    assert machine.run(["test", "-e", SOCKET], check=False).returncode == 1
