"""Who may connect to the review and wants harm: slow, huge, too many, or not quite HTTP."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple, cast

import pytest
from starlette.responses import Response
from starlette.routing import Route

from taggerd.settings import Address, Settings
from taggerd.settings.configuration import Configuration
from taggerd.web import app, door, server
from taggerd.web.server import listening, make_keys, serve
from taggerd.web.site import Site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from starlette.requests import Request

    from taggerd.review import Review
    from taggerd.web.door import Keys

    Start = Callable[[], AbstractAsyncContextManager["Serving"]]

LONG = 60.0
"""Seconds that a test waits for what takes a part of one."""
HUGE = 64 << 20
TWO_IN_ONE = (
    "POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\n"
    "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
)


class Serving(NamedTuple):
    """A server, and how to come in."""

    port: int
    keys: Keys
    cookie: str
    csrf: str

    def head(self, method: str, path: str, *lines: str) -> bytes:
        """Return the head of a request of somebody who is logged in."""
        cookie = f"Cookie: {self.keys.cookie}={self.cookie}"
        return "\r\n".join(
            [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{self.port}", cookie, *lines, "", ""]
        ).encode()

    async def ask(self, request: bytes) -> bytes:
        """Send bytes, and return all that comes until the other side closes."""
        reader, writer = await self.connect()
        writer.write(request)
        try:
            async with asyncio.timeout(LONG):
                return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.close()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect."""
        return await asyncio.open_connection("127.0.0.1", self.port)


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Return what starts a server; it has one page more, of 64 MB."""

    async def huge(_request: Request) -> Response:
        return Response(bytes(HUGE))

    monkeypatch.setattr(app, "AREAS", (*app.AREAS, (Route("/huge", huge),)))
    configuration = Configuration(Settings(state_directory=tmp_path), {}, None)

    @asynccontextmanager
    async def start() -> AsyncIterator[Serving]:
        bound = listening(Address("127.0.0.1", 0))
        port = bound.getsockname()[1]
        keys = make_keys(configuration, port)
        name = keys.sessions.begin("somebody")
        session = keys.sessions.find(name, password="")
        assert session
        site = Site(configuration=configuration, review=cast("Review", None))
        serving = asyncio.create_task(serve(site, keys, bound))
        try:
            yield Serving(port, keys, name, session.csrf)
        finally:
            serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                async with asyncio.timeout(LONG):
                    await serving

    return start


async def closed(reader: asyncio.StreamReader) -> bytes:
    """Read to the end that the server makes."""
    async with asyncio.timeout(LONG):
        with contextlib.suppress(ConnectionError):
            return await reader.read()
    return b""


async def test_a_head_that_does_not_come_is_not_waited_for(
    started: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the first of a connection nor a later one, not even where a byte comes at a time."""
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.3)
    async with started() as serving:
        reader, writer = await serving.connect()
        with contextlib.suppress(ConnectionError):
            for byte in b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" * 1000:
                writer.write(bytes([byte]))
                await writer.drain()
                if reader.at_eof():
                    break
                await asyncio.sleep(0.01)
        assert await closed(reader) == b""
        reader, writer = await serving.connect()
        writer.write(serving.head("GET", "/login"))
        async with asyncio.timeout(LONG):
            await reader.readuntil(b"</html>")
        writer.write(b"GET /lo")
        assert await closed(reader) == b""


