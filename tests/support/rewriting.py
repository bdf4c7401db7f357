"""Sidecars rewritten by Exiv2, as darktable does it when it imports a photo.

Foreign namespaces stay, simple properties become attributes, an array may change its kind.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_PROGRAM = """
import sys, pyexiv2
pyexiv2.set_log_level(3)
pyexiv2.registerNs("http://darktable.sf.net/", "darktable")
try:
    image = pyexiv2.Image(sys.argv[1])
    image.modify_xmp({"Xmp.darktable.xmp_version": "5"})
    image.close()
except RuntimeError as error:
    print(error)
"""


def rewritten(folder: Path, sidecar: bytes) -> bytes:
    """Return *sidecar* as darktable leaves it; as it is where Exiv2 cannot read it.

    In a process of its own, for Exiv2 keeps what one file taught it.
    """
    path = folder / "rewritten.xmp"
    path.write_bytes(sidecar)
    subprocess.run([sys.executable, "-c", _PROGRAM, path], check=True, capture_output=True)
    return path.read_bytes()


def as_sequence(sidecar: bytes) -> bytes:
    """Return *sidecar* with its keywords in a sequence, which is how darktable writes them."""
    head, name, rest = sidecar.partition(b"<dc:subject>")
    body, end, tail = rest.partition(b"</dc:subject>")
    return head + name + body.replace(b"rdf:Bag>", b"rdf:Seq>") + end + tail
