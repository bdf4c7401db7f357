"""Questions: what a model is asked about one photo."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

from taggerd.errors import ConfigurationError
from taggerd.inference.languages import sentence, spelt
from taggerd.inference.profiles import ROLES
from taggerd.photo import brief
from taggerd.settings import placeholders

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from taggerd import settings
    from taggerd.inference.profiles import Profile, Wants

T = TypeVar("T")

HINTS = (
    "Hints from the file, perhaps wrong: {}. "
    "Use a hint only where the picture agrees with it, and invent nothing from it."
)
"""The sentence that gives a model a photo's context. No word of it may look like a task."""
_HINT_NAMES = {"place": "place", "date": "date", "folder": "folder", "keywords": "labels"}
CONTEXT = ("place", "date", "folder")
"""Context that a prompt of the user's own may have placeholders for."""
_OWN_MAX_TOKENS = 400
"""Default of the longest answer to a question of the user's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """The question of one role. One of the user's own has to be made :meth:`ready` for a photo."""

    role: str
    model: str
    """Model to ask; empty: the backend's default."""
    system: str
    prompt: str
    """In a question of the user's own, with placeholders in braces."""
    max_tokens: int
    """Longest answer, tokens."""
    wants: Wants
    temperature: float | None = None
    """None: the usual one."""
    top_p: float | None = None
    """None: the backend's default; nothing is sent."""
    task: str = ""
    """The prompt without the sentence on the answer's form; empty: it has none."""
    offered: str = ""
    """The part of the prompt whose words an answer may repeat: the user's vocabulary."""
    language: str = ""
    """Of the answer, BCP 47; empty: any."""
    longest: int = 0
    """Characters; a longer answer is cut. 0: the role's default."""
    own: bool = False
    """Whether its prompt is a template: the user's own roles', and others with placeholders."""
    unfilled: str = ""
    """The prompt without the words that replaced its placeholders; empty if there were none."""
    hints: str = ""
    """What the model is told about this photo; no part of the question's identity."""
    combined: tuple[Question, ...] = ()
    """The questions that this one combines."""

    @property
    def text(self) -> str:
        """The text after the picture."""
        return f"{HINTS.format(self.hints)}\n\n{self.prompt}" if self.hints else self.prompt

    @property
    def placeholders(self) -> tuple[str, ...]:
        """The names of the prompt's placeholders, until they are replaced."""
        return placeholders.names(self.prompt) if self.own and not self.unfilled else ()

    @property
    def identity(self) -> str:
        """BLAKE2b-128 over role, model, texts and generation settings, 32 hex digits.

        Two questions of one identity have interchangeable answers. Hints do not change what is
        asked: the same bytes are asked about once, whatever their folder. What replaced a
        placeholder does.
        """
        texts = (self.role, self.model, self.system, self.prompt, self.wants)
        return _identity(texts, self.temperature, self.top_p, self.max_tokens)

    def waits_for(self, roles: Iterable[str]) -> frozenset[str]:
        """Return those of *roles* whose answers replace a placeholder."""
        return frozenset(self.placeholders) & frozenset(roles)

    def ready(self, answers: Mapping[str, str], context: Mapping[str, str]) -> Question:
        """Return the question as it is asked of one photo.

        Args:
            answers: the earlier answers as text, by role.
            context: what may be told about the photo: place, date, folder, keywords.
        """
        names = self.placeholders
        prompt, task = self.prompt, self.task
        unfilled = ""
        if self.own and not self.unfilled:
            words = {**dict.fromkeys(CONTEXT, "unknown"), **context, **answers}
            prompt, task = (placeholders.fill(text, words) for text in (self.prompt, self.task))
            unfilled = placeholders.fill(self.prompt, {}) if names else ""
        told = [f"{_HINT_NAMES[name]}: {text}" for name, text in context.items()]
        hints = "" if set(names) & set(CONTEXT) else "; ".join(told)
        return replace(self, prompt=prompt, task=task, unfilled=unfilled, own=False, hints=hints)


