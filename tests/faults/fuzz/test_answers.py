"""Whatever a backend sends: an answer that may be written, or one of our errors on one line."""

from __future__ import annotations

import asyncio
import json
import unicodedata
from typing import TYPE_CHECKING

import httpx
import pytest
from hypothesis import strategies as st
from structlog.testing import capture_logs
from support.fuzzing import explore, nearly, runs

from taggerd import settings
from taggerd.errors import AnswerError, BackendError, PhotoRefused
from taggerd.inference.backend import Backend
from taggerd.inference.keyword_forms import LONGEST_KEYWORD, MOST_KEYWORDS
from taggerd.inference.questions import Question
from taggerd.photo import Picture, Stamp

if TYPE_CHECKING:
    from taggerd.inference.profiles import Wants
    from taggerd.photo import Answer

PICTURE = Picture(
    jpeg=b"a picture", width=8, height=8, thumbnail=b"", digest="d", stamp=Stamp(1, 2, 3, 4)
)
CONTENTS = [
    "Two dogs run over wet sand.",
    '{"caption": "Two dogs on a beach"}',
    '["dog", "beach"]',
    '{"keywords": [{"keyword": "dog", "score": 0.9}, {"keyword": "sea", "score": "80%"}]}',
    "- dog (0.9)\n- beach: 80%\n* sand",
    '<think>hm</think>\n```json\n{"caption": "x y"}\n```',
    "Sure! Here is a caption for the photo: **Two dogs**",
    "dog, beach; sea | sand",
    "#dog #beach",
    "['dog', 'beach'",
    '{"caption": "Two \\"dogs\\" on',
    "I'm sorry, I can't see the image.",
    "<|channel|>analysis<|message|>hm<|channel|>final<|message|>Two dogs",
]
TOKENS = [
    "`",
    "```",
    "```json\n",
    "{",
    "}",
    "[",
    "]",
    '"',
    '\\"',
    "\\u0000",
    "\\ud800",
    ":",
    ",",
    "\n",
    "<think>",
    "</think>",
    "◁think▷",
    "<|channel|>",
    "<|channel|>final<|message|>",
    "null",
    "1e999",
    "Caption:",
    "**",
    "__",
    "*",
    "- ",
    "1. ",
    "(0.9)",
    "90%",
    "#",
    "'",
    "“",
    "”",
    "\r",
    "\t",
    "NaN",
    "\u202e",
    "\ufeff",
    "\0",
    "e\u0301",
    "\u0301" * 40,
    "{" * 500,
    "[" * 900,
    " " * 300,
    "9" * 300,
    "keywords",
    "caption",
    '{"text":',
    "true",
    "Infinity",
    "\ud83d",
    "i cannot",
    "\u2028",
]
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "content-type": st.sampled_from(["application/json", "text/html", "x" * 99, ""]),
        "retry-after": st.one_of(
            st.sampled_from(["5", "-1", "1e999", "nan", "Wed, 21 Oct 2015 07:28:00 GMT", "1_0"]),
            st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30),
        ),
        "location": st.sampled_from(["/v1", "http://[", "?" * 9]),
    },
)


def _question(role: str, wants: Wants) -> Question:
    return Question(
        role=role,
        model="eye",
        system="You describe photographs for a photo library.",
        prompt=f"Write the {role} for this photo in plain words of your own please.",
        max_tokens=100,
        wants=wants,
    )


QUESTIONS = [_question("caption", "text"), _question("keywords", "keywords")]


async def _asked(reply: httpx.Response) -> tuple[list[Answer], list[str]]:
    """Return the answers that are taken, and why the others are not."""
    options = settings.Backend(base_url="http://backend.test/v1", model="eye")
    found: list[Answer] = []
    said: list[str] = []
    for question in QUESTIONS:
        transport = httpx.MockTransport(
            lambda _: httpx.Response(
                reply.status_code, headers=reply.headers, content=reply.content
            )
        )
        backend = Backend(options, transport=transport, wall_clock=lambda: 1_750_000_000.0)
        try:
            found += [answer async for answer in backend.describe(PICTURE, [question])]
        except (AnswerError, BackendError, PhotoRefused) as error:
            said.append(str(error))
        finally:
            await backend.close()
    return found, said


