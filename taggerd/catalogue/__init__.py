"""The catalogue: which photos there are and what is written about them, to look through and search.

It is a cache: made from the journal, the ledger and the sidecars, thrown away whenever it is in
doubt, and never asked what is true.
"""

from taggerd.catalogue.catalogue import Catalogue, Found
from taggerd.catalogue.entry import NO_WORD, STATES, Entry, State, Whose, Word, key_of
from taggerd.catalogue.selection import Group, Kind, Query

__all__ = [
    "NO_WORD",
    "STATES",
    "Catalogue",
    "Entry",
    "Found",
    "Group",
    "Kind",
    "Query",
    "State",
    "Whose",
    "Word",
    "key_of",
]
