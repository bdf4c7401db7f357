"""Combining: several roles asked in one request, as one JSON object with a key for each."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from taggerd.errors import AnswerError
from taggerd.inference.answers import answer_of, read_answer
from taggerd.inference.wrapping import bare, find_json, unthought

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from taggerd.inference.completion import Completion
    from taggerd.inference.questions import Question
    from taggerd.photo import Answer

log = structlog.get_logger(__name__)

FAILURES = 2
"""So many answers in a row without all keys, and a model is asked role by role from then on."""
_ROLE = "combined"


def combined(parts: Sequence[Question]) -> Question:
    """Return one question for all *parts*, which are of one model and one system text."""
    kinds = {"text": "a text", "keywords": "a list of texts"}
    keys = "\n".join(f'"{p.role}", {kinds[p.wants]}: {p.task or p.prompt}' for p in parts)
    first = parts[0]
    prompt = f"Answer with one JSON object and nothing else. It has these keys:\n{keys}"
    return replace(
        first,
        role=_ROLE,
        prompt=prompt,
        task="",
        offered="",
        max_tokens=sum(part.max_tokens for part in parts),
        wants="keywords",  # of the two kinds it is the one that is asked for as JSON
        parts=tuple(parts),
    )


def groups(questions: Iterable[Question]) -> list[list[Question]]:
    """Return the *questions* that can be asked together: two and more of one model."""
    by_model: dict[tuple[str, str, str], list[Question]] = {}
    for question in questions:
        key = (question.model, question.system, question.hints)
        by_model.setdefault(key, []).append(question)
    return [group for group in by_model.values() if len(group) > 1]


def schema(question: Question) -> dict[str, object]:
    """Return the ``response_format`` for what *question* asks, as strict as can be said."""
    wants = {part.role: part.wants for part in question.parts} or {"keywords": "keywords"}
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


def parted(asked: Question, completion: Completion) -> dict[str, Completion]:
    """Return what *completion* says to each part of *asked*, by role; a missing key is not there.

    Tokens and time are shared out: what was read evenly, what was written by its length.
    """
    found = find_json(bare(unthought(completion.content)))
    said = {k.casefold().strip(): v for k, v in found.items()} if isinstance(found, dict) else {}
    texts: dict[str, str] = {}
    for part in asked.parts:
        if (value := said.get(part.role)) not in (None, "", [], {}):
            whole = {"keywords": value} if part.wants == "keywords" else value
            texts[part.role] = whole if isinstance(whole, str) else json.dumps(whole)
    return _shared_out(texts, completion)


def answers_in(
    group: Sequence[Question], asked: Question, came: Mapping[str, Completion]
) -> list[Answer]:
    """Return the answers of *came* that can be used.

    Args:
        group: the questions as they were put, whose identities the answers get.
        asked: what was asked of them together.
        came: what :func:`parted` found.
    """
    answers: list[Answer] = []
    for question, part in zip(group, asked.parts, strict=True):
        try:
            if part.role in came:
                spent = [came[part.role]]
                answer = answer_of(part, read_answer(part, spent[0]), spent, question.identity)
                answers.append(replace(answer, requests=0 if answers else 1))
        except AnswerError as error:
            log.info("asked again", reason=str(error))
    return answers


def _shared_out(texts: Mapping[str, str], completion: Completion) -> dict[str, Completion]:
    """Give each text its share of what the whole cost; the shares add up to it."""
    whole = length = sum(map(len, texts.values()))
    read, written = completion.prompt_tokens, completion.completion_tokens
    shares: dict[str, Completion] = {}
    for left, (role, text) in zip(range(len(texts), 0, -1), texts.items(), strict=True):
        shares[role] = replace(
            completion,
            content=text,
            finish_reason="stop",
            refusal="",
            thought=False,
            prompt_tokens=read // left,
            completion_tokens=written * len(text) // length,
            seconds=completion.seconds * len(text) / whole,
        )
        read -= shares[role].prompt_tokens
        written -= shares[role].completion_tokens
        length -= len(text)
    return shares
