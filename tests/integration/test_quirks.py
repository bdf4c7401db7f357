"""The quirks of backends, one row each: what a server may do to a scan, and what comes of it.

Every row is a real server on a port, the real client, queue, decoder and sidecars; only the waits
between probes are skipped (and written down). In every row all photos are tagged in the end, and
none of them has paid for what was the backend's fault.

Elsewhere: one of two backends dies (``tests/faults/test_endpoints.py``), a server that fails on
one photo alone (``tests/faults/test_bad_input.py``), servers of others (``tests/peers``).
"""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import pytest
import pytest_asyncio
from support.program import photo

from taggerd import settings
from taggerd.arrivals import find
from taggerd.attempt import RunOptions
from taggerd.inference import Backend, InferenceService, describer, load_profile
from taggerd.runner.outcome import Outcome
from taggerd.runner.runner import Runner
from taggerd.services import open_services
from taggerd.settings import configuration

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from taggerd.services import Services

Body = dict[str, Any]
Writer = asyncio.StreamWriter
Reply = tuple[int, dict[str, str], bytes]
Raw = Callable[[Writer, bytes], Awaitable[None]]
"""Writes to the connection what it likes; is given the describer's answer."""
PHOTOS = 3


def good(body: Body) -> bytes:
    """Return what the describer answers."""
    request = json.dumps(body).encode()
    return json.dumps(describer.respond("POST", "/v1/chat/completions", request)[1]).encode()


def said(content: str | None, reason: str = "stop", **message: str) -> Reply:
    """Return a completion."""
    choice = {"message": {"content": content, **message}, "finish_reason": reason}
    return 200, {}, json.dumps({"model": describer.MODEL, "choices": [choice]}).encode()


def error(status: int, message: str, **headers: str) -> Reply:
    """Return an error of OpenAI's form."""
    named = {name.replace("_", "-").replace("llm-", "llm_"): v for name, v in headers.items()}
    return status, named, json.dumps({"error": {"message": message}}).encode()


def page(status: int) -> Reply:
    """Return a page for people."""
    return status, {"Content-Type": "text/html"}, b"<!doctype html><h1>nginx</h1>"


def bomb(layers: int) -> bytes:
    """Return kilobytes that are 32 MB of blanks: in one layer, or in layers."""
    packed = gzip.compress(b" " * (32 << 20), 9)
    for _ in range(layers - 1):
        packed = gzip.compress(packed, 9)
    return packed


# What a server writes by hand.


