"""The backend on its good and its bad days, request by request."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from taggerd.errors import (
    AnswerCut,
    AnswerEmpty,
    AnswerRejected,
    BackendBlind,
    BackendBusy,
    BackendDenied,
    BackendError,
    BackendFailed,
    BackendTimeout,
    BackendUnreachable,
    ConfigurationError,
    ModelNotFound,
    NotABackend,
    PhotoRefused,
)
from taggerd.inference.dialect import Dialect
from taggerd.retry import policy_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.scripted import Scripted

    from taggerd.inference.backend import Backend
    from taggerd.inference.questions import Question
    from taggerd.photo import Answer, Picture

    Say = Callable[..., httpx.Response]
    Ask = Callable[..., Question]
    Refusing = Callable[[dict[str, Any]], httpx.Response | None]


BASE = "http://backend.test/v1"


async def answers(backend: Backend, picture: Picture, *questions: Question) -> list[Answer]:
    """Ask, and collect every answer."""
    return [answer async for answer in backend.describe(picture, questions)]


def error(status: int, message: object, **headers: str) -> httpx.Response:
    """Return an error of OpenAI's form."""
    return httpx.Response(status, json={"error": {"message": message}}, headers=headers)


async def test_three_questions_share_their_bytes_through_the_image(
    scripted: type[Scripted], say: Say, picture: Picture, question: Ask
) -> None:
    """System, then image, then text; up to the image the three bodies are the same bytes."""
    server = scripted([say("A boat"), say('["boat"]'), say("A boat lies there.")])
    asked = [question(role) for role in ("caption", "keywords", "description")]
    said = await answers(server.backend(), picture, *asked)
    assert [a.role for a in said] == ["caption", "keywords", "description"]
    assert [a.text for a in said] == ["A boat", "", "A boat lies there."]
    assert [a.question for a in said] == [q.identity for q in asked]
    assert said[1].keywords[0].word == "boat"
    assert (said[0].prompt_tokens, said[0].completion_tokens) == (300, 7)
    prefixes = {r.content.split(b'"}},', 1)[0] for r in server.requests}
    assert len(prefixes) == 1
    assert len(prefixes.pop()) > len(picture.jpeg)
    system, user = server.chats[0]["messages"]
    assert system == {"role": "system", "content": asked[0].system}
    assert [part["type"] for part in user["content"]] == ["image_url", "text"]


REFUSALS = [
    (401, "Incorrect API key provided: sk-secret", {}, BackendDenied),
    (402, "Insufficient credits", {}, BackendDenied),
    (403, "no access for sk-secret", {}, BackendDenied),
    (400, "No connected db.", {}, BackendDenied),
    (404, "The model `eye` does not exist", {}, ModelNotFound),
    (404, "Not Found", {}, ModelNotFound),
    (405, "Method Not Allowed", {}, NotABackend),
    (408, "Request timed out", {}, BackendTimeout),
    (429, "Slow down", {}, BackendBusy),
    (503, "Loading model", {}, BackendBusy),
    (500, "boom", {}, BackendFailed),
    (502, "bad gateway", {}, BackendFailed),
    (504, "gateway timeout", {}, BackendTimeout),
    (400, "cannot identify image file", {}, PhotoRefused),
    (413, "too large", {}, PhotoRefused),
    (415, "unsupported media", {}, PhotoRefused),
    (422, [{"loc": ["body", "messages"], "msg": "bad"}], {}, PhotoRefused),
    (400, "Invalid model name passed in model=eye", {}, ModelNotFound),
    (400, "eye is not a valid model ID", {}, ModelNotFound),
    (400, "eye is not a multimodal model", {}, BackendBlind),
    (500, "image input is not supported - hint: provide the mmproj", {}, BackendBlind),
    (301, "moved", {"location": "https://user:pw@elsewhere.test/v1"}, NotABackend),
]


