"""darktable itself reads what taggerd writes, and what it writes then is undone again.

Debian's darktable runs under a virtual screen, imports a tagged folder and is ended. Its library is
read, and the sidecars as it rewrote them are tagged again by another model and then undone.

digiKam is not driven: Debian's package brings 300 others (115 MB to fetch, most of KDE), it has no
command to import without a window, and its first-run assistant must be clicked through before there
is a database. It reads XMP by the library Exiv2, so ``exiv2`` stands in for it (test_exiv2.py).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
from collections import defaultdict
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

import httpx
import pytest
from support.browsing import Site
from support.program import other_words, photo, until

if TYPE_CHECKING:
    from pathlib import Path

    from support.program import CountingBackend, Program

pytestmark = pytest.mark.long

PROGRAMS = ("darktable", "xvfb-run", "dbus-run-session")
MISSING = [name for name in PROGRAMS if shutil.which(name) is None]
SECONDS = 90.0
"""darktable needs 6 seconds, on a loaded machine some ten times that."""
STARTS = 3
"""Now and then it stands still while it starts, and is started again."""

HUMAN = """<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:lr="http://ns.adobe.com/lightroom/1.0/" xmlns:my="http://example.org/my/1.0/"
    my:note="keep me">
   <dc:title><rdf:Alt><rdf:li xml:lang="x-default">My own title</rdf:li></rdf:Alt></dc:title>
   <lr:hierarchicalSubject><rdf:Bag><rdf:li>Places|Oslo</rdf:li></rdf:Bag></lr:hierarchicalSubject>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
"""

_FIELDS = ("XMP-dc:Title", "XMP-dc:Description", "XMP-dc:Subject", "XMP-lr:HierarchicalSubject",
           "XMP-digiKam:TagsList", "XMP-photoshop:Headline", "XMP-tiff:ImageDescription",
           "XMP-iptcCore:AltTextAccessibility")  # fmt: skip
_TITLE, _DESCRIPTION = 2, 3
"""Keys of darktable's meta_data (src/common/metadata.h)."""


class Imported(NamedTuple):
    """What darktable holds of one photo."""

    title: str
    description: str
    tags: set[str]


