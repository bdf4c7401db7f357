"""The files for systemd that ship with taggerd."""

from __future__ import annotations

from pathlib import Path

import pytest

from taggerd.errors import StartError
from taggerd.units import shipped

SYSTEMD = Path(__file__).parents[3] / "systemd"


@pytest.mark.parametrize("file", sorted(path for path in SYSTEMD.rglob("*") if path.is_file()))
def test_every_file_is_found_by_its_name(file: Path) -> None:
    """A checkout has them in systemd/, a wheel in its data: the name is the same."""
    assert shipped(file.relative_to(SYSTEMD).as_posix()).read_bytes() == file.read_bytes()


def test_a_file_that_is_missing_is_named() -> None:
    """An installation without its units says so; there is no traceback."""
    with pytest.raises(StartError, match=r"lacks systemd/taggerd-none\.service"):
        shipped("taggerd-none.service")
