"""XMP sidecars: what is in them, what may change, and how they are written without a loss.

``README.md`` beside this file has the rules and their sources. A merge is decided in :mod:`.texts`
and :mod:`.keywords.lists`, applied to the sidecar's own bytes by :mod:`.xmp.splice`, and proved
there by parsing the result again. :mod:`.embedding` does the same to the XMP packet inside a photo.

Importing this package loads neither Exiv2 nor inflect: they are imported when first used.
"""

from taggerd.metadata.adopt import Adopted, Adoption, adopt
from taggerd.metadata.embedded import Embedded, Said, read_embedded, unreadable
from taggerd.metadata.embedding.formats import embeddable
from taggerd.metadata.inspection import Circumstances, Inspection, inspect
from taggerd.metadata.keywords.lists import shadowing_note
from taggerd.metadata.keywords.normalise import normalise
from taggerd.metadata.keywords.vocabulary import Vocabulary, choose, load_vocabulary
from taggerd.metadata.options import Options
from taggerd.metadata.readers import Shown
from taggerd.metadata.sidecars import plan, unhide_human_texts, write
from taggerd.metadata.undo.content import PARTS, Part, UndoOptions, UndoOutcome
from taggerd.metadata.undo.files import undo_embedded, undo_sidecar
from taggerd.metadata.view import SidecarView, View, view

__all__ = [
    "PARTS",
    "Adopted",
    "Adoption",
    "Circumstances",
    "Embedded",
    "Inspection",
    "Options",
    "Part",
    "Said",
    "Shown",
    "SidecarView",
    "UndoOptions",
    "UndoOutcome",
    "View",
    "Vocabulary",
    "adopt",
    "choose",
    "embeddable",
    "inspect",
    "load_vocabulary",
    "normalise",
    "plan",
    "read_embedded",
    "shadowing_note",
    "undo_embedded",
    "undo_sidecar",
    "unhide_human_texts",
    "unreadable",
    "view",
    "write",
]
