"""Whatever the bytes are: a picture, or one of our own errors on one line."""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING

import numpy as np
import pillow_heif
import pytest
from PIL import Image
from samples import dng
from support.program import corpus

from taggerd import files, settings
from taggerd.errors import PhotoError, PhotoUndecodable, WorkerLost
from taggerd.imaging import open_photo, prepare
from taggerd.photo import Picture, Stamp
from taggerd.services.pools import DECODED
from taggerd.workers.pool import Workers

if TYPE_CHECKING:
    from pathlib import Path

pillow_heif.register_heif_opener()
pytest.importorskip("pillow_jxl")


async def outcomes(paths: list[Path], deadline_seconds: float = 120) -> dict[str, object]:
    """Prepare *paths* in worker processes; return a picture or an exception for each."""
    workers = Workers(
        settings.Workers(processes=2, deadline_seconds=deadline_seconds),
        caged=True,
        returns=DECODED,
    )

    async def outcome(path: Path) -> Picture:
        with open_photo(path) as file:
            return await workers.run(prepare, file, Stamp.of(file.stat()), settings.Image())

    try:
        found = await asyncio.gather(*map(outcome, paths), return_exceptions=True)
    finally:
        await workers.close()
    return dict(zip((path.name for path in paths), found, strict=True))


def encoded(image: Image.Image, kind: str) -> bytes:
    """Return *image* in that format."""
    file = io.BytesIO()
    if kind == "DNG":
        image.save(file, "JPEG")
        return dng.dng(np.asarray(image), dng.Preview(file.getvalue(), *image.size), (), ())
    image.save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize(
    ("kind", "extension"),
    [("JPEG", "jpg"), ("PNG", "png"), ("TIFF", "tif"), ("WEBP", "webp"), ("HEIF", "heic"),
     ("AVIF", "avif"), ("JXL", "jxl"), ("DNG", "dng")],
)  # fmt: skip
async def test_damaged_files_never_raise_anything_foreign(
    tmp_path: Path, kind: str, extension: str
) -> None:
    """Thirty files of each format with damaged bytes, half of them in the header."""
    rng = np.random.default_rng([7, *kind.encode()])
    pixels = rng.integers(0, 255, (64, 96, 3), np.uint8)
    whole = np.frombuffer(encoded(Image.fromarray(pixels), kind), np.uint8)
    paths = []
    for n in range(30):
        data = whole.copy()
        offsets = rng.integers(4, 300 if n % 2 else len(data), 1 + n % 8)
        data[offsets] = rng.integers(0, 256, len(offsets))
        paths.append(tmp_path / f"{n}.{extension}")
        paths[-1].write_bytes(
            data.tobytes()[: rng.integers(40, len(data) + 1) if n % 5 == 0 else None]
        )
    for name, outcome in (await outcomes(paths)).items():
        assert isinstance(outcome, Picture | PhotoUndecodable | WorkerLost), f"{name}: {outcome!r}"
        assert "\n" not in str(outcome)


def real(part: str) -> list[Path]:
    """Return the files of one folder of the corpus, which may be opened then, or skip."""
    folder = corpus(part)
    files.work_below(folder)
    return sorted(folder.iterdir())


WITHOUT_A_PICTURE = {"exiftool_t_images_CanonRaw.cr3", "exiv2_test_data_IMG_1361.dng"}
"""Raw files that were cut to their metadata."""


@pytest.mark.slow
async def test_real_photos() -> None:
    """Every real photo that holds a picture gives it; the others are named with a reason."""
    found = await outcomes(real("photos"))
    assert {n for n, outcome in found.items() if not isinstance(outcome, Picture)} == {
        name for name in WITHOUT_A_PICTURE if name in found
    }
    for name in WITHOUT_A_PICTURE & found.keys():
        assert isinstance(found[name], PhotoUndecodable)


@pytest.mark.slow
async def test_hostile_files() -> None:
    """Files that once crashed or hung a decoder: no process is lost, nothing foreign is raised."""
    found = await outcomes(real("hostile"))
    for name, outcome in found.items():
        assert isinstance(outcome, Picture | PhotoError), f"{name}: {outcome!r}"
        assert not isinstance(outcome, WorkerLost), f"{name}: {outcome}"
