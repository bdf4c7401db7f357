"""Asks each candidate about the same photos, as a dry run does, and writes nothing of it anywhere.

Answers that were paid for stay in the ledger, so that a scan with the chosen candidate takes them.
There is no record, no sidecar and no change of the settings.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

from taggerd import imaging
from taggerd.arrivals import chosen, find, work_below
from taggerd.attempt import RunOptions
from taggerd.compare.comparison import Candidate, Comparison, Reply, Shown
from taggerd.errors import BackendError, ConfigurationError, PhotoError, PhotoMoved
from taggerd.photo import Usage, printable
from taggerd.retry import SCAN_TIMEOUT_SECONDS
from taggerd.runner.runner import Runner
from taggerd.services import local_now, open_services

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from taggerd.compare.kept import Comparisons
    from taggerd.journal import Record
    from taggerd.photo import Answer, Photo
    from taggerd.runner.outcome import Outcome
    from taggerd.services import Services
    from taggerd.settings.configuration import Configuration


async def ask_candidates(  # noqa: PLR0913 - what comes from outside comes in as an argument
    candidates: Mapping[Candidate, Configuration],
    paths: Sequence[Path],
    kept: Comparisons,
    *,
    sample: int,
    tell: Callable[[Candidate, int, int], None],
    now: Callable[[], datetime] = local_now,
) -> Comparison:
    """Ask each of the *candidates* about a *sample* of the photos below *paths*; keep the result.

    A candidate that cannot be asked is there with the reason; the others go on.

    Args:
        candidates: each with the settings that make it the one that is asked.
        paths: folders or photos.
        kept: keeps the comparison and the pictures.
        sample: most photos; the same ones each time.
        tell: hears which candidate has answered about how many photos of how many.
        now: the local time.

    Raises:
        ConfigurationError: there is no photo. BackendError: no candidate can be asked.
        StartError, StorageError: the state cannot be used.

    """
    settings = next(iter(candidates.values())).settings
    await asyncio.to_thread(work_below, paths, settings)
    found = await asyncio.to_thread(find, paths, settings)
    photos = chosen(found.photos, limit=None, sample=sample)
    if not photos:
        message = "no photos to compare by: name a folder that holds some"
        raise ConfigurationError(message)
    comparison = Comparison(
        id=f"{now():%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:4]}",
        at=now().timestamp(),
        candidates=tuple(candidates),
        photos=[Shown(photo.name, printable(photo.folder), []) for photo in photos],
        currency=settings.backend.price.currency if settings.backend.price.known else "",
    )
    faults: list[BackendError] = []
    for number, (candidate, configuration) in enumerate(candidates.items()):
        tell(candidate, 0, len(photos))
        try:
            replies = await _asked(
                configuration,
                photos,
                lambda done, who=candidate: tell(who, done, len(photos)),  # type: ignore[misc]  # its second argument is bound
                pictures=(kept, comparison.id) if not number else None,
            )
        except BackendError as error:
            faults.append(error)
            replies = [Reply(error=str(error)) for _ in photos]
        for shown, reply in zip(comparison.photos, replies, strict=True):
            shown.replies.append(reply)
    if len(faults) == len(candidates):
        raise faults[0]
    await asyncio.to_thread(kept.put, comparison)
    return comparison


async def _asked(
    configuration: Configuration,
    photos: Sequence[Photo],
    tell: Callable[[int], None],
    pictures: tuple[Comparisons, str] | None,
) -> list[Reply]:
    """Return what one candidate says of each photo."""
    options = RunOptions(run=f"compare-{uuid.uuid4().hex[:12]}", dry_run=True)
    async with open_services(configuration, dry_run=True) as services:
        if pictures:
            await _keep_pictures(photos, services, *pictures)
        await services.inference.budget.check()
        if error := await services.inference.probe():
            raise error
        ended: dict[Path, Outcome] = {}

        def hear(outcome: Outcome) -> None:
            if outcome.kind not in {"waiting", "will retry"}:
                ended[outcome.photo.primary.path] = outcome
                tell(len(ended))

        runner = Runner(
            services,
            options,
            on_outcome=[hear],
            more_to_come=lambda: False,
            trouble_timeout=SCAN_TIMEOUT_SECONDS,
        )
        await services.ledger.admit([f for p in photos for f in p.files], run=options.run)
        await runner.work(drain_seconds=services.settings.service.drain_seconds)
        return [await _reply(ended.get(photo.primary.path), services) for photo in photos]


async def _keep_pictures(
    photos: Sequence[Photo], services: Services, kept: Comparisons, number: str
) -> None:
    """Keep each photo as the candidates see it; one that cannot be read is told by its replies."""
    for index, photo in enumerate(photos):
        try:
            async with services.disks.opened(photo.primary.path) as file:
                picture = await services.decoders.run(
                    imaging.prepare, file, photo.primary.stamp, services.image
                )
        except (PhotoError, PhotoMoved):
            continue
        await asyncio.to_thread(kept.put_picture, number, index, picture.jpeg)


async def _reply(outcome: Outcome | None, services: Services) -> Reply:
    """Make a reply of how the attempt at a photo ended."""
    if outcome is None or outcome.record is None:
        return Reply(error=outcome.reason if outcome and outcome.reason else "it was not asked")
    record = outcome.record
    if record.error:
        return Reply(error=record.error)
    answers = await _answers(record, services)
    price = services.settings.backend.price
    costs = [
        price.of(model, Usage(each.requests, each.prompt_tokens, each.completion_tokens))
        for model, each in answers
    ]
    return Reply(
        model=", ".join(dict.fromkeys(record.models.values())),
        caption=record.caption,
        description=record.description,
        keywords=record.words,
        own=record.own,
        seconds=sum(each.seconds for _, each in answers),
        prompt_tokens=sum(each.prompt_tokens for _, each in answers),
        completion_tokens=sum(each.completion_tokens for _, each in answers),
        price=sum(costs) if price.known else None,
    )


async def _answers(record: Record, services: Services) -> list[tuple[str, Answer]]:
    """Return the answers that *record* was made of, with the model that was asked for each.

    From the ledger: a record says nothing of what held answers once took.
    """
    newest: dict[str, Answer] = {}
    for held in await services.ledger.answers(record.digest):  # the oldest first
        answer = held.answer
        if record.models.get(answer.role) == answer.model and (
            answer.profile_digest == services.inference.profile.digest
        ):
            newest[answer.role] = answer
    asked = services.inference.models
    return [(asked.get(role, answer.model), answer) for role, answer in newest.items()]
