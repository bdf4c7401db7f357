"""Slots of an endpoint, over several programs."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from taggerd.inference import Slots, slots_folder

URL = "http://127.0.0.1:8000/v1"
HOLDER = """
import asyncio, sys, time
from pathlib import Path
from taggerd.inference import Slots
slots = Slots(Path(sys.argv[1]), sys.argv[2], 1)
asyncio.run(slots.take())
print("held", flush=True)
time.sleep(600)
"""


async def taken(slots: Slots) -> bool:
    """Say whether no slot becomes free for a moment."""
    try:
        await free(slots, 0.05)
    except TimeoutError:
        return True
    return False


async def free(slots: Slots, seconds: float = 180.0) -> None:
    """Wait until there is a slot."""
    async with asyncio.timeout(seconds):
        held = await slots.take()
        assert held is not None
        slots.release(held)


async def test_two_users_of_one_folder_share_the_slots(tmp_path: Path) -> None:
    """Two of two slots taken by one leave none for the other, until one is given back."""
    one, other = Slots(tmp_path, URL, 2), Slots(tmp_path, URL, 2)
    first, second = await one.take(), await one.take()
    assert first is not None
    assert second is not None
    assert await taken(other)
    one.release(first)
    await free(other)
    one.close()
    other.close()


async def test_a_slot_that_is_waited_for_goes_to_who_waits(tmp_path: Path) -> None:
    """A program that has just released a slot does not get it again before the one who waits."""
    busy, waiting = Slots(tmp_path, URL, 1), Slots(tmp_path, URL, 1)
    order: list[str] = []

    async def use(slots: Slots, name: str, times: int) -> None:
        for _ in range(times):
            async with slots.slot():
                order.append(name)
                await asyncio.sleep(0.002)

    await asyncio.gather(use(busy, "busy", 20), use(waiting, "waiting", 5))
    assert "waiting" in order[:3]
    last = len(order) - 1 - order[::-1].index("waiting")
    assert last < 24, "the other was served before the busy one was done"
    busy.close()
    waiting.close()


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ("http://localhost:8000/v1", True),
        ("http://[::1]:8000/other", True),
        ("http://user:pw@127.0.0.1:8000/v1", True),
        ("http://127.0.0.1:8001/v1", False),
        ("http://gpu:8000/v1", False),
    ],
)
async def test_one_server_has_one_set_of_slots(tmp_path: Path, other: str, same: bool) -> None:
    """However its address is written; no file's name holds a password."""
    one, two = Slots(tmp_path, URL, 1), Slots(tmp_path, other, 1)
    await one.take()
    if same:
        assert await taken(two)
    else:
        await free(two)
    assert not any("pw" in name for name in os.listdir(tmp_path))  # noqa: PTH208 - no Path here
    one.close()
    two.close()


async def test_a_holder_that_is_killed_gives_its_slot_back(tmp_path: Path) -> None:
    """By kill -9: no clean-up of the program's own is needed."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    holder = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HOLDER, tmp_path, URL),
        stdout=asyncio.subprocess.PIPE,
        env=environment,
    )
    try:
        assert holder.stdout is not None
        assert await holder.stdout.readline() == b"held\n"
        slots = Slots(tmp_path, URL, 1)
        assert await taken(slots)
    finally:
        holder.send_signal(signal.SIGKILL)
        await holder.wait()
    await free(slots)
    slots.close()


async def test_a_folder_that_cannot_be_used_is_no_reason_not_to_ask(tmp_path: Path) -> None:
    """Where locks cannot be shared, requests go all the same."""
    (tmp_path / "file").write_text("")
    slots = Slots(tmp_path / "file", URL, 1)
    async with slots.slot(), slots.slot():
        pass


def test_the_folder_is_as_widely_shared_as_may_be(tmp_path: Path) -> None:
    """The machine's own, else the user's, else the service's, else the state directory."""
    common, user, service = (tmp_path / name for name in ("common", "user", "service"))
    state = tmp_path / "state"
    for folder in (user, service):
        folder.mkdir()
    given = {"XDG_RUNTIME_DIR": str(user), "RUNTIME_DIRECTORY": f"{service}:/elsewhere"}
    assert slots_folder(state, given, common) == user / "taggerd"
    common.mkdir()
    assert slots_folder(state, given, common) == common
    common.rmdir()
    del given["XDG_RUNTIME_DIR"]
    assert slots_folder(state, given, common) == service
    assert slots_folder(state, {}, common) == state / "slots"
