"""What hosts agree on about an endpoint: shares of its limit, and outages."""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest

from taggerd.inference.shares import (
    ALONE_SECONDS,
    LEASE_SECONDS,
    STEP_ASIDE_SECONDS,
    Agreement,
    Demand,
    Program,
    fair_shares,
)
from taggerd.retry import CONCURRENCY, ENDPOINT


class Kept:
    """What is kept, and programs that ask for their shares one after the other."""

    def __init__(self, most: int) -> None:
        """Nothing is kept."""
        self.most, self.now, self.json = most, 1000.0, "null"
        self.in_flight: Counter[str] = Counter()
        self.shares: dict[str, int] = {}

    def read(self) -> Agreement:
        """Return what is kept, as it goes through the database."""
        return Agreement.of(json.loads(self.json), self.now)

    def ask(self, name: str, wanted: int, *, refused: bool = False, answered: int = 0) -> int:
        """Ask for the share of *name*."""
        agreed = self.read()
        used = self.in_flight[name]
        cuts = agreed.cuts
        demand = Demand(name, self.most, wanted, used, answered, refused, cuts)
        agreed.ask(name, demand, self.now)
        mine = agreed.programs.get(name)
        self.json = json.dumps(agreed.to_json())
        self.shares[name] = mine.share if mine else 0
        return self.shares[name]

    def settle(self, wanted: dict[str, int], rounds: int = 3) -> dict[str, int]:
        """Let all ask and send as much as they may, some times."""
        for _ in range(rounds):
            for name, count in wanted.items():
                self.in_flight[name] = min(self.ask(name, count), count)
        return dict(self.shares)


@pytest.mark.parametrize(
    ("most", "wanted", "shares"),
    [
        (32, {"a": 32, "b": 32, "c": 32, "d": 32}, {"a": 8, "b": 8, "c": 8, "d": 8}),
        (32, {"a": 32, "b": 0}, {"a": 32, "b": 0}),
        (32, {"a": 32, "b": 2, "c": 32}, {"a": 15, "b": 2, "c": 15}),
        (8, {"a": 8, "b": 8, "c": 8}, {"a": 3, "b": 3, "c": 2}),
        (8, {"a": 1, "b": 2}, {"a": 1, "b": 2}),
    ],
)
def test_shares_follow_what_is_wanted(
    most: int, wanted: dict[str, int], shares: dict[str, int]
) -> None:
    """Nobody gets more than they want; what one leaves is dealt to the others alike."""
    assert fair_shares(most, wanted) == shares
    assert Kept(most).settle(wanted) == shares


def test_a_lone_program_has_all_and_gives_back_what_another_wants() -> None:
    """Others get what it held only when it says that it holds no more."""
    kept = Kept(32)
    assert kept.settle({"a": 32}) == {"a": 32}
    assert kept.ask("b", 32) == 0
    assert kept.read().programs["a"].told == 16, "it was sent for"
    assert kept.ask("a", 32) == 16  # with 32 in flight
    assert kept.ask("b", 32) == 0
    kept.in_flight["a"] = 20
    assert kept.ask("a", 32) == 16
    assert kept.ask("b", 32) == 12
    kept.in_flight["a"] = 16
    assert kept.settle({"a": 32, "b": 32}) == {"a": 16, "b": 16}


def test_a_share_lives_until_its_lease_ends() -> None:
    """A program that is not heard of keeps it that long, and then it is free."""
    kept = Kept(8)
    kept.settle({"a": 8, "b": 8})
    kept.now += LEASE_SECONDS - 1
    assert kept.ask("b", 8) == 4
    kept.now += 1
    assert kept.ask("b", 8) == 8


def test_an_idle_program_gives_its_share_back() -> None:
    """It leaves no trace."""
    kept = Kept(8)
    kept.settle({"a": 8, "b": 8})
    kept.in_flight["a"] = 0
    kept.ask("a", 0)
    assert kept.ask("b", 8) == 8
    assert [*kept.read().programs] == ["b"]


