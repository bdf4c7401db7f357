"""Bad input: one clear line, the right exit code, nothing lost, everything else still tagged."""

from __future__ import annotations

import os
import shutil
import threading
from typing import TYPE_CHECKING

import pytest
from support.program import photo, until

if TYPE_CHECKING:
    from pathlib import Path
    from subprocess import CompletedProcess

    from support.program import CountingBackend, Program, Reply


def one_line(done: CompletedProcess[str], code: int, *words: str) -> None:
    """Assert that a command ended with *code* and one line that says all of *words*."""
    assert done.returncode == code, done.stdout + done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    for word in words:
        assert word in lines[0]


def test_a_missing_folder(taggerd: Program, tmp_path: Path) -> None:
    """It is named, with what to do; exit 2."""
    one_line(taggerd("scan", tmp_path / "none"), 2, str(tmp_path / "none"), "does not exist")


def test_an_unreadable_folder(powerless: Program, card: Path) -> None:
    """It is named, with what is missing; exit 2."""
    card.chmod(0)
    try:
        one_line(powerless("scan", card), 2, str(card), "permission")
    finally:
        card.chmod(0o755)


def test_an_empty_folder(taggerd: Program, tmp_path: Path) -> None:
    """Nothing to do is no error."""
    (tmp_path / "empty").mkdir()
    done = taggerd("scan", tmp_path / "empty")
    assert (done.returncode, done.stderr) == (0, "")
    assert "no photos found" in done.stdout


def test_files_that_are_no_whole_pictures(taggerd: Program, card: Path) -> None:
    """Each is named with a reason, exit 1; it keeps its bytes; every other photo is tagged."""
    whole = photo(card.parent / "whole.jpg", 9).read_bytes()
    bad = {
        card / "text.jpg": b"I am no picture\n" * 40,
        card / "truncated.jpg": whole[:1500],
        card / "zero.jpg": b"",
    }
    for path, content in bad.items():
        path.write_bytes(content)
    done = taggerd("scan", card)
    assert done.returncode == 1
    lines = [line for line in done.stdout.splitlines() if line.startswith("failed")]
    assert len(lines) == len(bad)
    assert "tagged 5 of 8 photos; 3 failed" in done.stdout
    for path, content in bad.items():
        assert sum(path.name in line for line in lines) == 1
        assert path.read_bytes() == content
        assert not path.with_name(f"{path.name}.xmp").exists()
        assert [r["error"] != "" for r in taggerd.records() if path.name in r["image"]] == [True]
    again = taggerd("scan", card)
    assert again.returncode == 1
    assert again.stdout.count("failed before") >= 1


def test_a_bad_file_that_is_replaced_is_tagged(taggerd: Program, card: Path) -> None:
    """A file that failed is tried again as soon as it is another one."""
    (card / "x.jpg").write_bytes(b"")
    taggerd("scan", card)
    photo(card / "x.jpg", 33)
    assert taggerd("scan", card).returncode == 0
    assert (card / "x.jpg.xmp").exists()


def test_a_file_that_grows_is_tagged_once_and_whole(taggerd: Program, tmp_path: Path) -> None:
    """A file written in pieces over many settle times is asked about when it is complete."""
    inbox = tmp_path / "import"
    inbox.mkdir()
    whole = photo(tmp_path / "whole.jpg", 5, (2000, 1500)).read_bytes()
    # A busy machine may let this process wait between two pieces for longer than they are apart.
    taggerd.environment["TAGGERD__ARRIVALS__SETTLE_SECONDS"] = "2"
    daemon = taggerd.start("--input-dir", inbox)
    pieces, size = 20, len(whole) // 20 + 1
    pause = threading.Event()
    with (inbox / "grows.jpg").open("wb") as out:
        for number in range(pieces):
            out.write(whole[number * size : (number + 1) * size])
            out.flush()
            pause.wait(0.2)  # that the file grows is the point
    until((inbox / "grows.jpg.xmp").exists)
    taggerd.stop(daemon)
    assert [record["error"] for record in taggerd.records()] == [""]


def test_a_backend_that_is_down(taggerd: Program, card: Path) -> None:
    """A scan says so at once, exit 3; nothing is charged, and the next scan tags everything."""
    taggerd.base_url = "http://127.0.0.1:9/v1"
    one_line(taggerd("scan", card), 3, "cannot connect to http://127.0.0.1:9/v1")
    taggerd.base_url = "builtin:"
    assert "tagged 5 of 5 photos" in taggerd("scan", card).stdout


