"""A photo's whole way, on one page: read :func:`tag` from top to bottom.

::

    claim ─▶ decode ─▶ ask (or recall) ─▶ write ─▶ record

The daemon and the catch-up both call it, and neither has a path of its own. What goes wrong on the
way leaves :func:`tag` as an error of :mod:`taggerd.errors`; :mod:`taggerd.shift` decides what that
costs the photo.
"""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from taggerd import __version__, imaging, metadata
from taggerd.arrivals import confirm, keywords_of_archive
from taggerd.context import context_of
from taggerd.errors import AnswerError, StorageError
from taggerd.ledger import Outgoing
from taggerd.photo import Provenance, Record, Tags

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from taggerd.inference import Question
    from taggerd.ledger import Claim, Held
    from taggerd.photo import Answer, Photo, Picture, Sidecar
    from taggerd.rooms import Rooms


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What one run wants of its photos."""

    run: str
    """Identity of the run."""
    within: tuple[Path, ...] | None = None
    """The folders whose photos are taken; None: the photos that this run admitted."""
    dry_run: bool = False
    """Ask and record, but write no sidecar and leave the photo's turn as it was."""
    sidecars: bool = True
    """False: ask and record, but write no sidecar."""
    anew: bool = False
    """Ask again what was answered before this run."""

    @property
    def writes(self) -> bool:
        """Whether sidecars are written."""
        return self.sidecars and not self.dry_run


@dataclass(slots=True)
class Way:
    """What one photo has met so far: the stuff of its record, also when it fails half-way."""

    claim: Claim
    started_at: datetime
    began: float = field(default_factory=time.monotonic)
    """The same in monotonic seconds: the clock on the wall may be set."""
    picture: Picture | None = None
    answers: dict[str, Answer] = field(default_factory=dict)
    """By role, recalled and paid for."""
    paid: list[Answer] = field(default_factory=list)
    """The answers that this way itself asked for."""
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


async def tag(way: Way, rooms: Rooms, job: Job) -> Record | None:
    """Take one claimed photo its whole way.

    Returns:
        Its record; None if it turned out to be tagged already.

    Raises:
        PhotoError: the photo cannot be tagged. PhotoMoved: it changed or went.
        BackendError: the backend is at fault. StorageError: a disk is full or failing.

    """
    claim, photo, ledger = way.claim, way.claim.photo, rooms.ledger

    with rooms.stopwatch(way.stages, "decode"):
        picture = way.picture = await rooms.workers.run(
            imaging.prepare, photo.primary.path, photo.primary.stamp, rooms.settings.image
        )
        picture = way.picture = await _as_it_came(photo, picture, rooms)
    await ledger.survived(claim)

    held = await _held(claim, picture, rooms)
    if _may_be_tagged(claim, held, job) and await _is_tagged(photo, picture, rooms):
        if job.writes:
            await _yield_to_humans(claim, picture, rooms)
        await ledger.finish(claim, None, digest=picture.digest, sidecars_written=True)
        return None

    way.answers = recalled(held, rooms.asking.questions, claim, job)
    async for answer in asked(way, picture, held, rooms, job):
        way.pay(answer)
        with suppress(StorageError):  # one request may bring more answers: raised below
            await keep(way, rooms)
    await keep(way, rooms)
    way.tags = await tags_of(way.answers, photo, rooms)

    await confirm(photo)
    if job.writes:
        with rooms.stopwatch(way.stages, "metadata"):
            way.sidecars = await rooms.workers.run(
                metadata.write, photo, way.tags, provenance(way, rooms), rooms.metadata_options
            )
        await ledger.written(claim, picture.digest, way.sidecars)
        rooms.remark(way.sidecars)

    with suppress(StorageError):  # the scribe reports a full disk; the page does without
        await asyncio.to_thread(rooms.journal.thumbnail, picture.digest, picture.thumbnail)
    record = record_of(way, rooms, job)
    line = outgoing(record)
    if job.dry_run:
        await ledger.release(claim, line, as_it_was=True)
    elif record.error:
        await ledger.fail(claim, record.error, final=True, retryable_sidecar=True, record=line)
    else:
        await ledger.finish(claim, line, digest=picture.digest, sidecars_written=job.writes)
    return record


