"""The program as its user runs it, photos to give it, and a backend that counts."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import pytest
from PIL import Image, ImageDraw

from taggerd.daemon.health import EXIT_CODES
from taggerd.inference import describer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REPOSITORY = Path(__file__).parents[2]
T = TypeVar("T")
Reply = tuple[int, dict[str, str], bytes]
"""Status, headers and body of a scripted answer."""

SECONDS = 180.0
"""Longest wait for the program to do something that takes it about one second; on a machine where
ten others want each processor it takes half a minute."""
DYING_SECONDS = 300.0
LONGEST_LOG = 50_000
"""Of what the daemons of a test have logged, so much is shown if it fails."""


def corpus(part: str) -> Path:
    """Return a folder of the shared corpus of real files, or skip the test."""
    folder = REPOSITORY.parent / "shared" / "corpus" / part
    if not folder.is_dir():
        pytest.skip(f"the corpus of real files is not there: {folder}")
    return folder


def until(what: Callable[[], T | Literal[False] | None], seconds: float = SECONDS) -> T:
    """Wait until *what* is true and return it; it is about another process, so it is polled."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := what():
            return value
        threading.Event().wait(0.05)
    message = f"{what} is not so after {seconds:g} s"
    raise AssertionError(message)


def free_port() -> int:
    """Return a free port for a server that starts later, or again.

    The kernel gives it to no client meanwhile: it is below those that clients get.
    """
    clients = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(10_000, clients)  # noqa: S311 - no secret
        with socket.socket() as tried, suppress(OSError):
            tried.bind(("127.0.0.1", port))
            return port


def records_in(outputs: Path) -> list[dict[str, Any]]:
    """Return every record of a journal, in order; not one whose line is only half written yet."""
    files = sorted((outputs / "results").glob("*.jsonl"))
    whole = (file.read_bytes().rpartition(b"\n")[0] for file in files)
    return [json.loads(line) for lines in whole for line in lines.splitlines()]


@contextmanager
def listening(address: Path) -> Iterator[list[str]]:
    """Listen as systemd does, always: a program that tells nobody would wait at some time."""
    told: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(address))

        def listen() -> None:
            while message := systemd.recv(4096):
                told.extend(message.decode().splitlines())

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        yield told
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", str(address))
        listener.join()