UNUSABLE: list[tuple[int, bytes, list[str]]] = [
    (401, b'{"error": {"message": "bad key"}}', ["key"]),
    (404, b'{"error": {"message": "model not found"}}', ["model"]),
    (200, b"<html><body>Welcome to nginx</body></html>", ["web page"]),
    (200, b"", []),
    (500, b"oops", []),
]


@pytest.mark.long
def test_backends_that_cannot_be_used(
    taggerd: Program, card: Path, backend: CountingBackend
) -> None:
    """Each is told in one line, exit 3, and no photo loses its position."""
    taggerd.base_url = backend.base_url
    for status, body, words in UNUSABLE:
        reply: Reply = (status, {}, body)
        backend.script = lambda path, _body, reply=reply: (  # type: ignore[misc]  # mypy infers no default
            reply if "chat" in path or reply[0] != 404 else None
        )
        one_line(taggerd("scan", card), 3, backend.base_url.removesuffix("/v1"), *words)
    backend.script = lambda _path, _body: None
    assert "tagged 5 of 5 photos" in taggerd("scan", card).stdout
    assert {record["attempts"] for record in taggerd.records()} == {1}


def test_a_backend_that_says_nothing(
    taggerd: Program, card: Path, backend: CountingBackend
) -> None:
    """One that takes the request and is silent is given up after --timeout, exit 3."""
    silence = threading.Event()

    def script(path: str, _body: bytes) -> None:
        if "chat" in path:
            silence.wait(180)

    backend.script = script
    taggerd.base_url = backend.base_url
    one_line(taggerd("scan", "--timeout", 1, card), 3, "did not answer within 1 s")
    silence.set()
    assert "tagged 5 of 5 photos" in taggerd("scan", card).stdout


@pytest.mark.long
def test_a_backend_that_fails_half_way(
    taggerd: Program, card: Path, backend: CountingBackend
) -> None:
    """An outage in the middle of a scan is waited out: all are tagged, none is charged."""
    faults = iter(range(4))

    def script(path: str, _body: bytes) -> tuple[int, dict[str, str], bytes] | None:
        begun = "chat" in path and backend.photo_requests > 4
        return (
            (503, {"Retry-After": "0"}, b"restarting")
            if begun and next(faults, None) is not None
            else None
        )

    backend.script = script
    taggerd.base_url = backend.base_url
    done = taggerd("scan", card)
    assert "tagged 5 of 5 photos" in done.stdout, done.stdout + done.stderr
    assert {record["attempts"] for record in taggerd.records()} == {1}


@pytest.mark.long
def test_a_photo_that_the_backend_always_fails_over_does_not_hold_up_the_others(
    taggerd: Program, card: Path, backend: CountingBackend
) -> None:
    """A plain 500 for one picture, again and again, ends as that photo's failure."""
    poison = photo(card / "poison.jpg", 3, (333, 222))

    def script(path: str, body: bytes) -> tuple[int, dict[str, str], bytes] | None:
        import base64  # noqa: PLC0415 - only here
        import io  # noqa: PLC0415 - only here
        import json  # noqa: PLC0415 - only here

        from PIL import Image  # noqa: PLC0415 - only here

        if "chat" not in path:
            return None
        parts = json.loads(body)["messages"][-1]["content"]
        for part in parts if isinstance(parts, list) else []:
            if part["type"] == "image_url":
                data = base64.b64decode(part["image_url"]["url"].split(",", 1)[1])
                if Image.open(io.BytesIO(data)).size == (333, 222):
                    return 500, {}, b"Internal Server Error"
        return None

    backend.script = script
    taggerd.base_url = backend.base_url
    done = taggerd("scan", card, seconds=120)
    assert done.returncode == 1
    assert "tagged 5 of 6 photos; 1 failed" in done.stdout
    assert not poison.with_name("poison.jpg.xmp").exists()


