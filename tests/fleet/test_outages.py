"""The database dies, or a host is cut off from it: nothing is lost, doubled or left behind."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest
from support.hosts import LONG_SECONDS, Archive, questions_of
from support.postgres import PORT, PostgresServer, name_in, why_not
from support.program import until
from support.relays import Relay

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.hosts import Host, SharedBackend

PHOTOS = 60
QUIET_SECONDS = 5.0
"""In which a host has noticed that the database does not answer, and sends no more requests."""


@pytest.fixture
def mortal() -> Iterator[PostgresServer]:
    """Return a server of the test's own, whose commits last."""
    if why := why_not():
        pytest.skip(why)
    server = PostgresServer(durable=True)
    yield server
    server.close()


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_the_database_dies_and_returns(
    mortal: PostgresServer, tmp_path: Path, shared_backend: SharedBackend, how: signal.Signals
) -> None:
    """Three hosts go on by themselves; what was stored is not asked again."""
    archive = Archive(tmp_path / "archive", mortal.empty(), shared_backend)
    archive.fill(PHOTOS)
    shared_backend.seconds = 0.2
    hosts = archive.add("alpha", "beta", "gamma")
    try:
        for host in hosts:
            host.begin()
        until(lambda: len(shared_backend.questions) >= PHOTOS)
        mortal.stop(how)
        archive.fill(10, "meanwhile")
        # What is in hand then may be asked again, at most.
        for host in hosts:
            host.leave(notices=2.0)
        mortal.start()
        archive.finish(LONG_SECONDS)
        archive.stop()
        archive.check()
        assert all(len(host.lives) == 1 for host in hosts)
    except AssertionError:
        print(archive.told())  # noqa: T201 - of a test that fails
        raise
    finally:
        archive.end()


@pytest.fixture
def relay(archive: Archive) -> Iterator[Relay]:
    """Return what lies between a host and the database of the archive."""
    (folder,) = parse_qs(urlsplit(archive.url).query)["host"]
    made = Relay(Path(folder) / f".s.PGSQL.{PORT}")
    yield made
    made.close()


def _in_hand(archive: Archive, host: Host) -> bool:
    """Whether *host* waits for answers now."""
    return questions_of(archive.backend, host.lives) > 0


@pytest.mark.slow
@pytest.mark.parametrize("how", ["cut", "freeze"])
def test_a_host_is_cut_off_from_the_database(archive: Archive, relay: Relay, how: str) -> None:
    """It has answers in hand that nobody could be told of; another has done its photos since.

    When it is back it drops them, writes nothing of them, and takes part again.
    """
    url = f"postgresql://taggerd@127.0.0.1:{relay.port}/{name_in(archive.url)}"
    (apart,) = archive.add("apart", url=url)
    archive.add("alpha", "beta")
    archive.fill(PHOTOS)
    archive.backend.seconds = 1.0
    for host in archive.hosts.values():
        host.begin()
    until(lambda: _in_hand(archive, apart))
    getattr(relay, how)()
    # A server that only says nothing is waited for; what was sent ends in this time.
    apart.leave(notices=QUIET_SECONDS)
    threading.Event().wait(QUIET_SECONDS)
    archive.backend.seconds = 0.05
    archive.finish(LONG_SECONDS)
    relay.mend()
    asked = questions_of(archive.backend, apart.lives)
    archive.fill(PHOTOS, "later")
    archive.finish(LONG_SECONDS)
    until(
        lambda: questions_of(archive.backend, apart.lives) > asked or _more(archive), LONG_SECONDS
    )
    archive.finish(LONG_SECONDS)
    archive.stop()
    archive.check()


def _more(archive: Archive) -> bool:
    """Give the hosts some more to do: one that is back asks about some of it, sooner or later."""
    archive.fill(8, "still")
    archive.finish(LONG_SECONDS)
    return False


@pytest.mark.slow
def test_a_host_sleeps_for_longer_than_its_lease(archive: Archive) -> None:
    """A laptop is closed with photos in hand; when it wakes, another has done them.

    It asks, writes and records nothing more of them, and takes part again.
    """
    archive.fill(PHOTOS)
    archive.backend.seconds = 1.0
    laptop, *_ = archive.add("laptop", "alpha", "beta")
    for host in archive.hosts.values():
        host.begin()
    until(lambda: _in_hand(archive, laptop))
    laptop.freeze()
    archive.backend.seconds = 0.05
    archive.finish(LONG_SECONDS)
    before = archive.sidecars()
    laptop.thaw()
    asked = questions_of(archive.backend, laptop.lives)
    archive.fill(PHOTOS, "later")
    archive.finish(LONG_SECONDS)
    until(
        lambda: questions_of(archive.backend, laptop.lives) > asked or _more(archive), LONG_SECONDS
    )
    archive.finish(LONG_SECONDS)
    archive.stop()
    archive.check()
    assert before.items() <= archive.sidecars().items()
