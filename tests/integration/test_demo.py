"""``scripts/demo``: the first thing that anybody runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support.foreign import exiftool
from support.program import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.long
def test_the_demo_tags_every_photo_and_its_sidecars_are_read(tmp_path: Path) -> None:
    """It ends with ``tagged N of N photos``, and exiftool sees all the fields in each sidecar."""
    done = subprocess.run(
        [REPOSITORY / "scripts" / "demo", tmp_path / "demo"],
        env=os.environ | {"TAGGERD_VENV": sys.prefix},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    *_, last = done.stdout.splitlines()
    tagged, of = [int(word) for word in last.split() if word.isdigit()]
    assert last == f"tagged {of} of {of} photos"
    sidecars = sorted((tmp_path / "demo" / "import").rglob("*.xmp"))
    assert len(sidecars) >= tagged > 10
    for sidecar in sidecars:
        seen = exiftool(sidecar)
        fields = {"Description", "Subject", "HierarchicalSubject", "TagsList", "Headline"}
        assert fields <= seen.keys(), json.dumps(seen)
