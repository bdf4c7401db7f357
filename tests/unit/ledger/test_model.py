"""The ledger against a model in memory: whatever happens in whatever order, both say the same."""

from __future__ import annotations

import asyncio
import itertools
import math
import tempfile
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from support.ledger import DIGEST, ROOT, file, record

from taggerd.ledger import Counts, Deferred, Failed, Finished, Moved, Pause, Released, SqliteLedger
from taggerd.photo import PhotoFile, Sidecar, group

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

    from taggerd.ledger import Claim, Outgoing

T = TypeVar("T")

MAX_ATTEMPTS = 2
NAMES = ["A.JPG", "A.HEIC", "A.CR3", "A.DNG", "B.JPG", "sub/A.JPG", "sub/A.CR3"]


@dataclass(eq=False)
class ModelPhoto:
    """A photo as the model keeps it."""

    files: set[str]
    state: Literal["queued", "claimed", "recorded", "quarantined"] = "queued"
    attempts: int = 0
    retryable: bool = False
    digest: bool = False
    changed: bool = False
    written: bool = False
    asked_again_since: float | None = None
    not_before: float = 0.0
    released_by: str = ""
    again: int = 0
    reason: str = ""
    owner: int = 0
    sidecars: dict[Path, str] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """Whether it waits after a failure, or lacks its sidecars."""
        unwritten = self.state == "recorded" and not self.written
        waits = self.state == "queued" and (self.not_before > 0 or self.reason)
        return bool(unwritten or waits)

    def queue(self, *, changed: bool = False, asked_again_since: float | None = None) -> None:
        """Queue it as if it had just come, or note that for when its claim ends."""
        if self.asked_again_since is None:
            self.asked_again_since = asked_again_since
        if self.state == "claimed":
            self.again = max(self.again, 2 if changed else 1)
            return
        self.state, self.attempts, self.retryable = "queued", 0, False
        self.not_before, self.released_by, self.reason = 0.0, "", ""
        self.changed |= changed

    def end(self, *, charged: bool = True) -> None:
        """End its claim with the photo queued."""
        again, self.again, self.state = self.again, 0, "queued"
        self.attempts -= 0 if charged else 1
        if again:
            self.queue(changed=again == 2)


