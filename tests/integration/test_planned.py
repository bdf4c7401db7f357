"""A scan that is planned: what it would write, how many photos, what it takes, what it may cost."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from typing import TYPE_CHECKING

import pytest
from support.program import SECONDS, photo, until

from taggerd.metadata.xmp.document import Document
from taggerd.metadata.xmp.namespaces import named

if TYPE_CHECKING:
    from pathlib import Path

    from support.program import CountingBackend, Program

PRICE = '{"input_per_million": 2.0, "output_per_million": 10.0, "currency": "EUR"}'


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Make more photos than a scan begins without a word."""
    for number in range(51):
        photo(tmp_path / "many" / f"{number:03}.jpg", number, (64, 48))
    return tmp_path / "many"


def test_a_dry_run_shows_old_and_new_of_each_field(
    taggerd: Program, card: Path, backend: CountingBackend
) -> None:
    """For people and for programs; what it shows is what a scan then writes."""
    taggerd.base_url = backend.base_url
    dry = taggerd("scan", "--dry-run", "--limit", "1", card)
    assert dry.returncode == 0, dry.stderr
    assert "1 photo" in dry.stdout
    assert "4 left out (--limit, --sample)" in dry.stdout
    assert "dc:title" in dry.stdout
    assert '(nothing) → "' in dry.stdout
    assert "keywords: + " in dry.stdout
    told = json.loads(taggerd("scan", "--dry-run", "--json", card).stdout)
    assert len(told["previews"]) == 5
    assert not list(card.glob("*.xmp"))
    asked = backend.photo_requests
    taggerd("scan", card)
    assert backend.photo_requests == asked
    for each in told["previews"]:
        document = Document.load((card / f"{each['path']}.xmp").read_bytes())
        changes = {change["field"]: change["after"] for change in each["changes"]}
        assert list(document.texts(named("dc:title"))) == changes["dc:title"]
        assert set(document.texts(named("dc:subject"))) == set(changes["keywords"])
    first = card / "IMG_0000.jpg.xmp"
    (title,) = Document.load(first.read_bytes()).texts(named("dc:title"))
    first.write_bytes(first.read_bytes().replace(title.encode(), b"My own words"))
    again = taggerd("scan", "--dry-run", "--retag", first.with_suffix(""))
    assert "kept dc:title: a human wrote it" in again.stdout


@pytest.mark.long
def test_a_sample_is_the_same_photos_each_time(
    taggerd: Program, many: Path, backend: CountingBackend
) -> None:
    """A second look costs nothing, and the rest of the folder is left alone."""
    taggerd.base_url = backend.base_url
    for _ in range(2):
        done = taggerd("scan", "--dry-run", "--sample", "4", many)
        assert "got answers for 4 of 4 photos; 47 left out" in done.stdout
    assert backend.photo_requests == 12
    listed = taggerd("scan", "--list", "--sample", "4", many)
    assert "4 photos would be tagged; 47 left out" in listed.stdout
    assert taggerd.status()["counts"]["queued"] == 0


def test_the_estimate_says_what_it_rests_on(
    taggerd: Program, many: Path, backend: CountingBackend
) -> None:
    """First nothing, then what this model took here; no photo is asked about for it."""
    taggerd.base_url = backend.base_url
    first = taggerd("scan", "--estimate", many)
    assert "51 photos: about 153 requests (no figures yet: " in first.stdout
    assert backend.requests["POST /v1/chat/completions"] == 0
    assert not (taggerd.state / "ledger.sqlite").exists()
    done = taggerd("scan", "--limit", "5", many)
    assert "from " not in done.stderr  # five are simply begun
    assert " requests; " in done.stdout
    asked = backend.requests["POST /v1/chat/completions"]
    taggerd.environment["TAGGERD__BACKEND__PRICE"] = PRICE
    second = taggerd("scan", "--estimate", many)
    assert "46 photos: about 138 requests, " in second.stdout
    assert "EUR (from 5 photos that " in second.stdout
    assert backend.requests["POST /v1/chat/completions"] == asked
    told = json.loads(taggerd("scan", "--estimate", "--json", many).stdout)
    assert told["photos"] == 46
    assert told["prompt_tokens"] > 0
    assert told["basis"].startswith("from 5 photos")


