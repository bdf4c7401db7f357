"""The library: words as they stand on the disk, and pictures that are made once."""

from __future__ import annotations

import asyncio
import io
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from taggerd import imaging, metadata
from taggerd.catalogue import Catalogue, Query, Word, key_of
from taggerd.errors import PhotoMoved, StorageError
from taggerd.ledger import Finished
from taggerd.review import Library, Pictures, open_library
from taggerd.review import library as library_module
from taggerd.services.pools import Disks, Pools
from taggerd.testing import ThreadWorkers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from types import ModuleType

    from support.reviewing import Photos

FOREIGN = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF
 xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""
 xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/"
 xmlns:dc="http://purl.org/dc/elements/1.1/" photoshop:Headline="{}">
<dc:subject><rdf:Bag><rdf:li>mine</rdf:li></rdf:Bag></dc:subject>
</rdf:Description></rdf:RDF></x:xmpmeta>
"""


def counted(monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str) -> list[object]:
    """Return a list that grows with each call of a function."""
    calls: list[object] = []
    function = getattr(module, name)

    def call(*args: object) -> object:
        calls.append(args)
        return function(*args)

    monkeypatch.setattr(module, name, call)
    return calls


@pytest.fixture
async def pools(photos: Photos) -> AsyncIterator[Pools]:
    """Threads for processes."""
    workers, disks = ThreadWorkers(photos.settings.workers), Disks()
    yield Pools(workers, workers, workers, disks)
    disks.close()
    await workers.close()


@pytest.fixture
async def library(photos: Photos, pools: Pools) -> AsyncIterator[Library]:
    """A library of these photos."""
    async with open_library(photos.settings, pools) as opened:
        yield opened


async def test_the_words_are_those_in_the_sidecar(photos: Photos, library: Library) -> None:
    """A human's as a human's, whoever wrote them and when; searching finds them from then on."""
    path = photos.add()
    photos.journal(path)
    await photos.end(path)
    await library.refresh()
    (entry,) = await library.read([path])
    assert (entry.caption, entry.keywords) == (Word(""), ())  # nothing is on the disk
    sidecar = path.with_name("a.jpg.xmp")
    sidecar.write_text(FOREIGN.format("By Ana"))
    (entry,) = await library.read([path])
    assert entry.caption == Word("By Ana", "human")
    assert entry.keywords == (Word("mine", "human"),)
    assert photos.catalogue.count(Query(text="ana", keyword="mine")) == 1
    assert entry.stamps.keys() == {path, sidecar}
    sidecar.write_text("no XMP")
    (entry,) = await library.read([path])
    assert entry.caption == Word("")


async def test_a_sidecar_is_read_again_only_when_it_changed(
    photos: Photos, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page of photos costs a few calls of lstat each; also where a sidecar may be another's."""
    path = photos.add()
    photos.add("a.png")  # a.xmp may be of either, and says of neither
    path.with_suffix(".xmp").write_text(FOREIGN.format("Whose?"))
    photos.journal(path)
    await library.refresh()
    await library.read([path])
    reads = counted(monkeypatch, metadata, "written")
    await library.read([path, path])
    assert reads == []


async def test_words_that_wait_for_acceptance_are_shown(photos: Photos, library: Library) -> None:
    """Nothing of them is on the disk; a human's own words there are shown in their stead."""
    path = photos.add()
    photos.journal(path, metadata_written=False, held=True)
    await photos.end(path, Finished("ab" * 32, sidecars_written=False))
    await library.refresh()
    (entry,) = await library.read([path])
    assert entry.caption == Word("Caption 1", "machine", "model-a")
    assert not entry.written
    path.with_name("a.jpg.xmp").write_text(FOREIGN.format("By Ana"))
    (entry,) = await library.read([path])
    assert entry.caption == Word("By Ana", "human")
    assert [(word.text, word.whose) for word in entry.keywords] == [
        ("tree", "machine"),
        ("word 1", "machine"),
        ("mine", "human"),
    ]
    assert photos.catalogue.get(entry.key) == entry


async def test_a_photo_that_nobody_tagged_is_shown_and_not_listed(
    photos: Photos, library: Library
) -> None:
    """With its own words; of one that is gone what was known is shown."""
    path = photos.add()
    path.with_name("a.jpg.xmp").write_text(FOREIGN.format("By Ana"))
    (entry,) = await library.read([path])
    assert (entry.caption.text, entry.state) == ("By Ana", "queued")
    assert photos.catalogue.count(Query()) == 0
    photos.journal(path)
    await library.refresh()
    path.unlink()
    (entry,) = await library.read([path])
    assert entry.caption.text == "Caption 1"


