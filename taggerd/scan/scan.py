"""One scan: queues the photos below some paths, and tags them until none is left."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from taggerd import files
from taggerd.arrivals import (
    Seen,
    Settling,
    Skip,
    Unpacking,
    chosen,
    find,
    see,
    sweep_missing_files,
    work_below,
)
from taggerd.attempt import outgoing
from taggerd.errors import StorageError
from taggerd.journal import Day, check_scan_file, read_lines, write_jsonl
from taggerd.ledger import FileState
from taggerd.photo import extension, group, printable
from taggerd.relay import write_scan_summary
from taggerd.retry import SCAN_TIMEOUT_SECONDS
from taggerd.runner.following import Following
from taggerd.runner.hold import end_long_holds
from taggerd.runner.outcome import log_outcome
from taggerd.runner.pause import pause_reason
from taggerd.runner.runner import Runner
from taggerd.scan.choice import needless, written_by
from taggerd.scan.estimate import estimate_photos
from taggerd.scan.request import Listing, Tally
from taggerd.services import make_inference, open_services, read_ledger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from taggerd.arrivals import Found
    from taggerd.attempt import RunOptions
    from taggerd.photo import Photo, PhotoFile
    from taggerd.runner.outcome import Outcome
    from taggerd.scan.request import Observer, ScanRequest
    from taggerd.services import Services
    from taggerd.settings import Settings
    from taggerd.settings.configuration import Configuration


async def list_photos(configuration: Configuration, request: ScanRequest) -> Listing:
    """Return what a scan would tag and what not, without a request to the backend.

    Raises:
        ConfigurationError: a path cannot be read. StartError: the state cannot be used.

    """
    await asyncio.to_thread(work_below, request.paths, configuration.settings)
    found = await asyncio.to_thread(find, request.paths, configuration.settings)
    states = await _file_states(configuration.settings, [seen.file for seen in found.seen])
    asked_as = make_inference(configuration).asked_as
    taken, left = [], []
    skipped = [skip for skip in found.skipped if skip.named or skip.kind != "sidecar"]
    skipped += [Skip(a.file.path, "an archive; a scan unpacks it once") for a in found.archives]
    for photo in found.photos:
        reason = needless(photo, states, request.options, asked_as)
        if reason:
            left.append(Skip(photo.primary.path, reason))
        else:
            taken.append(photo)
    picked = chosen(taken, limit=request.limit, sample=request.sample)
    return Listing(picked, sorted(left), sorted(skipped), len(taken) - len(picked))


async def _file_states(settings: Settings, files: Sequence[PhotoFile]) -> Mapping[Path, FileState]:
    """Return the state of *files*; where there is no ledger, all are new and none is made."""
    states = await asyncio.to_thread(
        read_ledger, settings, lambda ledger: ledger.file_states(files)
    )
    return {file.path: FileState("new") for file in files} if states is None else states


async def scan_photos(
    configuration: Configuration, request: ScanRequest, observer: Observer
) -> Tally:
    """Tag the photos below the paths that need it, and return how it went.

    Raises:
        ConfigurationError: a path cannot be read, or an output file cannot be written.
        StartError: the state cannot be used.
        BackendError: the backend is not usable; the rest stays queued.

    """
    for file, is_summary in ((request.output_jsonl, False), (request.summary, True)):
        if file:
            check_scan_file(file, summary=is_summary)
    await asyncio.to_thread(work_below, request.paths, configuration.settings)
    found = await asyncio.to_thread(find, request.paths, configuration.settings)
    dry_run = request.options.dry_run
    async with open_services(configuration, dry_run=dry_run) as services:
        await _unpack(found, services, request.options)
        work = Scan(services, request.options, observer)
        if request.options.writes and request.options.asks:
            await end_long_holds(services, request.paths)
        wanted = await work.wanted(found, limit=request.limit, sample=request.sample)
        if not await _proceeds(configuration, work.tally, request.options, observer):
            work.tally.declined = True
            return work.tally
        if not dry_run:
            forget_days = services.settings.arrivals.forget_days
            for folder in found.folders:
                await sweep_missing_files(services.ledger, folder, forget_days=forget_days)
        ended = False
        async with _following(services, request.options, observer) as work.on_ended:
            try:
                if wanted:
                    await _prepare(wanted, services, request.options, observer)
                    await work.run(wanted)
                    await work.account(wanted)
                ended = True
            finally:
                try:
                    await services.relay.finish()
                except StorageError as error:
                    work.tally.trouble = f"records stay in the ledger until the next run: {error}"
                if work.lines or ended:
                    await asyncio.to_thread(_write_files, request, work, services)
    return work.tally


@asynccontextmanager
async def _following(
    services: Services, options: RunOptions, observer: Observer
) -> AsyncIterator[Callable[[Outcome], None]]:
    """Let follow what has to; give what hears of outcomes. At the end the batch is over."""
    follows = Following(services, options, sweeps=False)
    running = asyncio.create_task(follows.hooks.run(), name="hooks")
    try:
        yield follows.hear
        if not options.dry_run:
            for trouble in await follows.finish():
                observer.warned(trouble)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def _unpack(found: Found, services: Services, options: RunOptions) -> None:
    """Unpack the archives in *found* as they settle, and add their photos to it."""
    arrivals = services.settings.arrivals
    if not options.asks:
        return
    if options.dry_run:
        found.skipped += [
            Skip(a.file.path, "an archive; not unpacked in a dry run") for a in found.archives
        ]
        return
    unpacking = Unpacking(arrivals, services.ledger, services.writers)
    await unpacking.remove_leftovers()
    unpacked = await unpacking.unpack_all(found.archives, timeout_seconds=SCAN_TIMEOUT_SECONDS)
    found.refused += [Skip(path, done.reason) for path, done in unpacked.items() if done.reason]
    folders = [done.folder for done in unpacked.values() if done.folder]
    below = await asyncio.to_thread(find, folders, services.settings)
    there = {seen.file.path for seen in found.seen}
    found.seen += [seen for seen in below.seen if seen.file.path not in there]
    found.skipped += below.skipped


async def _proceeds(
    configuration: Configuration, tally: Tally, options: RunOptions, observer: Observer
) -> bool:
    """Say what a scan of many photos will take, and return whether to begin it."""
    if not options.asks or tally.todo <= FEW_PHOTOS:
        return True
    return await observer.proceeds(await estimate_photos(configuration, tally.todo))


async def _prepare(
    wanted: Sequence[Seen], services: Services, options: RunOptions, observer: Observer
) -> None:
    """Say what somebody should know, and probe the backend, if it is to be asked.

    Raises:
        BackendError: the backend is not usable, or today's budget is spent: somebody is waiting.
    """
    if not options.asks:
        return
    await _warn(wanted, services, options, observer)
    await services.inference.budget.check()  # a probe costs as well
    services.warm(len(wanted))
    observer.probing(services.inference.base_url)
    if error := await services.inference.probe():
        raise error


async def _warn(
    wanted: Sequence[Seen], services: Services, options: RunOptions, observer: Observer
) -> None:
    """Say what somebody should know before work begins on *wanted*."""
    hours = services.settings.schedule.hours
    if reason := await pause_reason(services.ledger, hours, services.now()):
        observer.paused(reason)
    if warning := services.inference.warning:
        observer.warned(warning)
    if options.writes:
        for reason in await asyncio.to_thread(_read_only, wanted):
            observer.read_only(reason)


def _read_only(wanted: Iterable[Seen]) -> list[str]:
    """Return why sidecars of *wanted* cannot be written, once for each file system."""
    folders = dict.fromkeys(seen.file.path.parent for seen in wanted)
    return list(dict.fromkeys(filter(None, map(files.read_only_reason, folders))))


def _write_files(request: ScanRequest, work: Scan, services: Services) -> None:
    """Write the files named by ``--output-jsonl`` and ``--summary``."""
    if request.output_jsonl:
        write_jsonl(request.output_jsonl, work.lines)
    if request.summary:
        title = f"Scan of {', '.join(printable(path) for path in request.paths)}"
        scanned = Day(title, read_lines(work.lines))
        write_scan_summary(request.summary, scanned, services.journal)


FEW_PHOTOS = 50
"""So many are simply begun; before more somebody is told what they will take."""
_JPEG = frozenset({"jpg", "jpeg"})
_JPEGS_TOLD = "scan.first_jpegs_told"
"""Key of the note that the observer was told of."""


class Scan:
    """The work of one scan."""

    def __init__(self, services: Services, options: RunOptions, observer: Observer) -> None:
        """Prepare the scan; *observer* hears of every outcome."""
        self._services = services
        self._options = options
        self._observer = observer
        self._feeding = True
        self._moved: list[Photo] = []
        self._ended: set[Path] = set()
        self._jpeg_sidecars = False
        self.on_ended: Callable[[Outcome], None] = lambda _outcome: None
        """Hears of every outcome as well."""
        self.tally = Tally(spent=services.inference.budget.here)
        self.lines: list[str] = []
        """The records of this scan as JSON."""

    async def wanted(
        self, found: Found, *, limit: int | None = None, sample: int | None = None
    ) -> list[Seen]:
        """Return the files of photos that have something to do, and count the others.

        Of them those that *limit* and *sample* choose: see :func:`chosen`.
        """
        photos, tally = found.photos, self.tally
        states = await self._services.ledger.file_states(seen.file for seen in found.seen)
        tally.found = len(photos)
        # A folder that cannot be read may hold photos; a file that was named was meant.
        tally.failed = [s for s in found.skipped if s.kind == "unreadable" or s.named]
        tally.skipped = [s for s in found.skipped if s not in tally.failed and s.kind != "sidecar"]
        tally.failed += found.refused
        todo: list[Photo] = []
        for photo in photos:
            reason = needless(photo, states, self._options, self._services.inference.asked_as)
            if not reason:
                todo.append(photo)
            elif not self._options.asks:
                tally.untagged += 1
            else:
                self._leave(Skip(photo.primary.path, reason), states[photo.primary.path])
        if tally.outdated:
            self._observer.settings_changed()
        taken = chosen(todo, limit=limit, sample=sample)
        tally.todo, tally.left_out = len(taken), len(todo) - len(taken)
        wanted = {file.path for photo in taken for file in photo.files}
        return [seen for seen in found.seen if seen.file.path in wanted]

    def _leave(self, photo: Skip, known: FileState) -> None:
        """Count a photo that has nothing to do."""
        tally = self.tally
        match known.state:
            case "quarantined":
                tally.quarantined.append(photo)
            case "undone":
                tally.undone += 1
            case "held":
                tally.held += 1
            case "dropped":
                tally.dropped += 1
            case "unwritten":
                tally.unwritten_before += 1
            case _:
                tally.done_before += 1
                tally.outdated += self._services.settings_history.changed_since(known.since)

    async def run(self, wanted: Sequence[Seen]) -> None:
        """Tag the *wanted* files' photos.

        Raises:
            BackendError: the backend was away for longer than the timeout.

        """
        self._observer.begun(self.tally.todo, self.tally)
        began = time.monotonic()
        try:
            while wanted:
                await self._round(wanted)
                # A photo that changed meanwhile is another one now, and is tagged as well.
                wanted = await asyncio.to_thread(self._seen_again)
                if self._options.accept:
                    return  # what it is now, nobody has looked at
        finally:
            self.tally.seconds = time.monotonic() - began

    async def account(self, wanted: Sequence[Seen]) -> None:
        """Count the *wanted* photos that this scan has no outcome for.

        Another taggerd may have tagged them, crashes may have used up their attempts, or they are
        gone. Without this a scan would report photos as tagged that are not.
        """
        ended = self._ended | {skip.path for skip in self.tally.gone}
        left = [p for p in group(s.file for s in wanted) if p.primary.path not in ended]
        states = await self._services.ledger.file_states(f for photo in left for f in photo.files)
        for photo in left:
            path, now = photo.primary.path, states[photo.primary.path]
            if not await asyncio.to_thread(files.exists, path):
                self.tally.gone.append(Skip(path, "gone"))
            elif now.state in {"recorded", "held"}:
                # Another taggerd was faster.
                self.tally.outcomes["held" if now.state == "held" else "already tagged"] += 1
            elif now.state == "quarantined":
                self.tally.failed.append(Skip(path, now.reason))
            elif not self.tally.growing:
                changed = self._options.accept and now.state == "new"
                why = "changed meanwhile" if changed else "still in the queue"
                self.tally.elsewhere.append(Skip(path, now.reason or why))
        if self._jpeg_sidecars and self._services.settings.metadata.target == "sidecar":
            await self._tell_first_jpegs()

    async def _tell_first_jpegs(self) -> None:
        """Tell the observer of the first sidecars of JPEGs, once for each state directory."""
        ledger = self._services.ledger
        if not await ledger.recall(_JPEGS_TOLD):
            await ledger.note(_JPEGS_TOLD, value=True)
            self._observer.first_jpegs()

    async def _round(self, wanted: Sequence[Seen]) -> None:
        """Let *wanted* settle, and tag it."""
        self._feeding = True
        runner = Runner(
            self._services,
            self._options,
            on_outcome=[log_outcome, self._count, self.on_ended],
            more_to_come=lambda: self._feeding,
            trouble_timeout=SCAN_TIMEOUT_SECONDS,
        )
        feeding = asyncio.create_task(self._feed(wanted, runner), name="feeding")
        try:
            await runner.work(drain_seconds=self._services.settings.service.drain_seconds)
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
        if not feeding.cancelled():
            feeding.result()

    def _seen_again(self) -> list[Seen]:
        """Return the files of photos that moved, as they are now; count what is gone."""
        again: list[Seen] = []
        for photo in self._moved:
            for file in photo.files:
                with suppress(OSError):
                    seen = see(file.path)
                    again += [seen] if isinstance(seen, Seen) else []
            if not any(seen.file.path == photo.primary.path for seen in again):
                self.tally.gone.append(Skip(photo.primary.path, "gone"))
        self._moved.clear()
        return again

    async def _feed(self, wanted: Sequence[Seen], runner: Runner) -> None:
        """Queue the files as they settle; most have not changed for long and are due at once."""
        try:
            settling = Settling(
                self._services.settings.arrivals.settle_seconds, limit=len(wanted) + 1
            )
            async for batch in settling.settle(wanted, timeout_seconds=SCAN_TIMEOUT_SECONDS):
                await self._admit(batch)
                runner.wake()
            self.tally.growing += len(settling)
        finally:
            self._feeding = False
            runner.wake()

    async def _admit(self, files: Sequence[PhotoFile]) -> None:
        ledger, asked_as = self._services.ledger, self._services.inference.asked_as
        run, options = self._options.run, self._options
        if files:
            paths = [file.path for file in files]
            await ledger.retry(paths, unless_asked_as=asked_as)
            if "held" in written_by(options) and not (options.rewrite or options.ask_again):
                await ledger.accept(paths, run=run)
            if options.accept:
                return
        await ledger.admit(
            files,
            again=options.ask_again or options.rewrite,
            sidecars=options.writes,
            run=run,
        )

    def _count(self, outcome: Outcome) -> None:
        tally = self.tally
        tally.outcomes[outcome.kind] += 1
        if outcome.kind in {"tagged", "held", "already tagged", "failed"}:
            self._ended.add(outcome.photo.primary.path)
        if outcome.kind == "failed":
            tally.failed.append(Skip(outcome.photo.primary.path, outcome.reason))
        elif outcome.kind == "moved":
            self._moved.append(outcome.photo)
        if outcome.record:
            is_jpeg = extension(outcome.photo.primary.path) in _JPEG
            self._jpeg_sidecars |= is_jpeg and bool(outcome.record.sidecars)
            self.lines.append(outgoing(outcome.record).line)
        if outcome.preview:
            tally.previews.append((outcome.photo.primary.path, outcome.preview))
        self._observer.outcome(outcome, tally)
