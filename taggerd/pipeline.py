"""The way of one photo, on one page: read :func:`tag` from top to bottom.

::

    claim ─▶ decode ─▶ ask (or recall) ─▶ write (or hold) ─▶ record

The daemon and the scan both call it, and neither has a path of its own. What goes wrong leaves
:func:`tag` as an error of :mod:`taggerd.errors`; :mod:`taggerd.runner` decides what it costs.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from taggerd import imaging, metadata
from taggerd.arrivals import confirm, keywords_of_archive
from taggerd.attempt import in_burst, outgoing, provenance, record_of, text_of
from taggerd.context import context_of, inspected
from taggerd.errors import ClaimLost, PhotosDiskReadOnly, SidecarRefused, StorageError
from taggerd.ledger import Failed, Finished, Released
from taggerd.logs import described, get_logger
from taggerd.photo import Tags
from taggerd.services import read_embedded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Container, Iterable, Mapping, Sequence

    from taggerd.attempt import Attempt, RunOptions
    from taggerd.inference import Question
    from taggerd.journal import Record
    from taggerd.ledger import Claim, Ending, Held
    from taggerd.metadata import Inspection, Said
    from taggerd.photo import Answer, Photo, Picture, Preview
    from taggerd.services import Services


log = get_logger(__name__)


class Result(NamedTuple):
    """What :func:`tag` came to."""

    ending: Ending
    """What the queue notes."""
    record: Record | None = None
    """None: the photo was tagged already."""
    preview: Preview | None = None
    """What a dry run would have changed."""


async def tag(attempt: Attempt, services: Services, options: RunOptions) -> Result:
    """Tag one claimed photo; whoever claimed it ends the claim.

    Raises:
        PhotoError: the photo cannot be tagged. PhotoMoved: it changed or is gone.
        BackendError: the backend is at fault. StorageError: a disk is full or failing.
        StartError: no worker process starts. ClaimLost: another program has the photo now.

    """
    claim, photo, ledger = attempt.claim, attempt.claim.photo, services.ledger

    with attempt.timed("decode"):
        opened = services.disks.opened(photo.primary.path)
        async with opened as file, services.decoding(claim) as decoders:
            picture = await decoders.run(
                imaging.prepare,
                file,
                photo.primary.stamp,
                services.image,
                with_fingerprint=attempt.candidate is not None,
            )
            said = await read_embedded(photo, decoders, services.disks, primary=file)
        known = await inspected(photo, said, services)
        picture = attempt.picture = _with_original_digest(picture, known)
    held = await _held(claim, picture, services)
    if known.tagged == picture.digest and _is_done(claim, held, options):
        if options.writes:
            await _unhide_human_words(claim, picture, said, services)
        return Result(Finished(picture.digest))
    if options.writes and known.read_only:  # before anything is paid for
        raise PhotosDiskReadOnly(known.read_only)
    if options.writes and known.unnameable:
        raise SidecarRefused(known.unnameable)

    if options.asks and not claim.accepted:
        questions = services.inference.questions
        attempt.answers = recall(held, questions, claim, options, services.backends)
    else:
        attempt.answers = given(claim, held, known, options)
        if not attempt.answers:
            # A photo that changed meanwhile is not tagged: the next scan asks about it.
            same = options.rewrite and claim.recorded and not claim.changed
            return Result(Finished(picture.digest) if same else Released())
    attempt.circumstances = known.circumstances
    roles = services.inference.models
    async with in_burst(attempt, said, held, roles) as recalled:
        async for answer in ask(attempt, picture, recalled, services, options):
            attempt.pay(answer)
            if answer.requests:  # else the same request has brought more
                with suppress(StorageError):  # raised below
                    await keep(attempt, services)
        await keep(attempt, services)
    attempt.tags = await tags_of(attempt.answers, photo, services)

    await confirm(photo)
    if options.writes and not options.holds(claim):
        await _still_ours(claim, services)
        with attempt.timed("metadata"):
            attempt.sidecars = await services.writers.run(
                metadata.write,
                photo,
                attempt.tags,
                provenance(attempt, services, options),
                services.metadata_options,
                said,
            )
        await ledger.written(claim, picture.digest, attempt.sidecars)
        services.remark(attempt.sidecars)

    preview = await _previewed(attempt, said, services, options) if options.dry_run else None
    await _keep_thumbnail(picture, services)
    record = record_of(attempt, services, options)
    return Result(_ending(attempt, record, options), record, preview)


async def _previewed(
    attempt: Attempt, said: Said, services: Services, options: RunOptions
) -> Preview:
    """Return what would be written: the same merge as a run's, into nothing."""
    return await services.writers.run(
        metadata.preview,
        attempt.claim.photo,
        attempt.tags,
        provenance(attempt, services, options),
        services.metadata_options,
        said,
    )


