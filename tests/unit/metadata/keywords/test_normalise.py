"""Machine keywords are cleaned; what is no word to search by is dropped."""

from __future__ import annotations

import pytest

from taggerd import settings
from taggerd.metadata import choose, normalise


def _clean(
    *words: str, most: int = 15, stop: tuple[str, ...] = (), language: str = ""
) -> list[str]:
    options = settings.Keywords(max=most, stop=list(stop))
    spelled = normalise([(word, None) for word in words], options, language)
    return [k.word for k in choose(spelled, options)]


@pytest.mark.parametrize(
    ("plural", "one"),
    [
        ("dogs", "dog"), ("cities", "city"), ("leaves", "leaf"), ("children", "child"),
        ("palm trees", "palm tree"), ("buses", "bus"), ("cookies", "cookie"), ("waves", "wave"),
        ("glass", "glass"), ("grass", "grass"), ("bus", "bus"), ("christmas", "christmas"),
        ("tennis", "tennis"), ("jeans", "jeans"), ("sunglasses", "sunglasses"), ("lens", "lens"),
        ("cactus", "cactus"), ("cacti", "cactus"), ("physics", "physics"), ("series", "series"),
        ("men", "man"), ("geese", "goose"), ("sail-boats", "sail-boat"), ("news", "news"),
        ("virus", "virus"), ("canvas", "canvas"), ("women's", "women's"), ("is", "is"),
    ],
)  # fmt: skip
def test_english_plurals_become_singular(plural: str, one: str) -> None:
    """And words that only look like plurals stay."""
    assert _clean(plural) == [one]


@pytest.mark.parametrize(
    "nothing",
    [
        "", " ", "2024", "12", "3.14", "#", "48.8584, 2.2945", "48\u00b051'30\"N", "N 48.8584",
        "2024-05-01", "12/31/2020", "5 May 2024", "May 5, 2024", "10:30 am", "1960s",
        "a man standing on a hill", "a dog runs over the sand", "x" * 65, "\x00\x07",
    ],
)  # fmt: skip
def test_what_is_no_keyword_is_dropped(nothing: str) -> None:
    """Digits, coordinates, dates, times, sentences."""
    assert _clean(nothing) == []


@pytest.mark.parametrize("word", ["3d printing", "mp3", "4x4", "50mm lens", "car", "may", "x-ray"])
def test_words_with_digits_or_of_one_syllable_stay(word: str) -> None:
    """Only what is nothing but a number or date goes."""
    assert _clean(word) == [word]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["beach", "sunset", "Eiffel Tower", "NASA"], ["beach", "sunset", "Eiffel Tower", "NASA"]),
        (["Dog", "Beach", "Sunset"], ["dog", "beach", "sunset"]),
        (["DOG", "BEACH", "SUNSET"], ["dog", "beach", "sunset"]),
        (["Dog", "beach", "sunset", "Paris"], ["dog", "beach", "sunset", "Paris"]),
        (["beach", "sunset", "dog", "Dog"], ["beach", "sunset", "dog"]),
        (["sand", "iPhone", "sea"], ["sand", "iPhone", "sea"]),
        (["sea", "sand", "sky", "T-shirt"], ["sea", "sand", "sky", "T-shirt"]),
    ],
)
def test_capitals_mark_names_where_they_are_few(words: list[str], expected: list[str]) -> None:
    """A model that capitalises everything, or the first word, says nothing by it."""
    assert _clean(*words) == expected


def test_duplicates_by_case_number_and_spacing() -> None:
    """One spelling a word, the first; a substring is a word of its own."""
    assert _clean("car park", "Car Parks", "carpark", "car-park", "car") == ["car park", "car"]


def test_articles_marks_and_quotes_go() -> None:
    """Lists come with bullets, numbers, hashes and quotes."""
    given = ["the beach", "A dog", '"sand"', "- sea", "1. sky", "#sunset", "wave.", "red_kite"]
    assert _clean(*given) == [
        "beach", "dog", "sand", "sea", "sky", "sunset", "wave", "red kite",
    ]  # fmt: skip


def test_other_scripts_pass_untouched() -> None:
    """No case, number or article is guessed in them; they are composed (NFC) like all text."""
    given = [
        "\u72ac",
        "\u0421\u043e\u0431\u0430\u043a\u0438",
        "\u03b8\u03ac\u03bb\u03b1\u03c3\u03c3\u03b1\u03c2",
    ]
    assert _clean(*given) == given
    assert _clean("cafe\u0301") == ["caf\u00e9"]


def test_the_stop_list_and_the_limit() -> None:
    """A stop word goes in every spelling; the limit counts what is left."""
    assert _clean("Photos", "dog", "photo", "sea", "sky", stop=("photo",), most=2) == ["dog", "sea"]


def test_scores_stay_with_their_words() -> None:
    """The better score of two spellings; a number that is no confidence is none."""
    given = [("dog", 0.4), ("dogs", 0.9), ("sea", 7.0), ("sky", None)]
    cleaned = choose(normalise(given, settings.Keywords(), ""), settings.Keywords())
    assert [k[:2] for k in cleaned] == [("dog", 0.9), ("sea", None), ("sky", None)]


@pytest.mark.parametrize(
    ("language", "given", "expected"),
    [
        # English rules are for English: "fils" is a son, and no plural of "fil".
        ("fr", ["Fils", "fil", "plages", "the"], ["fils", "fil", "plages", "the"]),
        ("en-GB", ["the Beaches", "beach"], ["beach"]),
        ("", ["the Beaches", "beach"], ["beach"]),
        # German writes nouns with a capital.
        ("de", ["Hund", "Strand", "rot"], ["Hund", "Strand", "rot"]),
        ("tr", ["\u0130STANBUL", "ISPARTA", "deniz"], ["istanbul", "\u0131sparta", "deniz"]),
        ("ja", ["\u72ac", "\u6d77\u3001\u7a7a"], ["\u72ac", "\u6d77", "\u7a7a"]),
        ("ja", ["\u6771\u4eac Tower", "iPhone"], ["\u6771\u4eac Tower", "iPhone"]),
        ("ar", ["\u0628\u062d\u0631\u060c \u0628"], ["\u0628\u062d\u0631", "\u0628"]),
        # The joiner that Persian needs stays.
        ("fa", ["\u062e\u0647\u200c\u0647\u0627"], ["\u062e\u0647\u200c\u0647\u0627"]),
        ("ru", ["\u041c\u043e\u0441", "\u043f\u0435"], ["\u041c\u043e\u0441", "\u043f\u0435"]),
    ],
)  # fmt: skip
def test_each_language_has_its_own_rules(
    language: str, given: list[str], expected: list[str]
) -> None:
    """Plurals and articles are English; capitals are German; the rest is trimmed and composed."""
    assert _clean(*given, language=language) == expected


@pytest.mark.parametrize(
    "nothing",
    [
        "5 mai 2024", "5 de mayo de 2024", "2024\u5e745\u67081\u65e5", "\uff12\uff10\uff12\uff14",
        "\u72ac\u304c\u5e83\u3044\u7802\u6d5c\u306e\u4e0a\u3092\u3068\u3066\u3082\u901f\u304f\u8d70\u3063\u3066\u3044\u308b\u3068\u3053\u308d",
    ],
)  # fmt: skip
def test_dates_and_sentences_of_other_languages_are_dropped(nothing: str) -> None:
    """A sentence without spaces is told by its length."""
    assert _clean(nothing, language="ja") == []
