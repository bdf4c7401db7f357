"""Paths, stamps and sidecars as the database keeps them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from taggerd.photo import PhotoFile, Stamp

if TYPE_CHECKING:
    from collections.abc import Mapping

_INT64 = range(-(2**63), 2**63)


class Place(NamedTuple):
    """A file's path in its three parts."""

    folder: bytes
    """Ends in ``/``."""
    stem: bytes
    suffix: bytes
    """With its dot; may be empty."""

    @classmethod
    def of(cls, path: Path) -> Place:
        """Take *path* apart as `taggerd.photo.group` does."""
        return cls(folder_bytes(path.parent), os.fsencode(path.stem), os.fsencode(path.suffix))


def folder_bytes(folder: Path) -> bytes:
    """Return a folder's path with its final ``/``."""
    path = os.fsencode(folder)
    return path if path.endswith(b"/") else path + b"/"


def folder_range(folder: Path) -> tuple[bytes, bytes]:
    """Return the range, without its end, of the paths of *folder* and all folders below it."""
    low = folder_bytes(folder)
    return low, low[:-1] + b"0"  # "0" follows "/"


def path_of(path: bytes) -> Path:
    """Return the path that was kept as *path*."""
    return Path(os.fsdecode(path))


def name_beside(path: Path, folder: Path) -> bytes:
    """Return *path* as seen from *folder*: the name alone where it lies in it."""
    return os.fsencode(path.name if path.parent == folder else path)


def file_of(folder: bytes, row: Mapping[str, Any]) -> PhotoFile:
    """Return the file of a row with ``stem, suffix`` and the stamp's columns."""
    return PhotoFile(path_of(folder + row["stem"] + row["suffix"]), stamp_of(row))


def stamp_of(row: Mapping[str, Any]) -> Stamp:
    """Return the stamp of a row with ``size, mtime_ns, inode, device``."""
    return Stamp(int(row["size"]), int(row["mtime_ns"]), int(row["inode"]), int(row["device"]))


def stamp_columns(stamp: Stamp) -> dict[str, int | str]:
    """Return the four columns of *stamp*; a number beyond 64 signed bits becomes text."""
    return {k: v if v in _INT64 else str(v) for k, v in stamp._asdict().items()}


def digest_bytes(digest: str) -> bytes | None:
    """Return a digest's bytes; None for an empty one."""
    return bytes.fromhex(digest) or None


def pack_sidecars(stem: bytes | None, sidecars: Mapping[bytes, str]) -> bytes:
    """Return the names of *sidecars* and their digests in one value: each behind its length.

    A name is relative to the photo's folder, or absolute; one that begins with the photo's *stem*
    has a NUL in its place, which no name can have. Zeros at the end are room that is left.
    """
    packed = bytearray()
    for name, digest in sidecars.items():
        short = b"\0" + name[len(stem) :] if stem and name.startswith(stem) else name
        for part in (short, bytes.fromhex(digest)):
            packed += len(part).to_bytes(2, "big") + part
    return bytes(packed)


def unpack_sidecars(stem: bytes, packed: bytes | None) -> dict[bytes, str]:
    """Return what :func:`pack_sidecars` was given; None: nothing."""
    left, parts = packed or b"", list[bytes]()
    while left[:2].strip(b"\0"):
        end = 2 + int.from_bytes(left[:2], "big")
        parts.append(left[2:end])
        left = left[end:]
    return {
        stem + name[1:] if name.startswith(b"\0") else name: digest.hex()
        for name, digest in zip(parts[::2], parts[1::2], strict=True)
    }
