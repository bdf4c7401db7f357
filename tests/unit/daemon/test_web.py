"""The review beside the daemon: it is kept running, and harms nothing when it cannot."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING

import pytest

from taggerd.daemon.web import FIRST_SECONDS, MOST_SECONDS, Web
from taggerd.settings import Settings
from taggerd.settings.configuration import Configuration

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

ENOUGH = 8
"""Starts after which a test has seen enough."""


def configuration(home: Path, **tables: object) -> Configuration:
    """Return settings that want the review served, and come from the command line in part."""
    given = {"state_directory": home, "web": {"listen": "127.0.0.1:8437"}, **tables}
    settings = Settings.model_validate(given)
    return Configuration(settings, {"arrivals.roots": "command line"}, None)


class Sleeps:
    """Waits that take no time; after enough of them the last one does not end."""

    def __init__(self) -> None:
        """Note none yet."""
        self.seconds: list[float] = []
        self.enough = asyncio.Event()

    async def __call__(self, seconds: float) -> None:
        """Note a wait."""
        self.seconds.append(seconds)
        if len(self.seconds) >= ENOUGH:
            self.enough.set()
            await asyncio.Event().wait()


@pytest.fixture
async def web_of() -> AsyncIterator[Callable[..., Web]]:
    """Return what makes a `Web` that starts a program of the test."""
    made: list[Web] = []

    def make(program: str, sleep: Sleeps | None = None) -> Web:
        made.append(Web(sleep=sleep or Sleeps(), command=(sys.executable, "-c", program)))
        return made[-1]

    yield make
    for each in made:
        await each.close()


async def heard(web: Web, trouble: str) -> None:
    """Wait until *web* says that."""
    async with asyncio.timeout(180):
        while web.trouble != trouble:  # noqa: ASYNC110 - another process says it
            await asyncio.sleep(0.01)


async def test_nothing_is_started_unasked(tmp_path: Path, web_of: Callable[..., Web]) -> None:
    """Without web.listen there is no process, and nothing to say."""
    marker = tmp_path / "started"
    web = web_of(f"open({str(marker)!r}, 'w')")
    await web.configure(configuration(tmp_path, web={}))
    await web.close()
    assert not marker.exists()
    assert web.trouble == ""


async def test_what_cannot_serve_is_started_again_ever_later(
    tmp_path: Path, web_of: Callable[..., Web]
) -> None:
    """Its reason is told; whoever sets the password later need not start the daemon again."""
    sleeps = Sleeps()
    web = web_of("print('a password is wanted'); raise SystemExit(2)", sleeps)
    await web.configure(configuration(tmp_path))
    async with asyncio.timeout(180):
        await sleeps.enough.wait()
    assert web.trouble == "a password is wanted"
    assert sleeps.seconds[:3] == [FIRST_SECONDS, FIRST_SECONDS * 2, FIRST_SECONDS * 4]
    assert sleeps.seconds[-1] == MOST_SECONDS


async def test_a_crash_has_a_reason_as_well(tmp_path: Path, web_of: Callable[..., Web]) -> None:
    """What says nothing ends with a code."""
    web = web_of("raise SystemExit(7)")
    await web.configure(configuration(tmp_path))
    await heard(web, "it ended with exit code 7")


async def test_once_it_serves_all_is_well_and_it_ends_when_it_is_closed(
    tmp_path: Path, web_of: Callable[..., Web]
) -> None:
    """SIGTERM ends it, and nothing of it stays behind."""
    ended, go = tmp_path / "ended", tmp_path / "go"
    program = f"""if 1:
        import pathlib, signal, sys, time
        def end(*_):
            pathlib.Path({str(ended)!r}).touch()
            sys.exit()
        signal.signal(signal.SIGTERM, end)
        print("not yet", flush=True)
        while not pathlib.Path({str(go)!r}).exists():
            time.sleep(0.01)
        print("serving http://127.0.0.1:8437", flush=True)
        signal.pause()
    """
    web = web_of(program)
    await web.configure(configuration(tmp_path))
    await heard(web, "not yet")
    go.touch()
    await heard(web, "")
    await web.close()
    assert ended.exists()


async def test_a_reload_with_the_same_settings_leaves_it_alone(
    tmp_path: Path, web_of: Callable[..., Web]
) -> None:
    """Whoever is logged in stays so; other settings hold for it at once."""
    starts = tmp_path / "starts"
    program = f"""if 1:
        import json, os, sys
        with open({str(starts)!r}, "a") as file:
            file.write(os.environ["TAGGERD__ARRIVALS__ROOTS"] + "\\n")
        print("up", flush=True)
        sys.stdin.read()
    """
    web = web_of(program)
    roots = {"arrivals": {"roots": [tmp_path]}}
    await web.configure(configuration(tmp_path, **roots))
    await heard(web, "up")
    await web.configure(configuration(tmp_path, **roots))
    assert len(starts.read_text().splitlines()) == 1
    await web.configure(configuration(tmp_path, **roots, image={"quality": 80}))
    await heard(web, "up")
    first, second = starts.read_text().splitlines()
    assert first == second
    assert json.loads(first)[0]["path"] == str(tmp_path)


async def test_it_ends_with_a_daemon_that_was_killed(
    tmp_path: Path, web_of: Callable[..., Web]
) -> None:
    """Its standard input is the daemon's to hold open; systemd's socket is not its own."""
    program = """if 1:
        import os, sys
        print("NOTIFY_SOCKET" in os.environ, os.environ["TAGGERD__WORKERS__PROCESSES"], flush=True)
        sys.stdin.read()
    """
    web = web_of(program)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("NOTIFY_SOCKET", "/run/none")
        await web.configure(configuration(tmp_path))
        await heard(web, "False 1")
