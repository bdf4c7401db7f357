"""A folder is exchanged for a link that leads out of the root, at any instant, by another user."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from PIL import Image
from support import embeddable
from support.embedded import adopt, inspect, unhide_human_texts, view, write
from support.racing import RACES, give, needs_root, swapping

from taggerd import files
from taggerd.errors import TaggerdError
from taggerd.metadata import Adoption, Options, UndoOptions, plan, undo_embedded, undo_sidecar
from taggerd.photo import Keyword, Photo, PhotoFile, Provenance, Stamp, Tags

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NOW = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)
PROVENANCE = Provenance(version="1", date=NOW, profile="default", models={}, digest="ab" * 32)
TAGS = Tags(caption="A dog", description="A dog on a beach.", keywords=(Keyword("dog"),))
WORDS = "the words of the other folder"


class Scene(NamedTuple):
    """An import folder that another user may write to, and a folder that is root's alone."""

    sub: Path
    """Theirs, below the root."""
    link: Path
    """Beside it: a link to *secret*."""
    secret: Path
    """Outside the root: a photo of the same name, and a sidecar that belongs to them."""

    inside: int
    """A descriptor of *sub*, whatever its name is now."""

    @property
    def photo(self) -> Photo:
        """The photo, as it is now."""
        stamp = Stamp.of(os.stat("a.jpg", dir_fd=self.inside, follow_symlinks=False))
        return Photo((PhotoFile(self.sub / "a.jpg", stamp),))

    def seen(self) -> dict[str, tuple[bytes, object]]:
        """Return all that is in the secret folder: bytes, owner, mode, inode, time of change."""
        kept = ("st_mode", "st_uid", "st_gid", "st_ino", "st_nlink", "st_ctime_ns")
        return {
            path.name: (path.read_bytes(), [getattr(path.lstat(), name) for name in kept])
            for path in self.secret.iterdir()
        }

    def told(self) -> str:
        """Return the name of a file in *sub* that has the secret's words in it, if any."""
        for name in os.listdir(self.inside):  # noqa: PTH208 - a descriptor
            with suppress(OSError):
                descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=self.inside)
                with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor
                    if WORDS.encode() in file.read():
                        return name
        return ""

    def clear(self) -> None:
        """Remove everything but the photo from *sub*."""
        for name in os.listdir(self.inside):  # noqa: PTH208 - a descriptor
            if name != "a.jpg":
                os.unlink(name, dir_fd=self.inside)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """Make both folders."""
    top, secret = tmp_path / "outer" / "import", tmp_path / "outer" / "secret"
    sub, link = top / "sub", top / "link"
    sub.mkdir(parents=True)
    secret.mkdir(mode=0o700)
    Image.new("RGB", (8, 8), "red").save(sub / "a.jpg")
    data = embeddable.behind_start(
        (sub / "a.jpg").read_bytes(),
        embeddable.segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + embeddable.packet(WORDS)),
    )
    (secret / "a.jpg").write_bytes(data)
    (secret / "a.jpg").chmod(0o600)
    (secret / "a.jpg.xmp").write_bytes(embeddable.packet(WORDS))
    link.symlink_to(secret)
    give(top, sub, link, sub / "a.jpg", secret / "a.jpg.xmp")
    files._roots.clear()
    files.work_below(top)
    inside = os.open(sub, os.O_RDONLY | os.O_DIRECTORY)
    yield Scene(sub, link, secret, inside)
    os.close(inside)


EMBED = Options(target="embed", backup_originals=True)
ADOPTION = Adoption(before=date(2100, 1, 1), now=NOW)
OPERATIONS: dict[str, Callable[[Photo], Any]] = {
    "write": lambda photo: write(photo, TAGS, PROVENANCE, Options(backup_originals=True)),
    "embed": lambda photo: write(photo, TAGS, PROVENANCE, EMBED),
    "unhide": lambda photo: unhide_human_texts(photo, Options()),
    "inspect": lambda photo: inspect(photo, Options(), ["keywords"]),
    "adopt": lambda photo: adopt(photo, ADOPTION, Options()),
    "undo": lambda photo: undo_sidecar(plan(photo, Options())[0], UndoOptions(), Options()),
    "undo embedded": lambda photo: undo_embedded(photo.primary.path, UndoOptions(), EMBED),
    "show": lambda photo: view(photo, Options()),
}


def _attempt(operation: Callable[[Photo], Any], photo: Photo) -> str:
    """Return what came of one attempt, in words; an error is as good as any."""
    with suppress(TaggerdError, OSError):
        return repr(operation(photo))
    return ""


@pytest.mark.parametrize("name", OPERATIONS)
def test_another_user_swaps_a_folder(scene: Scene, name: str) -> None:
    """Whatever step it comes between: nothing outside the root is read, written or listed."""
    needs_root()
    before, photo = scene.seen(), scene.photo
    with swapping(scene.sub, scene.link):
        for number in range(RACES):
            said = _attempt(OPERATIONS[name], photo)
            assert WORDS not in said
            assert scene.told() == ""
            photo = scene.photo
            if number % 2:
                scene.clear()  # so that sidecars are made as well as changed
    assert scene.seen() == before


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_swap_before_each_lookup(
    scene: Scene, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is a link from the n-th lookup on, for every n that there is."""
    before, photo, real = scene.seen(), scene.photo, files._opened
    if "undo" in name:
        write(photo, TAGS, PROVENANCE, EMBED if name == "undo embedded" else Options())
    lookups = swaps = 0

    def lookup(path: Path, flags: int, mode: int = 0) -> int:
        nonlocal lookups
        if lookups == swaps:
            files._libc().renameat2(-100, os.fsencode(scene.sub), -100, os.fsencode(scene.link), 2)
        lookups += 1
        return real(path, flags, mode)

    monkeypatch.setattr(files, "_opened", lookup)
    while True:
        lookups = 0
        said = _attempt(OPERATIONS[name], photo)
        done = lookups <= swaps
        if not done:
            scene.sub.rename(scene.sub.with_name("x"))
            scene.link.rename(scene.sub)
            scene.sub.with_name("x").rename(scene.link)
        assert WORDS not in said
        assert scene.seen() == before
        if done:
            break
        scene.clear()
        photo = replace(photo, files=scene.photo.files)
        swaps += 1
    assert swaps > 1
