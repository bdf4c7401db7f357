"""Preflight: can this backend be asked about photos at all?

Three probes: it lists its models; a model answers a text; it names the colours of two pictures.
The pictures are in ``taggerd/data/probes``: ``Image.new("RGB", (224, 224), colour)`` saved by
Pillow as JPEG of quality 90, pure red, green, blue and yellow. Two are chosen at random, so that no
blind model passes by always saying the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import TYPE_CHECKING, Protocol

from taggerd.errors import (
    BackendBlind,
    BackendBusy,
    BackendDenied,
    BackendError,
    BackendFailed,
    BackendTimeout,
    BackendUnreachable,
    ModelNotFound,
    NotABackend,
    PhotoRefused,
)
from taggerd.inference.completion import quoted, without_thoughts
from taggerd.inference.dialect import encoded
from taggerd.inference.discovery import same_model, serves, similar_models, vision_models
from taggerd.inference.questions import Question
from taggerd.inference.statuses import without_picture

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from random import Random

    from taggerd.inference.completion import Completion

COLOURS = ("red", "green", "blue", "yellow")
_TEXT_PROMPT = "This is a test of the connection. Answer with the one word: ready"
_VISION_PROMPT = (
    "What is the colour of this picture? Answer with one word: red, green, blue or yellow."
)
_PROBE_TOKENS = 100
_SHOWN_MODELS = 3
_CONTEXT = re.compile(r"context (?:window|length|size)|ContextWindow|context_length", re.IGNORECASE)
"""What a server says whose model has a smaller context than one request."""
_LISTING_MAY_FAIL = frozenset({NotABackend, BackendFailed})
"""Errors of the listing with which the backend may still work: some servers have none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """The result of one probe."""

    name: str
    """``"models"``, ``"text"`` or ``"vision"``."""
    seconds: float = 0.0
    """Latency of its requests, without the wait for a free slot if they were answered."""
    detail: str = ""
    """What it found, for people."""
    model: str = ""
    """The model that says it answered."""
    asked: str = ""
    """The model that failed."""
    fault: BackendError | None = None
    """Why it failed."""
    tried: bool = True
    """False if an earlier failure made it pointless."""

    @property
    def ok(self) -> bool:
        """Whether it passed."""
        return self.tried and self.fault is None

    @property
    def error(self) -> str:
        """Why it failed, one line; empty if it did not."""
        return str(self.fault or "")


@dataclass(frozen=True, slots=True, kw_only=True)
class PreflightReport:
    """The results of all probes of a backend."""

    base_url: str
    model: str
    """The default model: configured, or chosen from the listing; empty if there is none."""
    listed: tuple[str, ...]
    """Ids of all models that it lists."""
    probes: tuple[Probe, ...]
    """Models, text, vision."""
    warnings: tuple[str, ...] = ()
    """What works otherwise than asked: the listing fails, another model answers."""
    next_step: str = ""
    """One sentence: what to try first; empty if all is well."""

    @property
    def ok(self) -> bool:
        """Whether photos can be asked about.

        A listing that fails does not matter if a configured model answers and sees pictures.
        """
        models, text, vision = self.probes
        return text.ok and vision.ok and (models.ok or _tolerated(models))

    @property
    def fault(self) -> BackendError | None:
        """Why photos cannot be asked about; None if they can. Earlier failures were tolerated."""
        faults = [probe.fault for probe in self.probes if probe.fault]
        return None if self.ok else faults[-1]

    @property
    def error(self) -> str:
        """The same in one line; empty if they can."""
        return str(self.fault or "")


class Probed(Protocol):
    """What can be probed: a backend."""

    @property
    def base_url(self) -> str:
        """Address, for people."""

    def default_of(self, listed: Sequence[str]) -> str:
        """Return the default model where these are served; empty if there is none."""

    async def list_models(self) -> tuple[str, ...]:
        """Return the ids of the models served. Raises :class:`BackendError`."""

    async def complete(self, question: Question, image: bytes | None) -> Completion:
        """Ask. Raises :class:`BackendError` and :class:`PhotoRefused`."""


