"""The sample photos: drawn, then saved as cameras and phones save theirs.

The same seed gives the same pictures.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

import numpy as np
import pillow_heif
from PIL import ExifTags, Image, features

from samples import dng, landscapes

if TYPE_CHECKING:
    from samples.scenes import Scene

WIDTH = 1600
"""Pixels along the longer side; the shorter one is two thirds."""


@dataclass(frozen=True, slots=True)
class Camera:
    """Who took it."""

    make: str
    model: str
    lens: str


CANON = Camera("Canon", "Canon EOS R6", "RF24-105mm F4 L IS USM")
NIKON = Camera("NIKON CORPORATION", "NIKON Z 6_2", "NIKKOR Z 24-70mm f/4 S")
FUJI = Camera("FUJIFILM", "X-T4", "XF18-55mmF2.8-4 R LM OIS")
PHONE = Camera("Apple", "iPhone 13", "iPhone 13 back dual wide camera 5.1mm f/1.6")


@dataclass(frozen=True, slots=True)
class Words:
    """What the photographer wrote into the file."""

    title: str
    keywords: tuple[str, ...]
    rating: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One photo: what it shows and how it was taken."""

    name: str
    scene: Scene
    camera: Camera
    taken: str
    """As EXIF writes it: ``YYYY:MM:DD HH:MM:SS``."""
    exposure: tuple[float, float, int, float] = (1 / 250, 8.0, 100, 35.0)
    """Seconds, f-number, ISO, millimetres."""
    position: tuple[float, float] | None = None
    """Degrees north and east."""
    words: Words | None = None
    sideways: bool = False
    """Held upright: stored lying, with EXIF orientation 6."""


SAMPLES = (
    Sample(
        "IMG_0412.JPG", landscapes.sunset_over_sea, CANON, "2024:07:14 21:22:08",
        (1 / 320, 8.0, 200, 70.0), position=(39.7823, 2.7135),
    ),
    Sample("IMG_0427.JPG", landscapes.green_hills, CANON, "2024:05:19 11:03:41"),
    Sample(
        "DSC_1031.JPG", landscapes.snowy_mountains, NIKON, "2024:02:03 09:48:17",
        (1 / 800, 7.1, 100, 52.0), words=Words("Morning above Zermatt", ("Alps", "holiday"), 5),
    ),
    Sample("DSC_1044.png", landscapes.misty_forest, NIKON, "2023:10:08 07:31:55"),
    Sample(
        "DSC_1102.JPG", landscapes.moonlit_lake, NIKON, "2023:11:27 22:10:30",
        (8.0, 4.0, 1600, 24.0),
    ),
    Sample("Red barn, June.jpg", landscapes.red_barn, FUJI, "2024:06:22 15:37:12"),
    Sample("DSCF3307.webp", landscapes.yellow_field, FUJI, "2024:05:04 13:20:09"),
    Sample(
        "IMG_3318.JPG", landscapes.lighthouse, PHONE, "2024:08:01 16:45:03",
        (1 / 1900, 1.6, 50, 5.1), position=(54.1787, 7.8927), sideways=True,
    ),
    Sample("DSCF3391.tif", landscapes.dunes, FUJI, "2022:03:12 18:02:44"),
    Sample("IMG_3340.HEIC", landscapes.sandy_beach, PHONE, "2024:08:03 12:11:26"),
    Sample("IMG_0533.DNG", landscapes.autumn_tree, CANON, "2024:10:20 14:55:50"),
    Sample("IMG_0533.JPG", landscapes.autumn_tree, CANON, "2024:10:20 14:55:50"),
    Sample("IMG_3402.avif", landscapes.city_at_dusk, PHONE, "2024:09:15 19:58:37",
           (1 / 30, 1.6, 640, 5.1)),
)  # fmt: skip


def make_samples(folder: Path, seed: int = 7, width: int = WIDTH) -> list[Path]:
    """Write the sample photos into *folder* and return their paths, in order of name.

    They are *width* pixels along their longer side. A format that this machine's libraries
    cannot write is left out.
    """
    pillow_heif.register_heif_opener()
    folder.mkdir(parents=True, exist_ok=True)
    writable = [sample for sample in SAMPLES if _is_writable(Path(sample.name).suffix)]
    for sample in writable:
        _save(folder / sample.name, sample, seed, width)
    return sorted(folder / sample.name for sample in writable)


