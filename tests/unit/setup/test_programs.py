"""What each photo program wants, and what several want together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from taggerd.docs import chapters
from taggerd.metadata.readers import READERS
from taggerd.settings.configuration import validated
from taggerd.settings.sources import Layer
from taggerd.setup import PROGRAMS, wanted_by

if TYPE_CHECKING:
    from taggerd.settings import Settings

BY_KEY = {program.key: program for program in PROGRAMS}
KEYS = ["dc:subject", "lr:hierarchicalSubject", "digiKam:TagsList"]


def settings_for(*keys: str, embed: bool = True) -> Settings:
    """Return the settings that some programs want."""
    wanted = wanted_by([BY_KEY[key] for key in keys], embed=embed)
    nested: dict[str, dict[str, object]] = {"metadata": {"fields": {}}, "sidecar": {}}
    for dotted, value in wanted.settings.items():
        *tables, key = dotted.split(".")
        at = nested[tables[0]]
        (at["fields"] if len(tables) > 1 else at)[key] = value  # type: ignore[index]  # a table
    return validated([Layer("wanted", nested)])


@pytest.mark.parametrize(
    ("programs", "naming", "target", "keywords", "description"),
    [
        (["lightroom"], "auto", "embed", KEYS[:2], ["dc:description"]),
        (["capture-one"], "auto", "embed", KEYS[:2], ["dc:description"]),
        (["lightroom", "digikam"], "auto", "both", KEYS, ["dc:description"]),
        (["darktable"], "full", "sidecar", KEYS[:2], ["dc:description"]),
        (["digikam"], "full", "sidecar", [KEYS[0], KEYS[2]], ["dc:description"]),
        (["photoprism"], "full", "sidecar", KEYS[:1], ["dc:description"]),
        (
            ["immich"],
            "full",
            "sidecar",
            [KEYS[0], KEYS[2]],
            ["dc:description", "tiff:ImageDescription"],
        ),
    ],
)
def test_each_program_gets_what_it_reads(
    programs: list[str], naming: str, target: str, keywords: list[str], description: list[str]
) -> None:
    """The sidecar that it looks for, words inside where it looks nowhere else, its own lists."""
    settings = settings_for(*programs)
    assert settings.sidecar.naming == naming
    assert settings.metadata.target == target
    assert settings.metadata.fields.keywords == keywords
    assert settings.metadata.fields.description == description


def test_photos_are_not_touched_without_a_yes() -> None:
    """Then it is said what that program does not show."""
    wanted = wanted_by([BY_KEY["lightroom"]], embed=False)
    assert wanted.settings["metadata.target"] == "sidecar"
    assert "Lightroom Classic will not show the words of JPEG files" in wanted.reasons


def test_no_program_wants_nothing() -> None:
    """What is set stays."""
    assert wanted_by([], embed=True) == ({}, ())


def test_every_program_that_is_known_can_be_chosen_and_has_a_chapter() -> None:
    """A reader in the table is one that people use; each choice is explained somewhere."""
    names = {program.name.removesuffix(" Classic") for program in PROGRAMS}
    assert {reader.name for reader in READERS} <= names
    assert set(BY_KEY) <= set(chapters())
