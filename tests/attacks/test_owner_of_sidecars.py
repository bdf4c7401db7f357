"""A sidecar that taggerd cannot give to the photo's owner: whoever may edit the photo may edit it.

That is so where taggerd runs as a user of its own, or on a share; nobody else gains a right.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.program import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator

ALICE, PHOTOS, TAGGERD, USERS = 4001, 4002, 4003, 4004

CREATE = """
import os, sys
from pathlib import Path
from taggerd import files
from taggerd.metadata import atomic
photo, user, group, groups = Path(sys.argv[1]), *map(int, sys.argv[2:4]), sys.argv[4]
os.setgroups([int(g) for g in groups.split(",") if g])
os.setgid(group)
os.setuid(user)
files.work_below(photo.parent)
sidecar = photo.with_name(photo.name + ".xmp")
atomic.create(sidecar, b"<x/>", photo.stat())
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder that everybody may reach and write to."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o777)  # noqa: PTH101, S103 - a share
        yield Path(name)


def sidecar_of(
    folder: Path, *, group: int, mode: int, user_group: int = TAGGERD, member_of: str = ""
) -> tuple[int, int, int]:
    """Let taggerd make a sidecar for a photo of Alice's; return its owner, group and mode."""
    photo = folder / "photo.jpg"
    photo.write_bytes(b"a photo")
    os.chown(photo, ALICE, group)
    photo.chmod(mode)
    command = [sys.executable, "-c", CREATE, str(photo), str(TAGGERD), str(user_group), member_of]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(REPOSITORY)})
    made = (folder / "photo.jpg.xmp").stat()
    return made.st_uid, made.st_gid, made.st_mode & 0o777


def test_the_photos_group_may_edit_it(folder: Path) -> None:
    """By it the owner comes to what they may do with the photo; once they could only read."""
    made = sidecar_of(folder, group=PHOTOS, mode=0o644, member_of=str(PHOTOS))
    assert made == (TAGGERD, PHOTOS, 0o664)


def test_the_group_of_a_shared_folder_may_edit_it(folder: Path) -> None:
    """A photo moved in keeps its own group; the folder's is who works there."""
    os.chown(folder, 0, PHOTOS)
    folder.chmod(0o2777)
    assert sidecar_of(folder, group=ALICE, mode=0o600 | 0o044) == (TAGGERD, PHOTOS, 0o664)


def test_taggerds_own_group_gains_nothing(folder: Path) -> None:
    """On many machines all users are in one group: it may not edit what concerns Alice's photo."""
    made = sidecar_of(folder, group=ALICE, mode=0o644, user_group=USERS)
    assert made == (TAGGERD, USERS, 0o644)


def test_what_belongs_to_the_owner_keeps_the_photos_mode(folder: Path) -> None:
    """They need no group: nobody gains a right that the photo does not give."""
    photo = folder / "photo.jpg"
    photo.write_bytes(b"a photo")
    os.chown(photo, TAGGERD, PHOTOS)
    command = [sys.executable, "-c", CREATE, str(photo), str(TAGGERD), str(TAGGERD), str(PHOTOS)]
    photo.chmod(0o644)
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(REPOSITORY)})
    assert (folder / "photo.jpg.xmp").stat().st_mode & 0o777 == 0o644
