"""The ledgers in databases against the one in memory: whatever happens, both say the same."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from dataclasses import astuple, replace
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from support.ledger import (
    DIGEST,
    ROOT,
    MemoryState,
    PostgresState,
    SqliteState,
    answer,
    file,
    record,
)

from taggerd.ledger import (
    Deferred,
    Failed,
    Finished,
    Moved,
    Pause,
    Released,
    Rewritten,
)
from taggerd.photo import Sidecar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from support.ledger import State
    from support.postgres import PostgresServer

    from taggerd.ledger import Claim, Ending, Ledger, Outgoing

T = TypeVar("T")

MAX_ATTEMPTS = 2
NAMES = ["A.JPG", "A.HEIC", "A.CR3", "A.DNG", "B.JPG", "sub/A.JPG", "sub/A.CR3"]
DIGESTS = [DIGEST, "ef" * 32]
WITHIN = [None, [ROOT], [ROOT / "sub"], [ROOT / "A.JPG", ROOT / "sub"]]

owner = st.integers(0, 1)
run = st.sampled_from(["x", "y"])
names = st.sets(st.sampled_from(NAMES), min_size=1).map(sorted)
within = st.sampled_from(WITHIN)
order: st.SearchStrategy[Literal["newest", "oldest"]] = st.sampled_from(("newest", "oldest"))


class LedgerMachine(RuleBasedStateMachine):
    """Does the same to both, and compares every answer."""

    apart: frozenset[str] = frozenset()
    """Names that are left out."""

    def made(self) -> State:
        """Return the empty ledger that is compared."""
        return SqliteState(Path(self.folder.name) / "state")

    def kept(self, names: list[str]) -> list[str]:
        """Return the *names* that are not left out."""
        return [name for name in names if name not in self.apart]

    @initialize(order=order)
    def start(self, order: Literal["newest", "oldest"]) -> None:
        """Open both, empty, for two owners."""
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.states = (self.made(), MemoryState())
        self.order = order
        self.owners = [self.opened(), self.opened()]
        self.claims: list[tuple[int, tuple[Claim, Claim]]] = []
        self.records = itertools.count()

    def opened(self) -> tuple[Ledger, Ledger]:
        """Open both as one more owner."""
        sqlite, memory = self.states
        return (
            self.do(sqlite.open(max_attempts=MAX_ATTEMPTS, order=self.order)),
            self.do(memory.open(max_attempts=MAX_ATTEMPTS, order=self.order)),
        )

    def do(self, coroutine: Coroutine[None, None, T]) -> T:
        """Run a coroutine to its end."""
        return self.loop.run_until_complete(coroutine)

    def same(self, owner: int, call: Callable[[Ledger], Coroutine[None, None, T]]) -> T:
        """Ask both for the same; they must say the same."""
        one, two = (self.do(call(ledger)) for ledger in self.owners[owner])
        assert one == two
        return one

    def teardown(self) -> None:
        """Close everything."""
        if hasattr(self, "owners"):
            self.compare()
            for ledger in itertools.chain(*self.owners):
                self.do(ledger.close())
            self.states[0].close()
            self.folder.cleanup()
            self.loop.close()

    @rule(
        owner=owner,
        names=names,
        size=st.integers(1, 2),
        again=st.booleans(),
        sidecars=st.booleans(),
        run=st.none() | run,
    )
    def admit(
        self,
        owner: int,
        names: list[str],
        size: int,
        run: str | None,
        *,
        again: bool,
        sidecars: bool,
    ) -> None:
        """Files arrive, new, changed or as they were."""
        files = [file(name, size=size) for name in self.kept(names)]
        admitted = self.same(
            owner, lambda ledger: ledger.admit(files, again=again, sidecars=sidecars, run=run)
        )
        assert sum(astuple(admitted)) == len(files)

    @rule(owner=owner, names=names, grace=st.sampled_from([0, 10]))
    def missing(self, owner: int, names: list[str], grace: int) -> None:
        """Files are gone."""
        paths = [ROOT / name for name in self.kept(names)]
        for ledger in self.owners[owner]:
            self.do(ledger.missing(ROOT, paths, grace_seconds=grace))

    @rule(owner=owner, names=names, size=st.integers(1, 2), rewritten=st.booleans())
    def undo(self, owner: int, names: list[str], size: int, *, rewritten: bool) -> None:
        """Tags are undone, in sidecars or in the photos themselves."""
        paths = [ROOT / name for name in self.kept(names)]
        before, after = file(size=size).stamp, file(size=3 - size).stamp
        changed = [Rewritten(path, before, after) for path in paths] if rewritten else []
        self.same(owner, lambda ledger: ledger.mark_undone(paths, changed))

    @rule(owner=owner, run=run, limit=st.integers(1, 4), within=within, pause=st.booleans())
    def claim(
        self, owner: int, run: str, limit: int, within: list[Path] | None, *, pause: bool
    ) -> None:
        """Somebody takes photos."""
        now = self.states[0].now
        one, two = (
            self.do(ledger.claim(limit, within=within, run=run, now=now, ignore_pause=pause))
            for ledger in self.owners[owner]
        )
        assert [seen(claim) for claim in one] == [seen(claim) for claim in two]
        self.claims += [(owner, both) for both in zip(one, two, strict=True)]

    def held(self, data: st.DataObject, *, ended: bool) -> tuple[int, tuple[Claim, Claim]]:
        """Choose a claim, which is *ended* mostly."""
        number = data.draw(st.integers(0, len(self.claims) - 1))
        return self.claims.pop(number) if ended else self.claims[number]

    def on_both(
        self,
        held: tuple[int, tuple[Claim, Claim]],
        call: Callable[[Ledger, Claim], Coroutine[None, None, T]],
    ) -> T:
        """Do the same with the claim of each."""
        owner, claims = held
        one, two = (
            self.do(call(ledger, claim))
            for ledger, claim in zip(self.owners[owner], claims, strict=True)
        )
        assert one == two
        return one

    @rule(
        data=st.data(),
        name=st.sampled_from(["A.xmp", "A.JPG.xmp", "/elsewhere/A.xmp"]),
        digest=st.sampled_from(DIGESTS),
    )
    def write(self, data: st.DataObject, name: str, digest: str) -> None:
        """A photo is read, answered and written; its claim goes on."""
        if not self.claims:
            return
        held = self.held(data, ended=False)
        folder = held[1][0].photo.folder
        sidecar = Sidecar(path=folder / name, written=True, digest=f"{next(self.records):064x}")
        self.on_both(held, lambda ledger, claim: ledger.decoded(claim, ""))
        self.on_both(held, lambda ledger, claim: ledger.checkpoint(claim, digest, answer()))
        self.on_both(held, lambda ledger, claim: ledger.written(claim, digest, [sidecar]))

    @rule(
        data=st.data(),
        kind=st.sampled_from([Finished, Released, Deferred, Moved, Failed]),
        digest=st.sampled_from(DIGESTS),
        flags=st.tuples(st.booleans(), st.booleans()),
        held=st.booleans(),
        once=st.booleans(),
    )
    def end(
        self,
        data: st.DataObject,
        kind: type[Ending],
        digest: str,
        flags: tuple[bool, bool],
        *,
        held: bool,
        once: bool,
    ) -> None:
        """A claim ends; it may be ended once more."""
        if not self.claims:
            return
        line = record(next(self.records))
        ending = self.ending(kind, digest, flags, line)
        if held and isinstance(ending, Finished):
            ending = replace(ending, held=(answer(),))
        self.on_both(self.held(data, ended=once), lambda ledger, claim: ledger.end(claim, ending))

    def ending(
        self, kind: type[Ending], digest: str, flags: tuple[bool, bool], line: Outgoing
    ) -> Ending:
        """Make an ending of a kind."""
        first, second = flags
        if kind is Finished:
            return Finished(digest, line if first else None, sidecars_written=second)
        if kind is Released:
            return Released(line if first else None)
        if kind is Deferred:
            return Deferred("down", self.states[0].now + 10)
        if kind is Failed:
            return Failed("bad", final=first, for_sidecars=second, record=line)
        return Moved()

    @rule(owner=owner, seconds=st.sampled_from([None, 1, 30]), paused=st.booleans())
    def pause(self, owner: int, seconds: int | None, *, paused: bool) -> None:
        """Somebody pauses the service, for a while or until further notice, or resumes it."""
        now = self.states[0].now
        pause = Pause("a reason", now, None if seconds is None else now + seconds)
        self.same(owner, lambda ledger: ledger.pause(pause if paused else None))

    @rule(owner=owner, orderly=st.booleans())
    def restart(self, owner: int, *, orderly: bool) -> None:
        """An owner is stopped or killed; the other recovers its claims; it comes again."""
        for state, ledger in zip(self.states, self.owners[owner], strict=True):
            self.do(ledger.close() if orderly else state.kill(ledger))
        self.same(1 - owner, lambda ledger: ledger.recover())
        self.owners[owner] = self.opened()
        self.claims = [one for one in self.claims if one[0] != owner]

    @rule(owner=owner, within=within, failed=st.booleans())
    def retry(self, owner: int, within: list[Path] | None, *, failed: bool) -> None:
        """Photos in quarantine, or all that failed in any way, are queued again."""
        self.same(owner, lambda ledger: ledger.retry(within, failed=failed))

    @rule(
        owner=owner, within=within, before=st.sampled_from([-10.0, 0.0, inf]), run=st.none() | run
    )
    def accept(self, owner: int, within: list[Path] | None, before: float, run: str | None) -> None:
        """Somebody accepts answers that are held, or those held for long."""
        when = self.states[0].now + before
        self.same(owner, lambda ledger: ledger.accept(within, before=when, run=run))

    @rule(owner=owner, within=within)
    def drop(self, owner: int, within: list[Path] | None) -> None:
        """Somebody lets them go."""
        self.same(owner, lambda ledger: ledger.drop_held(within))

    @rule(seconds=st.sampled_from([1, 20, -5, -100]))
    def wait(self, seconds: int) -> None:
        """Time passes, or the clock is set back."""
        for state in self.states:
            state.now += seconds

    @rule(owner=owner, limit=st.integers(1, 3))
    def deliver(self, owner: int, limit: int) -> None:
        """Lines go from the outbox into the journal."""
        lines = self.same(owner, lambda ledger: ledger.outbox(limit))
        self.same(owner, lambda ledger: ledger.delivered([line.id for line in lines[1:]]))

    @rule()
    def compare(self) -> None:
        """Files, states, counts, what waits, what is held: now and at the end."""
        now = self.states[0].now
        files = [file(name, size=size) for name in NAMES for size in (1, 2)]
        folders = self.same(0, lambda ledger: ledger.folders(ROOT))
        for folder in folders:
            self.same(0, lambda ledger, folder=folder: ledger.known(folder))  # type: ignore[misc] # bound as it is now
        self.same(0, lambda ledger: ledger.stamps([ROOT, *folders]))
        self.same(0, lambda ledger: ledger.file_states(files))
        self.same(0, lambda ledger: ledger.paused(now))
        for inside in WITHIN:
            one, two = (self.do(ledger.counts(inside)) for ledger in self.owners[0])
            if inside is not None:  # one whose files went while it was claimed may count or not
                one, two = replace(one, claimed=0), replace(two, claimed=0)
            assert one == two
            self.same(1, lambda ledger, i=inside: ledger.waiting(i, "x"))  # type: ignore[misc] # likewise
            self.same(1, lambda ledger, i=inside: ledger.quarantined(9, i))  # type: ignore[misc] # likewise
            self.same(1, lambda ledger, i=inside: ledger.held(9, i))  # type: ignore[misc] # likewise
            self.same(0, lambda ledger, i=inside: ledger.held(-1, i, unwritten=True))  # type: ignore[misc] # likewise
        for digest in DIGESTS:
            self.same(0, lambda ledger, d=digest: ledger.answers(d))  # type: ignore[misc] # likewise


def seen(claim: Claim) -> Claim:
    """Return a claim without what is each ledger's own: its number and token."""
    return replace(claim, id=0, token="")


class OnServer(LedgerMachine):
    """The same with the ledger in PostgreSQL, which claims no two photos of one sidecar at once."""

    apart = frozenset({"A.HEIC", "A.DNG"})
    server: ClassVar[PostgresServer]

    def made(self) -> State:
        """Return a database of its own."""
        return PostgresState(self.server)


@pytest.fixture(autouse=True)
def _server(request: pytest.FixtureRequest) -> None:
    if "Server" in request.node.nodeid:
        OnServer.server = request.getfixturevalue("postgres_server")


class ForLong(LedgerMachine):
    """The same, over many more."""


LedgerMachine.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
ForLong.TestCase.settings = settings(LedgerMachine.TestCase.settings, max_examples=200)
TestLedger = LedgerMachine.TestCase
TestLedgerForLong = pytest.mark.long(ForLong.TestCase)

OnServer.TestCase.settings = settings(LedgerMachine.TestCase.settings, max_examples=8)
TestLedgersOnServer = pytest.mark.slow(OnServer.TestCase)
