"""Outputs, slots and import folders where others may write: their links lead to no other file."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest
from support.racing import give, needs_root

from taggerd import files
from taggerd.inference.concurrency import Slots

if TYPE_CHECKING:
    from pathlib import Path


def test_a_slot_that_is_another_file_keeps_its_mode(tmp_path: Path) -> None:
    """A member of the group linked a key of ours there, where the kernel lets them."""
    folder, key = tmp_path / "slots", tmp_path / "key"
    folder.mkdir()
    key.touch()
    key.chmod(0o600)
    slots = Slots(folder, "http://127.0.0.1:9/v1", 1, longest_wait=1)
    for name in ("0", "turnstile"):
        os.link(key, folder / f"slot-{slots._name}.{name}")
    asyncio.run(slots.take(1))
    slots.close()
    assert key.stat().st_mode & 0o777 == 0o600


def test_a_link_of_roots_is_not_followed_where_others_may_have_brought_it(tmp_path: Path) -> None:
    """It was made in their home for another purpose; they renamed it like the import folder."""
    needs_root()
    home, private = tmp_path / "home", tmp_path / "alice"
    for folder in (home, private):
        folder.mkdir()
    (private / "a.jpg").write_bytes(b"private")
    (home / "import").symlink_to(private)  # by root
    give(home)
    files._roots.clear()
    files.work_below(home / "import")
    with pytest.raises(OSError, match="another user's link"):
        files.names_in(home / "import")
