"""What corrections suggest, and what taking it changes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from taggerd.errors import ConfigurationError
from taggerd.ledger import Correction
from taggerd.review.suggestions import suggested, take
from taggerd.settings import configuration

if TYPE_CHECKING:
    from taggerd.settings.configuration import Configuration

CARD = Path("/card")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A settings file with a comment of its owner's."""
    path = tmp_path / "taggerd.toml"
    path.write_text('# mine\n[keywords]\nstop = ["photo"]  # of course\n')
    return path


def loaded(file: Path) -> Configuration:
    """Return the settings as they are now."""
    return configuration.load({}, cwd=file.parent, config=file)


def dropped(word: str, *photos: str, model: str = "eye") -> list[Correction]:
    """Return drops of a keyword from photos."""
    return [
        Correction(photo=CARD / name, kind="dropped", field="keywords", before=word, model=model)
        for name in photos
    ]


def edited(name: str, before: str, after: str, model: str = "eye") -> Correction:
    """Return the edit of a caption."""
    return Correction(
        photo=CARD / name, kind="edited", field="caption", before=before, after=after, model=model
    )


def renamed(name: str, before: str, after: str) -> Correction:
    """Return a keyword that got another name."""
    return Correction(
        photo=CARD / name,
        kind="renamed",
        field="keywords",
        before=before,
        after=after,
        model="eye",
    )


def test_a_keyword_is_offered_after_the_third_photo(file: Path) -> None:
    """Of three photos, however it is written; one photo three times is one photo."""
    twice = dropped("Outdoors", "a", "b")
    assert suggested([*twice, *dropped("outdoors", "a", "b")], loaded(file)) == []
    (offered,) = suggested([*twice, *dropped("outdoors", "c")], loaded(file))
    assert (offered.kind, offered.setting, len(offered.photos)) == ("stop", "keywords.stop", 3)
    assert offered.photos[0] == CARD / "c"


def test_what_was_a_humans_or_was_undone_does_not_count(file: Path) -> None:
    """The machine is to learn about its own words, and from what stands."""
    theirs = dropped("Ana", "a", "b", "c", model="")
    undone = [
        Correction(
            photo=CARD / name,
            kind="dropped",
            field="keywords",
            before="sky",
            model="eye",
            undone_at=1.0,
        )
        for name in "abc"
    ]
    assert suggested([*theirs, *undone], loaded(file)) == []


def test_what_is_set_or_dismissed_is_not_offered(file: Path) -> None:
    """Also where it was set by hand a moment ago, and is not in force yet."""
    before = loaded(file)
    said = [*dropped("Photo", "a", "b", "c"), *dropped("sky", "a", "b", "c")]
    (offered,) = suggested(said, before)
    assert offered.text == "sky"
    assert suggested(said, before, [offered.key]) == []
    file.write_text(file.read_text().replace('"photo"', '"photo", "sky"'))
    assert suggested(said, before) == []


def test_one_click_takes_a_keyword(file: Path) -> None:
    """What its owner wrote into the file stays, comments too."""
    (offered,) = suggested(dropped("sky", "a", "b", "c"), loaded(file))
    assert str(file) in take(offered, loaded(file))
    assert file.read_text() == '# mine\n[keywords]\nstop = ["photo", "sky"]  # of course\n'
    assert suggested(dropped("sky", "a", "b", "c"), loaded(file)) == []


def test_a_setting_from_above_is_not_outranked(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file would say it, and nothing would come of it."""
    monkeypatch.setenv("TAGGERD__KEYWORDS__STOP", '["car"]')
    (offered,) = suggested(dropped("sky", "a", "b", "c"), loaded(file))
    before = file.read_text()
    with pytest.raises(ConfigurationError, match="outranks"):
        take(offered, loaded(file))
    assert file.read_text() == before


def test_a_renamed_keyword_becomes_a_line_of_the_list(file: Path) -> None:
    """Below its word where the list has it; all else keeps its bytes."""
    words = file.with_name("words.txt")
    words.write_bytes(b"\xef\xbb\xbfAnimals\r\n\tcat\r\n\t\tkitten\r\nPlaces\r\n")
    file.write_text(f'[keywords]\nvocabulary = "{words}"\n')
    (offered,) = suggested([renamed("a", "feline", "Cat")], loaded(file))
    assert (offered.kind, offered.text, offered.instead_of) == ("vocabulary", "Cat", "feline")
    take(offered, loaded(file))
    assert words.read_bytes() == (
        b"\xef\xbb\xbfAnimals\r\n\tcat\r\n\t\t{feline}\r\n\t\tkitten\r\nPlaces\r\n"
    )
    assert suggested([renamed("a", "feline", "Cat")], loaded(file)) == []
    (offered,) = suggested([renamed("a", "pier", "mole")], loaded(file))
    take(offered, loaded(file))
    assert words.read_bytes().endswith(b"Places\r\nmole\r\n\t{pier}\r\n")


def test_somebody_without_a_list_gets_one_beside_the_settings(file: Path) -> None:
    """With the one line; the settings name it."""
    (offered,) = suggested([renamed("a", "pier", "mole")], loaded(file))
    take(offered, loaded(file))
    made = file.with_name("keywords.txt")
    assert made.read_text() == "mole\n\t{pier}\n"
    assert loaded(file).settings.keywords.vocabulary == made
    assert loaded(file).settings.keywords.mode == "prefer"


def test_a_synonym_that_the_list_uses_itself_is_refused(file: Path) -> None:
    """A word goes before a synonym: the line would do nothing."""
    words = file.with_name("words.txt")
    words.write_text("pier\nmole\n")
    file.write_text(f'[keywords]\nvocabulary = "{words}"\n')
    (offered,) = suggested([renamed("a", "pier", "mole")], loaded(file))
    with pytest.raises(ConfigurationError, match="is a word of the list itself"):
        take(offered, loaded(file))
    assert words.read_text() == "pier\nmole\n"


def test_an_edited_caption_is_offered_as_an_example(file: Path) -> None:
    """As it stands now, once a photo; not one that was emptied, nor one of ten that are set."""
    said = [
        edited("a", "A dog", "Rex on the beech"),
        edited("a", "Rex on the beech", "Rex on the beach", model=""),
        edited("b", "A cat", ""),
        edited("c", "A text of mine", "Another", model=""),
    ]
    (offered,) = suggested(said, loaded(file))
    assert (offered.kind, offered.text) == ("example", "Rex on the beach")
    take(offered, loaded(file))
    assert loaded(file).settings.prompts.examples == ["Rex on the beach"]
    assert suggested(said, loaded(file)) == []
    for number in range(9):
        (offered,) = suggested([edited("d", "x", f"Caption {number}")], loaded(file))
        take(offered, loaded(file))
    (offered,) = suggested([edited("d", "x", "One too many")], loaded(file))
    with pytest.raises(ConfigurationError, match="remove one there first"):
        take(offered, loaded(file))