@pytest.mark.long
def test_a_backend_that_fails_over_every_photo_costs_no_photo_anything(
    taggerd: Program, inbox: Path, card: Path, backend: CountingBackend
) -> None:
    """Probes that pass prove little: while real photos all fail, none is charged or given up on."""
    failing, probed = True, 0

    def script(path: str, body: bytes) -> Reply | None:
        nonlocal probed
        about_a_photo = b'"system"' in body
        probed += "chat" in path and not about_a_photo
        return (500, {}, b"CUDA out of memory") if failing and about_a_photo else None

    backend.script = script
    taggerd.base_url = backend.base_url
    shutil.copytree(card, inbox / "card")
    taggerd.start("--input-dir", inbox)
    until(lambda: probed >= 3 * 4)  # at the start, and after two waits
    assert taggerd.status()["counts"]["quarantined"] == 0
    failing = False
    until(lambda: len(taggerd.records()) == 5)
    assert {record["attempts"] for record in taggerd.records()} == {1}


def test_a_folder_below_that_cannot_be_read(powerless: Program, card: Path) -> None:
    """It is named and makes the scan fail: it may hold photos; the others are tagged."""
    closed = card / "closed"
    closed.mkdir(mode=0)
    try:
        done = powerless("scan", card)
    finally:
        closed.chmod(0o755)
    assert done.returncode == 1
    assert f"failed: {closed}: cannot be read: permission denied" in done.stdout
    assert "tagged 5 of 5 photos" in done.stdout


def test_a_file_named_by_hand_that_is_no_photo(taggerd: Program, card: Path) -> None:
    """Whoever names a file hears why it is not taken."""
    (card / "notes.txt").write_text("x")
    done = taggerd("scan", card / "notes.txt")
    assert done.returncode == 1
    assert "notes.txt: not an image extension" in done.stdout


def test_a_read_only_import_folder(
    powerless: Program, card: Path, backend: CountingBackend
) -> None:
    """Each photo is named with what to do, exit 1; the answers are kept, and cost nothing later."""
    powerless.base_url = backend.base_url
    card.chmod(0o555)
    try:
        done = powerless("scan", card)
        assert done.returncode == 1
        assert done.stdout.count("make it writable") == 5
    finally:
        card.chmod(0o755)
    asked = backend.photo_requests
    assert powerless("retry", card).stdout == "5 photos are back in the queue\n"
    assert "tagged 5 of 5 photos" in powerless("scan", card).stdout
    assert backend.photo_requests == asked


STRANGE = [
    *(b"two words.jpg", "fjäll 🌄.jpg".encode(), b"two\nlines.jpg"),
    *(b"latin-\xe9.jpg", b"-rf.jpg"),
]


def test_strange_names(taggerd: Program, card: Path) -> None:
    """Any name the disk can hold is tagged, and every output stays valid text."""
    paths = [os.fsencode(card) + b"/" + name for name in STRANGE]
    for path in paths:
        shutil.copy(card / "IMG_0000.jpg", os.fsdecode(path))
    done = taggerd("scan", card)
    assert done.returncode == 0, done.stdout + done.stderr
    for path in paths:
        assert os.path.exists(path + b".xmp"), path  # noqa: PTH110 - the name is bytes
    assert len(taggerd.records()) == 5 + len(STRANGE)
    for summary in (taggerd.outputs / "summaries").iterdir():
        summary.read_text(encoding="utf-8")


def test_an_unwritable_state_directory(powerless: Program, card: Path) -> None:
    """It is named, exit 2, and no photo is asked about."""
    powerless.home.chmod(0o555)
    try:
        one_line(powerless("scan", card), 2, str(powerless.state))
    finally:
        powerless.home.chmod(0o755)


def test_a_state_directory_that_is_a_file(taggerd: Program, card: Path) -> None:
    """It is named, exit 2."""
    taggerd.state.write_text("x")
    one_line(taggerd("scan", card), 2, str(taggerd.state))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["scan", "--bogus"], ["--bogus"]),
        (["scan"], ["nothing to scan"]),
        (["scan", "--max-keywords", "many", "."], ["--max-keywords", "integer"]),
        (["scan", "--max-keywords", "0", "."], ["--max-keywords", "greater than or equal to 1"]),
        (["scan", "--prompt-profile", "defualt", "."], ["defualt", "default"]),
        (["scan", "--base-url", "localhost:11434", "."], ["--base-url", "http://"]),
        (["run"], ["no import folder"]),
        (["retry"], ["--all"]),
        (["frobnicate"], ["frobnicate"]),
        (["config", "show", "--config", "/no/such.toml"], ["/no/such.toml"]),
    ],
)
def test_wrong_usage(taggerd: Program, arguments: list[str], words: list[str]) -> None:
    """Every wrong switch or setting is one line and exit 2."""
    one_line(taggerd(*arguments), 2, *words)