@pytest.mark.parametrize(("status", "message", "headers", "kind"), REFUSALS)
async def test_each_refusal_has_its_name(
    scripted: type[Scripted],
    picture: Picture,
    question: Ask,
    status: int,
    message: object,
    headers: dict[str, str],
    kind: type[Exception],
) -> None:
    """A status and its body become one error: one line, with the place, without the key."""
    server = scripted(reply=lambda _: error(status, message, **headers))
    with pytest.raises(kind) as caught:
        await answers(server.backend(api_key="sk-secret"), picture, question())
    assert type(caught.value) is kind
    text = str(caught.value)
    assert BASE in text
    assert len(text.splitlines()) == 1
    assert "sk-secret" not in text


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (httpx.Response(200, html="<html>Log in</html>"), NotABackend),
        (httpx.Response(200, text="hello"), NotABackend),
        (httpx.Response(200, json=["hello"]), NotABackend),
        (httpx.Response(200, json={"hello": 1}), NotABackend),
        (httpx.Response(200, json={"choices": [{"text": "a"}]}), NotABackend),
        (httpx.Response(200, content=b"[" * 100_000), NotABackend),
        (httpx.Response(200, content=b"\xff\xfe{"), NotABackend),
        (httpx.Response(200, json={"error": {"message": "upstream died"}}), BackendFailed),
        (httpx.Response(200, json={"error": "upstream died"}), BackendFailed),
        (httpx.Response(200, json={"choices": [{"error": {"code": 502}}]}), BackendFailed),
        (httpx.Response(200, content=b" " * (5 << 20)), BackendFailed),
        (httpx.Response(404, html="<html>nginx</html>"), NotABackend),
        (httpx.Response(502, html="<html>nginx</html>"), BackendFailed),
        (httpx.Response(500, text="Internal Server Error"), BackendFailed),
    ],
)
async def test_what_is_no_completion_is_the_backends_fault(
    scripted: type[Scripted],
    picture: Picture,
    question: Ask,
    reply: httpx.Response,
    kind: type[Exception],
) -> None:
    """Web pages, other JSON, errors in a 200 and megabytes never look like an answer."""
    copies: list[httpx.Response | Exception] = [
        httpx.Response(reply.status_code, headers=reply.headers, content=reply.content)
        for _ in range(8)
    ]
    server = scripted(copies)
    with pytest.raises(kind) as caught:
        await answers(server.backend(), picture, question())
    assert type(caught.value) is kind