async def probe_all(
    backend: Probed,
    models_asked: Sequence[str],
    random: Random,
    clock: Callable[[], float],
    settings_of: Mapping[str, str] | None = None,
) -> PreflightReport:
    """Probe a backend; never raises a :class:`BackendError`.

    Args:
        backend: the backend.
        models_asked: the models that will be asked; an empty name is the default model.
        random: chooses the pictures.
        clock: seconds, monotonic.
        settings_of: the setting that names each model; default: ``backend.model``.
    """
    models, listed = await _probe_models(backend, models_asked, clock)
    wanted = tuple(dict.fromkeys(model or backend.default_of(listed) for model in models_asked))
    text, vision = (Probe(name=n, tried=False, detail="not tried") for n in ("text", "vision"))
    if all(wanted) and (models.ok or _tolerated(models)):
        text = await _probe_text(backend, wanted, clock)
        if text.ok:
            vision = await _probe_vision(backend, wanted, random, clock)
    report = PreflightReport(
        base_url=backend.base_url,
        model=next(filter(None, wanted), ""),
        listed=listed,
        probes=(models, text, vision),
        warnings=_warnings(models, (text, vision), wanted) if text.ok else (),
    )
    if report.fault is None:
        return report
    asked = next((probe.asked for probe in reversed(report.probes) if probe.fault), "")
    setting = (settings_of or {}).get(asked, "backend.model")
    step = _next_step(report.fault, asked, setting, backend.base_url, listed)
    return replace(report, next_step=step)


def _tolerated(listing: Probe) -> bool:
    """Return whether the backend may still work although it cannot list its models."""
    return type(listing.fault) in _LISTING_MAY_FAIL


async def _probe_models(
    backend: Probed, models_asked: Sequence[str], clock: Callable[[], float]
) -> tuple[Probe, tuple[str, ...]]:
    """List the models and look for the configured ones."""
    started = clock()
    try:
        listed = await backend.list_models()
    except BackendError as error:
        return Probe(name="models", fault=error, seconds=clock() - started), ()
    seconds = clock() - started
    named = [model or backend.default_of(listed) for model in models_asked]
    missing = next((m for m in named if m and not serves(listed, m)), "")
    if missing or not all(named):
        served = ", ".join(similar_models(listed, missing) if missing else listed[:_SHOWN_MODELS])
        what = f"does not serve {missing!r}" if missing else "lists no model for photos"
        more = f"; it serves: {served}" if served else "; it serves none"
        absent = ModelNotFound(f"{backend.base_url} {what}{more}")
        return Probe(name="models", fault=absent, seconds=seconds, asked=missing), listed
    shown = ", ".join(listed[:_SHOWN_MODELS])
    rest = f" and {len(listed) - _SHOWN_MODELS} more" if len(listed) > _SHOWN_MODELS else ""
    return Probe(name="models", seconds=seconds, detail=shown + rest), listed


async def _probe_text(backend: Probed, wanted: Sequence[str], clock: Callable[[], float]) -> Probe:
    """Have every model answer one word."""
    seconds, answered, answer = 0.0, "", ""
    for model in wanted:
        began = clock()
        try:
            completion = await backend.complete(_question(model, _TEXT_PROMPT), None)
        except (BackendError, PhotoRefused) as error:
            fault = error if isinstance(error, BackendError) else without_picture(error)
            return Probe(name="text", fault=fault, seconds=seconds + clock() - began, asked=model)
        seconds += completion.seconds
        answer = without_thoughts(completion.content).strip()
        if not answer:
            fault = BackendFailed(f"model {model!r} at {backend.base_url} gave no answer")
            return Probe(name="text", fault=fault, seconds=seconds, asked=model)
        answered = _answering(model, completion.model, answered)
    detail = f"said {quoted(answer, 40)}"
    return Probe(name="text", seconds=seconds, detail=detail, model=answered)


