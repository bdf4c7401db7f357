"""Answers that wait until somebody accepts them: what every implementation of the port must do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.ledger import (
    DIGEST,
    ROOT,
    MemoryState,
    SqliteState,
    answer,
    file,
    record,
)

from taggerd.ledger import Admitted, Counts, Failed, Finished, Released
from taggerd.photo import Answer, Sidecar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.ledger import State

    from taggerd.ledger import Claim, Ledger

HELD = (answer(), answer("keywords"), answer("mood", "calm"))


@pytest.fixture(params=["sqlite", "memory"])
async def state(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[State]:
    """Each implementation in turn; whoever is still there at the end is closed."""
    made = SqliteState(tmp_path / "state") if request.param == "sqlite" else MemoryState()
    yield made
    for ledger in made.opened:
        await ledger.close()


@pytest.fixture
async def ledger(state: State) -> Ledger:
    """An open ledger, the oldest photo first."""
    return await state.open()


async def hold(ledger: Ledger, claim: Claim, answers: tuple[Answer, ...] = HELD) -> None:
    """End *claim* with its answers held."""
    assert await ledger.end(claim, Finished(DIGEST, record(claim.id), held=answers))


async def held(ledger: Ledger, state: State) -> None:
    """Let one photo arrive, be answered, and be held."""
    await ledger.admit([file()])
    await hold(ledger, await state.claim_one(ledger))


async def state_of(ledger: Ledger) -> str:
    """Return the state of the only file."""
    return (await ledger.file_states([file()]))[file().path].state


async def write(ledger: Ledger, claim: Claim) -> None:
    """Take a claim to its end with a sidecar."""
    sidecar = Sidecar(path=ROOT / "IMG_1.JPG.xmp", written=True, digest=DIGEST)
    await ledger.written(claim, DIGEST, [sidecar])
    assert await ledger.end(claim, Finished(DIGEST))


async def test_a_held_photo_is_recorded_and_left_alone(ledger: Ledger, state: State) -> None:
    """Its record waits for the journal; no walk, scan, retry or run takes it again."""
    await held(ledger, state)
    assert await state_of(ledger) == "held"
    assert await ledger.counts() == await ledger.counts([ROOT]) == Counts(held=1)
    assert [line.id for line in await ledger.outbox(9)] == ["record-1"]
    assert await ledger.admit([file()]) == Admitted(unchanged=1)
    assert await ledger.admit([file()], sidecars=False) == Admitted(unchanged=1)
    assert await ledger.retry(None) == await ledger.retry([file().path]) == 0
    assert await ledger.retry(None, failed=True) == 0
    assert await ledger.mark_undone([file().path]) == 0
    assert await state.claim(ledger) == []
    assert await state_of(ledger) == "held"


async def test_what_is_accepted_is_claimed_with_the_answers_that_were_held(
    ledger: Ledger, state: State
) -> None:
    """Also where another answer to the same question has come since: nobody has looked at that."""
    await held(ledger, state)
    (listed,) = await ledger.held(-1)
    assert (listed.answers, listed.since) == (HELD, state.now)
    assert listed.photo.files == (file(),)
    state.now += 5
    assert await ledger.accept([ROOT / "elsewhere"]) == 0
    assert await ledger.accept([file().path]) == 1
    assert await ledger.accept(None) == 0
    assert (await state_of(ledger), await ledger.held(-1)) == ("queued", [])
    claim = await state.claim_one(ledger)
    assert (claim.accepted, claim.digest, claim.attempt) == (HELD, DIGEST, 1)
    await write(ledger, claim)
    assert await state_of(ledger) == "recorded"
    assert await ledger.counts() == Counts(recorded=1)
    assert await ledger.admit([file()]) == Admitted(unchanged=1)


async def test_an_acceptance_outlives_what_goes_wrong(ledger: Ledger, state: State) -> None:
    """A kill, a release, and a sidecar that cannot be written: it is still to be written."""
    await held(ledger, state)
    await ledger.accept(None)
    other = await state.open()
    await state.claim_one(other)
    await state.kill(other)
    assert await ledger.recover() == 1
    claim = await state.claim_one(ledger)
    assert claim.accepted == HELD
    await ledger.end(claim, Released())
    claim = await state.claim_one(ledger, run="another")
    await ledger.end(claim, Failed("refused", final=True, for_sidecars=True))
    assert await state_of(ledger) == "unwritten"
    await ledger.admit([file()])
    assert (await state.claim_one(ledger)).accepted == HELD


async def test_held_words_are_not_written_for_other_bytes(ledger: Ledger, state: State) -> None:
    """A photo that changes is asked about, whether it is held, accepted, or in flight."""
    await held(ledger, state)
    changed = file(size=2000)
    await ledger.admit([changed])
    assert (await ledger.file_states([changed]))[changed.path].state == "queued"
    claim = await state.claim_one(ledger)
    assert (claim.accepted, claim.changed) == ((), True)
    await hold(ledger, claim)
    await ledger.accept(None)
    await ledger.admit([file(size=3000)])
    claim = await state.claim_one(ledger)
    assert claim.accepted == ()
    await ledger.admit([file(size=4000)])  # while it is in flight
    await hold(ledger, claim)
    assert await ledger.counts() == Counts(queued=1)
    assert (await state.claim_one(ledger)).accepted == ()


async def test_a_new_question_outranks_an_acceptance(ledger: Ledger, state: State) -> None:
    """Somebody asked again since: other answers are wanted, and they wait as well."""
    await held(ledger, state)
    await ledger.accept(None)
    await ledger.admit([file()], again=True)
    claim = await state.claim_one(ledger)
    assert (claim.accepted, claim.asked_again_since) == ((), state.now)
    again = (answer(text="A mole"),)
    await hold(ledger, claim, again)
    assert [each.answers for each in await ledger.held(-1)] == [again]


async def test_a_run_that_ends_before_it_asked_again_leaves_it_held(
    ledger: Ledger, state: State
) -> None:
    """As a tagged photo counts as tagged again."""
    await held(ledger, state)
    other = await state.open()
    await other.admit([file()], again=True, run="scan")
    assert await state_of(ledger) == "queued"
    await other.close()
    assert await state_of(ledger) == "held"
    assert [each.answers for each in await ledger.held(-1)] == [HELD]


async def test_a_photo_that_is_dropped_is_left_alone_until_it_is_named(
    ledger: Ledger, state: State
) -> None:
    """It has no sidecar, and needs none; a retry that names it brings it back."""
    await held(ledger, state)
    assert await ledger.drop_held([file().path]) == 1
    assert await ledger.drop_held(None) == await ledger.accept(None) == 0
    assert await state_of(ledger) == "dropped"
    assert await ledger.counts() == Counts(unwritten=1)
    assert await ledger.admit([file()]) == Admitted(unchanged=1)
    assert await ledger.retry(None, failed=True) == 0
    assert await ledger.retry([file().path]) == 1
    claim = await state.claim_one(ledger)
    assert claim.accepted == ()
    await write(ledger, claim)
    await ledger.mark_undone([file().path])
    assert await state_of(ledger) == "undone"


async def test_a_tagged_photo_whose_new_answers_are_dropped_is_tagged_as_it_was(
    ledger: Ledger, state: State
) -> None:
    """Its sidecars hold the earlier words all the time."""
    await ledger.admit([file()])
    await write(ledger, await state.claim_one(ledger))
    await ledger.admit([file()], again=True)
    await hold(ledger, await state.claim_one(ledger))
    assert await ledger.counts() == Counts(held=1)
    await ledger.drop_held(None)
    assert await state_of(ledger) == "recorded"
    assert await ledger.counts() == Counts(recorded=1)


async def test_undoing_the_earlier_words_leaves_the_new_ones_held(
    ledger: Ledger, state: State
) -> None:
    """The undo was about what is in the sidecars; what waits still waits."""
    await ledger.admit([file()])
    await write(ledger, await state.claim_one(ledger))
    await ledger.admit([file()], again=True)
    await hold(ledger, await state.claim_one(ledger))
    assert await ledger.mark_undone([file().path]) == 1
    assert await state_of(ledger) == "held"
    assert await ledger.retry([file().path]) == 0
    await ledger.drop_held(None)
    assert await state_of(ledger) == "dropped"


async def test_only_what_is_held_for_long_may_be_chosen(ledger: Ledger, state: State) -> None:
    """What nobody looks at is written or dropped after some days, the longest held first."""
    for name in ("A.JPG", "B.JPG", "C.JPG"):
        await ledger.admit([file(name)])
        await hold(ledger, await state.claim_one(ledger))
        state.now += 100
    assert [each.photo.name for each in await ledger.held(2)] == ["A.JPG", "B.JPG"]
    assert await ledger.accept([ROOT], before=state.now - 250) == 1
    assert await ledger.drop_held([ROOT], before=state.now - 150) == 1
    assert [each.photo.name for each in await ledger.held(-1, [ROOT])] == ["C.JPG"]


async def test_a_run_may_take_just_what_it_accepted(ledger: Ledger, state: State) -> None:
    """As with the files that a run admits itself."""
    for name in ("A.JPG", "B.JPG"):
        await ledger.admit([file(name)])
        await hold(ledger, await state.claim_one(ledger))
    await ledger.accept([ROOT / "A.JPG"], run="accept")
    await ledger.admit([file("C.JPG")])
    claims = await ledger.claim(9, within=None, run="accept", now=state.now)
    assert [claim.photo.name for claim in claims] == ["A.JPG"]


async def test_what_was_accepted_before_and_not_written_is_given_to_the_next_run(
    ledger: Ledger, state: State
) -> None:
    """Without this nobody could go on with what was stopped, but a run that takes all."""
    await held(ledger, state)
    other = await state.open()
    assert await other.accept(None, run="stopped") == 1
    await other.close()
    assert await ledger.held(-1) == []
    assert [each.answers for each in await ledger.held(-1, unwritten=True)] == [HELD]
    assert await ledger.accept(None) == await ledger.drop_held(None) == 0
    assert await ledger.accept(None, run="again") == 1
    (claim,) = await ledger.claim(9, within=None, run="again", now=state.now)
    assert claim.accepted == HELD


async def test_a_raw_file_that_joins_leaves_the_words_to_be_accepted(
    ledger: Ledger, state: State
) -> None:
    """The answers stay the photo's; a forgotten photo takes them along."""
    await held(ledger, state)
    await ledger.admit([file("IMG_1.CR3")])
    claim = await state.claim_one(ledger)
    assert (claim.accepted, claim.changed, claim.digest) == ((), False, DIGEST)
    await hold(ledger, claim)
    await state.forget(ledger, file().path, file("IMG_1.CR3").path)
    assert await ledger.held(-1) == []
    assert await ledger.counts() == Counts()
