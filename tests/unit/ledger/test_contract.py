"""What every implementation of the port must do.

The tests speak to `taggerd.ledger.port.Ledger` alone, through the fixture ``state``: another
implementation is one more `State` in conftest.py, and one more parameter here.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
from support.ledger import (
    DIGEST,
    ROOT,
    MemoryState,
    PostgresState,
    SqliteState,
    answer,
    file,
    names,
    record,
)

from taggerd.ledger import (
    Admitted,
    Correction,
    Counts,
    Deferred,
    Failed,
    Finished,
    Moved,
    Pause,
    Released,
    Rewritten,
)
from taggerd.photo import Notice, PhotoFile, Sidecar, Stamp, Usage, group

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.ledger import State

    from taggerd.ledger import Claim, Ledger

OTHER = "ef" * 32


@pytest.fixture(params=["sqlite", "memory", "postgres"])
async def state(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[State]:
    """Each implementation in turn; whoever is still there at the end is closed."""
    made: State
    match request.param:
        case "sqlite":
            made = SqliteState(tmp_path / "state")
        case "memory":
            made = MemoryState()
        case _:
            made = PostgresState(request.getfixturevalue("postgres_server"))
    yield made
    for ledger in made.opened:
        await ledger.close()
    made.close()


@pytest.fixture
async def ledger(state: State) -> Ledger:
    """An open ledger, the oldest photo first."""
    return await state.open()


# ── Admission ────────────────────────────────────────────────────────────────────────────────────


async def test_a_new_file_is_queued_once(ledger: Ledger, state: State) -> None:
    """Admitting twice is admitting once."""
    assert await ledger.admit([file()]) == Admitted(new=1)
    assert await ledger.admit([file()]) == Admitted(unchanged=1)
    claim = await state.claim_one(ledger)
    assert names(claim) == ["IMG_1.JPG"]
    assert (claim.attempt, claim.digest, claim.recorded, claim.asked_again_since) == (
        1,
        "",
        False,
        None,
    )
    assert claim.photo.files == (file(),)


@pytest.mark.parametrize(
    "arriving",
    [
        ["IMG_1.JPG", "IMG_1.CR3"],
        ["IMG_1.JPG", "IMG_1.PNG", "IMG_1.CR3"],
        ["IMG_1.HEIC", "IMG_1.JPG", "IMG_2.JPG", "IMG_1.x.JPG", "img_1.CR3"],
        ["IMG_1.CR3", "IMG_1.DNG", "IMG_1"],
    ],
)
async def test_grouping_does_not_depend_on_the_order_of_arrival(
    state: State, arriving: list[str]
) -> None:
    """One by one in any order, and all at once: the photos are those of `photo.group`."""
    files = [file(name) for name in arriving]
    want = {photo.files for photo in group(files)}
    for order in itertools.islice(itertools.permutations(files), 24):
        state.renew()
        ledger = await state.open()
        for one in order:
            await ledger.admit([one])
        made = set()
        while claims := await state.claim(ledger):  # where hosts share it, one after the other
            made |= {claim.photo.files for claim in claims}
            for claim in claims:
                await state.tag(ledger, claim)
        assert made == want
        await ledger.close()


async def test_a_file_that_joins_a_tagged_photo_queues_it_with_its_answers(
    ledger: Ledger, state: State
) -> None:
    """The raw was tagged; its JPEG comes: one photo, its digest known, nothing to ask again."""
    await ledger.admit([file("IMG_1.CR3")])
    await state.tag(ledger, await state.claim_one(ledger))
    assert await ledger.admit([file("IMG_1.CR3"), file("IMG_1.JPG")]) == Admitted(
        new=1, unchanged=1
    )
    claim = await state.claim_one(ledger)
    assert names(claim) == ["IMG_1.JPG", "IMG_1.CR3"]
    assert (claim.digest, claim.recorded, claim.changed) == (DIGEST, True, False)


async def test_a_changed_file_is_queued_and_its_digest_is_in_doubt(
    ledger: Ledger, state: State
) -> None:
    """Another stamp is another file, until its bytes are read."""
    await ledger.admit([file()])
    await state.tag(ledger, await state.claim_one(ledger))
    assert await ledger.admit([file(size=2000)]) == Admitted(changed=1)
    assert await ledger.admit([file("IMG_1.CR3")]) == Admitted(new=1)
    claim = await state.claim_one(ledger)
    assert (claim.digest, claim.recorded, claim.changed) == (DIGEST, True, True)
    assert claim.photo.primary.stamp.size == 2000
    await state.tag(ledger, claim, digest=OTHER)
    await ledger.admit([file()], again=True)
    claim = await state.claim_one(ledger)
    assert (claim.digest, claim.changed) == (OTHER, True)


@pytest.mark.parametrize("part", range(4))
async def test_any_part_of_the_stamp_tells_a_changed_file(
    ledger: Ledger, state: State, part: int
) -> None:
    """Size, mtime, inode, device: each alone; also numbers that no database likes."""
    stamp = Stamp(2**40, -(10**18), 2**64 - 1, 2**63 + 5)
    seen = PhotoFile(ROOT / "IMG_1.JPG", stamp)
    await ledger.admit([seen])
    assert await ledger.known(ROOT) == {seen.path: stamp}
    assert await ledger.admit([seen]) == Admitted(unchanged=1)
    numbers = list(stamp)
    numbers[part] += 1
    assert await ledger.admit([replace(seen, stamp=Stamp(*numbers))]) == Admitted(changed=1)
    assert (await state.claim_one(ledger)).photo.primary.stamp == Stamp(*numbers)


async def test_a_recorded_photo_stays_unless_asked_about_again(
    ledger: Ledger, state: State
) -> None:
    """``again`` queues it once and says since when; asking twice does not move that time."""
    await ledger.admit([file()])
    await state.tag(ledger, await state.claim_one(ledger))
    assert await ledger.admit([file()]) == Admitted(unchanged=1)
    assert await state.claim(ledger) == []
    state.now = since = state.now + 10
    assert await ledger.admit([file()], again=True) == Admitted(requeued=1)
    state.now += 10
    assert await ledger.admit([file()], again=True) == Admitted(unchanged=1)
    claim = await state.claim_one(ledger)
    assert (claim.asked_again_since, claim.recorded, claim.changed) == (since, True, False)
    await state.tag(ledger, claim)
    assert await state.claim(ledger) == []
    await ledger.admit([file(size=2000)])
    assert (await state.claim_one(ledger)).asked_again_since is None


async def test_asking_again_holds_for_waiting_files_and_after_a_kill(
    ledger: Ledger, state: State
) -> None:
    """What was to be asked about again before a kill is so after it, since the same time.

    That it waited already, without the wish, makes no difference.
    """
    since = state.now
    await ledger.admit([file()])
    assert await ledger.admit([file()], again=True) == Admitted(unchanged=1)
    await state.claim_one(ledger)
    await state.kill(ledger)
    state.now += 10
    assert (await state.claim_one(await state.open())).asked_again_since == since


async def test_a_photo_without_sidecars_is_queued_when_they_are_wanted(
    ledger: Ledger, state: State
) -> None:
    """A scan with --no-meta leaves it unwritten; one that writes takes it, asking nothing."""
    await ledger.admit([file()], sidecars=False)
    claim = await state.claim_one(ledger)
    await ledger.end(claim, Finished(DIGEST, sidecars_written=False))
    assert (await ledger.file_states([file()]))[file().path].state == "unwritten"
    assert await ledger.admit([file()], sidecars=False) == Admitted(unchanged=1)
    assert await state.claim(ledger) == []
    assert await ledger.admit([file()]) == Admitted(requeued=1)
    claim = await state.claim_one(ledger)
    assert (claim.digest, claim.recorded, claim.changed) == (DIGEST, True, False)


async def test_a_photo_that_an_undo_rewrote_is_known_by_its_new_stamp(
    ledger: Ledger, state: State
) -> None:
    """It stays undone; but not if somebody else wrote it, too."""
    await ledger.admit([file()])
    claim = await state.claim_one(ledger)
    await ledger.end(claim, Finished(DIGEST))
    now, other = file(size=2000), file(size=3000)
    await ledger.mark_undone([], [Rewritten(file("other.jpg").path, file().stamp, now.stamp)])
    await ledger.mark_undone([], [Rewritten(now.path, other.stamp, now.stamp)])
    assert (await ledger.file_states([now]))[now.path].state == "changed"
    await ledger.mark_undone([now.path], [Rewritten(now.path, file().stamp, now.stamp)])
    assert (await ledger.file_states([now]))[now.path].state == "undone"
    assert await ledger.admit([now]) == Admitted(unchanged=1)
    assert await ledger.admit([other]) == Admitted(changed=1)


async def test_what_was_undone_is_left_until_it_is_asked_for(ledger: Ledger, state: State) -> None:
    """Neither a scan nor a dry run queues it; a retry that names it, or asking again, does."""
    await ledger.admit([file()])
    claim = await state.claim_one(ledger)
    assert await ledger.mark_undone([file().path]) == 0
    await ledger.end(claim, Finished(DIGEST))
    assert await ledger.mark_undone([file().path, ROOT / "other.jpg"]) == 1
    assert await ledger.mark_undone([file().path]) == 0
    assert (await ledger.file_states([file()]))[file().path].state == "undone"
    counts = await ledger.counts()
    assert (counts.recorded, counts.unwritten) == (0, 1)
    assert await ledger.admit([file()]) == Admitted(unchanged=1)
    assert await ledger.retry(None) == 0
    assert await ledger.admit([file()], again=True, run="scan") == Admitted(requeued=1)
    claim = (await ledger.claim(1, within=None, run="scan", now=state.now))[0]
    await ledger.end(claim, Finished(DIGEST))
    assert await ledger.mark_undone([file().path]) == 1
    assert (await ledger.file_states([file()]))[file().path].state == "undone"
    assert await ledger.retry([ROOT]) == 1
    claim = await state.claim_one(ledger)
    assert (claim.digest, claim.recorded) == (DIGEST, True)
    await ledger.end(claim, Finished(DIGEST))
    assert (await ledger.file_states([file()]))[file().path].state == "recorded"
    assert await ledger.admit([file(size=2000)]) == Admitted(changed=1)


async def test_quarantine_is_left_by_change_not_by_another_look(
    ledger: Ledger, state: State
) -> None:
    """The same broken file stays there, also when asked about again; a replaced one is new."""
    await ledger.admit([file()])
    await ledger.end(await state.claim_one(ledger), Failed("not a picture", final=True))
    assert await ledger.admit([file()], again=True) == Admitted(unchanged=1)
    assert await state.claim(ledger) == []
    assert await ledger.admit([file(size=2000)]) == Admitted(changed=1)
    assert (await state.claim_one(ledger)).attempt == 1


async def test_a_sidecar_failure_is_retried_by_whoever_wants_sidecars(
    ledger: Ledger, state: State
) -> None:
    """A read-only folder that became writable: the next scan that writes takes the photo."""
    await ledger.admit([file()])
    failure = "read-only folder"
    claim = await state.claim_one(ledger)
    assert await ledger.end(claim, Failed(failure, final=True, for_sidecars=True))
    assert await ledger.admit([file()], sidecars=False) == Admitted(unchanged=1)
    assert await ledger.admit([file()]) == Admitted(requeued=1)
    claim = await state.claim_one(ledger)
    assert claim.attempt == 1
    await ledger.end(claim, Failed("not a picture", final=True))
    assert await ledger.admit([file()]) == Admitted(unchanged=1)


@pytest.mark.parametrize("ending", ["finish", "release", "defer", "fail", "resettle", "kill"])
async def test_a_file_that_changes_while_claimed_is_queued_when_the_claim_ends(
    ledger: Ledger, state: State, ending: str
) -> None:
    """However the claim ends, the new bytes are queued, from the first attempt."""
    await ledger.admit([file()])
    claim = await state.claim_one(ledger)
    assert await ledger.admit([file(size=2000)]) == Admitted(changed=1)
    assert await state.claim(ledger) == []
    match ending:
        case "finish":
            assert await ledger.end(claim, Finished(DIGEST, record()))
        case "release":
            await ledger.end(claim, Released())
        case "defer":
            await ledger.end(claim, Deferred("backend down", state.now + 1000))
        case "fail":
            assert not await ledger.end(claim, Failed("truncated", final=True, record=record()))
            assert await ledger.outbox(10) == []
        case "resettle":
            await ledger.end(claim, Moved())
        case _:
            await state.kill(ledger)
            ledger = await state.open()
    claim = await state.claim_one(ledger)
    assert claim.photo.files == (file(size=2000),)
    assert claim.attempt == 1
    assert claim.changed or not claim.digest


async def test_asking_again_while_claimed_is_not_lost(ledger: Ledger, state: State) -> None:
    """The claim that runs does not answer a wish that came after it; one pass more does."""
    await ledger.admit([file()])
    claim = await state.claim_one(ledger)
    state.now += 1
    assert await ledger.admit([file()], again=True) == Admitted(requeued=1)
    assert await ledger.admit([file()], again=True) == Admitted(unchanged=1)
    await state.tag(ledger, claim)
    claim = await state.claim_one(ledger)
    assert claim.asked_again_since == state.now
    await state.tag(ledger, claim)
    assert await state.claim(ledger) == []


async def test_files_come_out_of_two_folders_and_odd_names_unharmed(
    ledger: Ledger, state: State
) -> None:
    """Names are bytes: not UTF-8, newlines, emoji; the same name in two folders is two files."""
    odd = [
        Path(os.fsdecode(b"/srv/import/\xff\xfe caf\xe9.JPG")),
        ROOT / "a\nb 🐈.JPG",
        ROOT / "below" / "IMG_1.JPG",
        ROOT / "IMG_1.JPG",
        ROOT / "noextension",
        ROOT / ".hidden.JPG",
    ]
    files = [PhotoFile(path, file().stamp) for path in odd]
    assert await ledger.admit(files) == Admitted(new=6)
    assert await ledger.admit(files) == Admitted(unchanged=6)
    assert {claim.photo.primary.path for claim in await state.claim(ledger)} == set(odd)


async def test_many_files_are_admitted_in_batches(ledger: Ledger) -> None:
    """More than one transaction's worth, from an iterator that can be read once."""
    files = (file(f"IMG_{n}.JPG") for n in range(2500))
    assert await ledger.admit(files) == Admitted(new=2500)
    assert (await ledger.counts()).queued == 2500


