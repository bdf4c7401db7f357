"""Photo files of every kind that is embedded into, made here, and readers of them."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import struct
import subprocess
import zlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms, PngImagePlugin
from samples import dng

from taggerd.metadata.embedding.packet import changed_packet
from taggerd.metadata.embedding.photo import change_packet
from taggerd.photo import Stamp

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PHOTOSHOP = b"Photoshop 3.0\x00"
NOW = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)
VIDEO = struct.pack(">I4s4sI", 24, b"ftyp", b"mp42", 0) + b"isommp42" + bytes(range(256)) * 20


def picture(seed: int = 0, size: tuple[int, int] = (64, 48), mode: str = "RGB") -> Image.Image:
    """Make a noisy picture, different for every *seed*."""
    noise = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(noise).convert(mode)


def picture_without_metadata() -> bytes:
    """Return a JPEG that says nothing."""
    made = io.BytesIO()
    picture().save(made, "JPEG")
    return made.getvalue()


def icc() -> bytes:
    """Return a colour profile."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exif() -> Image.Exif:
    """Return EXIF with a camera's own notes."""
    block = Image.Exif()
    block[0x010F], block[0x0110] = "Maker", "Model 1"
    block.get_ifd(0x8769)[0x9003] = "2020:01:02 03:04:05"
    block.get_ifd(0x8769)[0x927C] = b"NOTES" + bytes(range(200))
    return block


def segment(marker: int, data: bytes) -> bytes:
    """Return one segment of a JPEG."""
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def jpeg(**options: object) -> bytes:
    """Return a JPEG with EXIF and a profile."""
    made = io.BytesIO()
    mode = str(options.pop("mode", "RGB"))
    picture(mode=mode).save(made, "JPEG", exif=exif(), icc_profile=icc(), **options)
    return made.getvalue()


def iptc(keyword: str) -> bytes:
    """Return an APP13 segment with one keyword in IPTC-IIM, in Latin-1."""
    word = keyword.encode("latin-1")
    record = b"\x1c\x02\x19" + struct.pack(">H", len(word)) + word
    block = (
        b"8BIM\x04\x04\0\0" + struct.pack(">I", len(record)) + record + b"\0" * (len(record) % 2)
    )
    return segment(0xED, PHOTOSHOP + block)


def behind_start(data: bytes, *segments: bytes) -> bytes:
    """Put *segments* right behind the start of a JPEG."""
    return data[:2] + b"".join(segments) + data[2:]


def mpf() -> bytes:
    """Return a multi-picture file whose second picture has XMP of its own, as gain maps do."""
    made = io.BytesIO()
    second = picture(1, (32, 24))
    second.encoderinfo = {"xmp": b"<gain/>"}
    picture().save(made, "MPO", save_all=True, append_images=[second], exif=exif())
    return made.getvalue()


def tiff(mode: str = "RGB", pages: int = 1, **options: object) -> bytes:
    """Return a TIFF."""
    made = io.BytesIO()
    first, *rest = [_page(i, mode) for i in range(pages)]
    first.save(made, "TIFF", save_all=True, append_images=rest, icc_profile=icc(), **options)
    return made.getvalue()


def _page(seed: int, mode: str) -> Image.Image:
    if mode == "I;16":
        deep = np.random.default_rng(seed).integers(0, 65535, (48, 64), dtype=np.uint16)
        return Image.fromarray(deep)
    return picture(seed, mode=mode)


def png(mode: str = "RGB", **options: object) -> bytes:
    """Return a PNG with a profile and a text of its own."""
    made, text = io.BytesIO(), PngImagePlugin.PngInfo()
    text.add_text("Software", "something")
    _page(0, mode).save(made, "PNG", pnginfo=text, icc_profile=icc(), **options)
    return made.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return one chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def webp(**options: object) -> bytes:
    """Return a WebP."""
    made = io.BytesIO()
    picture().save(made, "WEBP", **options)
    return made.getvalue()


def heif(kind: str) -> bytes:
    """Return a HEIC or AVIF with EXIF."""
    made = io.BytesIO()
    if kind == "avif":
        picture().save(made, "AVIF", exif=exif())
    else:
        file = pillow_heif.from_pillow(picture())
        file.save(made, exif=exif().tobytes(), quality=90)
    return made.getvalue()


def raw() -> bytes:
    """Return a DNG."""
    small = np.asarray(picture())
    preview = io.BytesIO()
    picture().save(preview, "JPEG")
    return dng.dng(small, dng.Preview(preview.getvalue(), 64, 48), [dng.text(0x010F, "Maker")], [])