async def test_a_compressed_answer_is_read(
    scripted: type[Scripted], say: Say, picture: Picture, question: Ask
) -> None:
    """A server that compresses although nobody asked is understood; damaged gzip is its fault."""
    packed = gzip.compress(say("A boat").content)
    headers = {"content-encoding": "gzip"}
    server = scripted([httpx.Response(200, content=packed, headers=headers)])
    assert (await answers(server.backend(), picture, question()))[0].text == "A boat"
    # A stream is decoded while it is read, as from the network.
    damaged = httpx.Response(200, stream=httpx.ByteStream(b"no gzip"), headers=headers)
    with pytest.raises(BackendFailed, match="compression"):
        await answers(scripted([damaged]).backend(), picture, question())


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "2.5"}, 2.5),
        ({"retry-after": "Sun, 15 Jun 2025 15:07:40 GMT"}, 60.0),
        ({"retry-after": "Sun, 15 Jun 2025 15:00:00 GMT"}, 0.0),
        ({"llm_provider-retry-after": "30"}, 30.0),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "86400"}, 86400.0),
        ({"retry-after": "1e99"}, None),
        ({"retry-after": "-5"}, 0.0),
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({}, None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
async def test_the_asked_wait_is_passed_on(
    scripted: type[Scripted],
    picture: Picture,
    question: Ask,
    status: int,
    headers: dict[str, str],
    seconds: float | None,
) -> None:
    """Retry-After in seconds, as a date, in milliseconds or from LiteLLM's provider."""
    server = scripted([error(status, "later", **headers)])
    with pytest.raises(BackendBusy) as caught:
        await answers(server.backend(), picture, question())
    assert caught.value.retry_after_seconds == seconds


def refusing(say: Say, *refused: Refusing) -> Callable[[dict[str, Any]], httpx.Response]:
    """Return a reply function that refuses what one of *refused* refuses."""

    def reply(body: dict[str, Any]) -> httpx.Response:
        for refuse in refused:
            if response := refuse(body):
                return response
        return say('{"keywords": ["boat"], "caption": "A boat"}')

    return reply


def no_max_tokens(body: dict[str, Any]) -> httpx.Response | None:
    """OpenAI's newer models."""
    text = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    return error(400, text) if "max_tokens" in body else None


def no_temperature(body: dict[str, Any]) -> httpx.Response | None:
    """OpenAI's reasoning models."""
    text = "Unsupported value: 'temperature' does not support 0.2 with this model."
    return error(400, text) if "temperature" in body else None


def no_schema(body: dict[str, Any]) -> httpx.Response | None:
    """A server that knows json_object only."""
    kind = body.get("response_format", {}).get("type")
    return (
        error(422, "response_format: unknown type json_schema") if kind == "json_schema" else None
    )


def no_format(body: dict[str, Any]) -> httpx.Response | None:
    """A server that fails on any response_format, and does not say why."""
    return httpx.Response(500, text="Internal Server Error") if "response_format" in body else None


def no_system(body: dict[str, Any]) -> httpx.Response | None:
    """A chat template without a system role."""
    system = body["messages"][0]["role"] == "system"
    return error(500, "System role not supported") if system else None


@pytest.mark.parametrize(
    ("refused", "last"),
    [
        ([], {"max_tokens", "temperature", "response_format"}),
        ([no_max_tokens], {"max_completion_tokens", "temperature", "response_format"}),
        ([no_temperature], {"max_tokens", "response_format"}),
        ([no_max_tokens, no_temperature], {"max_completion_tokens", "response_format"}),
        ([no_schema], {"max_tokens", "temperature", "response_format"}),
        ([no_format], {"max_tokens", "temperature"}),
        (
            [no_schema, no_max_tokens, no_temperature, no_system],
            {"max_completion_tokens", "response_format"},
        ),
    ],
)
async def test_what_is_refused_is_given_up_and_remembered(
    scripted: type[Scripted],
    say: Say,
    picture: Picture,
    question: Ask,
    refused: list[Refusing],
    last: set[str],
) -> None:
    """Each refusal costs one request the first time and none afterwards."""
    server = scripted(reply=refusing(say, *refused))
    backend = server.backend()
    asked = question("keywords")
    assert (await answers(backend, picture, asked))[0].keywords[0].word == "boat"
    assert server.chats[-1].keys() - {"model", "messages"} == last
    assert len(server.requests) <= 1 + 2 * len(refused)
    before = len(server.requests)
    await answers(backend, picture, asked)
    assert len(server.requests) == before + 1
    roles = [m["role"] for m in server.chats[-1]["messages"]]
    assert roles == (["user"] if no_system in refused else ["system", "user"])
    text = server.chats[-1]["messages"][-1]["content"][-1]["text"]
    assert text.startswith(asked.system) is (no_system in refused)


async def test_what_one_model_refuses_is_still_sent_to_another(
    scripted: type[Scripted], say: Say, picture: Picture, question: Ask
) -> None:
    """Lessons are kept for each model."""

    def reply(body: dict[str, Any]) -> httpx.Response:
        return (body["model"] == "old" and no_temperature(body)) or say("A boat")

    server = scripted(reply=reply)
    backend = server.backend()
    await answers(backend, picture, question(model="old"), question(model="new"))
    assert "temperature" in server.chats[-1]


async def test_lessons_of_requests_at_once_add_up(
    scripted: type[Scripted], say: Say, picture: Picture, question: Ask
) -> None:
    """Eight requests that learn at the same time unlearn nothing of each other."""
    server = scripted(reply=refusing(say, no_schema, no_max_tokens, no_temperature))
    backend = server.backend()
    asked = [question(role) for role in ("caption", "keywords")] * 4
    await asyncio.gather(*(answers(backend, picture, q) for q in asked))
    before = len(server.requests)
    await answers(backend, picture, question("keywords"), question("caption"))
    assert len(server.requests) == before + 2


def test_no_request_unlearns_what_another_has_learnt() -> None:
    """A lesson is laid over what is known by now, not over what was known when it began."""
    start = Dialect()
    now = replace(start, json="object")
    assert now.merged(start, replace(start, temperature=False)) == Dialect(
        json="object", temperature=False
    )


async def test_a_bad_photo_costs_one_request_once_the_form_is_proven(
    scripted: type[Scripted], say: Say, picture: Picture, question: Ask
) -> None:
    """A 500 or 400 without a name is no reason to guess after a request has passed."""
    server = scripted([say("A boat"), httpx.Response(500, text="oops"), error(400, "bad image")])
    backend = server.backend()
    await answers(backend, picture, question())
    with pytest.raises(BackendFailed) as caught:
        await answers(backend, picture, question())
    assert policy_of(caught.value).control
    with pytest.raises(PhotoRefused):
        await answers(backend, picture, question())
    assert len(server.requests) == 3


async def test_an_answer_that_cannot_be_used_is_asked_for_once_more(
    scripted: type[Scripted], say: Say, picture: Picture, question: Ask
) -> None:
    """The second asking is warmer and has more room; both are paid for in the answer."""
    server = scripted([say(""), say("A boat")])
    said = (await answers(server.backend(), picture, question()))[0]
    assert (said.text, said.prompt_tokens, said.completion_tokens) == ("A boat", 600, 14)
    first, second = server.chats
    assert second["temperature"] > first["temperature"]
    assert second["max_tokens"] == 2 * first["max_tokens"]


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ({"content": ""}, AnswerEmpty),
        ({"content": None}, AnswerEmpty),
        ({"content": "A bo", "finish_reason": "length"}, AnswerCut),
        ({"content": "I'm sorry, I can't help with that."}, AnswerRejected),
    ],
)
async def test_the_second_bad_answer_is_final(
    scripted: type[Scripted],
    say: Say,
    picture: Picture,
    question: Ask,
    reply: dict[str, Any],
    kind: type[Exception],
) -> None:
    """Two bad answers are an error of the photo, after exactly two requests."""
    server = scripted(reply=lambda _: say(**reply))
    with pytest.raises(kind):
        await answers(server.backend(), picture, question())
    assert len(server.requests) == 2