# ── What is known ────────────────────────────────────────────────────────────────────────────────


async def test_standing_tells_every_state(ledger: Ledger, state: State) -> None:
    """A listing shows how each file stands, since when, why; and changes nothing."""
    await ledger.admit([file("broken.JPG")])
    state.now += 1
    await ledger.end(await state.claim_one(ledger), Failed("not a picture", final=True))
    await ledger.admit([file("tagged.JPG")])
    await state.tag(ledger, await state.claim_one(ledger))
    await ledger.admit([file("taken.JPG")])
    await state.claim_one(ledger)
    await ledger.admit([file("waiting.JPG")])
    asked = ["broken.JPG", "tagged.JPG", "taken.JPG", "waiting.JPG", "unseen.JPG"]
    stand = await ledger.file_states([*map(file, asked), file("changed.JPG"), file("X/tagged.JPG")])
    assert [stand[ROOT / name].state for name in asked] == [
        "quarantined",
        "recorded",
        "claimed",
        "queued",
        "new",
    ]
    assert stand[ROOT / "broken.JPG"].reason == "not a picture"
    assert stand[ROOT / "broken.JPG"].since == state.now
    assert stand[ROOT / "X/tagged.JPG"].state == "new"
    changed = file("tagged.JPG", size=5)
    assert (await ledger.file_states([changed]))[changed.path].state == "changed"
    assert await state.claim_one(ledger)


