"""The questions about one photo: one after the other, and when several are sent at once."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from taggerd import settings
from taggerd.errors import BackendUnreachable
from taggerd.inference import Backend
from taggerd.inference.capabilities import Prefixes
from taggerd.inference.completion import Completion
from taggerd.inference.concurrency import Rank

if TYPE_CHECKING:
    from collections.abc import Callable

    from taggerd.inference.questions import Question
    from taggerd.photo import Answer, Picture

    Say = Callable[..., httpx.Response]
    Ask = Callable[..., Question]

ROLES = ("caption", "keywords", "description")


@dataclass
class Server(httpx.AsyncBaseTransport):
    """A server that answers when the test says so, by a clock that the test puts forward."""

    say: Say
    now: float = 0.0
    waiting: dict[str, asyncio.Future[httpx.Response]] = field(default_factory=dict)
    """The answer to come, by photo and role."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Wait for the test."""
        system, user = json.loads(request.content)["messages"]
        assert system["role"] == "system"
        url, text = user["content"]
        role = next(role for role in ROLES if role in text["text"])
        key = f"{len(url['image_url']['url'])} {role}"
        self.waiting[key] = asyncio.get_running_loop().create_future()
        try:
            response = await self.waiting[key]
        finally:
            del self.waiting[key]
        response.request = request
        return response

    @property
    async def asked(self) -> list[str]:
        """What waits for an answer, once all is sent that can be."""
        for _ in range(50):
            await asyncio.sleep(0)
        return list(self.waiting)

    async def answer(self, key: str, seconds: float = 1.0, **usage: Any) -> list[str]:  # noqa: ANN401 - any JSON
        """Answer, and return what waits then."""
        self.now += seconds
        role = key.partition(" ")[2]
        body = json.loads(self.say('["boat"]' if role == "keywords" else f"A {role} of it").text)
        body["usage"] |= usage
        self.waiting[key].set_result(httpx.Response(200, json=body))
        return await self.asked


