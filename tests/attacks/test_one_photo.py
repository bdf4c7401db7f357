"""Whatever fails for one photo ends that photo, and never the run."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import pytest
from support.site import Site

from taggerd import imaging, logs, metadata, pipeline
from taggerd.attempt import RunOptions
from taggerd.ledger import SqliteLedger
from taggerd.retry import DISK
from taggerd.runner import attempts
from taggerd.runner.runner import Runner
from taggerd.testing import InMemoryLedger, ThreadWorkers
from taggerd.workers.pool import Workers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from taggerd.photo import Answer
    from taggerd.runner.outcome import Outcome
    from taggerd.services import Services

P = ParamSpec("P")
T = TypeVar("T")
NAMES = ("a.jpg", "b.jpg", "c.jpg")
BAD = "b.jpg"
ATTEMPTS = 3


@pytest.fixture(autouse=True)
def _logging() -> None:
    """Log as the program does: whatever an exception quotes, a line of the log is short."""
    logs.set_up()


class Unspeakable(Exception):
    """An exception that cannot even be shown."""

    def __str__(self) -> str:
        """Fail."""
        raise ValueError

    __repr__ = __str__


ERRORS: dict[str, Callable[[], BaseException]] = {
    "a lone surrogate": lambda: UnicodeEncodeError("utf-8", "\ud800", 0, 1, "not allowed"),
    "a text with a lone surrogate": lambda: LookupError("\ud800\0\x1b[31m" + "x" * 99_999),
    "recursion": lambda: RecursionError("too deep"),
    "memory": MemoryError,
    "a key": lambda: KeyError("model"),
    "the database": lambda: sqlite3.ProgrammingError("type 'set' is not supported"),
    "a group": lambda: ExceptionGroup("several", [KeyError("x"), ValueError("y")]),
    "a group of exits": lambda: BaseExceptionGroup("several", [SystemExit(3)]),
    "a cancellation that nobody asked for": asyncio.CancelledError,
    "a timeout": TimeoutError,
    "an exit": lambda: SystemExit(3),
    "an operating system error": lambda: OSError(5, "Input/output error"),
    "an exception that cannot be shown": Unspeakable,
    "an end of iteration": StopAsyncIteration,
}

STEPS = (
    "imaging.prepare", "metadata.read_embedded", "metadata.inspect", "ledger.decoded",
    "ledger.answers", "describe", "ledger.checkpoint", "tags_of", "confirm", "metadata.write",
    "ledger.written", "thumbnail", "record_of", "ledger.end", "listener",
)  # fmt: skip


class Sabotage:
    """Raises at one step of some photos, each time that one gets there."""

    def __init__(self, site: Site, step: str) -> None:
        """Raise at *step* of each photo what is in its name."""
        self.step = step
        self.met: Counter[str] = Counter()
        self._kinds = {str(site.folder / f"{kind}.jpg"): kind for kind in ERRORS}
        self._kinds |= {site.digest(f"{kind}.jpg"): kind for kind in ERRORS}

    def __call__(self, step: str, *about: object) -> None:
        """Raise, if this is the step, and one of the things that it is about is such a photo."""
        for kind in filter(None, map(self._kind, about)) if step == self.step else ():
            self.met[kind] += 1
            error = ERRORS[kind]()
            raise error

    def _kind(self, thing: object) -> str:
        """Return what to raise about *thing*, or what belongs to it."""
        for name in ("claim", "photo", "primary", "path", "digest"):
            if (inner := getattr(thing, name, None)) and (kind := self._kind(inner)):
                return kind
        return self._kinds.get(str(thing), "") if isinstance(thing, str | Path) else ""

    def before(self, step: str, original: Callable[..., Any]) -> Callable[..., Any]:
        """Return *original*, with harm before it."""

        def harmed(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as the original
            self(step, *args)
            return original(*args, **kwargs)

        return harmed


class Harmed(ThreadWorkers):
    """Workers, with harm before the tasks that are steps of a photo."""

    harm: Sabotage

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call *function* in a thread."""
        self.harm(_STEP_OF.get(function, ""), *args)
        return await super().run(function, *args, **kwargs)


_STEP_OF: dict[Any, str] = {
    imaging.prepare: "imaging.prepare",
    metadata.read_embedded: "metadata.read_embedded",
    metadata.read_embedded: "metadata.read_embedded",
    metadata.inspect: "metadata.inspect",
    metadata.write: "metadata.write",
}


def sabotage(
    services: Services, harm: Sabotage, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Outcome], None]:
    """Put *harm* before every step of every photo; return a listener."""
    for name in ("decoded", "answers", "checkpoint", "written", "end"):
        original = getattr(services.ledger, name)
        monkeypatch.setattr(services.ledger, name, harm.before(f"ledger.{name}", original))
    for field in fields(services):
        if isinstance(getattr(services, field.name), Workers):
            workers = Harmed(services.settings.workers)
            workers.harm = harm
            setattr(services, field.name, workers)
    describe = services.inference.describe

    async def described(*args: Any) -> AsyncIterator[Answer]:  # noqa: ANN401 - as the original
        harm("describe", *args)
        async for answer in describe(*args):
            yield answer

    monkeypatch.setattr(services.inference, "describe", described)
    thumbnail = harm.before("thumbnail", services.journal.thumbnail)
    monkeypatch.setattr(services.journal, "thumbnail", thumbnail)
    for name, module in (
        ("confirm", pipeline),
        ("tags_of", pipeline),
        ("record_of", pipeline),
        ("record_of", attempts),
    ):
        monkeypatch.setattr(module, name, harm.before(name, getattr(module, name)))
    return partial(harm, "listener")


