"""Which photo of a burst asks, when it does, and what the others take."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from taggerd.burst import Gathering, Shot
from taggerd.photo import Answer, Fingerprint
from taggerd.settings import Burst

if TYPE_CHECKING:
    from collections.abc import Callable

    from taggerd.burst import Candidate

SCENES = [bytes((7 * n * n + 31 * s * n) % 200 + 20 for n in range(81)) for s in (1, 2, 3)]
WANTED = Burst(enabled=True)


def shot(scene: int = 0, at: float = 0.0, sharpness: float = 1.0, camera: str = "R6") -> Shot:
    """Return what is compared of a photo."""
    return Shot(camera, "folder", at, Fingerprint(SCENES[scene], sharpness))


class Site:
    """Photos that join, and who asked about what."""

    def __init__(self) -> None:
        """Begin with an empty queue."""
        self.closed = 0
        self.gathering = Gathering(WANTED, self._close)
        self.asked: list[str] = []
        self.took: dict[str, str] = {}
        self.failing: set[str] = set()
        self.answered = asyncio.Event()
        self.answered.set()
        self.tasks: dict[str, asyncio.Task[None]] = {}

    def _close(self) -> None:
        self.closed += 1

    def candidates(self, count: int) -> list[Candidate]:
        """Claim so many photos."""
        return [self.gathering.candidate() for _ in range(count)]

    async def join(self, candidate: Candidate, name: str, of: Shot, **begun: Answer) -> None:
        """Let a decoded photo join, and come as far as it can."""
        self.tasks[name] = asyncio.create_task(self._tag(candidate, name, of, begun))
        await self.settled()

    async def _tag(
        self, candidate: Candidate, name: str, of: Shot, answers: dict[str, Answer]
    ) -> None:
        async with candidate.join(of, name, answers) as inherited:
            if inherited:
                self.took[name] = inherited["caption"].inherited_from
                return
            self.asked.append(name)
            await self.answered.wait()
            if name in self.failing:
                raise ValueError
            answers["caption"] = Answer(role="caption", question="q", text=name, prompt_tokens=9)

    async def settled(self) -> None:
        """Let everything happen that waits for nothing else."""
        for _ in range(20):
            await asyncio.sleep(0)


@pytest.fixture
async def site() -> Site:
    """Make an empty one."""
    return Site()


async def test_the_sharpest_asks_and_the_others_take_its_answers(site: Site) -> None:
    """The burst is complete when nothing is being decoded and nothing is left to claim."""
    one, two, three = site.candidates(3)
    site.gathering.claimed(drained=True, full=False)
    await site.join(one, "a", shot(sharpness=1))
    await site.join(two, "b", shot(at=0.1, sharpness=9))
    assert not site.asked
    await site.join(three, "c", shot(at=0.2, sharpness=5))
    assert site.asked == ["b"]
    assert site.took == {"a": "b", "c": "b"}
    assert site.closed == 1  # others may be claimed in the stead of those that wait


async def test_a_later_photo_that_does_not_belong_completes_a_burst(site: Site) -> None:
    """But not while one between them is still being decoded: it may belong."""
    one, two, three, _ = site.candidates(4)
    await site.join(one, "a", shot())
    await site.join(three, "c", shot(1, at=0.2))
    assert not site.asked
    await site.join(two, "b", shot(at=0.1))
    assert site.asked == ["a"]
    assert site.took == {"b": "a"}


async def test_decoded_out_of_order_a_burst_is_completed_all_the_same(site: Site) -> None:
    """The photo that does not belong was a small one, and was decoded first."""
    one, two, three, _ = site.candidates(4)
    await site.join(three, "c", shot(1, at=0.2))
    await site.join(one, "a", shot())
    assert not site.asked
    two.leave()
    await site.settled()
    assert site.asked == ["a"]


async def test_photos_of_another_camera_complete_nothing(site: Site) -> None:
    """Two people's cards come in at once; each burst stays whole."""
    one, two, three, four = site.candidates(4)
    await site.join(one, "a", shot())
    await site.join(two, "b", shot(at=0.0, camera="Z6"))
    await site.join(three, "c", shot(at=0.1))
    assert not site.asked
    site.gathering.claimed(drained=True, full=False)
    await site.join(four, "d", shot(at=0.1, camera="Z6"))
    assert site.asked == ["a", "b"]
    assert site.took == {"c": "a", "d": "b"}