@dataclass
class Site:
    """A server, the backend that asks it, and photos to ask about."""

    server: Server
    backend: Backend
    picture: Picture
    question: Ask
    tasks: list[asyncio.Task[list[Answer]]] = field(default_factory=list)

    def photo(self, number: int) -> str:
        """Ask about another photo; return what its requests are known by."""
        picture = replace(self.picture, jpeg=self.picture.jpeg + bytes(3 * number))
        asked = [self.question(role) for role in ROLES]

        async def ask() -> list[Answer]:
            said: list[Answer] = []
            self.heard.append(said)
            async for answer in self.backend.describe(picture, asked):
                said.append(answer)  # noqa: PERF401 - what was given before an error counts
            return said

        self.tasks.append(asyncio.create_task(ask()))
        return str(len("data:image/jpeg;base64,") + 4 * -(-len(picture.jpeg) // 3))

    heard: list[list[Answer]] = field(default_factory=list)

    async def one_by_one(self, number: int, *seconds: float, **usage: int) -> None:
        """Ask about a photo and answer its questions, the first before the second is sent."""
        name = self.photo(number)
        for role, took in zip(ROLES, seconds, strict=True):
            assert await self.server.asked == [f"{name} {role}"]
            await self.server.answer(f"{name} {role}", took, **usage)


@pytest.fixture
def site(say: Say, picture: Picture, question: Ask) -> Callable[..., Site]:
    """Make a backend that takes four requests at once."""

    def make(**options: Any) -> Site:  # noqa: ANN401 - settings of several types
        server = Server(say)
        given = {"base_url": "http://backend.test/v1", "model": "eye", "max_concurrency": 4}
        backend = Backend(
            settings.Backend(**(given | options)), transport=server, clock=lambda: server.now
        )
        return Site(server, backend, picture, question)

    return make


async def test_the_last_photos_requests_take_permits_that_lie_idle(
    site: Callable[..., Site],
) -> None:
    """Three at once, also where the last other photo ended while the first was on its way."""
    one = site()
    await one.one_by_one(1, 1.0, 1.0, 1.0)
    name = one.photo(2)
    assert await one.server.asked == [f"{name} caption"], "another photo may need the others"
    one.backend.last_photos(1)
    assert await one.server.asked == [f"{name} {role}" for role in ROLES]
    await one.server.answer(f"{name} description")
    assert [answer.role for answer in one.heard[1]] == ["description"], "given as it comes"
    for role in ROLES[:2]:
        await one.server.answer(f"{name} {role}")
    assert len(await one.tasks[1]) == 3


async def test_photos_that_are_not_asked_about_yet_come_first(site: Callable[..., Site]) -> None:
    """A request that could wait gets what no photo's next one needs."""
    one = site(max_concurrency=2)
    await one.one_by_one(1, 1.0, 1.0, 1.0)
    names = [one.photo(number) for number in (2, 3, 4)]
    assert await one.server.asked == [f"{name} caption" for name in names[:2]]
    one.backend.last_photos(1)
    asked = await one.server.answer(f"{names[0]} caption")
    assert asked == [f"{names[1]} caption", f"{names[2]} caption"]
    asked = await one.server.answer(f"{names[1]} caption")
    assert asked == [f"{names[2]} caption", f"{names[0]} keywords"], "begun: before those to spare"
    for task in one.tasks:
        task.cancel()
    await asyncio.gather(*one.tasks, return_exceptions=True)
    assert one.backend.limit.in_flight == 0


@pytest.mark.parametrize("between", [0, None])
async def test_more_photos_than_permits_need_no_trial(
    site: Callable[..., Site], between: int | None
) -> None:
    """Those that come later wait in any case, and show what the order saves; to the very last."""
    one = site()
    for number, left in ((1, 5), (2, 4), (3, 1)):
        one.backend.last_photos(left)
        name = one.photo(number)
        assert await one.server.asked == [f"{name} {role}" for role in ROLES]
        for role in ROLES:
            await one.server.answer(f"{name} {role}")
    one.backend.last_photos(between)
    one.backend.last_photos(4)
    await one.one_by_one(4, 1.0, 1.0, 1.0)


async def test_no_permit_is_kept_for_a_question_that_is_on_its_way(
    site: Callable[..., Site],
) -> None:
    """Beside another of its photo: without this a permit lay idle after each first answer."""
    one = site()
    one.backend.last_photos(5)
    first, second = one.photo(1), one.photo(2)
    asked = [f"{first} {role}" for role in ROLES]
    assert await one.server.asked == [*asked, f"{second} caption"]
    for role, other in pairwise(ROLES):
        assert f"{second} {other}" in await one.server.answer(f"{first} {role}")
    for task in one.tasks:
        task.cancel()
    await asyncio.gather(*one.tasks, return_exceptions=True)


async def test_a_photo_that_is_begun_is_finished_before_the_next(
    site: Callable[..., Site],
) -> None:
    """One permit, two photos: all of the first one's questions, then the second one's."""
    one = site(max_concurrency=1)
    first, second = one.photo(1), one.photo(2)
    order: list[str] = []
    while asked := await one.server.asked:
        (key,) = asked
        order.append(key)
        await one.server.answer(key)
    assert order == [f"{name} {role}" for name in (first, second) for role in ROLES]


@pytest.mark.parametrize(
    ("seconds", "usage"),
    [
        ((1.0, 0.3, 0.3), {}),
        ((1.0, 1.0, 1.0), {"prompt_tokens_details": {"cached_tokens": 290}}),
    ],
)
async def test_a_backend_that_keeps_the_picture_is_asked_one_by_one(
    site: Callable[..., Site], seconds: tuple[float, ...], usage: dict[str, int]
) -> None:
    """It is faster from the second question on, or says how much it had read: order saves that."""
    one = site()
    one.backend.last_photos(1)
    await one.one_by_one(1, *seconds, **usage)
    await one.one_by_one(2, *seconds, **usage)


async def test_with_a_budget_each_request_waits_for_the_one_before(
    site: Callable[..., Site],
) -> None:
    """It may end between any two."""
    one = site(budget_per_day="100 requests")
    one.backend.last_photos(1)
    await one.one_by_one(1, 1.0, 1.0, 1.0)
    await one.one_by_one(2, 1.0, 1.0, 1.0)


async def test_what_is_on_its_way_beside_a_failure_is_not_lost(site: Callable[..., Site]) -> None:
    """It is paid for: its answer comes before the error; what was not sent never is."""
    one = site(max_concurrency=2)
    await one.one_by_one(1, 1.0, 1.0, 1.0)
    one.backend.last_photos(1)
    name = one.photo(2)
    assert await one.server.asked == [f"{name} caption", f"{name} keywords"]
    one.backend.last_photos(None)
    one.server.waiting[f"{name} caption"].set_exception(httpx.ConnectError("gone"))
    assert await one.server.asked == [f"{name} keywords"]
    assert not one.tasks[1].done()
    assert await one.server.answer(f"{name} keywords") == []
    with pytest.raises(BackendUnreachable):
        await one.tasks[1]
    assert [answer.role for answer in one.heard[1]] == ["keywords"]


async def test_who_asks_no_longer_leaves_no_request_behind(site: Callable[..., Site]) -> None:
    """All requests of a photo end with the attempt at it."""
    one = site()
    await one.one_by_one(1, 1.0, 1.0, 1.0)
    one.backend.last_photos(1)
    one.photo(2)
    assert len(await one.server.asked) == 3
    one.tasks[1].cancel()
    assert await one.server.asked == []
    assert one.backend.limit.in_flight == 0


@pytest.mark.parametrize(
    ("later", "again"),
    [
        ([(60, 1.6), (120, 2.8)], True),  # 0.4 s for the picture, each time, and 20 ms a token
        ([(60, 1.2), (120, 2.4)], False),  # 0.4 s the first time alone
        ([(60, 1.2)], True),  # nothing tells yet what a token takes
        ([], None),
    ],
)
def test_answers_of_other_lengths_are_compared_by_the_time_a_token_takes(
    later: list[tuple[int, float]], again: bool
) -> None:
    """Keywords are longer than a caption: without this a kept picture would not show."""
    prefixes = Prefixes()
    prefixes.took(Rank.NEW, Completion(content="", completion_tokens=20, seconds=0.8))
    for tokens, seconds in later:
        prefixes.took(Rank.BEGUN, Completion(content="", completion_tokens=tokens, seconds=seconds))
    prefixes.took(Rank.SPARE, Completion(content="", completion_tokens=60, seconds=0.01))
    assert prefixes.are_read_again is again
