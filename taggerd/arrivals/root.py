"""One import folder in service: watched or polled, walked, its new files admitted."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from typing import TYPE_CHECKING, Literal

from taggerd.arrivals.dependencies import Pulse, RootHealth
from taggerd.arrivals.dirty import Dirty
from taggerd.arrivals.executor import Executor
from taggerd.arrivals.filters import OTHER_ROOT, OWN_FOLDER, Filters, folders_below
from taggerd.arrivals.intake import Intake
from taggerd.arrivals.missing import MissingFileSweep
from taggerd.arrivals.probe import Probe, must_be_polled
from taggerd.arrivals.reconciler import Reconciler
from taggerd.arrivals.walk import RootOffline
from taggerd.arrivals.watch import Watch

if TYPE_CHECKING:
    from taggerd import settings
    from taggerd.arrivals.dependencies import Dependencies
    from taggerd.errors import StorageError

_POLL_SHARE = 10
"""Polling takes at most one part in so many of the time."""


class WatchedRoot:
    """One root, served by one task (:meth:`run`) and one thread (its executor).

    The task does everything in turns, so that nothing here needs a lock: check the watch, take
    what is dirty, walk a few folders further, admit what has settled.
    """

    def __init__(
        self, root: settings.Root, arrivals: settings.Arrivals, dependencies: Dependencies
    ) -> None:
        """Serve *root*, with the defaults of *arrivals*."""
        self.path = root.path
        self._dependencies = dependencies
        self._timing = dependencies.timing
        self._asked_mode = root.mode
        self._poll_seconds = arrivals.poll_seconds
        self._reconcile_seconds = arrivals.reconcile_minutes * 60
        others = folders_below(self.path, (other.path for other in arrivals.roots), OTHER_ROOT)
        own = folders_below(self.path, dependencies.own_folders, OWN_FOLDER)
        self.filters = Filters.of(arrivals, root, others | own)
        self.dirty = Dirty(self.wake)
        self._executor = Executor(f"arrivals {self.path}")
        self._watch = Watch(self.path, self.filters, self.dirty, self._executor, self._timing)
        self._reconciler = Reconciler(self.path, self.filters)
        self._sweep = MissingFileSweep(
            self.path, dependencies.record, self._executor, forget_days=arrivals.forget_days
        )
        settle = arrivals.settle_seconds if root.settle_seconds is None else root.settle_seconds
        self._intake = Intake(settle, dependencies, self._executor, self._sweep)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._awake = asyncio.Event()
        self._last_probe: Probe | None = None
        """The last one that found the root online."""
        self._offline = ""
        self._read_only = ""
        self._failure = ""
        self._mode: Literal["inotify", "poll"] = "poll" if root.mode == "poll" else "inotify"
        self._next_probe = -math.inf
        self._next_walk = math.inf
        self._last_walk: float | None = None
        self._walks = 0
        self._walk_seconds = 0.0
        self._moved_at: float | None = None
        """When :meth:`run` came round last; None while it does not run."""
        self.elsewhere = ""
        """Which other host watches the root; empty: this one does."""
        self.assigned = asyncio.Event()
        """Set when it changes whether this host watches the root."""
        self.started = asyncio.Event()
        """Set once the root is watched, or known to be polled or offline."""

    def wake(self) -> None:
        """Make the task look for work now. From any thread; never raises."""
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: there is no task to wake
                loop.call_soon_threadsafe(self._awake.set)

    def failed(self, error: Exception) -> None:
        """Note that :meth:`run` ended with *error*; a walk finds what it was working on."""
        self._moved_at = None
        self._failure = f"it failed and is restarted: {type(error).__name__}: {error}"

    def waits(self, error: StorageError) -> None:
        """Note that :meth:`run` ended because the record cannot be asked; the watch goes on."""
        self._moved_at = None
        self._failure = f"what is new there is queued later: {error}"

    def health(self) -> RootHealth:
        """Say how the root is doing."""
        state: Literal["watching", "polling", "degraded", "offline", "elsewhere"]
        hung = self._timing.hung
        if self.elsewhere:
            state, detail = "elsewhere", self.elsewhere
        elif self._executor.busy_seconds() > hung:
            state, detail = "offline", f"its file system has not answered for {hung:g} seconds"
        elif self._offline:
            state, detail = "offline", self._offline
        elif self._failure or self._watch.fault:
            state, detail = "degraded", self._failure or self._watch.fault
        else:
            state = "polling" if self._mode == "poll" else "watching"
            detail = self._reconciler.unreadable
        return RootHealth(
            path=self.path,
            mode=self._mode,
            state=state,
            detail=detail,
            directories=self._reconciler.directories,
            watches=self._watch.watches,
            last_reconcile=self._last_walk,
            read_only=self._read_only,
            reconciles=self._walks,
            overflows=self._watch.overflows,
        )

    def pulse(self) -> Pulse:
        """Say how long the task has not come round, and which thread it waits for."""
        seconds = 0.0 if self._moved_at is None else time.monotonic() - self._moved_at
        return Pulse(self.path, seconds, self._executor.thread)

    async def run(self) -> None:
        """Serve the root until cancelled.

        Raises:
            Exception: whatever the record, the queue or the file system raised; run it again.
        """
        self._loop = asyncio.get_running_loop()
        self._next_probe = -math.inf
        self._sweep.stop()
        # What an error left half done is dropped: the walk finds it all again.
        self._intake.reset()
        self._reconciler.restart()
        while True:
            self._moved_at = time.monotonic()
            if time.monotonic() >= self._next_probe:
                await self._supervise()
            if not self._offline:
                await self._take_dirty()
                await self._walk_on()
                if settling := len(self._intake.settling):
                    self._dependencies.expect(settling)
                if await self._intake.release():
                    self._failure = ""
                await self._sweep.step(self._is_still_there)
            await self._wait()

    async def leave(self) -> None:
        """Remove the watch, for another host: what :meth:`run` begins with is a comparison.

        It must have ended.
        """
        self._moved_at = self._last_probe = None
        self._offline = self._failure = self._read_only = ""
        await self._watch.remove()
        self._reconciler.clear()
        self._sweep.stop()

    async def close(self) -> None:
        """Remove the watch; :meth:`run` must have ended."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await self._watch.remove()
        self._executor.close()

    async def _supervise(self) -> None:
        """Probe the root: it may have gone, come back, or lost its watch."""
        probe = await self._executor.run(Probe.at, self.path, self.filters)
        offline = probe.offline_since(self._last_probe)
        self._read_only = "" if offline else probe.read_only
        if offline:
            await self._detach(offline)
        elif self._offline or not probe.same_root(self._last_probe):
            await self._attach(probe)
        elif self._mode == "inotify" and await self._watch.check():
            self._reconciler.request()
        self._dependencies.report(self.health())
        self.started.set()
        rarer = self._timing.quiet if self._is_quiet() else 1.0
        self._next_probe = time.monotonic() + rarer * self._timing.probe

    def _is_quiet(self) -> bool:
        """Say whether nothing is wrong, and nothing has been heard of that is not proven yet."""
        watched = self._mode == "poll" or self._watch.settled
        return watched and not (self._offline or self._failure or self._reconciler.pending)

    async def _detach(self, reason: str) -> None:
        """Go offline: nothing follows from what is not there."""
        if not self._offline:
            await self._watch.remove()
            self._reconciler.clear()
            self._sweep.stop()
        self._offline = reason

    async def _attach(self, probe: Probe) -> None:
        """Go online: watch first, then walk, so that no file comes unseen in between."""
        foreign = any(must_be_polled(mount.kind) for mount in probe.mounts)
        polled = self._asked_mode == "poll" or (self._asked_mode == "auto" and foreign)
        self._mode = "poll" if polled else "inotify"
        self._watch.forgive()
        if polled:
            await self._watch.remove()
        else:
            await self._watch.install()
        if foreign == self._intake.settling.trust_times:
            self._intake.reset(trust_times=not foreign)  # another machine's clock may set the times
        self._last_probe, self._offline = probe, ""
        self._reconciler.request()

    async def _is_still_there(self) -> bool:
        probe = await self._executor.run(Probe.at, self.path, self.filters)
        return probe.same_root(self._last_probe)

    async def _take_dirty(self) -> None:
        """Look where something happened, and ask for the walks that are due."""
        batch = self.dirty.drain()
        walk_due = time.monotonic() >= self._next_walk
        if batch.everything or walk_due or self._intake.needs_walk():
            self._reconciler.request()
            self._next_walk = math.inf if walk_due else self._next_walk
        self._reconciler.read(batch.folders, batch.trees)
        if batch.files and not await self._executor.run(self._intake.check, batch):
            self._watch.doubt()

    async def _walk_on(self) -> None:
        """Read a few folders further and compare them with the record."""
        if not self._reconciler.pending:
            return
        before, began = self._reconciler.completed, time.monotonic()
        try:
            found = await self._executor.run(self._reconciler.step)
        except RootOffline:
            self._next_probe = -math.inf
            return
        for folder in found:
            self._watch.expect(folder)
        await self._intake.compare(found)
        self._walk_seconds += time.monotonic() - began
        if self._reconciler.completed != before:
            self._watch.walked()
            if not len(self._intake.settling):
                self._failure = ""
            self._last_walk = time.time()
            self._walks += 1
            self._next_walk = time.monotonic() + self._interval()
            self._walk_seconds = 0.0
            await self._sweep.begin()

    def _interval(self) -> float:
        """Return the seconds until the next whole walk."""
        if self._mode == "poll" or self._watch.fault:
            return max(self._poll_seconds, _POLL_SHARE * self._walk_seconds)
        return self._reconcile_seconds * (0.9 + 0.2 * random.random())  # noqa: S311 - spreads the load

    async def _wait(self) -> None:
        """Wait until there is something to do."""
        until = self._next_probe
        if not self._offline:
            if self._reconciler.pending or self._sweep.in_progress:
                await asyncio.sleep(0)
                return
            until = min(until, self._next_walk, self._intake.settling.next_due() or math.inf)
        # Not wait_for(): until Python 3.12 it loses a cancellation that comes with the wake-up.
        try:
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                await self._awake.wait()
        except TimeoutError:
            return  # something is due, and no events need gathering
        # A storm of events must not delay what is due meanwhile.
        spare = (self._intake.settling.next_due() or math.inf) - time.monotonic()
        await asyncio.sleep(min(self._timing.gather, max(spare, self._timing.gather / 5)))
        self._awake.clear()
