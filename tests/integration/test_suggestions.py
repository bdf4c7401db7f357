"""``taggerd suggestions``: from what was dropped in a review to what is not written any more."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from taggerd.metadata import Edit
from taggerd.review import open_review
from taggerd.settings import configuration

if TYPE_CHECKING:
    from pathlib import Path

    from support.program import Program


@pytest.mark.long
async def test_a_keyword_that_is_dropped_three_times_is_offered_and_taken(
    taggerd: Program, card: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a review of three photos; the other two lose it with the next answers, not before."""
    assert "nothing to suggest" in taggerd("suggestions").stdout
    taggerd("scan", card)
    photos = [card / f"IMG_{number:04}.jpg" for number in range(5)]
    said = {r["image"]: {k["keyword"] for k in r["keywords"]} for r in taggerd.records()}
    word = min(set.intersection(*said.values()))
    config = taggerd.home / "config" / "taggerd" / "taggerd.toml"
    config.parent.mkdir(parents=True)
    config.write_text("# mine\n")
    for name, value in taggerd.full_environment().items():
        monkeypatch.setenv(name, value)
    async with open_review(configuration.load({}, cwd=taggerd.home, config=config)) as review:
        for path in photos[:3]:
            assert (await review.edit(path, Edit(drop=(word,)), by="ana")).changed
    shown = taggerd("suggestions")
    assert f"never write the keyword {word!r}: it was dropped from 3 photos" in shown.stdout
    assert config.read_text() == "# mine\n"
    (offered,) = json.loads(taggerd("suggestions", "--json").stdout)
    assert sorted(offered["photos"]) == [str(path) for path in photos[:3]]
    unknown = taggerd("suggestions", "--take", "deadbeef")
    assert (unknown.returncode, "no such suggestion" in unknown.stderr) == (2, True)
    taken = taggerd("suggestions", "--take", offered["key"])
    assert f"added to keywords.stop in {config}" in taken.stdout, taken.stderr
    assert config.read_text().startswith("# mine\n")
    assert json.loads(taggerd("suggestions", "--json").stdout) == []
    taggerd("rewrite", photos[3])
    record = taggerd.records()[-1]
    assert record["image"] == str(photos[3])
    assert word not in {each["keyword"] for each in record["keywords"]}
