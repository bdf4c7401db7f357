"""Settings of what is written, and into which files and properties."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from taggerd.settings.section import Section, UserPath

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
"""The XMP properties that a text may be written to."""

KeywordField = Literal["dc:subject", "lr:hierarchicalSubject", "digiKam:TagsList"]


class Fields(Section):
    """Which answer goes to which XMP property."""

    caption: list[TextField] = Field(
        ["photoshop:Headline", "dc:title", "Iptc4xmpCore:AltTextAccessibility"],
        description="Properties for the caption (dc:title only if it is empty).",
    )
    description: list[TextField] = Field(
        ["dc:description", "tiff:ImageDescription"],
        description="Properties for the description.",
    )
    keywords: list[KeywordField] = Field(
        ["dc:subject", "lr:hierarchicalSubject", "digiKam:TagsList"],
        description="Keyword lists to write; others that exist already are kept up to date.",
    )


def _known_language(tag: str) -> str:
    """Return a language tag (BCP 47) in its usual form; refuse an unknown one."""
    if not tag.strip():
        return ""
    from babel.core import Locale, UnknownLocaleError  # noqa: PLC0415 - few people need it

    tag = tag.strip().replace("_", "-")
    try:
        Locale.parse(tag, sep="-")
    except (ValueError, UnknownLocaleError):
        message = f'unknown language {tag!r}; use a code such as "fr", "pt-BR" or "zh-Hant"'
        raise ValueError(message) from None
    first, *rest = tag.split("-")
    cased = (part.title() if len(part) == _SCRIPT_LETTERS else part.upper() for part in rest)
    return "-".join([first.lower(), *cased])


_SCRIPT_LETTERS = 4
"""Letters of a script in a language tag (ISO 15924); a region has two letters or three digits."""


class Metadata(Section):
    """What is written."""

    language: str = Field(
        "",
        description='Language of texts and keywords, e.g. "fr", "pt-BR", "ja" (BCP 47); "en-US" '
        "spells color and gray, where we choose the words; empty: the language of the prompts, "
        "with English rules for keywords.",
    )
    target: Literal["sidecar", "embed", "both"] = Field(
        "sidecar",
        description="Where tags are written. embed: into JPEG, PNG, WebP, TIFF and DNG, with "
        "exiftool also HEIC and AVIF; into a sidecar if embedding could damage the file or a "
        "sidecar exists. Proprietary raw files are never changed.",
    )
    overwrite: bool = Field(
        default=False,
        description="Replace texts that a human wrote, but not titles (dc:title), nor what was "
        "edited in the review; the sidecar keeps the old ones.",
    )
    backup_originals: bool = Field(
        default=False,
        description="Before a sidecar, or a photo with embedded tags, changes, keep a copy beside "
        "it.",
    )
    fields: Fields = Field(Fields(), description="Which answer goes to which XMP property.")

    @field_validator("language")
    @classmethod
    def _language(cls, tag: str) -> str:
        return _known_language(tag)


class Ownership(Section):
    """How the words that taggerd wrote are marked, besides its own record in every sidecar."""

    keyword: str = Field(
        "",
        description='Parent keyword, e.g. "AI", under which the hierarchical lists repeat the '
        "machine keywords; empty: none.",
    )

    @field_validator("keyword")
    @classmethod
    def _one_level(cls, word: str) -> str:
        if set(word) & set("|/") or not word.isprintable():
            message = "must be a single keyword without | and /"
            raise ValueError(message)
        return " ".join(word.split())


class SidecarNames(Section):
    """How a new sidecar is named."""

    naming: Literal["auto", "full", "stem"] = Field(
        "auto",
        description="auto: IMG.xmp for proprietary raw, IMG.ext.xmp for the rest; full: always "
        "IMG.ext.xmp; stem: always IMG.xmp. An existing sidecar is always used.",
    )


VocabularyMode = Literal["prefer", "only"]


class Keywords(Section):
    """How keywords are cleaned."""

    max: int = Field(15, ge=1, le=100, description="Most keywords from the model per photo.")
    stop: list[str] = Field([], description="Words that are never written as keywords.")
    vocabulary: UserPath | None = Field(
        None,
        description="File with your keywords, UTF-8: Lightroom's list (tab-indented, {synonym}, "
        "[not exported]) or one keyword per line.",
    )
    mode: VocabularyMode = Field(
        "prefer",
        description="prefer: keywords in the vocabulary take its spelling and hierarchy; only: all "
        "other keywords are dropped, too.",
    )
