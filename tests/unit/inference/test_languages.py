"""Prompts ask for a language; an answer in other letters is rejected."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from taggerd import settings
from taggerd.errors import AnswerRejected
from taggerd.inference.answers import read_answer
from taggerd.inference.completion import Completion
from taggerd.inference.languages import wrong_script
from taggerd.inference.profiles import available_profiles, load_profile
from taggerd.inference.questions import offer, questions

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.scripted import Scripted

    from taggerd.inference.questions import Question

ENGLISH = "A red boat on a lake"
RUSSIAN = "\u041a\u0440\u0430\u0441\u043d\u0430\u044f \u043b\u043e\u0434\u043a\u0430"
JAPANESE = "\u6e56\u306b\u6d6e\u304b\u3076\u8d64\u3044\u30dc\u30fc\u30c8"
CHINESE = "\u6e56\u4e0a\u7684\u7ea2\u8239"
KOREAN = "\ud638\uc218 \uc704\uc758 \ubcf4\ud2b8"
GREEK = "\u039a\u03cc\u03ba\u03ba\u03b9\u03bd\u03b7 \u03b2\u03ac\u03c1\u03ba\u03b1"
ARABIC = "\u0642\u0627\u0631\u0628 \u0623\u062d\u0645\u0631"
HEBREW = "\u05e1\u05d9\u05e8\u05d4 \u05d0\u05d3\u05d5\u05de\u05d4"
HINDI = "\u0932\u093e\u0932 \u0928\u093e\u0935"
THAI = "\u0e40\u0e23\u0e37\u0e2d\u0e2a\u0e35\u0e41\u0e14\u0e07"
OWN = {
    "ru": RUSSIAN, "ja": JAPANESE, "zh": CHINESE, "zh-Hant": CHINESE, "ko": KOREAN, "el": GREEK,
    "ar": ARABIC, "he": HEBREW, "hi": HINDI, "th": THAI, "fr": "Un \u00e9t\u00e9", "en": ENGLISH,
    "vi": "Thuy\u1ec1n \u0111\u1ecf",
}  # fmt: skip


@pytest.mark.parametrize("tag", OWN)
def test_a_language_is_known_by_its_letters(tag: str) -> None:
    """Its own pass; those of every other script do not (Japanese uses Chinese signs)."""
    assert not wrong_script(OWN[tag], tag)
    latin = {"fr", "en", "vi"}
    for other, text in OWN.items():
        same = other == tag or {other, tag} <= latin or {other, tag} == {"zh", "zh-Hant"}
        if not same and (tag, other[:2]) != ("ja", "zh"):
            assert wrong_script(text, tag), other


@pytest.mark.parametrize(
    ("text", "tag", "wrong"),
    [
        ("\u5915\u66ae\u308c\u306eEiffel Tower", "ja", False),  # a name in Latin letters
        ("Canon EOS R5, f/2.8, \u732b", "ja", True),
        ("\u732b on a red chair at home", "ja", True),
        ("Une affiche \u00ab \u6771\u4eac \u00bb", "fr", False),
        ("12:30, 2024 - 5", "ja", False),  # no letters, no script
        ("", "ja", False),
        (RUSSIAN, "sr", False),  # Serbian is written both ways
        ("Crveni \u010damac", "sr", False),
        ("Crveni \u010damac", "sr-Cyrl", True),
        (RUSSIAN, "sr-Latn", True),
        (RUSSIAN, "", False),  # nothing was asked for
        ("\uff32\uff25\uff24 \uff22\uff2f\uff21\uff34", "ja", True),  # full-width Latin
    ],
)
def test_the_majority_of_letters_decides(text: str, tag: str, wrong: bool) -> None:
    """A sign of Chinese, Japanese or Korean counts for three letters."""
    assert wrong_script(text, tag) is wrong


@pytest.mark.parametrize("profile", available_profiles())
def test_every_prompt_of_every_profile_asks_for_the_language(profile: str) -> None:
    """Also a user's own text; without the setting nothing is added."""
    roles = settings.Roles(caption=settings.Role(prompt="Say it."))
    given = load_profile(profile)
    plain = questions(roles, given, "eye", 15)
    french = questions(roles, given, "eye", 15, language="pt-BR")
    for before, after in zip(plain, french, strict=True):
        assert after.prompt == f"{before.prompt} Write in Portuguese (Brazil)."
        assert after.system == before.system
        assert after.identity != before.identity