@pytest.mark.parametrize("seed", range(20))
def test_no_more_requests_are_in_flight_than_the_limit(seed: int) -> None:
    """At no instant, whatever programs want, do and suffer: they die, are cut off and come back."""
    chance = random.Random(seed)  # noqa: S311 - a test
    most = chance.choice([1, 2, 3, 8, 32])
    kept = Kept(most)
    names = "abcdefg"[: chance.randint(2, 7)]
    asked_at = dict.fromkeys(names, 0.0)
    for _ in range(1500):
        name = chance.choice(names)
        kept.now += chance.random() / 4
        if kept.now >= asked_at[name] + LEASE_SECONDS:  # by its own clock
            kept.in_flight[name] = kept.shares[name] = 0
        event = chance.random()
        if event < 0.4:
            kept.ask(name, chance.choice([0, 1, most // 2, most]))
            asked_at[name] = kept.now
        elif event < 0.7 and kept.in_flight[name] < kept.shares.get(name, 0):
            kept.in_flight[name] += 1
        elif event < 0.995 and kept.in_flight[name]:
            kept.in_flight[name] -= 1
        elif event > 0.995:  # it is not heard of for a while
            asked_at[name] -= LEASE_SECONDS - 1
            program = kept.read()
            if name in program.programs:
                program.programs[name].until -= LEASE_SECONDS - 1
                kept.json = json.dumps(program.to_json())
        for each in names:
            if kept.now >= asked_at[each] + LEASE_SECONDS:
                kept.in_flight[each] = kept.shares[each] = 0
        assert kept.in_flight.total() <= most


@pytest.mark.parametrize("most", [1, 2, 3])
def test_more_programs_than_requests_are_served_in_order(most: int) -> None:
    """None starves, whoever asks more often; each keeps what it has for some seconds."""
    kept = Kept(most)
    served: Counter[str] = Counter()
    names = ["a", "a", "a", "b", "c", "d", "e"]
    for step in range(700):
        name = names[step % len(names)]
        kept.now += ALONE_SECONDS / 25
        kept.in_flight[name] = min(kept.ask(name, 4), 4)
        served.update({each: count for each, count in kept.in_flight.items() if count})
        assert kept.in_flight.total() <= most
    assert min(served[name] for name in "abcde") > max(served.values()) / 2


def test_the_smallest_limit_of_those_who_ask_counts() -> None:
    """Settings may differ: no host is ever disobeyed."""
    kept = Kept(32)
    kept.settle({"a": 32})
    kept.most = 4
    kept.ask("b", 4)
    assert kept.read().most == 4


def test_a_refusal_halves_the_limit_of_all_once() -> None:
    """What several programs were refused at the same time is one piece of news."""
    kept = Kept(32)
    kept.settle(dict.fromkeys("abcd", 32))
    before = kept.read()
    kept.ask("a", 32, refused=True)
    assert kept.read().most == 16
    agreed = kept.read()
    agreed.ask("b", Demand("b", 32, 32, 8, refused=True, cuts=before.cuts), kept.now)
    assert agreed.most == 16, "b was refused before it could know"
    assert sum(kept.settle(dict.fromkeys("abcd", 32)).values()) == 16


def test_the_limit_of_all_grows_with_the_answers_of_all() -> None:
    """One more a round; not to what was refused for a while, and then to the most."""
    kept = Kept(16)
    kept.settle(dict.fromkeys("ab", 16))
    kept.ask("a", 16, refused=True)
    assert kept.read().most == 8
    for name in "ab":
        kept.ask(name, 16, answered=4)
    assert kept.read().most == 8
    kept.ask("a", 16, answered=1)
    assert kept.read().most == 9
    kept.ask("a", 16, answered=500)
    assert kept.read().most == 15
    kept.now += CONCURRENCY.first + 1
    kept.ask("b", 16, answered=500)
    assert kept.read().most == 16
    kept.now += CONCURRENCY.first
    kept.ask("b", 16)
    assert kept.read().throttle is None


def test_a_request_that_was_alone_teaches_nothing() -> None:
    """It was not refused for being one of too many."""
    kept = Kept(8)
    kept.settle({"a": 1})
    kept.ask("a", 1, refused=True)
    assert kept.read().most == 8


def test_another_host_than_the_finder_probes_first() -> None:
    """The finder's own network may be at fault; while one probes, nobody else does."""
    kept = Kept(8)
    agreed = kept.read()
    agreed.found_away("a", "nas", "BackendUnreachable", "refused", kept.now)
    assert agreed.may_probe("a", kept.now) == STEP_ASIDE_SECONDS
    assert agreed.may_probe("b", kept.now) == 0
    assert agreed.may_probe("c", kept.now + 10) == LEASE_SECONDS - 10
    agreed.probed("b", ("BackendFailed", "broken", 0.0), kept.now)
    assert agreed.away is not None
    assert (agreed.away.kind, agreed.away.host) == ("BackendFailed", "nas")
    first = ENDPOINT.seconds(1)
    assert agreed.may_probe("b", kept.now) == first + STEP_ASIDE_SECONDS
    assert agreed.may_probe("a", kept.now) == first
    assert agreed.may_probe("a", kept.now + first) == 0
    assert agreed.may_probe("b", kept.now + first + LEASE_SECONDS) == 0, "the prober died"
    agreed.probed("b", None, kept.now)
    assert [agreed.away, agreed.freed_by] == [None, "b"]


def test_probes_of_all_hosts_together_grow_rarer_and_heed_retry_after() -> None:
    """An outage of an hour costs the endpoint some sixty probes, however many hosts there are."""
    agreed = Agreement()
    agreed.found_away("a", "nas", "BackendBusy", "too many", 20.0)
    assert agreed.may_probe("b", 0.0) == 20
    now = 1e6
    for probes in range(1, 9):
        now += 1000
        assert agreed.may_probe("b", now) == 0
        agreed.probed("b", ("BackendBusy", "too many", 0.0), now)
        assert agreed.away is not None
        assert agreed.away.probe_at == now + ENDPOINT.seconds(probes)
    agreed.may_probe("b", 2e9)
    agreed.probed("b", ("BackendBusy", "too many", 500.0), 2e9)
    assert agreed.may_probe("a", 2e9) == 500


ODD = {"programs": {"a": 1}, "throttle": {"new": 1}, "away": [], "cuts": ""}


@pytest.mark.parametrize("kept", [None, 1, [], "no", ODD])
def test_what_another_version_kept_stops_nobody(kept: object) -> None:
    """What cannot be read counts as nothing."""
    assert Agreement.of(kept, 0.0) == Agreement()  # type: ignore[arg-type]


def test_fields_of_a_newer_version_are_passed_over() -> None:
    """Programs of two versions ask side by side."""
    program = {"host": "nas", "most": 8, "until": 10.0, "held": 8, "newer": True}
    agreed = Agreement.of({"programs": {"a": program}, "newer": 1}, 0.0)  # type: ignore[dict-item]
    assert agreed.programs == {"a": Program("nas", 8, held=8, until=10.0)}