@pytest.mark.long
@pytest.mark.slow
def test_many_photos_are_begun_after_a_word_and_a_script_is_never_asked(
    taggerd: Program, many: Path, backend: CountingBackend
) -> None:
    """The word is on standard error; the totals are with the result."""
    taggerd.base_url = backend.base_url
    done = taggerd("scan", many)
    assert done.returncode == 0, done.stderr
    assert "51 photos: about 153 requests (no figures yet" in done.stderr
    assert "50 of 51 photos" in done.stdout
    assert "Begin?" not in done.stdout + done.stderr
    spent = taggerd.status()["spent"]
    assert f"{spent['requests']} requests; " in done.stdout
    assert spent["requests"] == backend.requests["POST /v1/chat/completions"]


@pytest.mark.slow
@pytest.mark.parametrize(("said", "begun"), [("n\n", False), ("\x04", False), ("\n", True)])
def test_on_a_terminal_somebody_is_asked(
    taggerd: Program, many: Path, backend: CountingBackend, said: str, *, begun: bool
) -> None:
    """Who says no has spent nothing; the rest is as if nobody had come."""
    taggerd.base_url = backend.base_url
    ours, theirs = pty.openpty()
    scan = subprocess.Popen(
        taggerd.command("scan", many),
        env=taggerd.full_environment() | {"TERM": "xterm", "COLUMNS": "80"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""

    def asks() -> bool:
        nonlocal shown
        shown += os.read(ours, 4096)
        return b"Begin? [Y/n]" in shown

    until(asks)
    os.write(ours, said.encode())
    try:
        while part := os.read(ours, 4096):
            shown += part
    except OSError:  # the program has ended
        pass
    assert scan.wait(SECONDS) == (0 if begun else 1)
    os.close(ours)
    assert (backend.photo_requests == 153) is begun
    assert (b"nothing was asked and nothing written" in shown) is not begun
    assert (b"tokens (" in shown) is begun


@pytest.mark.long
def test_a_budget_ends_a_scan_and_holds_for_the_next_and_for_the_daemon(
    taggerd: Program, many: Path, backend: CountingBackend
) -> None:
    """What is not asked today waits; it is said by the scan, the status and the log."""
    taggerd.base_url = backend.base_url
    taggerd.environment["TAGGERD__BACKEND__BUDGET_PER_DAY"] = "30 requests"
    done = taggerd("scan", many)
    assert done.returncode == 3
    assert "today's budget is spent (" in done.stderr
    assert "stopped: tagged " in done.stdout
    asked = backend.requests["POST /v1/chat/completions"]
    assert 30 <= asked <= 30 + 8
    assert taggerd("scan", many).returncode == 3
    taggerd.environment["TAGGERD__ARRIVALS__ROOTS"] = json.dumps([str(many)])
    daemon = taggerd.start()
    until(lambda: "today's budget is spent" in taggerd.live().get("paused", ""))
    status = taggerd.status()
    assert status["health"]["word"] == "healthy"
    assert "today's budget is spent" in status["paused"]
    assert status["spent"]["budget"] == "30 requests"
    assert "(budget: 30 requests a day)" in taggerd.status_text()
    assert taggerd.stop(daemon) == 0
    assert "no requests until tomorrow" in taggerd.log()
    assert backend.requests["POST /v1/chat/completions"] == asked
    del taggerd.environment["TAGGERD__BACKEND__BUDGET_PER_DAY"]
    done = taggerd("scan", many)
    assert done.returncode == 0, done.stderr
    assert len(list(many.glob("*.xmp"))) == 51
    assert backend.photo_requests == 153