@dataclass
class Model:
    """The whole ledger, as plainly as it can be said."""

    stamps: dict[str, PhotoFile] = field(default_factory=dict)
    photos: list[ModelPhoto] = field(default_factory=list)
    paused_until: float | None = None

    def photo(self, name: str) -> ModelPhoto:
        """Return the photo that a file belongs to."""
        return next(photo for photo in self.photos if name in photo.files)

    def regroup(self, asked_again_since: float | None = None) -> set[ModelPhoto]:
        """Make the photos those of `group`; return the ones that are new."""
        before = {n: photo for photo in self.photos for n in photo.files}
        first: dict[int, str] = {}  # a photo lives on where the first of its files is now
        for photo in self.photos:
            present = [n for n in self._order(photo.files) if n in self.stamps]
            if present:
                first[id(photo)] = present[0]
        made, joined = set(), set()
        members: dict[int, set[str]] = {}
        for grouped in group(self.stamps.values()):
            inside = [str(one.path.relative_to(ROOT)) for one in grouped.files]
            heir = next((n for n in inside if n in before and first[id(before[n])] == n), None)
            if heir is None:
                kept = ModelPhoto(set(), asked_again_since=asked_again_since)
                self.photos.append(kept)
                made.add(kept)
            else:
                kept = before[heir]
                if set(inside) - kept.files:
                    joined.add(kept)
            members[id(kept)] = set(inside)
        for photo in self.photos:
            photo.files = members.get(id(photo), set())
        for photo in joined:
            photo.queue(asked_again_since=asked_again_since)
        self.sweep()
        return made | joined

    @staticmethod
    def _order(names: Iterable[str]) -> list[str]:
        """Return names in reading order: the raw that makes them one photo goes last."""
        rank = [".JPG", ".HEIC", ".CR3", ".DNG"]
        return sorted(names, key=lambda name: rank.index(Path(name).suffix))

    def sweep(self) -> None:
        """Drop photos without files, unless they are claimed."""
        self.photos = [p for p in self.photos if p.files or p.state == "claimed"]

    def admit(self, files: list[PhotoFile], now: float, *, anew: bool, sidecars: bool) -> None:
        """See the port."""
        since = now if anew else None
        for stem, same in itertools.groupby(
            sorted(files, key=lambda one: str(one.path)), lambda one: one.path.with_suffix("")
        ):
            del stem
            self._admit_stem(
                {str(one.path.relative_to(ROOT)): one for one in same}, since, sidecars=sidecars
            )

    def _admit_stem(
        self, files: dict[str, PhotoFile], since: float | None, *, sidecars: bool
    ) -> None:
        changed = {n for n in files if n in self.stamps and self.stamps[n] != files[n]}
        self.stamps |= files
        settled = self.regroup(since)
        replaced = {self.photo(n) for n in changed}
        for photo in replaced:
            if photo.state != "claimed":
                photo.asked_again_since = None  # new bytes are not those that it was wanted for
            photo.queue(changed=True, asked_again_since=since)
        for photo in {self.photo(n) for n in files} - settled - replaced:
            unwritten = photo.state == "recorded" and not photo.written
            sulking = photo.state == "quarantined" and photo.retryable
            if photo.state == "queued":
                photo.asked_again_since = (
                    photo.asked_again_since if photo.asked_again_since is not None else since
                )
            elif (
                (photo.state == "recorded" and since is not None)
                or (
                    photo.state == "claimed"
                    and since is not None
                    and photo.asked_again_since is None
                )
                or (sidecars and (unwritten or sulking))
            ):
                photo.queue(asked_again_since=since)

    def forget(self, names: Iterable[str]) -> None:
        """See the port."""
        for name in names:
            self.stamps.pop(name, None)
        self.regroup()


