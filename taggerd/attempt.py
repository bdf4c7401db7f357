"""One attempt at a photo: what it is asked to do, what it has gathered, the record made of it."""

from __future__ import annotations

import json
import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from taggerd import __version__, metadata
from taggerd.burst import Shot, taken_at
from taggerd.errors import AnswerError, SidecarError
from taggerd.journal import Record
from taggerd.ledger import Outgoing
from taggerd.photo import Provenance, Tags, printable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from taggerd.burst import Candidate
    from taggerd.ledger import Claim, Held
    from taggerd.metadata import Circumstances, Embedded, Said
    from taggerd.photo import Answer, Picture, Sidecar
    from taggerd.services import Services


_TAKEN = "exif:DateTimeOriginal"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What one run does with its photos."""

    run: str
    """Identity of the run."""
    within: tuple[Path, ...] | None = None
    """The folders whose photos are tagged; None: the photos that this run queued itself."""
    dry_run: bool = False
    """Ask and record, but write no sidecar."""
    sidecars: bool = True
    """False: ask and record, but write no sidecar."""
    ask_again: bool = False
    """Ask again what was answered before this run."""
    backend_named: bool = False
    """Somebody named the backend for this run: answers of other backends do not count."""
    reuse_answers: bool = False
    """Take any answer that is held, whatever the question was; records and sidecars say so."""
    rewrite: bool = False
    """Write again what is held for tagged photos, by the settings as they are; send no request."""
    hold: bool = False
    """What is answered waits until somebody accepts it; sidecars are written then."""
    accept: bool = False
    """Write what was held and accepted; send no request."""

    @property
    def asks(self) -> bool:
        """Whether requests may be sent."""
        return not (self.rewrite or self.accept)

    @property
    def writes(self) -> bool:
        """Whether sidecars are written."""
        return self.sidecars and not self.dry_run

    def holds(self, claim: Claim) -> bool:
        """Say whether what is answered about this photo has to be accepted before it is written."""
        return self.hold and self.writes and self.asks and not claim.accepted


@dataclass(slots=True)
class Attempt:
    """What one attempt has gathered so far: its record is made of it, also when it fails."""

    claim: Claim
    started_at: datetime
    began: float = field(default_factory=time.monotonic)
    """The same in monotonic seconds: somebody may set the clock meanwhile."""
    picture: Picture | None = None
    circumstances: Circumstances = field(default_factory=metadata.Circumstances)
    answers: dict[str, Answer] = field(default_factory=dict)
    """By role: recalled ones and new ones."""
    paid: list[Answer] = field(default_factory=list)
    """The answers that this attempt asked for itself."""
    unkept: list[Answer] = field(default_factory=list)
    """Those of them that the ledger's full disk did not take: they are kept first."""
    candidate: Candidate | None = None
    """For a burst; None: the photo is asked about in any case."""
    tags: Tags = field(default_factory=Tags)
    sidecars: tuple[Sidecar, ...] = ()
    stages: dict[str, float] = field(default_factory=dict)
    """Seconds."""

    def pay(self, answer: Answer) -> None:
        """Add an *answer* that has just come."""
        self.answers[answer.role] = answer
        self.paid.append(answer)
        self.unkept.append(answer)
        self.stages[answer.role] = answer.seconds

    def inherit(self, answers: Mapping[str, Answer]) -> None:
        """Add the *answers* to another photo of the burst."""
        self.answers |= answers
        self.unkept += answers.values()

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Note how long the block takes as the seconds of *stage*."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.stages[stage] = time.monotonic() - started


@asynccontextmanager
async def in_burst(
    attempt: Attempt, said: Said, held: Sequence[Held], roles: Iterable[str]
) -> AsyncIterator[Sequence[Held]]:
    """Wait until another photo of the burst was asked about, and take its answers; else ask.

    What the block raises is the photo's own; the next photo of the burst asks then.

    Args:
        attempt: the photo is decoded, and its answers are recalled.
        said: what its files say.
        held: answers to the photo that the ledger has.
        roles: those that it is to have answers in.

    Yields:
        Those *held* answers that may be recalled for what is still to be asked.
    """
    candidate = attempt.candidate
    if candidate is None:
        yield held
        return
    shot = _shot_of(attempt, said[attempt.claim.photo.primary.path])
    if shot is None or _are_of_one_photo(attempt.answers, roles):
        candidate.leave()
        yield held
        return
    # A kill may have left some of them: answers to two photos would be mixed.
    own = {role: answer for role, answer in attempt.answers.items() if not answer.inherited_from}
    attempt.answers = own
    async with candidate.join(shot, attempt.claim.photo.name, own) as inherited:
        attempt.inherit(inherited)
        yield [each for each in held if not each.answer.inherited_from]


def _are_of_one_photo(answers: Mapping[str, Answer], roles: Iterable[str]) -> bool:
    """Say whether there is one in each of *roles*, and all are its own or of one other photo."""
    sources = {answer.inherited_from for answer in answers.values()}
    return answers.keys() >= set(roles) and len(sources) <= 1


def _shot_of(attempt: Attempt, said: Embedded) -> Shot | None:
    """Return the photo as it is compared; None where it cannot be of a burst."""
    picture, camera, taken = attempt.picture, said.camera, said.beside.get(_TAKEN)
    if picture is None or picture.fingerprint is None or camera is None or not camera.model:
        return None
    seconds = taken_at(taken) if isinstance(taken, str) else None
    if seconds is None or said.is_of_a_bracket:
        return None
    size = picture.width, picture.height
    setting = attempt.claim.photo.folder, size, said.exposure, attempt.circumstances.keywords
    shot = Shot(camera, setting, seconds, picture.fingerprint)
    return None if shot.is_flat else shot


