"""The static files: style sheets, scripts and icons that belong to the package."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from mimetypes import guess_type
from typing import NamedTuple


class StaticFile(NamedTuple):
    """One file of ``static/``."""

    content: bytes
    media_type: str
    """With the charset where it is text."""
    version: str
    """Changes with the content; part of the address, so that it may be cached for ever."""

    @property
    def source_hash(self) -> str:
        """Return what a Content-Security-Policy calls this file when it stands in a page."""
        digest = base64.b64encode(hashlib.sha256(self.content).digest()).decode()
        return f"'sha256-{digest}'"


@cache
def static_files() -> dict[str, StaticFile]:
    """Return every static file by its name; read once."""
    return {
        file.name: _described(file.name, file.read_bytes())
        for file in files("taggerd.pages").joinpath("static").iterdir()
        if file.is_file()
    }


def static_file(name: str) -> StaticFile | None:
    """Return the file called *name*; None if there is none.

    Names are looked up in a table and never become a path.
    """
    return static_files().get(name)


def _described(name: str, content: bytes) -> StaticFile:
    media_type = guess_type(name)[0] or "application/octet-stream"
    if media_type.startswith("text/") or media_type.endswith(("javascript", "svg+xml")):
        media_type += "; charset=utf-8"
    return StaticFile(content, media_type, hashlib.sha256(content).hexdigest()[:12])
