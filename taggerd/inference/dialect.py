"""Dialects: which of the fields of a chat request one model at one endpoint accepts.

There is one API and a dozen readings of it. The first request uses what most servers take; what is
refused is given up, one thing at a time, and what then passes is kept.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taggerd.inference.profiles import Wants
    from taggerd.inference.questions import Question

THINKING_TOKENS = 2048
"""Added to the limit where a model cannot be kept from thinking."""
_CALM, _LIVELY = 0.2, 0.7
"""Temperatures of the first and of the second asking, which is meant to end otherwise."""

_JSON_NAMES = re.compile(
    r"response_format|json_schema|json_object|json mode|guided|grammar|structured", re.IGNORECASE
)
_THINKING_NAMES = re.compile(
    r"reasoning|chat_template_kwargs|enable_thinking|\bthink", re.IGNORECASE
)
_TEMPERATURE_NAMES = re.compile(r"temperature", re.IGNORECASE)
_SYSTEM_NAMES = re.compile(
    r"system (?:role|message|prompt)|role.{0,20}system|roles must alternate", re.IGNORECASE
)
_TOKEN_NAMES = re.compile(r"max_(?:completion_)?tokens", re.IGNORECASE)
_TOO_LONG = re.compile(r"too large|context|exceed", re.IGNORECASE)

_KEYWORDS_SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "keywords",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"keywords": {"type": "array", "items": {"type": "string"}}},
            "required": ["keywords"],
            "additionalProperties": False,
        },
    },
}


@dataclass(frozen=True, slots=True)
class Dialect:
    """What one model at one endpoint accepts, as far as is known."""

    json: Literal["schema", "object", "none"] = "schema"
    """The strictest ``response_format`` that is taken."""
    temperature: bool = True
    tokens: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    system: Literal["message", "inline"] = "message"
    """Some chat templates know no system role: its text then goes before the prompt."""
    thinking: Literal["unasked", "effort", "template", "allowed"] = "unasked"
    """How a model that thinks is asked not to; ``allowed``: nothing helps, so it gets room."""

    def __str__(self) -> str:
        """Say what differs from the usual form."""
        said = {
            "object": "response_format json_object",
            "none": "no response_format",
        }
        parts = [said[self.json]] if self.json in said else []
        parts += [] if self.temperature else ["no temperature"]
        parts += [] if self.tokens == "max_tokens" else [self.tokens]
        parts += [] if self.system == "message" else ["no system message"]
        parts += {
            "unasked": [],
            "effort": ["reasoning_effort none"],
            "template": ["enable_thinking false"],
            "allowed": ["room to think"],
        }[self.thinking]
        return ", ".join(parts) or "the usual form"

    def given_up(self, message: str, wants: Wants, *, guess: bool) -> Dialect | None:
        """Return the dialect to try after a refusal; None if nothing is left to give up.

        Args:
            message: the server's own words; a field that they name is given up first.
            wants: what kind of answer the refused request asked for.
            guess: give something up even if the message names nothing.
        """
        steps = list(self._steps(wants))
        for names, simpler in steps:
            if names.search(message) and not (names is _TOKEN_NAMES and _TOO_LONG.search(message)):
                return simpler
        # A limit is never given up on a guess: a server that ignores the other field has none.
        guesses = (simpler for names, simpler in steps if names is not _TOKEN_NAMES)
        return next(guesses, None) if guess else None

    def _steps(self, wants: Wants) -> Iterator[tuple[re.Pattern[str], Dialect]]:
        """Yield what can be given up, the most often refused first, with the names it goes by."""
        if wants == "keywords" and self.json != "none":
            yield _JSON_NAMES, replace(self, json="object" if self.json == "schema" else "none")
        if self.thinking == "effort":
            yield _THINKING_NAMES, replace(self, thinking="template")
        if self.thinking == "template":
            yield _THINKING_NAMES, replace(self, thinking="allowed")
        if self.temperature:
            yield _TEMPERATURE_NAMES, replace(self, temperature=False)
        if self.tokens == "max_tokens":
            yield _TOKEN_NAMES, replace(self, tokens="max_completion_tokens")
        if self.system == "message":
            yield _SYSTEM_NAMES, replace(self, system="inline")

    def refused_again(self, message: str) -> bool:
        """Say whether a refusal names what was learnt: the server takes another form by now."""
        learnt = (
            (_TOKEN_NAMES, self.tokens != "max_tokens" and not _TOO_LONG.search(message)),
            (_JSON_NAMES, self.json != "schema"),
            (_THINKING_NAMES, self.thinking not in {"unasked", "allowed"}),
            (_SYSTEM_NAMES, self.system != "message"),
        )
        return any(differs and names.search(message) for names, differs in learnt)

    def hushed(self) -> Dialect:
        """Return the dialect to use after the model thought all the same."""
        if self.thinking == "unasked":
            return replace(self, thinking="effort")
        return replace(self, thinking="template" if self.thinking == "effort" else "allowed")

    def to_json(self) -> dict[str, str | bool]:
        """Return the fields that :meth:`of_json` reads."""
        return asdict(self)

    @classmethod
    def of_json(cls, value: object) -> Dialect | None:
        """Read what :meth:`to_json` made; None if it is another version's."""
        if not isinstance(value, dict) or value.keys() != _VALUES.keys():
            return None
        return cls(**value) if all(value[name] in _VALUES[name] for name in value) else None

    def merged(self, before: Dialect, after: Dialect) -> Dialect:
        """Return this dialect with what changed from *before* to *after*.

        Requests that run at once each learn something; none may unlearn another's lesson.
        """
        changed = {
            name: new
            for name in ("json", "temperature", "tokens", "system", "thinking")
            if (new := getattr(after, name)) != getattr(before, name)
        }
        return replace(self, **changed)