async def test_known_and_folders_tell_the_reconciler_what_to_look_for(
    ledger: Ledger,
) -> None:
    """Files of one folder alone; folders at and below a path, not those beside it."""
    a, b, beside = (
        file("A.JPG"),
        file("B.JPG", folder=ROOT / "sub"),
        file(folder=Path("/srv/import2")),
    )
    await ledger.admit([a, b, beside])
    assert await ledger.known(ROOT) == {a.path: a.stamp}
    assert await ledger.known(ROOT / "nowhere") == {}
    rows, none = await ledger.stamps([ROOT, ROOT / "nowhere"])
    assert rows == {(os.fsencode(a.path.name), *a.stamp)}
    assert none == set()
    assert await ledger.folders(ROOT) == [ROOT, ROOT / "sub"]
    assert await ledger.folders(Path("/")) == [ROOT, ROOT / "sub", Path("/srv/import2")]


async def missing(ledger: Ledger, *names: str) -> list[str]:
    """Note that just the files *names* are gone; return the names of those that are forgotten."""
    paths = {ROOT / name for name in names}
    return sorted(p.name for p in await ledger.missing(ROOT, paths, grace_seconds=100))


async def test_what_is_missing_is_forgotten_after_the_grace_time(
    ledger: Ledger, state: State
) -> None:
    """Counted from when it was missed first; what is unknown or elsewhere does not matter."""
    elsewhere = file(folder=Path("/srv/important"))
    await ledger.admit([file("a.JPG"), file("b.JPG"), elsewhere])
    assert await missing(ledger, "a.JPG", "never-seen.JPG") == []
    state.now += 60
    assert await missing(ledger, "a.JPG", "b.JPG") == []
    state.now += 40
    assert await missing(ledger, "a.JPG", "b.JPG") == ["a.JPG"]
    assert (await ledger.known(ROOT)).keys() == {ROOT / "b.JPG"}
    await ledger.missing(elsewhere.path.parent, {elsewhere.path}, grace_seconds=100)
    state.now += 60
    assert await missing(ledger, "b.JPG") == ["b.JPG"]
    assert (await ledger.known(elsewhere.path.parent)).keys() == {elsewhere.path}
    assert await ledger.folders(ROOT) == []


@pytest.mark.parametrize("back", ["seen again", "admitted again"])
async def test_what_comes_back_starts_over(ledger: Ledger, state: State, back: str) -> None:
    """A file that was there in between has its whole grace time again."""
    await ledger.admit([file("a.JPG")])
    await missing(ledger, "a.JPG")
    state.now += 90
    if back == "seen again":
        await missing(ledger)
    else:
        await ledger.admit([file("a.JPG", size=2000)])
    state.now += 90
    assert await missing(ledger, "a.JPG") == []
    state.now += 99
    assert await missing(ledger, "a.JPG") == []
    state.now += 1
    assert await missing(ledger, "a.JPG") == ["a.JPG"]


async def test_the_grace_time_runs_on_while_nobody_looks(state: State) -> None:
    """Since when a file is missing survives a restart."""
    ledger = await state.open()
    await ledger.admit([file("a.JPG")])
    await missing(ledger, "a.JPG")
    await ledger.close()
    state.now += 100
    assert await missing(await state.open(), "a.JPG") == ["a.JPG"]


async def test_forgetting_leaves_answers(ledger: Ledger, state: State) -> None:
    """A deleted photo is gone from the queue and the folders; what was paid for stays."""
    await ledger.admit([file()])
    await state.tag(ledger, await state.claim_one(ledger))
    await state.forget(ledger, file().path, ROOT / "unknown.JPG", Path("/nowhere/x.JPG"))
    assert await ledger.folders(Path("/")) == []
    assert await ledger.counts() == Counts()
    assert [held.answer for held in await ledger.answers(DIGEST)] == [answer()]
    assert await ledger.admit([file()]) == Admitted(new=1)


async def test_a_photo_that_falls_apart_stays_tagged_where_it_was_read(
    ledger: Ledger, state: State
) -> None:
    """The raw goes: the JPEG that was looked at stays tagged, the HEIC is a picture of its own."""
    trio = [file("IMG_1.CR3"), file("IMG_1.HEIC"), file("IMG_1.JPG")]
    await ledger.admit(trio)
    claim = await state.claim_one(ledger)
    assert names(claim) == ["IMG_1.JPG", "IMG_1.HEIC", "IMG_1.CR3"]
    await state.tag(ledger, claim)
    await state.forget(ledger, trio[0].path)
    claim = await state.claim_one(ledger)
    assert names(claim) == ["IMG_1.HEIC"]
    assert (claim.digest, claim.recorded) == ("", False)
    assert (await ledger.file_states([trio[2]]))[trio[2].path].state == "recorded"


async def test_a_photo_deleted_while_claimed_still_gets_its_record(
    ledger: Ledger, state: State
) -> None:
    """Its work is done and paid for; then nothing of it is left."""
    await ledger.admit([file()])
    claim = await state.claim_one(ledger)
    await state.forget(ledger, file().path)
    assert await ledger.end(claim, Finished(DIGEST, record()))
    assert await ledger.outbox(10) == [record()]
    assert await ledger.counts() == Counts()


async def test_photos_that_become_one_while_claimed_lose_no_record(
    ledger: Ledger, state: State
) -> None:
    """JPEG and PNG are worked on as two when their raw arrives; then the three are one."""
    pair = [file("IMG_1.JPG"), file("IMG_1.PNG")]
    await ledger.admit(pair)
    claims = await state.claim(ledger)
    await ledger.admit([file("IMG_1.CR3")])
    for number, claim in enumerate(claims):
        assert await ledger.end(claim, Finished(DIGEST, record(number)))
    assert len(await ledger.outbox(10)) == len(claims)
    claim = await state.claim_one(ledger)
    assert names(claim) == ["IMG_1.JPG", "IMG_1.PNG", "IMG_1.CR3"]
    assert claim.recorded


# ── Claims ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("order", "want"), [("newest", "CBA"), ("oldest", "ABC")])
async def test_the_order_is_that_of_the_setting(
    state: State, order: Literal["newest", "oldest"], want: str
) -> None:
    """Newest first: an arrival does not wait behind a backlog. Oldest first: first come."""
    ledger = await state.open(order=order)
    for name in "ABC":
        await ledger.admit([file(f"{name}.JPG")])
        state.now += 1
    claims = [*await state.claim(ledger, 1), *await state.claim(ledger, 2)]
    assert [claim.photo.primary.path.stem for claim in claims] == list(want)


async def test_only_photos_within_are_claimed(ledger: Ledger, state: State) -> None:
    """A folder means it and those below it, a file itself; beside them nothing is touched."""
    paths = ["a/1.JPG", "a/b/2.JPG", "a2/3.JPG", "c/4.JPG", "c/5.JPG"]
    await ledger.admit([file(path) for path in paths])

    async def claimed(*within: str) -> set[str]:
        claims = await ledger.claim(
            9, within=[ROOT / path for path in within], run="run", now=state.now
        )
        for claim in claims:
            await ledger.end(claim, Deferred())
        return {claim.photo.primary.path.stem for claim in claims}

    assert await claimed() == set()
    assert await claimed("a") == {"1", "2"}
    assert await claimed("a", "a/b") == {"1", "2"}
    assert await claimed("a/b", "c/5.JPG") == {"2", "5"}
    assert await claimed("c/4.JPG", "c/unknown.JPG") == {"4"}
    assert await claimed("a/1") == set()
    everything = await ledger.claim(9, within=[Path("/")], run="run", now=state.now)
    assert len(everything) == 5


async def test_a_photo_is_claimed_by_one_owner(ledger: Ledger, state: State) -> None:
    """A second owner gets none of what a living one works on, also after it looks for the dead."""
    await ledger.admit([file(f"{n}.JPG") for n in range(3)])
    first = await state.claim(ledger, 2)
    other = await state.open()
    assert await other.recover() == 0
    second = await state.claim(other)
    assert len(first) == 2
    assert len(second) == 1
    assert not {claim.id for claim in first} & {claim.id for claim in second}