async def test_a_body_that_does_not_come_is_not_waited_for(
    started: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer says so, and the connection ends."""
    monkeypatch.setattr(door, "BODY_SECONDS", 0.3)
    async with started() as serving:
        form = "Content-Type: application/x-www-form-urlencoded"
        answer = await serving.ask(
            serving.head("POST", "/logout", form, "Content-Length: 9") + b"a"
        )
        assert answer.startswith(b"HTTP/1.1 408")


async def test_an_answer_that_nobody_takes_is_dropped(
    started: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand who ask for pictures and read none would take the memory of all of them."""
    monkeypatch.setattr(server, "TAKE_SECONDS", 0.3)
    dropped = asyncio.Event()
    lost = server._Protocol.connection_lost

    def note(self: server._Protocol, exc: Exception | None) -> None:
        dropped.set()
        lost(self, exc)

    monkeypatch.setattr(server._Protocol, "connection_lost", note)
    async with started() as serving:
        reader, writer = await serving.connect()
        cast("asyncio.Transport", writer.transport).pause_reading()
        writer.write(serving.head("GET", "/huge"))
        async with asyncio.timeout(LONG):
            await dropped.wait()
        cast("asyncio.Transport", writer.transport).resume_reading()
        assert len(await closed(reader)) < HUGE
        assert (await serving.ask(serving.head("GET", "/login", "Connection: close"))).startswith(
            b"HTTP/1.1 200"
        )


async def test_connections_are_bounded_and_idle_ones_make_room(
    started: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever opens all that there are keeps others out for seconds, not for ever."""
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 4)
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.5)
    async with started() as serving:
        idle = [await serving.connect() for _ in range(8)]
        for reader, _ in idle:
            assert await closed(reader) == b""
        asked = serving.head("GET", "/login", "Connection: close")
        assert (await serving.ask(asked)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "request_lines",
    [
        "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: elsewhere.example\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: a\rSet-Cookie: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + "a" * 1_000_000 + "\r\n\r\n",
        TWO_IN_ONE,
        "POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
        "POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "GET http://elsewhere.example/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        "GET @elsewhere.example/static/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00",
    ],
)
async def test_what_is_not_quite_http_is_refused(started: Start, request_lines: str) -> None:
    """One request has one meaning, here and in a proxy before it."""
    async with started() as serving:
        reader, writer = await serving.connect()
        writer.write(request_lines.encode("latin-1"))
        writer.write_eof()
        answer = await closed(reader)
        first = answer.partition(b"\r\n")[0]
        assert not first or first.split()[1] in {b"400", b"413", b"421"}, first
        assert answer.count(b"HTTP/1.1 ") <= 1
        assert b"set-cookie" not in answer.lower()


@pytest.mark.parametrize(
    "path",
    [
        "/static/../../../../../../etc/passwd",
        "/static/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/static/..%2f..%2f..%2fetc%2fpasswd",
        "/static/..%5c..%5cetc",
        "/static//etc/passwd",
        "/static/%00app.css",
        "//etc/passwd",
        "/help/..%2f..%2fCHANGELOG",
        "/help/../../CHANGELOG.md",
        "/static/app.css/../../pages/text.py",
    ],
)
async def test_no_path_leads_out_of_what_is_served(started: Start, path: str) -> None:
    """Names are looked up among those that there are; none becomes a path of the disk."""
    async with started() as serving:
        answer = await serving.ask(serving.head("GET", path, "Connection: close"))
    assert answer.split()[1] in {b"404", b"400"}, answer[:80]
    assert b"root:" not in answer


@pytest.mark.parametrize(
    "to", ["/%0d%0aSet-Cookie:%20a=b", "//elsewhere.example/%2f..", "/photos?next=%0d%0aX:y"]
)
async def test_no_address_writes_a_header(started: Start, to: str) -> None:
    """Whoever is not logged in is sent to the log-in, with a line of ours and nothing of theirs."""
    async with started() as serving:
        asked = f"GET {to} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()
        head = (await serving.ask(asked)).partition(b"\r\n\r\n")[0].lower()
    locations = [line for line in head.split(b"\r\n") if line.startswith(b"location:")]
    assert len(locations) == 1
    assert locations[0].startswith(b"location: /login")
    assert b"\nset-cookie" not in head
    assert b"\nx:" not in head


async def test_a_log_says_in_one_line_what_was_refused(
    started: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whoever connects writes no line of the log, and moves no cursor in a terminal."""
    async with started() as serving:
        lines = "Origin: http://elsewhere.example\x1b[2J", "Content-Length: 0", "Connection: close"
        answer = await serving.ask(serving.head("POST", "/logout", *lines))
        assert answer.split()[1] in {b"400", b"403"}
    said = capfd.readouterr()
    assert "\x1b[2J" not in said.err + said.out
