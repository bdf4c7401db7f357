"""A completion: what a chat request came back with, before anybody asks whether it is any good."""

from __future__ import annotations

from dataclasses import dataclass

THINKING_MARKS = ("<think", "</think", "<|channel|>analysis", "◁think▷")
"""Beginnings of a thought that a server left inside the content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One choice of a chat completion."""

    content: str
    """The message's content and nothing else: never its reasoning."""
    finish_reason: str = ""
    refusal: str = ""
    """The refusal field, where the server has one and filled it."""
    thought: bool = False
    """Whether the model thought before it spoke."""
    model: str = ""
    """The model that says it answered."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0


def read_completion(body: object, seconds: float = 0.0) -> Completion | None:
    """Take the first choice out of the JSON *body* of a reply; None if it is no completion.

    A list of choices that is empty is a completion without content.
    """
    if not isinstance(body, dict) or not isinstance(choices := body.get("choices"), list):
        return None
    choice = choices[0] if choices else {"message": {}}
    if not isinstance(choice, dict) or not isinstance(message := choice.get("message"), dict):
        return None
    content = _text(message.get("content"))
    reasoning = _text(message.get("reasoning_content")) or _text(message.get("reasoning"))
    usage = body.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    return Completion(
        content=content,
        finish_reason=_text(choice.get("finish_reason")),
        refusal=_text(message.get("refusal")),
        thought=bool(reasoning.strip()) or any(mark in content for mark in THINKING_MARKS),
        model=_text(body.get("model")),
        prompt_tokens=_count(counts.get("prompt_tokens")),
        completion_tokens=_count(counts.get("completion_tokens")),
        seconds=seconds,
    )


def _text(value: object) -> str:
    """Return a text, or the joined texts of a list of content parts, or nothing."""
    if isinstance(value, list):
        texts = (part.get("text") for part in value if isinstance(part, dict))
        return "".join(text for text in texts if isinstance(text, str))
    return value if isinstance(value, str) else ""


def _count(value: object) -> int:
    """Return a number of tokens, 0 for anything else."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and 0 <= value < 2**40 else 0  # type: ignore[operator, return-value]