def _ending(attempt: Attempt, record: Record, options: RunOptions) -> Ending:
    """Return what the queue notes about a photo with this *record*."""
    line = outgoing(record)
    if options.dry_run:
        return Released(line)
    if record.error:
        return Failed(record.error, final=True, for_sidecars=True, record=line)
    if record.held:
        return Finished(record.digest, line, held=tuple(attempt.answers.values()))
    return Finished(record.digest, line, sidecars_written=options.writes)


async def _keep_thumbnail(picture: Picture, services: Services) -> None:
    """Store the photo's thumbnail; without it the report page shows a photo that has its tags."""
    try:
        await asyncio.to_thread(services.journal.thumbnail, picture.digest, picture.thumbnail)
    except StorageError:
        pass  # the relay reports a full disk
    except Exception as error:
        log.exception("no thumbnail", reason=described(error))


async def keep(attempt: Attempt, services: Services) -> None:
    """Store the answers that are paid for and not in the ledger yet, and what they cost.

    Raises:
        StorageError: the ledger's disk is full or failing; they stay in *attempt*.

    """
    while attempt.unkept and attempt.picture:
        answers, budget = tuple(attempt.unkept), services.inference.budget
        spent = budget.taken()
        try:
            await services.ledger.checkpoint(
                attempt.claim, attempt.picture.digest, *answers, spent=spent
            )
        except StorageError:
            budget.give_back(spent)
            raise
        del attempt.unkept[: len(answers)]


def _is_done(claim: Claim, held: Sequence[Held], options: RunOptions) -> bool:
    """Say whether a photo is done if its sidecars say that these very bytes are tagged.

    They count whatever the ledger knows, so that a lost ledger, a touched file or a photo that
    moved with its sidecar costs nothing. But not if the photo is to be asked about again, and not
    if the ledger holds answers that were never recorded: then the program died between the sidecar
    and the record, and the record is still owed; nor if somebody has accepted other words.
    """
    if options.dry_run or claim.accepted or claim.asked_again_since is not None:
        return False
    return claim.recorded or not held


def _with_original_digest(picture: Picture, known: Inspection) -> Picture:
    """Give *picture* the digest that its file had before taggerd embedded anything.

    Without this, embedding would turn every photo into a new one that is paid for again.
    """
    return replace(picture, digest=known.origin) if known.origin else picture


async def _unhide_human_words(
    claim: Claim, picture: Picture, said: Said, services: Services
) -> None:
    """Remove machine words from the sidecars that hide what a human has written there since."""
    await _still_ours(claim, services)
    changed = await services.writers.run(
        metadata.unhide_human_texts, claim.photo, services.metadata_options, said
    )
    if changed:
        await services.ledger.written(claim, picture.digest, changed)


async def _still_ours(claim: Claim, services: Services) -> None:
    """Check that nobody else has got the photo, which may be writing its sidecars now."""
    if not await services.ledger.holds(claim):
        raise ClaimLost


async def _not_lost(claim: Claim, services: Services) -> None:
    """Check the same before money is spent, where it may be so: this machine may have slept."""
    if await services.ledger.lost(claim):
        raise ClaimLost


