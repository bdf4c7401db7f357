"""The daemon's life: it serves, reloads and stops, and says so to systemd."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from support.program import photo

from taggerd.daemon.daemon import Daemon
from taggerd.daemon.systemd import Notifier
from taggerd.errors import ConfigurationError
from taggerd.settings import Settings
from taggerd.settings.configuration import Configuration

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from support.site import Site

    from taggerd.services import Services


class Heard(Notifier):
    """What systemd hears."""

    def __init__(self) -> None:
        """Hear nothing yet."""
        super().__init__()
        self.said: list[str] = []

    def ready(self) -> None:
        """Note it."""
        self.said.append("ready")

    def reloading(self) -> None:
        """Note it."""
        self.said.append("reloading")

    def stopping(self) -> None:
        """Note it."""
        self.said.append("stopping")


class Life:
    """A daemon over a site, and what it says."""

    def __init__(self, site: Site) -> None:
        """Make one that has not begun."""
        self.site = site
        self.heard = Heard()
        self.opened: list[Services] = []
        self.load: Callable[[], Configuration] = lambda: settings_of(site)
        self.daemon = Daemon(
            self._load, open_services=self._open, notifier=self.heard, chance=lambda: 0.0
        )

    def _load(self) -> Configuration:
        return self.load()

    async def until(self, there: Callable[[], bool]) -> None:
        """Wait until *there*, as long as the daemon lives."""
        while not there():  # noqa: ASYNC110 - a file appears without an event
            await asyncio.sleep(0.01)

    @asynccontextmanager
    async def _open(
        self, configuration: Configuration, *, exclusive: bool
    ) -> AsyncIterator[Services]:
        assert exclusive
        self.site.settings = configuration.settings
        async with self.site.services() as services:
            self.opened.append(services)
            yield services


def settings_of(site: Site, **tables: object) -> Configuration:
    """Return the site's settings, with other *tables*."""
    given = {**site.settings.model_dump(exclude_unset=True), **tables}
    return Configuration(Settings.model_validate(given), {}, None)


@pytest.fixture
def life(site: Site) -> Life:
    """Return a daemon that has not begun."""
    return Life(site)


async def test_what_is_there_is_tagged_and_a_stop_is_clean(life: Life) -> None:
    """READY comes once, before STOPPING; the photo's record is delivered before the end."""
    path = photo(life.site.folder / "a.jpg", 1)
    async with asyncio.timeout(120):
        serving = asyncio.create_task(life.daemon.run())
        await life.until(path.with_name("a.jpg.xmp").exists)
        life.daemon.stop()
        assert await serving == 0
    assert life.heard.said == ["ready", "stopping"]
    assert not await life.site.ledger.outbox(9)
    (day,) = (life.site.settings.journal_directory / "results").glob("*.jsonl")
    assert len(day.read_text().splitlines()) == 1


async def test_a_reload_serves_with_the_new_settings(life: Life) -> None:
    """The parts start again around the same queue; systemd hears that it is done."""
    async with asyncio.timeout(120):
        serving = asyncio.create_task(life.daemon.run())
        await life.until(lambda: "ready" in life.heard.said)
        life.load = lambda: settings_of(life.site, queue={"photos_in_flight": 7})
        life.daemon.reload()
        await life.until(lambda: life.heard.said == ["ready", "reloading", "ready"])
        life.daemon.stop()
        assert await serving == 0
    assert [services.settings.queue.photos_in_flight for services in life.opened] == [None, 7]


async def test_a_stop_while_it_starts_has_as_long_as_any_other(site: Site) -> None:
    """It ended with an error a second later where a busy machine had not opened all by then."""
    times: list[float] = []

    @asynccontextmanager
    async def opening(_: Configuration, *, exclusive: bool) -> AsyncIterator[Services]:
        assert exclusive
        daemon.stop()
        async with site.services() as services:
            yield services

    daemon = Daemon(
        lambda: settings_of(site, service={"drain_seconds": 7}),
        open_services=opening,
        notifier=Heard(),
        end_after=times.append,
    )
    async with asyncio.timeout(120):
        assert await daemon.run() == 0
    assert times == [7]


async def test_wrong_settings_change_nothing(life: Life) -> None:
    """A reload with a mistake is answered at once, and what was served goes on."""
    async with asyncio.timeout(120):
        serving = asyncio.create_task(life.daemon.run())
        await life.until(lambda: "ready" in life.heard.said)

        def wrong() -> Configuration:
            message = "no such key"
            raise ConfigurationError(message)

        life.load = wrong
        life.daemon.reload()
        path = photo(life.site.folder / "a.jpg", 1)
        await life.until(path.with_name("a.jpg.xmp").exists)
        life.daemon.stop()
        assert await serving == 0
    assert life.heard.said == ["ready", "reloading", "ready", "stopping"]
    assert len(life.opened) == 1


async def test_a_part_that_dies_ends_the_service_with_its_error(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Systemd restarts it; a service that lost a part and goes on would lie."""

    async def dies(*_: object) -> None:
        raise LookupError

    monkeypatch.setattr("taggerd.relay.OutboxRelay.run", dies)  # a defect
    async with asyncio.timeout(120):
        serving = asyncio.create_task(life.daemon.run())
        with pytest.raises(ExceptionGroup) as caught:
            await serving
    assert caught.group_contains(LookupError)
