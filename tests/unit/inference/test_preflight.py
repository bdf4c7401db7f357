"""Preflight: what passes, what fails, and what to try then."""

from __future__ import annotations

import base64
import io
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from PIL import Image

from taggerd.errors import (
    BackendBlind,
    BackendBusy,
    BackendDenied,
    BackendFailed,
    BackendUnreachable,
    ModelNotFound,
    NotABackend,
)
from taggerd.inference.preflight import colours_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.scripted import Scripted

    from taggerd.inference.questions import Question
    from taggerd.photo import Picture

    Say = Callable[..., httpx.Response]
    Ask = Callable[..., Question]
    Reply = Callable[[dict[str, Any]], httpx.Response]

SHADES = {(254, 0, 0): "red", (0, 255, 1): "green", (0, 0, 254): "blue", (255, 255, 0): "yellow"}


def shown(body: dict[str, Any]) -> str:
    """Return the colour of the picture in a request, empty without one."""
    content = body["messages"][-1]["content"]
    if isinstance(content, str):
        return ""
    data = content[0]["image_url"]["url"].split(",", 1)[1]
    pixel = Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB").getpixel((100, 100))
    return SHADES[pixel]  # type: ignore[index]


def seeing(say: Say, form: str = "{}", **message: str) -> Reply:
    """Return a reply function of a model that sees."""

    def reply(body: dict[str, Any]) -> httpx.Response:
        colour = shown(body)
        said = form.replace("{}", colour) if colour else "ready"
        return say(said, **{"model": body["model"], **message})

    return reply


@pytest.mark.parametrize(
    "form",
    [
        "{}",
        "It is {}.",
        "**{}**",
        "<think>red, green, blue or yellow?</think>{}",
        '{"caption": "A {} photo", "keywords": ["{}", "photo"]}',
    ],
)
async def test_a_model_that_sees_passes(scripted: type[Scripted], say: Say, form: str) -> None:
    """Two pictures of two colours are shown and named, in words or in JSON."""
    server = scripted(reply=seeing(say, form))
    report = await server.backend().preflight()
    assert report.ok
    assert [p.name for p in report.probes] == ["models", "text", "vision"]
    assert (report.model, report.listed, report.error, report.next_step) == (
        "eye",
        ("eye",),
        "",
        "",
    )
    assert report.warnings == ()
    assert len({shown(body) for body in server.chats} - {""}) == 2


async def test_latency_is_told_for_each_probe(scripted: type[Scripted], say: Say) -> None:
    """Seconds are measured by the clock that was given."""
    from taggerd import settings  # noqa: PLC0415 - used here only
    from taggerd.inference import Backend  # noqa: PLC0415

    ticks = iter(range(1000))
    server = scripted(reply=seeing(say))
    backend = Backend(
        settings.Backend(base_url="http://backend.test/v1", model="eye"),
        transport=httpx.MockTransport(server),
        clock=lambda: float(next(ticks)),
    )
    seconds = [p.seconds for p in (await backend.preflight()).probes]
    assert seconds[0] >= 1
    assert seconds[1:] == [1.0, 2.0]


@pytest.mark.parametrize(
    "said", ["red", "I cannot see a picture.", "red, green, blue or yellow", "", "purple"]
)
async def test_a_200_that_does_not_see_is_a_failure(
    scripted: type[Scripted], say: Say, said: str
) -> None:
    """Always the same colour, all colours, none, or an apology: the model is blind."""
    server = scripted(reply=lambda b: say(said if shown(b) else "ready"), models=("eye", "qwen-vl"))
    report = await server.backend().preflight()
    models, text, vision = report.probes
    assert (models.ok, text.ok, vision.ok, report.ok) == (True, True, False, False)
    assert type(vision.fault) is BackendBlind
    assert report.error == vision.error
    assert "does not see pictures" in report.error
    assert "'qwen-vl'" in report.next_step


