"""The splice touches the bytes it says, and its own proof catches one that does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from taggerd.errors import SidecarRefused
from taggerd.metadata.xmp.document import Document
from taggerd.metadata.xmp.namespaces import named
from taggerd.metadata.xmp.splice import Draft, Edit, splice

if TYPE_CHECKING:
    from collections.abc import Callable

    from taggerd.metadata.merge import Merged


def test_bytes_outside_the_edits_stay() -> None:
    """Edits may touch and may be given in any order."""
    edits = [Edit(4, 6, b"X"), Edit(0, 1, b""), Edit(6, 6, b"Y")]
    assert splice(b"0123456789", edits) == b"123XY6789"


def test_overlapping_edits_are_an_error() -> None:
    """One of them would be lost."""
    with pytest.raises(ValueError, match="overlap"):
        splice(b"0123456789", [Edit(0, 5, b""), Edit(4, 6, b"")])


@pytest.mark.parametrize("change", ["dc:format", "dc:title", "keep"])
def test_a_harmful_edit_is_caught(sidecar: Callable[..., bytes], change: str) -> None:
    """A foreign property, a comment, or our own value come out wrong: refused."""
    data = sidecar("<dc:format>image/raw</dc:format><!-- keep -->")
    draft = Draft(Document(data))
    draft.put(named("dc:title"), "A title")
    edits = {
        "dc:format": Edit(data.index(b"raw"), data.index(b"raw") + 3, b"png"),
        "dc:title": Edit(data.index(b"<dc:format"), data.index(b"<dc:format"), b"<dc:title/>"),
        "keep": Edit(data.index(b"keep"), data.index(b"keep") + 4, b"gone"),
    }
    draft._edits.append(edits[change])
    with pytest.raises(SidecarRefused):
        draft.apply()


def test_a_value_that_came_out_otherwise_is_caught(sidecar: Callable[..., bytes]) -> None:
    """What was asked for is compared with what the new bytes say."""
    draft = Draft(Document(sidecar()))
    draft.put(named("photoshop:Headline"), "A headline")
    draft._new[0] = (named("photoshop:Headline"), "Another")
    with pytest.raises(SidecarRefused, match="photoshop:Headline did not come out"):
        draft.apply()


def test_a_comment_inside_our_text_is_not_lost(
    sidecar: Callable[..., bytes], merged: Callable[..., Merged]
) -> None:
    """Replacing the text would take the comment away, and that is somebody's."""
    data = merged(sidecar()).data.replace(b"wet sand.", b"wet sand.<!-- mine -->")
    with pytest.raises(SidecarRefused, match="altering something else"):
        merged(data, description="Another.")