async def test_a_catalogue_that_cannot_be_written_hides_no_word(
    photos: Photos, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The photo is shown as it is; the library says why it is behind, and catches up later."""
    path = photos.add()
    photos.journal(path)
    path.with_name("a.jpg.xmp").write_text(FOREIGN.format("By Ana"))

    def full(*_: object) -> None:
        message = "the disk is full"
        raise StorageError(message)

    with monkeypatch.context() as patch:
        for name in ("put", "get_all", "notes"):
            patch.setattr(photos.catalogue.__class__, name, full)
        await library.refresh()
        assert library.trouble == "the disk is full"
        (entry,) = await library.read([path])
        assert entry.caption.text == "By Ana"
    await library.rebuild()
    assert library.trouble == ""
    assert photos.catalogue.count(Query()) == 1


async def test_one_photo_that_ends_its_process_hides_no_other(
    photos: Photos, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others' words are read all the same."""
    paths = [photos.add(f"{n}.jpg") for n in range(3)]
    for path in paths:
        photos.journal(path)
        path.with_name(f"{path.name}.xmp").write_text(FOREIGN.format("By Ana"))
    read = metadata.written

    def written(given: tuple[object, ...], *args: object) -> object:
        if any(getattr(photo, "name", "") == "1.jpg" for photo in given):
            raise PhotoMoved
        return read(given, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(metadata, "written", written)
    await library.refresh()
    entries = await library.read(paths)
    assert [entry.caption.text for entry in entries] == ["By Ana", "Caption 2", "By Ana"]


async def test_the_library_follows_what_happens(
    photos: Photos, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it runs, records and words in sidecars come in by themselves."""
    path = photos.add()
    photos.journal(path)
    path.with_name("a.jpg.xmp").write_text(FOREIGN.format("By Ana"))
    loop, there = asyncio.get_running_loop(), asyncio.Event()
    put = Catalogue.put

    def put_and_tell(catalogue: Catalogue, *args: Any) -> None:  # noqa: ANN401 - as put
        put(catalogue, *args)
        if catalogue.count(Query(text="ana")):
            loop.call_soon_threadsafe(there.set)

    monkeypatch.setattr(Catalogue, "put", put_and_tell)
    monkeypatch.setattr(library_module, "NEWS_SECONDS", 0.01)
    running = asyncio.create_task(library.run())
    try:
        async with asyncio.timeout(180):
            await there.wait()
    finally:
        running.cancel()
        await asyncio.wait([running])


# ── Pictures ─────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def pictures(photos: Photos, library: Library, pools: Pools) -> Pictures:
    """Their pictures."""
    return Pictures(library, photos.settings, pools, cache_bytes=60_000)


def noise(path: Path, seed: int = 1, edge: int = 320) -> None:
    """Make a photo that compresses badly."""
    pixels = np.random.default_rng(seed).integers(0, 255, (edge, edge, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, "JPEG", quality=50)


async def test_a_thumbnail_is_made_once_and_is_small(
    photos: Photos, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also for a photo that was never decoded, however many ask at once; 20 KB at most."""
    path = photos.add()
    noise(path)
    photos.journal(path, digest="")
    photos.feed.news()
    calls = counted(monkeypatch, imaging, "prepare")
    key = key_of(path)
    first = await asyncio.gather(*(pictures.thumbnail(key) for _ in range(5)))
    assert len(calls) == 1
    assert len(set(first)) == 1
    thumbnail = await pictures.thumbnail(key)
    assert thumbnail == first[0]
    assert len(calls) == 1
    assert thumbnail is not None
    assert len(thumbnail) <= 20_000
    assert max(Image.open(io.BytesIO(thumbnail)).size) <= 320
    assert photos.entry(path).digest
    path.unlink()  # it is kept with the journal's
    assert await pictures.thumbnail(key) == thumbnail
    assert await pictures.thumbnail("ff" * 12) is None


async def test_a_preview_is_made_once_and_again_when_the_photo_changed(
    photos: Photos, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is upright and bare of metadata; while the photo's disk is away the last one is shown."""
    path = photos.add()
    photos.journal(path)
    photos.feed.news()
    calls = counted(monkeypatch, imaging, "prepare")
    key = key_of(path)
    first = await pictures.preview(key)
    assert await pictures.preview(key) == first
    assert len(calls) == 1
    Image.new("RGB", (3000, 1000), (200, 20, 20)).save(path, exif=_rotated())
    second = await pictures.preview(key)
    assert second is not None
    image = Image.open(io.BytesIO(second))
    assert image.size == (683, 2048)
    assert not image.getexif()
    path.unlink()
    assert await pictures.preview(key) == second
    assert len(calls) == 2


def _rotated() -> Image.Exif:
    exif = Image.Exif()
    exif[274] = 6
    return exif


async def test_previews_take_no_more_space_than_they_may(
    photos: Photos, pictures: Pictures
) -> None:
    """Those that nobody looked at for longest go first; other files stay."""
    keys = []
    for number in range(4):
        path = photos.add(f"{number}.jpg")
        noise(path, seed=number, edge=160)
        photos.journal(path)
        keys.append(key_of(path))
    photos.feed.news()
    folder = photos.settings.state_directory / "previews"
    for number, key in enumerate(keys):
        assert await pictures.preview(key)
        for file in folder.glob("*.jpg"):  # as if an hour lay between them
            status = file.stat()
            os.utime(file, ns=(0, status.st_mtime_ns - 3_600_000_000_000))
        if number == 2:
            assert await pictures.preview(keys[0])
    (folder / "notes.txt").write_text("mine")
    kept = {file.name[:24] for file in folder.glob("*.jpg")}
    assert sum(file.stat().st_size for file in folder.glob("*.jpg")) <= 60_000
    assert kept == {keys[0], keys[3]} or kept == {keys[0], keys[2], keys[3]}
    assert (folder / "notes.txt").exists()


async def test_a_photo_that_is_none_has_no_picture(photos: Photos, pictures: Pictures) -> None:
    """No error: the page shows its name."""
    path = photos.add()
    path.write_bytes(b"no picture")
    photos.journal(path, digest="")
    photos.feed.news()
    assert await pictures.thumbnail(key_of(path)) is None
    assert await pictures.preview(key_of(path)) is None
