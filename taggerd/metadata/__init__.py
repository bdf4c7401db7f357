"""XMP sidecars: what is in them, what may change, and how they are written without a loss.

``README.md`` beside this file has the rules and their sources. A merge is decided in :mod:`.texts`
and :mod:`.keywords.lists`, applied to the sidecar's own bytes by :mod:`.xmp.splice`, and proved
there by parsing the result again. :mod:`.embedding` does the same to the XMP packet inside a photo.

Importing this package loads nothing: each module is imported when it is first used, Exiv2 and
inflect even later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taggerd.lazy import at_first_use

if TYPE_CHECKING:
    from taggerd.metadata.adoption import Adopted, Adoption, adopt
    from taggerd.metadata.editing.files import edit
    from taggerd.metadata.editing.restoring import restore
    from taggerd.metadata.editing.values import Edit, Edited, Stale, WordChange
    from taggerd.metadata.embedded import Embedded, Said, read_embedded, unreadable
    from taggerd.metadata.embedding.formats import embeddable
    from taggerd.metadata.inspection import Circumstances, Inspection, inspect
    from taggerd.metadata.keywords.lists import shadowing_note
    from taggerd.metadata.keywords.normalise import normalise
    from taggerd.metadata.keywords.vocabulary import (
        Vocabulary,
        choose,
        load_vocabulary,
        with_synonym,
    )
    from taggerd.metadata.naming import stamps
    from taggerd.metadata.options import Options
    from taggerd.metadata.previews import preview
    from taggerd.metadata.readers import Shown
    from taggerd.metadata.sidecars import plan, unhide_human_texts, write
    from taggerd.metadata.undo.content import PARTS, Part, UndoOptions, UndoOutcome
    from taggerd.metadata.undo.files import undo_embedded, undo_sidecar
    from taggerd.metadata.views import SidecarView, View, Written, view, written
else:
    __getattr__ = at_first_use(
        __name__,
        {
            "adoption": "Adopted Adoption adopt",
            "editing.files": "edit",
            "editing.restoring": "restore",
            "editing.values": "Edit Edited Stale WordChange",
            "embedded": "Embedded Said read_embedded unreadable",
            "embedding.formats": "embeddable",
            "inspection": "Circumstances Inspection inspect",
            "keywords.lists": "shadowing_note",
            "keywords.normalise": "normalise",
            "keywords.vocabulary": "Vocabulary choose load_vocabulary with_synonym",
            "naming": "stamps",
            "options": "Options",
            "previews": "preview",
            "readers": "Shown",
            "sidecars": "plan unhide_human_texts write",
            "undo.content": "PARTS Part UndoOptions UndoOutcome",
            "undo.files": "undo_embedded undo_sidecar",
            "views": "SidecarView View Written view written",
        },
    )

__all__ = [
    "PARTS",
    "Adopted",
    "Adoption",
    "Circumstances",
    "Edit",
    "Edited",
    "Embedded",
    "Inspection",
    "Options",
    "Part",
    "Said",
    "Shown",
    "SidecarView",
    "Stale",
    "UndoOptions",
    "UndoOutcome",
    "View",
    "Vocabulary",
    "WordChange",
    "Written",
    "adopt",
    "choose",
    "edit",
    "embeddable",
    "inspect",
    "load_vocabulary",
    "normalise",
    "plan",
    "preview",
    "read_embedded",
    "restore",
    "shadowing_note",
    "stamps",
    "undo_embedded",
    "undo_sidecar",
    "unhide_human_texts",
    "unreadable",
    "view",
    "with_synonym",
    "write",
    "written",
]