async def keep(way: Way, rooms: Rooms) -> None:
    """Keep the answers that are paid for and not yet kept.

    Raises:
        StorageError: the ledger's disk is full or failing; they stay with the *way*.

    """
    while way.unkept and way.picture:
        await rooms.ledger.checkpoint(way.claim, way.picture.digest, way.unkept[0])
        del way.unkept[0]


def _may_be_tagged(claim: Claim, held: Sequence[Held], job: Job) -> bool:
    """Say whether the photo's own sidecars may end its way here, without a record.

    Not if it is to be asked about anew, and not if answers are held for it that were never
    recorded: the program died between the sidecar and the record, and the record is still owed.
    """
    if job.dry_run or claim.anew_since is not None:
        return False
    return claim.recorded or not held


async def _as_it_came(photo: Photo, picture: Picture, rooms: Rooms) -> Picture:
    """Give *picture* the digest that its file had before taggerd embedded anything into it.

    So one that tags were embedded into is the same picture as before, and is not paid for again.
    """
    origin = await rooms.workers.run(metadata.origin, photo.primary.path)
    return replace(picture, digest=origin) if origin else picture


async def _is_tagged(photo: Photo, picture: Picture, rooms: Rooms) -> bool:
    """Say whether sidecars of ours say that these very bytes are tagged, whatever the ledger knows.

    So a lost ledger, a touched file or a photo moved with its sidecar costs nothing.
    """
    options = rooms.metadata_options
    return await rooms.workers.run(metadata.tagged_digest, photo, options) == picture.digest


async def _yield_to_humans(claim: Claim, picture: Picture, rooms: Rooms) -> None:
    """Take out of the sidecars what hides words that a human has written there since."""
    yielded = await rooms.workers.run(metadata.yield_to_humans, claim.photo, rooms.metadata_options)
    if yielded:
        await rooms.ledger.written(claim, picture.digest, yielded)


async def _held(claim: Claim, picture: Picture, rooms: Rooms) -> list[Held]:
    """Return the answers held for these bytes, or, where a JPEG joined its raw, for the raw's."""
    held = await rooms.ledger.answers(picture.digest)
    if held or claim.changed or not claim.digest or claim.anew_since is not None:
        return held
    for earlier in await rooms.ledger.answers(claim.digest):
        await rooms.ledger.checkpoint(claim, picture.digest, earlier.answer)
        held.append(earlier)
    return held


def recalled(
    held: Iterable[Held], questions: Sequence[Question], claim: Claim, job: Job
) -> dict[str, Answer]:
    """Choose from the *held* answers those that need not be asked for again, by role.

    The answer to the very same question first; else the newest one in the role, whatever model or
    prompt it came from: the same bytes are not paid for twice. A run that asks anew takes only
    what was answered since it was asked for, a dry run only the very same question's.
    """
    since = claim.anew_since or 0.0
    chosen: dict[str, Answer] = {}
    for question in questions:
        answers = [h for h in held if h.answer.role == question.role and h.at >= since]
        same = [h for h in answers if h.answer.question == question.identity]
        if same or not (job.anew or job.dry_run):
            for best in sorted(same or answers, key=lambda h: h.at)[-1:]:
                chosen[question.role] = best.answer
    return chosen


