"""A folder of photos that is tagged by a program that is killed again and again."""

from __future__ import annotations

import io
import json
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from functools import cache
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from samples import dng

from support.program import DYING_SECONDS, Program, photo, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.program import CountingBackend

PHOTOS = 60
IN_FLIGHT = 8
"""``queue.photos_in_flight``: each of these photos may have one request on its way."""
AT_ONCE = 4
"""``backend.max_concurrency``."""

HUMAN = """<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/" crs:Exposure2012="+0.{number:02}">
   <dc:subject><rdf:Bag><rdf:li>aunt {number}</rdf:li></rdf:Bag></dc:subject>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
"""


def fill(folder: Path) -> None:
    """Make 60 photos; every third has a human's sidecar, four are a raw with its JPEG."""
    for number in range(PHOTOS):
        jpeg = photo(folder / f"{number:02}.jpg", number, (96, 64))
        if number % 3 == 0:
            jpeg.with_name(f"{number:02}.jpg.xmp").write_text(HUMAN.format(number=number))
        if number % 15 == 7:
            jpeg.with_suffix(".dng").write_bytes(_raw(number))


def _raw(number: int) -> bytes:
    preview = io.BytesIO()
    image = Image.new("RGB", (64, 48), (4 * number, 99, 9))
    image.save(preview, "JPEG")
    return dng.dng(np.asarray(image), dng.Preview(preview.getvalue(), *image.size), (), ())


