"""Back up the ledger of a running service, and restore it by the documentation's own line."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest
from support.program import CountingBackend, Program, photo, until

from taggerd.docs import chapters

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.long


def test_a_backup_is_restored_and_nothing_is_paid_for_again(
    taggerd: Program, inbox: Path, backend: CountingBackend, tmp_path: Path
) -> None:
    """The queue is the one of the backup; what was tagged since is recognised by its sidecars."""
    taggerd.base_url = backend.base_url
    photo(inbox / "1.jpg", 1)
    (inbox / "bad.jpg").write_bytes(b"not a picture")
    daemon = taggerd.start("--input-dir", inbox)
    until(lambda: len(taggerd.records()) == 2)
    until(lambda: taggerd.live().get("tagged") == 1)
    file = tmp_path / "ledger of monday"
    made = taggerd("ledger", "backup", file)
    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith(f"{file}: ")
    assert made.stdout.endswith("MB, checked; 0 queued, 1 tagged, 1 failed\n")
    again = taggerd("ledger", "backup", file)
    assert again.returncode == 2
    assert again.stderr.endswith("(File exists): name another file, or remove it\n")
    photo(inbox / "2.jpg", 2)
    until(lambda: len(taggerd.records()) == 3)
    taggerd.stop(daemon)
    sidecars = {path: path.read_bytes() for path in inbox.glob("*.xmp")}
    (line,) = re.findall(r"^rm -f ledger\.sqlite-wal .*$", chapters()["files"], re.MULTILINE)
    restore = ["sh", "-c", line.replace("FILE", '"$0"'), file]
    subprocess.run(restore, cwd=taggerd.state, check=True)
    assert taggerd.status()["counts"]["recorded"] == 1
    taggerd.start("--input-dir", inbox)
    until(lambda: taggerd.live().get("tagged") == 2)
    assert taggerd.live()["quarantined"] == 1
    assert {path: path.read_bytes() for path in inbox.glob("*.xmp")} == sidecars
    assert backend.photo_requests == 3 * 2
    assert len(taggerd.records()) == 3