async def test_no_choices_is_an_empty_answer(
    scripted: type[Scripted], picture: Picture, question: Ask
) -> None:
    """An empty list of choices says nothing."""
    server = scripted(reply=lambda _: httpx.Response(200, json={"choices": []}))
    with pytest.raises(AnswerEmpty):
        await answers(server.backend(), picture, question())


async def test_a_model_that_thinks_is_asked_not_to(
    scripted: type[Scripted], say: Say, picture: Picture, question: Ask
) -> None:
    """Reasoning without an answer leads to reasoning_effort, and the next photo profits."""

    def reply(body: dict[str, Any]) -> httpx.Response:
        if body.get("reasoning_effort") == "none":
            return say("A boat")
        return say("", reasoning_content="Hm. Well.", finish_reason="length")

    server = scripted(reply=reply)
    backend = server.backend()
    for _ in range(2):
        assert (await answers(backend, picture, question()))[0].text == "A boat"
    assert len(server.requests) == 3


async def test_a_model_that_cannot_stop_thinking_gets_room(
    scripted: type[Scripted], say: Say, picture: Picture, question: Ask
) -> None:
    """Where effort is refused and the template's switch ignored, the token limit is raised."""

    def reply(body: dict[str, Any]) -> httpx.Response:
        if "reasoning_effort" in body:
            return error(400, "Unrecognized request argument supplied: reasoning_effort")
        enough = body["max_tokens"] > 1000
        thought = "<think>Hm.</think>" if enough else "<think>Hm"
        return say(thought + "A boat" * enough, finish_reason="stop" if enough else "length")

    server = scripted(reply=reply)
    backend = server.backend()
    assert (await answers(backend, picture, question()))[0].text == "A boat"
    before = len(server.requests)
    assert (await answers(backend, picture, question()))[0].text == "A boat"
    assert len(server.requests) == before + 1


