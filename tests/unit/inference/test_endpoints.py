"""Several endpoints: where each question goes, and what happens to those that fail."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections import Counter
from dataclasses import dataclass, field, replace
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from pydantic import SecretStr

from taggerd import settings
from taggerd.errors import (
    BackendBusy,
    BackendError,
    BackendUnreachable,
    FailsOnThisPhoto,
    PhotoRefused,
)
from taggerd.inference import Backend, InferenceService, load_profile
from taggerd.inference.endpoint import control_picture
from taggerd.inference.preflight import COLOURS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from taggerd.inference.endpoint import Endpoint
    from taggerd.photo import Answer, Picture

    Say = Callable[..., httpx.Response]

ONE, TWO = "http://one.test/v1", "http://two.test/v1"


PROBES = {
    colour: b64encode(
        files("taggerd").joinpath("data", "probes", f"{colour}.jpg").read_bytes()
    ).decode()
    for colour in COLOURS
}
"""Preflight's pictures."""


def asks_about_a_photo(body: Mapping[str, Any]) -> bool:
    """Preflight's requests have no system text."""
    return bool(body["messages"][0]["role"] == "system")


@dataclass
class Host(httpx.AsyncBaseTransport):
    """A server that sees what it is shown, until a test says otherwise."""

    say: Say
    model: str = "eye"
    fault: Callable[[dict[str, Any]], httpx.Response | None] = lambda _: None
    down: bool = False
    requests: list[httpx.Request] = field(default_factory=list)
    pause: int = 1

    @property
    def photos(self) -> Counter[str]:
        """How many questions were asked about each picture of a user."""
        bodies = [json.loads(r.content) for r in self.requests if r.method == "POST"]
        return Counter(
            body["messages"][1]["content"][0]["image_url"]["url"]
            for body in bodies
            if asks_about_a_photo(body)
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer."""
        self.requests.append(request)
        for _ in range(self.pause):
            await asyncio.sleep(0)
        response = self._answer(request)
        response.request = request
        return response

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if self.down:
            message = "refused"
            raise httpx.ConnectError(message)
        if request.method == "GET":
            return httpx.Response(200, json={"data": [{"id": self.model}]})
        body = json.loads(request.content)
        if (fault := self.fault(body)) is not None:
            return fault
        if not asks_about_a_photo(body):
            return self.say(next((c for c in PROBES if PROBES[c] in str(body)), "ready"))
        return self.say('{"keywords": ["boat"], "caption": "A boat on a lake at noon"}')


@dataclass
class Cluster:
    """Two hosts, and what asks them."""

    one: Host
    two: Host
    service: InferenceService
    slept: list[float]

    async def ask(self, picture: Picture) -> list[Answer]:
        """Ask all the questions about a picture."""
        return [a async for a in self.service.describe(picture, self.service.questions)]


@pytest.fixture
def cluster(say: Say) -> Callable[..., Cluster]:
    """Make two hosts."""

    def make(*, preflight: bool = False, **given: Any) -> Cluster:  # noqa: ANN401 - InferenceService's
        slept: list[float] = []

        async def sleep(seconds: float) -> None:
            slept.append(seconds)
            await asyncio.sleep(0)

        hosts = {ONE: Host(say), TWO: Host(say, model="eye2")}
        own = settings.Settings(backend=settings.Backend(preflight=preflight))
        backends = {
            url: Backend(settings.Backend(base_url=url, max_concurrency=2), transport=host)
            for url, host in hosts.items()
        }
        service = InferenceService(
            own, load_profile("default", None), backends, **({"sleep": sleep} | given)
        )
        return Cluster(hosts[ONE], hosts[TWO], service, slept)

    return make


@pytest.fixture
def pictures(jpeg: Callable[..., bytes], picture: Picture) -> list[Picture]:
    """Ten pictures."""
    return [replace(picture, jpeg=jpeg((n * 25, 90, 200))) for n in range(10)]


async def test_all_questions_about_a_photo_go_to_one_endpoint_and_photos_to_both(
    cluster: Callable[..., Cluster], pictures: list[Picture]
) -> None:
    """Three questions each, never shared out; the photos go where the load is least."""
    here = cluster()
    assert await here.service.probe() is None
    for host in (here.one, here.two):
        host.requests.clear()
    answers = await asyncio.gather(*map(here.ask, pictures))
    assert all(len(given) == 3 for given in answers)
    assert set(here.one.photos.values()) | set(here.two.photos.values()) == {3}
    assert len(here.one.photos) == len(here.two.photos) == 5
    await here.service.close()


async def test_to_the_ledger_it_is_one_question_wherever_it_is_asked(
    cluster: Callable[..., Cluster], pictures: list[Picture]
) -> None:
    """The answer names the model that gave it, and the question as it is known everywhere."""
    here = cluster()
    await here.service.probe()
    asked = [question.identity for question in here.service.questions]
    for _ in range(4):
        given = await asyncio.gather(here.ask(pictures[0]), here.ask(pictures[1]))
        assert [[a.question for a in answers] for answers in given] == [asked, asked]
    bodies = [json.loads(r.content) for r in here.two.requests if r.method == "POST"]
    assert {body["model"] for body in bodies} == {"eye2"}
    await here.service.close()


async def test_a_dead_one_is_left_out_and_probed_back(
    cluster: Callable[..., Cluster], pictures: list[Picture]
) -> None:
    """Photos go on at the other; when the dead one answers again it gets its share."""
    here = cluster()
    await here.service.probe()
    here.one.down = True
    with pytest.raises(BackendUnreachable):
        await here.ask(pictures[0])
    assert here.service.error is None, "the other is usable"
    for picture in pictures:
        assert len(await here.ask(picture)) == 3
    here.one.down = False
    await asyncio.wait_for(_until(lambda: here.service.endpoints[0].usable), 180)
    here.one.requests.clear()
    await asyncio.gather(*map(here.ask, pictures))
    assert here.one.photos
    await here.service.close()


async def test_requests_tokens_and_outages_are_counted(
    cluster: Callable[..., Cluster], pictures: list[Picture]
) -> None:
    """By how each request ended, probes included, and what the backend says that it cost."""
    here = cluster()
    await here.service.probe()
    one = here.service.endpoints[0]
    spent = one.backend.traffic.tokens["completion"]
    here.two.down = True
    ended = await asyncio.gather(*map(here.ask, pictures[:2]), return_exceptions=True)
    assert [type(each) for each in ended] == [list, BackendUnreachable]
    two = here.service.endpoints[1]
    assert (one.health.outages, two.health.outages) == (0, 1)
    counted = one.backend.traffic.requests
    assert counted["answered"] == sum(request.method == "POST" for request in here.one.requests)
    assert sum(counted.values()) == counted["answered"]
    assert two.backend.traffic.requests["answered"] > 0
    assert two.backend.traffic.requests["BackendUnreachable"] > 0
    await here.ask(pictures[0])
    assert one.backend.traffic.tokens["completion"] > spent
    await here.service.close()


async def _until(what: Callable[[], bool]) -> None:
    while not what():  # noqa: ASYNC110 - what is waited for knows no event
        await asyncio.sleep(0)


async def test_with_both_dead_it_says_why_and_waits_for_the_first(
    cluster: Callable[..., Cluster], pictures: list[Picture]
) -> None:
    """``error`` while none can be asked; as soon as one can, waiting is over."""
    here = cluster()
    here.one.down = here.two.down = True
    assert isinstance(await here.service.probe(), BackendUnreachable)
    waiting = asyncio.create_task(here.service.wait_usable())
    await _until(lambda: len(here.slept) > 6)
    assert not waiting.done()
    assert here.slept[0] < here.slept[-1], "waits grow"
    here.two.down = False
    await asyncio.wait_for(waiting, 180)
    assert len(await here.ask(pictures[0])) == 3
    await here.service.close()


async def test_one_that_fails_again_at_once_is_probed_again(
    cluster: Callable[..., Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also before whoever waits for it has come to see that it was usable."""
    here = cluster()
    here.one.down = here.two.down = True
    recovery, faults = here.service._recovery, [BackendBusy("busy")]
    ended = recovery._ended

    def then_fails(endpoint: Endpoint, task: asyncio.Task[None]) -> None:
        ended(endpoint, task)
        if faults:
            endpoint.health.fault(faults.pop())

    monkeypatch.setattr(recovery, "_ended", then_fails)
    await here.service.probe()
    waiting = asyncio.create_task(here.service.wait_usable())
    await _until(lambda: len(here.slept) > 6)
    here.two.down = False
    await asyncio.wait_for(waiting, 180)
    assert not faults
    await here.service.close()


async def test_while_paused_nothing_is_probed(cluster: Callable[..., Cluster]) -> None:
    """A dead endpoint is left alone too, until work goes on."""
    here = cluster()
    here.one.down = here.two.down = True
    await here.service.probe()
    here.service.pause(paused=True)
    await asyncio.sleep(0)
    before = len(here.one.requests), len(here.two.requests)
    for _ in range(200):
        await asyncio.sleep(0)
    assert (len(here.one.requests), len(here.two.requests)) == before
    here.one.down = here.two.down = False
    here.service.pause(paused=False)
    await asyncio.wait_for(_until(lambda: all(e.usable for e in here.service.endpoints)), 180)
    await here.service.close()


async def test_a_role_is_asked_at_its_own_endpoint(
    cluster: Callable[..., Cluster], pictures: list[Picture]
) -> None:
    """Captions at one, the rest at the other, each with its own model; one dead stops the photo."""
    here = cluster(
        models={"caption": "seer"},
        base_urls={"caption": TWO, "keywords": ONE, "description": ONE},
    )
    assert await here.service.probe() is None
    here.one.requests.clear()
    here.two.requests.clear()
    assert [a.role for a in await here.ask(pictures[0])] == ["caption", "keywords", "description"]
    assert [json.loads(r.content)["model"] for r in here.two.requests] == ["seer"]
    assert [json.loads(r.content)["model"] for r in here.one.requests] == ["eye", "eye"]
    here.two.down = True
    with pytest.raises(BackendUnreachable):
        await here.ask(pictures[0])
    assert here.service.error is not None, "no other endpoint may be asked for captions"
    await here.service.close()


async def test_an_outage_lets_those_who_wait_for_a_permit_not_even_ask(
    cluster: Callable[..., Cluster], pictures: list[Picture]
) -> None:
    """What was in flight fails, one control picture is asked about, and that is all."""
    here = cluster(sleep=lambda _: asyncio.Event().wait())
    await here.service.probe()
    here.one.down = here.two.down = True
    before = len(here.one.requests), len(here.two.requests)
    failed = await asyncio.gather(*map(here.ask, pictures), return_exceptions=True)
    here.service.pause(paused=True)
    assert all(isinstance(error, BackendError) for error in failed)
    for host, count in zip((here.one, here.two), before, strict=True):
        assert len(host.requests) - count == 2 + 1  # in flight, and the control
    await here.service.close()


async def test_a_photo_that_a_healthy_endpoint_fails_on_is_told_apart(
    cluster: Callable[..., Cluster], pictures: list[Picture]
) -> None:
    """The control picture is shown to the very endpoint that failed; it stays open."""
    here = cluster(base_urls={"caption": ONE, "keywords": ONE, "description": ONE})
    await here.service.probe()
    poison = pictures[3]
    mark = b64encode(poison.jpeg).decode()
    here.one.fault = lambda body: httpx.Response(500) if mark in json.dumps(body) else None
    with pytest.raises(FailsOnThisPhoto):
        await here.ask(poison)
    assert here.service.endpoints[0].usable
    assert here.two.requests == []
    assert len(await here.ask(pictures[4])) == 3
    await here.service.close()


async def test_a_busy_one_is_asked_one_thing_after_the_wait_it_asked_for(
    cluster: Callable[..., Cluster], pictures: list[Picture]
) -> None:
    """Retry-After is kept to; then a single picture shows whether it goes on; the limit shrank."""
    here = cluster(preflight=True)
    await here.service.probe()
    busy = [httpx.Response(429, headers={"retry-after": "77"}) for _ in range(2)]
    here.one.fault = lambda _: busy.pop() if busy else None
    here.one.requests.clear()
    gone = await asyncio.gather(*map(here.ask, pictures[:4]), return_exceptions=True)
    assert [type(error) for error in gone if isinstance(error, BackendError)] == [BackendBusy] * 2
    await asyncio.wait_for(_until(lambda: here.service.endpoints[0].usable), 180)
    assert 77 <= here.slept[0] <= 77 * 1.25
    assert [r.method for r in here.one.requests] == ["POST"] * (2 + 1)
    assert here.service.endpoints[0].backend.limit.size == 1
    await here.service.close()


def test_keys_are_each_endpoints_own(say: Say) -> None:
    """Nothing of one endpoint's key is in what another is sent."""
    hosts = {ONE: Host(say), TWO: Host(say)}

    async def run() -> None:
        backends = {
            url: Backend(
                settings.Backend(base_url=url, api_key=SecretStr(f"key-of-{url}")), transport=host
            )
            for url, host in hosts.items()
        }
        service = InferenceService(settings.Settings(), load_profile("default", None), backends)
        await service.preflight()
        await service.close()

    asyncio.run(run())
    for url, host in hosts.items():
        assert {r.headers["authorization"] for r in host.requests} == {f"Bearer key-of-{url}"}


async def test_a_photo_pays_for_a_refusal_once_others_are_answered(
    cluster: Callable[..., Cluster], pictures: list[Picture]
) -> None:
    """Refused like the test picture it costs nothing, until the model is seen to answer others."""
    here = cluster()
    await here.service.probe()
    endpoint = here.service.endpoints[0]
    bad, well = (replace(pictures[n], digest=str(n)) for n in (1, 2))
    refused = [b64encode(p.jpeg).decode() for p in (bad, control_picture())]

    def fault(body: Mapping[str, Any]) -> httpx.Response | None:
        over = any(jpeg in str(body) for jpeg in refused)
        return httpx.Response(413, json={"error": "too large"}) if over else None

    async def ask(picture: Picture) -> list[Answer]:
        return [a async for a in endpoint.describe(picture, here.service.questions)]

    here.one.fault = fault
    for _ in range(2):
        with pytest.raises(BackendError, match="a test picture fails, too"):
            await ask(bad)
        assert not endpoint.usable
        endpoint.health.probed(None)
    assert len(await ask(well)) == 3
    with pytest.raises(PhotoRefused):
        await ask(bad)
    assert endpoint.usable


async def test_a_photo_that_is_refused_alone_pays_at_once(
    cluster: Callable[..., Cluster], pictures: list[Picture]
) -> None:
    """The test picture is answered, so nobody else has to wait."""
    here = cluster()
    await here.service.probe()
    jpeg = b64encode(pictures[1].jpeg).decode()
    refusal = {"error": "cannot identify image file"}
    here.one.fault = lambda body: httpx.Response(400, json=refusal) if jpeg in str(body) else None
    with pytest.raises(PhotoRefused):
        async for _ in here.service.endpoints[0].describe(pictures[1], here.service.questions):
            pass
    assert here.service.endpoints[0].usable


async def test_photos_refused_before_the_test_picture_was_pay_nothing(
    cluster: Callable[..., Cluster], pictures: list[Picture]
) -> None:
    """An outage that ends between the verdicts on two photos is neither photo's fault."""
    here = cluster()
    await here.service.probe()
    endpoint = here.service.endpoints[0]
    endpoint.health.probed(BackendError("it was away"))

    async def well() -> None:
        return None

    await endpoint.health.recover(well, sleep=lambda _: asyncio.sleep(0))
    test_picture = b64encode(control_picture().jpeg).decode()
    refused: list[bool] = []

    def fault(body: Mapping[str, Any]) -> httpx.Response | None:
        if any(refused):
            return None
        refused.append(test_picture in str(body))
        return httpx.Response(413, json={"error": "too large"})

    async def ask(picture: Picture) -> list[Answer]:
        return [a async for a in endpoint.describe(picture, here.service.questions)]

    here.one.fault = fault
    both = (replace(pictures[n], digest=str(n)) for n in (1, 2))
    ends = await asyncio.gather(*map(ask, both), return_exceptions=True)
    assert refused == [False, False, True]
    assert [isinstance(end, BackendError) for end in ends] == [True, True]
