"""One photo through the pipeline: what is asked, what is written, what the queue notes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest
from support.site import Site, nothing

from taggerd.attempt import Attempt, RunOptions
from taggerd.errors import BackendError, PhotoChanged, PhotoUndecodable
from taggerd.ledger import Deferred, Failed, Finished, Released
from taggerd.pipeline import Result, tag
from taggerd.services import local_now
from taggerd.testing import InMemoryLedger

if TYPE_CHECKING:
    from pathlib import Path

    from taggerd.ledger import Claim
    from taggerd.photo import Answer, Spending, Usage


ROLES = 3
TAG = RunOptions(run="r")


async def tagged(site: Site, options: RunOptions = TAG) -> Result:
    """Tag the only photo in the queue, and end its claim."""
    async with site.services() as services:
        claim = await site.claim()
        result = await tag(Attempt(claim, local_now()), services, options)
        await site.ledger.end(claim, result.ending)
        return result


def sidecar(photo: Path) -> Path:
    """Return the sidecar of *photo*."""
    return photo.with_name(f"{photo.name}.xmp")


async def test_a_photo_is_asked_about_once_a_role_and_gets_its_sidecar(site: Site) -> None:
    """The record holds what the sidecar holds, and the queue notes a photo that is done."""
    (path,) = await site.arrive("a.jpg")
    result = await tagged(site)
    assert result.record is not None
    assert isinstance(result.ending, Finished)
    assert result.ending.sidecars_written
    assert site.questions == ROLES
    assert result.record.caption in sidecar(path).read_text()
    assert set(result.record.models) == {"caption", "keywords", "description"}
    assert result.record.usage["requests"] == ROLES
    assert set(result.record.stages) >= {"decode", "caption", "metadata"}


async def test_a_photo_whose_sidecar_says_so_is_done_without_a_question(site: Site) -> None:
    """A lost ledger costs nothing: the sidecar of these very bytes is enough."""
    await site.arrive("a.jpg")
    await tagged(site)
    site.ledger = InMemoryLedger()
    await site.arrive("a.jpg")
    assert await tagged(site) == Result(Finished(site.digest("a.jpg")))
    assert site.questions == 0


async def test_a_dry_run_asks_and_writes_nothing(site: Site) -> None:
    """Its record says that it was one, and the queue is as it was."""
    (path,) = await site.arrive("a.jpg")
    result = await tagged(site, RunOptions(run="r", dry_run=True))
    assert isinstance(result.ending, Released)
    assert result.record is not None
    assert result.record.dry_run
    assert not sidecar(path).exists()
    assert site.questions == ROLES


@pytest.mark.parametrize(("mode", "steps"), [("per-role", ROLES), ("combined", 1)])
async def test_each_request_is_one_step_of_the_ledger(site: Site, mode: str, steps: int) -> None:
    """Its answers and what they cost are kept together, before more is paid for."""
    kept: list[tuple[int, int]] = []

    class Watched(InMemoryLedger):
        async def checkpoint(
            self, claim: Claim, digest: str, *answers: Answer, spent: Spending | None = None
        ) -> None:
            requests = sum(usage.requests for usage in (spent or {}).values())
            kept.append((len(answers), requests))
            await super().checkpoint(claim, digest, *answers, spent=spent)

        async def spend(self, day: str, model: str, usage: Usage) -> None:
            kept.append((0, usage.requests))
            await super().spend(day, model, usage)

    site.ledger = Watched()
    backend = site.settings.backend.model_copy(update={"request_mode": mode})
    site.settings = site.settings.model_copy(update={"backend": backend})
    await site.arrive("a.jpg")
    async with site.services() as services:
        kept.clear()
        await tag(Attempt(await site.claim(), local_now()), services, TAG)
    assert kept == [(ROLES // steps, 1)] * steps
    assert site.questions == steps


async def test_answers_that_are_held_are_not_paid_for_again(site: Site) -> None:
    """An attempt that died after two answers asks for the third alone."""
    (path,) = await site.arrive("a.jpg")
    site.answer = lambda _request: httpx.Response(401) if site.questions == ROLES else None
    async with site.services() as services:
        claim = await site.claim()
        with pytest.raises(BackendError):
            await tag(Attempt(claim, local_now()), services, TAG)
        await site.ledger.end(claim, Deferred())
    site.answer = nothing
    result = await tagged(site)
    assert result.record is not None
    assert result.record.usage["requests"] == 1
    assert sidecar(path).exists()


async def test_a_sidecar_that_cannot_be_written_keeps_the_answers(site: Site) -> None:
    """The photo fails for its sidecar's sake alone: the next pass writes without asking."""
    (path,) = await site.arrive("a.jpg")
    sidecar(path).write_text("not XMP at all")
    result = await tagged(site)
    assert isinstance(result.ending, Failed)
    assert result.ending.for_sidecars
    assert sidecar(path).read_text() == "not XMP at all"
    assert len(await site.ledger.answers(site.digest("a.jpg"))) == ROLES


async def test_a_photo_that_changed_since_it_settled_is_not_tagged(site: Site) -> None:
    """Not even where its answers are there already: they are another picture's."""
    (path,) = await site.arrive("a.jpg")

    def grow(_request: httpx.Request) -> None:
        with path.open("ab") as file:
            file.write(b"more")

    site.answer = grow
    with pytest.raises(PhotoChanged):
        await tagged(site)
    assert not sidecar(path).exists()


async def test_bytes_that_are_no_picture_cost_no_question(site: Site) -> None:
    """They are found out before anything is asked."""
    (path,) = await site.arrive("a.jpg")
    path.write_bytes(b"\xff\xd8\xff" + b"no picture" * 99)
    await site.admit(path)
    with pytest.raises(PhotoUndecodable):
        await tagged(site)
    assert site.questions == 0