async def test_a_model_that_refuses_pictures_is_blind(scripted: type[Scripted], say: Say) -> None:
    """A 400 for the probe's own picture is no photo's fault."""

    def reply(body: dict[str, Any]) -> httpx.Response:
        return httpx.Response(400, json={"error": "nope"}) if shown(body) else say("ready")

    report = await scripted(reply=reply).backend().preflight()
    assert type(report.probes[2].fault) is BackendBlind


def failing(status: int, **json_body: object) -> httpx.Response:
    """Return a reply that refuses."""
    return httpx.Response(status, json=json_body)


@pytest.mark.parametrize(
    ("listing", "cause", "step"),
    [
        (failing(401, error="no key"), BackendDenied, "api_key"),
        (httpx.Response(200, html="<html>hi</html>"), NotABackend, "/v1"),
        (failing(503, error="loading"), BackendBusy, "Wait"),
        (httpx.Response(302, headers={"location": "/login"}), NotABackend, "/v1"),
    ],
)
async def test_a_backend_that_cannot_be_used_is_told_with_one_step(
    scripted: type[Scripted], listing: httpx.Response, cause: type[Exception], step: str
) -> None:
    """Without a model to ask, a failed listing is the end; the report says what to try."""
    report = await scripted(listing=listing).backend(model="").preflight()
    assert not report.ok
    assert type(report.probes[0].fault) is cause
    assert [p.detail for p in report.probes[1:]] == ["not tried", "not tried"]
    assert step in report.next_step
    assert report.error == report.probes[0].error


async def test_an_unreachable_backend_never_raises() -> None:
    """The report, not an exception, says that nothing is there."""
    from taggerd import settings  # noqa: PLC0415 - used here only
    from taggerd.inference import Backend  # noqa: PLC0415

    def refuse(_: httpx.Request) -> httpx.Response:
        message = "no"
        raise httpx.ConnectError(message)

    backend = Backend(
        settings.Backend(base_url="http://backend.test/v1", model="eye"),
        transport=httpx.MockTransport(refuse),
    )
    report = await backend.preflight()
    assert type(report.probes[0].fault) is BackendUnreachable
    assert not report.probes[1].ok
    assert "http://backend.test/v1" in report.next_step


@pytest.mark.parametrize("listing", [failing(404), failing(500), httpx.Response(404, text="no")])
async def test_a_listing_may_fail_where_the_model_answers_and_sees(
    scripted: type[Scripted], say: Say, listing: httpx.Response
) -> None:
    """Some servers list nothing: that is a warning if the configured model works."""
    report = await scripted(reply=seeing(say), listing=listing).backend().preflight()
    assert report.ok
    assert not report.probes[0].ok
    assert "cannot be listed" in report.warnings[0]
    assert report.next_step == ""


async def test_a_failure_after_a_failed_listing_is_the_one_that_counts(
    scripted: type[Scripted],
) -> None:
    """The text probe's error is told, not the tolerated one before it."""
    server = scripted(reply=lambda _: failing(500, error="no GPU"), listing=failing(404))
    report = await server.backend().preflight()
    assert report.fault is report.probes[1].fault
    assert type(report.fault) is BackendFailed
    assert "no GPU" in report.error


async def test_a_model_that_is_not_served_is_told_with_near_names(scripted: type[Scripted]) -> None:
    """Nothing is asked of a server that lists other models only."""
    server = scripted(models=("llava:13b", "gemma3:4b"))
    report = await server.backend(model="lava").preflight()
    assert type(report.probes[0].fault) is ModelNotFound
    assert "does not serve 'lava'; it serves: llava:13b" in report.error
    assert server.chats == []


async def test_ollamas_latest_tag_is_no_other_model(scripted: type[Scripted], say: Say) -> None:
    """``llava`` is served where ``llava:latest`` is listed and answers."""
    server = scripted(reply=seeing(say, model="llava:latest"), models=("llava:latest",))
    report = await server.backend(model="llava").preflight()
    assert report.ok
    assert report.warnings == ()


async def test_another_model_that_answers_is_reported(scripted: type[Scripted], say: Say) -> None:
    """It passes, for it sees, but it is said."""
    report = await scripted(reply=seeing(say, model="mistral-7b")).backend().preflight()
    assert report.ok
    assert report.probes[1].model == "mistral-7b"
    assert report.warnings == ("asked for 'eye', but 'mistral-7b' answers",)