def _is_writable(suffix: str) -> bool:
    if suffix == ".HEIC":
        return bool(pillow_heif.libheif_info()["HEIF"])
    return bool(features.check("avif")) if suffix == ".avif" else True


def _save(path: Path, sample: Sample, seed: int, width: int) -> None:
    # The seed goes by the scene: a raw file and its JPEG show the same.
    rng = np.random.default_rng([seed, *sample.scene.__name__.encode()])
    size = (width, width * 2 // 3 + 1)
    image = Image.fromarray(sample.scene(*(size[::-1] if sample.sideways else size), rng))
    if path.suffix == ".DNG":
        path.write_bytes(_dng(sample, image))
        return
    if sample.sideways:
        image = image.transpose(Image.Transpose.ROTATE_90)
    exif, xmp = _exif(sample).tobytes(), _xmp(sample.words) if sample.words else b""
    if path.suffix in (".png", ".tif"):
        image.save(path, exif=exif)
    else:
        image.save(path, exif=exif, xmp=xmp, quality=90)


def _exif(sample: Sample) -> Image.Exif:
    exif = Image.Exif()
    tags = ExifTags.Base
    exif[tags.Make] = sample.camera.make
    exif[tags.Model] = sample.camera.model
    exif[tags.Orientation] = 6 if sample.sideways else 1
    exif[tags.DateTime] = sample.taken
    seconds, aperture, iso, millimetres = sample.exposure
    exif.get_ifd(ExifTags.IFD.Exif).update(
        {
            tags.ExposureTime: seconds,
            tags.FNumber: aperture,
            tags.ISOSpeedRatings: iso,
            tags.DateTimeOriginal: sample.taken,
            tags.FocalLength: millimetres,
            tags.LensModel: sample.camera.lens,
        }
    )
    if sample.position:
        north, east = sample.position
        exif.get_ifd(ExifTags.IFD.GPSInfo).update(
            {1: "N", 2: _degrees(north), 3: "E", 4: _degrees(east)}
        )
    return exif


def _degrees(value: float) -> tuple[float, float, float]:
    """Return degrees, minutes and seconds."""
    minutes = value % 1 * 60
    return (float(int(value)), float(int(minutes)), round(minutes % 1 * 60, 2))


def _xmp(words: Words) -> bytes:
    keywords = "".join(f"<rdf:li>{escape(word)}</rdf:li>" for word in words.keywords)
    title = f'<rdf:li xml:lang="x-default">{escape(words.title)}</rdf:li>'
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n'
        '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"\n'
        f' xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="{words.rating}">\n'
        f"<dc:title><rdf:Alt>{title}</rdf:Alt></dc:title>\n"
        f"<dc:subject><rdf:Bag>{keywords}</rdf:Bag></dc:subject>\n"
        "</rdf:Description></rdf:RDF></x:xmpmeta>\n"
        '<?xpacket end="w"?>'
    ).encode()


def _dng(sample: Sample, image: Image.Image) -> bytes:
    """Return a raw file: sensor of half the size, preview of the full one."""
    preview = io.BytesIO()
    image.save(preview, "JPEG", quality=88)
    seconds, aperture, iso, millimetres = sample.exposure
    tags = ExifTags.Base
    camera = [
        dng.text(tags.Make, sample.camera.make),
        dng.text(tags.Model, sample.camera.model),
        dng.text(tags.DateTime, sample.taken),
        dng.text(tags.UniqueCameraModel, sample.camera.model),
    ]
    exif = [
        dng.Entry(tags.ExposureTime, dng.RATIONAL, (seconds,)),
        dng.Entry(tags.FNumber, dng.RATIONAL, (aperture,)),
        dng.Entry(tags.ISOSpeedRatings, dng.SHORT, (iso,)),
        dng.text(tags.DateTimeOriginal, sample.taken),
        dng.Entry(tags.FocalLength, dng.RATIONAL, (millimetres,)),
        dng.text(tags.LensModel, sample.camera.lens),
    ]
    sensor = image.reduce(2)
    even = sensor.crop((0, 0, sensor.width // 2 * 2, sensor.height // 2 * 2))
    return dng.dng(np.asarray(even), dng.Preview(preview.getvalue(), *image.size), camera, exif)
