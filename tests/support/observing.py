"""Reading what a running daemon shows of itself: directly, and by a real Prometheus."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from prometheus_client.parser import text_string_to_metric_families

from support.program import REPOSITORY, SECONDS, until
from support.serving import peer, served

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.program import Program

ALERTS = REPOSITORY / "config" / "alerts.yml"

SETTINGS = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: ["{alerts}"]
scrape_configs:
  - job_name: taggerd
    static_configs: [{{targets: ["{target}"]}}]
"""


def address(taggerd: Program) -> str:
    """Return where the daemon that started last serves its metrics, once it does."""
    found = until(lambda: re.findall(r"metrics are served.*port=(\d+)", taggerd.log()))
    return f"http://127.0.0.1:{found[-1]}"


def get(url: str) -> tuple[int, str]:
    """Return status and text of a page; status 0: nobody listens."""
    try:
        with urllib.request.urlopen(url, timeout=SECONDS) as answer:  # noqa: S310 - http, our own
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def samples(text: str) -> dict[str, float]:
    """Return the samples of an exposition as ``name{label="value"}``, labels in their order."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            found[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
    return found


def promtool(*arguments: str, given: str = "") -> None:
    """Have promtool check something; it must find nothing to say against it."""
    done = subprocess.run(
        [peer("prometheus", "promtool"), *arguments],
        input=given,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr


@contextmanager
def prometheus(target: str, folder: Path) -> Iterator[str]:
    """Run Prometheus on *target* and yield its address."""
    program = peer("prometheus", "prometheus")
    settings = folder / "prometheus.yml"
    settings.write_text(SETTINGS.format(alerts=ALERTS, target=target))
    promtool("check", "config", str(settings))

    def command(port: int) -> list[str]:
        return [
            str(program),
            f"--config.file={settings}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]

    with served(command, "/-/ready", folder / "prometheus.log", {}) as url:
        yield url


def asked(url: str, path: str, **query: str) -> Any:  # noqa: ANN401 - JSON
    """Return the data that Prometheus answers."""
    at = f"{url}/api/v1/{path}?{urllib.parse.urlencode(query)}"
    # It listens before it has read its database, and says 503 until then.
    status, body = until(lambda: (found := get(at))[0] not in {0, 503} and found)
    assert status == 200, body
    return json.loads(body)["data"]
