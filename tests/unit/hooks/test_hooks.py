"""Hooks: each photo, batch and problem is told once, and nothing is lost on the way."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from structlog.testing import capture_logs

from taggerd.daemon.health import Problem
from taggerd.hooks.hooks import PHOTOS
from taggerd.settings import Hooks as HookSettings

from .conftest import Stage, settle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path
    from typing import Any

    import pytest

    from taggerd.hooks import Hooks
    from taggerd.photo import Notice

MINUTE, DAY = 60.0, 86_400.0
ALL = ("after_photo", "after_batch", "on_problem")


@asynccontextmanager
async def running(hooks: Hooks) -> AsyncIterator[None]:
    """Let *hooks* run within."""
    task = asyncio.create_task(hooks.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_each_tagged_photo_and_then_the_batch_are_told(stage: Stage) -> None:
    """The notice names the photo, its words and its sidecars; the batch counts."""
    hooks = stage.hooks(stage.settings(*ALL, idle_seconds=0))
    await stage.record(1, 2)
    async with running(hooks):
        await settle(hooks, stage, until=["photo.tagged", "photo.tagged", "batch.ended"])
    first, _, batch = stage.heard
    assert first["id"] == "photo-1-2025-1"
    assert first["text"] == "/srv/import/1.jpg: A pier"
    assert first["data"]["photo"] == "/srv/import/1.jpg"
    assert first["data"]["sidecars"] == ["/srv/import/1.jpg.xmp"]
    assert first["data"]["keywords"] == ["pier"]
    assert batch["text"] == "2 photos tagged"
    assert batch["data"]["folders"] == {"/srv/import": 2}
    assert batch["data"]["seconds"] == 1.5


async def test_a_batch_lasts_until_the_queue_has_been_empty_for_a_while(stage: Stage) -> None:
    """A slow copy of a card is one batch; photos that wait for the backend do not keep it open."""
    hooks = stage.hooks(stage.settings("after_batch", idle_seconds=30, quiet_minutes=10))
    async with running(hooks):
        await stage.record(1)
        await settle(hooks, stage, until=[])
        stage.now += 29
        await stage.record(2)
        await settle(hooks, stage, until=[])
        stage.now += 29
        await settle(hooks, stage, until=[])
        stage.now += 1
        await settle(hooks, stage, until=["batch.ended"])
        assert stage.heard[0]["data"]["tagged"] == 2
        stage.empty = False
        await stage.record(3)
        await settle(hooks, stage)
        stage.now += 9 * MINUTE
        await settle(hooks, stage, until=["batch.ended"])
        stage.now += MINUTE
        await settle(hooks, stage, until=["batch.ended", "batch.ended"])


async def test_a_batch_outlives_a_restart(stage: Stage) -> None:
    """What was counted before counts after it."""
    settings = stage.settings("after_batch", idle_seconds=30)
    async with running(hooks := stage.hooks(settings)):
        await stage.record(1, 2)
        await settle(hooks, stage, until=[])
    stage.ledger.kill()
    stage.ledger = type(stage.ledger)(stage.store, clock=lambda: stage.now)
    stage.now += 60
    async with running(hooks := stage.hooks(settings)):
        await settle(hooks, stage, until=["batch.ended"])
    assert stage.heard[0]["data"]["tagged"] == 2


async def test_a_webhook_that_is_away_gets_everything_later(stage: Stage) -> None:
    """It is tried less and less often, and the log says so in two lines."""
    hooks = stage.hooks(stage.settings("after_photo"))
    stage.away = True
    await stage.record(1, 2, 3)
    with capture_logs() as log:
        async with running(hooks):
            await settle(hooks, stage)
            tries = []
            for _ in range(120):
                stage.now += MINUTE
                await settle(hooks, stage)
                tries.append(len(stage.tried))
            assert tries[-1] <= 15, "it is left alone more and more"
            stage.away = False
            stage.now += 60 * MINUTE
            await settle(hooks, stage, until=["photo.tagged"] * 3)
    assert sorted(each["data"]["photo"][-5:] for each in stage.heard) == ["1.jpg", "2.jpg", "3.jpg"]
    told = [(line["log_level"], line["event"]) for line in log]
    assert told == [
        ("warning", "a webhook takes no notices; they are kept and sent again"),
        ("info", "a webhook takes notices again"),
    ]
    assert "hook.test" in str(log)


async def test_a_restart_loses_no_notice(stage: Stage) -> None:
    """Whatever was not taken is sent by the next program, under the same id."""
    settings = stage.settings(*ALL, idle_seconds=0)
    stage.away = True
    async with running(hooks := stage.hooks(settings)):
        await stage.record(1, 2)
        await settle(hooks, stage)
    stage.ledger.kill()
    stage.ledger = type(stage.ledger)(stage.store, clock=lambda: stage.now)
    stage.away = False
    stage.now += 10
    async with running(hooks := stage.hooks(settings)):
        await settle(hooks, stage)
    assert sorted(stage.types()) == ["batch.ended", "photo.tagged", "photo.tagged"]
    assert {each["id"] for each in stage.heard} >= {"photo-1-2025-1", "photo-2-2025-1"}


async def test_a_notice_that_is_never_taken_holds_up_no_other(stage: Stage) -> None:
    """A server may dislike one; those behind it are sent at once."""
    hooks = stage.hooks(stage.settings("after_photo"))
    stage.refused = {"photo-1-2025-1"}
    await stage.record(1, 2, 3)
    async with running(hooks):
        await settle(hooks, stage)
    assert sorted(each["data"]["photo"][-5:] for each in stage.heard) == ["2.jpg", "3.jpg"]


async def test_a_webhook_that_is_gone_for_ever_fills_no_disk(stage: Stage) -> None:
    """The number of notices and their age are bounded, and the log says what is dropped."""
    hooks = stage.hooks(stage.settings("after_photo", keep_notices=5, keep_days=7))
    stage.away = True
    with capture_logs() as log:
        async with running(hooks):
            await stage.record(*range(12))
            await settle(hooks, stage)
            stage.now += MINUTE
            await settle(hooks, stage)
            assert len(stage.store.notices) == 5
            stage.now += 8 * DAY
            await settle(hooks, stage)
            assert not stage.store.notices
    dropped = [line for line in log if line["event"].startswith("notices that could not")]
    assert [line["notices"] for line in dropped] == [7, 5]
    assert dropped[1]["reason"] == "connection refused"


async def test_failed_photos_are_told_with_their_reasons(stage: Stage) -> None:
    """Once at the end of the batch, not once a photo."""
    hooks = stage.hooks(stage.settings("on_problem", idle_seconds=0))
    await stage.record(1, 2, error="cannot be decoded")
    async with running(hooks):
        await settle(hooks, stage, until=["photos.failed"])
    (told,) = stage.heard
    assert told["text"] == "2 photos failed, first /srv/import/1.jpg: cannot be decoded"
    assert [each["reason"] for each in told["data"]["photos"]] == ["cannot be decoded"] * 2


async def test_failed_photos_of_a_long_batch_are_told_before_it_ends(stage: Stage) -> None:
    """Ten minutes after the first, while others are still being tagged."""
    hooks = stage.hooks(stage.settings("on_problem", quiet_minutes=10))
    stage.empty = False
    async with running(hooks):
        await stage.record(1, error="broken")
        await settle(hooks, stage, until=[])
        stage.now += 9 * MINUTE
        await stage.record(2)
        await settle(hooks, stage, until=[])
        stage.now += MINUTE
        await settle(hooks, stage, until=["photos.failed"])


def away(since: float, kind: str = "backend") -> Problem:
    """Return a problem."""
    return Problem(kind=kind, subject="http://gpu:8000/v1", text="refused", since=since)  # type: ignore[arg-type]


async def test_a_problem_is_told_once_when_it_begins_and_once_when_it_is_over(stage: Stage) -> None:
    """A backend has to be away for some minutes first: it restarts now and then."""
    hooks = stage.hooks(stage.settings("on_problem", backend_minutes=10))
    began = stage.now
    async with running(hooks):
        for minutes in range(10):
            stage.now = began + minutes * MINUTE
            hooks.observe([away(began)])
            await settle(hooks, stage, until=[])
        stage.now = began + 10 * MINUTE
        for _ in range(3):
            hooks.observe([away(began)])
            await settle(hooks, stage, until=["problem.began"])
        hooks.observe([])
        await settle(hooks, stage)
        stage.now += 40
        for _ in range(2):
            hooks.observe([])
            await settle(hooks, stage, until=["problem.began", "problem.ended"])
    assert stage.heard[0]["text"] == "backend http://gpu:8000/v1: refused"
    assert stage.heard[0]["data"]["seconds"] == 600
    assert stage.heard[1]["text"] == "backend http://gpu:8000/v1: all is well again"


async def test_a_backend_that_comes_back_in_time_is_nobodys_business(stage: Stage) -> None:
    """Nothing was said, so nothing is over."""
    hooks = stage.hooks(stage.settings("on_problem"))
    async with running(hooks):
        hooks.observe([away(stage.now)])
        await settle(hooks, stage)
        stage.now += 5 * MINUTE
        hooks.observe([])
        await settle(hooks, stage)
        stage.now += 60 * MINUTE
        await settle(hooks, stage, until=[])


async def test_a_restart_says_no_problem_twice(stage: Stage) -> None:
    """Nor that it is over in the moment in which nothing is known yet."""
    settings = stage.settings("on_problem")
    async with running(hooks := stage.hooks(settings)):
        hooks.observe([away(stage.now, "root")])
        await settle(hooks, stage, until=["problem.began"])
    stage.ledger.kill()
    stage.ledger = type(stage.ledger)(stage.store, clock=lambda: stage.now)
    async with running(hooks := stage.hooks(settings)):
        hooks.observe([])
        await settle(hooks, stage)
        hooks.observe([away(stage.now, "root")])
        await settle(hooks, stage)
        stage.now += MINUTE
        hooks.observe([away(stage.now, "root")])
        await settle(hooks, stage, until=["problem.began"])
        hooks.observe([])
        await settle(hooks, stage)
        stage.now += MINUTE
        await settle(hooks, stage, until=["problem.began", "problem.ended"])


async def test_one_command_runs_at_a_time_and_its_failure_is_a_line_in_the_log(
    stage: Stage, tmp_path: Path
) -> None:
    """Whatever the number of hooks and photos."""
    program = tmp_path / "hook"
    program.write_text(
        f'#!/bin/sh\nmkdir "{tmp_path}/busy" || echo two >> "{tmp_path}/two"\n'
        f'cat >> "{tmp_path}/heard"; echo >> "{tmp_path}/heard"; rmdir "{tmp_path}/busy"; exit 3\n'
    )
    program.chmod(0o700)
    settings = HookSettings(
        **{name: {"command": [str(program)]} for name in ALL},
        idle_seconds=0,
    )
    hooks = stage.hooks(settings)
    await stage.record(1, 2)
    await stage.record(3, error="broken")
    with capture_logs() as log:
        async with running(hooks):
            await hooks.finish()
    assert not (tmp_path / "two").exists()
    assert [line["reason"] for line in log] == ["exit code 3"] * 4


async def test_a_command_that_ends_taggerd_is_run_twice_at_most(
    stage: Stage, tmp_path: Path
) -> None:
    """Else a command that restarts the service would do so for ever."""
    settings = HookSettings(after_photo={"command": [str(tmp_path / "none")]})
    (notice,) = [stage.notice(1)]
    notice = type(notice)("photo-1", "after_photo", stage.now, "{}")
    await stage.ledger.notify([notice])
    for _ in range(2):
        await stage.ledger.defer_notice(notice, 0.0)
    hooks = stage.hooks(settings)
    with capture_logs() as log:
        async with running(hooks):
            await settle(hooks, stage)
    assert [line["reason"] for line in log] == ["taggerd ended twice while it ran"]
    assert not stage.store.notices


async def test_only_one_program_delivers(stage: Stage) -> None:
    """A scan beside the daemon leaves its notices to it."""
    settings = stage.settings("after_photo")
    other = type(stage.ledger)(stage.store, clock=lambda: stage.now)
    assert await other.serve_notices()
    hooks = stage.hooks(settings)
    async with running(hooks):
        await stage.record(1)
        await hooks.finish()
    assert stage.heard == []
    assert len(stage.store.notices) == 1


async def test_a_scan_ends_its_batch_and_waits_for_the_delivery(stage: Stage) -> None:
    """However long the settings let a batch be idle."""
    hooks = stage.hooks(stage.settings(*ALL, idle_seconds=3600))
    async with running(hooks):
        await stage.record(1)
        await stage.record(2, error="broken")
        await hooks.finish()
    assert sorted(stage.types()) == ["batch.ended", "photo.tagged", "photos.failed"]


async def test_a_scan_ends_its_batch_whatever_is_looked_at_meanwhile(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last records come, and it asks for the end, while the ones before are looked for."""
    hooks = stage.hooks(stage.settings(*ALL, idle_seconds=3600))
    due, looked, may_answer = stage.ledger.due_notices, asyncio.Event(), asyncio.Event()

    async def slow(hook: str, limit: int, now: float) -> list[Notice]:
        found = await due(hook, limit, now)
        if hook == PHOTOS:
            looked.set()
            await may_answer.wait()
            for _ in range(20):  # as a ledger with a thread of its own
                await asyncio.sleep(0)
        return found

    monkeypatch.setattr(stage.ledger, "due_notices", slow)
    async with asyncio.timeout(180), running(hooks):
        await looked.wait()
        await stage.record(1)
        ending = asyncio.create_task(hooks.finish())
        while not hooks._ending:  # noqa: ASYNC110 - it has begun, which no event tells of
            await asyncio.sleep(0)
        may_answer.set()
        await ending
    assert sorted(stage.types()) == ["batch.ended", "photo.tagged"]