async def test_where_all_that_may_be_in_flight_wait_the_first_burst_goes_on(site: Site) -> None:
    """Else they would wait for each other for ever; one at a time, for the others may grow."""
    one, two, three = site.candidates(3)
    site.gathering.claimed(drained=False, full=True)
    site.answered.clear()
    await site.join(one, "a", shot(camera="A"))
    await site.join(two, "b", shot(at=0.1, camera="A"))
    assert not site.asked
    await site.join(three, "c", shot(camera="B"))
    assert site.asked == ["a"]
    assert site.gathering.following == 1
    assert site.closed
    site.gathering.claimed(drained=False, full=True)
    await site.settled()
    assert site.asked == ["a", "c"]


async def test_after_each_burst_that_goes_on_it_is_counted_again(site: Site) -> None:
    """What may be in flight, that is: it may be more by now, and the next burst may grow."""
    one, two, three = site.candidates(3)
    site.answered.clear()
    await site.join(one, "a", shot(camera="A"))
    await site.join(two, "b", shot(camera="B"))
    site.gathering.claimed(drained=False, full=True)
    three.leave()
    await site.settled()
    assert site.asked == ["a"]
    assert site.closed == 1
    (four,) = site.candidates(1)
    four.leave()
    await site.settled()
    assert site.asked == ["a"]


