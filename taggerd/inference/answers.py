"""Answers: from what a model said to what may be written into a photo.

What a model wraps around an answer is removed (:mod:`taggerd.inference.completion`); what is not an
answer at all is rejected, with the reason. No request is sent from here.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from taggerd.errors import AnswerCut, AnswerEmpty, AnswerError, AnswerNotJson, AnswerRejected
from taggerd.inference.completion import (
    find_json,
    one_line,
    quoted,
    unfenced,
    unlabelled,
    visible,
    without_thoughts,
)
from taggerd.inference.keyword_forms import keywords_in_json, keywords_in_prose
from taggerd.inference.languages import english_name, wrong_script
from taggerd.inference.profiles import ROLES
from taggerd.inference.questions import HINTS
from taggerd.logs import get_logger
from taggerd.photo import Answer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from taggerd.inference.completion import Completion
    from taggerd.inference.questions import Question
    from taggerd.photo import Keyword

log = get_logger(__name__)

LONGEST_TEXT = {"caption": 300}
"""Characters of a cleaned text, by role."""
LONGEST_TEXT_ELSE = 2000

_ECHO_WORDS = 6
"""So many words in a row out of the prompt are an echo."""
_CHOICE_WORDS = 4
"""So many words in the prompt of a role of the user's own may be an answer it offers."""
_ECHO_KEYWORDS = 4
"""Of so many keywords and more, two thirds out of the prompt are an echo."""
_QUOTED = re.compile(r"\"[^\"\n]*\"|“[^”\n]*”|«[^»\n]*»")
_CONTROL = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffd]"
    r"|\\u00(?:0[0-8bcef]|1[0-9a-f]|7f)|\\ufffd",
    re.IGNORECASE,
)
"""Control characters except white space, and the replacement character, also as JSON escapes."""
_LOOP_WORDS = 8
"""The same word so often in a row means that the model is stuck."""

_APOSTROPHE = "['\N{RIGHT SINGLE QUOTATION MARK}]"
_REFUSAL = re.compile(
    r"""^\W*(?:
        (?:i{apostrophe}?m|i\ am)\ (?:very\ |so\ |really\ )?(?:sorry|afraid|unable|not\ able)
      | sorry\b | unfortunately\b | (?:i|my)\ apolog
      | (?:as|i{apostrophe}?m|i\ am)\ an?\ (?:ai|artificial|language|text)\b
      | i\ (?:(?:can|don|couldn|won){apostrophe}t|cannot|can\ not|do\ not)\ (?:\w+\ )?
          (?:see|view|assist|help|provide|describe|identify|process|access|analy|have|generate)
      | (?:there\ is\ )?no\ (?:image|picture|photo)s?\ (?:was|is|has|provided|attached|given)
      | please\ (?:provide|upload|share|attach|send)\b
    )""".replace("{apostrophe}", _APOSTROPHE),
    re.IGNORECASE | re.VERBOSE,
)
_COORDINATE_LETTERS = re.compile(r"(?<=[\d°'\"″.\s])[NSEWO](?=[\s,;.\d]|$)|\b(?i:lat|lon|long)\b")
_TEXT_KEYS = ("caption", "description", "text", "title", "answer", "response", "content", "output")
_JSON_BEGINS = re.compile(r'\{\s*"|\[\s*["{]')
_MEMBER = re.compile(r'"(\w+)"\s*:\s*"((?:[^"\\\n]|\\.)*)"')
_WORDS = re.compile(r"\w+")


def read_answer(question: Question, completion: Completion) -> tuple[str, tuple[Keyword, ...]]:
    """Return the cleaned text, or the keywords, that *completion* holds for *question*.

    Raises:
        AnswerCut: the token limit came before the end.
        AnswerEmpty: there is nothing but the model's thoughts.
        AnswerNotJson: keywords were asked for, and this is not a list in any form.
        AnswerRejected: a refusal, an echo of the prompt, only numbers, one word repeated.
    """
    who = f"{question.role}: model {quoted(question.model or completion.model, 80)}"
    raw = completion.content
    if completion.refusal.strip() and not raw.strip():
        raise _rejected(who, "the model refused", completion.refusal, completion.refusal)
    if completion.finish_reason == "length":
        when = " while still thinking" if completion.thought else ""
        message = f"{who} was cut at its token limit{when}; raise roles.{question.role}.max_tokens"
        raise AnswerCut(message, raw=raw)
    unwrapped = without_thoughts(raw)
    answer = unfenced(unwrapped)
    if not answer:
        only = " but its thoughts" if completion.thought else ""
        message = f"{who} answered nothing{only}"
        raise AnswerEmpty(message, raw=raw)
    if _CONTROL.search(unwrapped):
        raise _rejected(who, "it contains control characters", unwrapped, raw)
    if question.wants == "keywords":
        return "", _keywords(question, answer, who, raw)
    return _text(question, answer, who, raw), ()


