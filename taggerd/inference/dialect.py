"""Dialects: which fields of a chat request one model at one endpoint accepts.

There is one API and a dozen readings of it. The first request has the fields that most servers
accept; what is refused is left out, one thing at a time, and what then passes is remembered.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from taggerd.inference.questions import response_format

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taggerd.inference.profiles import Wants
    from taggerd.inference.questions import Question

THINKING_TOKENS = 2048
"""Added to the limit where a model cannot be kept from thinking."""
_CALM, _LIVELY = 0.2, 0.7
"""Temperatures of the first and of the repeated request, which should end differently."""

_JSON_NAMES = re.compile(
    r"response_format|json_schema|json_object|json mode|guided|grammar|structured", re.IGNORECASE
)
_THINKING_NAMES = re.compile(
    r"reasoning|chat_template_kwargs|enable_thinking|\bthink", re.IGNORECASE
)
_TEMPERATURE_NAMES = re.compile(r"temperature", re.IGNORECASE)
_TOP_P_NAMES = re.compile(r"top_p", re.IGNORECASE)
_SYSTEM_NAMES = re.compile(
    r"system (?:role|message|prompt)|role.{0,20}system|roles must alternate", re.IGNORECASE
)
_TOKEN_NAMES = re.compile(r"max_(?:completion_)?tokens", re.IGNORECASE)
_TOO_LONG = re.compile(r"too large|context|exceed", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Dialect:
    """What one model at one endpoint accepts."""

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")

    json: Literal["schema", "object", "none"] = "schema"
    """The strictest ``response_format`` that is accepted."""
    temperature: bool = True
    top_p: bool = True
    """Sent only where the settings have one."""
    tokens: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    system: Literal["message", "inline"] = "message"
    """Some chat templates have no system role: its text then precedes the prompt."""
    thinking: Literal["unasked", "effort", "template", "allowed"] = "unasked"
    """How a model is kept from thinking; ``allowed``: nothing helps, so it gets more tokens."""
    combined: bool = True
    """Whether it answers combined questions."""

    def __str__(self) -> str:
        """Describe how it differs from the usual form."""
        formats = {
            "object": "response_format json_object",
            "none": "no response_format",
        }
        parts = [formats[self.json]] if self.json in formats else []
        parts += [] if self.temperature else ["no temperature"]
        parts += [] if self.top_p else ["no top_p"]
        parts += [] if self.tokens == "max_tokens" else [self.tokens]
        parts += [] if self.system == "message" else ["no system message"]
        parts += {
            "unasked": [],
            "effort": ["reasoning_effort none"],
            "template": ["enable_thinking false"],
            "allowed": ["room to think"],
        }[self.thinking]
        parts += [] if self.combined else ["one question at a time"]
        return ", ".join(parts) or "the usual form"

    def without_refused(
        self, message: str, wants: Wants, *, guess: bool, top_p: bool = False
    ) -> Dialect | None:
        """Return the dialect to try after a refusal; None if nothing can be left out.

        Args:
            message: the server's words; a field that they name is left out first.
            wants: the kind of answer that the refused request asked for.
            guess: leave something out even if the message names nothing.
            top_p: the refused request had that field.
        """
        steps = list(self._steps(wants, top_p=top_p))
        for names, simpler in steps:
            if names.search(message) and not (names is _TOKEN_NAMES and _TOO_LONG.search(message)):
                return simpler
        # Never guess at the limit: a server that ignores the other field would have none.
        guesses = (simpler for names, simpler in steps if names is not _TOKEN_NAMES)
        return next(guesses, None) if guess else None

    def _steps(self, wants: Wants, *, top_p: bool) -> Iterator[tuple[re.Pattern[str], Dialect]]:
        """Yield what can be left out, the most often refused first, with its names in messages."""
        if wants == "keywords" and self.json != "none":
            yield _JSON_NAMES, replace(self, json="object" if self.json == "schema" else "none")
        if self.thinking == "effort":
            yield _THINKING_NAMES, replace(self, thinking="template")
        if self.thinking == "template":
            yield _THINKING_NAMES, replace(self, thinking="allowed")
        if top_p and self.top_p:  # before the temperature, which its refusals name as well
            yield _TOP_P_NAMES, replace(self, top_p=False)
        if self.temperature:
            yield _TEMPERATURE_NAMES, replace(self, temperature=False)
        if self.tokens == "max_tokens":
            yield _TOKEN_NAMES, replace(self, tokens="max_completion_tokens")
        if self.system == "message":
            yield _SYSTEM_NAMES, replace(self, system="inline")

    def refused_again(self, message: str) -> bool:
        """Return whether a refusal names what was learnt: the server accepts another form now."""
        learnt = (
            (_TOKEN_NAMES, self.tokens != "max_tokens" and not _TOO_LONG.search(message)),
            (_JSON_NAMES, self.json != "schema"),
            (_THINKING_NAMES, self.thinking not in {"unasked", "allowed"}),
            (_SYSTEM_NAMES, self.system != "message"),
        )
        return any(differs and names.search(message) for names, differs in learnt)

    def thinking_less(self) -> Dialect:
        """Return the dialect to use after the model thought anyway."""
        if self.thinking == "unasked":
            return replace(self, thinking="effort")
        return replace(self, thinking="template" if self.thinking == "effort" else "allowed")

    def to_json(self) -> dict[str, str | bool]:
        """Return the fields that :meth:`of_json` reads."""
        return asdict(self)

    @classmethod
    def of_json(cls, value: object) -> Dialect | None:
        """Read what :meth:`to_json` made; None if another version made it."""
        try:
            read = _STORED.validate_python(value)
        except ValidationError:
            return None
        return read if value == read.to_json() else None

    def merged(self, before: Dialect, after: Dialect) -> Dialect:
        """Return this dialect with what changed from *before* to *after*.

        Requests in flight at once each learn something; none may undo what another learnt.
        """
        changed = {k: v for k, v in asdict(after).items() if v != getattr(before, k)}
        return replace(self, **changed)


_STORED = TypeAdapter(Dialect)


def encoded(jpeg: bytes) -> bytes:
    """Return a JPEG in base64, once for all the questions about it."""
    return b64encode(jpeg)


def body(
    question: Question, image: bytes | None, dialect: Dialect, *, again: bool = False
) -> bytes:
    """Return the bytes of a chat request: model, system, image, then what differs.

    Up to and including the image, the bytes are the same for every question of one model about one
    photo, so that a backend with prefix caching reads the image once.

    Args:
        question: what is asked.
        image: a JPEG in base64 (:func:`encoded`), or None.
        dialect: what the model accepts.
        again: it is repeated, because the first answer could not be used.
    """
    inline = dialect.system == "inline" and question.system
    prompt = f"{question.system}\n\n{question.text}" if inline else question.text
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
    """Return the fields after the messages, each with a comma before it."""
    limit = question.max_tokens * (2 if again else 1)
    fields: dict[str, object] = {
        dialect.tokens: limit + (THINKING_TOKENS if dialect.thinking == "allowed" else 0)
    }
    if dialect.temperature:
        usual = _CALM if question.temperature is None else question.temperature
        fields["temperature"] = max(usual, _LIVELY) if again else usual
    if dialect.top_p and question.top_p is not None:
        fields["top_p"] = question.top_p
    if question.wants == "keywords" and dialect.json != "none":
        schema = dialect.json == "schema"
        fields["response_format"] = response_format(question) if schema else {"type": "json_object"}
    if dialect.thinking == "effort":
        fields["reasoning_effort"] = "none"
    elif dialect.thinking == "template":
        fields["chat_template_kwargs"] = {"enable_thinking": False}
    return b"," + json.dumps(fields, separators=(",", ":")).encode()[1:-1]


@lru_cache(maxsize=64)
def _json(text: str) -> bytes:
    """Return *text* as JSON in ASCII; each photo needs that of the same prompts."""
    return json.dumps(text).encode()