async def test_a_photo_that_hangs_holds_no_burst_up(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A moment after its last photo a burst goes on, whatever else is being decoded."""
    monkeypatch.setattr("taggerd.burst.gathering.LONGEST_WAIT_SECONDS", 0.0)
    one, _ = site.candidates(2)
    await site.join(one, "a", shot())
    async with asyncio.timeout(180):
        await site.tasks["a"]
    assert site.asked == ["a"]


async def test_the_wait_begins_again_with_each_photo(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A card that is copied slowly would have several bursts of one."""
    loop = asyncio.get_running_loop()
    timers: list[asyncio.TimerHandle] = []

    def call_later(*args: object) -> asyncio.TimerHandle:
        timers.append(usual(*args))
        return timers[-1]

    usual: Callable[..., asyncio.TimerHandle] = loop.call_later
    monkeypatch.setattr(loop, "call_later", call_later)
    for number, candidate in enumerate(site.candidates(4)[:3]):
        await site.join(candidate, str(number), shot(at=number / 10))
    assert [timer.cancelled() for timer in timers] == [True, True, False]
    site.gathering.claimed(drained=True, full=False)


async def test_what_is_claimed_last_may_not_be_the_last(site: Site) -> None:
    """That nothing was left to claim was so before these came."""
    site.gathering.claimed(drained=True, full=False)
    one, two = site.candidates(2)
    await site.join(one, "a", shot(sharpness=1))
    await site.join(two, "b", shot(at=0.1, sharpness=9))
    assert not site.asked
    (three,) = site.candidates(1)
    site.gathering.claimed(drained=True, full=False)
    await site.join(three, "c", shot(at=0.2))
    assert site.asked == ["b"]


async def test_one_that_leaves_is_not_waited_for(site: Site) -> None:
    """It failed, has its answers, or can be of no burst."""
    one, two = site.candidates(2)
    site.gathering.claimed(drained=True, full=False)
    await site.join(one, "a", shot())
    assert not site.asked
    two.leave()
    two.leave()  # once more at its end
    await site.settled()
    assert site.asked == ["a"]


async def test_if_the_sharpest_fails_the_next_sharpest_asks(site: Site) -> None:
    """And those after it; nobody takes what was never answered."""
    site.failing = {"b", "c"}
    site.gathering.claimed(drained=False, full=False)
    candidates = site.candidates(3)
    for candidate, (name, sharpness) in zip(
        candidates, {"a": 1, "b": 9, "c": 5}.items(), strict=True
    ):
        await site.join(candidate, name, shot(sharpness=sharpness))
    site.gathering.claimed(drained=True, full=False)
    await site.settled()
    assert site.asked == ["b", "c", "a"]
    assert not site.took
    assert not site.gathering.following


async def test_one_that_is_cancelled_leaves_no_other_waiting(site: Site) -> None:
    """Neither while it waits, nor at the instant before it asks, nor while it asks."""
    site.answered.clear()
    for candidate, name in zip(site.candidates(5), "abcde", strict=True):
        await site.join(candidate, name, shot(sharpness=ord("z") - ord(name)))
    site.tasks["a"].cancel()
    await site.settled()
    site.tasks["b"].cancel()
    site.gathering.claimed(drained=True, full=False)  # "b" has not heard of it yet
    site.tasks["c"].cancel()  # likewise; nor that it is to ask, if it is
    await site.settled()
    assert site.asked == ["d"]
    site.tasks["d"].cancel()
    await site.settled()
    assert site.asked == ["d", "e"]


async def test_one_that_is_cancelled_as_it_is_to_ask_leaves_no_other_waiting(site: Site) -> None:
    """It was chosen, and does not know yet."""
    for candidate, name in zip(site.candidates(2), "ab", strict=True):
        await site.join(candidate, name, shot(sharpness=ord("z") - ord(name)))
    site.gathering.claimed(drained=True, full=False)
    site.tasks["a"].cancel()
    await site.settled()
    assert site.asked == ["b"]


async def test_old_bursts_are_forgotten(site: Site) -> None:
    """A daemon would hold all it ever saw, and compare each photo with it."""
    for number in range(66):
        (candidate,) = site.candidates(1)
        site.gathering.claimed(drained=True, full=False)
        await site.join(candidate, str(number), shot(at=number * 60))
    for number in (65, 0):
        (late,) = site.candidates(1)
        site.gathering.claimed(drained=True, full=False)
        await site.join(late, f"beside {number}", shot(at=number * 60, sharpness=0))
    assert site.took == {"beside 65": "65"}
    assert "beside 0" in site.asked


async def test_where_nobody_could_answer_one_that_comes_late_asks(site: Site) -> None:
    """It would wait for ever."""
    site.failing = {"a"}
    for name in "ab":
        (candidate,) = site.candidates(1)
        site.gathering.claimed(drained=True, full=False)
        await site.join(candidate, name, shot())
    assert site.asked == ["a", "b"]


async def test_one_that_comes_late_takes_the_answers_unless_it_is_sharper(site: Site) -> None:
    """A card that is copied slowly arrives photo by photo."""
    first, late, sharper = site.candidates(1) + site.candidates(2)
    late.leave()
    sharper.leave()
    site.gathering.claimed(drained=True, full=False)
    await site.join(first, "a", shot(sharpness=5))
    (late,) = site.candidates(1)
    site.gathering.claimed(drained=True, full=False)
    await site.join(late, "b", shot(at=0.5, sharpness=4))
    (sharper,) = site.candidates(1)
    site.gathering.claimed(drained=True, full=False)
    await site.join(sharper, "c", shot(at=0.9, sharpness=6))
    assert site.asked == ["a", "c"]
    assert site.took == {"b": "a"}


async def test_one_that_had_begun_asks_the_rest_of_its_questions(site: Site) -> None:
    """After a kill: what was paid for is used, whichever photo is sharper."""
    one, two = site.candidates(2)
    site.gathering.claimed(drained=True, full=False)
    keywords = Answer(role="keywords", question="q", text="paid")
    await site.join(one, "a", shot(sharpness=1), keywords=keywords)
    await site.join(two, "b", shot(sharpness=9))
    assert site.asked == ["a"]
    assert site.took == {"b": "a"}


async def test_of_several_that_had_begun_each_asks_the_rest(site: Site) -> None:
    """Two photos of one burst may have been asked about when it was ended."""
    paid = Answer(role="keywords", question="q", text="paid")
    one, two, three = site.candidates(3)
    await site.join(one, "a", shot(sharpness=9), keywords=paid)
    await site.join(two, "b", shot(sharpness=5), keywords=paid)
    await site.join(three, "c", shot(sharpness=7))
    site.gathering.claimed(drained=True, full=False)
    await site.settled()
    assert site.asked == ["a", "b"]
    assert site.took == {"c": "a"}


async def test_one_that_had_begun_and_comes_late_goes_on_by_itself(site: Site) -> None:
    """What another was answered would be mixed with what it has, though that was asked first."""
    paid = Answer(role="keywords", question="q", text="paid")
    for name, sharpness in (("a", 9), ("b", 1)):
        (candidate,) = site.candidates(1)
        site.gathering.claimed(drained=True, full=False)
        await site.join(candidate, name, shot(sharpness=sharpness), keywords=paid)
    assert site.asked == ["a", "b"]


async def test_what_is_inherited_cost_nothing_and_says_whose_it_is(site: Site) -> None:
    """Model and backend are still those that answered."""
    one, two = site.candidates(2)
    site.gathering.claimed(drained=True, full=False)
    asked: dict[str, Answer] = {}
    taken: list[Answer] = []

    async def ask() -> None:
        async with one.join(shot(sharpness=9), "a.jpg", asked):
            asked["caption"] = Answer(
                role="caption", question="q", text="t", model="m", backend="b", prompt_tokens=9
            )

    async def take() -> None:
        async with two.join(shot(), "b.jpg", {}) as inherited:
            taken.extend(inherited.values())

    await asyncio.gather(ask(), take())
    (answer,) = taken
    assert (answer.model, answer.backend, answer.text) == ("m", "b", "t")
    assert (answer.inherited_from, answer.prompt_tokens, answer.requests) == ("a.jpg", 0, 0)
    assert asked["caption"].inherited_from == ""
