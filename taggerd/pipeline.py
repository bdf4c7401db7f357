"""A photo's whole attempt, on one page: read :func:`tag` from top to bottom.

::

    claim ─▶ decode ─▶ ask (or recall) ─▶ write ─▶ record

The daemon and the scan both call it, and neither has a path of its own. What goes wrong leaves
:func:`tag` as an error of :mod:`taggerd.errors`; :mod:`taggerd.runner` decides what it costs.
"""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from taggerd import __version__, imaging, metadata
from taggerd.arrivals import confirm, keywords_of_archive
from taggerd.context import context_of, inspected
from taggerd.errors import AnswerError, StorageError
from taggerd.journal import Record
from taggerd.ledger import Failed, Finished, Outgoing, Released
from taggerd.photo import Provenance, Tags, printable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from taggerd.inference import Question
    from taggerd.ledger import Claim, Ending, Held
    from taggerd.metadata import Circumstances, Inspection
    from taggerd.photo import Answer, Photo, Picture, Sidecar
    from taggerd.services import Services


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What one run wants of its photos."""

    run: str
    """Identity of the run."""
    within: tuple[Path, ...] | None = None
    """The folders whose photos are taken; None: the photos that this run admitted."""
    dry_run: bool = False
    """Ask and record, but write no sidecar and leave the photo's turn as it was."""
    sidecars: bool = True
    """False: ask and record, but write no sidecar."""
    ask_again: bool = False
    """Ask again what was answered before this run."""

    @property
    def writes(self) -> bool:
        """Whether sidecars are written."""
        return self.sidecars and not self.dry_run


@dataclass(slots=True)
class Attempt:
    """What one photo has met so far: the stuff of its record, also when it fails half-attempt."""

    claim: Claim
    started_at: datetime
    began: float = field(default_factory=time.monotonic)
    """The same in monotonic seconds: the clock on the wall may be set."""
    picture: Picture | None = None
    circumstances: Circumstances = field(default_factory=metadata.Circumstances)
    answers: dict[str, Answer] = field(default_factory=dict)
    """By role, recalled and paid for."""
    paid: list[Answer] = field(default_factory=list)
    """The answers that this attempt itself asked for."""
    unkept: list[Answer] = field(default_factory=list)
    """Those of them that the ledger's disk had no room for: they are kept before anything else."""
    tags: Tags = field(default_factory=Tags)
    sidecars: tuple[Sidecar, ...] = ()
    stages: dict[str, float] = field(default_factory=dict)
    """Seconds."""

    def pay(self, answer: Answer) -> None:
        """Take an *answer* that was asked for just now."""
        self.answers[answer.role] = answer
        self.paid.append(answer)
        self.unkept.append(answer)
        self.stages[answer.role] = answer.seconds


class Result(NamedTuple):
    """What :func:`tag` came to."""

    ending: Ending
    """What the queue is to note."""
    record: Record | None = None
    """None: the photo was tagged already."""


async def tag(attempt: Attempt, services: Services, options: RunOptions) -> Result:
    """Tag one claimed photo; whoever claimed it ends the claim.

    Raises:
        PhotoError: the photo cannot be tagged. PhotoMoved: it changed or is gone.
        BackendError: the backend is at fault. StorageError: a disk is full or failing.
        StartError: no worker process starts.

    """
    claim, photo, ledger = attempt.claim, attempt.claim.photo, services.ledger

    with services.stopwatch(attempt.stages, "decode"):
        attempt.picture = await services.workers.run(
            imaging.prepare, photo.primary.path, photo.primary.stamp, services.settings.image
        )
        known = await inspected(photo, services)
        picture = attempt.picture = _as_it_came(attempt.picture, known)
    await ledger.decoded(claim)

    held = await _held(claim, picture, services)
    if known.tagged == picture.digest and _may_be_tagged(claim, held, options):
        if options.writes:
            await _yield_to_humans(claim, picture, services)
        return Result(Finished(picture.digest))

    attempt.answers = recalled(held, services.inference.questions, claim, options)
    attempt.circumstances = known.circumstances
    async for answer in asked(attempt, picture, held, services, options):
        attempt.pay(answer)
        with suppress(StorageError):  # one request may bring more answers: raised below
            await keep(attempt, services)
    await keep(attempt, services)
    attempt.tags = await tags_of(attempt.answers, photo, services)

    await confirm(photo)
    if options.writes:
        with services.stopwatch(attempt.stages, "metadata"):
            attempt.sidecars = await services.workers.run(
                metadata.write,
                photo,
                attempt.tags,
                provenance(attempt, services),
                services.metadata_options,
            )
        await ledger.written(claim, picture.digest, attempt.sidecars)
        services.remark(attempt.sidecars)

    with suppress(StorageError):  # the relay reports a full disk; the page does without
        await asyncio.to_thread(services.journal.thumbnail, picture.digest, picture.thumbnail)
    record = record_of(attempt, services, options)
    return Result(_ending(record, options), record)