class Darktable:
    """darktable with folders of its own."""

    def __init__(self, home: Path) -> None:
        """Keep library and settings in folders in *home*, new ones for each start."""
        self.top = home
        self.home = home

    @property
    def library(self) -> Path:
        """Its database."""
        return self.home / "library.db"

    def import_folder(self, folder: Path, photos: int) -> dict[str, Imported]:
        """Let it import *folder*, wait for its words on all *photos*, and end it."""
        for number in range(STARTS):
            self.home = self.top / str(number)
            running = self._start(folder)
            try:
                if self._waited(running, folder, photos):
                    return self.read()
            finally:
                self._end(running)
        message = (self.home / "log").read_text(errors="replace")
        raise AssertionError(message)

    def _start(self, folder: Path) -> subprocess.Popen[bytes]:
        for name in ("configuration", "cache"):
            (self.home / name).mkdir(parents=True)
        program = [
            "xvfb-run", "-a", "-s", "-screen 0 1280x900x24", "dbus-run-session", "--",
            "darktable", "--configdir", str(self.home / "configuration"), "--cachedir",
            str(self.home / "cache"), "--library", str(self.library), "--disable-opencl",
            str(folder),
        ]  # fmt: skip
        environment = {**os.environ, "HOME": str(self.home), "NO_AT_BRIDGE": "1"}
        with (self.home / "log").open("wb") as log:
            return subprocess.Popen(
                program, env=environment, stdout=log, stderr=log, start_new_session=True
            )

    def _waited(self, running: subprocess.Popen[bytes], folder: Path, photos: int) -> bool:
        """Wait until it is done; False where it ended before, or takes too long."""
        try:
            until(lambda: running.poll() is not None or self._done(folder, photos), SECONDS)
        except AssertionError:
            return False
        return self._done(folder, photos)

    def _done(self, folder: Path, photos: int) -> bool:
        """Say whether every photo has its words, and its sidecar has been written again."""
        held = self.read()
        written = [b"darktable:import_timestamp" in p.read_bytes() for p in folder.glob("*.xmp")]
        return (
            len(held) == photos
            and all(each.description and len(each.tags) > 1 for each in held.values())
            and sum(written) >= photos
        )

    def read(self) -> dict[str, Imported]:
        """Return what its library says, by the photo's name; nothing while it is being made."""
        words: dict[str, dict[int, str]] = defaultdict(dict)
        tags: dict[str, set[str]] = defaultdict(set)
        data = self.home / "configuration" / "data.db"
        if not (self.library.exists() and data.exists()):
            return {}
        try:
            with closing(sqlite3.connect(_unlocked(self.library), uri=True)) as library:
                library.execute("ATTACH ? AS data", (_unlocked(data),))
                names = [name for (name,) in library.execute("SELECT filename FROM images")]
                for name, key, value in library.execute(
                    "SELECT i.filename, m.key, m.value FROM images i "
                    "JOIN meta_data m ON m.id = i.id"
                ):
                    words[name][key] = value
                for name, tag in library.execute(
                    "SELECT i.filename, t.name FROM images i JOIN tagged_images g ON "
                    "g.imgid = i.id JOIN data.tags t ON t.id = g.tagid"
                ):
                    tags[name].add(tag)
        except sqlite3.DatabaseError:  # it is writing
            return {}
        return {
            name: Imported(words[name].get(_TITLE, ""), words[name].get(_DESCRIPTION, ""),
                           {tag for tag in tags[name] if not tag.startswith("darktable|")})
            for name in names
        }  # fmt: skip

    def _end(self, running: subprocess.Popen[bytes]) -> None:
        """End it and all that it started: screen, bus, accessibility."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            for group in _groups(running.pid):
                try:
                    os.killpg(group, number)
                except ProcessLookupError:
                    continue
            try:
                running.wait(20)
            except subprocess.TimeoutExpired:
                continue


def _unlocked(database: Path) -> str:
    """Return an address by which SQLite takes no lock: darktable gives up on one that is locked."""
    return f"file:{database}?mode=ro&immutable=1"


def _groups(session: int) -> set[int]:
    """Return the process groups of a session."""
    line = ["ps", "-o", "pgid=", "-s", str(session)]
    shown = subprocess.run(line, capture_output=True, text=True, check=False).stdout
    return {int(group) for group in shown.split()}


@pytest.fixture
def darktable(tmp_path: Path) -> Darktable:
    """Return darktable, or skip."""
    if MISSING:
        pytest.skip(
            f"{', '.join(MISSING)} not installed: apt-get install darktable xvfb xauth dbus"
        )
    return Darktable(tmp_path / "darktable")


def _exiftool(path: Path) -> dict[str, object]:
    program = shutil.which("exiftool")
    if program is None:
        pytest.skip("exiftool is not installed: apt-get install libimage-exiftool-perl")
    command = [program, "-struct", "-j", "-G1", "-a", "-u", str(path)]
    output = subprocess.run(command, capture_output=True, check=True).stdout
    found: dict[str, object] = json.loads(output)[0]
    return {k: v for k, v in found.items() if k.startswith("XMP")}


def _foreign(path: Path) -> dict[str, object]:
    """Return what is neither words nor taggerd's: darktable's own data among it."""
    return {
        k: v
        for k, v in _exiftool(path).items()
        if k not in _FIELDS and not k.startswith(("XMP-taggerd:", "XMP-x:"))
    }


def test_darktable_imports_what_taggerd_wrote(
    taggerd: Program, backend: CountingBackend, tmp_path: Path, darktable: Darktable
) -> None:
    """Its library holds our tags, title and description, beside the human's.

    On the sidecars as it left them a retag and an undo work: nothing of the human's or of
    darktable's own is lost, our words are gone.
    """
    taggerd.base_url = backend.base_url
    folder = tmp_path / "photos"
    for number in range(3):
        photo(folder / f"IMG_{number}.jpg", number)
    photo(folder / "IMG_3.CR3", 3)  # a raw file by its name: its sidecar is IMG_3.xmp
    (folder / "IMG_0.jpg.xmp").write_text(HUMAN)
    assert taggerd("scan", folder).returncode == 0
    said = {path.name: _exiftool(path) for path in folder.glob("*.xmp")}
    assert said.keys() == {"IMG_0.jpg.xmp", "IMG_1.jpg.xmp", "IMG_2.jpg.xmp", "IMG_3.xmp"}

    held = darktable.import_folder(folder, 4)
    for sidecar, read in said.items():
        name = sidecar.removesuffix(".xmp")
        imported = held[name if name in held else f"{name}.CR3"]
        assert imported.title == read["XMP-dc:Title"]
        assert imported.description == read["XMP-dc:Description"]
        assert imported.tags == set(read["XMP-lr:HierarchicalSubject"])  # type: ignore[call-overload]
    assert held["IMG_0.jpg"].title == "My own title"
    assert "Places|Oslo" in held["IMG_0.jpg"].tags
    left = {path: _foreign(path) for path in folder.glob("*.xmp") if path.name != "IMG_3.xmp"}
    assert {path.name for path in left} == {
        "IMG_0.jpg.xmp", "IMG_1.jpg.xmp", "IMG_2.jpg.xmp", "IMG_3.CR3.xmp",
    }  # fmt: skip
    assert all("XMP-darktable:Xmp_version" in read for read in left.values())

    backend.script = other_words
    assert taggerd("scan", "--retag", folder).returncode == 0
    for path, foreign in left.items():
        assert _foreign(path) == foreign
        read = _exiftool(path)
        assert "wide format" in str(read["XMP-dc:Subject"]), path.name
        assert "landscape" not in str([read.get(field) for field in _FIELDS]), path.name
    assert _exiftool(folder / "IMG_0.jpg.xmp")["XMP-dc:Title"] == "My own title"

    done = taggerd("undo", folder)
    assert done.returncode == 0, done.stderr
    assert not (folder / "IMG_3.xmp").exists()
    for path, foreign in left.items():
        assert _foreign(path) == foreign
        words = {field: value for field, value in _exiftool(path).items() if field in _FIELDS}
        if path.name == "IMG_0.jpg.xmp":
            assert words.pop("XMP-dc:Title") == "My own title"
            assert "Oslo" in str(words.pop("XMP-lr:HierarchicalSubject"))
            # darktable itself writes the levels of its tags into dc:subject.
            assert set(words.pop("XMP-dc:Subject", [])) <= {"Places", "Oslo"}  # type: ignore[call-overload]
            assert "keep me" in path.read_text()
        assert words == {}, path.name
        assert not re.search(r"<taggerd:|taggerd:\w+=", path.read_text()), path.name


def test_an_undo_right_after_an_import(
    taggerd: Program, tmp_path: Path, darktable: Darktable
) -> None:
    """Without a pass in between: also what darktable copied into another sidecar goes."""
    folder = tmp_path / "photos"
    photo(folder / "IMG_0.jpg", 0)
    photo(folder / "IMG_1.CR3", 1)
    assert taggerd("scan", folder).returncode == 0
    darktable.import_folder(folder, 2)
    done = taggerd("undo", folder)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in folder.glob("*.xmp")} == {"IMG_0.jpg.xmp", "IMG_1.CR3.xmp"}
    for path in folder.glob("*.xmp"):
        read = _exiftool(path)
        assert [field for field in _FIELDS if field in read] == [], path.name
        assert "XMP-darktable:Xmp_version" in read


def test_darktable_shows_what_somebody_wrote_in_the_browser(
    taggerd: Program, backend: CountingBackend, tmp_path: Path, darktable: Darktable
) -> None:
    """An edit, a keyword that was dropped and one that was added; another model changes neither."""
    taggerd.base_url = backend.base_url
    site = Site(taggerd, tmp_path / "photos")
    for number in range(2):
        photo(site.folder / f"IMG_{number}.jpg", number)
    site.tag()
    site.start()
    try:
        with httpx.Client(follow_redirects=True, trust_env=False) as client:
            client.get(site.link())
            page = client.get(f"{site.url}/photos?q=IMG_0")
            (path,) = set(re.findall(r'"(/photos/[0-9a-f]{24})[?"]', page.text))
            page = client.get(site.url + path)
            (token, *_) = re.findall(r'name="csrf" value="([^"]+)"', page.text)
            word = min(_words(site.folder / "IMG_0.jpg.xmp"))
            (seen,) = re.findall(r'name="seen_caption" value="([^"]*)"', page.text)
            form = {"csrf": token, "caption": "A heron by the weir", "seen_caption": seen}
            answer = client.post(
                f"{site.url}{path}/edit", data=form | {"drop": word, "add": "weir"}
            )
            assert answer.status_code == 200, answer.text
    finally:
        site.end()
    backend.script = other_words
    site.tag("--retag")
    held = darktable.import_folder(site.folder, 2)["IMG_0.jpg"]
    assert held.title == "A heron by the weir"
    assert "weir" in held.tags
    assert word not in held.tags
    assert held.tags == _words(site.folder / "IMG_0.jpg.xmp")


def _words(sidecar: Path) -> set[str]:
    """Return the keywords that exiftool reads."""
    words = _exiftool(sidecar)["XMP-lr:HierarchicalSubject"]
    assert isinstance(words, list)
    return {*words}