def text_of(answer: Answer) -> str:
    """Return an answer as one text, its keywords joined by commas."""
    return answer.text or ", ".join(keyword.word for keyword in answer.keywords)


def provenance(attempt: Attempt, services: Services, options: RunOptions) -> Provenance:
    """Return where the tags of *attempt* come from: each answer's own origin, not the run's."""
    answers = attempt.answers.values()
    return Provenance(
        version=__version__,
        date=services.now(),
        profile=_distinct(answer.profile for answer in answers),
        profile_digest=_distinct(answer.profile_digest for answer in answers),
        models={answer.role: answer.model for answer in answers},
        digest=attempt.picture.digest if attempt.picture else "",
        reused=() if options.rewrite else reused(attempt, services),
        inherited_from=_distinct(answer.inherited_from for answer in answers),
    )


def reused(attempt: Attempt, services: Services) -> tuple[str, ...]:
    """Return the roles whose answer was given to another question than is asked now."""
    if attempt.claim.accepted:
        return ()  # somebody has read them, whatever the questions are now
    asked = {question.role: question for question in services.inference.questions}
    return tuple(
        answer.role
        for answer in attempt.answers.values()
        if answer not in attempt.paid
        and not asked[answer.role].placeholders
        and answer.question != asked[answer.role].identity
    )


def _distinct(values: Iterable[str]) -> str:
    """Return the different *values* in their order, as one text."""
    return ", ".join(dict.fromkeys(filter(None, values)))


def record_of(
    attempt: Attempt, services: Services, options: RunOptions, error: Exception | None = None
) -> Record:
    """Make the record of *attempt*; *error* is why the photo is not tagged."""
    refused = [sidecar.error for sidecar in attempt.sidecars if sidecar.error]
    tagged = [sidecar for sidecar in attempt.sidecars if not sidecar.error and not sidecar.emptied]
    notes = [note for sidecar in attempt.sidecars for note in sidecar.notes]
    answers = list(attempt.answers.values())
    notes += [
        f"{answer.role}: reused the answer that {answer.model} gave to another question"
        for answer in answers
        if answer.role in (reused(attempt, services) if options.reuse_answers else ())
    ]
    if options.rewrite:
        notes.append("rewritten from answers that are held")
    inference = services.inference
    return Record(
        id=_identity(attempt),
        image=attempt.claim.photo.primary.path,
        digest=attempt.picture.digest if attempt.picture else "",
        files=tuple(printable(file.path) for file in attempt.claim.photo.files),
        keywords=attempt.tags.keywords,
        caption=attempt.tags.caption,
        description=attempt.tags.description,
        roles={answer.role: text_of(answer) for answer in answers},
        models={answer.role: answer.model for answer in answers},
        inherited_from=_distinct(answer.inherited_from for answer in answers),
        backend=_distinct(answer.backend for answer in answers) or inference.base_url,
        prompt_profile=_distinct(a.profile for a in answers) or inference.profile.name,
        prompt_profile_digest=(
            _distinct(a.profile_digest for a in answers) or inference.profile.digest
        ),
        metadata_written=bool(tagged),
        sidecars=tuple(printable(sidecar.path) for sidecar in tagged if not sidecar.embedded),
        embedded=tuple(printable(sidecar.path) for sidecar in tagged if sidecar.embedded),
        notes=(*(attempt.picture.notes if attempt.picture else ()), *notes),
        error=str(error) if error else "; ".join(refused),
        error_kind=type(error).__name__ if error else SidecarError.__name__ if refused else "",
        attempts=attempt.claim.attempt,
        started_at=attempt.started_at,
        finished_at=services.now(),
        duration_seconds=time.monotonic() - attempt.began,
        stages=attempt.stages,
        usage={
            "requests": sum(answer.requests for answer in attempt.paid),
            "prompt_tokens": sum(answer.prompt_tokens for answer in attempt.paid),
            "completion_tokens": sum(answer.completion_tokens for answer in attempt.paid),
        },
        dry_run=options.dry_run,
        no_meta=not options.sidecars,
        held=error is None and options.holds(attempt.claim),
        run=options.run,
        version=__version__,
        raw={error.role: error.raw} if isinstance(error, AnswerError) and error.raw else {},
    )


def bare_record(
    attempt: Attempt, options: RunOptions, error: Exception, finished_at: datetime
) -> Record:
    """Make a record of *attempt* that says no more than which photo failed, when and why.

    For where something that the attempt gathered is itself at fault.
    """
    photo = attempt.claim.photo
    return Record(
        id=_identity(attempt),
        image=photo.primary.path,
        digest="",
        files=tuple(printable(file.path) for file in photo.files),
        keywords=(),
        caption="",
        description="",
        roles={},
        models={},
        inherited_from="",
        backend="",
        prompt_profile="",
        prompt_profile_digest="",
        metadata_written=False,
        sidecars=(),
        embedded=(),
        notes=(),
        error=str(error),
        error_kind=type(error).__name__,
        attempts=attempt.claim.attempt,
        started_at=attempt.started_at,
        finished_at=finished_at,
        duration_seconds=time.monotonic() - attempt.began,
        stages={},
        usage={},
        dry_run=options.dry_run,
        no_meta=not options.sidecars,
        held=False,
        run=options.run,
        version=__version__,
        raw={},
    )


def _identity(attempt: Attempt) -> str:
    return f"{attempt.claim.id}-{attempt.started_at:%Y%m%dT%H%M%S.%f}"


def outgoing(record: Record) -> Outgoing:
    """Return *record* as a line of JSONL, for the local day on which it was finished."""
    line = json.dumps(record.to_json(), ensure_ascii=False)
    return Outgoing(record.id, f"{record.finished_at:%Y-%m-%d}", line)
