"""Killed between the photo of a burst that is asked about and those that take its answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.bursts import handheld, write

if TYPE_CHECKING:
    from pathlib import Path

    from support.program import CountingBackend, Program

PHOTOS, ROLES = 5, 3


@pytest.fixture
def bursting(taggerd: Program, backend: CountingBackend) -> Program:
    """Return the program, set to gather bursts."""
    taggerd.base_url = backend.base_url
    taggerd.environment["TAGGERD__BURST__ENABLED"] = "true"
    return taggerd


@pytest.mark.parametrize(
    ("where", "times"),
    [
        pytest.param("decoded:after", 2, marks=pytest.mark.long),
        pytest.param("checkpoint:before", 2, marks=pytest.mark.long),
        pytest.param("checkpoint:after", ROLES, marks=pytest.mark.slow),
        pytest.param("checkpoint:before", ROLES + 2, marks=pytest.mark.long),
        pytest.param("checkpoint:after", 2 * ROLES, marks=pytest.mark.long),
        pytest.param("write:before", 1, marks=pytest.mark.long),
        pytest.param("write:after", 2, marks=pytest.mark.long),
        pytest.param("end:before", 1, marks=pytest.mark.long),
        pytest.param("end:after", 1, marks=pytest.mark.long),
        pytest.param("end:after", 3, marks=pytest.mark.long),
    ],
)
def test_a_kill_in_a_burst_costs_at_most_its_requests(
    bursting: Program, inbox: Path, backend: CountingBackend, where: str, times: int
) -> None:
    """Each photo is recorded once, uncharged, with words of one photo that was asked about."""
    paths = write(inbox, handheld(1, PHOTOS))
    before = {path: path.read_bytes() for path in paths}
    assert bursting.die_at(where, "scan", inbox, times=times) == -9
    again = bursting("scan", inbox)
    assert again.returncode == 0, again.stdout + again.stderr

    records = {record["image"]: record for record in bursting.records()}
    assert len(bursting.records()) == len(records) == PHOTOS
    assert {(r["error"], r["attempts"]) for r in records.values()} == {("", 1)}
    asked = {path.name: records[str(path)]["caption"] for path in paths}
    asked = {n: c for n, c in asked.items() if not records[str(inbox / n)]["inherited_from"]}
    assert 1 <= len(asked) <= 2
    for path in paths:
        record = records[str(path)]
        text = path.with_name(f"{path.name}.xmp").read_text(encoding="utf-8")
        if source := record["inherited_from"]:
            assert record["caption"] == asked[source]
            assert f"<taggerd:inherited_from>{source}<" in text
        else:
            assert "inherited_from" not in text
    assert {path: path.read_bytes() for path in paths} == before
    assert backend.photo_requests <= 2 * ROLES
