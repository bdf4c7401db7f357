"""What a person wants of a photo's words, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from taggerd.metadata.texts import one_line, xml_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from taggerd.photo import Sidecar

TextPart = Literal["caption", "description"]
"""A text as a person sees it; it may stand in several fields."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """What a person wants; picklable.

    A keyword is named as a view shows it, or by its last level. One that is to be added may have
    levels, from the root down, separated by ``|``.
    """

    caption: str | None = None
    """None: as it is; empty: none, and no later pass writes one."""
    description: str | None = None
    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    rename: Mapping[str, str] = field(default_factory=dict)
    """Old keyword → new keyword."""
    reject: bool = False
    """No word of the machine's is good: all go, and never come back."""
    seen: Mapping[str, str] = field(default_factory=dict)
    """Part → the text that the person saw. Where it is no longer true, nothing is written."""
    waiting: tuple[str, ...] = ()
    """Machine keywords that the person saw and that are in no sidecar yet."""
    version: str = ""
    """Of taggerd, for a sidecar that is made."""

    @property
    def texts(self) -> dict[TextPart, str]:
        """The texts that are given, as they can be written."""
        given: dict[TextPart, str] = {}
        if self.caption is not None:
            given["caption"] = one_line(self.caption)
        if self.description is not None:
            given["description"] = xml_text(self.description)
        return given


@dataclass(frozen=True, slots=True)
class WordChange:
    """One text or keyword that changed."""

    kind: Literal["edited", "dropped", "added", "renamed", "rejected"]
    field: Literal["caption", "description", "keywords"]
    before: str = ""
    after: str = ""
    machine: bool = False
    """What was before was the machine's."""
    model: str = ""
    """That wrote it, as the sidecar says."""


@dataclass(frozen=True, slots=True)
class Edited:
    """What an edit came to."""

    changes: tuple[WordChange, ...] = ()
    """None: everything was so already."""
    sidecars: tuple[Sidecar, ...] = ()
    """What was written: sidecars, and photo files with their new stamps."""
    notes: tuple[str, ...] = ()
    """For people."""
    undo: str = ""
    """What :func:`.editing.files.restore` needs to bring back what was there: JSON."""


@dataclass(frozen=True, slots=True)
class Stale:
    """What a person saw is no longer true; nothing was written."""

    field: TextPart
    seen: str
    """What the person saw."""
    now: str
    """What is there."""
