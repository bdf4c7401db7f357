"""What a prompt may say about a photo: a folder's name, but no position."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from taggerd.context import context_of
from taggerd.metadata import Circumstances
from taggerd.photo import Photo, PhotoFile, Stamp
from taggerd.settings import Settings


async def told(folder: str) -> dict[str, str]:
    """Return what is said about a photo in *folder* if only the folder is configured."""
    photo = Photo((PhotoFile(Path("/photos") / folder / "a.jpg", Stamp(1, 2, 3, 4)),))
    services: Any = SimpleNamespace(
        settings=Settings.model_validate({"prompts": {"context": ["folder"]}})
    )
    return await context_of(photo, Circumstances(), services)


@pytest.mark.parametrize(
    "folder",
    [
        "47.3769,8.5417",
        "geo 47",
        "47°22'",
        "38.96N 1.21E",
        "38,96 N",
        "N38 57.6 W001 12.4",
        "N47.37 E8.54",
        "lat 38.96 lon 1.21",
        "lat=38 lon=1",
        "trip_lat_38",
    ],
)
async def test_a_folder_named_by_a_position_is_not_told(folder: str) -> None:
    """Degrees, with or without minutes, however they are written."""
    assert await told(folder) == {}


@pytest.mark.parametrize(
    "folder",
    ["Ibiza 2024", "2024-06-10 5D", "f1.8 S 50mm", "Plat 3", "Route 66 E", "Lon", "Oslo 5"],
)
async def test_other_names_are_told(folder: str) -> None:
    """A number alone is no position."""
    assert await told(folder) == {"folder": folder}