def _rejected(who: str, reason: str, shown: str, raw: str) -> AnswerRejected:
    """Return the error of an answer that must not be written, with what it says."""
    return AnswerRejected(f"{who}: rejected: {reason}: {quoted(shown)}", raw=raw)


def answer_of(
    question: Question,
    read: tuple[str, tuple[Keyword, ...]],
    spent: Sequence[Completion],
    identity: str,
) -> Answer:
    """Return the answer to *question*, read from the last of the *spent* completions.

    *identity* is the question's before it had a model.
    """
    text, keywords = read
    return Answer(
        role=question.role,
        question=identity,
        text=text,
        keywords=keywords,
        raw=spent[-1].content,
        model=spent[-1].model or question.model,
        prompt_tokens=sum(c.prompt_tokens for c in spent),
        completion_tokens=sum(c.completion_tokens for c in spent),
        seconds=sum(c.seconds for c in spent),
        requests=len(spent),
    )


def _text(question: Question, answer: str, who: str, raw: str) -> str:
    """Read a text answer, which may be in JSON: some models answer everything in JSON."""
    found = find_json(answer)
    if isinstance(found, list) and not answer.startswith("["):
        found = None  # brackets within a sentence belong to the sentence
    inner = _text_in_json(found, question.role)
    damaged = found is None and _JSON_BEGINS.match(answer) is not None
    if damaged:
        inner = _text_in_damaged_json(answer, question.role)
    if (isinstance(found, dict) or damaged) and inner is None:
        raise _rejected(who, "the JSON has no text", answer, raw)
    names = question.role, question.role.replace("_", " ")
    text = unlabelled(unfenced(inner) if inner is not None else answer, *names)
    limit = question.longest or LONGEST_TEXT.get(question.role, LONGEST_TEXT_ELSE)
    if question.role == "caption":
        text = text.split("\n", 1)[0]
    text = _shortened(one_line(visible(text)), limit)
    if not text:
        message = f"{who} answered nothing"
        raise AnswerEmpty(message, raw=raw)
    if reason := _why_rejected(text, question):
        raise _rejected(who, reason, text, raw)
    return text


def _text_in_json(found: object, role: str) -> str | None:
    """Return the text of a JSON answer under *role* or a similar key."""
    if isinstance(found, list):
        return found[0] if len(found) == 1 and isinstance(found[0], str) else None
    if not isinstance(found, dict):
        return None
    texts = {k.casefold(): v for k, v in found.items() if isinstance(v, str) and v.strip()}
    for key in (role.casefold(), *_TEXT_KEYS):
        if key in texts:
            return texts[key]
    return next(iter(texts.values())) if len(texts) == 1 else None


def _text_in_damaged_json(answer: str, role: str) -> str | None:
    """Return the text under *role* in JSON that begins well and is damaged later."""
    texts = {key.casefold(): text for key, text in _MEMBER.findall(answer)}
    text = next((texts[key] for key in (role.casefold(), *_TEXT_KEYS) if key in texts), None)
    return text.replace('\\"', '"') if text else None


def _keywords(question: Question, answer: str, who: str, raw: str) -> tuple[Keyword, ...]:
    """Read a list of keywords in any form."""
    found = find_json(answer)
    if found is None and _REFUSAL.search(answer):
        raise _rejected(who, "the model refused", answer, raw)
    given = keywords_in_json(found) if found is not None else keywords_in_prose(answer)
    if given is None:
        message = f"{who} was asked for JSON and answered: {quoted(answer)}"
        raise AnswerNotJson(message, raw=raw)
    if not given:
        message = f"{who} gave no keywords"
        raise AnswerEmpty(message, raw=raw)
    kept = tuple(k for k in given if _has_letters(k.word))
    own = tuple(k for k in kept if not _is_echo(k.word, question))
    reason = ""
    if 2 * len(kept) <= len(given):
        reason = "the keywords are only numbers or symbols"
    elif 2 * len(own) <= len(kept) or _are_echoes(own, question):
        reason = "it repeats the prompt"
    elif wrong_script(" ".join(k.word for k in own), question.language):
        reason = f"it is not in the script of {english_name(question.language)}"
    if reason:
        raise _rejected(who, reason, answer, raw)
    return own


def _why_rejected(text: str, question: Question) -> str:
    """Return why a text must not be written; empty if it may."""
    if _REFUSAL.search(text):
        return "the model refused"
    # A role of the user's own may ask for a count.
    if not (any(map(str.isalnum, text)) if question.role not in ROLES else _has_letters(text)):
        return "it is only numbers or symbols"
    if _echoes(text, question):
        return "it repeats the prompt"
    if _loops(text):
        return "it repeats one word"
    if wrong_script(text, question.language):
        return f"it is not in the script of {english_name(question.language)}"
    return ""


