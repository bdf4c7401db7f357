"""Answers: from what a model said to what may be written into a photo.

Models wrap what was asked for: in thoughts, fences, labels, quotes, prose, JSON. What is wrapped is
unwrapped; what is not an answer at all is refused by name. Nothing here asks anybody anything.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from taggerd.errors import AnswerCut, AnswerEmpty, AnswerHeldBack, AnswerNotJson
from taggerd.inference.keyword_forms import keywords_in_json, keywords_in_prose
from taggerd.inference.languages import english_name, wrong_script
from taggerd.inference.profiles import ROLES
from taggerd.inference.questions import HINTS
from taggerd.inference.wrapping import (
    bare,
    find_json,
    one_line,
    say,
    unlabelled,
    unthought,
    visible,
)
from taggerd.photo import Answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taggerd.inference.completion import Completion
    from taggerd.inference.questions import Question
    from taggerd.photo import Keyword

LONGEST_CONTENT = 65536
"""Characters of an answer that are looked at; a model that says more has lost its way."""
LONGEST_TEXT = {"caption": 300}
"""Characters of a cleaned text, by role."""
LONGEST_TEXT_ELSE = 2000

_ECHO_WORDS = 6
"""This many words in a row out of the prompt are an echo."""
_CHOICE_WORDS = 4
"""So many words a role of the user's own may offer as an answer in its prompt."""
_PARROTED = 4
"""Of this many keywords and more, two thirds out of the prompt are an echo."""
_QUOTED = re.compile(r"\"[^\"\n]*\"|“[^”\n]*”|«[^»\n]*»")
_CONTROL = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffd]"
    r"|\\u00(?:0[0-8bcef]|1[0-9a-f]|7f)|\\ufffd",
    re.IGNORECASE,
)
"""Controls but for white space, and the sign that stands for bytes which are no text; JSON spells
them out."""
_LOOP_WORDS = 8
"""The same word this often in a row is a model that is stuck."""

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
_SAYS_TEXT = ("caption", "description", "text", "title", "answer", "response", "content", "output")
_JSON_BEGINS = re.compile(r'\{\s*"|\[\s*["{]')
_MEMBER = re.compile(r'"(\w+)"\s*:\s*"((?:[^"\\\n]|\\.)*)"')
_WORDS = re.compile(r"\w+")


def read_answer(question: Question, completion: Completion) -> tuple[str, tuple[Keyword, ...]]:
    """Return the cleaned text, or the keywords, that *completion* holds for *question*.

    Raises:
        AnswerCut: the token limit came before the end.
        AnswerEmpty: nothing was said outside the model's thoughts.
        AnswerNotJson: keywords were asked for, and this is not a list in any form.
        AnswerHeldBack: a refusal, an echo of the prompt, numbers only, or one word over and over.
    """
    who = f"{question.role}: model {say(question.model or completion.model, 80)}"
    raw = completion.content
    if completion.refusal.strip() and not raw.strip():
        message = f"{who} refused: {say(completion.refusal)}"
        raise AnswerHeldBack(message, raw=completion.refusal)
    if completion.finish_reason == "length":
        spent = " while still thinking" if completion.thought else ""
        message = f"{who} was cut at its token limit{spent}; raise roles.{question.role}.max_tokens"
        raise AnswerCut(message, raw=raw)
    unwrapped = unthought(raw[:LONGEST_CONTENT])
    said = bare(unwrapped)
    if not said:
        only = " but its thoughts" if completion.thought else ""
        message = f"{who} answered with nothing{only}"
        raise AnswerEmpty(message, raw=raw)
    if _CONTROL.search(unwrapped):
        message = f"{who}: held back, there are control characters in it: {say(unwrapped)}"
        raise AnswerHeldBack(message, raw=raw)
    if question.wants == "keywords":
        return "", _keywords(question, said, who, raw)
    return _text(question, said, who, raw), ()


def answer_of(
    question: Question,
    said: tuple[str, tuple[Keyword, ...]],
    spent: Sequence[Completion],
    identity: str,
) -> Answer:
    """Return the answer to *question* that was read out of the last of the *spent* completions.

    *identity* is the question's as it was put, before it had a model.
    """
    text, keywords = said
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


def _text(question: Question, said: str, who: str, raw: str) -> str:
    """Read a text answer: out of JSON if a model always speaks JSON, else out of its wrapping."""
    found = find_json(said)
    if isinstance(found, list) and not said.startswith("["):
        found = None  # brackets in the midst of a sentence are the sentence's own
    inner = _text_in_json(found, question.role)
    damaged = found is None and _JSON_BEGINS.match(said) is not None
    if damaged:
        inner = _text_in_damaged_json(said, question.role)
    if (isinstance(found, dict) or damaged) and inner is None:
        message = f"{who} answered with JSON in which there is no text: {say(said)}"
        raise AnswerHeldBack(message, raw=raw)
    names = question.role, question.role.replace("_", " ")
    text = unlabelled(bare(inner) if inner is not None else said, *names)
    limit = question.longest or LONGEST_TEXT.get(question.role, LONGEST_TEXT_ELSE)
    if question.role == "caption":
        text = text.split("\n", 1)[0]
    text = _shortened(one_line(visible(text)), limit)
    if not text:
        message = f"{who} answered with nothing"
        raise AnswerEmpty(message, raw=raw)
    if reason := _suspicion(text, question):
        message = f"{who}: held back, {reason}: {say(text)}"
        raise AnswerHeldBack(message, raw=raw)
    return text


