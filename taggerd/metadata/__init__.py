"""XMP sidecars: what is in them, what may change, and how it is written without a loss.

The door is :mod:`.sidecars` (:func:`write`, :func:`plan`), :func:`inspect` and
:mod:`.undo.files`, with :func:`normalise` and :func:`choose` for keywords. A merge is decided in
:mod:`.texts` and :mod:`.keywords.lists`, carried out on the sidecar's own bytes by
:mod:`.xmp.splice` and proved there by parsing the result again. :mod:`.embedding.photo` does the
same to the XMP packet inside a photo file.

Importing this package loads neither Exiv2 nor inflect: they are imported when first used.
"""

from taggerd.metadata.embedding.formats import embeddable
from taggerd.metadata.embedding.photo import change_packet, read_packet, replace_packet
from taggerd.metadata.inspection import Circumstances, Inspection, inspect
from taggerd.metadata.keywords.lists import SHADOWING
from taggerd.metadata.keywords.normalise import normalise
from taggerd.metadata.keywords.vocabulary import Vocabulary, choose, load_vocabulary
from taggerd.metadata.readers import Shown
from taggerd.metadata.sidecars import (
    Options,
    plan,
    write,
    yield_to_humans,
)
from taggerd.metadata.undo.content import PARTS, Part
from taggerd.metadata.undo.files import Withdrawal, Withdrawn, withdraw, withdraw_embedded
from taggerd.metadata.view import SidecarView, View, view

__all__ = [
    "PARTS",
    "SHADOWING",
    "Circumstances",
    "Inspection",
    "Options",
    "Part",
    "Shown",
    "SidecarView",
    "View",
    "Vocabulary",
    "Withdrawal",
    "Withdrawn",
    "change_packet",
    "choose",
    "embeddable",
    "inspect",
    "load_vocabulary",
    "normalise",
    "plan",
    "read_packet",
    "replace_packet",
    "view",
    "withdraw",
    "withdraw_embedded",
    "write",
    "yield_to_humans",
]
