"""What the fuzzers share: bytes that are nearly right, and a run over many of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")


def runs(short: int, thorough: int) -> pytest.MarkDecorator:
    """Run a test twice: *short* examples, always the same; with ``--all`` *thorough* new ones."""
    return pytest.mark.parametrize(
        "examples",
        [
            pytest.param(short, id="short"),
            pytest.param(thorough, id="thorough", marks=pytest.mark.long),
        ],
    )


def explore(
    check: Callable[[T], None],
    inputs: st.SearchStrategy[T],
    examples: int,
    *,
    always: Sequence[T] = (),
) -> None:
    """Call *check* with each of *always* and so many *inputs*; few are the same in every run.

    What fails is made as small as can be and printed.
    """
    for each in always:
        check(each)
    run = settings(
        max_examples=examples,
        derandomize=examples < 250,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )(given(inputs)(check))
    run()


def nearly(seeds: Sequence[bytes], tokens: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Return bytes of one of *seeds* with a few edits; *tokens* are what the format is made of."""
    piece = st.one_of(st.sampled_from(list(tokens)), st.binary(max_size=6), st.just(b""))
    position = st.integers(0, 1 << 20)
    edit = st.tuples(st.integers(0, 5), position, st.integers(0, 400), piece)
    edited = st.tuples(st.sampled_from(list(seeds)), st.lists(edit, max_size=8)).map(
        lambda drawn: _edited(*drawn, seeds)
    )
    return st.one_of(edited, edited, edited, edited, st.binary(max_size=200))


def _edited(data: bytes, edits: list[tuple[int, int, int, bytes]], seeds: Sequence[bytes]) -> bytes:
    for kind, where, length, piece in edits:
        at = where % (len(data) + 1)
        end = at + length
        match kind:
            case 0:  # something slips in
                data = data[:at] + piece + data[at:]
            case 1:  # something is lost
                data = data[:at] + data[end:]
            case 2:  # something else stands there
                data = data[:at] + piece + data[at + len(piece) :]
            case 3:  # something is there twice
                data = data[:end] + data[at:]
            case 4:  # the end is lost
                data = data[: max(at, len(data) // 2)]
            case _:  # it goes on as another
                other = seeds[where % len(seeds)]
                start = length * 7 % (len(other) + 1)
                data = data[:at] + other[start : start + length] + data[at:]
    return data
