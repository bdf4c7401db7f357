"""The user's own list of keywords: how it is read, and what it does to a model's words."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from taggerd import settings
from taggerd.errors import ConfigurationError
from taggerd.metadata import Vocabulary, choose, load_vocabulary, normalise
from taggerd.photo import Keyword

if TYPE_CHECKING:
    from pathlib import Path

Read = Callable[[str | bytes], Vocabulary]

LIGHTROOM = """\
[WHAT]
\tAnimals
\t\tDogs
\t\t\t{hound}
\t\t\t{puppy}
\t\tCaf\u00e9 Cats
\t\t[private beasts]
\tFruit
\t\tOrange
Colours
\tOrange
\tPink
Car Park
St. Mary
"""


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Write a list and read it."""

    def run(content: str | bytes) -> Vocabulary:
        file = tmp_path / "list.txt"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return load_vocabulary(file)

    return run


def _chosen(
    vocabulary: Vocabulary, *words: str, language: str = "", **options: object
) -> list[Keyword]:
    given = settings.Keywords.model_validate(options)
    spelled = normalise([(word, None) for word in words], given, language)
    return list(choose(spelled, given, vocabulary))


@pytest.mark.parametrize(
    ("said", "word", "path"),
    [
        ("dog", "Dogs", ("WHAT", "Animals")),
        ("DOGS", "Dogs", ("WHAT", "Animals")),
        ("hounds", "Dogs", ("WHAT", "Animals")),
        ("a puppy", "Dogs", ("WHAT", "Animals")),
        ("cafe\u0301 cat", "Caf\u00e9 Cats", ("WHAT", "Animals")),
        ("carpark", "Car Park", ()),
        ("car parks", "Car Park", ()),
        ("animal", "Animals", ("WHAT",)),
        ("fruits", "Fruit", ("WHAT",)),
        ("st mary", "St. Mary", ()),
    ],
)
def test_words_come_out_as_the_list_has_them(
    read: Read, said: str, word: str, path: tuple[str, ...]
) -> None:
    """Case, number, spaces, hyphens and synonyms are the list's; so is the place."""
    parents = path[1:]  # [WHAT] is not exported
    assert _chosen(read(LIGHTROOM), said) == [Keyword(word, None, path, parents)]


def test_prefer_keeps_other_words_and_only_drops_them(read: Read) -> None:
    """The limit counts what is left."""
    words = ("sea", "hound", "sand", "dog", "pink")
    kept = [k.word for k in _chosen(read(LIGHTROOM), *words)]
    assert kept == ["sea", "Dogs", "sand", "Pink"]
    assert [k.word for k in _chosen(read(LIGHTROOM), *words, mode="only")] == ["Dogs", "Pink"]
    assert [k.word for k in _chosen(read(LIGHTROOM), *words, mode="only", max=1)] == ["Dogs"]


def test_a_word_that_is_not_exported_is_not_written(read: Read) -> None:
    """In neither mode; nor one that the stop list names in the list's own spelling."""
    assert _chosen(read(LIGHTROOM), "private beast", "what") == []
    assert _chosen(read(LIGHTROOM), "hound", stop=["dogs"]) == []


def test_a_word_of_two_places_goes_where_its_parent_was_said(read: Read) -> None:
    """Else to the first place in the file."""
    both = read(LIGHTROOM)
    assert _chosen(both, "orange")[0].path == ("WHAT", "Fruit")
    assert _chosen(both, "orange", "colour")[0].path == ("Colours",)


def test_a_flat_list(read: Read) -> None:
    """One word a line; levels may be given by bars; other languages are not inflected."""
    flat = read("Hunde\nTiere|Katze\n\n  Meer \n")
    assert _chosen(flat, "katze", "meer", "hund", language="de", mode="only") == [
        Keyword("Katze", None, ("Tiere",), ("Tiere",)),
        Keyword("Meer"),
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_encoding_and_line_end(read: Read, encoding: str, end: str) -> None:
    """As Lightroom on Windows and macOS, Excel and Notepad write it."""
    vocabulary = read(LIGHTROOM.replace("\n", end).encode(encoding))
    assert len(vocabulary) == 11
    assert _chosen(vocabulary, "hound") == [
        Keyword("Dogs", None, ("WHAT", "Animals"), ("Animals",))
    ]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no keywords"),
        (b"\n \n\t\n", "no keywords"),
        (b"a\n\t\tb\n", "line 2: 'b' is indented by 2 tabs"),
        (b"\ta\n", "line 1: 'a' is indented by 1 tab"),
        (b"{x}\n", "line 1: the synonym {x} has no word above it"),
        (b"a\n\t{x\n", "line 2: '{x' has one of { and }"),
        (b"[a\n", "line 1: '[a' has one of [ and ]"),
        (b"ok\ncaf\xe9\n", "line 2: not UTF-8"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "not UTF-8"),
        (b"PK\x03\x04\x14\x00", "line 1: not a keyword"),
        (b"w" * 300, "line 1: not a keyword"),
        (b"...\n|\n", "line 2: not a keyword"),
    ],
)
def test_a_bad_list_is_one_clear_line(read: Read, content: bytes, says: str) -> None:
    """It names the setting, the file, the line and what is wrong there."""
    with pytest.raises(ConfigurationError) as raised:
        read(content)
    message = str(raised.value)
    assert says in message
    assert message.startswith("keywords.vocabulary: ")
    assert "list.txt" in message
    assert "\n" not in message


def test_a_list_that_is_not_there_or_no_file(tmp_path: Path) -> None:
    """Likewise."""
    with pytest.raises(ConfigurationError, match="No such file"):
        load_vocabulary(tmp_path / "none.txt")
    with pytest.raises(ConfigurationError, match="not a file"):
        load_vocabulary(tmp_path)


def test_only_a_short_list_is_shown_to_the_model(read: Read) -> None:
    """And of it only what may be written."""
    assert read(LIGHTROOM).shown == (
        "Animals", "Dogs", "Caf\u00e9 Cats", "Fruit", "Orange", "Colours", "Pink", "Car Park",
        "St. Mary",
    )  # fmt: skip
    assert read("\n".join(f"word {n}" for n in range(200))).shown == ()
    assert read("\n".join(f"{'long ' * 9}{n}" for n in range(60))).shown == ()


@pytest.mark.slow
def test_a_list_of_a_hundred_thousand_words(read: Read) -> None:
    """Every word is found, in its own place."""
    lines = (f"{chr(9) * min(n % 50, 3)}Wort{n}" for n in range(100_000))
    vocabulary = read("\n".join(lines))
    assert len(vocabulary) == 100_000
    found = _chosen(vocabulary, "wort99999", "wort1")
    assert [k.word for k in found] == ["Wort99999", "Wort1"]
    assert found[0].path == ("Wort99950", "Wort99951", "Wort99952")
