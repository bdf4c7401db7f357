"""``taggerd report``: pages of days, all of them together, and the browser."""

from __future__ import annotations

import json
import webbrowser
from pathlib import Path

import pytest
from support.program import photo
from support.records import record_of

from taggerd.cli import main
from taggerd.journal import Entry, Journal

DAYS = ("2025-11-18", "2025-11-19", "2025-11-20")


@pytest.fixture(autouse=True)
def outputs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the outputs of three days: two photos on each, one of them the same on all."""
    outputs = tmp_path / "outputs"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("TAGGERD__STATE_DIRECTORY", str(tmp_path / "state"))
    monkeypatch.setenv("TAGGERD__JOURNAL__DIRECTORY", str(outputs))
    monkeypatch.chdir(tmp_path)
    journal = Journal(outputs, retention_days=0, compress_after_days=0)
    journal.open()
    for day in DAYS:
        for name in ("same", day):
            record = record_of(1, id=f"{name} {day}", image=Path(f"/srv/in/{name}.jpg"))
            journal.deliver([Entry(record.id, day, json.dumps(record.to_json()))])
    return outputs


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str]]:
    """Run the command; return its status and the lines that it prints."""
    status = main(["report", *arguments])
    return status, capsys.readouterr().out.splitlines()


def test_a_day_has_its_page_and_tables(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each path that is printed is there, and the index leads to the page and the tables."""
    status, paths = run(capsys, "2025-11-19")
    assert status == 0
    names = {str(Path(path).relative_to(outputs)) for path in paths}
    made = {f"summaries/2025-11-19.{kind}" for kind in ("md", "html", "csv", "jsonl")}
    assert names == {*made, "metrics/2025-11-19.json", "index.html"}
    assert all(Path(path).is_file() for path in paths)
    index = (outputs / "index.html").read_text()
    assert index.count("href=") == 1 + 3, "its icon, and what there is of one day"
    assert 'href="summaries/2025-11-19.csv"' in index


def test_days_together(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--since makes one page of all days from that one on, with each photo once."""
    status, paths = run(capsys, "--since", "2025-11-19")
    assert status == 0
    assert Path(paths[0]).name == "since-2025-11-19.html"
    page = Path(paths[0]).read_text()
    assert "2025-11-19 to 2025-11-20" in page
    assert page.count("<article>") == 3
    lines = (outputs / "summaries" / "since-2025-11-19.jsonl").read_text().splitlines()
    assert [json.loads(line)["day"] for line in lines] == ["2025-11-19", "2025-11-20", "2025-11-20"]


@pytest.mark.parametrize("there", [True, False])
def test_the_page_opens(
    *, there: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """--open shows the page; where no browser starts, it says which file to open."""
    opened: list[str] = []

    def browse(address: str) -> bool:
        opened.append(address)
        return there

    monkeypatch.setattr(webbrowser, "open", browse)
    status = main(["report", "--open"])
    told = capsys.readouterr()
    assert opened == [Path(told.out.splitlines()[1]).as_uri()]
    assert opened[0].endswith("/summaries/2025-11-20.html")
    assert status == (0 if there else 1)
    assert ("open /" in told.err) is not there


@pytest.mark.parametrize(
    "arguments",
    [
        ["2025-11-17"],
        ["--since", "2025-11-21"],
        ["--since", "soon"],
        ["x"],
        [DAYS[0], "--since", DAYS[0]],
    ],
)
def test_what_it_cannot_report(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A day without records, or what is no day, is one line and a wrong setting."""
    status, paths = run(capsys, *arguments)
    assert status == 2
    assert paths == []


SIDECAR = """<x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/">
<dc:subject><rdf:Bag><rdf:li>by hand</rdf:li></rdf:Bag></dc:subject>
</rdf:Description></rdf:RDF></x:xmpmeta>"""


def test_the_page_shows_the_words_as_they_are_now(
    outputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A keyword that somebody wrote since is there, as theirs; a dry run's answers stay."""
    card = tmp_path / "card"
    for number, dry in enumerate((False, True)):
        image = photo(card / f"IMG_{number}.jpg", number)
        image.with_name(f"{image.name}.xmp").write_text(SIDECAR)
        record = record_of(number, image=image, dry_run=dry, metadata_written=not dry)
        line = json.dumps(record.to_json())
        journal = Journal(outputs, retention_days=0, compress_after_days=0)
        journal.deliver([Entry(record.id, "2025-11-21", line)])
    status, paths = run(capsys)
    assert status == 0
    lines = (outputs / "summaries" / "2025-11-21.jsonl").read_text().splitlines()
    now, dry_run = (json.loads(line) for line in lines)
    assert now["keywords"] == [{"text": "by hand", "by": "human", "model": ""}]
    assert [word["text"] for word in dry_run["keywords"]] == ["tree", "word 1"]
    assert 'class="human">by hand' in Path(paths[1]).read_text()
