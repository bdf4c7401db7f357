"""A backend for measurements, like a GPU: so many requests at once, so long for each.

It is a process of its own, so that what it costs is not counted as taggerd's.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
from base64 import b64encode
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import httpx

import taggerd
from benchmarks.program import ourselves

if TYPE_CHECKING:
    from collections.abc import Iterator

SLOTS, SECONDS = 8, 0.2
"""Requests that the backend serves at once, and how long each takes, unless a part says more: on a
machine that is busy with other things, fast requests measure those."""
SEEN = ("lake", "boat", "hill", "barn", "horse", "bridge", "tower", "garden", "road", "beach")
COLOURS = ("red", "green", "blue", "yellow")
MOST_BYTES = 1 << 21
"""Of one request."""


class Stats(NamedTuple):
    """What the backend did about photos since it was last asked; seconds since the epoch."""

    first: float
    """Arrival of the first request; 0: none came."""
    ends: list[float]
    """End of each answer."""

    @property
    def last(self) -> float:
        """End of the last answer."""
        return self.ends[-1]

    @property
    def rate(self) -> float:
        """Requests a second, from the first request to the last answer."""
        return len(self.ends) / (self.last - self.first) if self.ends else 0.0


class Served:
    """A backend of some slots that keeps count of how they were used."""

    def __init__(self, slots: int, seconds: float) -> None:
        """Serve *slots* requests at once, *seconds* each."""
        self.seconds = seconds
        self.slots = asyncio.Semaphore(slots)
        self.allowed: asyncio.Semaphore | None = None
        """How many requests may be answered; None: all."""
        self.answered = 0
        self.first = 0.0
        self.ends: list[float] = []

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer all requests of one connection."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = re.search(rb"content-length: *(\d+)", head.lower())
                body = await reader.readexactly(int(length[1]) if length else 0)
                said = json.dumps(await self.answer(head, body)).encode()
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                    b"Content-Length: %d\r\n\r\n" % len(said) + said
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def answer(self, head: bytes, body: bytes) -> object:
        """Answer one request."""
        if head.startswith(b"GET /stats"):
            told = Stats(self.first, self.ends)
            self.first, self.ends = 0.0, []
            return told._asdict()
        if head.startswith(b"GET /answered"):
            return len(self.ends)
        if allow := re.match(rb"GET /answer/(\d+)", head):
            self.allowed = self.allowed or asyncio.Semaphore(0)
            for _ in range(int(allow[1])):
                self.allowed.release()
            return {}
        if head.startswith(b"GET"):
            return {"data": [{"id": "eye"}]}
        about_a_photo = b'"role":"system"' in body[:400]
        if not about_a_photo:
            return _completion("ready" if b"image_url" not in body else _colour(body))
        self.first = self.first or time.time()
        if self.allowed:
            await self.allowed.acquire()
        if self.seconds:
            async with self.slots:
                await asyncio.sleep(self.seconds)
        self.ends.append(time.time())
        self.answered += 1
        return _completion(self.said(body[-2000:]))

    def said(self, asked: bytes) -> str:
        """Say something else of every picture, in the form that was *asked* for."""
        words = [SEEN[self.answered // 10**n % 10] for n in range(3)]
        text = f"A {words[0]} beside a {words[1]} in bright light, and behind it a {words[2]}"
        if b'"description":{' in asked:
            return json.dumps({"caption": text, "keywords": words, "description": f"{text}."})
        return json.dumps({"keywords": words}) if b"json_schema" in asked else text


def _colour(body: bytes) -> str:
    """Name the colour of one of preflight's pictures."""
    for colour in COLOURS:
        probe = Path(taggerd.__file__).parent / "data" / "probes" / f"{colour}.jpg"
        if b64encode(probe.read_bytes()) in body:
            return colour
    return "ready"


def _completion(content: str) -> object:
    message = {"role": "assistant", "content": content}
    return {"model": "eye", "choices": [{"message": message, "finish_reason": "stop"}]}


async def serve(slots: int, seconds: float) -> None:
    """Serve until killed; print the port."""
    served = Served(slots, seconds)
    server = await asyncio.start_server(served.connected, "127.0.0.1", 0, limit=MOST_BYTES)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - what it is for
    await server.serve_forever()


class Backend:
    """The backend as a part of the benchmark sees it."""

    def __init__(self, url: str, slots: int, seconds: float) -> None:
        """Speak to the one at *url*."""
        self.url, self.slots, self.seconds = url, slots, seconds

    def stats(self) -> Stats:
        """Return what it did about photos, and begin again at none."""
        return Stats(**httpx.get(f"{self.url}/stats").json())

    def answer(self, number: int) -> None:
        """Have so many more requests about photos answered; the others wait."""
        httpx.get(f"{self.url}/answer/{number}")

    def answered(self) -> int:
        """Return how many requests about photos were answered since :meth:`stats`."""
        return int(httpx.get(f"{self.url}/answered").json())

    def capacity(self, requests: int, size: int) -> Stats:
        """Have a plain client use all slots for so many *requests* of *size* bytes."""
        return asyncio.run(self._capacity(requests, size))

    async def _capacity(self, requests: int, size: int) -> Stats:
        left = iter(range(requests))
        body = b'{"messages":[{"role":"system"}],"x":"' + b"x" * size + b'"}'

        async def ask(client: httpx.AsyncClient) -> None:
            for _ in left:
                (await client.post(f"{self.url}/v1/chat/completions", content=body)).read()

        async with httpx.AsyncClient(timeout=60) as client:
            await asyncio.gather(*(ask(client) for _ in range(self.slots)))
        return self.stats()


@contextmanager
def backend(slots: int = SLOTS, seconds: float = SECONDS) -> Iterator[Backend]:
    """Run the backend in a process of its own."""
    line = ourselves("serving", str(slots), str(seconds))
    process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)  # noqa: S603 - ourselves
    try:
        if process.stdout is None:
            raise RuntimeError
        yield Backend(f"http://127.0.0.1:{int(process.stdout.readline())}", slots, seconds)
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2])))
