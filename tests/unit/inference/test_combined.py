"""Several roles asked in one request, and what happens where a model cannot."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from taggerd.errors import AnswerRejected, PhotoRefused
from taggerd.inference.answers import split_combined
from taggerd.inference.completion import Completion
from taggerd.inference.profiles import load_profile
from taggerd.inference.questions import combinable, combine, questions
from taggerd.settings import Roles

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.scripted import Scripted

    from taggerd.inference.backend import Backend
    from taggerd.inference.capabilities import Json
    from taggerd.inference.questions import Question
    from taggerd.photo import Answer, Picture

    Say = Callable[..., httpx.Response]

ALL = {"caption": "A red boat", "keywords": ["boat", "lake"], "description": "A boat lies there."}
ALONE = {"caption": "A red boat", "keywords": '{"keywords": ["boat"]}', "description": "It lies."}


def asked(model: str = "eye", **own: Any) -> tuple[Question, ...]:  # noqa: ANN401 - settings' tables
    """Return the questions of the default profile."""
    roles = Roles.model_validate(own)
    made = questions(roles, load_profile("default"), model, 15)
    return tuple(question.ready({}, {"date": "June 2024"}) for question in made)


async def answers(backend: Backend, picture: Picture, given: tuple[Question, ...]) -> list[Answer]:
    """Ask, and return what came."""
    return [answer async for answer in backend.describe(picture, given)]


def kind(body: dict[str, Any]) -> str:
    """Return which role a request asks for, or that it asks for all."""
    text = body["messages"][-1]["content"][-1]["text"]
    if "one JSON object" in text:
        return "combined"
    words = {"caption": "Write a caption", "keywords": "List up to", "description": "Describe"}
    return next(role for role, word in words.items() if word in text)


def server(scripted: type[Scripted], say: Say, together: Callable[[], Any]) -> Scripted:
    """Answer a combined request by *together*, and each role alone as usual."""

    def reply(body: dict[str, Any]) -> httpx.Response:
        if kind(body) != "combined":
            return say(ALONE[kind(body)])
        answer = together()
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx.Response) else say(answer)

    return scripted(reply=reply)


async def test_one_request_answers_all_roles(
    scripted: type[Scripted], say: Say, picture: Picture
) -> None:
    """A schema with every role's key; each answer cleaned, with its share of what it cost."""
    here = server(scripted, say, lambda: json.dumps(ALL))
    given = asked()
    came = await answers(here.backend(request_mode="combined"), picture, given)
    (body,) = here.chats
    schema = body["response_format"]["json_schema"]["schema"]
    assert schema["required"] == ["caption", "keywords", "description"]
    assert schema["properties"]["keywords"]["type"] == "array"
    assert body["max_tokens"] == sum(question.max_tokens for question in given)
    text = body["messages"][-1]["content"][-1]["text"]
    assert text.startswith("Hints from the file")
    assert "alone" not in text
    assert [(a.role, a.text) for a in came] == [
        ("caption", "A red boat"),
        ("keywords", ""),
        ("description", "A boat lies there."),
    ]
    assert [k.word for k in came[1].keywords] == ["boat", "lake"]
    assert [a.question for a in came] == [q.identity for q in given]
    assert [a.requests for a in came] == [0, 0, 1]
    assert sum(a.prompt_tokens for a in came) == 300
    assert sum(a.completion_tokens for a in came) == 7


async def test_questions_of_other_models_are_asked_apart(
    scripted: type[Scripted], say: Say, picture: Picture
) -> None:
    """Roles of one model go together, a role with a model of its own goes alone."""
    here = server(scripted, say, lambda: json.dumps(ALL))
    backend = here.backend(request_mode="combined")
    came = await answers(backend, picture, asked(keywords={"model": "other"}))
    assert [(body["model"], kind(body)) for body in here.chats] == [
        ("eye", "combined"),
        ("other", "keywords"),
    ]
    assert {a.role for a in came} == {"caption", "keywords", "description"}
    assert combinable([]) == []


@pytest.mark.parametrize(
    "bad",
    [
        json.dumps({"caption": "A red boat", "keywords": ["boat"]}),
        json.dumps({**ALL, "description": ""}),
        json.dumps({**ALL, "keywords": []}),
        "A red boat on a lake, a calm evening.",
        '["A red boat"]',
        httpx.Response(400, json={"error": {"message": "no"}}),
        httpx.Response(422, json={"error": {"message": "response_format is not supported"}}),
        httpx.Response(500, json={"error": {"message": "out of memory"}}),
        httpx.ReadTimeout("too long an answer"),
    ],
)
async def test_a_model_that_cannot_is_asked_role_by_role_and_that_is_kept(
    scripted: type[Scripted], say: Say, picture: Picture, bad: object
) -> None:
    """What lacks is asked alone at once; after the second time nothing is asked together."""
    here = server(scripted, say, lambda: bad)
    memory = Notes()
    backend = here.backend(request_mode="combined")
    backend.remember(memory)
    for number in range(3):
        here.requests.clear()
        came = await answers(backend, picture, asked())
        assert {a.role for a in came} == {"caption", "keywords", "description"}
        assert ("combined" in map(kind, here.chats)) is (number < 2)
    here.requests.clear()
    later = here.backend(request_mode="combined")  # after a restart
    later.remember(memory)
    await answers(later, picture, asked())
    assert [kind(body) for body in here.chats] == ["caption", "keywords", "description"]


