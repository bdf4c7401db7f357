"""Questions: what is asked of a model about one photo."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from taggerd.inference.languages import sentence
from taggerd.inference.profiles import ROLES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from taggerd import settings
    from taggerd.inference.profiles import Profile, Wants


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One role's question, ready to be asked of any photo."""

    role: str
    model: str
    """Model to ask; empty: the backend's default."""
    system: str
    prompt: str
    max_tokens: int
    """Longest answer, tokens."""
    wants: Wants
    offered: str = ""
    """The part of the prompt whose words an answer may well repeat: the user's own vocabulary."""
    language: str = ""
    """Of the answer, BCP 47; empty: not said."""

    @property
    def identity(self) -> str:
        """BLAKE2b-128 over role, model and texts, 32 hex digits.

        Two questions of one identity have interchangeable answers; the token limit does not
        change what is asked.
        """
        asked = json.dumps([self.role, self.model, self.system, self.prompt, self.wants])
        return hashlib.blake2b(asked.encode(), digest_size=16).hexdigest()


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
    for name in ROLES:
        own = getattr(roles, name)
        given = profile.roles[name]
        # Not str.format: prompts hold JSON, whose braces are not placeholders.
        prompt = (own.prompt or given.prompt).replace("{max_keywords}", str(max_keywords)).strip()
        words = offered if given.wants == "keywords" else ""
        asked.append(
            Question(
                role=name,
                model=own.model or resolved.get(name, "") or default_model,
                system=profile.system,
                prompt=" ".join(filter(None, (prompt, words, sentence(language)))),
                max_tokens=own.max_tokens or given.max_tokens,
                wants=given.wants,
                offered=words,
                language=language,
            )
        )
    return tuple(asked)


def offer(vocabulary: Sequence[str], mode: settings.VocabularyMode) -> str:
    """Return the sentence that names the user's own words for keywords; empty without any."""
    if not vocabulary:
        return ""
    words = ", ".join(vocabulary)
    if mode == "only":
        return f"Choose only from these words, as they are spelled here: {words}."
    return f"Where one of these words fits, take it as it is spelled here: {words}."
