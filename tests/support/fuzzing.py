"""What the fuzzers share: bytes that are nearly right, and a run over many of them."""

from __future__ import annotations

import gc
import importlib
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

_SETTINGS: dict[str, Any] = {
    "database": None,
    "deadline": None,
    "print_blob": True,
    "suppress_health_check": list(HealthCheck),
}


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
    if os.environ.get("TAGGERD_FUZZ"):
        Campaign.of_environment().run(check, inputs)
        return
    run = settings(max_examples=examples, derandomize=examples < 250, **_SETTINGS)
    run(given(inputs)(check))()


@dataclass(frozen=True, slots=True)
class Campaign:
    """A longer run, by ``scripts/test-fuzz``: guided by coverage where atheris is installed."""

    seconds: int
    seed: int
    folder: Path
    """Where inputs that fail are kept, and what was learnt for the next run."""

    @classmethod
    def of_environment(cls) -> Campaign:
        """Read ``TAGGERD_FUZZ``: seconds, seed and folder, with colons between."""
        seconds, number, folder = os.environ["TAGGERD_FUZZ"].split(":", 2)
        return cls(int(seconds), int(number), Path(folder))

    def run(self, check: Callable[[T], None], inputs: st.SearchStrategy[T]) -> None:
        """Call *check* with new inputs until the time is up; the first that fails is kept."""
        test = os.environ["PYTEST_CURRENT_TEST"].partition(" ")[0].partition("[")[0]
        name = re.sub(r"\W+", "-", test.partition("fuzz/")[2])
        failing = self.folder / f"{name}.txt"

        def kept(value: T) -> None:
            try:
                check(value)
            except BaseException:
                failing.write_text(f"{value!r}\n", encoding="utf-8", errors="backslashreplace")
                raise

        try:
            atheris = importlib.import_module("atheris")
        except ImportError:
            self._by_chance(kept, inputs)
        else:
            given_any: Any = settings(**_SETTINGS)(given(inputs)(kept))
            test = given_any.hypothesis.fuzz_one_input
            self._by_coverage(atheris, test, name)

    def _by_chance(self, check: Callable[[T], None], inputs: st.SearchStrategy[T]) -> None:
        until, rounds = time.monotonic() + self.seconds, 0
        while time.monotonic() < until:
            run = settings(max_examples=500, **_SETTINGS)
            seed(self.seed + rounds)(run(given(inputs)(check)))()
            rounds += 1

    def _by_coverage(self, atheris: Any, test: Callable[[bytes], object], name: str) -> None:  # noqa: ANN401 - untyped
        corpus = self.folder / "corpus" / name
        corpus.mkdir(parents=True, exist_ok=True)
        child = os.fork()
        if not child:
            try:
                self._guided(atheris, test, name, corpus)  # libFuzzer ends its process itself
            finally:
                os._exit(1)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code == 0, f"an input failed: see {self.folder}/{name}*"

    def _guided(
        self,
        atheris: Any,  # noqa: ANN401 - untyped
        test: Callable[[bytes], object],
        name: str,
        corpus: Path,
    ) -> None:
        for each in gc.get_objects():
            if isinstance(each, FunctionType) and str(each.__module__).startswith("taggerd"):
                atheris.instrument_func(each)
        options = {
            "max_total_time": self.seconds,
            "seed": self.seed,
            "artifact_prefix": f"{self.folder}/{name}-",
            "len_control": 0,  # hypothesis makes nothing of a few bytes
            "max_len": 4096,
            "timeout": 60,
        }

        def once(data: bytes) -> None:
            test(data)

        words = [f"-{option}={value}" for option, value in options.items()]
        atheris.Setup([name, *words, str(corpus)], once)
        atheris.Fuzz()


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