async def test_at_most_the_allowed_requests_are_in_flight(
    say: Say, picture: Picture, question: Ask
) -> None:
    """Twenty photos at once never make more than max_concurrency requests at once."""
    in_flight = most = 0

    class Slow(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            nonlocal in_flight, most
            in_flight += 1
            most = max(most, in_flight)
            for _ in range(5):
                await asyncio.sleep(0)
            in_flight -= 1
            response: httpx.Response = say("A boat")
            response.request = request
            return response

    from taggerd import settings  # noqa: PLC0415 - used here only
    from taggerd.inference import Backend as Made  # noqa: PLC0415

    options = settings.Backend(base_url=BASE, model="eye", max_concurrency=3)
    backend = Made(options, transport=Slow())
    await asyncio.gather(*(answers(backend, picture, question()) for _ in range(20)))
    assert most == 3


async def test_without_a_model_the_first_fit_one_is_asked_and_listed_once(
    scripted: type[Scripted], say: Say, picture: Picture, question: Ask
) -> None:
    """Embedding models are passed over; the listing is asked for once."""
    server = scripted(reply=lambda _: say("A boat"), models=("nomic-embed-text", "llava"))
    backend = server.backend(model="")
    assert backend.model == ""
    asked = question(model="")
    said = await answers(backend, picture, asked, asked)
    assert backend.model == "llava"
    assert {body["model"] for body in server.chats} == {"llava"}
    assert said[0].question == asked.identity
    assert [r.method for r in server.requests] == ["GET", "POST", "POST"]


async def test_a_backend_without_a_usable_model_says_so(scripted: type[Scripted]) -> None:
    """Only an embedding model: ModelNotFound, not a request with it."""
    with pytest.raises(ModelNotFound):
        await scripted(models=("bge-m3",)).backend(model="").choose_model()


async def test_secrets_are_nowhere_but_in_the_header(
    scripted: type[Scripted],
    say: Say,
    picture: Picture,
    question: Ask,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The key goes into Authorization; no repr, log or displayed address holds it or a password."""
    caplog.set_level(logging.DEBUG)
    server = scripted(
        [
            say("A boat"),
            error(400, "key sk-geheim is bad"),
            *[error(400, "key sk-geheim is bad")] * 8,
        ]
    )
    backend = server.backend(
        base_url="http://me:pass-wort@backend.test/v1?key=abfrage", api_key="sk-geheim"
    )
    await answers(backend, picture, question())
    assert server.requests[0].headers["authorization"] == "Bearer sk-geheim"
    assert server.requests[0].url.path == "/v1/chat/completions"
    assert server.requests[0].url.query == b"key=abfrage"
    assert not server.requests[0].url.userinfo
    with pytest.raises(PhotoRefused) as caught:
        await answers(backend, picture, question("keywords"))
    client = backend._connection._client
    shown = f"{backend!r} {client!r} {backend.base_url} {caught.value} {caught.value!r}"
    assert backend.base_url == BASE
    for secret in ("sk-geheim", "pass-wort", "abfrage"):
        assert secret not in shown + caplog.text
        assert secret.encode() not in server.requests[0].content


async def test_a_password_in_the_address_becomes_a_header(
    scripted: type[Scripted], say: Say, picture: Picture, question: Ask
) -> None:
    """Without a key, user and password are sent as Basic."""
    server = scripted([say("A boat")])
    await answers(server.backend(base_url="http://me:pw@backend.test/v1"), picture, question())
    assert server.requests[0].headers["authorization"] == "Basic bWU6cHc="


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"base_url": "http://"}, "base_url"),
        ({"base_url": "http://me:pw@:99999999/v1"}, "base_url"),
        ({"api_key": "sk-geheim\nX-Evil: 1"}, "api_key"),
        ({"api_key": "sk-gehéim"}, "api_key"),
    ],
)
def test_an_unusable_address_or_key_is_told_at_once(
    scripted: type[Scripted], options: dict[str, str], words: str
) -> None:
    """Before anything is sent, and without repeating the secret."""
    with pytest.raises(ConfigurationError, match=words) as caught:
        scripted().backend(**options)
    assert "geh" not in str(caught.value)
    assert "pw" not in str(caught.value)


async def test_a_kept_connection_that_was_closed_is_tried_again(
    scripted: type[Scripted], say: Say, picture: Picture, question: Ask
) -> None:
    """One silent close is not an outage; two are."""
    closed = httpx.RemoteProtocolError("Server disconnected without sending a response.")
    server = scripted([closed, say("A boat")])
    assert (await answers(server.backend(), picture, question()))[0].text == "A boat"
    with pytest.raises(BackendUnreachable):
        await answers(scripted([closed, closed]).backend(), picture, question())


async def test_no_answer_in_time_is_a_timeout(picture: Picture, question: Ask) -> None:
    """Silence, an end in the middle, and a byte now and then, each have their error."""
    from taggerd import settings  # noqa: PLC0415 - used here only
    from taggerd.inference import Backend as Made  # noqa: PLC0415

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def torn(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        await writer.drain()
        writer.close()

    async def dripping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
        for _ in range(100):
            writer.write(b" ")
            await asyncio.sleep(0.02)
        writer.close()

    cases: list[tuple[Any, type[BackendError], float]] = [
        (silent, BackendTimeout, 0.3),
        (torn, BackendFailed, 60),
        (dripping, BackendTimeout, 0.3),
    ]
    for serve, kind, seconds in cases:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        options = settings.Backend(
            base_url=f"http://127.0.0.1:{port}/v1", model="eye", timeout_seconds=seconds
        )
        backend = Made(options)
        with pytest.raises(kind) as caught:
            await answers(backend, picture, question())
        assert type(caught.value) is kind
        await backend.close()
        server.close()


async def test_nothing_listening_is_told_with_address_and_advice(
    picture: Picture, question: Ask
) -> None:
    """The message names the address, the reason and what to look at."""
    from taggerd import settings  # noqa: PLC0415 - used here only
    from taggerd.inference import Backend as Made  # noqa: PLC0415

    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    backend = Made(settings.Backend(base_url=f"http://127.0.0.1:{port}/v1", model="eye"))
    with pytest.raises(BackendUnreachable) as caught:
        await answers(backend, picture, question())
    assert str(caught.value) == (
        f"cannot connect to http://127.0.0.1:{port}/v1: connection refused; is the backend running?"
    )
    await backend.close()


async def test_the_body_is_what_json_would_make_of_it(
    scripted: type[Scripted], say: Say, picture: Picture, question: Ask
) -> None:
    """Quotes, braces and any script in prompts survive the assembly as bytes."""
    server = scripted([say("A boat")])
    strange = 'Say {"keywords": ["…"]} \\ "quoted"\n桜'
    await answers(server.backend(), picture, question(prompt=strange, system=strange))
    body = json.loads(server.requests[0].content)
    assert body["messages"][0]["content"] == strange
    assert body["messages"][1]["content"][1]["text"] == strange


async def test_generation_settings_are_sent_where_they_are_set(
    scripted: type[Scripted], say: Say, picture: Picture, question: Ask
) -> None:
    """Without top_p nothing of it is sent; a repeated question is never asked as calmly again."""
    replies = iter(["", "A boat on a lake", "A boat on a lake"])
    server = scripted(reply=lambda _body: say(next(replies)))
    backend = server.backend()
    asked = question(temperature=0.0, top_p=0.5, max_tokens=50)
    assert [answer async for answer in backend.describe(picture, [asked])]
    assert [answer async for answer in backend.describe(picture, [question()])]
    first, again, usual = server.chats
    assert (first["temperature"], first["top_p"], first["max_tokens"]) == (0.0, 0.5, 50)
    assert (again["temperature"], again["top_p"]) == (0.7, 0.5)
    assert (usual["temperature"], "top_p" in usual) == (0.2, False)


async def test_a_top_p_that_is_refused_is_left_out_from_then_on(
    scripted: type[Scripted], say: Say, picture: Picture, question: Ask
) -> None:
    """It is learnt like the other fields, and the temperature stays."""

    def reply(body: dict[str, Any]) -> httpx.Response:
        text = "`temperature` and `top_p` cannot both be specified for this model."
        return error(400, text) if "top_p" in body else say("A boat on a lake")

    server = scripted(reply=reply)
    backend = server.backend()
    for _ in range(2):
        assert [a async for a in backend.describe(picture, [question(top_p=0.5)])]
    assert ["top_p" in body for body in server.chats] == [True, False, False]
    assert all("temperature" in body for body in server.chats)
    assert list(backend.learnt.values()) == ["no top_p"]
