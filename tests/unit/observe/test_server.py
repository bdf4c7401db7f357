"""The server of metrics and health: what it answers, and that nobody holds up the daemon by it."""

from __future__ import annotations

import asyncio
import socket
import stat
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from taggerd.observe.server import LONGEST_REQUEST, Page, Server
from taggerd.settings import Address

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from taggerd.observe.server import Pages

SECONDS = 180.0
"""Longest wait for what is there at once."""
LOCAL = Address("127.0.0.1", 0)


async def _page() -> Page:
    return Page(b"42\n")


async def _broken() -> Page:
    raise ValueError


async def _long() -> Page:
    return Page(bytes(50_000_000))


PAGES: Pages = {"/metrics": _page, "/broken": _broken, "/long": _long}


@asynccontextmanager
async def _serving(
    address: Address = LOCAL, *, seconds: float = SECONDS, most: int = 32
) -> AsyncIterator[Server]:
    server = Server(address, PAGES, longest_seconds=seconds, most_connections=most)
    await server.start()
    try:
        yield server
    finally:
        await server.close()


async def _until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not what():  # noqa: ASYNC110 - what is waited for knows no event
            await asyncio.sleep(0)


async def _connect(server: Server) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if server.address.socket is not None:
        return await asyncio.open_unix_connection(server.address.socket)
    return await asyncio.open_connection("127.0.0.1", server.port)


async def _said(server: Server, request: bytes) -> bytes:
    """Return all that is answered to *request*."""
    reader, writer = await _connect(server)
    writer.write(request)
    try:
        async with asyncio.timeout(SECONDS):
            return await reader.read()
    finally:
        writer.close()


def _asked(path: str = "/metrics", *, method: str = "GET", host: str = "127.0.0.1:9108") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


async def test_a_page_is_answered_and_the_connection_closed() -> None:
    """Length, type and content, as any client reads them."""
    async with _serving() as server:
        head, _, body = (await _said(server, _asked())).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert body == b"42\n"
        assert b"content-length: 3" in head.lower()
        assert b"connection: close" in head.lower()
        assert (await _said(server, _asked("/metrics?x=1"))).endswith(b"\r\n\r\n42\n")


async def test_a_head_has_no_body() -> None:
    """The length is that of the page."""
    async with _serving() as server:
        said = (await _said(server, _asked(method="HEAD"))).lower()
        assert b"content-length: 3" in said
        assert said.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (_asked("/"), 404),
        (_asked("/metrics/../../etc/passwd"), 404),
        (_asked(method="POST"), 405),
        (_asked(method="DELETE"), 405),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),  # a TLS hello
        (b"GET /metrics\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nA: " + b"b" * 2 * LONGEST_REQUEST + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * 2 * LONGEST_REQUEST + b" HTTP/1.1\r\n\r\n", 431),
        (b"GET /metrics HTTP/1.1\r\n" + b"A: b\r\n" * 10_000 + b"\r\n", 431),
    ],
)
async def test_what_is_no_request_for_a_page_is_refused(request_: bytes, status: int) -> None:
    """By a status, at once."""
    async with _serving() as server:
        try:
            said = await _said(server, request_)
        except ConnectionError:  # more was sent than anybody read
            return
        assert said.startswith(f"HTTP/1.1 {status} ".encode())


async def test_a_page_that_fails_ends_its_own_connection_alone() -> None:
    """The next one is answered."""
    async with _serving() as server:
        assert not await _said(server, _asked("/broken"))
        assert await _said(server, _asked())


async def test_a_client_that_sends_nothing_is_cut_off() -> None:
    """It holds a connection for so many seconds, and no longer if it sends byte by byte."""
    async with _serving(seconds=0.2) as server:
        reader, writer = await _connect(server)
        writer.write(b"GET /metr")
        async with asyncio.timeout(SECONDS):
            assert not await reader.read()
        writer.close()


async def test_a_client_that_does_not_read_is_cut_off() -> None:
    """What it does not take stays in no memory of the daemon."""
    async with _serving(seconds=0.5) as server:
        reader, writer = await _connect(server)
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # of a socket
        writer.write(_asked("/long"))
        async with asyncio.timeout(SECONDS):
            await _until(lambda: bool(server._connections))
            await asyncio.wait(server._connections)
        assert await _said(server, _asked())
        del reader
        writer.close()


async def test_no_crowd_gets_in() -> None:
    """Of more connections than there may be, the latest are closed at once; then all is well."""
    async with _serving(most=3) as server:
        idle = [await _connect(server) for _ in range(3)]
        await _until(lambda: len(server._connections) == 3)
        with suppress(ConnectionError):
            assert not await _said(server, _asked())
        for _, writer in idle:
            writer.close()
        await _until(lambda: not server._connections)
        assert await _said(server, _asked())


@pytest.mark.parametrize(
    ("host", "answered"),
    [
        ("127.0.0.1:9108", True),
        ("localhost:9108", True),
        ("[::1]:9108", True),
        ("10.0.0.1", True),
        ("attacker.example:9108", False),
        ("127.0.0.1.attacker.example", False),
        ("[127.0.0.1].attacker.example", True),  # no browser sends it
    ],
)
async def test_a_web_page_cannot_read_them(host: str, answered: bool) -> None:
    """A name that leads to this machine is refused: whoever chose it chose the page as well."""
    async with _serving() as server:
        said = await _said(server, _asked(host=host))
        assert said.startswith(b"HTTP/1.1 200 " if answered else b"HTTP/1.1 421 ")


async def test_a_socket_is_for_its_user_and_group(tmp_path: Path) -> None:
    """It is removed at the end; any host may be named."""
    address = Address(socket=tmp_path / "metrics.sock")
    async with _serving(address) as server:
        assert stat.S_IMODE((tmp_path / "metrics.sock").stat().st_mode) == 0o660
        assert (await _said(server, _asked(host="taggerd"))).endswith(b"42\n")
    assert not (tmp_path / "metrics.sock").exists()


async def test_a_socket_that_a_killed_daemon_left_is_replaced(tmp_path: Path) -> None:
    """Otherwise somebody would have to remove it after each power cut."""
    path = tmp_path / "metrics.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    async with _serving(Address(socket=path)) as server:
        assert await _said(server, _asked())


async def test_a_socket_that_another_daemon_serves_is_left_to_it(tmp_path: Path) -> None:
    """And so it is when the second one ends."""
    address = Address(socket=tmp_path / "metrics.sock")
    async with _serving(address) as first:
        second = Server(address, PAGES)
        with pytest.raises(OSError, match="in use"):
            await second.start()
        await second.close()
        assert await _said(first, _asked())


async def test_a_file_is_no_socket(tmp_path: Path) -> None:
    """What lies there stays."""
    path = tmp_path / "metrics.sock"
    path.write_text("mine")
    with pytest.raises(OSError, match="in use"):
        await Server(Address(socket=path), PAGES).start()
    assert path.read_text() == "mine"


async def test_closing_ends_what_is_open() -> None:
    """A stop does not wait for slow clients, and says nothing of them."""
    said: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, what: said.append(what))
    async with _serving() as server:
        reader, writer = await _connect(server)
        await _until(lambda: bool(server._connections))
        async with asyncio.timeout(SECONDS):
            await server.close()
            assert not await reader.read()
        writer.close()
    assert said == []