async def test_a_scan_does_not_wait_for_a_webhook_that_is_away(stage: Stage) -> None:
    """Its notices wait for the next run."""
    stage.away = True
    hooks = stage.hooks(stage.settings(*ALL))
    async with running(hooks):
        await stage.record(1)
        await hooks.finish()
    assert {hook for hook, _ in stage.store.notices} == {"after_photo", "after_batch"}


async def test_hooks_that_were_removed_leave_nothing_behind(stage: Stage) -> None:
    """What waited for them is dropped."""
    await stage.ledger.notify([type(stage.notice(1))("a", "after_batch", stage.now, "{}")])
    await stage.record(1)
    async with running(hooks := stage.hooks(HookSettings())):
        await settle(hooks, stage)
    assert not stage.store.notices


def test_nobody_looks_for_notices_that_nobody_wants(stage: Stage) -> None:
    """A service without hooks asks the ledger every few minutes, not three times in ten seconds."""
    assert stage.hooks(HookSettings())._pause() >= 600
    assert stage.hooks(stage.settings(*ALL))._pause() <= 10


async def test_the_photo_is_told_where_it_lies_now(stage: Stage) -> None:
    """A photo that is released is told by its new paths, once it is there."""

    async def release(record: Mapping[str, Any]) -> Mapping[str, str]:
        return {path: path.replace("import", "album") for path in record["files"]} | {
            "/srv/import/1.jpg.xmp": "/srv/album/1.jpg.xmp"
        }

    hooks = stage.hooks(stage.settings(*ALL, idle_seconds=0), release=release)
    await stage.record(1)
    async with running(hooks):
        await settle(hooks, stage, until=["photo.tagged", "batch.ended"])
    photo = stage.heard[0]["data"]
    assert photo["photo"] == "/srv/album/1.jpg"
    assert photo["files"] == ["/srv/album/1.jpg"]
    assert photo["sidecars"] == ["/srv/album/1.jpg.xmp"]
    assert photo["released_from"] == "/srv/import/1.jpg"
    assert stage.heard[1]["data"]["folders"] == {"/srv/album": 1}