async def _probe_vision(
    backend: Probed, wanted: Sequence[str], random: Random, clock: Callable[[], float]
) -> Probe:
    """Show every model two pictures and have it name their colours."""
    seconds, answered, shown = 0.0, "", random.sample(COLOURS, 2)
    for model in wanted:
        for colour in shown:
            picture = files("taggerd").joinpath("data", "probes", f"{colour}.jpg").read_bytes()
            question = _question(model, _VISION_PROMPT)
            began = clock()
            try:
                completion = await backend.complete(question, encoded(picture))
            except (BackendError, PhotoRefused) as error:
                fault = error if isinstance(error, BackendError) else BackendBlind(str(error))
                seconds += clock() - began
                return Probe(name="vision", fault=fault, seconds=seconds, asked=model)
            seconds += completion.seconds
            answer = without_thoughts(completion.content)
            if colours_in(answer) != {colour}:
                blind = BackendBlind(
                    f"model {model!r} does not see pictures: asked about a {colour} one, it said "
                    f"{quoted(answer, 60)}"
                )
                return Probe(name="vision", fault=blind, seconds=seconds, asked=model)
            answered = _answering(model, completion.model, answered)
    detail = f"saw {' and '.join(shown)}"
    return Probe(name="vision", seconds=seconds, detail=detail, model=answered)


def colours_in(text: str) -> set[str]:
    """Return which of the probes' colours *text* names."""
    return set(re.findall(rf"\b({'|'.join(COLOURS)})\b", text.casefold()))


def _question(model: str, prompt: str) -> Question:
    """Return a probe's question."""
    return Question(
        role="preflight",
        model=model,
        system="",
        prompt=prompt,
        max_tokens=_PROBE_TOKENS,
        wants="text",
    )


def _answering(asked: str, answers: str, before: str) -> str:
    """Return the model to name as the one that answered: if one was not asked, that one."""
    return before if before and same_model(asked, answers) else answers or asked


def _warnings(models: Probe, probes: Sequence[Probe], wanted: Sequence[str]) -> tuple[str, ...]:
    """Return what works otherwise than asked."""
    warnings = [] if models.ok else [f"the models cannot be listed: {models.error}"]
    answered = dict.fromkeys(probe.model for probe in probes if probe.model)
    others = (a for a in answered if not any(same_model(model, a) for model in wanted))
    warnings += [f"asked for {wanted[0]!r}, but {other!r} answers" for other in others]
    return tuple(warnings)


def _next_step(
    fault: BackendError, asked: str, setting: str, base_url: str, listed: Sequence[str]
) -> str:
    """Return one sentence: what to try first, and never what was just tried.

    Args:
        fault: what is wrong.
        asked: the model that failed; empty: none was asked.
        setting: the setting that names it.
        base_url: the address of the backend.
        listed: the models that it lists.
    """
    cause = type(fault)
    seeing = [model for model in vision_models(listed) if model != asked]
    if cause is ModelNotFound and not listed:
        return "Load a vision model in the backend."
    if cause is ModelNotFound:
        example = f", e.g. {(seeing or listed)[0]!r}"
        return f"Set {setting} to a vision model that the backend serves{example}."
    if cause in {BackendBlind, BackendFailed} and _CONTEXT.search(str(fault)):
        return "Serve the model with a larger context, or lower image.max_edge."
    if cause is BackendBlind and seeing:
        example = f", e.g. {seeing[0]!r}"
        return f"Set {setting} to another model{example}, or load {asked!r} with its vision part."
    if cause is BackendBlind:
        return f"Load a vision model, or {asked!r} with its vision part (mmproj)."
    ending = "" if base_url.endswith("/v1") else "; it usually ends in /v1"
    return {
        BackendUnreachable: f"Start the backend, or set backend.base_url (now {base_url}).",
        BackendTimeout: "Wait until the model is loaded, or raise backend.timeout_seconds.",
        BackendBusy: "Wait: the backend is loading or overloaded.",
        BackendDenied: "Set backend.api_key to a key that this backend accepts.",
        NotABackend: f"Set backend.base_url to the address of the API{ending} (now {base_url}).",
    }.get(cause, "See the backend's own log.")
