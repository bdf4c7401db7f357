"""Settings of what is written: texts, keywords, and into which files and properties."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from taggerd.settings.section import Folder, Section

TextField = Literal[
    "dc:description",
    "dc:title",
    "photoshop:Headline",
    "tiff:ImageDescription",
    "Iptc4xmpCore:AltTextAccessibility",
    "Iptc4xmpCore:ExtDescrAccessibility",
    "photoshop:Instructions",
    "acdsee:notes",
]
"""The XMP properties that may take a text; all others are somebody else's."""


KeywordField = Literal["dc:subject", "lr:hierarchicalSubject", "digiKam:TagsList"]


class Fields(Section):
    """Which answer goes into which XMP property."""

    caption: list[TextField] = Field(
        ["photoshop:Headline", "dc:title", "Iptc4xmpCore:AltTextAccessibility"],
        description="Properties that take the caption (dc:title only where it is empty).",
    )
    description: list[TextField] = Field(
        ["dc:description", "tiff:ImageDescription"],
        description="Properties that take the description.",
    )
    keywords: list[KeywordField] = Field(
        ["dc:subject", "lr:hierarchicalSubject", "digiKam:TagsList"],
        description="Keyword lists that are written; lists already present get the union too.",
    )


def _known_language(tag: str) -> str:
    """Return a language tag (BCP 47) as it is usually written; one that is unknown is refused."""
    if not tag.strip():
        return ""
    from babel.core import Locale, UnknownLocaleError  # noqa: PLC0415 - few people need it

    tag = tag.strip().replace("_", "-")
    try:
        Locale.parse(tag, sep="-")
    except (ValueError, UnknownLocaleError):
        message = f'{tag!r} is no language that is known; write one as "fr", "pt-BR" or "zh-Hant"'
        raise ValueError(message) from None
    first, *rest = tag.split("-")
    cased = (part.title() if len(part) == _SCRIPT_LETTERS else part.upper() for part in rest)
    return "-".join([first.lower(), *cased])


_SCRIPT_LETTERS = 4
"""Letters of a script in a language tag (ISO 15924); regions have two, or three digits."""


class Metadata(Section):
    """What is written."""

    language: str = Field(
        "",
        description='Language of texts and keywords, e.g. "fr", "pt-BR", "ja" (BCP 47); empty: as '
        "the prompts have it, with English rules for keywords.",
    )
    target: Literal["sidecar", "embed", "both"] = Field(
        "sidecar",
        description="Where tags go. embed: into JPEG, PNG, WebP, TIFF and DNG, with exiftool also "
        "into HEIC and AVIF; a sidecar where that could harm the file, or where one exists. Never "
        "into proprietary raw.",
    )
    overwrite: bool = Field(
        default=False, description="Replace texts that a human wrote (said in the record)."
    )
    backup_originals: bool = Field(
        default=False,
        description="Keep a sidecar, or a photo that is embedded into, beside it as it was before "
        "it changes.",
    )
    fields: Fields = Field(Fields(), description="Which answer goes into which XMP property.")

    @field_validator("language")
    @classmethod
    def _language(cls, tag: str) -> str:
        return _known_language(tag)


class Ownership(Section):
    """How the words that taggerd wrote are marked, beside its own record in every sidecar."""

    keyword: str = Field(
        "",
        description='A word, e.g. "AI", under which machine keywords are listed once more in the '
        "hierarchical lists; empty: nowhere.",
    )

    @field_validator("keyword")
    @classmethod
    def _one_level(cls, word: str) -> str:
        if set(word) & set("|/") or not word.isprintable():
            message = "must be one word or name, without | and /"
            raise ValueError(message)
        return " ".join(word.split())


class SidecarNames(Section):
    """How a new sidecar is called."""

    naming: Literal["auto", "full", "stem"] = Field(
        "auto",
        description="auto: IMG.xmp for proprietary raw, IMG.ext.xmp for all else; full: always "
        "IMG.ext.xmp; stem: always IMG.xmp. One that exists is always used.",
    )


VocabularyMode = Literal["prefer", "only"]


class Keywords(Section):
    """How keywords are cleaned."""

    max: int = Field(15, ge=1, le=100, description="Most keywords a photo gets from the model.")
    stop: list[str] = Field([], description="Words never written as keywords.")
    vocabulary: Folder | None = Field(
        None,
        description="Your list of keywords: Lightroom's (tab-indented, {synonym}, [not exported]) "
        "or one word a line, UTF-8.",
    )
    mode: VocabularyMode = Field(
        "prefer",
        description="prefer: words that the vocabulary knows are spelled and placed as in it; "
        "only: all others are dropped.",
    )