async def test_a_file_that_the_program_always_dies_of_is_given_up_on(
    ledger: Ledger, state: State
) -> None:
    """After ten deaths in a row, none of them an attempt, it is given out to be failed, no more.

    Whoever has it says why in its record. To die or be stopped with it in hand changes nothing.
    """
    await ledger.admit([file("poison.JPG")])
    for _ in range(10):
        claim = await state.claim_one(ledger)
        assert (claim.attempt, claim.exhausted) == (1, "")
        await state.kill(ledger)
        ledger = await state.open()
    for _ in range(2):
        (claim,) = await state.claim(ledger)
        assert claim.exhausted == "the program died 10 times while reading it"
        await state.kill(ledger)
        ledger = await state.open()
    (claim,) = await state.claim(ledger)
    assert await ledger.end(claim, Failed(claim.exhausted, final=True, record=record()))
    assert await ledger.outbox(10) == [record()]
    await ledger.admit([file("good.JPG")])
    assert names(await state.claim_one(ledger)) == ["good.JPG"]
    (poison,) = await ledger.quarantined(10)
    assert poison.photo.files == (file("poison.JPG"),)
    assert poison.reason == claim.exhausted
    await ledger.retry(None)
    assert not (await state.claim_one(ledger)).exhausted


async def test_a_photo_without_attempts_left_is_given_out_to_be_failed(state: State) -> None:
    """Somebody lowered ``max_attempts`` between two attempts: the last reason is the reason."""
    ledger = await state.open()
    await ledger.admit([file()])
    await ledger.end(await state.claim_one(ledger), Failed("empty"))
    await ledger.close()
    ledger = await state.open(max_attempts=1)
    claim = await state.claim_one(ledger)
    assert (claim.exhausted, claim.attempt) == ("empty", 1)


async def test_deaths_after_a_photo_was_read_are_not_its_fault(
    ledger: Ledger, state: State
) -> None:
    """Whoever is waiting for the backend when the power fails may be so for ever."""
    await ledger.admit([file()])
    for _ in range(12):
        await ledger.decoded(await state.claim_one(ledger), "")
        await state.kill(ledger)
        ledger = await state.open()
    assert (await state.claim_one(ledger)).attempt == 1


async def test_a_living_owner_takes_over_from_a_dead_one(ledger: Ledger, state: State) -> None:
    """`recover` works while the ledger is open; the dead one's late word counts nothing."""
    await ledger.admit([file()])
    other = await state.open()
    lost = await state.claim_one(other)
    assert await ledger.holds(lost)
    await state.kill(other)
    assert await ledger.recover() == 1
    assert await ledger.recover() == 0
    assert not await ledger.holds(lost)
    claim = await state.claim_one(ledger)
    assert claim.attempt == 1
    assert await ledger.holds(claim)
    assert not await ledger.holds(lost)
    assert not await ledger.end(lost, Finished(DIGEST, record()))
    assert await ledger.outbox(10) == []
    assert (await ledger.counts()).claimed == 1


async def test_an_orderly_end_costs_no_attempt(ledger: Ledger, state: State) -> None:
    """Closing gives the claims back as they were."""
    await ledger.admit([file()])
    await state.claim_one(ledger)
    await ledger.close()
    await ledger.close()
    assert (await state.claim_one(await state.open())).attempt == 1


async def test_deferring_costs_nothing_but_time(ledger: Ledger, state: State) -> None:
    """The backend's fault: uncharged, not given out before its time, and next_due tells when."""
    await ledger.admit([file()])
    claim = await state.claim_one(ledger)
    await ledger.end(claim, Deferred("backend down", state.now + 60))
    assert await state.claim(ledger) == []
    assert (await ledger.waiting([ROOT], "run")).due == state.now + 60
    assert not (await ledger.waiting([ROOT], "run")).nothing_left
    assert (await ledger.file_states([file()]))[file().path].reason == "backend down"
    state.now += 60
    assert (await state.claim_one(ledger)).attempt == 1
    assert (await ledger.waiting([ROOT], "run")).due is None


async def test_a_released_photo_waits_for_another_run(ledger: Ledger, state: State) -> None:
    """A dry run sees each photo once and leaves it queued for those who write."""
    await ledger.admit([file("A.JPG"), file("B.JPG")])
    for claim in await state.claim(ledger, run="dry"):
        await ledger.end(claim, Released(record(claim.id)))
    assert await state.claim(ledger, run="dry") == []
    assert (await ledger.waiting([ROOT], "dry")).nothing_left
    assert (await ledger.waiting([ROOT], "dry")).due is None
    assert not (await ledger.waiting([ROOT], "wet")).nothing_left
    assert len(await ledger.outbox(10)) == 2
    claims = await state.claim(ledger, run="wet")
    assert [claim.attempt for claim in claims] == [1, 1]


async def test_failures_add_up_to_quarantine(ledger: Ledger, state: State) -> None:
    """Three attempts, then it is quarantined with the last reason; only then is it journalled."""
    await ledger.admit([file("bad.JPG")])
    for attempt in (1, 2, 3):
        claim = await state.claim_one(ledger)
        assert claim.attempt == attempt
        quarantined = await ledger.end(claim, Failed(f"empty {attempt}", record=record()))
        assert quarantined == (attempt == 3)
        assert len(await ledger.outbox(10)) == (attempt == 3)
    assert await state.claim(ledger) == []
    (bad,) = await ledger.quarantined(10)
    assert (bad.reason, bad.since) == ("empty 3", state.now)
    assert (await ledger.waiting([ROOT], "run")).nothing_left


@pytest.mark.parametrize("order", ["newest", "oldest"])
async def test_deferred_photos_come_behind_the_others(
    state: State, order: Literal["newest", "oldest"]
) -> None:
    """What stops the backend each time that it is asked comes after what it answers."""
    ledger = await state.open(order=order)
    for number in range(4):
        await ledger.admit([file(f"{number}.JPG")])
        state.now += 1
    for claim in await state.claim(ledger, 2):
        await ledger.end(claim, Deferred("401", state.now))
    after = [names(claim)[0] for claim in await state.claim(ledger)]
    expected = {"oldest": "2 3 0 1", "newest": "1 0 2 3"}[order]
    assert after == [f"{number}.JPG" for number in expected.split()]


@pytest.mark.parametrize("order", ["newest", "oldest"])
async def test_deferred_photos_take_turns(state: State, order: Literal["newest", "oldest"]) -> None:
    """Photos that upset the backend each time do not keep one back that merely was there."""
    ledger = await state.open(order=order)
    await ledger.admit([file(f"{number}.JPG") for number in range(6)])
    for claim in await state.claim(ledger, 6):
        await ledger.end(claim, Deferred("401", state.now + 1))
    claimed = set()
    for _ in range(3):
        state.now += 60
        claims = await state.claim(ledger, 2)
        for claim in claims:
            claimed.add(names(claim)[0])
            await ledger.end(claim, Deferred("401", state.now + 30))
    assert len(claimed) == 6


async def test_a_slow_photo_has_two_attempts_and_is_claimed_apart(state: State) -> None:
    """Also after a restart; the others need not wait for it, nor look at it."""
    first = await state.open()
    await first.admit([file("SLOW.JPG")])
    slow = await state.claim_one(first)
    assert not slow.slow
    assert not await first.end(slow, Failed("too long", slow=True))
    await first.close()
    ledger = await state.open()
    await ledger.admit([file("GOOD.JPG")])

    async def claim(*, slow: bool | None) -> list[Claim]:
        return await ledger.claim(9, within=[ROOT], run="run", now=state.now, slow=slow)

    (good,) = await claim(slow=False)
    assert (names(good), good.slow) == (["GOOD.JPG"], False)
    assert (await ledger.waiting([ROOT], "run", slow=False)).due is None
    assert (await ledger.waiting([ROOT], "run", slow=True)).due is not None
    (again,) = await claim(slow=True)
    assert (names(again), again.slow, again.attempt) == (["SLOW.JPG"], True, 2)
    assert await claim(slow=None) == []
    assert await ledger.end(again, Failed("still too long", slow=True))
    (given_up,) = await ledger.quarantined(9)
    assert given_up.reason == "still too long"


