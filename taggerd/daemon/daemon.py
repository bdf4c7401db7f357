"""The service: starts its parts, supervises them, stops and reloads them.

Each part is a named task. If one dies, the service ends with an error and systemd restarts it: the
queue is on the disk. Nothing here knows how a photo is tagged.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING

from taggerd import __version__
from taggerd.arrivals import Arrivals, warning_about, work_below
from taggerd.attempt import RunOptions
from taggerd.daemon import instances, status
from taggerd.daemon.figures import Gatherer
from taggerd.daemon.health import Problem, state_problem
from taggerd.daemon.hosts import Idle, Membership, Speed
from taggerd.daemon.publication import Publisher
from taggerd.daemon.systemd import Notifier
from taggerd.daemon.tasks import (
    Admission,
    Counted,
    deliver_the_rest,
    heartbeat_due,
    import_all,
    probe_backend,
    recover,
    start_decoder,
    until_watched,
)
from taggerd.daemon.watchdog import Parts, Watchdog
from taggerd.daemon.web import Web
from taggerd.errors import (
    BuildChanged,
    ConfigurationError,
    HostInUse,
    LedgerDamaged,
    RootInUse,
    StartError,
    StorageError,
    TaggerdError,
)
from taggerd.logs import described, get_logger
from taggerd.observe.observer import Observer
from taggerd.photo import printable
from taggerd.retry import DISK
from taggerd.runner.following import Following
from taggerd.runner.hold import end_long_holds
from taggerd.runner.outcome import Outcome, log_outcome
from taggerd.runner.pause import PauseWatch, share_hours
from taggerd.runner.runner import Runner
from taggerd.services import check_settings, open_services

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from taggerd.daemon.status import DaemonStatus
    from taggerd.hooks import Hooks
    from taggerd.ledger import Ledger
    from taggerd.observe.figures import Figures
    from taggerd.photo import PhotoFile
    from taggerd.services import Services
    from taggerd.settings import Settings
    from taggerd.settings.configuration import Configuration

log = get_logger(__name__)

CLOSE_SECONDS = 1.0
"""How long after the time to drain the ledger is closed, though something still uses it."""
END_SECONDS = 30.0
"""How much longer than photos may take to end the whole end may take, on a slow disk; and how long
the start goes on from each sign that it moves."""
PAGE_SECONDS = 10.0
"""Of these for the pages of the day; the next start makes those that take longer."""
UPGRADE_SECONDS = 5.0
"""Time for an upgrade of our own files to end."""


class Daemon:
    """``taggerd run``."""

    def __init__(  # noqa: PLR0913 - all by name but one
        self,
        load: Callable[[], Configuration],
        *,
        open_services: Callable[..., AbstractAsyncContextManager[Services]] = open_services,
        notifier: Notifier | None = None,
        chance: Callable[[], float] = random.random,
        end_at_once: Callable[[int], object] = lambda _number: None,
        end_after: Callable[[float], object] = lambda _seconds: None,
    ) -> None:
        """Prepare the service.

        Args:
            load: reads the settings, at start and on every reload.
            open_services: opens what the parts need, as :func:`taggerd.services.open_services`.
            notifier: talks to systemd.
            chance: a random number from 0 to 1, which spreads the preflights of many machines.
            end_at_once: ends the process after a second signal, whose number it gets.
            end_after: ends the process soon after so many seconds if it has not ended by then.

        """
        self._load = load
        self._open_services = open_services
        self._notifier = notifier or Notifier()
        self._watchdog = Watchdog(self._notifier)
        self._chance = chance
        self._end_at_once = end_at_once
        self._end_after = end_after
        self._ledger: Ledger | None = None
        self._publisher: Publisher
        self._closing: asyncio.Task[None] | None = None
        self._drain_seconds = 0.0
        self._stop = asyncio.Event()
        self._restart = asyncio.Event()
        """Set when the parts must end: to stop, or to start again with other settings."""
        self._next: Configuration | None = None
        self._admission = Admission()
        self._counted = Counted()
        self._refused: Problem | None = None
        """Why the new settings are not in force; None if they are."""
        self._exit_code = 0
        self._observer = Observer(
            waits_for=lambda: self._waits_for, stuck=lambda: self._watchdog.stuck
        )
        self._web = Web()
        self._live: DaemonStatus | None = None
        """What was published last."""
        self._started_at = time.time()
        self._served = False
        self._joined = False
        """Whether this host has had its name once."""
        self._waits_for = ""
        """Why the services cannot be opened; empty once they are."""
        self._speed = Speed()
        self._tagged = 0
        self._failed = 0

    async def run(self) -> int:
        """Serve until SIGTERM or SIGINT and return the exit code.

        Raises:
            ConfigurationError: the settings are wrong. StartError: the state cannot be used.

        """
        try:
            return await self._run()
        finally:
            await self._web.close()
            await self._observer.close()

    async def _run(self) -> int:
        """Do the same, without the end of the observer."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_stop_signal, number)
        loop.add_signal_handler(signal.SIGHUP, self.reload)
        in_force = self._load()
        log.info("starting", version=__version__, pid=os.getpid())
        watching = asyncio.create_task(self._watchdog.run(), name="watchdog")
        try:
            await self._serve_until_stopped(in_force)
        finally:
            watching.cancel()
        self._notifier.status("stopped")
        log.info("stopped", tagged=self._tagged, failed=self._failed)
        return self._exit_code

    async def _serve_until_stopped(self, in_force: Configuration) -> None:
        """Serve with the settings *in_force*, and with others after each reload."""
        wanted = in_force
        while not self._stop.is_set():
            if self._next is not None:
                wanted, self._next = self._next, None
            self._restart.clear()
            self._drain_seconds = wanted.settings.service.drain_seconds
            await self._observer.configure(wanted.settings.metrics)
            await self._web.configure(wanted)
            try:
                async with self._open_services(wanted, exclusive=True) as services:
                    settings = services.settings
                    self._ledger = services.ledger
                    with instances.announced(
                        settings.state_directory,
                        settings.journal_directory,
                        roots=settings.arrivals.watched,
                    ) as runtime_file:
                        in_force = wanted
                        self._served, self._waits_for = True, ""
                        self._publisher = Publisher(runtime_file, settings.state_directory)
                        try:
                            await self._serve(services)
                        finally:
                            self._watchdog.attend(None)
            except (ConfigurationError, StartError) as error:
                if wanted is not in_force:
                    self._refuse(error)
                    wanted = in_force
                elif isinstance(error, HostInUse) and not self._joined:
                    raise
                elif self._served or (isinstance(error, RootInUse) and self._notifier.is_heard):
                    await self._wait_for_disk(error)  # nobody stands there to start it again
                else:
                    raise
            except StorageError as error:
                await self._wait_for_disk(error)

    async def _wait_for_disk(self, error: TaggerdError) -> None:
        """Say why nothing works, once, and wait a moment.

        It counts as started: whoever waits for the start would wait for ever, and be told nothing.
        """
        if str(error) != self._waits_for:
            log.error("work is blocked", reason=str(error))
            self._waits_for = str(error)
        self._notifier.ready()
        self._notifier.status(f"degraded: {error}")
        with suppress(TimeoutError):
            async with asyncio.timeout(DISK.first):
                await self._stop.wait()

    async def _serve(self, services: Services) -> None:
        """Run the parts until it is time to stop or reload."""
        settings = services.settings
        await asyncio.to_thread(work_below, (), settings)
        options = RunOptions(
            run=f"run-{uuid.uuid4().hex[:12]}",
            within=tuple(root.path for root in settings.arrivals.roots),
            hold=settings.review.hold,
        )

        ledger = services.ledger
        member = Membership(ledger.fleet, settings, self._speed, unusable=ledger.unusable)
        await member.join(waits=self._notifier.extend)
        self._joined = True
        try:
            await self._serve_as(member, services, options)
        finally:
            await member.leave()

    async def _serve_as(self, member: Membership, services: Services, options: RunOptions) -> None:
        """Do the same as one of the hosts that share the ledger."""
        settings = services.settings
        if member.tags:  # what failed over another model or prompt gets another attempt
            asked_as = services.inference.asked_as
            await services.ledger.retry(options.within, unless_asked_as=asked_as)
        await end_long_holds(services, options.within)
        await share_hours(services)
        runner = Runner(
            services,
            options,
            on_outcome=[
                log_outcome,
                self._observer.ended,
                lambda outcome: self._count(outcome, arrivals),
                lambda _outcome: services.relay.wake(),
                lambda outcome: follows.hear(outcome),  # noqa: PLW0108 - it is made below
            ],
            pause_reason=PauseWatch(services).reason,
        )
        for root in settings.arrivals.roots:
            if warning := await asyncio.to_thread(warning_about, root.path):
                log.warning(warning)
        arrivals = self._arrivals(services, runner)
        arrivals.leave_to_others(member.elsewhere)

        def assigned() -> None:
            arrivals.leave_to_others(member.elsewhere)
            services.relay.wake()

        follows = Following(services, options, sweeps=True)
        await follows.begin()
        await arrivals.unpacking.remove_leftovers()
        ended = asyncio.Event()
        async with asyncio.TaskGroup() as parts:
            watching = parts.create_task(arrivals.run(), name="arrivals")
            await until_watched(arrivals, self._notifier, END_SECONDS)
            self._notifier.ready()
            if (warning := services.inference.warning) and member.tags:
                log.warning(warning)
            log.info("serving", import_folders=[printable(r.path) for r in settings.arrivals.roots])
            keeping = [
                parts.create_task(services.relay.run(ended), name="relay"),
                parts.create_task(member.run(assigned), name="membership"),
                parts.create_task(member.pass_on(services.relay.wake, runner.wake), name="news"),
                parts.create_task(recover(services, runner, options), name="recovery"),
                parts.create_task(
                    self._heartbeat(services, arrivals, runner, member, follows.hooks),
                    name="heartbeat",
                ),
                parts.create_task(
                    self._observe(services, arrivals, runner, member), name="metrics"
                ),
                parts.create_task(import_all(), name="imports"),
                parts.create_task(follows.hooks.run(), name="hooks"),
            ]
            if member.tags:
                probing = probe_backend(services, runner, self._chance)
                keeping.append(parts.create_task(probing, name="preflight"))
                keeping.append(parts.create_task(start_decoder(services), name="first decoder"))
                work = self._work(runner, settings)
            else:
                work = member.idle(services, runner, self._restart)
            working = parts.create_task(work, name="runner")
            watched = runner if member.tags else Idle()
            self._watchdog.attend(
                Parts(services.ledger, arrivals, watched, lambda: self._admission.error is not None)
            )
            await self._restart.wait()
            self._watchdog.attend(None)  # from here on all that is left has its time
            # Take nothing new, let what is in flight end, then write its records.
            watching.cancel()  # not waited for: a share that hangs leaves photos no time to end
            runner.stop()
            await working
            ended.set()
            for part in keeping[1:]:
                part.cancel()
            await asyncio.wait(keeping[:1], timeout=CLOSE_SECONDS)
            keeping[0].cancel()  # the disk of the outputs hangs
        await deliver_the_rest(services, PAGE_SECONDS)

    async def _work(self, runner: Runner, settings: Settings) -> None:
        """Tag photos; where another version lies in place of our files, stop to be started again.

        What was in flight has ended by then, as far as living processes could.
        """
        try:
            await runner.work(drain_seconds=settings.service.drain_seconds)
        except BuildChanged as error:
            log.warning("ends for a restart", reason=str(error))
            with suppress(TimeoutError):
                # Half of an upgrade cannot be started.
                async with asyncio.timeout(UPGRADE_SECONDS):
                    await self._stop.wait()
            self._exit_code = error.exit_code
            self.stop()

    def _arrivals(self, services: Services, runner: Runner) -> Arrivals:
        """Watch the roots and admit what settles."""

        async def admit(files: Sequence[PhotoFile]) -> None:
            await self._admission.admit(services, files, runner.wake)

        return Arrivals(
            services.settings.arrivals,
            services.ledger,
            services.writers,
            admit=admit,
            expect=services.warm,
            own_folders=services.settings.own_folders,
        )

    # What is told of all this.

    async def _status(
        self, services: Services, arrivals: Arrivals, runner: Runner, member: Membership
    ) -> DaemonStatus:
        """Return the status of this moment. Raises StorageError."""
        counts = await self._counted.again(services)
        shown = [
            Problem(kind="settings", subject=setting, text=f"{setting}: {text}")
            for setting, text in {
                **self._observer.troubles,
                "web.listen": self._web.trouble,
            }.items()
            if text
        ]
        outside = filter(None, [self._counted.error, self._admission.error, self._refused, *shown])
        return await status.daemon_status(
            services, arrivals, runner, member, self._started_at,
            outside=outside, before=self._live, counts=counts,
        )  # fmt: skip

    async def _observe(
        self, services: Services, arrivals: Arrivals, runner: Runner, member: Membership
    ) -> None:
        """Let others look at the figures while the parts are there."""
        gatherer = Gatherer(services, arrivals)

        async def gather() -> Figures:
            live = await self._status(services, arrivals, runner, member)
            return await gatherer.figures(live, self._counted.photos, member.hosts)

        with self._observer.serving(gather):
            await asyncio.Event().wait()

    async def _heartbeat(
        self,
        services: Services,
        arrivals: Arrivals,
        runner: Runner,
        member: Membership,
        hooks: Hooks,
    ) -> None:
        """Publish the status, for systemd and for ``taggerd status``."""
        trouble = ""
        while True:
            try:
                live = await self._status(services, arrivals, runner, member)
                if live.differs(self._live):
                    self._observer.changed()
                self._live = live
                self._notifier.status(live.one_line)
                hooks.observe(live.health.grave)
                await asyncio.to_thread(status.publish, live, self._publisher)
                trouble = ""
            except LedgerDamaged as error:
                # Opening it again quarantines the file; the new one is filled from the disk.
                log.error("the ledger is opened again", reason=str(error))
                self._restart.set()
                return
            except StorageError as error:
                self._notifier.status(f"degraded: {error}")
                hooks.observe([state_problem(error, services.settings.state_directory)])
            except Exception as error:
                if described(error) != trouble:
                    log.exception("the status cannot be published")
                trouble = described(error)
            await heartbeat_due(self._live, runner)

    def _count(self, outcome: Outcome, arrivals: Arrivals) -> None:
        if outcome.kind == "moved":
            arrivals.check_again(outcome.photo)  # its event may have been lost
        if outcome.kind == "tagged":
            self._speed.count()
        self._tagged += outcome.kind == "tagged"
        self._failed += outcome.kind == "failed"

    # Signals.

    def stop(self) -> None:
        """Stop: photos in flight have ``service.drain_seconds`` to end, the rest stays queued."""
        self._notifier.stopping()
        self._notifier.extend(self._drain_seconds + END_SECONDS)
        self._stop.set()
        self._restart.set()
        if self._closing is None:
            self._end_after(self._drain_seconds)
            self._closing = asyncio.create_task(self._close_in_time(), name="end")

    async def _close_in_time(self) -> None:
        """Close the ledger in order whatever hangs: claims go back uncharged, not as crashes."""
        await asyncio.sleep(self._drain_seconds + CLOSE_SECONDS)
        if self._ledger is not None:
            await self._ledger.close()

    def reload(self) -> None:
        """Read the settings again; wrong ones are reported and change nothing.

        The parts restart even if no setting changed: a prompt, the registry or a secret may have,
        and every start compares the import folders with the queue.
        """
        self._notifier.reloading()
        try:
            configuration = self._load()
            check_settings(configuration)
        except TaggerdError as error:
            self._refuse(error)
            self._notifier.ready()
            return
        log.info("reloading")
        self._refused = None
        self._next = configuration
        self._restart.set()

    def _refuse(self, error: TaggerdError) -> None:
        """Say why the new settings are not in force, until others are."""
        log.error("the new settings are wrong; the old ones stay in force", reason=str(error))
        text = f"the new settings are wrong; the old ones stay in force: {error}"
        self._refused = Problem(kind="settings", subject="settings", text=text, since=time.time())

    def _on_stop_signal(self, number: signal.Signals) -> None:
        if self._stop.is_set():
            log.warning("stopping at once; photos in flight stay queued")
            self._end_at_once(number)
        log.info("stopping", signal=signal.Signals(number).name)
        self.stop()
