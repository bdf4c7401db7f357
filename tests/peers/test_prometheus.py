"""Prometheus scrapes the running daemon; alerts and dashboard ask for what it finds there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.observing import ALERTS, address, asked, get, prometheus, promtool, samples
from support.program import REPOSITORY, photo, until
from support.serving import peer, served

if TYPE_CHECKING:
    from support.program import CountingBackend, Program

DASHBOARD = REPOSITORY / "config" / "grafana-dashboard.json"
CASES = Path(__file__).with_name("alerts_test.yml")

VARIABLES = {"$job": "taggerd", "$instance": ".*", "$__rate_interval": "30s"}
"""What Grafana puts in for the variables of the dashboard."""
_NAME = re.compile(r"\b(?:taggerd|process)_\w+")
_PARTS = re.compile(r"_(?:bucket|sum|count)$")


def _panels() -> list[dict[str, Any]]:
    dashboard: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def _queries() -> list[str]:
    """Return the queries of the dashboard as Prometheus gets them."""
    queries = [target["expr"] for panel in _panels() for target in panel["targets"]]
    # Nobody shares the ledger here.
    queries = [query for query in queries if "taggerd_host_" not in query]
    for variable, value in VARIABLES.items():
        queries = [query.replace(variable, value) for query in queries]
    return queries


def test_the_alerts_are_raised_by_what_they_are_for() -> None:
    """By promtool: the rules are well formed, and each has cases for and against it."""
    promtool("check", "rules", str(ALERTS))
    promtool("test", "rules", str(CASES))
    named = set(re.findall(r"alert: (\w+)", ALERTS.read_text()))
    cases = CASES.read_text()
    for alert in named:
        assert re.search(rf"alertname: {alert}\n +exp_alerts:\n", cases), f"{alert} is never raised"
        assert re.search(rf"alertname: {alert}, exp_alerts: \[\]", cases), f"{alert} always is"


def test_the_panels_of_the_dashboard_have_their_own_places() -> None:
    """No two share a cell of the grid or a number, and each asks the chosen Prometheus."""
    dashboard: dict[str, Any] = json.loads(DASHBOARD.read_text())
    cells: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        own = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not own & cells, panel["title"]
        assert at["x"] + at["w"] <= 24
        cells |= own
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    variables = {f"${variable['name']}" for variable in dashboard["templating"]["list"]}
    for panel in _panels():
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        for target in panel["targets"]:
            assert set(re.findall(r"\$\w+", target["expr"])) <= variables | {"$__rate_interval"}


def test_prometheus_answers_for_every_panel_and_loads_every_alert(
    taggerd: Program, inbox: Path, tmp_path: Path, backend: CountingBackend
) -> None:
    """Nothing is asked for that is not there, and nothing is there that nobody asks for."""
    peer("prometheus", "prometheus")
    taggerd.base_url = backend.base_url
    taggerd.environment["TAGGERD__METRICS__LISTEN"] = "127.0.0.1:0"
    taggerd.start("--input-dir", inbox)
    at = address(taggerd)
    with prometheus(at.removeprefix("http://"), tmp_path) as url:
        until(lambda: asked(url, "query", query="taggerd_ready == 1")["result"])
        (inbox / "bad.jpg").write_bytes(b"\xff\xd8\xff no picture")
        for number in range(4):
            photo(inbox / f"{number}.jpg", number)
        tagged = 'taggerd_attempts_total{outcome="tagged"} == 4'
        until(lambda: asked(url, "query", query=tagged)["result"])
        for query in _queries():
            if "oldest" not in query:  # none waits
                until(lambda query=query: asked(url, "query", query=query)["result"])  # type: ignore[misc]
        backend.die()
        photo(inbox / "later.jpg", 5)
        for query in _queries():
            if "oldest" in query:
                until(lambda query=query: asked(url, "query", query=query)["result"])  # type: ignore[misc]

        (group,) = asked(url, "rules")["groups"]
        assert {rule["health"] for rule in group["rules"]} == {"ok"}
        away = "TaggerdBackendAway"
        until(lambda: away in {a["labels"]["alertname"] for a in asked(url, "alerts")["alerts"]})
        scraped = asked(url, "targets")["activeTargets"]
        assert [target["health"] for target in scraped] == ["up"]

        queries = " ".join([*_queries(), *(rule["query"] for rule in group["rules"])])
        names = {_PARTS.sub("", name) for name in _NAME.findall(queries)}
        wanted = {name for name in names if not name.startswith("taggerd_host_")}
        text = get(f"{at}/metrics")[1]
        shown = {_PARTS.sub("", name.partition("{")[0]) for name in samples(text)}
        assert wanted <= shown
        assert {name for name in shown if name.startswith("taggerd_")} <= wanted
        promtool("check", "metrics", given=text)  # names by the conventions, and help for each


@pytest.mark.usefixtures("backend")
def test_node_exporter_shows_the_text_file(taggerd: Program, inbox: Path, tmp_path: Path) -> None:
    """The same figures, beside its own, without an error."""
    program = peer("node-exporter", "prometheus-node-exporter")
    folder = tmp_path / "textfile"
    folder.mkdir()
    taggerd.environment["TAGGERD__METRICS__TEXTFILE"] = str(folder / "taggerd.prom")
    daemon = taggerd.start("--input-dir", inbox)
    photo(inbox / "a.jpg")
    until((inbox / "a.jpg.xmp").exists)
    assert taggerd.stop(daemon) == 0

    def command(port: int) -> list[str]:
        return [
            str(program),
            "--collector.disable-defaults",
            "--collector.textfile",
            f"--collector.textfile.directory={folder}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]

    with served(command, "/metrics", tmp_path / "exporter.log", {}) as url:
        status, text = get(f"{url}/metrics")
    found = samples(text)
    assert status == 200
    assert found["node_textfile_scrape_error"] == 0
    assert found['taggerd_attempts_total{outcome="tagged"}'] == 1
    assert found["taggerd_ready"] == 0
