"""The log: entries in the journal, lines elsewhere."""

from __future__ import annotations

import ast
import json
import logging
import os
import re
import socket
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import structlog
from logging_journald import JournaldTransport

from taggerd import logs
from taggerd.docs import chapters

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(logs.__file__).parent


class Journald:
    """Receives what is sent to it, by the protocol as systemd describes it."""

    def __init__(self, path: Path) -> None:
        """Listen at *path*."""
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(0)

    def entry(self) -> dict[str, str]:
        """Return the next entry; empty if none was sent."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self._socket, 1 << 20, 1)
        except BlockingIOError:
            return {}
        for descriptor in descriptors:
            with os.fdopen(descriptor, "rb") as file:
                file.seek(0)
                data = file.read()
        entry = {}
        while data:
            line, _, data = data.partition(b"\n")
            name, equals, value = line.partition(b"=")
            if not equals:
                (size,) = struct.unpack("<Q", data[:8])
                value, data = data[8 : 8 + size], data[8 + size + 1 :]
            entry[name.decode()] = value.decode()
        return entry

    def end(self) -> None:
        """Listen no more."""
        self._socket.close()
        self.path.unlink(missing_ok=True)


@pytest.fixture
def stderr(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[pytest.CaptureFixture[str]]:
    """Leave the log as it was."""
    before, hook = structlog.get_config(), sys.excepthook
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield capfd
    logging.captureWarnings(capture=False)
    root.handlers[:], root.level = handlers, level
    structlog.configure(**before)
    sys.excepthook = hook


@pytest.fixture
def journald(
    stderr: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Journald]:
    """Have standard error taken for the journal's stream."""
    stderr.readouterr()
    monkeypatch.setattr(logs, "check_journal_stream", lambda: True)
    monkeypatch.setattr(JournaldTransport, "SOCKET_PATH", tmp_path / "socket")
    found = Journald(tmp_path / "socket")
    yield found
    found.end()


def said(stderr: pytest.CaptureFixture[str]) -> str:
    """Return what stands on standard error."""
    return stderr.readouterr().err


def fail(message: str = "first line\nsecond line") -> None:
    """Raise an error of which the text has several lines."""
    raise ValueError(message)


def test_an_event_is_one_entry_with_fields(
    journald: Journald, stderr: pytest.CaptureFixture[str]
) -> None:
    """People search by photo, folder, endpoint and kind of event, and by priority."""
    logs.set_up()
    log = structlog.get_logger()
    log.info("tagged", photo="/srv/in/my cat.jpg")
    entry = journald.entry()
    assert entry == {
        "MESSAGE": "tagged photo='/srv/in/my cat.jpg'",
        "PRIORITY": "6",
        "SYSLOG_IDENTIFIER": "taggerd",
        "MESSAGE_ID": logs.MESSAGE_IDS["tagged"],
        "TAGGERD_PHOTO": "/srv/in/my cat.jpg",
    }
    log.warning("offline", import_folder="/srv/in", because="not mounted")
    entry = journald.entry()
    assert (entry["TAGGERD_ROOT"], entry["PRIORITY"]) == ("/srv/in", "4")
    log.error("backend unusable; work waits for it", base_url="http://gpu/v1", reason="away")
    entry = journald.entry()
    assert (entry["TAGGERD_ENDPOINT"], entry["TAGGERD_REASON"]) == ("http://gpu/v1", "away")
    log.debug("nobody asked")
    assert journald.entry() == {}
    assert said(stderr) == ""


def test_a_name_with_a_line_break_is_no_field_of_its_own(journald: Journald) -> None:
    """Whoever names a file must not be able to write entries."""
    logs.set_up()
    structlog.get_logger().info("tagged", photo="/srv/in/a\nPRIORITY=0\n\udcff.jpg")
    entry = journald.entry()
    assert entry["PRIORITY"] == "6"
    assert entry["TAGGERD_PHOTO"] == "/srv/in/a\\nPRIORITY=0\\n\\udcff.jpg"


def test_a_traceback_is_one_entry(journald: Journald) -> None:
    """A trace of forty lines were forty entries, and its first line stood alone in a search."""
    logs.set_up()
    try:
        fail()
    except ValueError:
        structlog.get_logger().exception("unexpected error", photo="/srv/in/a.jpg")
    entry = journald.entry()
    first, *rest = entry["MESSAGE"].splitlines()
    assert first == "unexpected error photo=/srv/in/a.jpg"
    assert rest[0].startswith("Traceback")
    assert "ValueError: first line" in entry["MESSAGE"]
    assert (entry["PRIORITY"], entry["TAGGERD_PHOTO"]) == ("3", "/srv/in/a.jpg")
    assert journald.entry() == {}


