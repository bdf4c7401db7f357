"""One import folder on duty: watched or polled, walked, settled, admitted."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
from collections import deque
from typing import TYPE_CHECKING, Literal

from taggerd.arrivals.dirty import Batch, Dirty
from taggerd.arrivals.filters import OTHER_ROOT, OWN_FOLDER, Filters, apart_in
from taggerd.arrivals.lane import Lane
from taggerd.arrivals.look import Look
from taggerd.arrivals.missing import RollCall
from taggerd.arrivals.mounts import must_be_polled
from taggerd.arrivals.reconciler import Reconciler
from taggerd.arrivals.settling import Settling
from taggerd.arrivals.surroundings import RootHealth, Surroundings
from taggerd.arrivals.walk import RootOffline, Seen, see
from taggerd.arrivals.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from taggerd import settings
    from taggerd.arrivals.walk import Folder
    from taggerd.photo import PhotoFile, Stamp

_BATCH = 1_000
"""Files that are admitted in one go."""
_POLL_SHARE = 10
"""Polling takes at most one part in so many of the time."""


class WatchedRoot:
    """One root's whole duty, in one task (:meth:`run`) and one thread (its lane).

    Everything is done by the task in turns, so that nothing here needs a lock: look after the
    watch, take what is dirty, walk a few folders further, release what has settled.
    """

    def __init__(
        self, root: settings.Root, arrivals: settings.Arrivals, around: Surroundings
    ) -> None:
        """Serve *root*, with the defaults of *arrivals*."""
        self.path = root.path
        self._around = around
        self._clock = around.clock
        self._pace = around.pace
        self._asked_mode = root.mode
        self._poll_seconds = arrivals.poll_seconds
        self._reconcile_seconds = arrivals.reconcile_minutes * 60
        settle = arrivals.settle_seconds if root.settle_seconds is None else root.settle_seconds
        self._settle_seconds = settle
        recursive = arrivals.recursive if root.recursive is None else root.recursive
        others = (other.path for other in arrivals.roots)
        self.filters = Filters(
            arrivals.extensions(recursive=recursive),
            [*arrivals.ignore, *root.ignore],
            recursive=recursive,
            apart=apart_in(root.path, others, OTHER_ROOT)
            | apart_in(root.path, around.own, OWN_FOLDER),
        )
        self._lane = Lane(f"arrivals {root.path}", around.clock)
        self._dirty = Dirty(self.wake)
        self._watch = Watch(
            root.path,
            self.filters,
            self._dirty,
            lane=self._lane,
            clock=around.clock,
            pace=around.pace,
        )
        self._reconciler = Reconciler(root.path, self.filters, around.clock)
        self._roll_call = RollCall(root.path, around.known, around.absences, self._lane)
        self._settling = self._new_settling(trust_times=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._awake = asyncio.Event()
        self._requests: deque[asyncio.Future[None] | None] = deque()
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._place: Look | None = None
        self._offline = ""
        self._failure = ""
        self._mode: Literal["inotify", "poll"] = "poll" if root.mode == "poll" else "inotify"
        self._crowded = False
        self._next_look = -math.inf
        self._next_walk = math.inf
        self._last_walk: float | None = None
        self._walk_seconds = 0.0
        self.stood = asyncio.Event()
        """Set once the root is watched, or known to be polled or offline."""

    # Told from outside.

    def wake(self) -> None:
        """Make the task look around now. From any thread; never raises."""
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # The loop is closed: nobody is there to wake.
                loop.call_soon_threadsafe(self._awake.set)

    def request(self, done: asyncio.Future[None] | None = None) -> None:
        """Ask for a walk of the whole root; *done* is resolved at its end. From any thread."""
        self._requests.append(done)
        self.wake()

    def look_again(self, path: Path) -> None:
        """Have the file *path* settle anew if it is there and not as it is known. Any thread."""
        if not self.filters.verdict(path, self.path):
            self._dirty.file(str(path))

    def look_below(self, folder: Path) -> None:
        """Have *folder* read with all that is in it. From any thread."""
        self._dirty.tree(str(folder))

    def failed(self, error: Exception) -> None:
        """Note that :meth:`run` ended with *error*; what it had in hand is found by a walk."""
        self._failure = f"it failed and starts again: {type(error).__name__}: {error}"

    def health(self) -> RootHealth:
        """Say how it is doing."""
        state: Literal["watching", "polling", "degraded", "offline"]
        if self._lane.busy_seconds() > self._pace.hung:
            state, detail = (
                "offline",
                f"its file system has not answered for {self._pace.hung:g} seconds",
            )
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
        )

    # The task.

    async def run(self) -> None:
        """Serve the root until cancelled.

        Raises:
            Exception: whatever `known`, `admit` or the file system raised; run it again.

        """
        self._loop = asyncio.get_running_loop()
        self._next_look = -math.inf
        self._roll_call.stop()
        # Whatever an error left half done is not gone on with: the walk finds it all again.
        self._settling = self._new_settling(trust_times=self._settling.trust_times)
        self._reconciler.restart()
        while True:
            if self._clock() >= self._next_look:
                await self._supervise()
            self._take_requests()
            if not self._offline:
                await self._take_dirty()
                await self._walk_on()
                await self._release()
                await self._roll_call.go_on(self._is_still_there)
            self._answer_waiters()
            await self._pause()

    async def close(self) -> None:
        """Take the watch away; :meth:`run` must have ended."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._watch.remove(), timeout=5)
        self._lane.close()
        for done in [*(done for _, done in self._waiters), *self._requests]:
            if done is not None and not done.done():
                done.set_result(None)

    async def _supervise(self) -> None:
        look = await self._lane.run(Look.at, self.path, self.filters)
        last = self._place
        if look.offline:
            await self._leave(look.offline)
        elif last is None or look.identity != last.identity:
            if last is not None and look.device != last.device and look.empty:
                # Not taken for the root with nothing in it: rather a disk that was unmounted.
                await self._leave("another, empty folder is in its place: is its disk mounted?")
            else:
                await self._attach(look)
        elif self._offline:
            await self._attach(look)
        elif self._mode == "inotify" and await self._watch.check():
            self._reconciler.request()
        self._around.speak(self.health())
        self.stood.set()
        self._next_look = self._clock() + self._pace.look

    async def _leave(self, reason: str) -> None:
        """Go off duty: nothing follows from what is not there."""
        if not self._offline:
            await self._watch.remove()
            self._reconciler.clear()
            self._roll_call.stop()
        self._offline = reason

    async def _attach(self, look: Look) -> None:
        """Go on duty: watch first, then walk, so that nothing comes in between."""
        foreign = any(must_be_polled(mount.kind) for mount in look.mounts)
        polled = self._asked_mode == "poll" or (self._asked_mode == "auto" and foreign)
        self._mode = "poll" if polled else "inotify"
        self._watch.forgive()
        if polled:
            await self._watch.remove()
        else:
            await self._watch.install()
        if foreign == self._settling.trust_times:
            # Another machine's clock may set the times. What waits is found again by the walk.
            self._settling = self._new_settling(trust_times=not foreign)
        self._place, self._offline = look, ""
        self._reconciler.request()

    def _take_requests(self) -> None:
        while self._requests:
            done = self._requests.popleft()
            ticket = self._reconciler.completed if self._offline else self._reconciler.request()
            if done is not None:
                self._waiters.append((ticket, done))
        if not self._offline and self._clock() >= self._next_walk:
            self._next_walk = math.inf
            self._reconciler.request()
        if self._crowded and self._settling.roomy:
            self._crowded = False
            self._reconciler.request()

    async def _take_dirty(self) -> None:
        batch = self._dirty.drain()
        if batch.everything:
            self._reconciler.request()
        self._reconciler.places(batch.folders, batch.trees)
        if batch.files:
            await self._lane.run(self._look_at, batch)

    def _look_at(self, batch: Batch) -> None:
        """Look at each file that something happened to. Blocks."""
        for folder, names in batch.files.items():
            for name in names:
                try:
                    seen = see(f"{folder}/{name}")
                except (FileNotFoundError, NotADirectoryError):
                    if not os.path.isdir(folder):  # noqa: PTH112 - no Path is needed for it
                        self._watch.doubt()
                except OSError:
                    self._crowded = True  # A share that stumbles: walked again before long.
                else:
                    if isinstance(seen, Seen):
                        self._observe([seen], event=True)

    async def _walk_on(self) -> None:
        """Read a few folders further and compare them with what is known."""
        if not self._reconciler.pending:
            return
        before, began = self._reconciler.completed, self._clock()
        try:
            found = await self._lane.run(self._reconciler.step)
        except RootOffline:
            self._next_look = -math.inf
            return
        for folder in found:
            self._watch.expect(folder)
        news: list[Seen] = []
        for folder in await self._unlike_the_record(found):
            known = await self._around.known(folder.path)
            other = [s for s in folder.files if known.get(s.file.path) != s.file.stamp]
            self._roll_call.saw(folder, known, other)
            news += other
        if news:
            await self._lane.run(self._observe, news, event=False)
        self._walk_seconds += self._clock() - began
        if self._reconciler.completed != before:
            self._watch.walked()
            if not len(self._settling):
                self._failure = ""
            self._last_walk = self._around.wall()
            self._next_walk = self._clock() + self._interval()
            self._walk_seconds = 0.0
            await self._roll_call.begin()

    async def _unlike_the_record(self, found: list[Folder]) -> list[Folder]:
        """Return those of *found* that do not look exactly as they did: mostly none."""
        filled = [folder for folder in found if folder.rows]
        if self._around.stamps is None or not filled:
            return filled
        recorded = await self._around.stamps([folder.path for folder in filled])
        unlike = []
        for folder, rows in zip(filled, recorded, strict=True):
            if len(rows) == len(folder.rows) and all(map(rows.__contains__, folder.rows)):
                self._roll_call.complete(folder.path)
            else:
                unlike.append(folder)
        return unlike

    async def _is_still_there(self) -> bool:
        look, place = await self._lane.run(Look.at, self.path, self.filters), self._place
        return place is not None and not look.offline and look.identity == place.identity

    def _interval(self) -> float:
        """Return the seconds until the next whole walk."""
        if self._mode == "poll" or self._watch.fault:
            return max(self._poll_seconds, _POLL_SHARE * self._walk_seconds)
        return self._reconcile_seconds * (0.9 + 0.2 * self._around.jitter())

    def _observe(self, news: Sequence[Seen], *, event: bool) -> None:
        now = self._clock()
        for seen in news:
            if not self._settling.observe(seen, now, event=event):
                self._crowded = True
                return

    async def _release(self) -> None:
        """Admit what has settled, but for what is known by now."""
        due = self._settling.next_due()
        if due is None or due > self._clock():
            return
        settled = await self._lane.run(self._settling.due, self._clock())
        for batch in _batches(await self._unknown(settled)):
            await self._around.admit(batch)
            self._failure = ""

    async def _unknown(self, files: Sequence[PhotoFile]) -> Sequence[PhotoFile]:
        """Return those of *files* that are not known as they are."""
        if self._around.unknown is not None:
            return await self._around.unknown(files)
        known: dict[Path, Stamp] = {}
        for folder in {file.path.parent for file in files}:
            known.update(await self._around.known(folder))
        return [file for file in files if known.get(file.path) != file.stamp]

    def _answer_waiters(self) -> None:
        completed = self._reconciler.completed
        for ticket, done in self._waiters:
            if ticket <= completed and not done.done():
                done.set_result(None)
        self._waiters = [w for w in self._waiters if not w[1].done()]

    async def _pause(self) -> None:
        """Wait until there is something to do."""
        until = self._next_look
        if not self._offline:
            if self._reconciler.pending or self._roll_call.under_way:
                await asyncio.sleep(0)
                return
            until = min(until, self._next_walk, self._settling.next_due() or math.inf)
        # Not wait_for(): until Python 3.12 it loses a cancellation that comes with the wake-up.
        try:
            async with asyncio.timeout(max(0.0, until - self._clock())):
                await self._awake.wait()
        except TimeoutError:
            return  # Something is due: there are no events to be gathered for.
        # What is due meanwhile is not kept waiting for a storm of events to pass.
        room = (self._settling.next_due() or math.inf) - self._clock()
        await asyncio.sleep(min(self._pace.gather, max(room, self._pace.gather / 5)))
        self._awake.clear()

    def _new_settling(self, *, trust_times: bool) -> Settling:
        return Settling(self._settle_seconds, wall=self._around.wall, trust_times=trust_times)


def _batches(files: Sequence[PhotoFile]) -> Iterator[list[PhotoFile]]:
    """Cut *files* into batches, never between two files of one stem: they are one photo."""
    batch: list[PhotoFile] = []
    for file in files:
        if len(batch) >= _BATCH and file.path.with_suffix("") != batch[-1].path.with_suffix(""):
            yield batch
            batch = []
        batch.append(file)
    if batch:
        yield batch