def questions(  # noqa: PLR0913 - the switches are named
    roles: settings.Roles,
    profile: Profile,
    default_model: str,
    max_keywords: int,
    resolved_models: Mapping[str, str] | None = None,
    *,
    language: str = "",
    offered: str = "",
    examples: Sequence[str] = (),
    generation: settings.Backend | None = None,
) -> tuple[Question, ...]:
    """Return the questions about every photo, in the order in which they are asked.

    Args:
        roles: the settings' tables; they win over the profile.
        profile: the prompt profile.
        default_model: for roles without a model of their own.
        max_keywords: replaces ``{max_keywords}`` in a prompt.
        resolved_models: model per role from the registry, which has minded the roles' own; other
            roles take their own, else the default.
        language: of the answers, BCP 47; empty: as the prompts say.
        offered: a sentence that names the user's vocabulary; for keywords.
        examples: captions of the user's own; for captions.
        generation: temperature, ``top_p`` and the token limit of roles that have none of their own.
    """
    resolved = resolved_models or {}
    asked = []
    for name in (*ROLES, *roles.own):
        table = roles.named(name)
        given = profile.roles.get(name)
        wants: Wants = given.wants if given and name in ROLES else "text"
        prompt, task = table.prompt, ""
        if given and not prompt:
            prompt, task = given.whole, given.prompt if given.form else ""
            if profile.shipped:
                prompt, task = spelt(prompt, language), spelt(task, language)
        words = offered if wants == "keywords" else ""
        own = roles.own.get(name)
        if own is None:
            prompt, task = (t.replace("{max_keywords}", str(max_keywords)) for t in (prompt, task))
            prompt, task = (_escaped(t) for t in (prompt, task))
        style = _style(examples) if name == "caption" else ""
        more = [text for text in (words, style, sentence(language)) if text]
        waits = own is not None or bool(placeholders.names(prompt))
        if own is None and waits:
            more = [_escaped(text, None) for text in more]
        elif own is None:
            prompt, task = (placeholders.fill(t, {}) for t in (prompt, task))
        asked.append(
            Question(
                role=name,
                model=resolved.get(name, "") or table.model or default_model,
                system=profile.system,
                prompt=" ".join([prompt.strip(), *more]),
                task=" ".join([task.strip(), *more]) if task else "",
                max_tokens=_first(table.max_tokens, generation.max_tokens if generation else None)
                or (given.max_tokens if given else _OWN_MAX_TOKENS),
                temperature=_first(
                    table.temperature, generation.temperature if generation else None
                ),
                top_p=_first(table.top_p, generation.top_p if generation else None),
                wants=wants,
                offered=words,
                language=language,
                longest=own.max_characters if own else 0,
                own=waits,
            )
        )
    return tuple(asked)


def _style(examples: Sequence[str]) -> str:
    """Return the sentence that shows *examples*, each on one line and in quotation marks."""
    quoted = "; ".join(f"“{brief(text, 300)}”" for text in examples)
    return f"Write in the style of these captions of other photos: {quoted}." if quoted else ""


@lru_cache(maxsize=256, typed=True)
def _identity(texts: tuple[str, ...], *generation: float | None) -> str:
    """See :attr:`Question.identity`; each photo needs those of the same questions."""
    asked = json.dumps([*texts, [*generation]])
    return hashlib.blake2b(asked.encode(), digest_size=16).hexdigest()


_PLACEHOLDER = re.compile(r"\{([a-z][a-z0-9_]*)\}")
"""A placeholder in the prompt of a built-in role: these hold JSON, whose braces look different."""


def _escaped(prompt: str, pattern: re.Pattern[str] | None = _PLACEHOLDER) -> str:
    """Return a built-in role's *prompt* as a template in which only *pattern* is filled."""
    parts = pattern.split(prompt) if pattern else [prompt]
    braced = (text.replace("{", "{{").replace("}", "}}") for text in parts[::2])
    names = [f"{{{name}}}" for name in parts[1::2]]
    return "".join(text + name for text, name in zip(braced, [*names, ""], strict=True))


def _check_built_in(
    roles: settings.Roles, profile: Profile, hints: Sequence[str]
) -> dict[str, frozenset[str]]:
    """Refuse placeholders of the built-in roles that cannot be filled.

    Returns:
        which roles each of them waits for.

    """
    everyone = (*ROLES, *roles.own)
    waits = {}
    for name in ROLES:
        given = profile.roles.get(name)
        prompt = roles.named(name).prompt or (given.whole if given else "")
        prompt = prompt.replace("{max_keywords}", "")
        where = f"roles.{name}.prompt"
        _check_context(prompt, hints, where)
        template = _escaped(prompt)
        known = [role for role in everyone if role != name]
        placeholders.check(template, (*known, *hints), where)
        waits[name] = frozenset(placeholders.names(template)) & frozenset(everyone)
    return waits


