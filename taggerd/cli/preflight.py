"""``taggerd preflight``: can the backend be used?"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, NamedTuple

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from taggerd.cli import options
from taggerd.errors import BackendError
from taggerd.services import make_inference

if TYPE_CHECKING:
    from taggerd.inference import PreflightReport
    from taggerd.settings.configuration import Configuration


@options.configured(options.BASE_URL, options.API_KEY, options.MODEL)
def preflight(load: options.Load, *, as_json: options.AsJson = False) -> int:
    """Check whether the backend can be used.

    Probes each backend: is it reachable, which models does it serve, does it answer a text, and
    does the model see a picture. Exit code 0: usable; 3: not.
    """
    found = asyncio.run(_preflight(load(log_level="error")))
    if as_json:
        typer.echo(json.dumps(_as_json(found), indent=2))
    else:
        for report, learnt in zip(found.reports, found.learnt, strict=True):
            _print(report, learnt)
    return 0 if found.usable else BackendError.exit_code


class Found(NamedTuple):
    """The results of the probes."""

    reports: list[PreflightReport]
    """One per backend."""
    learnt: list[dict[str, str]]
    """What each needs that differs from the usual request, by model."""
    usable: bool
    """Whether every role has a usable backend."""


async def _preflight(loaded: Configuration) -> Found:
    inference = make_inference(loaded)
    try:
        reports = await inference.preflight()
        learnt = [endpoint.backend.learnt for endpoint in inference.endpoints]
        return Found(reports, learnt, inference.usable_by(reports))
    finally:
        await inference.close()


def _print(report: PreflightReport, learnt: dict[str, str]) -> None:
    """Print a table of the probes, and what to do next."""
    table = Table(title=f"{report.base_url}  {report.model}", title_justify="left")
    for column in ("probe", "result", "seconds", "detail"):
        table.add_column(column, justify="right" if column == "seconds" else "left")
    for probe in report.probes:
        verdict = "ok" if probe.ok else "failed"
        seconds = f"{probe.seconds:.2f}"
        table.add_row(probe.name, verdict, seconds, escape(probe.error or probe.detail))
    console = Console(highlight=False)
    console.print(table)
    for model, form in learnt.items():
        console.print(f"learnt: {escape(model)} takes {escape(form)}")
    for warning in report.warnings:
        console.print(f"note: {escape(warning)}")
    if report.next_step:
        console.print(f"next: {escape(report.next_step)}")


def _as_json(found: Found) -> dict[str, object]:
    """Return the report of the first backend, with those of all below it."""
    pairs = zip(found.reports, found.learnt, strict=True)
    every = [_report_as_json(report) | {"learnt": learnt} for report, learnt in pairs]
    return every[0] | {"ok": found.usable, "endpoints": every}


def _report_as_json(report: PreflightReport) -> dict[str, object]:
    return {
        "ok": report.ok,
        "base_url": report.base_url,
        "model": report.model,
        "models": list(report.listed),
        "probes": [
            {
                "name": probe.name,
                "ok": probe.ok,
                "seconds": round(probe.seconds, 3),
                "detail": probe.detail,
                "model": probe.model,
                "error": probe.error,
            }
            for probe in report.probes
        ],
        "warnings": list(report.warnings),
        "next_step": report.next_step,
    }