class LedgerMachine(RuleBasedStateMachine):
    """Does the same to the ledger and to the model."""

    @initialize()
    def start(self) -> None:
        """Open an empty ledger for two owners."""
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.now = 1000.0
        self.model = Model()
        self.claims: list[tuple[int, Claim, ModelPhoto]] = []
        self.records = itertools.count()
        self.sent: set[str] = set()
        self.owners = [self.opened(), self.opened()]

    def opened(self) -> SqliteLedger:
        """Open the ledger as one more owner."""
        return self.do(
            SqliteLedger.open(
                Path(self.folder.name), max_attempts=MAX_ATTEMPTS, clock=lambda: self.now
            )
        )

    def do(self, coroutine: Coroutine[None, None, T]) -> T:
        """Run a coroutine to its end."""
        return self.loop.run_until_complete(coroutine)

    def teardown(self) -> None:
        """Close everything."""
        if hasattr(self, "owners"):
            for owner in self.owners:
                self.do(owner.close())
            self.folder.cleanup()
            self.loop.close()

    owner = st.integers(0, 1)
    run = st.sampled_from(["x", "y"])

    @rule(
        owner=owner,
        names=st.sets(st.sampled_from(NAMES), min_size=1),
        size=st.integers(1, 2),
        anew=st.booleans(),
        sidecars=st.booleans(),
    )
    def admit(self, owner: int, names: set[str], size: int, *, anew: bool, sidecars: bool) -> None:
        """Files arrive, new, changed or as they were."""
        files = [file(name, size=size) for name in names]
        admitted = self.do(self.owners[owner].admit(files, again=anew, sidecars=sidecars))
        assert sum(astuple(admitted)) == len(files)
        self.model.admit(files, self.now, anew=anew, sidecars=sidecars)

    @rule(owner=owner, names=st.sets(st.sampled_from(NAMES), min_size=1))
    def forget(self, owner: int, names: set[str]) -> None:
        """Files are gone."""
        self.do(self.owners[owner].forget([ROOT / name for name in names]))
        self.model.forget(names)

    @rule(owner=owner, run=run, limit=st.integers(1, 4), sub=st.booleans())
    def claim(self, owner: int, run: str, limit: int, *, sub: bool) -> None:
        """Somebody takes photos; which of several it takes first is not the model's business."""
        within = ROOT / "sub" if sub else ROOT
        taken = self.do(self.owners[owner].claim(limit, within=[within], run=run, now=self.now))
        due = [
            photo
            for photo in self.model.photos
            if photo.state == "queued"
            and photo.not_before <= self.now
            and photo.released_by != run
            and all(name.startswith("sub/" if sub else "") for name in photo.files)
        ]
        paused = self.model.paused_until is not None and self.model.paused_until > self.now
        due = [] if paused else due
        assert len(taken) == min(limit, len(due))
        for claim in taken:
            photo = self.model.photo(str(claim.photo.primary.path.relative_to(ROOT)))
            assert photo in due
            spent = photo.attempts >= MAX_ATTEMPTS
            assert bool(claim.exhausted) == spent
            assert claim.attempt == photo.attempts + (not spent)
            photo.attempts += 1
            photo.state, photo.owner = "claimed", owner
            assert {one.path for one in claim.photo.files} == {ROOT / n for n in photo.files}
            assert (claim.digest == DIGEST, claim.changed) == (photo.digest, photo.changed)
            assert claim.asked_again_since == photo.asked_again_since
            assert claim.sidecars == photo.sidecars
            self.claims.append((owner, claim, photo))

    @rule(data=st.data(), name=st.sampled_from(["A.xmp", "A.JPG.xmp", "/elsewhere/A.xmp"]))
    def write(self, data: st.DataObject, name: str) -> None:
        """A sidecar of a claimed photo is written; its claim goes on."""
        if not self.claims:
            return
        owner, claim, photo = self.claims[data.draw(st.integers(0, len(self.claims) - 1))]
        digest = f"{next(self.records):064x}"
        sidecar = Sidecar(path=claim.photo.folder / name, written=True, digest=digest)
        self.do(self.owners[owner].written(claim, DIGEST, [sidecar]))
        photo.sidecars[sidecar.path] = digest
        photo.digest, photo.changed = True, False

    @rule(owner=owner, seconds=st.sampled_from([None, 1, 30]))
    def pause(self, owner: int, seconds: int | None) -> None:
        """Somebody pauses the queue, for a while or until further notice."""
        until = None if seconds is None else self.now + seconds
        self.do(self.owners[owner].pause(Pause("a reason", self.now, until)))
        self.model.paused_until = math.inf if until is None else until

    @rule(owner=owner)
    def resume(self, owner: int) -> None:
        """Somebody ends the pause, if there is one."""
        self.do(self.owners[owner].pause(None))
        self.model.paused_until = None

    @rule(data=st.data(), written=st.booleans(), twice=st.booleans())
    def finish(self, data: st.DataObject, *, written: bool, twice: bool) -> None:
        """A photo is tagged; its claim may be ended once more."""
        if not self.claims:
            return
        ledger, claim, photo, line = self.ending(data)
        assert self.do(ledger.end(claim, Finished(DIGEST, line, sidecars_written=written)))
        self.sent.add(line.id)
        again, photo.again = photo.again, 0
        photo.state, photo.attempts, photo.digest = "recorded", 0, True
        photo.changed, photo.written = again == 2, written
        photo.not_before, photo.released_by, photo.reason = 0.0, "", ""
        if photo.asked_again_since == claim.asked_again_since:
            photo.asked_again_since = None
        if again:
            photo.queue()
        if twice:
            self.do(ledger.end(claim, Moved()))
            self.do(ledger.end(claim, Failed("late", final=True, record=line)))
        self.model.sweep()

    @rule(data=st.data(), ending=st.sampled_from(["release", "defer", "resettle"]))
    def give_back(self, data: st.DataObject, ending: str) -> None:
        """A claim ends through no fault of the photo."""
        if not self.claims:
            return
        ledger, claim, photo, line = self.ending(data)
        photo.not_before = 0.0
        match ending:
            case "release":
                self.do(ledger.end(claim, Released(line)))
                self.sent.add(line.id)
                photo.released_by = claim.run
            case "defer":
                photo.not_before, photo.reason = self.now + 10, "down"
                self.do(ledger.end(claim, Deferred("down", photo.not_before)))
            case _:
                self.do(ledger.end(claim, Moved()))
                if not photo.again:
                    self.model.forget(set(photo.files))
        photo.end(charged=False)
        self.model.sweep()

    @rule(data=st.data(), final=st.booleans(), retryable=st.booleans())
    def fail(self, data: st.DataObject, *, final: bool, retryable: bool) -> None:
        """A photo fails, for good or for now."""
        if not self.claims:
            return
        ledger, claim, photo, line = self.ending(data)
        quarantined = self.do(
            ledger.end(claim, Failed("bad", final=final, for_sidecars=retryable, record=line))
        )
        spent = final or photo.attempts >= MAX_ATTEMPTS
        assert quarantined == (spent and not photo.again)
        if quarantined:
            self.sent.add(line.id)
            photo.state, photo.retryable, photo.reason = "quarantined", retryable, "bad"
        else:
            photo.not_before, photo.reason = 0.0, "bad"
            photo.end()
        self.model.sweep()

    def ending(self, data: st.DataObject) -> tuple[SqliteLedger, Claim, ModelPhoto, Outgoing]:
        """Choose a claim to be ended, and a record for it."""
        number = data.draw(st.integers(0, len(self.claims) - 1))
        owner, claim, photo = self.claims.pop(number)
        return self.owners[owner], claim, photo, record(next(self.records))

    @rule(owner=owner, orderly=st.booleans())
    def restart(self, owner: int, *, orderly: bool) -> None:
        """An owner is stopped or killed; the other gives back what it held; it comes again."""
        ledger = self.owners[owner]
        self.do(ledger.close() if orderly else ledger._state.close())
        self.do(self.owners[1 - owner].recover())
        self.owners[owner] = self.opened()
        for mine, _, photo in self.claims:
            if mine == owner:
                photo.not_before = 0.0
                photo.end(charged=False)
        self.claims = [one for one in self.claims if one[0] != owner]
        self.model.sweep()

    @rule(owner=owner, failed=st.booleans())
    def retry(self, owner: int, *, failed: bool) -> None:
        """Quarantine is emptied, or all that failed in any way is put back."""
        inside = [
            photo
            for photo in self.model.photos
            if photo.state == "quarantined" or (failed and photo.failed)
        ]
        assert self.do(self.owners[owner].retry(None, failed=failed)) == len(inside)
        for photo in inside:
            photo.queue()

    @rule(seconds=st.sampled_from([1, 20, -5]))
    def wait(self, seconds: int) -> None:
        """Time passes, or the clock is set back."""
        self.now += seconds

    @invariant()
    def both_say_the_same(self) -> None:
        """Files, photos, counts and journal lines are the model's."""
        if not hasattr(self, "owners"):
            return
        ledger = self.owners[0]
        known: dict[Path, Any] = {}
        for folder in self.do(ledger.folders(ROOT)):
            known |= self.do(ledger.known(folder))
        assert known == {one.path: one.stamp for one in self.model.stamps.values()}
        states = [p.state for p in self.model.photos if p.state != "recorded"]
        written = [p.written for p in self.model.photos if p.state == "recorded"]
        assert self.do(ledger.counts()) == Counts(
            queued=states.count("queued"),
            claimed=states.count("claimed"),
            quarantined=states.count("quarantined"),
            recorded=written.count(True),
            unwritten=written.count(False),
        )
        until = self.model.paused_until
        paused = self.do(ledger.paused(self.now))
        assert (paused is not None) == (until is not None and until > self.now)
        lines = [line for one in self.owners for line in self.do(one.outbox(10_000))]
        assert sorted(line.id for line in lines) == sorted(self.sent)


LedgerMachine.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
TestLedger = LedgerMachine.TestCase