def _ending(record: Record, options: RunOptions) -> Ending:
    """Say what the queue is to note of a photo with this *record*."""
    line = outgoing(record)
    if options.dry_run:
        return Released(line, was_recorded=True)
    if record.error:
        return Failed(record.error, final=True, for_sidecars=True, record=line)
    return Finished(record.digest, line, sidecars_written=options.writes)


async def keep(attempt: Attempt, services: Services) -> None:
    """Keep the answers that are paid for and not yet kept.

    Raises:
        StorageError: the ledger's disk is full or failing; they stay with the *attempt*.

    """
    while attempt.unkept and attempt.picture:
        await services.ledger.checkpoint(attempt.claim, attempt.picture.digest, attempt.unkept[0])
        del attempt.unkept[0]


def _may_be_tagged(claim: Claim, held: Sequence[Held], options: RunOptions) -> bool:
    """Say whether a photo whose sidecars say that these very bytes are tagged needs no more.

    Sidecars count whatever the ledger knows: a lost ledger, a touched file or a photo moved with
    its sidecar costs nothing.

    Not if it is to be asked about anew, and not if answers are held for it that were never
    recorded: the program died between the sidecar and the record, and the record is still owed.
    """
    if options.dry_run or claim.asked_again_since is not None:
        return False
    return claim.recorded or not held


def _as_it_came(picture: Picture, known: Inspection) -> Picture:
    """Give *picture* the digest that its file had before taggerd embedded anything into it.

    So one that tags were embedded into is the same picture as before, and is not paid for again.
    """
    return replace(picture, digest=known.origin) if known.origin else picture


async def _yield_to_humans(claim: Claim, picture: Picture, services: Services) -> None:
    """Take out of the sidecars what hides words that a human has written there since."""
    yielded = await services.workers.run(
        metadata.yield_to_humans, claim.photo, services.metadata_options
    )
    if yielded:
        await services.ledger.written(claim, picture.digest, yielded)


async def _held(claim: Claim, picture: Picture, services: Services) -> list[Held]:
    """Return the answers held for these bytes, or, where a JPEG joined its raw, for the raw's."""
    held = await services.ledger.answers(picture.digest)
    if held or claim.changed or not claim.digest or claim.asked_again_since is not None:
        return held
    for earlier in await services.ledger.answers(claim.digest):
        await services.ledger.checkpoint(claim, picture.digest, earlier.answer)
        held.append(earlier)
    return held


def recalled(
    held: Iterable[Held], questions: Sequence[Question], claim: Claim, options: RunOptions
) -> dict[str, Answer]:
    """Choose from the *held* answers those that need not be asked for again, by role.

    The answer to the very same question first; else the newest one in the role, whatever model or
    prompt it came from: the same bytes are not paid for twice. A run that asks anew takes only
    what was answered since it was asked for, a dry run only the very same question's.
    """
    since = claim.asked_again_since or 0.0
    chosen: dict[str, Answer] = {}
    for question in questions:
        answers = [h for h in held if h.answer.role == question.role and h.at >= since]
        same = [h for h in answers if h.answer.question == question.identity]
        if same or not (options.ask_again or options.dry_run):
            for best in sorted(same or answers, key=lambda h: h.at)[-1:]:
                chosen[question.role] = best.answer
    return chosen


