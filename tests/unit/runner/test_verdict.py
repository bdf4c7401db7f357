"""What an error costs a photo, as the queue and the listeners hear of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from taggerd import errors
from taggerd.errors import (
    BackendBusy,
    BackendDenied,
    BackendError,
    BackendUnreachable,
    ClaimLost,
    FailsOnThisPhoto,
    PhotoChanged,
    PhotoRefused,
    PhotosDiskError,
    PhotosDiskReadOnly,
    PhotoUndecodable,
    PhotoUnreadable,
    StartError,
    StorageError,
    TaggerdError,
)
from taggerd.ledger import Claim, Deferred, Failed, Moved
from taggerd.photo import Photo, PhotoFile, Stamp
from taggerd.retry import PHOTO, policy_of
from taggerd.runner.verdict import LONG_DUE, Judge, Verdict

NOW = datetime(2025, 6, 2, 12).astimezone().timestamp()
CLAIM = Claim(
    id=1,
    photo=Photo((PhotoFile(Path("/card/a.jpg"), Stamp(1, 2, 3, 4)),)),
    attempt=1,
    run="r",
    token="t",
)


def decide(error: TaggerdError, judge: Judge | None = None) -> Verdict:
    """Decide about *error* at noon."""
    return (judge or Judge(lambda: NOW)).decide(CLAIM, error)


def test_nobody_hears_of_a_photo_that_another_program_has_now() -> None:
    """It costs nothing, and the other one says how it went."""
    assert decide(ClaimLost("taken")) == Verdict(Deferred("taken"), None, "taken")


@pytest.mark.parametrize(
    ("error", "ending", "kind"),
    [
        (PhotoUnreadable("no"), Failed("no"), "failed"),
        (PhotoUndecodable("no"), Failed("no", final=True), "failed"),
        (PhotoChanged("grew"), Moved(), "moved"),
        (BackendUnreachable("away"), Deferred("away"), "waiting"),
        (BackendBusy("429"), Deferred("429"), "waiting"),
        (PhotosDiskError("full"), Deferred("full"), "waiting"),
        (PhotosDiskReadOnly("read-only"), Deferred("read-only"), "waiting"),
        (StorageError("full"), Deferred("full", NOW + 5), "waiting"),
        (StartError("no process"), Deferred("no process", NOW + 2), "waiting"),
        (FailsOnThisPhoto("500"), Deferred("500", NOW + 2), "waiting"),
    ],
)
def test_the_photo_pays_for_its_own_faults_alone(
    error: TaggerdError, ending: object, kind: str
) -> None:
    """The backend's, a disk's and this machine's faults put the photo back, uncharged."""
    verdict = decide(error)
    assert (verdict.ending, verdict.kind, verdict.reason) == (ending, kind, str(error))


def test_every_error_has_a_verdict() -> None:
    """Whatever leaves an attempt, its claim ends, and only the photo's own faults charge it."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    kinds = [kind for kind in kinds if issubclass(kind, TaggerdError)]
    assert len(kinds) > 20
    for kind in kinds:
        verdict = decide(made(kind))
        charged = policy_of(kind).at_fault == "photo"
        assert isinstance(verdict.ending, Failed) is charged, kind


def made(kind: type[TaggerdError]) -> TaggerdError:
    """Make an error, also of a class that asks for more than a message."""
    error = kind.__new__(kind)
    Exception.__init__(error, "message")
    if isinstance(error, BackendError):
        error.asked = True
    return error


def test_a_photo_that_alone_upsets_the_backend_pays_in_the_end() -> None:
    """It is tolerated twice; a photo that got through in between starts over."""
    judge = Judge(lambda: NOW)
    assert [decide(FailsOnThisPhoto("500"), judge).kind for _ in range(3)] == [
        "waiting",
        "waiting",
        "failed",
    ]
    judge = Judge(lambda: NOW)
    for _ in range(4):
        assert decide(FailsOnThisPhoto("500"), judge).kind == "waiting"
        judge.forget(CLAIM)


def test_waits_grow_up_to_a_limit() -> None:
    """A photo that this machine cannot work on is tried less and less often, and never given up."""
    judge = Judge(lambda: NOW)
    waits = [decide(StartError("no"), judge).ending for _ in range(12)]
    seconds = [ending.until - NOW for ending in waits if isinstance(ending, Deferred)]
    assert seconds[:3] == [2, 4, 8]
    assert seconds == sorted(seconds)
    assert seconds[-1] == PHOTO.longest


def test_a_photo_that_upsets_the_backend_again_comes_behind_the_others() -> None:
    """The first time it may have been any photo's bad luck."""
    judge = Judge(lambda: NOW)
    waits = [decide(BackendDenied("403"), judge).ending for _ in range(4)]
    assert waits == [
        Deferred("403"),
        Deferred("403", NOW + 2),
        Deferred("403", NOW + 4),
        Deferred("403", NOW + 8),
    ]


def test_a_photo_that_was_not_asked_about_is_never_given_up() -> None:
    """However often another one just upset the backend; it comes ahead of those that did."""
    judge = Judge(lambda: NOW)
    assert decide(BackendDenied("403", asked=False), judge).ending == Deferred("403")
    for _ in range(99):
        verdict = decide(BackendDenied("403", asked=False), judge)
        assert verdict.ending == Deferred("403", LONG_DUE)
        judge.forget(replace(CLAIM, id=2))


def test_a_photo_that_always_upsets_a_backend_that_answers_others_is_given_up() -> None:
    """Ten times, each after another photo ended; while none ends, the backend is at fault."""
    judge = Judge(lambda: NOW)
    for _ in range(99):
        assert decide(BackendDenied("403"), judge).kind == "waiting"
    endings = []
    for _ in range(10):
        judge.forget(replace(CLAIM, id=2))
        endings.append(decide(BackendDenied("403"), judge))
    assert [verdict.kind for verdict in endings] == ["waiting"] * 9 + ["failed"]
    assert isinstance(endings[-1].error, PhotoRefused)
    assert isinstance(endings[-1].ending, Failed)
    assert endings[-1].ending.final