def _text_in_json(found: object, role: str) -> str | None:
    """Return the text that a JSON answer gives for *role*, or the nearest thing to it."""
    if isinstance(found, list):
        return found[0] if len(found) == 1 and isinstance(found[0], str) else None
    if not isinstance(found, dict):
        return None
    texts = {k.casefold(): v for k, v in found.items() if isinstance(v, str) and v.strip()}
    for key in (role.casefold(), *_SAYS_TEXT):
        if key in texts:
            return texts[key]
    return next(iter(texts.values())) if len(texts) == 1 else None


def _text_in_damaged_json(said: str, role: str) -> str | None:
    """Return the text for *role* out of JSON that a model began well and lost itself in."""
    texts = {key.casefold(): text for key, text in _MEMBER.findall(said)}
    text = next((texts[key] for key in (role.casefold(), *_SAYS_TEXT) if key in texts), None)
    return text.replace('\\"', '"') if text else None


def _keywords(question: Question, said: str, who: str, raw: str) -> tuple[Keyword, ...]:
    """Read a list of keywords in whatever form it came."""
    found = find_json(said)
    if found is None and _REFUSAL.search(said):
        message = f"{who}: held back, it refuses: {say(said)}"
        raise AnswerHeldBack(message, raw=raw)
    given = keywords_in_json(found) if found is not None else keywords_in_prose(said)
    if given is None:
        message = f"{who} was asked for JSON and answered: {say(said)}"
        raise AnswerNotJson(message, raw=raw)
    if not given:
        message = f"{who} gave no keywords"
        raise AnswerEmpty(message, raw=raw)
    kept = tuple(k for k in given if _says_something(k.word))
    own = tuple(k for k in kept if not _is_piece(k.word, question))
    reason = ""
    if 2 * len(kept) <= len(given):
        reason = "numbers or placeholders for keywords"
    elif 2 * len(own) <= len(kept) or _parrots(own, question):
        reason = "it repeats the prompt"
    elif wrong_script(" ".join(k.word for k in own), question.language):
        reason = f"it is not in the letters of {english_name(question.language)}"
    if reason:
        message = f"{who}: held back, {reason}: {say(said)}"
        raise AnswerHeldBack(message, raw=raw)
    return own


def _suspicion(text: str, question: Question) -> str:
    """Return why a text must not be written, empty if it may."""
    if _REFUSAL.search(text):
        return "it refuses"
    # A role of the user's own may ask for a count.
    if not (any(map(str.isalnum, text)) if question.role not in ROLES else _says_something(text)):
        return "it is numbers or signs only"
    if _echoes(text, question):
        return "it repeats the prompt"
    if _loops(text):
        return "it says one word over and over"
    if wrong_script(text, question.language):
        return f"it is not in the letters of {english_name(question.language)}"
    return ""


def _says_something(text: str) -> bool:
    """Say whether there are letters in *text* that are not those of coordinates."""
    letters = _COORDINATE_LETTERS.sub(" ", text) if any(c.isdigit() for c in text) else text
    return any(c.isalpha() for c in letters)


def _asked(question: Question, *, examples: bool = True) -> str:
    """Return the words of what was asked, but for those that an answer may well repeat."""
    prompt = question.unfilled or question.prompt
    if question.hints:
        prompt = f"{HINTS} {prompt}"
    if question.offered:
        prompt = prompt.replace(question.offered, " ")
    if not examples:
        prompt = _QUOTED.sub(" ", prompt)
    return f" {' '.join(_WORDS.findall(f'{question.system} {prompt}'.casefold()))} "


def _is_piece(word: str, question: Question) -> bool:
    """Say whether a keyword of several words is a piece of the prompt: "main colours".

    What a prompt has in quotes is an example, which a model may well take up.
    """
    said = _WORDS.findall(word.casefold())
    return len(said) > 1 and f" {' '.join(said)} " in _asked(question, examples=False)


def _parrots(keywords: Sequence[Keyword], question: Question) -> bool:
    """Say whether a list of keywords is what the prompt asks for, not what the picture shows."""
    said = [_WORDS.findall(k.word.casefold()) for k in keywords]
    if _echoes(" ".join(word for words in said for word in words), question):
        return True
    asked = frozenset(_asked(question).split())
    repeated = sum(asked.issuperset(words) for words in said)
    return len(said) >= _PARROTED and 3 * repeated > 2 * len(said)


def _echoes(text: str, question: Question) -> bool:
    """Say whether *text* is a piece of what was asked, or holds a long piece of it."""
    said = _WORDS.findall(text.casefold())
    asked = _asked(question)
    if len(said) < _ECHO_WORDS:
        # Short pieces are also how people write: "main subject" is an echo, "photo" a word.
        # A role of the user's own may name what to choose from: "in broad daylight, or at night?"
        shortest = 2 if question.role in ROLES else _CHOICE_WORDS
        return len(said) > shortest and f" {' '.join(said)} " in asked
    return any(
        f" {' '.join(said[i : i + _ECHO_WORDS])} " in asked
        for i in range(len(said) - _ECHO_WORDS + 1)
    )


def _loops(text: str) -> bool:
    """Say whether one word comes many times in a row."""
    words = _WORDS.findall(text.casefold())
    return any(
        len(set(words[i : i + _LOOP_WORDS])) == 1 for i in range(len(words) - _LOOP_WORDS + 1)
    )


def _shortened(text: str, limit: int) -> str:
    """Cut *text* to at most *limit* characters: after a sentence, else after a word."""
    if len(text) <= limit:
        return text
    head = text[:limit]
    ends = [m.end() for m in re.finditer(r"[.!?。！？](?=\s|$)", head)]  # noqa: RUF001 - CJK stops
    if ends:
        return head[: ends[-1]]
    return head.rsplit(" ", 1)[0]
