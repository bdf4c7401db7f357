"""What `scripts/bench` makes of its measurements: tables, verdicts, the README's quotation."""

from __future__ import annotations

import io
import math
from argparse import Namespace
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from benchmarks import __main__ as bench
from benchmarks import comparison, figures, report
from benchmarks.figures import Figure
from support.program import REPOSITORY


@pytest.mark.parametrize(
    ("figure", "row"),
    [
        (
            Figure("start", 0.7049, "s", 0.6, against="pass: 14 ms"),
            "| start | 0.70 s | pass: 14 ms | ≤ 0.6 s | **missed** |",
        ),
        (Figure("rate", 97.0, "%", at_least=97), "| rate | 97 % | – | ≥ 97 % | met |"),  # noqa: RUF001
        (
            Figure("files", 200_000.4, "", detail="empty"),
            "| files | 200,000 (empty) | – | – |  |",  # noqa: RUF001
        ),
        (
            Figure("burst", None, "%", 0, detail="no such setting"),
            "| burst | not measured (no such setting) | – | ≤ 0 % | **missed** |",  # noqa: RUF001
        ),
    ],
)
def test_a_row_says_what_was_measured_against_what_and_whether_it_is_enough(
    figure: Figure, row: str
) -> None:
    """A figure beside its peer and its target; a bound that is reached is met."""
    assert figure.row == row


def test_what_was_not_measured_misses_its_target() -> None:
    """A part that fails, or divides by nothing, does not pass for one that is good enough."""
    assert not Figure("x", None, at_most=1).met
    assert not Figure("x", math.nan, at_least=1).met
    assert Figure("x", None).met


def test_a_ratio_shows_both_of_its_sides() -> None:
    """1.24 × says nothing without the two numbers that it is of."""  # noqa: RUF002
    figure = figures.ratio("photo", 124, 100, "ms", against="djpeg", at_most=1.2)
    assert figure.row == "| photo | 1.24 × (124 ms) | djpeg: 100 ms | ≤ 1.2 × | **missed** |"  # noqa: RUF001


@pytest.mark.parametrize(("as_json", "code"), [(True, 0), (False, 1)])
def test_a_part_that_misses_a_target_has_not_failed(*, as_json: bool, code: int) -> None:
    """Whoever runs a part sees exit code 1; who reads its JSON takes another than 0 for a crash."""
    missed = [Figure("x", 2, "ms", 1), Figure("y", 3.5, at_least=3)]
    with redirect_stdout(io.StringIO()) as out:
        assert figures.say(missed, Namespace(json=as_json)) == code
    if as_json:
        assert list(figures.read(out.getvalue().splitlines())) == missed


def test_a_part_that_fails_is_a_row_with_its_last_words(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The other parts are measured all the same, and the exit code is not 0."""
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY / "scripts"))
    (figure,) = bench.run("burst", ["--no-such-option"])
    assert "--no-such-option" in figure.detail
    assert not figure.met
    assert "--no-such-option" in capfd.readouterr().err


MS = Figure("time", 0, "ms", 5)
RATE = Figure("rate", 0, "a second", at_least=5)


@pytest.mark.parametrize(
    ("figure", "here", "there", "verdict"),
    [
        (MS, [10, 11, 12], [12, 13, 14], "within noise"),
        (MS, [10, 11, 12], [20, 21, 22], "beyond noise: better here"),
        (MS, [20, 21, 22], [10, 11, 12], "beyond noise: worse here"),
        (RATE, [20, 21, 22], [10, 11, 12], "beyond noise: better here"),
        (MS, [10, 11, 40], [20, 21, 22], "within noise"),
        (MS, [5, 5, 5], [5, 5, 5], "within noise"),
        (MS, [10, 11], [20, 21], "measured 2 times: too few to tell"),
        (MS, [10, 11, 12], [], "measured 0 times: too few to tell"),
    ],
)
def test_a_difference_counts_beyond_what_a_checkout_differs_from_itself(
    figure: Figure, here: list[float], there: list[float], verdict: str
) -> None:
    """One slow round on a busy machine is no finding."""
    assert comparison.Comparison(figure, here, there).verdict == verdict


def test_rounds_of_two_checkouts_are_compared_by_name() -> None:
    """Also a figure that only one of them has, in the order in which they came."""
    here = [[Figure("new", 1), Figure("time", value, "ms", 5)] for value in (10, 11, 12)]
    there = [[Figure("time", value, "ms", 5)] for value in (20, 22, 21)]
    there[0].append(Figure("the part x", None, detail="failed"))
    new, time, failed = comparison.compared(here, there)
    assert time.row == (
        "| time | 11 ms (10 to 12) | 21 ms (20 to 22) | -47.6 % | beyond noise: better here |"
    )
    assert new.row.startswith("| new | 1 (1 to 1) | not measured | –")  # noqa: RUF001
    assert failed.row.startswith("| the part x | not measured | not measured | –")  # noqa: RUF001


def test_both_checkouts_are_measured_alternately_by_the_same_benchmark(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each is the first as often as the second: what warms up meets both."""
    asked: list[str] = []

    def run(part: str, _options: object, python: str) -> list[Figure]:
        asked.append(f"{part} {python}")
        return [Figure("time", len(asked), "ms")]

    monkeypatch.setattr(bench, "run", run)
    monkeypatch.setattr(bench, "environment_of", lambda _checkout: "there")
    monkeypatch.setattr("sys.executable", "here")
    options = Namespace(against=Path(), rounds=4, json=False)
    assert bench.compare({"start": ()}, options) == 0
    assert asked == [f"start {side}" for side in ("there", "here", "here", "there") * 2]
    assert "| time | 4.50 ms (2 to 7) | 4.50 ms (1 to 8) | +0.0 % | within noise |" in (
        capsys.readouterr().out
    )


def test_the_readme_quotes_what_has_a_target_and_nothing_else_of_it_changes() -> None:
    """Made again, it replaces what was quoted before."""
    text = f"# x\n\n{report.BEGIN}\nold\n{report.END}\n\nMore.\n"
    quote = report.quoted([Figure("a", 2, "ms", 1), Figure("b", 3), Figure("c", 1, "", 1)], "here")
    once = report.put_into(text, quote)
    assert "1 of 2 targets are met: here" in once
    assert "| a | 2 ms |" in once
    assert "| b |" not in once
    assert "old" not in once
    assert once.startswith("# x\n\n")
    assert once.endswith("\n\nMore.\n")
    assert report.put_into(once, quote) == once
    with pytest.raises(ValueError, match="no place"):
        report.put_into("# x\n", quote)


def test_the_readme_has_a_place_for_the_figures() -> None:
    """`scripts/bench --readme` finds where to write."""
    report.put_into((REPOSITORY / "README.md").read_text(), "")


def test_every_part_is_named_by_the_script() -> None:
    """`scripts/bench` says what it can be told to measure."""
    said = (REPOSITORY / "scripts" / "bench").read_text()
    modules = {path.stem for path in (REPOSITORY / "scripts" / "benchmarks").glob("[a-z]*.py")}
    parts = {*bench.PARTS, bench.APART}
    assert parts == modules - {
        "comparison", "figures", "hosts", "pictures", "program", "report", "serving", "shared"
    }  # fmt: skip
    assert not [part for part in parts if f" {part}" not in said]