async def test_a_photo_is_slow_until_it_changes(state: State, ledger: Ledger) -> None:
    """Retried, tagged or deferred it still is; other bytes may be quick, also if they come late."""
    await ledger.admit([file()])
    for ending in (Failed("slow", slow=True), Deferred("away"), Finished(DIGEST)):
        await ledger.end(await state.claim_one(ledger), ending)
        await ledger.admit([file()], again=True)
    claim = await state.claim_one(ledger)
    assert claim.slow
    await ledger.end(claim, Failed("not a picture", final=True))
    await ledger.retry([ROOT])
    claim = await state.claim_one(ledger)
    assert (claim.slow, claim.attempt) == (True, 1)
    await ledger.end(claim, Released())
    await ledger.admit([file(size=2000)])
    claim = await state.claim_one(ledger)
    assert not claim.slow
    await ledger.admit([file(size=3000)])
    await ledger.end(claim, Failed("slow", slow=True))
    assert not (await state.claim_one(ledger)).slow


async def test_a_final_failure_needs_no_second_attempt(ledger: Ledger, state: State) -> None:
    """The same bytes cannot end better."""
    await ledger.admit([file()])
    assert await ledger.end(await state.claim_one(ledger), Failed("a text file", final=True))
    assert await ledger.counts() == Counts(quarantined=1)


async def test_success_wipes_the_slate(ledger: Ledger, state: State) -> None:
    """Two failures and a success: the next change starts from the first attempt again."""
    await ledger.admit([file()])
    for _ in range(2):
        await ledger.end(await state.claim_one(ledger), Failed("empty"))
    await state.tag(ledger, await state.claim_one(ledger))
    assert (await ledger.file_states([file()]))[file().path].reason == ""
    await ledger.admit([file(size=2)])
    assert (await state.claim_one(ledger)).attempt == 1


async def test_retry_queues_what_it_is_asked_to(ledger: Ledger, state: State) -> None:
    """By file, by folder, or all; with all attempts before it again."""
    await ledger.admit([file("a/1.JPG"), file("a/2.JPG"), file("b/3.JPG"), file("b/c/4.JPG")])
    for claim in await state.claim(ledger):
        await ledger.end(claim, Failed("broken", final=True))
    assert len(await ledger.quarantined(10, [ROOT / "a"])) == 2
    assert await ledger.retry([ROOT / "a/2.JPG"]) == 1
    assert await ledger.retry([ROOT / "b"]) == 2
    assert await ledger.counts([ROOT / "a"]) == Counts(queued=1, quarantined=1)
    assert await ledger.retry(None) == 1
    assert await ledger.retry(None) == 0
    assert [claim.attempt for claim in await state.claim(ledger)] == [1, 1, 1, 1]


async def test_retry_of_all_that_failed_takes_also_what_waits(ledger: Ledger, state: State) -> None:
    """Deferred, failed once, without sidecars, in quarantine: all of them, and nothing else."""
    named = ["deferred", "once", "bare", "aside", "taken", "tagged", "waiting", "elsewhere/aside"]
    await ledger.admit([file(f"{name}.JPG") for name in named])
    claims = {str(c.photo.primary.path.relative_to(ROOT)): c for c in await state.claim(ledger)}
    await ledger.end(claims["deferred.JPG"], Deferred("the backend is down", state.now + 1000))
    await ledger.end(claims["once.JPG"], Failed("empty"))
    await ledger.end(claims["bare.JPG"], Finished(DIGEST, sidecars_written=False))
    await ledger.end(claims["aside.JPG"], Failed("not a picture", final=True))
    await ledger.end(claims["elsewhere/aside.JPG"], Failed("not a picture", final=True))
    await state.tag(ledger, claims["tagged.JPG"])
    await ledger.end(claims["waiting.JPG"], Deferred())
    assert await ledger.mark_undone([file("tagged.JPG").path]) == 1  # that is no failure
    assert await ledger.retry([ROOT / "elsewhere"], failed=True) == 1
    assert await ledger.retry([ROOT], failed=True) == 4
    assert await ledger.retry(None, failed=True) == 0
    again = await state.claim(ledger)
    assert len(again) == 6
    assert {claim.attempt for claim in again} == {1}


async def test_a_pause_holds_standing_orders_alone(ledger: Ledger, state: State) -> None:
    """A daemon gets nothing; what a run asked for itself goes on; held claims end as ever."""
    await ledger.admit([file("A.JPG")])
    held = await state.claim_one(ledger)
    await ledger.admit([file("B.JPG"), file("C.JPG")])
    assert await ledger.paused(state.now) is None
    other = await state.open()
    await other.pause(Pause("the GPU is needed", state.now, None))
    assert await ledger.paused(state.now) == Pause("the GPU is needed", state.now, None)
    assert await state.claim(ledger) == []
    assert (await ledger.waiting([ROOT], "run")).due is None
    assert not (await ledger.waiting([ROOT], "run")).nothing_left
    await state.tag(ledger, held)
    await ledger.admit([file("B.JPG")], run="scan")
    assert (await ledger.waiting(None, "scan")).due is not None
    (asked,) = await ledger.claim(9, within=None, run="scan", now=state.now)
    assert names(asked) == ["B.JPG"]
    await ledger.end(asked, Deferred())
    one = [file("B.JPG").path]  # as a scan looks whether there is room for its sidecar
    assert await ledger.claim(1, within=one, run="scan", now=state.now) == []
    (asked,) = await ledger.claim(1, within=one, run="scan", now=state.now, ignore_pause=True)
    assert names(asked) == ["B.JPG"]
    await ledger.pause(None)
    await ledger.pause(None)
    assert await other.paused(state.now) is None
    assert names(await state.claim_one(ledger)) == ["C.JPG"]


async def test_a_pause_outlives_everybody_and_ends_at_its_time(
    ledger: Ledger, state: State
) -> None:
    """It is kept; the last word counts; next_due says when to look again."""
    await ledger.admit([file()])
    await ledger.pause(Pause("for ever", state.now, None))
    state.now += 1
    await ledger.pause(Pause("lunch", state.now, state.now + 60))
    await state.kill(ledger)
    ledger = await state.open()
    assert await ledger.paused(state.now) == Pause("lunch", state.now, state.now + 60)
    assert await state.claim(ledger) == []
    assert (await ledger.waiting([ROOT], "run")).due == state.now + 60
    state.now += 60
    assert await ledger.paused(state.now) is None
    await state.claim_one(ledger)


async def test_times_are_kept_well_enough(ledger: Ledger, state: State) -> None:
    """An answer never seems older than a wish that came before it, however close they are."""
    await ledger.admit([file()])
    claim = await state.claim_one(ledger)
    for number in range(50):
        state.now += 0.000137
        await ledger.checkpoint(claim, DIGEST, answer(text=str(number)))
        (held,) = await ledger.answers(DIGEST)
        assert 0 <= held.at - state.now < 0.0011


async def test_resettling_waits_for_the_file_to_be_admitted_again(
    ledger: Ledger, state: State
) -> None:
    """A file that still grows costs nothing: it is forgotten, and comes back when it settled."""
    await ledger.admit([file("IMG_1.CR3"), file("IMG_1.JPG")])
    await ledger.end(await state.claim_one(ledger), Moved())
    assert await ledger.known(ROOT) == {}
    assert (await ledger.waiting([ROOT], "run")).nothing_left
    assert await ledger.admit([file("IMG_1.JPG", size=9), file("IMG_1.CR3")]) == Admitted(new=2)
    claim = await state.claim_one(ledger)
    assert names(claim) == ["IMG_1.JPG", "IMG_1.CR3"]
    assert claim.attempt == 1


async def test_resettling_leaves_alone_what_became_a_photo_of_its_own(
    ledger: Ledger, state: State
) -> None:
    """The raw goes while the three are worked on: the HEIC, now its own photo, stays queued."""
    await ledger.admit([file("IMG_1.CR3"), file("IMG_1.HEIC"), file("IMG_1.JPG")])
    claim = await state.claim_one(ledger)
    await state.forget(ledger, ROOT / "IMG_1.CR3")
    await ledger.end(claim, Moved())
    assert list(await ledger.known(ROOT)) == [ROOT / "IMG_1.HEIC"]
    assert names(await state.claim_one(ledger)) == ["IMG_1.HEIC"]


