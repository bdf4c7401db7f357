"""``taggerd metrics``: how much was done over the days, how fast, and by which models."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taggerd.cli import options
from taggerd.services import make_journal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from taggerd.journal import Figures, History

WIDTH = 80
_NAME = 19
"""Width of the column with days and runs: ``  scan-0123456789ab``."""
_NUMBER = 9


@options.configured(options.STATE)
def metrics(
    load: options.Load,
    *,
    since: Annotated[
        str,
        typer.Option(help="First day, YYYY-MM-DD; default: the first one.", metavar="DATE"),
    ] = "",
    as_json: options.AsJson = False,
) -> None:
    """Show photos, speed and times of each day, and of each run with its models.

    Read from the records of the days. p50 and p90: half and nine tenths of all photos took no
    longer. With --json also stages, tokens, errors and prompt profiles.
    """
    journal = make_journal(load(log_level="error").settings, whole=True)
    history = journal.history(since)
    if as_json:
        typer.echo(json.dumps(history, indent=2, ensure_ascii=False))
    elif history["days"]:
        typer.echo("\n".join(_lines(history)))
    else:
        days = journal.days()
        latest = f"; the latest are of {days[-1]}" if days else ""
        typer.echo(f"no records{f' since {since}' if since else ''}{latest}")


def _lines(history: History) -> Iterator[str]:
    """Yield a line for each day, one for each of its runs, and the sum."""
    yield _cells("day", ("photos", "failed", "photos/h", "p50 s", "p90 s"))
    for day in history["days"]:
        yield _line(day["day"], day, day["counts"])
        for run in day["runs"]:
            # "caption: Qwen/Qwen2.5-VL-7B" in the JSON
            models = {m.partition(": ")[2].rpartition("/")[2]: None for m in run["models"]}
            line = f"{_line('  ' + (run['run'] or '?'), run, run)}  {', '.join(models)}".rstrip()
            yield line if len(line) <= WIDTH else f"{line[: WIDTH - 1]}…"
    yield _line("all", history["all"], history["all"]["counts"])


def _line(name: str, figures: Figures, counts: Mapping[str, Any]) -> str:
    """Return one line of the table."""
    speed = figures["throughput"]["photos_per_hour"]
    whole = figures["seconds"].get(
        "whole", {"count": 0, "p50": 0.0, "p90": 0.0, "p99": 0.0, "max": 0.0}
    )
    cells = (
        str(counts["photos"]),
        str(counts["failed"]),
        "-" if speed is None else f"{speed:.0f}",
        f"{whole['p50']:.1f}",
        f"{whole['p90']:.1f}",
    )
    return _cells(name, cells)


def _cells(name: str, cells: Iterable[str]) -> str:
    return f"{name:<{_NAME}}" + "".join(f"{cell:>{_NUMBER}}" for cell in cells)