@pytest.mark.parametrize(
    ("given", "tag"),
    [("fr", "fr"), ("pt_br", "pt-BR"), ("ZH-hant", "zh-Hant"), (" en-GB ", "en-GB"), ("", "")],
)
def test_a_language_tag_is_written_as_usual(given: str, tag: str) -> None:
    """Underscore and case of locale names are forgiven."""
    assert settings.Metadata(language=given).language == tag


@pytest.mark.parametrize("unknown", ["klingon", "xx", "french", "x-default", "fr fr", "../fr"])
def test_an_unknown_language_is_refused(unknown: str) -> None:
    """At once, with an example."""
    with pytest.raises(ValidationError, match="unknown language"):
        settings.Metadata(language=unknown)


async def test_a_wrong_script_is_asked_again_and_rejected(
    scripted: type[Scripted],
    say: Callable[..., object],
    picture: object,
    question: Callable[..., Question],
) -> None:
    """Twice, then refused by name with the raw words; the second answer may be right."""
    asked = question(language="ja")
    bad = scripted(replies=[say(ENGLISH), say(ENGLISH)])  # type: ignore[list-item]
    with pytest.raises(AnswerRejected, match="not in the script of Japanese") as held:
        [a async for a in bad.backend().describe(picture, [asked])]  # type: ignore[arg-type]
    assert held.value.raw == ENGLISH
    assert len(bad.chats) == 2
    good = scripted(replies=[say(ENGLISH), say(JAPANESE)])  # type: ignore[list-item]
    answers = [a async for a in good.backend().describe(picture, [asked])]  # type: ignore[arg-type]
    assert [a.text for a in answers] == [JAPANESE]


def test_keywords_in_the_wrong_script_are_held_back(question: Callable[..., Question]) -> None:
    """Judged together: one name among them is none."""
    asked = question("keywords", language="ja")
    mixed = '{"keywords": ["\u6e56", "\u8d64\u3044\u30dc\u30fc\u30c8", "iPhone"]}'
    assert len(read_answer(asked, Completion(content=mixed))[1]) == 3
    with pytest.raises(AnswerRejected, match="script of Japanese"):
        read_answer(asked, Completion(content='["boat", "lake", "\u6e56"]'))


def test_a_short_vocabulary_is_offered_and_may_be_repeated() -> None:
    """It stands in the keywords prompt alone, and taking words from it is no echo."""
    words = [f"{colour} {thing}" for colour in ("red", "blue") for thing in ("car", "boat", "sea")]
    asked = questions(
        settings.Roles(), load_profile("default"), "eye", 15, offered=offer(words, "only")
    )
    assert [all(word in q.prompt for word in words) for q in asked] == [False, True, False]
    content = ", ".join(words)
    assert len(read_answer(asked[1], Completion(content=content))[1]) == 6
    bare = replace(asked[1], offered="")
    with pytest.raises(AnswerRejected, match="repeats the prompt"):
        read_answer(bare, Completion(content=content))
    assert offer((), "prefer") == ""


def test_an_example_in_quotes_is_no_echo(question: Callable[..., Question]) -> None:
    """What a user's own prompt gives as an example may be the very word for a photo."""
    content = Completion(content='["golden hour", "street photography", "dog", "sea"]')
    asked = question("keywords", prompt='Words like "golden hour", and street photography.')
    assert [k.word for k in read_answer(asked, content)[1]] == ["golden hour", "dog", "sea"]


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        ('["dog", "main colours", "beach", "sea"]', ["dog", "beach", "sea"]),
        ('["mood", "dog", "beach", "sea"]', ["mood", "dog", "beach", "sea"]),
        ('["subjects", "setting", "activity", "season", "weather", "mood"]', None),
        ("subjects, setting, activity, season or weather, mood, main colours", None),
        ('["12", "48.85", "dog"]', None),
        ('["12", "dog", "sea"]', ["dog", "sea"]),
        ('["dog\\u0000", "sea"]', None),
        ('["dog\x1b[0m", "sea"]', None),
        ('["d\ufffdg", "sea"]', None),
    ],
)
def test_keywords_that_echo_the_prompt_or_are_rubbish(content: str, kept: list[str] | None) -> None:
    """A piece of the prompt goes; a list of little else is rejected, as are control characters."""
    asked = questions(settings.Roles(), load_profile("default"), "eye", 15)[1]
    if kept is None:
        with pytest.raises(AnswerRejected) as held:
            read_answer(asked, Completion(content=content))
        assert held.value.raw == content
    else:
        said = read_answer(asked, Completion(content=content))[1]
        assert [k.word for k in said] == kept