async def _held(claim: Claim, picture: Picture, services: Services) -> list[Held]:
    """Note that the photo is decoded; return the answers for its bytes.

    Where a JPEG has joined its raw, those are for the raw's.
    """
    held = await services.ledger.decoded(claim, picture.digest)
    if held or claim.changed or not claim.digest or claim.asked_again_since is not None:
        return held
    for earlier in await services.ledger.answers(claim.digest):
        await services.ledger.checkpoint(claim, picture.digest, earlier.answer)
        held.append(earlier)
    return held


def recall(
    held: Iterable[Held],
    questions: Sequence[Question],
    claim: Claim,
    options: RunOptions,
    backends: Container[str] = (),
) -> dict[str, Answer]:
    """Choose those of the *held* answers that need not be asked for again, by role.

    That is the newest answer to the same question: same bytes, role, model and prompt. An answer to
    another question is none to this one; otherwise words of one model would stand under the name
    of another. A run that asks again takes only answers given since then.
    """
    since = claim.asked_again_since or 0.0
    chosen: dict[str, Answer] = {}
    for question in questions:
        answers = [h for h in held if h.answer.role == question.role and h.at >= since]
        same = [h for h in answers if h.answer.question == question.identity]
        if options.backend_named:
            same = [h for h in same if h.answer.backend in backends]
        if options.reuse_answers and not options.ask_again:
            same = same or answers
        for best in sorted(same, key=lambda h: h.at)[-1:]:
            chosen[question.role] = best.answer
    return chosen


def given(
    claim: Claim, held: Iterable[Held], known: Inspection, options: RunOptions
) -> dict[str, Answer]:
    """Return the answers that are written without a request, by role.

    They are those that somebody has accepted, whatever the questions are now; else, in a rewrite,
    those of the *held* answers that the photo was tagged with. Without this a rewrite would write
    what a dry run has tried since.
    """
    if claim.accepted or not options.rewrite:
        return {answer.role: answer for answer in claim.accepted}
    ordered = sorted(held, key=lambda each: known.before.wrote(each.answer, each.at))
    return {each.answer.role: each.answer for each in ordered}


async def ask(
    attempt: Attempt,
    picture: Picture,
    held: Sequence[Held],
    services: Services,
    options: RunOptions,
) -> AsyncIterator[Answer]:
    """Ask what *attempt* has no answer to yet, and yield each answer as it comes.

    A question of the user's own waits for the answers that its prompt quotes; only then does it
    show whether the same question was asked before.
    """
    if attempt.claim.accepted or not options.asks:
        return
    waiting = [q for q in services.inference.questions if q.role not in attempt.answers]
    context: dict[str, str] = {}
    if waiting:
        context = await context_of(attempt.claim.photo, attempt.circumstances, services)
    while waiting:
        await keep(attempt, services)  # before more is paid for
        texts = {role: text_of(answer) for role, answer in attempt.answers.items()}
        roles = [question.role for question in waiting]
        ready = [q.ready(texts, context) for q in waiting if not q.waits_for(roles)]
        attempt.answers |= recall(held, ready, attempt.claim, options, services.backends)
        unasked = [question for question in ready if question.role not in attempt.answers]
        check = partial(_not_lost, attempt.claim, services)
        async for answer in services.inference.describe(picture, unasked, check):
            yield answer
        waiting = [q for q in waiting if q.role not in attempt.answers]


async def tags_of(answers: Mapping[str, Answer], photo: Photo, services: Services) -> Tags:
    """Make tags of the *answers*: keywords are cleaned by the user's rules as they are now.

    The user's own keywords for photos from an archive come first, exactly as they are written.
    """
    said = answers["keywords"].keywords if "keywords" in answers else ()
    settings = services.settings
    # Not here: the rules of English plurals take a second to load and would stall the loop.
    words = await services.writers.run(
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
