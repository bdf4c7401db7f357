"""One table names the keyword lists, one the text fields; settings and readers agree with both."""

from __future__ import annotations

from typing import get_args

from taggerd.metadata.keywords.fields import KEYWORD_FIELDS, WRITTEN
from taggerd.metadata.readers import READERS
from taggerd.metadata.texts import TEXT_FIELDS
from taggerd.metadata.xmp.namespaces import named
from taggerd.settings import Fields, TextField


def test_the_settings_offer_the_fields_of_the_tables() -> None:
    """What may be chosen is what is written, and everything that is written may be chosen."""
    assert tuple(Fields().keywords) == WRITTEN
    assert tuple(TEXT_FIELDS) == get_args(TextField)


def test_every_list_that_a_program_reads_is_in_the_table() -> None:
    """A list that is missing would be hidden by ours without a note. IPTC is not XMP."""
    read = {field for reader in READERS for field in reader.keywords} - {"iptc:Keywords"}
    assert read <= KEYWORD_FIELDS.keys()
    assert all(named(field) for field in KEYWORD_FIELDS)


def test_a_twin_has_its_field_as_its_twin() -> None:
    """A machine text in either of two names for one thing gives way to a human's in the other."""
    twins = {name: rule.twin for name, rule in TEXT_FIELDS.items() if rule.twin}
    assert twins
    assert all(twins[twin] == name for name, twin in twins.items())