def _check_circle(waits: Mapping[str, frozenset[str]]) -> None:
    """Refuse roles whose prompts wait for each other's answers."""
    left = dict(waits)
    while ready := [role for role, others in left.items() if not others & left.keys()]:
        for role in ready:
            del left[role]
    if left:
        circle = " and ".join(sorted(left))
        message = f"roles.{min(left)}.prompt: {circle} wait for each other's answers: remove one"
        raise ConfigurationError(message)


def _first(own: T | None, other: T | None) -> T | None:
    """Return the value of a role's own table, else the other; 0 is a value."""
    return other if own is None else own


def check_own(
    roles: settings.Roles,
    profile: Profile,
    context: Sequence[str],
    fields: settings.Fields,
) -> None:
    """Refuse roles of the user's own that cannot be asked or written.

    Args:
        roles: the settings' tables.
        profile: the prompt profile, which may have their prompts.
        context: what may be told about a photo.
        fields: where the other answers are written.

    Raises:
        ConfigurationError: one line.
    """
    taken = dict.fromkeys(fields.caption, "metadata.fields.caption")
    taken |= dict.fromkeys(fields.description, "metadata.fields.description")
    known = list(ROLES)
    hints = [word for word in CONTEXT if word in context]
    waits = _check_built_in(roles, profile, hints)
    for name, role in roles.own.items():
        given = profile.roles.get(name)
        prompt = role.prompt or (given.whole if given else "")
        where = f"roles.{name}.prompt"
        if not prompt.strip():
            message = f"{where}: missing, and prompt profile {profile.name!r} has none"
            raise ConfigurationError(message)
        _check_context(prompt, hints, where)
        placeholders.check(prompt, (*known, *hints), where)
        waits[name] = frozenset(placeholders.names(prompt)) & frozenset(known)
        for field in role.fields:
            if field in taken:
                message = (
                    f"roles.{name}.fields: {field} is already used by {taken[field]}: remove one"
                )
                raise ConfigurationError(message)
            taken[field] = f"roles.{name}.fields"
        known.append(name)
    _check_circle(waits)


def _check_context(prompt: str, hints: Sequence[str], where: str) -> None:
    """Refuse a prompt with a placeholder for what may not be told; braces are checked elsewhere."""
    for word in CONTEXT:
        if word not in hints and f"{{{word}}}" in prompt.replace("{{", ""):
            message = f"{where}: {{{word}}} is not available: add {word!r} to prompts.context"
            raise ConfigurationError(message)


def offer(vocabulary: Sequence[str], mode: settings.VocabularyMode) -> str:
    """Return the sentence that names the user's own words for keywords; empty without any."""
    if not vocabulary:
        return ""
    words = ", ".join(vocabulary)
    if mode == "only":
        return f"Choose only from these words, as they are spelled here: {words}."
    return f"Where one of these words fits, take it as it is spelled here: {words}."


# Several questions in one request.


def combine(questions: Sequence[Question]) -> Question:
    """Return one question for several of the same model and system text.

    The answer is one JSON object with a key for each.
    """
    kinds = {"text": "a text", "keywords": "a list of texts"}
    keys = "\n".join(f'"{q.role}", {kinds[q.wants]}: {q.task or q.prompt}' for q in questions)
    first = questions[0]
    prompt = f"Answer with one JSON object and nothing else. It has these keys:\n{keys}"
    return replace(
        first,
        role="combined",
        prompt=prompt,
        task="",
        offered="",
        max_tokens=sum(q.max_tokens for q in questions),
        wants="keywords",  # the kind of answer that is asked for as JSON
        combined=tuple(questions),
    )


def combinable(questions: Iterable[Question]) -> list[list[Question]]:
    """Return groups of *questions* that can be combined: two or more of one model."""
    by_model: dict[tuple[object, ...], list[Question]] = {}
    for question in questions:
        key = (
            question.model,
            question.system,
            question.hints,
            question.temperature,
            question.top_p,
        )
        by_model.setdefault(key, []).append(question)
    return [group for group in by_model.values() if len(group) > 1]


def response_format(question: Question) -> dict[str, object]:
    """Return the strictest ``response_format`` for what *question* asks."""
    wants = {part.role: part.wants for part in question.combined} or {"keywords": "keywords"}
    texts = {"type": "array", "items": {"type": "string"}}
    properties = {
        role: texts if kind == "keywords" else {"type": "string"} for role, kind in wants.items()
    }
    return {
        "type": "json_schema",
        "json_schema": {
            "name": question.role,
            "strict": True,
            "schema": {
                "type": "object",
                "properties": properties,
                "required": list(properties),
                "additionalProperties": False,
            },
        },
    }