_VALUES: dict[str, tuple[str | bool, ...]] = {
    "json": ("schema", "object", "none"),
    "temperature": (True, False),
    "tokens": ("max_tokens", "max_completion_tokens"),
    "system": ("message", "inline"),
    "thinking": ("unasked", "effort", "template", "allowed"),
}
"""What each field of a :class:`Dialect` may be."""


def encoded(jpeg: bytes) -> bytes:
    """Return a JPEG in base64, once for all the questions about it."""
    return b64encode(jpeg)


def body(
    question: Question, image: bytes | None, dialect: Dialect, *, again: bool = False
) -> bytes:
    """Return the bytes of a chat request: model, system, image, then all that differs.

    The bytes up to and with the image are the same for every question of one model about one
    photo, so that a backend with prefix caching reads the image once.

    Args:
        question: what is asked.
        image: a JPEG in base64 (:func:`encoded`), or None.
        dialect: what the model accepts.
        again: the same was asked before and the answer could not be used.
    """
    inline = dialect.system == "inline" and question.system
    prompt = f"{question.system}\n\n{question.prompt}" if inline else question.prompt
    parts = [b'{"model":', _json(question.model), b',"messages":[']
    if question.system and not inline:
        parts += [b'{"role":"system","content":', _json(question.system), b"},"]
    parts.append(b'{"role":"user","content":')
    if image is None:
        parts.append(_json(prompt))
    else:
        parts += [
            b'[{"type":"image_url","image_url":{"url":"data:image/jpeg;base64,',
            image,
            b'"}},{"type":"text","text":',
            _json(prompt),
            b"}]",
        ]
    parts += [b"}]", _options(question, dialect, again=again), b"}"]
    return b"".join(parts)


def _options(question: Question, dialect: Dialect, *, again: bool) -> bytes:
    """Return the fields after the messages, each with its comma before it."""
    room = question.max_tokens * (2 if again else 1)
    fields: dict[str, object] = {
        dialect.tokens: room + (THINKING_TOKENS if dialect.thinking == "allowed" else 0)
    }
    if dialect.temperature:
        fields["temperature"] = _LIVELY if again else _CALM
    if question.wants == "keywords" and dialect.json != "none":
        schema = dialect.json == "schema"
        fields["response_format"] = _KEYWORDS_SCHEMA if schema else {"type": "json_object"}
    if dialect.thinking == "effort":
        fields["reasoning_effort"] = "none"
    elif dialect.thinking == "template":
        fields["chat_template_kwargs"] = {"enable_thinking": False}
    return b"".join(b"," + _json(name) + b":" + _json(value) for name, value in fields.items())


def _json(value: object) -> bytes:
    """Return *value* as compact JSON in ASCII."""
    return json.dumps(value, separators=(",", ":")).encode()
