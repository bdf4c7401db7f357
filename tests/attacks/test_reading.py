"""A folder is exchanged for a link to root's photos while the import folder is read."""

from __future__ import annotations

import base64
import io
import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from PIL import Image
from support.program import photo, until
from support.racing import NOBODY, RACES, give, needs_root, swapping

from taggerd import imaging
from taggerd.arrivals import find
from taggerd.errors import TaggerdError
from taggerd.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from support.program import CountingBackend, Program

PHOTOS = 6
RED, BLUE = 0, 2
"""Colours of :func:`support.program.photo`: the secret's, and those of the other user's photos."""


class Scene(NamedTuple):
    """An import folder of another user, and root's photos elsewhere, under the same names."""

    inbox: Path
    sub: Path
    """Theirs; the photos lie in a folder in it."""
    link: Path
    """Beside it: a link to the secret folder."""


@pytest.fixture
def scene(inbox: Path, tmp_path: Path) -> Scene:
    """Make both folders."""
    needs_root()
    sub, secret, link = inbox / "sub", tmp_path / "secret", inbox / "link"
    for number in range(PHOTOS):
        photo(sub / "DCIM" / f"{number}.jpg", BLUE)
        photo(secret / "DCIM" / f"{number}.jpg", RED).chmod(0o600)
    secret.chmod(0o700)
    (secret / "DCIM").chmod(0o700)
    link.symlink_to(secret)
    give(inbox, sub, link)
    return Scene(inbox, sub, link)


def is_red(jpeg: bytes) -> bool:
    """Say whether a picture is the secret one."""
    with Image.open(io.BytesIO(jpeg)) as picture:
        pixel = picture.convert("RGB").resize((1, 1)).getpixel((0, 0))
    assert isinstance(pixel, tuple)
    return pixel[0] > pixel[2]


def sent(body: dict[str, Any]) -> list[bytes]:
    """Return the pictures of a request."""
    parts = [part for message in body["messages"] for part in message["content"]]
    urls = [part["image_url"]["url"] for part in parts if "image_url" in part]
    return [base64.b64decode(url.partition(",")[2]) for url in urls]


def check(backend: CountingBackend) -> None:
    """No request has had a secret picture in it."""
    for _, body in backend.asked:
        assert not any(map(is_red, sent(json.loads(body))))


def test_what_is_found_and_opened_lies_below_the_root(scene: Scene) -> None:
    """Between the walk and the opening, and in the middle of each: never a photo of root's."""
    secret = {path.stat().st_ino for path in (scene.link / "DCIM").iterdir()}
    opened = 0
    with swapping(scene.sub, scene.link):
        for _ in range(RACES):
            for each in find([scene.inbox], Settings()).photos:
                with suppress(TaggerdError), imaging.open_photo(each.primary.path) as file:
                    assert file.stat().st_ino not in secret
                    with file.reader() as reader:
                        assert not is_red(reader.read())
                    opened += 1
    assert opened


@pytest.mark.long
def test_a_scan_sends_nothing_that_lies_elsewhere(
    taggerd: Program, backend: CountingBackend, scene: Scene
) -> None:
    """Whatever the folder is exchanged for, the backend gets photos of the import folder alone."""
    taggerd.base_url = backend.base_url
    with swapping(scene.sub, scene.link):
        for _ in range(3):
            assert taggerd("scan", scene.inbox, "--retag").returncode in {0, 1}
            check(backend)


def test_the_daemon_sends_nothing_that_lies_elsewhere(
    taggerd: Program, backend: CountingBackend, scene: Scene
) -> None:
    """The same for a folder that is watched and walked again and again."""
    taggerd.base_url = backend.base_url
    taggerd.environment["TAGGERD__ARRIVALS__POLL_SECONDS"] = "0.05"
    roots = json.dumps([{"path": os.fspath(scene.inbox), "mode": "poll"}])
    taggerd.environment["TAGGERD__ARRIVALS__ROOTS"] = roots
    with swapping(scene.sub, scene.link):
        daemon = taggerd.start()
        until(lambda: len({line["image"] for line in taggerd.records()}) >= PHOTOS)
        assert taggerd.stop(daemon) == 0
    check(backend)


def test_root_is_told_once_that_others_may_write(taggerd: Program, scene: Scene) -> None:
    """At the start and by `config check`: what it means, and what to do."""
    taggerd.environment["TAGGERD__ARRIVALS__ROOTS"] = json.dumps([os.fspath(scene.inbox)])
    warning = f"runs as root, and its owner (user {NOBODY}) may write to {scene.inbox}"
    checked = taggerd("config", "check")
    assert checked.returncode == 0
    assert checked.stderr.count(warning) == 1
    taggerd.stop(taggerd.start())
    assert taggerd.log().count(warning) == 1
