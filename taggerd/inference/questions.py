"""Questions: what is asked of a model about one photo."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from taggerd.errors import ConfigurationError
from taggerd.inference.languages import sentence
from taggerd.inference.profiles import ROLES
from taggerd.settings import placeholders

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from taggerd import settings
    from taggerd.inference.profiles import Profile, Wants

HINTS = (
    "Hints from the file, perhaps wrong: {}. "
    "Use a hint only where the picture agrees with it, and invent nothing from it."
)
"""What is said around the context of a photo. No word of it may look like a task."""
_HINT_NAMES = {"place": "place", "date": "date", "folder": "folder", "keywords": "labels"}
PLACES = ("place", "date", "folder")
"""Context that a prompt of the user's own may have in its places."""
_OWN_MAX_TOKENS = 400
"""Longest answer to a question of the user's own, where nobody says another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One role's question, ready to be asked of any photo, or once it is :meth:`ready`."""

    role: str
    model: str
    """Model to ask; empty: the backend's default."""
    system: str
    prompt: str
    """In a question of the user's own, places in braces are still to be filled."""
    max_tokens: int
    """Longest answer, tokens."""
    wants: Wants
    task: str = ""
    """The prompt without what it says of the answer's form; empty: the prompt is without."""
    offered: str = ""
    """The part of the prompt whose words an answer may well repeat: the user's own vocabulary."""
    language: str = ""
    """Of the answer, BCP 47; empty: not said."""
    longest: int = 0
    """Characters; a longer answer is cut. 0: as usual for the role."""
    own: bool = False
    """Whether it is the user's own, and has places to be filled."""
    unfilled: str = ""
    """The prompt's own words, where others were put into it."""
    hints: str = ""
    """What is told of this photo; no part of the question's identity."""
    parts: tuple[Question, ...] = ()
    """The questions that this one asks together."""

    @property
    def text(self) -> str:
        """What is said after the picture."""
        return f"{HINTS.format(self.hints)}\n\n{self.prompt}" if self.hints else self.prompt

    @property
    def places(self) -> tuple[str, ...]:
        """The names of what is to be put into the prompt."""
        return placeholders.names(self.prompt) if self.own and not self.unfilled else ()

    @property
    def identity(self) -> str:
        """BLAKE2b-128 over role, model and texts, 32 hex digits.

        Two questions of one identity have interchangeable answers; the token limit does not
        change what is asked, and neither do hints: the same bytes are asked about once, wherever
        they lie. What was put into a prompt of the user's own does.
        """
        asked = json.dumps([self.role, self.model, self.system, self.prompt, self.wants])
        return hashlib.blake2b(asked.encode(), digest_size=16).hexdigest()

    def waits_for(self, roles: Iterable[str]) -> frozenset[str]:
        """Return those of *roles* whose answers are put into the prompt."""
        return frozenset(self.places) & frozenset(roles)

    def ready(self, answers: Mapping[str, str], context: Mapping[str, str]) -> Question:
        """Return the question as it is asked of one photo.

        Args:
            answers: the earlier answers as text, by role.
            context: what may be told of the photo: place, date, folder, keywords.
        """
        places = self.places
        prompt, task = self.prompt, self.task
        unfilled = ""
        if self.own and not self.unfilled:
            words = {**dict.fromkeys(PLACES, "unknown"), **context, **answers}
            prompt, task = (placeholders.fill(text, words) for text in (self.prompt, self.task))
            unfilled = placeholders.fill(self.prompt, {}) if places else ""
        told = [f"{_HINT_NAMES[name]}: {said}" for name, said in context.items()]
        hints = "" if set(places) & set(PLACES) else "; ".join(told)
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
) -> tuple[Question, ...]:
    """Return the questions about every photo, in the order in which they are asked.

    Args:
        roles: the settings' tables; what they give wins over the profile and the registry.
        profile: the prompt profile.
        default_model: for roles without a model of their own.
        max_keywords: fills ``{max_keywords}`` in a prompt.
        resolved_models: model per role from the registry; roles that it lacks take the default.
        language: of the answers, BCP 47; empty: the prompts' own.
        offered: a sentence that names the user's vocabulary; for keywords.
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
        words = offered if wants == "keywords" else ""
        own = roles.own.get(name)
        if own is None:
            # Not filled as the user's own are: these prompts hold JSON, whose braces are no places.
            prompt, task = (t.replace("{max_keywords}", str(max_keywords)) for t in (prompt, task))
        more = [text for text in (words, sentence(language)) if text]
        asked.append(
            Question(
                role=name,
                model=table.model or resolved.get(name, "") or default_model,
                system=profile.system,
                prompt=" ".join([prompt.strip(), *more]),
                task=" ".join([task.strip(), *more]) if task else "",
                max_tokens=table.max_tokens or (given.max_tokens if given else _OWN_MAX_TOKENS),
                wants=wants,
                offered=words,
                language=language,
                longest=own.max_characters if own else 0,
                own=own is not None,
            )
        )
    return tuple(asked)


def check_own(
    roles: settings.Roles,
    profile: Profile,
    context: Sequence[str],
    fields: settings.Fields,
) -> None:
    """Refuse roles of the user's own that cannot be asked, or whose answers have no place.

    Args:
        roles: the settings' tables.
        profile: the prompt profile; it may have the prompts.
        context: what may be told of a photo.
        fields: where the other answers go.

    Raises:
        ConfigurationError: one line.
    """
    taken = dict.fromkeys(fields.caption, "metadata.fields.caption")
    taken |= dict.fromkeys(fields.description, "metadata.fields.description")
    known = list(ROLES)
    for name, role in roles.own.items():
        given = profile.roles.get(name)
        prompt = role.prompt or (given.whole if given else "")
        where = f"roles.{name}.prompt"
        if not prompt.strip():
            message = f"{where}: there is none, nor has the prompt profile {profile.name!r} one"
            raise ConfigurationError(message)
        hints = [word for word in PLACES if word in context]
        _check_context(prompt, hints, where)
        placeholders.check(prompt, (*known, *hints), where)
        for field in role.fields:
            if field in taken:
                message = f"roles.{name}.fields: {field} is in {taken[field]} already: keep one"
                raise ConfigurationError(message)
            taken[field] = f"roles.{name}.fields"
        known.append(name)


def _check_context(prompt: str, hints: Sequence[str], where: str) -> None:
    """Refuse a prompt with a place for what may not be told; braces are checked elsewhere."""
    for word in PLACES:
        if word not in hints and f"{{{word}}}" in prompt.replace("{{", ""):
            message = f"{where}: {{{word}}} is not told: add {word!r} to prompts.context"
            raise ConfigurationError(message)


def offer(vocabulary: Sequence[str], mode: settings.VocabularyMode) -> str:
    """Return the sentence that names the user's own words for keywords; empty without any."""
    if not vocabulary:
        return ""
    words = ", ".join(vocabulary)
    if mode == "only":
        return f"Choose only from these words, as they are spelled here: {words}."
    return f"Where one of these words fits, take it as it is spelled here: {words}."
