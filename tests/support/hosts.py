"""Several hosts that share one tree of photos, one ledger in PostgreSQL and one backend.

Each host is a real ``taggerd run`` with a state, runtime and settings folder of its own, which sees
the tree by a path of its own: a bind mount in its own mount namespace. Where no such mount can be
made, all of them see it by the same path.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from base64 import b64decode
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import cache
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import psycopg
from benchmarks.program import tree as processes
from PIL import Image, ImageDraw

from support.program import REPOSITORY, CountingBackend, Program, until
from taggerd.ledger.postgres import opening

if TYPE_CHECKING:
    from collections.abc import Iterable

    from support.program import Reply

LONG_SECONDS = 1200.0
"""Longest wait for all photos of a test."""
TAKEOVER_SECONDS = 300.0
"""Longest wait for another host to do what a dead one did. How soon it does is measured by the
benchmark, on a machine that is not busy with others."""
STORED_SECONDS = 2.0
"""In which an answer is stored that has come, on a machine that is busy with others."""
ROOT = "archive"
"""The name that all hosts know the tree by."""
_PROMPTS = {
    "caption": b"Write a caption for this photo",
    "keywords": b"keywords by which a person would search",
    "description": b"Describe this photo in",
}
"""What tells the role of a request: from the default prompts."""
BITS = 12
_SIDE, _COLUMNS = 24, 4
_PICTURE = re.compile(rb"base64,([A-Za-z0-9+/=]+)")
_SERIAL = re.compile(r"pier (\d+)")
_NOTHING_LEFT = (
    b"SELECT count(*) FROM photos WHERE state = 'claimed'",
    b"SELECT count(*) FROM outbox",
    b"SELECT count(*) FROM procrastinate_jobs WHERE status IN ('todo', 'doing')",
)
_UNDELIVERED = b"SELECT count(*) FROM taggerd.outbox"
_LEFT = (
    b"SELECT to_jsonb(photos) FROM taggerd.photos WHERE state <> 'recorded' LIMIT 10",
    b"SELECT to_jsonb(jobs) FROM taggerd.procrastinate_jobs AS jobs LIMIT 10",
    b"SELECT to_jsonb(outbox) - 'line' FROM taggerd.outbox LIMIT 10",
    b"SELECT to_jsonb(owners) FROM taggerd.owners",
    b"SELECT to_jsonb(hosts) FROM taggerd.hosts",
)
_HOLDERS = b"SELECT name, host FROM taggerd.leases WHERE until > now()"
_MOUNTS = 'while [ "$1" != -- ]; do mount --bind "$1" "$2"; shift 2; done; shift; exec "$@"'


# ── Photos that can be told apart ────────────────────────────────────────────────────────────────


def numbered(path: Path, number: int) -> Path:
    """Make a small JPEG from whose pixels :func:`number_in` reads *number*, below 4,096."""
    image = Image.new("RGB", (_SIDE * _COLUMNS, _SIDE * BITS // _COLUMNS), "grey")
    draw = ImageDraw.Draw(image)
    for bit in range(BITS):
        x, y = bit % _COLUMNS * _SIDE, bit // _COLUMNS * _SIDE
        shade = (235, 230, 220) if number >> bit & 1 else (20, 25, 35)
        draw.rectangle((x, y, x + _SIDE - 1, y + _SIDE - 1), fill=shade)
    made = BytesIO()
    image.save(made, "JPEG", quality=90)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(made.getvalue())
    return path


def number_in(picture: bytes) -> int:
    """Return the number that a picture shows."""
    with Image.open(BytesIO(picture)) as image:
        grey = image.convert("L").resize((_COLUMNS, BITS // _COLUMNS), Image.Resampling.BOX)
    return sum(1 << bit for bit, shade in enumerate(grey.tobytes()) if shade > 128)


# ── The backend ──────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class Asked:
    """One request about a photo; times are monotonic, seconds."""

    life: str
    """The program that asked, by its API key."""
    photo: int
    role: str
    at: float = field(default_factory=time.monotonic)
    answered: float = math.inf


class SharedBackend(CountingBackend):
    """One backend for all hosts; it sees each photo's number, and no two of its answers are equal.

    :attr:`questions` lists who asked what, in order; the number of an answer is its position.
    """

    def __init__(self, seconds: float) -> None:
        """Take so many *seconds* for each answer."""
        self.questions: list[Asked] = []
        self.seconds = seconds
        super().__init__()

    def said(self, key: str, path: str, body: bytes) -> Reply | None:
        """Answer a question about a photo; None: it is about something else."""
        match = _PICTURE.search(body)
        if match is None or b'"system"' not in body:
            return super().said(key, path, body)
        role = next(role for role, text in _PROMPTS.items() if text in body)
        asked = Asked(key, number_in(b64decode(match[1])), role)
        with self._counting:
            serial = len(self.questions)
            self.questions.append(asked)
        threading.Event().wait(self.seconds)
        asked.answered = time.monotonic()
        text = f"A boat numbered {asked.photo} leaves pier {serial}"
        keywords = ["lake", "boat", "water", f"number {asked.photo}", f"pier {serial}"]
        content = json.dumps({"keywords": keywords}) if role == "keywords" else text
        message = {"role": "assistant", "content": content}
        choice = {"message": message, "finish_reason": "stop"}
        answer = json.dumps({"model": "eye", "choices": [choice]}).encode()
        return 200, {"Content-Type": "application/json"}, answer


# ── The hosts ────────────────────────────────────────────────────────────────────────────────────


@cache
def mounts() -> bool:
    """Whether a program can have a mount namespace of its own here."""
    tried = subprocess.run(
        ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"],
        capture_output=True,
        check=False,
    )
    return tried.returncode == 0


@dataclass
class Host(Program):
    """One machine: the program, the path by which it sees the tree, and its lives."""

    name: str = ""
    tree: Path = Path()
    duties: tuple[str, ...] = ("watch", "tag", "journal")
    skew: float = 0.0
    """Seconds that its clock is ahead."""
    settings: dict[str, str] = field(default_factory=dict)
    cards: dict[Path, Path] = field(default_factory=dict)
    """Import folders that it alone has: where it sees them, and where they are."""
    lives: list[str] = field(default_factory=list)
    """The API key of each start."""
    gone: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Those that were killed, put to sleep or cut off: when, and by when they could know."""

    @property
    def mount(self) -> Path:
        """Where it sees the tree."""
        return self.home / "mnt" / self.name if mounts() else self.tree

    def command(self, *arguments: object) -> list[str]:
        """Return the command line, in a mount namespace of this host."""
        line = super().command(*arguments)
        if self.skew:
            module = line.index("taggerd")
            line[module : module + 1] = ["support.skewed", str(self.skew)]
        if not mounts():
            return line
        mounted = [(self.tree, self.mount), *((card, seen) for seen, card in self.cards.items())]
        for _, seen in mounted:
            seen.mkdir(parents=True, exist_ok=True)
        pairs = [os.fspath(path) for pair in mounted for path in pair]
        return ["unshare", "--mount", "sh", "-ec", _MOUNTS, "host", *pairs, "--", *line]

    def full_environment(self) -> dict[str, str]:
        """Return the environment: this host's name, key and root."""
        environment = super().full_environment()
        environment["PYTHONPATH"] += f":{REPOSITORY / 'tests'}"
        return {
            **environment,
            "TAGGERD__SERVICE__HOST": self.name,
            "TAGGERD__SERVICE__DUTIES": json.dumps(self.duties),
            "TAGGERD__ARRIVALS__ROOTS": json.dumps(
                [{"name": ROOT, "path": str(self.mount)}, *map(str, self.cards)]
            ),
            "TAGGERD__BACKEND__API_KEY": self.lives[-1] if self.lives else self.name,
            **self.settings,
        }

    def prepare(self) -> None:
        """Make the ledger's tables."""
        opening.init(self.settings["TAGGERD__LEDGER__URL"])

    def begin(self, *, ready: bool = False) -> None:
        """Start another life of it."""
        self.lives.append(f"{self.name}-{len(self.lives) + 1}")
        self.start(ready=ready)

    @property
    def running(self) -> subprocess.Popen[bytes] | None:
        """Its program, if it runs."""
        return self.daemons[-1] if self.daemons and self.daemons[-1].poll() is None else None

    def leave(self, notices: float = 0.5) -> None:
        """Count it as gone from now on; it may ask for so many more seconds before it *notices*."""
        now = time.monotonic()
        self.gone.setdefault(self.lives[-1], (now, now + notices))

    def kill(self) -> None:
        """End it without warning."""
        self.leave()
        daemon = self.daemons[-1]
        daemon.kill()
        daemon.wait()

    def freeze(self) -> None:
        """Let nothing of it run, as a machine that is suspended."""
        self.leave()
        for pid in processes(self.daemons[-1].pid):
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on where it stood."""
        for pid in reversed(processes(self.daemons[-1].pid)):
            os.kill(pid, signal.SIGCONT)


class Archive:
    """A tree of photos that several hosts tag together."""

    def __init__(self, folder: Path, url: str, backend: SharedBackend, *, most: int = 8) -> None:
        """Begin with no photo and no host; *most* requests at once are allowed in all."""
        self.folder = folder
        self.url = url
        self.backend = backend
        self.most = most
        self.tree = folder / "tree"
        self.tree.mkdir(parents=True)
        self.hosts: dict[str, Host] = {}
        self._numbers = count()
        self._photos: dict[str, str] = {}
        """Hash of each photo by its name."""

    def add(self, *names: str, **options: Any) -> list[Host]:  # noqa: ANN401 - a host's fields
        """Give it hosts of these names; they are not started."""
        settings = {
            "TAGGERD__LEDGER__URL": options.pop("url", self.url),
            "TAGGERD__BACKEND__MAX_CONCURRENCY": str(self.most),
            "TAGGERD__SERVICE__DRAIN_SECONDS": "60",  # on a machine that is busy with others
            **options.pop("settings", {}),
        }
        made = []
        for name in names:
            home = self.folder / name
            home.mkdir()
            host = Host(home, self.backend.base_url, name=name, tree=self.tree, **options)
            host.settings = settings
            if not self.hosts:
                host.prepare()
            self.hosts[name] = host
            made.append(host)
        return made

    def fill(self, photos: int, folder: str = "2025") -> list[str]:
        """Put so many more photos into the tree; return their names."""
        names = []
        for number in (next(self._numbers) for _ in range(photos)):
            path = numbered(self.tree / folder / f"{number % 10}" / f"{number:04}.jpg", number)
            self._photos[path.name] = _hash(path)
            names.append(path.name)
        return names

    def records(self) -> list[dict[str, Any]]:
        """Return the records of the day files of all hosts."""
        return [record for host in self.hosts.values() for record in host.records()]

    @property
    def complete(self) -> bool:
        """Whether every photo has its record; fails at once when a host gave up."""
        for host in self.hosts.values():
            daemon = host.daemons[-1] if host.daemons else None
            ended = daemon is not None and daemon.poll() not in {None, 0, -signal.SIGKILL}
            assert not ended, f"{host.name} ended\n{host.log()[-4000:]}"
        files = [
            file
            for host in self.hosts.values()
            for file in (host.outputs / "results").glob("*.jsonl")
        ]
        return sum(file.read_bytes().count(b"\n") for file in files) >= len(self._photos)

    @property
    def runs(self) -> bool:
        """Whether any host runs."""
        return any(host.running for host in self.hosts.values())

    def card(self, host: Host, photos: int) -> dict[Path, int]:
        """Put a card into *host*, where all see theirs; return its photos and their numbers."""
        folder = host.home / "card"
        host.cards[self.folder / "card" if mounts() else folder] = folder
        numbers = [next(self._numbers) for _ in range(photos)]
        return {
            numbered(folder / f"{n:02}.jpg", number): number for n, number in enumerate(numbers)
        }

    def sidecars(self) -> dict[str, str]:
        """Return the hash of each sidecar."""
        return {path.name: _hash(path) for path in self.tree.rglob("*.xmp")}

    def holders(self) -> dict[str, str]:
        """Return which host holds which lease, by the database's clock."""
        with psycopg.connect(self.url) as session:
            return dict(session.execute(_HOLDERS).fetchall())

    def finish(self, seconds: float) -> None:
        """Wait until every photo has its record."""
        try:
            until(lambda: self.complete, seconds)
        except AssertionError:
            sys.stdout.write(self.told())
            raise

    def settle(self) -> None:
        """Wait until the database knows of every record that is in a day file."""
        with psycopg.connect(self.url, autocommit=True) as session:
            until(lambda: session.execute(_UNDELIVERED).fetchone() == (0,))

    def told(self) -> str:
        """Return the end of what each host logged, and how far they are."""
        logs = (f"── {host.name} ──\n{host.log()[-20_000:]}" for host in self.hosts.values())
        with psycopg.connect(self.url) as session:
            left = [row for what in _LEFT for row in session.execute(what).fetchall()]
        done = f"{len(self.records())} of {len(self._photos)} records; unfinished: {left}\n"
        return done + "\n".join(logs)

    def end(self) -> None:
        """Kill whatever runs."""
        for host in self.hosts.values():
            if host.running:
                host.thaw()
            host.end()

    def stop(self) -> None:
        """End all hosts in order, once each that runs has begun to serve."""
        for host in self.hosts.values():
            if host.running:
                daemon = host.daemons[-1]
                # One that has not yet heard of signals would end by this one.
                until(lambda: host.live().get("pid") == daemon.pid or daemon.poll() is not None)  # noqa: B023 - called at once
                assert host.stop(daemon) == 0, host.log()[-4000:]

    # What must be true in the end.

    def check(self) -> int:
        """Assert that nobody could tell that there was more than one host, nor what befell them.

        Returns how many requests were asked again because of a kill.
        """
        self._check_tree()
        self._check_records()
        self._check_ledger()
        assert self.backend.most_at_once <= self.most
        return self._check_requests()

    def _check_tree(self) -> None:
        files = {path.name: path for path in self.tree.rglob("*") if path.is_file()}
        changed = {name for name, known in self._photos.items() if _hash(files[name]) != known}
        assert not changed, "photos were altered"
        expected = {*self._photos, *(f"{name}.xmp" for name in self._photos)}
        assert files.keys() == expected
        assert len(files) == sum(path.is_file() for path in self.tree.rglob("*"))

    def _check_records(self) -> None:
        records = self.records()
        times = Counter(Path(record["image"]).name for record in records)
        assert set(times) == set(self._photos)
        doubled = {name: times for name, times in times.items() if times > 1}
        assert not doubled, "recorded more than once"
        assert {record["error"] for record in records} == {""}
        assert {record["attempts"] for record in records} == {1}
        for record in records:
            self._check_words(record)

    def _check_words(self, record: dict[str, Any]) -> None:
        """The record and the sidecar hold the same words, which the backend said of this photo."""
        name = Path(record["image"]).name
        (sidecar,) = self.tree.rglob(f"{name}.xmp")
        text = "".join(ET.parse(sidecar).getroot().itertext())  # noqa: S314 - our own file
        for role in ("caption", "description"):
            assert record[role] in text, f"{sidecar.name} lacks its {role}"
        serials = {int(serial) for serial in _SERIAL.findall(json.dumps(record))}
        about = {self.backend.questions[serial].photo for serial in serials}
        assert about == {int(name[:4])}, f"{name} has the words of another photo"

    def _check_ledger(self) -> None:
        with psycopg.connect(self.url) as session:
            session.execute("SET search_path = taggerd")
            rows = session.execute("SELECT state, count(*) FROM photos GROUP BY 1").fetchall()
            assert rows == [("recorded", len(self._photos))]
            for what in _NOTHING_LEFT:
                assert session.execute(what).fetchone() == (0,), what

    def _check_requests(self) -> int:
        """Each question is asked once, and once more where the answer was lost with a host."""
        gone = {life: when for host in self.hosts.values() for life, when in host.gone.items()}
        asked: defaultdict[tuple[int, str], list[Asked]] = defaultdict(list)
        for question in self.backend.questions:
            asked[question.photo, question.role].append(question)
        assert len(asked) == len(_PROMPTS) * len(self._photos)
        for times in asked.values():
            lost = [
                each for each in times if each.life in gone and _is_lost(each, *gone[each.life])
            ]
            assert len(times) <= len(lost) + 1, f"asked again without a reason: {times}, {gone}"
        return len(self.backend.questions) - len(asked)


def _is_lost(asked: Asked, gone: float, noticed: float) -> bool:
    """Say whether a request was on the wire, or its answer not stored yet, when its host went."""
    return asked.at <= noticed and asked.answered >= gone - STORED_SECONDS


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def questions_of(backend: SharedBackend, lives: Iterable[str]) -> int:
    """Return how many questions these *lives* asked."""
    wanted = set(lives)
    return sum(question.life in wanted for question in backend.questions)