async def test_an_ended_claim_has_no_further_effect(ledger: Ledger, state: State) -> None:
    """Ending a claim twice, in any way, is ending it once."""
    await ledger.admit([file()])
    claim = await state.claim_one(ledger)
    assert await ledger.end(claim, Finished(DIGEST, record(1)))
    assert not await ledger.end(claim, Finished(OTHER, record(2), sidecars_written=False))
    assert not await ledger.end(claim, Failed("late", final=True, record=record(3)))
    await ledger.end(claim, Released(record(4)))
    await ledger.end(claim, Deferred("late", state.now))
    await ledger.end(claim, Moved())
    await ledger.written(claim, OTHER, [])
    assert await ledger.outbox(10) == [record(1)]
    assert await ledger.counts() == Counts(recorded=1)
    await ledger.admit([file()], again=True)
    assert (await state.claim_one(ledger)).digest == DIGEST


async def test_a_cancelled_claim_leaves_nothing_claimed(ledger: Ledger, state: State) -> None:
    """The worker was stopped before it saw what it got: the photos wait on, uncharged."""
    await ledger.admit([file()])
    claiming = asyncio.create_task(state.claim(ledger))
    await asyncio.sleep(0)
    claiming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await claiming
    assert (await state.claim_one(ledger)).attempt == 1


# ── Answers, sidecars, outbox ────────────────────────────────────────────────────────────────────


async def test_an_answer_is_held_from_the_moment_it_is_paid(ledger: Ledger, state: State) -> None:
    """Killed between two answers: the first is there, whole, with its time."""
    await ledger.admit([file()])
    claim = await state.claim_one(ledger)
    await ledger.checkpoint(claim, DIGEST, answer("caption"))
    state.now += 5
    await ledger.checkpoint(claim, DIGEST, answer("keywords"))
    await state.kill(ledger)
    held = await (await state.open()).answers(DIGEST)
    assert [(one.answer, one.at) for one in held] == [
        (answer("caption"), state.now - 5),
        (answer("keywords"), state.now),
    ]
    assert await (await state.open()).answers(OTHER) == []


async def test_answers_of_one_request_are_kept_in_one_step_with_their_cost(
    ledger: Ledger, state: State
) -> None:
    """All of it is there after a kill."""
    await ledger.admit([file()])
    claim = await state.claim_one(ledger)
    given = answer("caption"), answer("keywords")
    spent = {("2025-06-30", "small"): Usage(1, 900, 40), ("2025-07-01", "large"): Usage(2)}
    await ledger.checkpoint(claim, DIGEST, *given, spent=spent)
    await state.kill(ledger)
    ledger = await state.open()
    assert {held.answer.role for held in await ledger.answers(DIGEST)} == {"caption", "keywords"}
    assert await ledger.spent("2025-06-30") == {"small": Usage(1, 900, 40)}
    assert await ledger.spent("2025-07-01") == {"large": Usage(2)}


async def test_what_was_read_without_harm_comes_with_its_answers(
    ledger: Ledger, state: State
) -> None:
    """One step says both: which bytes did no harm, and what is known of them."""
    await ledger.admit([file()])
    claim = await state.claim_one(ledger)
    assert await ledger.decoded(claim, DIGEST) == []
    await ledger.checkpoint(claim, DIGEST, answer())
    assert await ledger.decoded(claim, DIGEST) == await ledger.answers(DIGEST)
    assert [held.answer for held in await ledger.answers(DIGEST)] == [answer()]


async def test_the_last_answer_to_a_question_counts(ledger: Ledger, state: State) -> None:
    """One per digest, role and question; another question is another answer."""
    await ledger.admit([file()])
    claim = await state.claim_one(ledger)
    await ledger.checkpoint(claim, DIGEST, answer(text="First"))
    state.now += 1
    await ledger.checkpoint(claim, DIGEST, answer(text="Second"))
    await ledger.checkpoint(claim, DIGEST, answer(text="Other", question="00" * 16))
    await ledger.checkpoint(claim, OTHER, replace(answer(text="x"), raw="", model="", seconds=0.0))
    texts = {held.answer.text: held.at for held in await ledger.answers(DIGEST)}
    assert texts == {"Second": state.now, "Other": state.now}
    (short,) = await ledger.answers(OTHER)
    assert short.answer == replace(answer(text="x"), raw="", model="", seconds=0.0)


async def test_written_sidecars_are_remembered(ledger: Ledger, state: State) -> None:
    """A kill after writing: the next claim knows the digest and what was written."""
    await ledger.admit([file()])
    claim = await state.claim_one(ledger)
    beside = Sidecar(path=ROOT / "IMG_1.xmp", written=True, digest="11" * 32)
    elsewhere = Sidecar(path=Path("/srv/xmp/IMG_1.xmp"), written=False, digest="22" * 32)
    refused = Sidecar(path=ROOT / "IMG_1.JPG.xmp", written=False, error="damaged")
    await ledger.written(claim, DIGEST, [beside, elsewhere, refused])
    await state.kill(ledger)
    claim = await state.claim_one(await state.open())
    assert claim.sidecars == {beside.path: beside.digest, elsewhere.path: elsewhere.digest}
    assert (claim.digest, claim.recorded) == (DIGEST, False)


async def test_a_photo_embedded_into_is_known_by_its_new_stamp(
    ledger: Ledger, state: State
) -> None:
    """The file is not seen as changed, and is no sidecar; a write by others meanwhile still is."""
    await ledger.admit([file(), file("IMG_2.JPG")])
    first, second = await state.claim(ledger)
    for claim in (first, second):
        path = claim.photo.primary.path
        if claim is second:
            await ledger.admit([replace(claim.photo.primary, stamp=Stamp(3000, 3, 3, 3))])
        done = Sidecar(path=path, written=True, embedded=True, stamp=Stamp(2000, 2, 2, 2))
        await ledger.written(claim, DIGEST, [done])
        await ledger.end(claim, Finished(DIGEST))
    embedded = replace(first.photo.primary, stamp=Stamp(2000, 2, 2, 2))
    assert await ledger.admit([embedded]) == Admitted(unchanged=1)
    assert (await ledger.file_states([embedded]))[embedded.path].state == "recorded"
    theirs = await state.claim_one(ledger)
    assert theirs.photo.primary.stamp == Stamp(3000, 3, 3, 3)
    await ledger.admit([embedded], again=True)
    again = await state.claim_one(ledger)
    assert not again.sidecars


async def test_a_lost_claim_stamps_nothing(ledger: Ledger, state: State) -> None:
    """Its photo may be somebody else's by now."""
    await ledger.admit([file()])
    claim = await state.claim_one(ledger)
    await ledger.end(claim, Deferred())
    done = Sidecar(path=file().path, written=True, embedded=True, stamp=Stamp(2000, 2, 2, 2))
    await ledger.written(claim, DIGEST, [done])
    assert await ledger.known(ROOT) == {file().path: file().stamp}


async def test_written_but_not_recorded_is_not_recorded(ledger: Ledger, state: State) -> None:
    """Tagged, replaced, written, killed: the new tagging still owes its record."""
    await ledger.admit([file()])
    await state.tag(ledger, await state.claim_one(ledger))
    await ledger.admit([file(size=2)])
    await ledger.written(await state.claim_one(ledger), OTHER, [])
    await state.kill(ledger)
    claim = await state.claim_one(await state.open())
    assert (claim.digest, claim.recorded, claim.changed) == (OTHER, False, False)


async def test_the_outbox_keeps_lines_until_they_are_delivered(
    ledger: Ledger, state: State
) -> None:
    """In order, again until delivered, also after a kill; the same record is kept once."""
    await ledger.admit([file("A.JPG"), file("B.JPG")])
    for number, claim in enumerate(await state.claim(ledger)):
        await ledger.end(claim, Finished(DIGEST, record(number)))
    assert await ledger.outbox(1) == [record(0)]
    assert await ledger.outbox(10) == [record(0), record(1)]
    await ledger.delivered(["record-0", "unknown"])
    await state.kill(ledger)
    ledger = await state.open()
    assert await ledger.outbox(10) == [record(1)]
    await ledger.delivered(["record-1"])
    assert await ledger.outbox(10) == []


