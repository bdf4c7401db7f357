"""The keyword lists of a sidecar, in one table: read, written, shown and undone by it.

Programs take the first list they find (see :mod:`.readers`), so a word that is missing from one
list is missing from that program. A new list is one row here, and one mention in the rules of the
program that reads it.
"""

from __future__ import annotations

from enum import Enum
from typing import Literal, NamedTuple


class Use(Enum):
    """What taggerd does with a list."""

    WRITTEN = "written"
    """Gets every human and machine keyword where it exists, and is made where the settings say."""
    READ = "read"
    """Never written. A first pass takes its words into the written lists, which would hide it. An
    undo removes words of ours that a program copied there."""
    REPORTED = "reported"
    """Its form is not understood: a note says that it is there."""


class KeywordField(NamedTuple):
    """One list."""

    name: str
    use: Use
    array: Literal["Bag", "Seq"] = "Bag"
    separator: str = ""
    """Between levels; empty: the list is flat."""
    complete: bool = False
    """Every program that writes it writes it whole: a word missing there was removed. (Bridge
    leaves flat words out of ``lr:hierarchicalSubject``: nothing follows from that.)"""
    seeds: str = ""
    """The list that takes its words in a new sidecar, which needs no third one."""
    variant_of: str = ""
    """The list that this is, in a namespace whose URI lacks the slash (see :mod:`.namespaces`)."""


KEYWORD_FIELDS = {
    field.name: field
    for field in (
        KeywordField("dc:subject", Use.WRITTEN, complete=True),
        KeywordField("lr:hierarchicalSubject", Use.WRITTEN, separator="|"),
        KeywordField("digiKam:TagsList", Use.WRITTEN, "Seq", separator="/", complete=True),
        KeywordField(
            "MicrosoftPhoto:LastKeywordXMP", Use.READ, separator="/", seeds="digiKam:TagsList"
        ),
        KeywordField(
            "MicrosoftPhoto1:LastKeywordXMP",
            Use.READ,
            separator="/",
            seeds="digiKam:TagsList",
            variant_of="MicrosoftPhoto:LastKeywordXMP",
        ),
        KeywordField(
            "mediapro:CatalogSets", Use.READ, separator="|", seeds="lr:hierarchicalSubject"
        ),
        KeywordField("lr:weightedFlatSubject", Use.READ),
        KeywordField("acdsee:categories", Use.REPORTED),
    )
}

WRITTEN = tuple(name for name, field in KEYWORD_FIELDS.items() if field.use is Use.WRITTEN)
READ_ONLY = tuple(name for name, field in KEYWORD_FIELDS.items() if field.use is Use.READ)


def levels(name: str, text: str) -> list[str]:
    """Take an item of the list *name* apart into levels, from the root down."""
    field = KEYWORD_FIELDS.get(name)
    return text.split(field.separator) if field is not None and field.separator else [text]
