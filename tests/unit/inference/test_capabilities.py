"""What an endpoint has taught is kept over restarts, until it is another."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from taggerd.inference.dialect import Dialect
from taggerd.ledger import SqliteLedger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from support.scripted import Scripted

    from taggerd.inference.backend import Backend
    from taggerd.inference.questions import Question
    from taggerd.photo import Picture

    Say = Callable[..., httpx.Response]
    Ask = Callable[..., Question]


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[SqliteLedger]:
    """Return a real ledger."""
    opened = await SqliteLedger.open(tmp_path)
    yield opened
    await opened.close()


def picky(say: Say, wanted: str = "max_completion_tokens") -> Callable[..., httpx.Response]:
    """Return a server that takes one name of the token limit only."""

    def reply(body: dict[str, Any]) -> httpx.Response:
        if wanted not in body:
            other = {"max_tokens", "max_completion_tokens"} - {wanted}
            text = f"Unsupported parameter: {other.pop()}"
            return httpx.Response(400, json={"error": {"message": text}})
        return say("A boat")

    return reply


async def ask(backend: Backend, picture: Picture, question: Question) -> None:
    """Ask one question."""
    assert [a.text async for a in backend.describe(picture, [question])] == ["A boat"]


async def test_the_next_life_asks_in_the_form_that_was_learnt(
    scripted: type[Scripted], say: Say, picture: Picture, question: Ask, ledger: SqliteLedger
) -> None:
    """One request refused in the first life, none in the second; another address starts again."""
    for number, base_url in enumerate(["http://a.test/v1", "http://a.test/v1", "http://b.test/v1"]):
        server = scripted(reply=picky(say))
        backend = server.backend(base_url=base_url)
        backend.remember(ledger)
        await ask(backend, picture, question())
        assert len(server.chats) == (2, 1, 2)[number]
        assert backend.learnt == {"eye": "max_completion_tokens"}


@pytest.mark.parametrize("changed", ["server", "models", "version"])
async def test_a_server_that_changed_is_learnt_again(
    scripted: type[Scripted],
    say: Say,
    picture: Picture,
    question: Ask,
    ledger: SqliteLedger,
    changed: str,
) -> None:
    """Another Server header, another listing or another version in a header: nothing is known."""
    for life in range(2):
        server = scripted(reply=picky(say))
        new = life == 1
        headers = {
            "server": "uvicorn" if new and changed == "server" else "ollama",
            "x-litellm-version": "2" if new and changed == "version" else "1",
        }
        models = ["eye", "other"] if new and changed == "models" else ["eye"]
        listing = json.dumps({"data": [{"id": model} for model in models]})
        server.listing = httpx.Response(200, content=listing, headers=headers)
        backend = server.backend()
        backend.remember(ledger)
        await backend.list_models()
        await ask(backend, picture, question())
        assert len(server.chats) == 2


async def test_what_was_learnt_and_is_refused_now_is_forgotten(
    scripted: type[Scripted], say: Say, picture: Picture, question: Ask, ledger: SqliteLedger
) -> None:
    """In the same life and in the next one, a server that takes the usual form again gets it."""
    server = scripted(reply=picky(say))
    backend = server.backend()
    backend.remember(ledger)
    await ask(backend, picture, question())
    server.reply = picky(say, "max_tokens")
    await ask(backend, picture, question())
    assert backend.learnt == {}
    server.reply = picky(say)
    await ask(backend, picture, question())
    server.reply = picky(say, "max_tokens")
    later = server.backend()
    later.remember(ledger)
    await ask(later, picture, question())
    assert later.learnt == {}
    assert await ledger.recall(f"dialects {later.base_url}") == {
        "server": "",
        "models": {},
    }


async def test_a_bad_picture_does_not_make_it_forget(
    scripted: type[Scripted], say: Say, picture: Picture, question: Ask, ledger: SqliteLedger
) -> None:
    """A 400 that names nothing of what was learnt costs one request, and the lesson stays."""
    from taggerd.errors import PhotoRefused  # noqa: PLC0415 - used here only

    server = scripted(reply=picky(say))
    backend = server.backend()
    backend.remember(ledger)
    await ask(backend, picture, question())
    server.reply = lambda _: httpx.Response(400, json={"error": {"message": "bad image"}})
    before = len(server.chats)
    with pytest.raises(PhotoRefused):
        await ask(backend, picture, question())
    assert len(server.chats) == before + 1
    assert backend.learnt == {"eye": "max_completion_tokens"}


@pytest.mark.parametrize(
    "kept",
    [
        None,
        {"tokens": "max_tokens"},
        {**Dialect().to_json(), "tokens": "max_words"},
        {**Dialect().to_json(), "more": True},
        [1],
    ],
)
def test_what_another_version_kept_is_no_dialect(kept: object) -> None:
    """Too little, too much, or unknown values are not known."""
    assert Dialect.of_json(kept) is None


def test_a_dialect_comes_back_as_it_was_kept() -> None:
    """Through JSON and back."""
    learnt = Dialect(json="none", temperature=False, thinking="allowed")
    assert Dialect.of_json(json.loads(json.dumps(learnt.to_json()))) == learnt
