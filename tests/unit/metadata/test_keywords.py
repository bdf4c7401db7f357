"""Machine keywords are cleaned; what is no word to search by is dropped."""

from __future__ import annotations

import pytest

from taggerd import settings
from taggerd.metadata import clean_keywords


def _clean(*words: str, most: int = 15, stop: tuple[str, ...] = ()) -> list[str]:
    options = settings.Keywords(max=most, stop=list(stop))
    return [k.word for k in clean_keywords([(word, None) for word in words], options)]


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
    cleaned = clean_keywords(
        [("dog", 0.4), ("dogs", 0.9), ("sea", 7.0), ("sky", None)], settings.Keywords()
    )
    assert [tuple(k) for k in cleaned] == [("dog", 0.9), ("sea", None), ("sky", None)]