async def asked(
    way: Way, picture: Picture, held: Sequence[Held], rooms: Rooms, job: Job
) -> AsyncIterator[Answer]:
    """Ask what *way* has no answer to yet, and yield each answer as it comes.

    A question of the user's own is asked once the answers are there that its prompt speaks of;
    only then is it known whether the very same was asked before.
    """
    waiting = [q for q in rooms.asking.questions if q.role not in way.answers]
    context = await context_of(way.claim.photo, rooms) if waiting else {}
    while waiting:
        await keep(way, rooms)  # before more is paid for
        said = {role: said_in(answer) for role, answer in way.answers.items()}
        roles = [question.role for question in waiting]
        ready = [q.ready(said, context) for q in waiting if not q.waits_for(roles)]
        way.answers |= recalled(held, ready, way.claim, job)
        unasked = [question for question in ready if question.role not in way.answers]
        async for answer in rooms.asking.describe(picture, unasked):
            yield answer
        waiting = [q for q in waiting if q.role not in way.answers]


def said_in(answer: Answer) -> str:
    """Return an answer as one text, its keywords joined by commas."""
    return answer.text or ", ".join(keyword.word for keyword in answer.keywords)


async def tags_of(answers: Mapping[str, Answer], photo: Photo, rooms: Rooms) -> Tags:
    """Make tags of the *answers*: keywords cleaned by the user's rules as they are now.

    The user's own keywords for what came out of an archive go first, spelled as they are.
    """
    said = answers["keywords"].keywords if "keywords" in answers else ()
    settings = rooms.settings
    # In a worker: the rules of English plurals take a second to load and would stall the loop.
    spelled = await rooms.workers.run(
        metadata.spell, said, settings.keywords, settings.metadata.language
    )
    cleaned = metadata.choose(spelled, settings.keywords, rooms.vocabulary)
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


def provenance(way: Way, rooms: Rooms) -> Provenance:
    """Say where the tags of *way* come from."""
    return Provenance(
        version=__version__,
        date=rooms.now(),
        profile=rooms.asking.profile.name,
        profile_digest=rooms.asking.profile.digest,
        models={role: answer.model for role, answer in way.answers.items()},
        digest=way.picture.digest if way.picture else "",
    )


def record_of(way: Way, rooms: Rooms, job: Job, error: Exception | None = None) -> Record:
    """Write down what became of a photo; *error* is why it is not tagged."""
    refused = [sidecar.error for sidecar in way.sidecars if sidecar.error]
    notes = [note for sidecar in way.sidecars for note in sidecar.notes]
    answers = list(way.answers.values())
    return Record(
        id=f"{way.claim.id}-{way.started_at:%Y%m%dT%H%M%S.%f}",
        photo=way.claim.photo,
        digest=way.picture.digest if way.picture else "",
        tags=way.tags,
        roles={answer.role: said_in(answer) for answer in answers},
        models={answer.role: answer.model for answer in answers},
        backend=rooms.asking.base_url,
        prompt_profile=rooms.asking.profile.name,
        prompt_profile_digest=rooms.asking.profile.digest,
        sidecars=way.sidecars,
        notes=(*(way.picture.notes if way.picture else ()), *notes),
        error=str(error) if error else "; ".join(refused),
        error_kind=type(error).__name__ if error else "SidecarError" if refused else "",
        attempts=way.claim.attempt,
        started_at=way.started_at,
        finished_at=rooms.now(),
        duration_seconds=time.monotonic() - way.began,
        stages=way.stages,
        usage={
            "requests": sum(answer.requests for answer in way.paid),
            "prompt_tokens": sum(answer.prompt_tokens for answer in way.paid),
            "completion_tokens": sum(answer.completion_tokens for answer in way.paid),
        },
        dry_run=job.dry_run,
        version=__version__,
        raw={error.role: error.raw} if isinstance(error, AnswerError) and error.raw else {},
    )


def outgoing(record: Record) -> Outgoing:
    """Make the line of JSONL that is journalled, under the local day on which it was finished."""
    line = json.dumps(record.to_json(), ensure_ascii=False)
    return Outgoing(record.id, f"{record.finished_at:%Y-%m-%d}", line)