def test_what_fits_no_datagram_arrives_as_a_whole(journald: Journald) -> None:
    """Foreign code quotes what it likes in its errors."""
    logs.set_up()
    text = "\n".join(str(number) * 1900 for number in range(10, 199))
    try:
        fail(text)
    except ValueError:
        structlog.get_logger().exception("unexpected error")
    assert len(journald.entry()["MESSAGE"]) > 300_000


def test_what_ends_the_program_is_one_entry(journald: Journald) -> None:
    """Python itself would print the traceback, line by line and as information."""
    logs.set_up()
    try:
        fail()
    except ValueError as error:
        sys.excepthook(type(error), error, error.__traceback__)
    entry = journald.entry()
    assert (entry["PRIORITY"], entry["MESSAGE_ID"]) == ("2", logs.MESSAGE_IDS["unexpected error"])
    assert "second line" in entry["MESSAGE"]


def test_what_libraries_say_is_one_entry(journald: Journald) -> None:
    """Asyncio tells of an exception that nobody fetched by several lines on stderr."""
    logs.set_up()
    try:
        fail()
    except ValueError as error:
        logging.getLogger("asyncio").error("Task exception %s", "lost", exc_info=error)
    logging.getLogger("httpx").info("HTTP Request: GET")
    entry = journald.entry()
    assert entry["MESSAGE"].startswith("Task exception lost by=asyncio\nTraceback")
    assert (entry["PRIORITY"], entry["TAGGERD_BY"]) == ("3", "asyncio")
    assert journald.entry() == {}


def test_why_a_command_ends_is_an_error(
    journald: Journald, stderr: pytest.CaptureFixture[str]
) -> None:
    """`journalctl -p err` shows why the service does not start."""
    logs.complain("backend.modle: no such setting\narrivals.roots: none")
    first, second = journald.entry(), journald.entry()
    assert (first["MESSAGE"], first["PRIORITY"]) == ("backend.modle: no such setting", "3")
    assert second["MESSAGE"] == "arrivals.roots: none"
    assert first["MESSAGE_ID"] == logs.MESSAGE_IDS[logs.CANNOT_RUN]
    assert said(stderr) == ""


def test_where_journald_takes_nothing_lines_go_to_stderr(
    journald: Journald, stderr: pytest.CaptureFixture[str]
) -> None:
    """It may be restarted or hang; the program goes on, and with it once it is back."""
    logs.set_up()
    log = structlog.get_logger()
    journald.end()
    log.warning("offline", import_folder="/srv/in")
    assert said(stderr) == "<4>offline import_folder=/srv/in\n"
    again = Journald(journald.path)
    log.warning("watching", import_folder="/srv/in")
    assert again.entry()["TAGGERD_ROOT"] == "/srv/in"
    again.end()


@pytest.mark.parametrize(
    ("log_format", "line"),
    [
        ("console", r"<4>\[warning\] offline +import_folder=/srv/in\n"),
        ("json", r"<4>(\{.*\})\n"),
    ],
)
def test_lines_for_journald_bear_their_priority(
    journald: Journald, stderr: pytest.CaptureFixture[str], log_format: str, line: str
) -> None:
    """By setting: JSON in the journal, for a collector, was all of one priority."""
    logs.set_up(log_format)  # type: ignore[arg-type]  # one of the Literal's
    structlog.get_logger().warning("offline", import_folder="/srv/in")
    found = re.fullmatch(line, said(stderr))
    assert found
    if log_format == "json":
        assert json.loads(found[1])["import_folder"] == "/srv/in"
    assert journald.entry() == {}


@pytest.mark.parametrize("stream", [None, "1:2", "nonsense"])
def test_elsewhere_there_are_lines(
    stderr: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, stream: str | None
) -> None:
    """A service whose output goes into a file inherits $JOURNAL_STREAM: the file gets the lines."""
    if stream is not None:
        monkeypatch.setenv("JOURNAL_STREAM", stream)
    logs.set_up()
    structlog.get_logger().info("tagged", photo="/srv/in/a.jpg")
    logs.complain("no such setting")
    first, second = said(stderr).splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d \[info\] tagged +photo=/srv/in/a.jpg", first)
    assert second == "taggerd: no such setting"


def test_the_documentation_names_ids_that_exist() -> None:
    """Whoever copies one from there gets alarms."""
    named = set(re.findall(r"`([0-9a-f]{32})`", chapters()["monitoring"]))
    assert named
    assert named <= set(logs.MESSAGE_IDS.values())


def test_each_event_that_matters_exists_and_has_an_id_of_its_own() -> None:
    """An id whose event was renamed would never come again."""
    texts = {
        node.value
        for file in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and file.name != "logs.py"
    }
    assert set(logs.MESSAGE_IDS) - texts == {logs.CANNOT_RUN}
    assert len(set(logs.MESSAGE_IDS.values())) == len(logs.MESSAGE_IDS)
    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in logs.MESSAGE_IDS.values())