async def test_once_is_no_reason_to_give_up(
    scripted: type[Scripted], say: Say, picture: Picture
) -> None:
    """A whole answer in between restarts the count."""
    replies = iter(["no", json.dumps(ALL), "no", json.dumps(ALL)])
    here = server(scripted, say, lambda: next(replies))
    backend = here.backend(request_mode="combined")
    for _ in range(4):
        await answers(backend, picture, asked())
    assert [kind(body) for body in here.chats].count("combined") == 4


async def test_pictures_that_are_refused_are_no_reason_to_give_up(
    scripted: type[Scripted], say: Say, picture: Picture
) -> None:
    """A picture that is refused either way says nothing of what the model can."""
    bad = httpx.Response(400, json={"error": {"message": "cannot identify image file"}})
    replies = iter([json.dumps(ALL)])
    here = scripted(reply=lambda _: bad)
    backend = here.backend(request_mode="combined")
    for _ in range(3):
        with pytest.raises(PhotoRefused):
            await answers(backend, picture, asked())
    here.reply = lambda _: say(next(replies))
    here.requests.clear()
    assert len(await answers(backend, picture, asked())) == 3
    assert len(here.chats) == 1


async def test_one_bad_part_is_asked_again_alone(
    scripted: type[Scripted], say: Say, picture: Picture
) -> None:
    """A refusal under one key costs a request for that role; the others are taken as they are."""
    bad = {**ALL, "caption": "I'm sorry, I can't assist with that."}
    here = server(scripted, say, lambda: json.dumps(bad))
    came = await answers(here.backend(request_mode="combined"), picture, asked())
    assert [kind(body) for body in here.chats] == ["combined", "caption"]
    assert {a.role: a.text for a in came}["caption"] == "A red boat"


async def test_an_answer_held_back_names_its_role(
    scripted: type[Scripted], say: Say, picture: Picture
) -> None:
    """So that the record can keep what was said under it."""
    here = scripted(reply=lambda _: say("I'm sorry, I can't assist with that."))
    with pytest.raises(AnswerRejected) as caught:
        await answers(here.backend(), picture, asked()[1:])
    assert (caught.value.role, caught.value.raw[:9]) == ("keywords", "I'm sorry")


async def test_the_prefix_through_the_picture_is_the_same_in_both_modes(
    scripted: type[Scripted], say: Say, picture: Picture
) -> None:
    """Whatever is told of the photo comes after the picture, so that a cache holds it."""
    here = server(scripted, say, lambda: "no")
    await answers(here.backend(request_mode="combined"), picture, asked())
    bodies = [request.content for request in here.requests if request.method == "POST"]
    ends = [body.index(b'"}},{"type":"text"') for body in bodies]
    assert len(bodies) == 4
    assert len({body[:end] for body, end in zip(bodies, ends, strict=True)}) == 1
    assert all(b"June 2024" not in body[:end] for body, end in zip(bodies, ends, strict=True))


@pytest.mark.parametrize(
    ("content", "roles"),
    [
        ('{"Caption": "A", "KEYWORDS": "a, b", "description": "C"}', 3),
        ('```json\n{"caption": "A", "keywords": [], "description": null}\n```', 1),
        ('<think>{"caption": "B"}</think>{"caption": "A"}', 1),
        ("", 0),
        ("[1, 2]", 0),
    ],
)
def test_parts_are_found_in_any_wrapping(content: str, roles: int) -> None:
    """Keys in any case, in fences, after thoughts; shares add up whatever came."""
    whole = Completion(content=content, prompt_tokens=100, completion_tokens=11, seconds=2.0)
    parts = split_combined(combine(asked()), whole)
    assert len(parts) == roles
    if roles:
        assert parts["caption"].content == "A"
        assert sum(p.prompt_tokens for p in parts.values()) == 100
        assert sum(p.completion_tokens for p in parts.values()) == 11
        assert sum(p.seconds for p in parts.values()) == pytest.approx(2.0)


class Notes:
    """What is kept over restarts."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._kept: dict[str, Json] = {}

    async def note(self, key: str, value: Json) -> None:
        """Keep *value*."""
        self._kept[key] = json.loads(json.dumps(value))

    async def recall(self, key: str) -> Json:
        """Return what was kept."""
        return self._kept.get(key)
