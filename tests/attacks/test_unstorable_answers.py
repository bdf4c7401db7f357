"""What a backend says can be stored, or it is not taken: no answer ends the program."""

from __future__ import annotations

import json
from itertools import cycle
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from support.program import photo

from taggerd.inference.backend import Backend
from taggerd.inference.client import Reply, json_of
from taggerd.inference.completion import read_completion
from taggerd.inference.discovery import MOST_MODELS, listed_models, similar_models
from taggerd.inference.statuses import message_in
from taggerd.settings import Backend as Options

if TYPE_CHECKING:
    from pathlib import Path

    from support.program import CountingBackend, Program
    from support.program import Reply as Scripted

LONE = "\\udc80"
"""JSON for a surrogate without its partner."""


def completion(**changed: str) -> bytes:
    """Return a chat completion; *changed* values are JSON that goes in as it is."""
    fields = {"content": '"A red boat"', "model": '"m"', "finish": '"stop"', "refusal": "null"}
    given = {**fields, **changed}
    message = f'{{"content": {given["content"]}, "refusal": {given["refusal"]}}}'
    choice = f'{{"finish_reason": {given["finish"]}, "message": {message}}}'
    return f'{{"model": {given["model"]}, "choices": [{choice}]}}'.encode()


def reply(content: bytes, status: int = 200) -> Reply:
    """Return a reply without headers."""
    return Reply(status, {}, content, 0.0)


HOSTILE = {
    "lone surrogate in the text": completion(content=f'"A red {LONE} boat"'),
    "lone surrogate in the model": completion(model=f'"m{LONE}"'),
    "lone surrogate in the finish reason": completion(finish=f'"stop{LONE}"'),
    "lone surrogate in the refusal": completion(refusal=f'"no {LONE}"', content='""'),
    "lone surrogate in a part": completion(content=f'[{{"type": "text", "text": "a{LONE}b"}}]'),
    "surrogate as raw bytes": completion(content='"A red boat"').replace(b"red", b"\xed\xb2\x80"),
    "NUL in the text": completion(content='"A red \\u0000 boat"'),
    "NUL in the model": completion(model='"m\\u0000"'),
    "lone surrogate in JSON in the text": completion(
        content=json.dumps(
            f'{{"caption": "A red {LONE} boat", "keywords": ["a{LONE}", "b\\u0000"]}}'
        )
    ),
    "lone surrogate in a key": completion().replace(
        b'"finish_reason"', b'"\\ud800": 1, "finish_reason"'
    ),
    "a name of two megabytes": completion(model=json.dumps("m" * 2_000_000)),
    "a text of two megabytes": completion(content=json.dumps("word " * 400_000)),
    "parts of two megabytes": completion(
        content=json.dumps([{"type": "text", "text": "word " * 10_000}] * 40)
    ),
}


def texts(value: object) -> list[str]:
    """Return every text in *value*."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for pair in value.items() for each in pair for text in texts(each)]
    return [text for each in value for text in texts(each)] if isinstance(value, list) else []


@pytest.mark.parametrize("name", HOSTILE)
def test_every_text_of_a_reply_is_storable(name: str) -> None:
    """In UTF-8, without NUL, and none longer than somebody may read."""
    for text in texts(json_of(reply(HOSTILE[name]))):
        assert text.encode().decode() == text
        assert "\0" not in text
        assert len(text) <= 65536
    read = read_completion(json_of(reply(HOSTILE[name])))
    assert read is not None
    assert len(read.model) <= 200
    assert len(read.finish_reason) <= 200
    assert len(read.refusal) <= 2000
    assert len(read.content) <= 65536


@pytest.mark.parametrize(
    "body",
    [
        f'{{"error": {{"message": "no {LONE} \\u0000 \\u202e"}}}}',
        f'{{"detail": [{{"loc": ["a{LONE}", "\\u0000"], "msg": "x{LONE}"}}]}}',
        f'{{"error": "{"x" * 3_000_000}{LONE}"}}',
        f'{{"choices": [{{"error": "{LONE}"}}]}}',
        "\udc80\0",
        "[" * 500_000,
    ],
)
def test_what_an_error_says_is_one_short_line(body: str) -> None:
    """Whatever its form, and in a success as well."""
    for status in (200, 400, 500):
        line = message_in(reply(body.encode("utf-8", "surrogateescape"), status))
        assert line.encode().decode() == line
        assert line.isprintable()
        assert len(line) <= 200


async def test_headers_are_storable_and_short() -> None:
    """Their names and versions are kept as the server's fingerprint."""
    headers = [(b"server", b"x\x80\xff" + b"y" * 50_000), (b"x-version", b"\xed\xb2\x80")]
    answer = httpx.Response(200, headers=headers, content=b'{"data": []}')
    transport = httpx.MockTransport(lambda _request: answer)
    backend = Backend(Options(base_url="http://gpu/v1"), transport=transport)
    client = await backend._connection.client()
    for value in (await client.send("/models")).headers.values():
        assert value.encode().decode() == value
        assert len(value) <= 1000
    await backend.close()


async def test_a_listing_of_a_million_models_is_read_in_part() -> None:
    """What is kept and compared is bounded, and so is each name."""
    names = ",".join(f'"{number:x}"' for number in range(400_000))
    listed = listed_models(json_of(reply(f'{{"data": [{names}]}}'.encode())))
    assert listed is not None
    assert len(listed) == MOST_MODELS == 5000
    long = json.dumps({"data": [{"id": "m" * 201}, {"id": f"{'m' * 200}"}, {"id": "b"}]})
    assert listed_models(json_of(reply(long.encode()))) == ("m" * 200, "b")
    assert len(similar_models(listed, "f" * 100)) == 3


def test_comparing_names_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each comparison may take a millisecond: so many are made and no more."""
    compared: list[int] = []

    def matches(word: str, possibilities: Any, n: int, cutoff: float) -> list[str]:  # noqa: ANN401
        del word, n, cutoff
        compared.append(len(possibilities))
        return []

    monkeypatch.setattr("taggerd.inference.discovery.get_close_matches", matches)
    similar_models([str(number) for number in range(5000)], "x")
    assert compared == [500]


def test_a_scan_survives_every_answer(
    taggerd: Program, backend: CountingBackend, tmp_path: Path
) -> None:
    """It ends with an exit code and no traceback; nothing that it keeps is large or broken."""
    card = tmp_path / "card"
    for number in range(len(HOSTILE)):
        photo(card / f"{number}.jpg", number)
    answers = cycle(HOSTILE.values())

    def script(_path: str, body: bytes) -> Scripted | None:
        asked = json.loads(body or b"{}")
        if not any(message["role"] == "system" for message in asked.get("messages", [])):
            return None  # a probe, or the listing
        # Never the same words twice: a model that repeats itself is taken for a blind one.
        words = f"red{len(backend.bodies)}".encode()
        return 200, {"Content-Type": "application/json"}, next(answers).replace(b"red", words)

    backend.script = script
    taggerd.base_url = backend.base_url
    done = taggerd("scan", card)
    assert done.returncode in {0, 1}, done.stderr
    assert "Traceback" not in done.stderr
    assert len(taggerd.records()) == len(HOSTILE)
    assert any(record.get("models") for record in taggerd.records())
    for record in taggerd.records():
        assert all(len(model) <= 200 for model in (record.get("models") or {}).values())
    size = sum(file.stat().st_size for file in taggerd.state.rglob("*") if file.is_file())
    assert size < 20 * 65536 * len(HOSTILE)