def _has_letters(text: str) -> bool:
    """Return whether *text* has letters other than those of coordinates."""
    letters = _COORDINATE_LETTERS.sub(" ", text) if any(c.isdigit() for c in text) else text
    return any(c.isalpha() for c in letters)


def _asked(question: Question, *, examples: bool = True) -> str:
    """Return the words of what was asked, without those that an answer may repeat."""
    prompt = question.unfilled or question.prompt
    if question.hints:
        prompt = f"{HINTS} {prompt}"
    if question.offered:
        prompt = prompt.replace(question.offered, " ")
    if not examples:
        prompt = _QUOTED.sub(" ", prompt)
    return f" {' '.join(_WORDS.findall(f'{question.system} {prompt}'.casefold()))} "


def _is_echo(word: str, question: Question) -> bool:
    """Return whether a keyword of several words is a piece of the prompt: "main colours".

    What is in quotes in a prompt is an example, which a model may take up.
    """
    words = _WORDS.findall(word.casefold())
    return len(words) > 1 and f" {' '.join(words)} " in _asked(question, examples=False)


def _are_echoes(keywords: Sequence[Keyword], question: Question) -> bool:
    """Return whether a list of keywords comes from the prompt and not from the picture."""
    split = [_WORDS.findall(k.word.casefold()) for k in keywords]
    if _echoes(" ".join(word for words in split for word in words), question):
        return True
    asked = frozenset(_asked(question).split())
    repeated = sum(asked.issuperset(words) for words in split)
    return len(split) >= _ECHO_KEYWORDS and 3 * repeated > 2 * len(split)


def _echoes(text: str, question: Question) -> bool:
    """Return whether *text* is a piece of what was asked, or has a long piece of it in it."""
    words = _WORDS.findall(text.casefold())
    asked = _asked(question)
    if len(words) < _ECHO_WORDS:
        # Short pieces are also how people write: "main subject" is an echo, "photo" a word.
        # A role of the user's own may name what to choose from: "in broad daylight, or at night?"
        shortest = 2 if question.role in ROLES else _CHOICE_WORDS
        return len(words) > shortest and f" {' '.join(words)} " in asked
    return any(
        f" {' '.join(words[i : i + _ECHO_WORDS])} " in asked
        for i in range(len(words) - _ECHO_WORDS + 1)
    )


def _loops(text: str) -> bool:
    """Return whether one word comes many times in a row."""
    words = _WORDS.findall(text.casefold())
    return any(
        len(set(words[i : i + _LOOP_WORDS])) == 1 for i in range(len(words) - _LOOP_WORDS + 1)
    )


def _shortened(text: str, limit: int) -> str:
    """Cut *text* to at most *limit* characters, after a sentence or else after a word."""
    if len(text) <= limit:
        return text
    head = text[:limit]
    ends = [m.end() for m in re.finditer(r"[.!?。！？](?=\s|$)", head)]  # noqa: RUF001 - CJK stops
    if ends:
        return head[: ends[-1]]
    return head.rsplit(" ", 1)[0]


# Answers to several questions at once.


def split_combined(asked: Question, completion: Completion) -> dict[str, Completion]:
    """Return what *completion* answers to each question that *asked* combines, by role.

    A role without an answer is left out. Each bears its share of the tokens and the time: of what
    was read an equal one, of what was written one by its length.
    """
    found = find_json(unfenced(without_thoughts(completion.content)))
    by_key = {k.casefold().strip(): v for k, v in found.items()} if isinstance(found, dict) else {}
    texts: dict[str, str] = {}
    for part in asked.combined:
        if (value := by_key.get(part.role)) not in (None, "", [], {}):
            whole = {"keywords": value} if part.wants == "keywords" else value
            texts[part.role] = whole if isinstance(whole, str) else json.dumps(whole)
    return _share_cost(texts, completion)


def read_combined(
    questions: Sequence[Question], asked: Question, completions: Mapping[str, Completion]
) -> list[Answer]:
    """Return those answers of *completions* that can be used.

    Args:
        questions: before they had a model: their identities go into the answers.
        asked: the one that combines them.
        completions: by role, from :func:`split_combined`.
    """
    answers: list[Answer] = []
    for question, part in zip(questions, asked.combined, strict=True):
        try:
            if part.role in completions:
                spent = [completions[part.role]]
                answer = answer_of(part, read_answer(part, spent[0]), spent, question.identity)
                answers.append(replace(answer, requests=0))
        except AnswerError as error:
            log.debug("asked again", reason=str(error))
    if answers:
        answers[-1] = replace(answers[-1], requests=1)
    return answers


def _share_cost(texts: Mapping[str, str], completion: Completion) -> dict[str, Completion]:
    """Give each text its share of what *completion* cost; the shares add up to it."""
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
