"""``taggerd preflight``: can the backend be used?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from taggerd.cli import interrupts, options
from taggerd.errors import BackendError
from taggerd.services import make_inference

if TYPE_CHECKING:
    from taggerd.inference import PreflightReport
    from taggerd.settings.configuration import Configuration


Learnt = dict[str, str]
"""What a backend needs that differs from the usual request, by model."""


@options.configured(options.BASE_URL, options.API_KEY, options.MODEL)
def preflight(load: options.Load, *, as_json: options.AsJson = False) -> int:
    """Check whether the backend can be used.

    Probes each backend: is it reachable, which models does it serve, does it answer a text, and
    does the model see a picture. Exit code 0: usable; 3: not.
    """
    usable, reports = interrupts.run(_probe(load(log_level="error")))
    if as_json:
        # The first backend's report as if it were the only one, with those of all below it.
        every = [_as_json(report, learnt) for report, learnt in reports]
        typer.echo(json.dumps(every[0] | {"ok": usable, "endpoints": every}, indent=2))
    else:
        for report, learnt in reports:
            _print(report, learnt)
    return 0 if usable else BackendError.exit_code


async def _probe(loaded: Configuration) -> tuple[bool, list[tuple[PreflightReport, Learnt]]]:
    """Return whether every role has a usable backend, and a report on each backend."""
    inference = make_inference(loaded)
    try:
        reports = await inference.preflight()
        learnt = [endpoint.backend.learnt for endpoint in inference.endpoints]
        return inference.usable_by(reports), list(zip(reports, learnt, strict=True))
    finally:
        await inference.close()


def _print(report: PreflightReport, learnt: Learnt) -> None:
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


def _as_json(report: PreflightReport, learnt: Learnt) -> dict[str, object]:
    fields = ("name", "ok", "detail", "model", "error")
    return {
        "ok": report.ok,
        "base_url": report.base_url,
        "model": report.model,
        "models": list(report.listed),
        "probes": [
            {field: getattr(probe, field) for field in fields}
            | {"seconds": round(probe.seconds, 3)}
            for probe in report.probes
        ],
        "warnings": list(report.warnings),
        "next_step": report.next_step,
        "learnt": learnt,
    }
