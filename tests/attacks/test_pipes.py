"""Pipes, sockets and devices under every name that taggerd opens: nothing waits for them."""

from __future__ import annotations

import json
import os
import socket
import zipfile
from typing import TYPE_CHECKING

import pytest
from support.program import photo, until

from taggerd.arrivals.archives import MARKER
from taggerd.arrivals.members import UnpackRequest
from taggerd.metadata.atomic import temporary_name
from taggerd.photo import Stamp
from taggerd.settings import Arrivals

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.program import Program

pytestmark = pytest.mark.slow
SECONDS = 60.0
"""Longest time for a command; one that opens a pipe waits for ever."""
GOOD = ("good.jpg", "with-sidecar.jpg", "with-temporary.jpg")
DEVICE = os.makedev(1, 8)
"""/dev/random: reading it never ends."""


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as end:
        # By its name alone: the whole path may be longer than the 107 bytes of an address.
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            end.bind(f"/proc/self/fd/{folder}/{path.name}")
        finally:
            os.close(folder)


def _device(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root makes devices")
    os.mknod(path, 0o020666, DEVICE)


KINDS: dict[str, Callable[[Path], None]] = {
    "pipes": os.mkfifo,
    "sockets": _socket,
    "devices": _device,
}


@pytest.fixture(
    params=["pipes", *(pytest.param(k, marks=pytest.mark.long) for k in ("sockets", "devices"))]
)
def hostile(request: pytest.FixtureRequest, inbox: Path) -> Path:
    """Return an import folder of three photos and an archive, and of other things than files."""
    make = KINDS[request.param]
    for number, name in enumerate(GOOD):
        photo(inbox / name, number)
    with zipfile.ZipFile(inbox / "card.zip", "w") as archive:
        archive.write(photo(inbox.parent / "inner.jpg", 7), "inner.jpg")
    zipped = UnpackRequest(inbox / "card.zip", Stamp(0, 0, 0, 0), Arrivals())
    names = [
        *("a.jpg", "a.cr3", "a.heic", "a.tif", "a.png", "a.zip"),
        *("a.jpg.xmp", "a.xmp", "alone.xmp", MARKER, zipped.scratch.name),
        *("with-sidecar.jpg.xmp", "with-sidecar.xmp", "with-temporary.jpg.xmp.orig"),
        temporary_name(inbox / "with-temporary.jpg.xmp").name,
        temporary_name(inbox / "with-temporary.jpg").name,
    ]
    for name in names:
        make(inbox / name)
    (inbox / "card").mkdir()  # as if it had been unpacked before
    make(inbox / "card" / MARKER)
    return inbox


def tagged(taggerd: Program) -> set[str]:
    """Return the names of the photos that were tagged."""
    return {os.path.basename(line["image"]) for line in taggerd.records() if not line["error"]}  # noqa: PTH119 - a string


@pytest.mark.long
@pytest.mark.parametrize("target", ["sidecar", "embed"])
def test_every_command_ends(taggerd: Program, hostile: Path, target: str) -> None:
    """Each leaves alone what is no file, and does its work on the rest."""
    taggerd.environment |= {
        "TAGGERD__METADATA__TARGET": target,
        "TAGGERD__ARRIVALS__UNPACK": "true",
        "TAGGERD__ARRIVALS__ARCHIVE_KEYWORDS": '["from {archive}"]',
    }
    before = {path.name for path in hostile.iterdir()}
    commands = [
        ("scan", hostile),
        ("scan", hostile, "--list"),
        ("scan", *sorted(path for path in hostile.iterdir() if path.is_fifo())),
        ("show", hostile),
        ("rewrite", hostile),
        ("adopt", hostile, "--marked", "x"),
        ("retry", hostile),
        ("undo", hostile, "--dry-run"),
        ("undo", hostile),
    ]
    for command in commands:
        if len(command) > 1:
            done = taggerd(*command, seconds=SECONDS)
            assert done.returncode in {0, 1, 2}, (command, done.stderr)
            assert "Traceback" not in done.stderr
    assert {"good.jpg", "with-temporary.jpg", "inner.jpg"} <= tagged(taggerd)
    assert before - {path.name for path in hostile.iterdir()} <= {
        temporary_name(hostile / "with-temporary.jpg.xmp").name,
        temporary_name(hostile / "with-temporary.jpg").name,
    }


def test_the_service_ends(taggerd: Program, hostile: Path) -> None:
    """It tags what is a file, and stops at once when it is asked to."""
    taggerd.environment |= {
        "TAGGERD__ARRIVALS__ROOTS": json.dumps([os.fspath(hostile)]),
        "TAGGERD__ARRIVALS__UNPACK": "true",
        "TAGGERD__ARRIVALS__ARCHIVE_KEYWORDS": '["from {archive}"]',
    }
    daemon = taggerd.start()
    until(lambda: {"good.jpg", "with-temporary.jpg", "inner.jpg"} <= tagged(taggerd))
    assert taggerd.stop(daemon) == 0