def check(given: tuple[int, dict[str, str], bytes]) -> None:
    """Ask for a text and for keywords; what is taken must be fit to be written into XML."""
    status, headers, body = given
    with capture_logs():  # what is asked again would be logged thousands of times
        reply = httpx.Response(status, headers=headers, content=body)
        answers, refusals = asyncio.run(_asked(reply))
    for said in refusals:
        assert len(said) < 1000
        assert "\n" not in said
        said.encode()
    for answer in answers:
        words = [keyword.word for keyword in answer.keywords]
        assert len(words) <= MOST_KEYWORDS
        assert all(0 < len(word) <= LONGEST_KEYWORD for word in words)
        assert all(0 <= (k.score or 0) <= 1 for k in answer.keywords)
        for text in (answer.text, *words):
            assert text == unicodedata.normalize("NFC", " ".join(text.split()))
            assert not any(unicodedata.category(c) in {"Cc", "Cs"} for c in text)


def _chat(content: object) -> bytes:
    choice = {"message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    return json.dumps({"model": "eye", "choices": [choice]}).encode()


def _json(leaves: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    keys = st.sampled_from(
        [
            "choices",
            "message",
            "content",
            "text",
            "error",
            "detail",
            "usage",
            "refusal",
            "model",
            "prompt_tokens",
            "keywords",
            "score",
            "keyword",
            "finish_reason",
            "reasoning",
            "loc",
            "msg",
        ]
    )
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, max_size=4), st.dictionaries(keys, inner, max_size=4)
        ),
        max_leaves=12,
    )


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from(CONTENTS + TOKENS),
    st.text(max_size=20),
)
SAID = nearly(
    [content.encode() for content in CONTENTS], [t.encode("utf-8", "replace") for t in TOKENS]
).map(lambda data: data.decode("utf-8", "surrogateescape"))
PUT_TOGETHER = st.lists(st.sampled_from(CONTENTS + TOKENS), max_size=10).map("".join)
SERVED = [_chat(c) for c in CONTENTS] + [
    b'{"error": {"message": "model not found", "code": 404}}',
    b"<!doctype html><p>nginx</p>",
    b'{"detail": [{"loc": ["body", "messages"], "msg": "field required"}]}',
]
BODIES = nearly(SERVED, [t.encode("utf-8", "replace") for t in TOKENS])
REPLIES: st.SearchStrategy[tuple[int, dict[str, str], bytes]] = st.one_of(
    st.tuples(st.just(200), st.just({}), SAID.map(_chat)),
    st.tuples(st.just(200), st.just({}), PUT_TOGETHER.map(_chat)),
    st.tuples(st.just(200), st.just({}), _json(LEAVES).map(_chat)),
    st.tuples(st.integers(200, 599), HEADERS, BODIES),
    st.tuples(st.integers(200, 599), HEADERS, _json(LEAVES).map(lambda v: json.dumps(v).encode())),
)


@runs(150, 3_000)
def test_any_reply(examples: int) -> None:
    """Any content, any JSON, any bytes, with any status."""
    explore(check, REPLIES, examples)


@pytest.mark.long
def test_towers_and_deserts() -> None:
    """What takes the square of its length, or a stack, where it is taken apart without care.

    No time is measured here; without that care this test would take minutes.
    """
    length = 65_000
    hostile = [
        "`" * length,
        "{" * length,
        "<think>" * 9000,
        "*a " * 20_000,
        "[" * 800 + '"a"' + "]" * 800,
        "Caption" + " " * length + "x",
        "a: " + "1" * length + "x",
        "a" + " " * length + "b",
        "a" + "\u0301\u0327" * (length // 2),
        '{"a":' * 450 + '"x"' + "}" * 450,
        "a, " * 20_000,
        "```\n" * 15_000,
        '["' + "a" * length,
        "\u0301" * length,
        "__a " * 15_000,
        "-1" * 30_000,
    ]
    for content in hostile:
        check((200, {}, _chat(content)))
    for content in ("`" * length, "\u0301\u0327" * length):
        check((500, {}, json.dumps({"error": content * 10}).encode()))
    deep: object = "a"
    for _ in range(450):
        deep = [{"text": deep}]
    check((200, {}, _chat(deep)))