async def test_every_role_model_is_probed(scripted: type[Scripted], say: Say) -> None:
    """A second model that is blind fails the vision probe; an empty name is the default one."""

    def reply(body: dict[str, Any]) -> httpx.Response:
        return say((shown(body) if body["model"] == "eye" else "") or "ready")

    server = scripted(reply=reply, models=("bge-m3", "eye", "words"))
    backend = server.backend(model="")
    assert (await backend.preflight(["", "eye"])).ok
    assert backend.model == "eye"
    report = await backend.preflight(["", "words"])
    assert "'words' does not see" in report.error


async def test_a_chosen_model_stays_while_it_is_listed(scripted: type[Scripted], say: Say) -> None:
    """A model that is pulled later does not take over; one that is gone is replaced."""
    server = scripted(reply=seeing(say), models=("eye",))
    backend = server.backend(model="")
    await backend.preflight()
    server.models = ("newer", "eye")
    assert (await backend.preflight()).model == "eye"
    server.models = ("newer",)
    assert (await backend.preflight()).model == "newer"


async def test_preflight_teaches_the_form_before_the_first_photo(
    scripted: type[Scripted], say: Say, picture: Picture, question: Ask
) -> None:
    """What the text probe learnt is not learnt again with a photo."""

    def reply(body: dict[str, Any]) -> httpx.Response:
        if "temperature" in body:
            return failing(400, error="temperature is not supported")
        if "caption" in json.dumps(body):
            return say("A boat")
        return seeing(say)(body)

    server = scripted(reply=reply)
    backend = server.backend()
    assert (await backend.preflight()).ok
    assert [a.text async for a in backend.describe(picture, [question()])] == ["A boat"]
    assert ["temperature" in body for body in server.chats] == [True, False, False, False, False]


def test_only_whole_words_are_colours() -> None:
    """Neither "Reddish" nor "evergreen" names one of the probes' colours."""
    assert colours_in("Reddish evergreen. BLUE!") == {"blue"}


def blind(say: Say, *models: str) -> Reply:
    """Return a reply function: *models* are blind, the others see."""

    def reply(body: dict[str, Any]) -> httpx.Response:
        colour = "" if body["model"] in models else shown(body)
        return say(colour or "ready", model=body["model"])

    return reply


async def test_no_blind_model_is_advised_again(scripted: type[Scripted], say: Say) -> None:
    """The example is another model than the one that was just asked; without one there is none."""
    server = scripted(reply=blind(say, "vl"), models=("vl", "qwen-vl"))
    report = await server.backend(model="vl").preflight()
    assert "e.g. 'qwen-vl'" in report.next_step
    server = scripted(reply=blind(say, "vl"), models=("vl",))
    report = await server.backend(model="vl").preflight()
    assert "backend.model" not in report.next_step
    assert report.next_step == "Load a vision model, or 'vl' with its vision part (mmproj)."


async def test_advice_names_the_setting_that_named_the_model(
    scripted: type[Scripted], say: Say
) -> None:
    """Whoever gave --caption-model has nothing to change in backend.model."""
    server = scripted(reply=blind(say, "words"), models=("eye", "words", "qwen-vl"))
    settings_of = {"words": "roles.caption.model", "gone": "roles.keywords.model"}
    report = await server.backend().preflight(["", "words"], settings_of=settings_of)
    assert report.next_step.startswith("Set roles.caption.model to")
    report = await server.backend().preflight(["", "gone"], settings_of=settings_of)
    assert report.next_step.startswith("Set roles.keywords.model to")


async def test_an_address_that_ends_in_v1_is_not_told_to(scripted: type[Scripted]) -> None:
    """Advice does not ask for what is there already."""
    listing = httpx.Response(200, html="<html>hi</html>")
    report = await scripted(listing=listing).backend(model="").preflight()
    assert "(now http://backend.test/v1)" in report.next_step
    assert "usually" not in report.next_step