@cache
def undisturbed(origin: Path) -> dict[str, str]:
    """Return the files of the folder *origin* and their content after a run without a kill."""
    home = origin.with_name("calm")
    home.mkdir()
    folder = home / "photos"
    shutil.copytree(origin, folder)
    done = Program(home)("scan", folder, seconds=DYING_SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    return contents(folder)


def contents(folder: Path) -> dict[str, str]:
    """Return every file and its content, without the date that differs from run to run.

    Nor the seal for undo, which is a hash over the date among all else.
    """
    return {path.name: _undated(path) for path in folder.iterdir()}


def _undated(path: Path) -> str:
    return re.sub(r"<taggerd:(date|undo)[ >][^<]*</", "", path.read_text(encoding="latin-1"))


class Trial:
    """Sixty photos in a folder, a state of their own, and a program that has many lives."""

    _numbers = count(1)
    _lives = count(1)

    def __init__(self, origin: Path, backend: CountingBackend, command: str) -> None:
        """Begin with a copy of the folder *origin*; *command* is ``run`` or ``scan``."""
        home = origin.with_name(f"trial-{next(self._numbers)}")
        home.mkdir()
        self.origin = origin
        self.inbox = home / "photos"
        shutil.copytree(origin, self.inbox)
        self.program = Program(home, backend.base_url)
        self._backend = backend
        self._first_request = len(backend.asked)
        self.kills: list[str] = []
        """The key of each life that was ended by a kill."""
        self._pids: set[int] = set()
        where = ["--input-dir", self.inbox] if command == "run" else [self.inbox]
        self._arguments = [command, *map(str, where)]

    def begin(self, *dying: str) -> tuple[subprocess.Popen[bytes], str]:
        """Start a life, *dying* at a boundary or not; return it and the key that it shows."""
        key = f"life-{next(self._lives)}"
        environment = self.program.full_environment()
        environment["TAGGERD__BACKEND__API_KEY"] = key
        environment["TAGGERD__ARRIVALS__SETTLE_SECONDS"] = "0.02"
        environment["PYTHONPATH"] += f":{Path(__file__).parents[1]}"
        module = ["support.dying", *dying] if dying else ["taggerd"]
        with (self.program.home / "log").open("ab") as log:
            life = subprocess.Popen(
                [sys.executable, "-m", *module, *self._arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._pids.add(life.pid)
        return life, key

    def log(self) -> str:
        """Return the end of what the program said."""
        return (self.program.home / "log").read_text(errors="replace")[-4000:]

    def _serves(self, life: subprocess.Popen[bytes]) -> bool:
        """Whether the daemon *life* has come so far that it ends well on a signal."""
        said = (self.program.home / "log").read_text(errors="replace")
        return "serving" in said.partition(f"starting pid={life.pid} ")[2]

    @property
    def complete(self) -> bool:
        """Whether every photo has its record."""
        files = (self.program.outputs / "results").glob("*.jsonl")
        # The last line may be torn: the program is dead, or writing it.
        return sum(file.read_bytes().count(b"\n") for file in files) >= PHOTOS

    def die_at(self, where: str, times: int) -> bool:
        """Live until the boundary *where* is reached; False: all was done before that."""
        life, key = self.begin(where, str(times))
        deadline = time.monotonic() + DYING_SECONDS
        while life.poll() is None and time.monotonic() < deadline:
            if self._arguments[0] == "run" and self.complete and self._serves(life):
                life.terminate()
            _wait(life, 0.1)
        if life.poll() is None:
            life.kill()
            life.wait()
            message = f"{where}: neither died nor ended\n{self.log()}"
            raise AssertionError(message)
        if life.returncode == -signal.SIGKILL:
            self.kills.append(key)
            return True
        assert life.returncode == 0, self.log()
        return False

    def die_after(self, seconds: float, sign: Callable[[], bool]) -> bool:
        """Live until *seconds* after *sign*; False: all was done before that."""
        life, key = self.begin()
        deadline = time.monotonic() + DYING_SECONDS
        while life.poll() is None and not sign() and time.monotonic() < deadline:
            _wait(life, 0.005)
        if _wait(life, seconds):
            assert life.returncode == 0, self.log()
            return False
        life.kill()
        life.wait()
        self.kills.append(key)
        return True

    def finish(self) -> None:
        """Live on without a kill until all is done."""
        life, _ = self.begin()
        if self._arguments[0] == "run":
            try:
                until(
                    lambda: (self.complete and self._serves(life)) or life.poll() is not None,
                    DYING_SECONDS,
                )
            finally:
                life.terminate()
        assert life.wait(DYING_SECONDS) == 0, self.log()

    def check(self) -> int:
        """Assert that nobody could tell that there was a kill; return the requests it cost."""
        found, expected = contents(self.inbox), undisturbed(self.origin)
        differing = sorted(n for n in found | expected if found.get(n) != expected.get(n))
        assert not differing, f"{differing} in {self.inbox} are not as in an undisturbed run"
        records = self.program.records()
        photos = sorted(map(str, self.inbox.glob("*.jpg")))
        assert sorted(str(Path(r["image"]).with_suffix(".jpg")) for r in records) == photos
        assert {r["error"] for r in records} == {""}
        assert {r["attempts"] for r in records} == {1}, "a kill was charged to a photo"
        with sqlite3.connect(self.program.state / "ledger.sqlite") as ledger:
            assert ledger.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert ledger.execute("SELECT count(*) FROM outbox").fetchone() == (0,)
            assert ledger.execute("SELECT state, count(*) FROM photos GROUP BY 1").fetchall() == [
                ("recorded", PHOTOS)
            ]
        pages = (self.program.outputs / "metrics").glob("*.json")
        assert sum(json.loads(page.read_text())["counts"]["photos"] for page in pages) == PHOTOS
        until(lambda: not self._orphans(), 5)
        return self._check_requests()

    def _check_requests(self) -> int:
        """Each question is asked once, and once more for each kill that found it on its way."""
        asked = self._backend.asked[self._first_request :]
        lives = Counter(asked)
        assert max(lives.values()) == 1, "one life asked the same twice"
        latest: dict[bytes, str] = {}
        lost: Counter[str] = Counter()
        for key, body in asked:
            if body in latest:
                lost[latest[body]] += 1
            latest[body] = key
        assert len(latest) == 3 * PHOTOS
        assert lost.keys() <= set(self.kills), "what was asked twice was lost in no kill"
        assert max(lost.values(), default=0) <= IN_FLIGHT, lost
        return lost.total()

    def _orphans(self) -> list[str]:
        """Return the worker processes that outlived their program."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes().decode().strip("\0").split("\0")
            except (OSError, ValueError):
                continue
            if "taggerd.workers.forkserver" in words and int(words[-1]) in self._pids:
                found.append(process.name)
        return found


def _wait(life: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait for the end of a *life*; say whether it came."""
    try:
        life.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True
