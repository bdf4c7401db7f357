"""What a process that is taken over sends back is a value, or nothing."""

from __future__ import annotations

import datetime as dt
import enum
import pickle
import struct
from pathlib import Path, PosixPath
from typing import Any

import pytest

from taggerd.errors import PhotoGone
from taggerd.photo import Picture, Stamp
from taggerd.workers.process import pickled
from taggerd.workers.replies import rebuilt, rebuilt_error

STEPS = 1000
STAMP = Stamp(1, 2, 3, 4)


class Colour(enum.Enum):
    """Shared by all who name it."""

    RED = "red"


def class_of(kind: type) -> bytes:
    """Return what puts a class on the stack."""
    return b"c%b\n%b\n" % (kind.__module__.encode(), kind.__qualname__.encode())


def text(word: str) -> bytes:
    """Return what puts a short text on the stack."""
    return b"\x8c" + struct.pack("B", len(word)) + word.encode()


SETS = b"N}" + text("open") + text("stolen") + b"s\x86b"
"""Sets the attribute ``open`` of what is on the stack."""


def test_values_come_back_as_they_were() -> None:
    """Whatever a function may return, also what is in it twice."""
    picture = Picture(
        jpeg=b"j" * 100_000,
        width=1,
        height=2,
        thumbnail=b"t",
        digest="d",
        stamp=STAMP,
        notes=("n",),
    )
    same = [STAMP, STAMP]
    for value in (
        *(None, True, 1 << 80, 1.5, "text", b"bytes", bytearray(b"b"), 1j, {1}, frozenset({2})),
        *({"a": (1, [2])}, picture, same, (same, same), Path("/a"), Colour.RED),
        *(dt.datetime(2024, 1, 2, tzinfo=dt.UTC), dt.timedelta(1), STAMP),
    ):
        assert rebuilt(pickled(value), STEPS) == value
    error = PhotoGone("it went")
    error.add_note("a note")
    back = rebuilt(pickled(error), STEPS)
    assert isinstance(back, PhotoGone)
    assert (str(back), back.__notes__) == ("it went", ["a note"])


@pytest.mark.parametrize("kind", [Stamp, PosixPath, Colour, PhotoGone, dt.datetime])
def test_no_class_is_changed(kind: type) -> None:
    """A decoder cannot give the main process another `Path.open`, or another `Stamp.of`."""
    before = dict(vars(kind))
    with pytest.raises(pickle.UnpicklingError, match="change what is there"):
        rebuilt(b"\x80\x04" + class_of(kind) + SETS + b".", STEPS)
    assert dict(vars(kind)) == before


def test_no_enum_is_changed() -> None:
    """A member is the same object for everybody."""
    member = class_of(Colour) + text("red") + b"\x85R"
    assert rebuilt(b"\x80\x04" + member + b".", STEPS) is Colour.RED
    with pytest.raises(pickle.UnpicklingError, match="change what is there"):
        rebuilt(b"\x80\x04" + member + SETS + b".", STEPS)
    assert not hasattr(Colour.RED, "open")


@pytest.mark.parametrize(
    "twice", [b"q\x00h\x00", b"p0\ng0\n", b"r\x00\x00\x00\x00j\x00\x00\x00\x00", b"2"]
)
def test_nothing_is_contained_twice(twice: bytes) -> None:
    """Else a hundred bytes would be a tuple whose hash takes longer than the sun shines."""
    bomb = b"\x80\x04\x8f(" + b")" + (twice + b"\x86") * 60 + b"\x90."
    with pytest.raises(pickle.UnpicklingError, match="twice"):
        rebuilt(bomb, STEPS)


def test_it_ends() -> None:
    """Millions of empty lists are refused before they fill the memory."""
    with pytest.raises(pickle.UnpicklingError, match="too much"):
        rebuilt(b"\x80\x04(" + b"]" * 1_000_000 + b"l.", STEPS)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x04.",
        b"\x80\x04cos\nsystem\n" + text("true") + b"\x85R.",
        b"\x80\x04cbuiltins\neval\n" + text("1") + b"\x85R.",
        b"\x80\x04ctaggerd.files\nwork_below\n)R.",
        b"\x80\x04ctaggerd.nowhere\nnothing\n)R.",
        b"\x80\x04" + text("os\nsystem") + text("x") + b"\x93.",
        b"P1\n.",
        b"\x80\x04" + b"\x82\x01.",
        b"\xff" * 9,
    ],
)
def test_anything_else_is_an_error(content: bytes) -> None:
    """No function is called, no module but ours is loaded, and nothing but errors is raised."""
    with pytest.raises(Exception):  # noqa: B017, PT011 - any, as long as it is one
        rebuilt(content, STEPS)


@pytest.mark.parametrize("sent", [None, 5, (), ("a", "b", "c"), ("text", b"\xff")])
def test_an_error_that_is_none(sent: Any) -> None:  # noqa: ANN401 - anything
    """What should be an exception and is not becomes one, here or by the caller."""
    try:
        assert isinstance(rebuilt_error(pickled(sent), STEPS), Exception)
    except ValueError:
        assert len(sent) != 2