FRAMES = [picture(i) for i in range(3)]
KINDS: dict[str, Callable[[], bytes]] = {
    "plain.jpg": jpeg,
    "progressive.jpg": lambda: jpeg(progressive=True),
    "cmyk.jpg": lambda: jpeg(mode="CMYK"),
    "motion.jpg": lambda: jpeg() + VIDEO,
    "pictures.jpg": mpf,
    "iptc.jpg": lambda: behind_start(jpeg(), iptc("Caf\xe9")),
    "xmp.jpg": lambda: jpeg(xmp=packet("Anna")),
    "plain.png": png,
    "deep.png": lambda: png("I;16"),
    "animated.png": lambda: png(save_all=True, append_images=FRAMES),
    "plain.webp": webp,
    "lossless.webp": lambda: webp(lossless=True),
    "profile.webp": lambda: webp(icc_profile=icc(), exif=exif()),
    "animated.webp": lambda: webp(save_all=True, append_images=FRAMES),
    "plain.tif": tiff,
    "deep.tif": lambda: tiff("I;16"),
    "cmyk.tiff": lambda: tiff("CMYK"),
    "pages.tif": lambda: tiff(pages=12, compression="tiff_deflate"),
    "camera.dng": raw,
    "plain.heic": lambda: heif("heic"),
    "plain.avif": lambda: heif("avif"),
}
"""Name → what makes the file."""

NEEDS_EXIFTOOL = {"plain.heic", "plain.avif"}


def packet(keyword: str, extra: str = "") -> bytes:
    """Return an XMP packet with one keyword, something foreign, and padding."""
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
        ' <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n'
        '  <rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"\n'
        f'    xmlns:mine="http://example.org/mine" mine:odd="1.50"{extra}>\n'
        f"   <dc:subject><rdf:Bag><rdf:li>{keyword}</rdf:li></rdf:Bag></dc:subject>\n"
        "  </rdf:Description>\n </rdf:RDF>\n</x:xmpmeta>\n" + " " * 9000 + '\n<?xpacket end="w"?>'
    ).encode()


def made(folder: Path, name: str) -> Path:
    """Make one of :data:`KINDS`, or skip where what writes into it is not installed."""
    if name in NEEDS_EXIFTOOL and shutil.which("exiftool") is None:
        pytest.skip("exiftool is not installed: apt-get install libimage-exiftool-perl")
    path = folder / name
    path.write_bytes(KINDS[name]())
    return path


def seen(path: Path) -> tuple[list[str], str]:
    """Return a hash of every decoded frame of *path*, and one of its colour profile."""
    pillow_heif.register_heif_opener()
    with Image.open(path) as image:
        profile = hashlib.sha256(image.info.get("icc_profile") or b"").hexdigest()
        frames: list[str] = []
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            frames.append(f"{image.size} {hashlib.sha256(image.tobytes()).hexdigest()}")
    return frames, profile


Shown = dict[str, tuple[dict[str, Any], dict[str, Any]]]
"""Name → the XMP, and all else but names, times and places."""

_ASIDE = ("System:", "File:", "ExifTool:", "SourceFile", "XMP", "QuickTime:MediaData",
          "MPImage2:MPImageStart", "RIFF:WebP_Flags")  # fmt: skip


def exiftool(folder: Path) -> Shown:
    """Return what exiftool finds in every file of a folder; skip where it is not installed."""
    program = shutil.which("exiftool")
    if program is None:
        pytest.skip("exiftool is not installed: apt-get install libimage-exiftool-perl")
    options = ["-config", "", "-struct", "-j", "-G1", "-a", "-u", "-b", "-q"]
    shown = subprocess.run([program, *options, str(folder)], capture_output=True, check=False)
    files: list[dict[str, Any]] = json.loads(shown.stdout)
    return {
        str(fields["System:FileName"]): (
            {key: value for key, value in fields.items() if key.startswith("XMP-")},
            {key: value for key, value in fields.items() if not key.startswith(_ASIDE)},
        )
        for fields in files
    }


def replace_packet(
    path: Path, stamp: Stamp, packet: bytes | None, *, backup: Path | None = None
) -> Stamp:
    """Make *packet* the XMP packet of the photo at *path*; return its new stamp."""
    return change_packet(path, stamp, lambda _old: packet, backup=backup)[0]


def change_core(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Have *change* edit what a sidecar would hold of the photo's packet."""
    change_packet(path, Stamp.of(path.lstat()), lambda packet: changed_packet(packet, change))