async def test_a_line_is_lent_to_one_owner(ledger: Ledger, state: State) -> None:
    """Two programs that deliver never both write a line; a dead or closed one lends it on."""
    await ledger.admit([file()])
    claim = await state.claim_one(ledger)
    await ledger.end(claim, Finished(DIGEST, record()))
    other, third = await state.open(), await state.open()
    assert await other.outbox(10) == [record()]
    assert await ledger.outbox(10) == []
    await state.kill(other)
    await ledger.recover()
    assert await ledger.outbox(10) == [record()]
    assert await third.outbox(10) == []
    await ledger.close()
    assert await third.outbox(10) == [record()]


async def test_whoever_asks_whether_all_is_delivered_is_lent_nothing(
    ledger: Ledger, state: State
) -> None:
    """A line that is lent to one program waits for all; one that nobody has stays free."""
    await ledger.admit([file()])
    claim = await state.claim_one(ledger)
    other = await state.open()
    assert await other.all_delivered()
    await ledger.end(claim, Finished(DIGEST, record()))
    assert not await other.all_delivered()
    assert await ledger.outbox(10) == [record()]
    assert not await other.all_delivered()
    await ledger.delivered([record().id])
    assert await other.all_delivered()


async def test_streams_are_apart(ledger: Ledger, state: State) -> None:
    """A scan with an output file of its own sees its own lines only, and nobody else does."""
    await ledger.admit([file("A.JPG"), file("B.JPG")])
    first, second = await state.claim(ledger)
    await ledger.end(first, Released(record(1, stream="scan")))
    await ledger.end(second, Finished(DIGEST, record(2)))
    assert await ledger.outbox(10, "scan") == [record(1, stream="scan")]
    assert await ledger.outbox(10) == [record(2)]


# ── Photos that move ─────────────────────────────────────────────────────────────────────────────

ALBUM = Path("/srv/import/album")


async def test_a_photo_that_moved_is_known_where_it_is(ledger: Ledger, state: State) -> None:
    """With its state, its answers and its sidecars; nothing is queued, and nothing at the old."""
    await ledger.admit([file("IMG_1.CR3"), file("IMG_1.JPG"), file("other.JPG")])
    for claim in await state.claim(ledger):
        await ledger.written(
            claim, DIGEST, [Sidecar(path=ROOT / "x.xmp", written=True, digest="d")]
        )
        await ledger.end(claim, Finished(DIGEST))
    moved = {ROOT / name: file(name, folder=ALBUM, size=7) for name in ("IMG_1.CR3", "IMG_1.JPG")}
    await ledger.relocated(moved)
    assert set(await ledger.known(ROOT)) == {ROOT / "other.JPG"}
    assert set(await ledger.known(ALBUM)) == {ALBUM / "IMG_1.CR3", ALBUM / "IMG_1.JPG"}
    states = await ledger.file_states(moved.values())
    assert {each.state for each in states.values()} == {"recorded"}
    assert await ledger.admit(moved.values()) == Admitted(unchanged=2)
    assert await ledger.counts() == Counts(recorded=2)
    assert await ledger.counts([ALBUM]) == Counts(recorded=1)
    await ledger.admit([file("IMG_1.JPG", folder=ALBUM, size=8)])
    claim = await state.claim_one(ledger)
    assert (claim.digest, claim.recorded) == (DIGEST, True)
    assert claim.sidecars == {ALBUM / "x.xmp": "d"}


@pytest.mark.parametrize("why", ["gone", "known", "not all", "unknown"])
async def test_a_photo_that_moved_out_of_sight_is_let_go(
    ledger: Ledger, state: State, why: str
) -> None:
    """Its answers are kept; what is known at the new place already stays as it is."""
    await ledger.admit([file("IMG_1.CR3"), file("IMG_1.JPG")])
    await state.tag(ledger, await state.claim_one(ledger))
    moved = {ROOT / name: file(name, folder=ALBUM) for name in ("IMG_1.CR3", "IMG_1.JPG")}
    if why == "known":
        await ledger.admit([file("IMG_1.JPG", folder=ALBUM)])
    match why:
        case "gone":
            await ledger.relocated(dict.fromkeys(moved))
        case "not all":
            await ledger.relocated({ROOT / "IMG_1.JPG": moved[ROOT / "IMG_1.JPG"]})
        case "unknown":
            await ledger.relocated({ROOT / "none.JPG": file("none.JPG", folder=ALBUM)})
        case _:
            await ledger.relocated(moved)
    here, there = set(await ledger.known(ROOT)), set(await ledger.known(ALBUM))
    left = {"not all": {ROOT / "IMG_1.CR3"}, "unknown": set(moved)}
    assert here == left.get(why, set())
    assert there == ({ALBUM / "IMG_1.JPG"} if why == "known" else set())
    assert len(await ledger.answers(DIGEST)) == 1


# ── Notices for hooks ────────────────────────────────────────────────────────────────────────────


def notice(number: int = 1, *, hook: str = "after_photo", at: float = 1_000_000.0) -> Notice:
    """Return a notice."""
    return Notice(f"notice-{number}", hook, at, f'{{"id": {number}}}')


async def test_notices_are_kept_with_the_delivery_of_their_records(
    ledger: Ledger, state: State
) -> None:
    """In order, by hook, each once, also after a kill."""
    await ledger.admit([file()])
    await ledger.end(await state.claim_one(ledger), Finished(DIGEST, record()))
    other = notice(3, hook="after_batch")
    await ledger.delivered(["record-1"], [notice(2), notice(1), other, notice(2)])
    await state.kill(ledger)
    ledger = await state.open()
    assert await ledger.outbox(10) == []
    assert await ledger.due_notices("after_photo", 10, state.now) == [notice(2), notice(1)]
    assert await ledger.due_notices("after_photo", 1, state.now) == [notice(2)]
    assert await ledger.due_notices("after_batch", 10, state.now) == [other]
    assert await ledger.due_notices("on_problem", 10, state.now) == []


async def test_notices_become_others_in_one_step(ledger: Ledger) -> None:
    """What one hook is done with, what the next is to hear, and what is noted meanwhile."""
    await ledger.notify([notice(1), notice(2)])
    after = notice(1, hook="after_batch")
    await ledger.notify([after], done=[notice(1)], notes={"batch": {"tagged": 1}})
    assert await ledger.due_notices("after_photo", 10, 1_000_000.0) == [notice(2)]
    assert await ledger.due_notices("after_batch", 10, 1_000_000.0) == [after]
    assert await ledger.recall("batch") == {"tagged": 1}
    await ledger.notify([], done=[notice(2), notice(9)], notes={"batch": None})
    assert await ledger.due_notices("after_photo", 10, 1_000_000.0) == []
    assert await ledger.recall("batch") is None


async def test_a_deferred_notice_waits_and_counts_its_attempts(ledger: Ledger) -> None:
    """Those behind it do not wait; a clock that was set back keeps none for ever."""
    now = 1_000_000.0
    await ledger.notify([notice(1), notice(2)])
    await ledger.defer_notice(notice(1), now + 60)
    assert await ledger.due_notices("after_photo", 10, now) == [notice(2)]
    assert await ledger.next_notice("after_photo") == 0.0
    await ledger.defer_notice(notice(2), now + 90)
    assert await ledger.next_notice("after_photo") == now + 60
    (due,) = await ledger.due_notices("after_photo", 10, now + 60)
    assert due == replace(notice(1), attempts=1)
    assert len(await ledger.due_notices("after_photo", 10, now - 1000)) == 2
    assert await ledger.next_notice("on_problem") is None


