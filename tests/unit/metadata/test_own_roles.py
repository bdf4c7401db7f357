"""Texts of the user's own roles in a sidecar: the same rules as for all other texts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from taggerd import settings
from taggerd.metadata.merge import Merged, merge
from taggerd.metadata.options import Options
from taggerd.metadata.undo.content import Part, UndoOptions, undo
from taggerd.services import metadata_options

if TYPE_CHECKING:
    from taggerd.photo import Provenance, Tags

Make = Callable[..., bytes]
Read = Callable[[bytes, str], list[str]]
EXTENDED = "Iptc4xmpCore:ExtDescrAccessibility"


@pytest.fixture
def merged(tags: Tags, provenance: Provenance) -> Callable[..., Merged]:
    """Merge texts of own roles into a sidecar."""

    def run(
        data: bytes, fields: settings.Fields | None = None, *, overwrite: bool = False, **own: str
    ) -> Merged:
        given = replace(tags, own={name.replace("__", ":"): text for name, text in own.items()})
        where = replace(provenance, profile_digest="d1")
        return merge(
            data, given, where, Options(fields=fields or settings.Fields(), overwrite=overwrite)
        )

    return run


def test_each_field_gets_its_text_in_its_form(
    sidecar: Make, merged: Callable[..., Merged], texts: Read
) -> None:
    """Languages where the field has them, lines where it keeps them, at most what it holds."""
    data = merged(
        sidecar(),
        Iptc4xmpCore__ExtDescrAccessibility="Two dogs.\nThey run.",
        photoshop__Instructions="word " * 80,
        acdsee__notes="grey\nblue",
    ).data
    assert texts(data, EXTENDED) == ["Two dogs.\nThey run."]
    assert b'xml:lang="x-default">Two dogs.' in data
    (instructions,) = texts(data, "photoshop:Instructions")
    assert 200 < len(instructions) <= 256
    assert texts(data, "acdsee:notes") == ["grey\nblue"]
    assert texts(data, "taggerd:prompts") == ["d1"]


def test_a_later_pass_replaces_its_own_words_and_keeps_a_humans(
    sidecar: Make, merged: Callable[..., Merged], texts: Read
) -> None:
    """What still hashes to ours may go; an edited text stays, unless it is to be overwritten."""
    first = merged(sidecar(), Iptc4xmpCore__ExtDescrAccessibility="Two dogs run.").data
    second = merged(first, Iptc4xmpCore__ExtDescrAccessibility="Two wet dogs run.").data
    assert texts(second, EXTENDED) == ["Two wet dogs run."]
    edited = second.replace(b"Two wet dogs", b"Rex and Bella")
    third = merged(edited, Iptc4xmpCore__ExtDescrAccessibility="Dogs.")
    assert texts(third.data, EXTENDED) == ["Rex and Bella run."]
    assert f"kept {EXTENDED}: a human wrote it" in third.notes
    fourth = merged(edited, Iptc4xmpCore__ExtDescrAccessibility="Dogs.", overwrite=True)
    assert texts(fourth.data, EXTENDED) == ["Dogs."]
    assert any("which a human wrote" in note for note in fourth.notes)


def test_a_role_that_is_gone_leaves_its_words(
    sidecar: Make, merged: Callable[..., Merged], texts: Read
) -> None:
    """A role taken out of the settings is no order to delete; its words stay known as ours."""
    first = merged(sidecar(), photoshop__Instructions="Grey and blue.").data
    second = merged(first).data
    assert texts(second, "photoshop:Instructions") == ["Grey and blue."]
    assert any("photoshop:Instructions" in text for text in texts(second, "taggerd:written"))


def test_undo_takes_their_words_too(
    sidecar: Make, merged: Callable[..., Merged], texts: Read
) -> None:
    """All at once; a part of what is undone leaves them, for they are of no part."""
    before = sidecar()
    data = merged(before, Iptc4xmpCore__ExtDescrAccessibility="Dogs run.").data
    assert undo(data, Options()).data == before
    some: frozenset[Part] = frozenset({"caption", "description"})
    partly = undo(data, Options(), UndoOptions(parts=some))
    assert partly.data is not None
    assert texts(partly.data, EXTENDED) == ["Dogs run."]
    assert texts(partly.data, "dc:description") == []
    edited = data.replace(b"</rdf:RDF>", b" </rdf:RDF>").replace(b"Two dogs", b"My dogs")
    cleaned = undo(edited, Options())
    assert cleaned.data is not None
    assert texts(cleaned.data, EXTENDED) == []


def test_undo_of_a_part_leaves_them_in_a_field_that_is_usually_of_that_part(
    sidecar: Make, merged: Callable[..., Merged], texts: Read
) -> None:
    """Who gives dc:title to a role of their own keeps it when captions are undone."""
    given = {
        "metadata": {"fields": {"caption": ["photoshop:Headline"]}},
        "roles": {"name": {"prompt": "Name it.", "fields": ["dc:title"]}},
    }
    options = metadata_options(settings.Settings.model_validate(given))
    data = merged(sidecar(), options.fields, dc__title="Rex").data
    partly = undo(data, options, UndoOptions(parts=frozenset({"caption"})))
    assert partly.data is not None
    assert texts(partly.data, "dc:title") == ["Rex"]
    assert texts(partly.data, "photoshop:Headline") == []


@pytest.mark.parametrize("field", ["crs:Exposure", "xmpMM:DocumentID", "dc:subject", "x:y"])
def test_no_other_property_is_written(
    sidecar: Make, merged: Callable[..., Merged], field: str
) -> None:
    """What is no text field of the list is not written, whoever names it."""
    own = {field.replace(":", "__"): "rubbish"}
    assert b"rubbish" not in merged(sidecar(), **own).data