def head(length: int, *more: str) -> bytes:
    """Return the head of a 200."""
    lines = ["HTTP/1.1 200 OK", "Content-Type: application/json", *more]
    lines += [f"Content-Length: {length}"] if length >= 0 else []
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def reset_in_the_middle(writer: Writer, answer: bytes) -> None:
    """Half of the answer, then a reset."""
    writer.write(head(len(answer)) + answer[: len(answer) // 2])
    await writer.drain()
    writer.transport.abort()


async def hang_up(writer: Writer, _answer: bytes) -> None:
    """Not a byte."""
    writer.close()


async def silence(_writer: Writer, _answer: bytes) -> None:
    """Nothing, for longer than anybody waits."""
    await asyncio.sleep(30)


async def megabytes(writer: Writer, _answer: bytes) -> None:
    """5 MB of text where a sentence was asked for."""
    text = json.dumps({"choices": [{"message": {"content": "la " * 1_750_000}}]}).encode()
    writer.write(head(len(text)) + text)
    await writer.drain()


async def chunked(writer: Writer, answer: bytes) -> None:
    """The answer in pieces of 7 bytes."""
    writer.write(head(-1, "Transfer-Encoding: chunked"))
    for start in range(0, len(answer), 7):
        piece = answer[start : start + 7]
        writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
    writer.write(b"0\r\n\r\n")


async def close_unannounced(writer: Writer, answer: bytes) -> None:
    """A whole answer on a connection that is said to stay, and is closed."""
    writer.write(head(len(answer), "Connection: keep-alive", "Keep-Alive: timeout=60") + answer)
    await writer.drain()
    writer.close()


async def compressed(writer: Writer, answer: bytes) -> None:
    """The answer in gzip, which nobody asked for."""
    packed = gzip.compress(answer)
    writer.write(head(len(packed), "Content-Encoding: gzip") + packed)


async def as_plain_text(writer: Writer, answer: bytes) -> None:
    """JSON that is called plain text in another charset."""
    content = head(len(answer)).replace(b"application/json", b"text/plain; charset=latin-1")
    writer.write(content + answer)


# What a server takes and what it does not.


def refuses(name: str, message: str, status: int = 400) -> Callable[[Body], Reply | None]:
    """Return a server that refuses whatever has a field *name*."""
    return lambda body: error(status, message) if name in body else None


def knows_no_format(body: Body) -> Reply | None:
    """LM Studio's words, and then it takes none of the forms at all."""
    kind = body.get("response_format", {}).get("type")
    words = f"'response_format.type' must be 'text', not '{kind}'"
    return error(400, words) if kind else None


def knows_json_object(body: Body) -> Reply | None:
    """A server from before there were schemas."""
    kind = body.get("response_format", {}).get("type")
    return error(422, "response_format: json_schema unknown") if kind == "json_schema" else None


def thinks_unless_asked_not_to(body: Body) -> Reply | None:
    """All the room goes into reasoning_content."""
    if body.get("reasoning_effort") == "none":
        return None
    return said(None, "length", reasoning_content="Hmm, a photo. Let me think.")


def thinks_aloud(body: Body) -> Reply:
    """The thought lies in the content, and the answer behind it."""
    answer = json.loads(good(body))
    message = answer["choices"][0]["message"]
    message["content"] = f"<think>A photo? I think so.</think>\n{message['content']}"
    return 200, {}, json.dumps(answer).encode()


class Quirk(NamedTuple):
    """A row: what a server does, how often, and what comes of it."""

    name: str
    does: Reply | Raw | Callable[[Body], Reply | None]
    times: int = 2
    """To so many requests about photos, ours among them; 0: to every chat request, for ever."""
    then: Literal["tagged", "waits"] = "waits"
    """``tagged``: as if nothing were; ``waits``: work rests until a probe passes."""
    words: str = ""
    """In the reason why work rests."""
    at_least: float = 0.0
    """Seconds that are waited before the server is asked again."""
    requests: int = 0
    """Most requests about photos, where more would be waste; 0: never mind."""


WELL = 3 * PHOTOS
QUIRKS = [
    # Answers that are none.
    Quirk("nothing, cut", said("", "length"), 1, "tagged", requests=WELL + 1),
    Quirk("nothing but cuts", said("", "length"), 4, words="a test picture fails, too"),
    Quirk("no choices", (200, {}, b'{"choices": []}'), 4, words="a test picture fails, too"),
    Quirk("an error in a 200", error(200, "Provider returned error"), words="Provider returned"),
    Quirk("5 MB of text", megabytes, words="more than 4 MB"),
    Quirk("a web page", page(200), words="a web page"),
    # Thoughts.
    Quirk("only reasoning", thinks_unless_asked_not_to, 0, "tagged", requests=WELL),
    Quirk("think blocks", thinks_aloud, 0, "tagged", requests=WELL + 1),
    # Forms that are refused.
    Quirk(
        "no max_tokens",
        refuses("max_tokens", "Unsupported parameter: 'max_tokens'; use 'max_completion_tokens'."),
        0,
        "tagged",
        requests=WELL,
    ),
    Quirk(
        "no temperature",
        refuses("temperature", "Unsupported value: 'temperature' does not support 0.2."),
        0,
        "tagged",
        requests=WELL,
    ),
    Quirk("no json_schema", knows_json_object, 0, "tagged", requests=WELL + 1),
    Quirk("no response_format", knows_no_format, 0, "tagged", requests=WELL + 2),
    # Refusals that are the backend's own.
    Quirk("502 from a proxy", page(502), words="failed (502)"),
    Quirk("503 loading", error(503, "Loading model"), words="Loading model"),
    Quirk("404 model", error(404, "model 'eye' not found"), words="does not serve model"),
    Quirk("401", error(401, "bad key"), words="refuses the API key"),
    Quirk("LiteLLM, key gone", error(400, "No connected db."), words="refuses the API key"),
    Quirk("429", error(429, "slow down"), words="fewer requests"),
    Quirk("429, 7 s", error(429, "", Retry_After="7"), words="fewer", at_least=7.0),
    Quirk("429, LiteLLM's", error(429, "", llm_provider_retry_after="8"), at_least=8.0),
    Quirk(
        "429, a date",
        lambda _body: error(429, "", Retry_After=formatdate(time.time() + 60, usegmt=True)),
        at_least=50.0,
    ),
    Quirk("400 for every photo", error(400, "context length exceeded"), words="a test picture"),
    Quirk("413 for every photo", error(413, "body too large"), words="see image.max_edge"),
    # The wire.
    Quirk("reset in the middle", reset_in_the_middle, words="in the middle of its answer"),
    Quirk("hangs up once", hang_up, 1, "tagged", requests=WELL + 1),
    Quirk("hangs up", hang_up, 4, words="closed without an answer"),
    Quirk("silence", silence, words="did not answer within"),
    Quirk("keep-alive, closed", close_unannounced, 0, "tagged", requests=WELL),
    Quirk("chunked", chunked, 0, "tagged", requests=WELL),
    Quirk("gzip", compressed, 0, "tagged", requests=WELL),
    Quirk("gzip that is none", (200, {"Content-Encoding": "gzip"}, b"{}"), words="compression"),
    Quirk("a bomb", (200, {"Content-Encoding": "gzip"}, bomb(1)), words="more than 4 MB"),
    Quirk("a bomb of bombs", (200, {"Content-Encoding": "gzip, gzip"}, bomb(2)), words="twice"),
    Quirk("text/plain", as_plain_text, 0, "tagged", requests=WELL),
]


@dataclass
class Server:
    """The describer on a port, with a quirk."""

    quirk: Quirk
    left: int = 0
    photo_requests: int = 0
    connections: list[Writer] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: Writer) -> None:
        """Answer what comes over one connection."""
        self.connections.append(writer)
        while not writer.is_closing():
            try:
                top = (await reader.readuntil(b"\r\n\r\n")).decode().casefold()
            except (asyncio.IncompleteReadError, ConnectionError):
                break
            length = int(top.split("content-length:")[1].split()[0]) if "content-l" in top else 0
            content = await reader.readexactly(length)
            if top.startswith("get"):
                listed = json.dumps(describer.respond("GET", "/v1/models", b"")[1]).encode()
                writer.write(head(len(listed)) + listed)
            else:
                await self._answer(writer, json.loads(content))
        writer.close()

    async def _answer(self, writer: Writer, body: Body) -> None:
        """Answer a chat request, in the quirk's way or well."""
        about_a_photo = body["messages"][0]["role"] == "system"
        self.photo_requests += about_a_photo
        quirky = self.quirk.times == 0 or (about_a_photo and self.left > 0)
        self.left -= about_a_photo
        does = self.quirk.does
        if quirky and asyncio.iscoroutinefunction(does):
            await cast("Raw", does)(writer, good(body))
            return
        answer = cast("Reply | Callable[[Body], Reply | None]", does)
        reply = (answer(body) if callable(answer) else answer) if quirky else None
        status, headers, content = reply or (200, {}, good(body))
        lines = [f"{name}: {value}" for name, value in headers.items()]
        top = head(len(content), *lines).replace(b"200 OK", b"%d Said" % status)
        if "Content-Type" in headers:
            top = top.replace(b"Content-Type: application/json\r\n", b"", 1)
        writer.write(top + content)


def sidecars(folder: Path) -> int:
    """Return how many photos were given one."""
    return len(list(folder.glob("*.xmp")))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def services(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Services]:
    """Open the services once for all rows: each has photos and a backend of its own."""
    home = tmp_path_factory.mktemp("quirks")
    (home / "empty.toml").touch()
    given = {
        "state_directory": home / "state",
        "backend": {"base_url": "http://127.0.0.1:9/v1"},
        # One by one, so that it is known which request a quirk hits.
        "queue": {"photos_in_flight": 1},
    }
    loaded = configuration.load(given, cwd=home, config=home / "empty.toml")
    async with open_services(loaded) as opened:
        yield opened


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("quirk", QUIRKS, ids=[quirk.name for quirk in QUIRKS])
async def test_no_photo_is_lost_and_none_pays(
    services: Services, tmp_path: Path, quirk: Quirk
) -> None:
    """What a backend does is learnt, waited out or asked again; all are tagged, at one attempt."""
    slept, outcomes = list[float](), list[Outcome]()
    for number in range(PHOTOS):
        photo(tmp_path / f"{number}.jpg", PHOTOS * QUIRKS.index(quirk) + number)
    served = Server(quirk, left=quirk.times)
    server = await asyncio.start_server(served.serve, "127.0.0.1", 0, limit=1 << 24)
    backend = settings.Backend(
        base_url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1",
        max_concurrency=1,
        timeout_seconds=0.5 if quirk.does is silence else 20,
    )

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await asyncio.sleep(0)

    service = services.inference = InferenceService(
        services.settings, load_profile("default", None), {"": Backend(backend)}, sleep=sleep
    )
    files = [seen.file for seen in find([tmp_path], services.settings).seen]
    await services.ledger.admit(files, run=quirk.name)
    options = RunOptions(run=quirk.name, within=(tmp_path,))
    runner = Runner(services, options, on_outcome=[outcomes.append], more_to_come=lambda: False)
    await asyncio.wait_for(runner.work(drain_seconds=0), 180)
    await service.close()
    server.close()
    for connection in served.connections:
        connection.transport.abort()

    records = [outcome.record for outcome in outcomes if outcome.record]
    assert [(r.error, r.attempts) for r in records] == [("", 1)] * PHOTOS
    assert all(r.caption and "think" not in r.caption for r in records)
    assert sidecars(tmp_path) == PHOTOS
    reasons = [outcome.reason for outcome in outcomes if outcome.kind == "waiting"]
    assert bool(reasons) is (quirk.then == "waits")
    assert not quirk.words or any(quirk.words in reason for reason in reasons), reasons
    assert bool(slept) is (quirk.then == "waits")
    assert not slept or slept[0] >= quirk.at_least
    assert not quirk.requests or served.photo_requests <= quirk.requests
