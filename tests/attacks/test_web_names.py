"""Names in a library that somebody else made: each photo is found, shown and edited by its own."""

from __future__ import annotations

import html
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from support.browsing import Site
from support.program import photo

if TYPE_CHECKING:
    from support.program import Program

pytestmark = pytest.mark.slow

NAMES = (
    b"a?b#c%2f&amp;.jpg",
    b"q\"'<script>alert(1)<.jpg",
    "\u202egnp.exe.jpg".encode(),
    b"\xff\xfe bytes.jpg",
    b"new\nline\r.jpg",
    b"%00%0d%0a.jpg",
    b"x" * 246 + b".jpg",
    b"d\xffir <b>&/in.jpg",
)
KEY = re.compile(r"/photos/[0-9a-f]{24}")


@pytest.mark.long
def test_every_photo_is_shown_and_edited_whatever_its_name(
    taggerd: Program, tmp_path: Path
) -> None:
    """Each link of each page leads somewhere; no name is markup, a header or another photo's."""
    site = Site(taggerd, tmp_path / "photos")
    for number, name in enumerate(NAMES):
        path = Path(os.fsdecode(os.fsencode(site.folder) + b"/" + name))
        path.parent.mkdir(parents=True, exist_ok=True)
        photo(tmp_path / "made.jpg", number).rename(path)
    site.tag()
    site.start()
    try:
        with httpx.Client(follow_redirects=True, trust_env=False, timeout=180) as client:
            client.get(site.link())
            photos = _photos(client, site)
            assert len(photos) == len(NAMES)
            for address in photos:
                _edit(client, site.url + address)
    finally:
        site.end()
    for name in NAMES:
        sidecar = Path(os.fsdecode(os.fsencode(site.folder) + b"/" + name + b".xmp"))
        assert "<rdf:li>weir &lt;i&gt;</rdf:li>" in sidecar.read_text(), name


def _photos(client: httpx.Client, site: Site) -> set[str]:
    """Follow all links of the overview and of the grid, and return those of photos."""
    seen, ahead = set[str](), {"/", "/photos"}
    while ahead - seen:
        seen.add(path := min(ahead - seen))
        answer = client.get(site.url + path)
        assert answer.status_code == 200, path
        if "html" in answer.headers["content-type"]:
            assert "<script>alert" not in answer.text, path
            assert "\u202e" not in answer.text, path
            links = map(html.unescape, re.findall(r'(?:href|src)="(/[^"#]*)', answer.text))
            of_photos = {link.partition("?")[0] if KEY.match(link) else link for link in links}
            ahead |= {link for link in of_photos if link.startswith(("/photos", "/thumb", "/prev"))}
    return {path for path in seen if KEY.fullmatch(path)}


def _edit(client: httpx.Client, address: str) -> None:
    """Add a keyword to a photo."""
    (token, *_) = re.findall(r'name="csrf" value="([^"]+)"', client.get(address).text)
    answer = client.post(f"{address}/edit", data={"csrf": token, "add": "weir <i>"})
    assert answer.status_code == 200, address
    assert "weir &lt;i&gt;" in answer.text