@dataclass
class Program:
    """taggerd as its user runs it, with a state, settings and home of its own."""

    home: Path
    base_url: str = "builtin:"
    environment: dict[str, str] = field(default_factory=dict)
    powerless: bool = False
    """Run without root's right to pass over permissions."""
    daemons: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def state(self) -> Path:
        """The state directory."""
        return self.home / "state"

    @property
    def outputs(self) -> Path:
        """The journal's folder."""
        return self.state / "outputs"

    def records(self) -> list[dict[str, Any]]:
        """Return every record of the journal, in order."""
        return records_in(self.outputs)

    def log(self) -> str:
        """Return what the daemons have logged."""
        return (self.home / "daemon.log").read_text(errors="replace")

    def command(self, *arguments: object) -> list[str]:
        """Return the command line."""
        drop = (
            ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if self.powerless else []
        )
        return [*drop, sys.executable, "-m", "taggerd", *map(os.fspath, map(_text, arguments))]

    def full_environment(self) -> dict[str, str]:
        """Return the environment: nothing of the machine's own settings."""
        kept = {k: v for k, v in os.environ.items() if k in {"PATH", "LANG", "TMPDIR", "TZ"}}
        return {
            **kept,
            "HOME": str(self.home),
            "XDG_CONFIG_HOME": str(self.home / "config"),
            "TAGGERD_RUNTIME_DIRECTORY": str(self.runtime),
            "PYTHONPATH": str(REPOSITORY),
            "TAGGERD__STATE_DIRECTORY": str(self.state),
            "TAGGERD__BACKEND__BASE_URL": self.base_url,
            "TAGGERD__ARRIVALS__SETTLE_SECONDS": "0.3",
            **self.environment,
        }

    def __call__(
        self, *arguments: object, seconds: float = SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            self.command(*arguments),
            env=self.full_environment(),
            cwd=self.home,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=seconds,
            check=False,
        )

    def start(self, *arguments: object, ready: bool = True) -> subprocess.Popen[bytes]:
        """Start the daemon and wait until its import folders are watched."""
        with (self.home / "daemon.log").open("ab") as log:
            daemon = subprocess.Popen(
                self.command("run", *arguments),
                env=self.full_environment(),
                cwd=self.home,
                stderr=log,
            )
        self.daemons.append(daemon)
        if ready:
            until(lambda: daemon.poll() is not None or self.live().get("pid") == daemon.pid)
            assert daemon.poll() is None, self.log()
        return daemon

    @property
    def runtime(self) -> Path:
        """The runtime directory of its daemons."""
        return self.home / "runtime"

    def live(self) -> dict[str, Any]:
        """Return what the daemon that was started last says of itself."""
        pid = self.daemons[-1].pid if self.daemons else 0
        folder = self.full_environment()["TAGGERD_RUNTIME_DIRECTORY"]
        file = Path(folder) / f"{pid}.status.json"
        try:
            said: dict[str, Any] = json.loads(file.read_text())
            return {**said, "updated_at": file.stat().st_mtime}
        except (OSError, ValueError):
            return {}

    def problem(self, kind: str) -> str:
        """Return what the daemon said of a *kind* of problem last; empty if nothing."""
        problems = self.live().get("problems", [])
        return "; ".join(each["text"] for each in problems if each["kind"] == kind)

    def status(self) -> dict[str, Any]:
        """Return ``taggerd status --json``."""
        shown = self("status", "--json")
        assert shown.stdout, shown.stderr
        answer: dict[str, Any] = json.loads(shown.stdout)
        assert shown.returncode == EXIT_CODES[answer["health"]["word"]], shown
        return answer

    def status_text(self) -> str:
        """Return what ``taggerd status`` prints, each row in one line however long it is."""
        shown = self("status")
        assert shown.stdout, shown.stderr
        return re.sub(r"\n {9}", " ", shown.stdout)

    def stop(self, daemon: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> int:
        """Send a signal to the daemon and return its exit code; print its log if that is not 0."""
        daemon.send_signal(number)
        code = daemon.wait(SECONDS)
        if code:
            sys.stdout.write(self.log())
        return code

    def die_at(self, where: str, *arguments: object, times: int = 1) -> int:
        """Run a command until it comes to *where* so many times; return how it ended."""
        environment = self.full_environment()
        environment["PYTHONPATH"] += f":{REPOSITORY / 'tests'}"
        command = [sys.executable, "-m", "support.dying", where, str(times), *map(_text, arguments)]
        with (self.home / "daemon.log").open("ab") as log:
            return subprocess.run(
                command,
                env=environment,
                cwd=self.home,
                stderr=log,
                timeout=DYING_SECONDS,
                check=False,
            ).returncode

    def end(self) -> None:
        """Kill whatever daemon still runs."""
        for daemon in self.daemons:
            if daemon.poll() is None:
                daemon.kill()
                daemon.wait()


def _text(argument: object) -> str:
    return os.fspath(argument) if isinstance(argument, os.PathLike) else str(argument)


COLOURS = ("red", "green", "blue", "gold", "purple", "white", "black", "orange")


def photo(path: Path, number: int = 0, size: tuple[int, int] = (480, 320)) -> Path:
    """Make a small JPEG whose content depends on *number*."""
    image = Image.new("RGB", size, COLOURS[number % len(COLOURS)])
    draw = ImageDraw.Draw(image)
    draw.ellipse((20, 20, 60 + number % 200, 60 + number // 200), fill="grey")
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, "JPEG", quality=80)
    return path


class CountingBackend:
    """The describer on a port, that counts, and says something else on request."""

    def __init__(self, port: int = 0) -> None:
        """Serve at once, on loopback; by default on a port that is free."""
        self.requests: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.asked: list[tuple[str, bytes]] = []
        """Key and body of each request about a photo, in order."""
        self.at_once = self.most_at_once = 0
        """Chat requests in flight, now and at most."""
        self._counting = threading.Lock()
        self.severed: set[str] = set()
        """Keys whose programs are cut off: they get no answer, also to what they have asked."""
        self.key = ""
        """The API key that is asked for; empty: none."""
        self.script: Callable[[str, bytes], Reply | None] = lambda _path, _body: None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                shown = self.headers.get("Authorization", "").removeprefix("Bearer ")
                if self.command == "POST" and _is_about_a_photo(json.loads(body)):
                    outer.asked.append((shown, body))
                reply: Reply
                if outer.key and shown != outer.key:
                    reply = 401, {}, b'{"error": {"message": "bad key"}}'
                else:
                    reply = outer.answer(self.command, self.path, body, shown)
                if shown in outer.severed:
                    raise ConnectionAbortedError
                status, headers, answer = reply
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_POST = _serve  # noqa: N815 - http.server's names

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: object, client_address: object) -> None:
                """Say nothing: the program was killed while it was answered."""

        self._server = Server(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.port = self._server.server_port
        self.base_url = f"http://127.0.0.1:{self.port}/v1"

    @property
    def photo_requests(self) -> int:
        """How many requests asked about a photo (preflight's are not counted)."""
        return sum(1 for body in self.bodies if _is_about_a_photo(body))

    def answer(self, method: str, path: str, body: bytes, key: str = "") -> Reply:
        """Answer whoever shows *key* as scripted, else as the describer."""
        self.requests[f"{method} {path}"] += 1
        if method != "POST":
            return self._answer(method, path, body, key)
        with self._counting:
            self.bodies.append(json.loads(body))
            self.at_once += 1
            self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            return self._answer(method, path, body, key)
        finally:
            with self._counting:
                self.at_once -= 1

    def said(self, key: str, path: str, body: bytes) -> Reply | None:  # noqa: ARG002 - a subclass may ask
        """Return the scripted answer; None: there is none."""
        return self.script(path, body)

    def _answer(self, method: str, path: str, body: bytes, key: str) -> Reply:
        scripted = self.said(key, path, body)
        if scripted is not None:
            return scripted
        status, answer = describer.respond(method, path, body)
        return status, {"Content-Type": "application/json"}, json.dumps(answer).encode()

    def die(self) -> None:
        """Break off what is in flight, and answer nothing any more."""

        def gone(_path: str, _body: bytes) -> None:
            raise ConnectionAbortedError

        self.script = gone
        self.close()

    def close(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._server.server_close()


def otherwise(backend: CountingBackend) -> None:
    """Let the backend say other words from now on, as another model would."""

    def script(path: str, body: bytes) -> Reply | None:
        asked = json.loads(body or b"{}")
        if not any(message["role"] == "system" for message in asked.get("messages", [])):
            return None
        status, answer = describer.respond("POST", path, body)
        message = answer["choices"][0]["message"]  # type: ignore[index]  # of the describer's shape
        message["content"] = message["content"].replace("landscape", "wide").replace("A ", "One ")
        return status, {"Content-Type": "application/json"}, json.dumps(answer).encode()

    backend.script = script


def other_words(path: str, body: bytes) -> Reply | None:
    """Answer about a photo as another model would: a script for a :class:`CountingBackend`."""
    asked = json.loads(body or b"{}")
    if "messages" not in asked or not _is_about_a_photo(asked):
        return None
    status, answer = describer.respond("POST", path, body)
    message = answer["choices"][0]["message"]  # type: ignore[index]  # of the describer's shape
    message["content"] = message["content"].replace("landscape", "wide").replace("A ", "One ")
    return status, {"Content-Type": "application/json"}, json.dumps(answer).encode()


def _is_about_a_photo(body: dict[str, Any]) -> bool:
    """Say whether a request has a system text and a picture: preflight's have no system text."""
    return any(message["role"] == "system" for message in body["messages"])