@pytest.mark.parametrize("step", STEPS)
async def test_whatever_is_raised_at_whichever_step_the_other_photos_are_tagged(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A photo pays attempts, is given up with a record, or is tagged; the run ends in order."""
    site = Site.below(tmp_path)
    await site.arrive(*(f"{kind}.jpg" for kind in ERRORS), *NAMES)
    heard: list[Outcome] = []
    harm = Sabotage(site, step)
    async with site.services() as services:
        listener = sabotage(services, harm, monkeypatch)
        await tag_all(services, site, heard.append, listener)
        await services.relay.finish()
    kinds = {outcome.photo.primary.path.stem: outcome.kind for outcome in heard}
    assert [kinds[Path(name).stem] for name in NAMES] == ["tagged"] * len(NAMES)
    given_up = {each.photo.primary.path.stem: each for each in await site.ledger.quarantined(99)}
    records = {
        outcome.record.image.stem: outcome.record
        for outcome in heard
        if outcome.kind == "failed" and outcome.record
    }
    for kind, error in ERRORS.items():
        if step == "listener" or (step == "thumbnail" and isinstance(error(), Exception)):
            assert (harm.met[kind], kinds[kind]) == (1, "tagged"), kind  # it has its tags already
        elif step == "ledger.end":  # the queue cannot say how it ended; it is found again
            assert kind not in given_up
        else:
            assert harm.met[kind] >= ATTEMPTS, kind
            assert type(error()).__name__ in given_up[kind].reason
            assert len(given_up[kind].reason) < 1000, kind
            assert records[kind].image == site.folder / f"{kind}.jpg"
            assert records[kind].error == given_up[kind].reason


async def tag_all(services: Services, site: Site, *listeners: Callable[[Outcome], None]) -> None:
    """Tag what is in the folder, until nothing is left."""
    options = RunOptions(run="r", within=(site.folder,))
    runner = Runner(services, options, on_outcome=listeners, more_to_come=lambda: False)
    await asyncio.wait_for(runner.work(drain_seconds=0), 180)


async def test_a_photo_whose_end_the_queue_cannot_take_once_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the queue chokes on is left out: a bare record says that the photo failed."""
    site = Site.below(tmp_path)
    await site.arrive(*NAMES)
    heard: list[Outcome] = []
    async with site.services() as services:
        end = services.ledger.end

        async def picky(claim: Any, ending: Any) -> bool:  # noqa: ANN401 - as the port
            line = ending.record.line if ending.record else ""
            if claim.photo.name == BAD and '"caption": ""' not in line:
                raise KeyError(BAD)
            return await end(claim, ending)

        monkeypatch.setattr(services.ledger, "end", picky)
        await tag_all(services, site, heard.append)
    (failed,) = [each for each in heard if each.kind == "failed"]
    assert failed.record is not None
    assert failed.record.error_kind == "PhotoError"
    assert "KeyError" in failed.reason
    assert (await site.ledger.counts()).quarantined == 1


async def test_lone_surrogates_that_nobody_cleaned_end_nothing(tmp_path: Path) -> None:
    """In a text, a model's name or a reason: the queue and the journal hold them escaped."""
    site = Site.below(tmp_path)
    broken = "half a \ud83d pair"
    heard: list[Outcome] = []
    ledger = await SqliteLedger.open(tmp_path / "ledger")
    site.ledger = ledger  # type: ignore[assignment]  # the real one, whose database is picky
    await site.arrive(*NAMES)
    async with site.services() as services:
        describe = services.inference.describe

        async def unclean(*args: Any) -> AsyncIterator[Answer]:  # noqa: ANN401 - as the original
            async for answer in describe(*args):
                yield replace(answer, text=broken, raw=broken, model=broken, backend=broken)

        services.inference.describe = unclean  # type: ignore[method-assign, assignment]
        runner = Runner(
            services,
            RunOptions(run="r", within=(site.folder,), sidecars=False),
            on_outcome=[heard.append],
            more_to_come=lambda: False,
        )
        await asyncio.wait_for(runner.work(drain_seconds=0), 180)
        await services.relay.finish()
        (day,) = services.journal.days()
        lines = (services.journal.results / f"{day}.jsonl").read_text(encoding="utf-8")
    await ledger.close()
    assert [outcome.kind for outcome in heard] == ["tagged"] * len(NAMES)
    assert lines.count(r"half a \ud83d pair") >= len(NAMES)


async def test_an_error_in_claiming_pauses_the_run_and_does_not_end_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon says why nothing starts, and goes on as soon as the queue answers again."""
    site = Site.below(tmp_path)
    await site.arrive(*NAMES)
    heard: list[Outcome] = []
    troubles: list[str] = []
    async with site.services() as services:
        claim, failures = services.ledger.claim, iter([KeyError("row"), RecursionError("deep")])

        async def failing(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as the port
            if error := next(failures, None):
                raise error
            troubles.append(str(runner.ledger_error))
            return await claim(*args, **kwargs)

        monkeypatch.setattr(services.ledger, "claim", failing)
        monkeypatch.setattr("taggerd.runner.runner.DISK", replace(DISK, first=0.0))
        options = RunOptions(run="r", within=(site.folder,))
        runner = Runner(services, options, on_outcome=[heard.append], more_to_come=lambda: False)
        await asyncio.wait_for(runner.work(drain_seconds=0), 180)
    assert [outcome.kind for outcome in heard] == ["tagged"] * len(NAMES)
    assert "RecursionError" in troubles[0]
    assert isinstance(site.ledger, InMemoryLedger)
