"""XMP sidecars: what is in them, what may change, and how it is written without a loss.

The door is :mod:`.sidecars` (:func:`write`, :func:`plan`, :func:`tagged_digest`) and
:mod:`.withdrawing`, with :func:`spell` and :func:`choose` for keywords. A merge is decided in
:mod:`.texts` and :mod:`.keyword_lists`, carried out on the sidecar's own bytes by :mod:`.splice`
and proved there by parsing the result again. :mod:`.embed` does the same to the XMP packet inside
a photo file.

Importing this package loads neither Exiv2 nor inflect: they are imported when first used.
"""

from taggerd.metadata.circumstances import Circumstances, circumstances
from taggerd.metadata.embed import change_packet, origin, read_packet, replace_packet
from taggerd.metadata.embed_photo import embeddable
from taggerd.metadata.keyword_lists import SHADOWING
from taggerd.metadata.keywords import spell
from taggerd.metadata.readers import Shown
from taggerd.metadata.sidecars import (
    Options,
    plan,
    tagged_digest,
    write,
    yield_to_humans,
)
from taggerd.metadata.undo import PARTS, Part
from taggerd.metadata.view import SidecarView, View, view
from taggerd.metadata.vocabulary import Vocabulary, choose, load_vocabulary
from taggerd.metadata.withdrawing import Withdrawal, Withdrawn, withdraw, withdraw_embedded

__all__ = [
    "PARTS",
    "SHADOWING",
    "Circumstances",
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
    "circumstances",
    "embeddable",
    "load_vocabulary",
    "origin",
    "plan",
    "read_packet",
    "replace_packet",
    "spell",
    "tagged_digest",
    "view",
    "withdraw",
    "withdraw_embedded",
    "write",
    "yield_to_humans",
]