async def test_old_notices_and_too_many_are_dropped(ledger: Ledger) -> None:
    """Of one hook alone; the latest stay."""
    await ledger.notify([notice(n, at=1000.0 + n) for n in range(6)])
    await ledger.notify([notice(1, hook="after_batch", at=0.0)])
    assert await ledger.drop_notices("after_photo", before=0.0, keep=6) == 0
    assert await ledger.drop_notices("after_photo", before=1002.0, keep=100) == 2
    assert await ledger.drop_notices("after_photo", before=0.0, keep=3) == 1
    left = await ledger.due_notices("after_photo", 10, 1_000_000.0)
    assert [each.id for each in left] == ["notice-3", "notice-4", "notice-5"]
    assert await ledger.drop_notices("after_photo", before=0.0, keep=0) == 3
    assert await ledger.next_notice("after_batch") == 0.0


async def test_one_owner_serves_notices(ledger: Ledger, state: State) -> None:
    """Until it ends, however that is."""
    other = await state.open()
    assert await ledger.serve_notices()
    assert await ledger.serve_notices()
    assert not await other.serve_notices()
    await state.kill(ledger)
    assert await other.serve_notices()
    await other.close()
    assert await (await state.open()).serve_notices()


# ── Counts and notes ─────────────────────────────────────────────────────────────────────────────


async def test_the_oldest_is_the_one_that_waits_longest(ledger: Ledger, state: State) -> None:
    """Claimed and ended photos do not wait; one that was deferred has waited since it came."""
    assert await ledger.oldest_queued() is None
    first = state.now
    await ledger.admit([file("A.JPG")])
    state.now += 100
    await ledger.admit([file("B.JPG")])
    assert await ledger.oldest_queued() == first
    (claim,) = [c for c in await state.claim(ledger) if names(c)[0] == "A.JPG"]
    assert await ledger.oldest_queued() is None
    await ledger.end(claim, Deferred("away"))
    assert await ledger.oldest_queued() == first


async def test_counts_tell_each_photo_once(ledger: Ledger, state: State) -> None:
    """All states, everywhere and within a folder."""
    await ledger.admit([file("IMG_1.CR3"), file("IMG_1.JPG"), *(file(f"{n}.JPG") for n in "ABC")])
    await ledger.admit([file("elsewhere.JPG", folder=Path("/srv/other"))])
    a, b, c, pair = sorted(await state.claim(ledger), key=lambda claim: names(claim)[0])
    await state.tag(ledger, a)
    await ledger.end(b, Finished(OTHER, sidecars_written=False))
    await ledger.end(c, Failed("broken", final=True))
    assert names(pair) == ["IMG_1.JPG", "IMG_1.CR3"]
    want = Counts(queued=0, claimed=1, recorded=1, unwritten=1, quarantined=1)
    assert await ledger.counts([ROOT]) == want
    assert await ledger.counts() == replace(want, queued=1)
    assert await ledger.counts([]) == Counts()
    assert not (await ledger.waiting([ROOT], "run")).nothing_left


async def test_notes_are_found_again(ledger: Ledger, state: State) -> None:
    """What a room noted last is there after a restart."""
    await ledger.note("preflight", {"ok": True, "at": 1.5, "models": ["a", None]})
    await ledger.note("preflight", {"ok": False, "models": []})
    await ledger.close()
    ledger = await state.open()
    assert await ledger.recall("preflight") == {"ok": False, "models": []}
    assert await ledger.recall("nothing") is None


async def test_what_was_spent_adds_up_by_day_and_model(ledger: Ledger, state: State) -> None:
    """Over all owners and over a restart: whoever asks next learns of it."""
    beside = await state.open()
    await ledger.spend("2025-06-30", "small", Usage(1, 900, 40))
    await beside.spend("2025-06-30", "small", Usage(1, 800, 30))
    await beside.spend("2025-06-30", "large", Usage(2))
    await beside.spend("2025-07-01", "small", Usage(1, 1, 1))
    await beside.close()
    await ledger.close()
    ledger = await state.open()
    assert await ledger.spent("2025-06-30") == {"small": Usage(2, 1700, 70), "large": Usage(2)}
    assert await ledger.spent("2025-06-29") == {}


async def test_what_failed_over_other_questions_is_queued_again(
    ledger: Ledger, state: State
) -> None:
    """Not what failed over the same, and not what no question could help."""
    endings = [Failed("a", final=True, asked_as=asked) for asked in ("one", "two", "")]
    files = [file(name) for name in ("a.jpg", "b.jpg", "c.jpg")]
    for one, ending in zip(files, endings, strict=True):
        await ledger.admit([one])
        await ledger.end(await state.claim_one(ledger), ending)
    states = await ledger.file_states(files)
    assert [states[one.path].asked_as for one in files] == ["one", "two", ""]
    assert await ledger.retry([ROOT], unless_asked_as="two") == 1
    states = await ledger.file_states(files)
    assert [states[one.path].state for one in files] == ["queued", "quarantined", "quarantined"]


# ── What people did ──────────────────────────────────────────────────────────────────────────────


def correction(name: str = "IMG_1.JPG", action: str = "one") -> Correction:
    """Return that somebody edited the caption of a photo."""
    return Correction(
        photo=ROOT / name,
        kind="edited",
        field="caption",
        before="A pier",
        after="The pier at Sopot",
        model="tiny-vlm",
        who="ana",
        action=action,
    )


async def test_what_people_did_outlives_a_restart(ledger: Ledger, state: State) -> None:
    """With every word of it, whatever its characters, and the time at which it was kept."""
    long = "\u202e\u05e9\u05dc\u05d5\u05dd\n" + "w" * 65536
    odd = replace(correction("\udcff.JPG"), after=long, undo='{"a": 1}')
    await ledger.correct([correction(), odd])
    await ledger.close()
    ledger = await state.open()
    kept = await ledger.corrections()
    assert [replace(each, id=0) for each in kept] == [
        replace(correction(), at=state.now),
        replace(odd, at=state.now),
    ]
    assert await ledger.corrections_of(odd.photo) == kept[1:]
    assert await ledger.corrections_of(ROOT / "IMG_2.JPG") == []


async def test_an_action_is_undone_as_one(ledger: Ledger, state: State) -> None:
    """All that was made in it and stands; nothing else, and nothing twice."""
    await ledger.correct([correction(), correction("IMG_2.JPG")])
    state.now += 60
    await ledger.correct([correction(action="two")])
    assert await ledger.undo_corrections("one") == 2
    assert await ledger.undo_corrections("one") == 0
    assert [each.action for each in await ledger.corrections()] == ["two"]
    history = await ledger.corrections_of(ROOT / "IMG_1.JPG")
    assert [(each.action, each.undone_at) for each in history] == [
        ("one", state.now),
        ("two", None),
    ]


async def test_whoever_reads_on_hears_of_what_was_undone(ledger: Ledger) -> None:
    """Everything once, in order; what was undone since once more, as it is now."""
    await ledger.correct([correction(action=str(number)) for number in range(5)])
    first = await ledger.corrections(limit=3, undone=True)
    assert [each.action for each in first] == ["0", "1", "2"]
    await ledger.undo_corrections("1")
    rest = await ledger.corrections(after=first[-1].id, undone=True)
    assert [(each.action, each.undone_at is None) for each in rest] == [
        ("3", True),
        ("4", True),
        ("1", False),
    ]


async def test_corrections_are_found_by_kind(ledger: Ledger) -> None:
    """Suggestions count what was dropped, and read nothing else."""
    dropped = replace(correction(), kind="dropped", field="keywords", before="sky", after="")
    await ledger.correct([correction(), dropped, correction()])
    assert [each.before for each in await ledger.corrections(kind="dropped")] == ["sky"]


async def test_what_people_did_goes_with_a_photo_that_moves(ledger: Ledger) -> None:
    """A photo that is released to its folder keeps its history."""
    await ledger.admit([file()])
    await ledger.correct([correction(), correction("IMG_2.JPG")])
    new = file(folder=ROOT / "2025")
    await ledger.relocated({file().path: new})
    assert [each.photo for each in await ledger.corrections_of(new.path)] == [new.path]
    assert await ledger.corrections_of(file().path) == []