async def asked(
    attempt: Attempt,
    picture: Picture,
    held: Sequence[Held],
    services: Services,
    options: RunOptions,
) -> AsyncIterator[Answer]:
    """Ask what *attempt* has no answer to yet, and yield each answer as it comes.

    A question of the user's own is asked once the answers are there that its prompt speaks of;
    only then is it known whether the very same was asked before.
    """
    waiting = [q for q in services.inference.questions if q.role not in attempt.answers]
    context: dict[str, str] = {}
    if waiting:
        context = await context_of(attempt.claim.photo, attempt.circumstances, services)
    while waiting:
        await keep(attempt, services)  # before more is paid for
        said = {role: said_in(answer) for role, answer in attempt.answers.items()}
        roles = [question.role for question in waiting]
        ready = [q.ready(said, context) for q in waiting if not q.waits_for(roles)]
        attempt.answers |= recalled(held, ready, attempt.claim, options)
        unasked = [question for question in ready if question.role not in attempt.answers]
        async for answer in services.inference.describe(picture, unasked):
            yield answer
        waiting = [q for q in waiting if q.role not in attempt.answers]


def said_in(answer: Answer) -> str:
    """Return an answer as one text, its keywords joined by commas."""
    return answer.text or ", ".join(keyword.word for keyword in answer.keywords)


async def tags_of(answers: Mapping[str, Answer], photo: Photo, services: Services) -> Tags:
    """Make tags of the *answers*: keywords cleaned by the user's rules as they are now.

    The user's own keywords for what came out of an archive go first, spelled as they are.
    """
    said = answers["keywords"].keywords if "keywords" in answers else ()
    settings = services.settings
    # In a worker: the rules of English plurals take a second to load and would stall the loop.
    words = await services.workers.run(
        metadata.normalise, said, settings.keywords, settings.metadata.language
    )
    cleaned = metadata.choose(words, settings.keywords, services.vocabulary)
    own = await keywords_of_archive(photo, settings.arrivals)
    given = {keyword.word.casefold() for keyword in own}
    return Tags(
        caption=answers["caption"].text if "caption" in answers else "",
        description=answers["description"].text if "description" in answers else "",
        keywords=(*own, *(k for k in cleaned if k.word.casefold() not in given)),
        own={
            field: answers[role].text
            for role, table in settings.roles.own.items()
            for field in table.fields
            if role in answers
        },
    )


def provenance(attempt: Attempt, services: Services) -> Provenance:
    """Say where the tags of *attempt* come from."""
    return Provenance(
        version=__version__,
        date=services.now(),
        profile=services.inference.profile.name,
        profile_digest=services.inference.profile.digest,
        models={role: answer.model for role, answer in attempt.answers.items()},
        digest=attempt.picture.digest if attempt.picture else "",
    )


def record_of(
    attempt: Attempt, services: Services, options: RunOptions, error: Exception | None = None
) -> Record:
    """Write down what became of a photo; *error* is why it is not tagged."""
    refused = [sidecar.error for sidecar in attempt.sidecars if sidecar.error]
    tagged = [sidecar for sidecar in attempt.sidecars if not sidecar.error and not sidecar.emptied]
    notes = [note for sidecar in attempt.sidecars for note in sidecar.notes]
    answers = list(attempt.answers.values())
    return Record(
        id=f"{attempt.claim.id}-{attempt.started_at:%Y%m%dT%H%M%S.%f}",
        image=attempt.claim.photo.primary.path,
        digest=attempt.picture.digest if attempt.picture else "",
        files=tuple(printable(file.path) for file in attempt.claim.photo.files),
        keywords=attempt.tags.keywords,
        caption=attempt.tags.caption,
        description=attempt.tags.description,
        roles={answer.role: said_in(answer) for answer in answers},
        models={answer.role: answer.model for answer in answers},
        backend=services.inference.base_url,
        prompt_profile=services.inference.profile.name,
        prompt_profile_digest=services.inference.profile.digest,
        metadata_written=bool(tagged),
        sidecars=tuple(printable(sidecar.path) for sidecar in tagged if not sidecar.embedded),
        embedded=tuple(printable(sidecar.path) for sidecar in tagged if sidecar.embedded),
        notes=(*(attempt.picture.notes if attempt.picture else ()), *notes),
        error=str(error) if error else "; ".join(refused),
        error_kind=type(error).__name__ if error else "SidecarError" if refused else "",
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
        version=__version__,
        raw={error.role: error.raw} if isinstance(error, AnswerError) and error.raw else {},
    )


def outgoing(record: Record) -> Outgoing:
    """Make the line of JSONL that is journalled, under the local day on which it was finished."""
    line = json.dumps(record.to_json(), ensure_ascii=False)
    return Outgoing(record.id, f"{record.finished_at:%Y-%m-%d}", line)
