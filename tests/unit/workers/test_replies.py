"""What functions return arrives as it was; what cannot arrive is an error where it was made.

What processes may not send is in `tests/attacks/test_replies.py`.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from taggerd import errors, imaging, metadata
from taggerd.arrivals import archives
from taggerd.context import nearest_town
from taggerd.errors import PhotoGone
from taggerd.imaging.versions import versions
from taggerd.metadata.camera import Camera
from taggerd.metadata.ownership import WrittenBefore
from taggerd.metadata.versions import exiv2_version
from taggerd.metadata.views import Words
from taggerd.metadata.xmp.splice import Array, Entry
from taggerd.photo import Keyword, Picture, Sidecar, Stamp
from taggerd.services.pools import DECODED, WRITTEN
from taggerd.workers.replies import MOST_LEVELS, Replies, written, written_error

if TYPE_CHECKING:
    from collections.abc import Callable

STAMP = Stamp(1, 2, 3, 4)
WORDS = Words("a", "b", machine=True)
PATH = Path("/a/\udcff\n,[{")
FIELDS: dict[str, str | Array] = {
    "dc:title": "a, b",
    "dc:subject": Array("Bag", (Entry("c"), Entry("d", "en"))),
}


def back(value: object, expected: object = object) -> object:
    """Send *value* and read it."""
    return Replies({*DECODED, *WRITTEN}, 1000).value(written(value), expected)


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, 0, 2**63 - 1, -(2**63), 1.5, 1e-300, -0.0, "", "text \0 \u2028 \U0001f600"),
        *(b"", bytes(range(256)) * 1000, [], (), {}, [[], ((),)], {"tuple": 1, "bytes": {"": []}}),
        *(Path("/a"), Path("a/b"), PATH, STAMP, [STAMP, STAMP], "," * 900, "[" * 900),
        Picture(
            jpeg=b"j" * 100_000,
            width=1,
            height=2,
            thumbnail=b"t",
            digest="d",
            stamp=STAMP,
            notes=("n",),
        ),
        metadata.Embedded(FIELDS, "text", ("a",), Camera("a", "b"), "0/1", ("n",), unread=True),
        metadata.Embedded(),
        metadata.Inspection(
            before=WrittenBefore(("caption=a",), 5.5),
            circumstances=metadata.Circumstances(position=(1.5, -2), month=(2024, 0)),
        ),
        metadata.Inspection(),
        (Sidecar(path=PATH, written=True, backup=PATH, notes=("a", "b")),),
        metadata.UndoOutcome(path=PATH, end="refused", before=STAMP),
        metadata.View(
            PATH,
            (
                metadata.SidecarView(
                    PATH, models={"caption": "m"}, texts=(Words("a", "b", machine=True),)
                ),
            ),
            (),
            ("a",),
            (metadata.Shown("r", None, None, "d", ("k",)),),
        ),
        metadata.Adopted(path=PATH, fields=("a",)),
        Keyword("a", 0.5, ("b",)),
        archives.Contents("i", 1, 2, (("a", "b"),)),
        archives.Progress(1, (("a", "b"),)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_come_back_as_they_were(value: object) -> None:
    """Whatever functions return, in its own type."""
    arrived = back(value)
    assert arrived == value
    assert type(arrived) is type(value)
    assert repr(arrived) == repr(value)


@pytest.mark.parametrize(
    "function",
    [imaging.prepare, metadata.read_embedded, versions, exiv2_version],
)
def test_decoders_may_return_what_their_functions_do(function: Callable[..., object]) -> None:
    """Each annotation is understood, and names no type that is not listed."""
    assert Replies(DECODED, 1000).expected(function) is not object


@pytest.mark.parametrize(
    "function",
    [
        *(metadata.write, metadata.unhide_human_texts, metadata.inspect, metadata.view),
        *(metadata.adopt, metadata.undo_embedded, metadata.normalise, nearest_town),
        *(archives.contents, archives.unpack, archives.publish),
    ],
)
def test_writers_may_return_what_their_functions_do(function: Callable[..., object]) -> None:
    """Each annotation is understood, and names no type that is not listed."""
    assert Replies(WRITTEN, 1000).expected(function) is not object


def test_two_types_of_one_name_are_told_at_once() -> None:
    """A reply says a type by its name alone: one would be refused for not being the other."""
    other = dataclasses.make_dataclass("Sidecar", [("path", str)])
    with pytest.raises(TypeError, match="two types of one name"):
        Replies((*WRITTEN, other), 10)


def test_a_type_whose_fields_are_not_listed_is_told_at_once() -> None:
    """By whoever forgot it, not by a photo."""
    with pytest.raises(TypeError, match="Camera"):
        Replies((metadata.Embedded, Array, Entry), 1000)
    with pytest.raises(NameError, match="Picture"):
        Replies((Stamp,), 1000).expected(imaging.prepare)


def nested(levels: int) -> list[Any]:
    """Return a list in so many lists."""
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        *({1}, frozenset(), 1j, bytearray(b"a"), object(), print, Stamp, dt.timedelta(1), range(3)),
        *(math.nan, math.inf, -math.inf, 2**63, -(2**63) - 1, 10**400, {1: 2}, {None: 1}),
        *(nested(MOST_LEVELS + 1), nested(5000), PhotoGone()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_sent_is_an_error(value: object) -> None:
    """Of the process that was to send it, in words, before the main process sees it."""
    for each in (value, [value], (1, value), {"a": value}, Keyword("a", 1, (value,))):  # type: ignore[arg-type]
        with pytest.raises((TypeError, ValueError, AttributeError)):
            written(each)


def test_deep_is_deep_enough() -> None:
    """Twenty levels are sent and read."""
    assert back(nested(MOST_LEVELS)) == nested(MOST_LEVELS)


def test_names_that_are_not_utf_8_are_readable_in_text() -> None:
    """A path arrives as it is; the same name in a text, which is for people, is escaped."""
    assert back("a\udcff") == r"a\udcff"
    assert back({"\udcff": Path("\udcff")}) == {r"\udcff": Path("\udcff")}


def test_errors_come_back_by_name() -> None:
    """Each of taggerd's own, with its text; of another, its type and text, and where it was."""
    replies = Replies((), 1000)
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, errors.TaggerdError):
            arrived = replies.error(written_error(kind(f"{name}: \udcff"), "there"))
            assert type(arrived) is kind
            assert str(arrived) == rf"{name}: \udcff"
    for odd in (
        ZeroDivisionError("division"),
        OSError(28, "No space"),
        UnicodeError(),
    ):
        arrived = replies.error(written_error(odd, "there"))
        assert type(arrived) is RuntimeError
        assert str(arrived) == f"{type(odd).__name__}: {odd}"
        assert arrived.__notes__ == ["In the worker process:\nthere"]


def test_an_error_that_cannot_say_what_it_is() -> None:
    """Its class may be anybody's; the process goes on."""

    class Odd(Exception):
        def __str__(self) -> str:
            raise MemoryError

    assert str(Replies((), 1000).error(written_error(Odd(), ""))) == "Odd: "
