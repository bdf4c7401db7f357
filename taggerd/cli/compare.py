"""``taggerd compare``: what several models or prompts say of the same photos."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taggerd.cli import interrupts, options
from taggerd.compare import Candidate, Comparisons, ask_candidates
from taggerd.errors import ConfigurationError

if TYPE_CHECKING:
    from taggerd.compare import Comparison, Total
    from taggerd.settings.configuration import Configuration

SAMPLE = 12
MOST = 6
"""Candidates: more than fit beside each other."""


@options.configured(options.BASE_URL, options.API_KEY, options.RECURSIVE, options.STATE)
def compare(
    load: options.Load,
    paths: options.Paths = None,
    *,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", help="Model to ask; may be repeated.", metavar="NAME"),
    ] = None,
    prompt_profile: Annotated[
        list[str] | None,
        typer.Option(
            "--prompt-profile", help="Prompt profile to ask by; may be repeated.", metavar="NAME"
        ),
    ] = None,
    sample: Annotated[
        int, typer.Option(min=1, max=200, help="Photos to ask about.", metavar="N")
    ] = SAMPLE,
    as_json: options.AsJson = False,
) -> int:
    """Ask several models or prompts about the same photos, and show their words side by side.

    Each model is asked by each profile. The page is in the browser (taggerd web): there a click
    votes, and the winner can be written into the settings. Nothing else is written: no sidecar, no
    record. Exit code 0: all answered; 1: some did not; 2: wrong usage; 3: none can be asked.
    """
    loaded = load(log_level="error")
    candidates = _candidates(load, loaded, model or [""], prompt_profile or [])
    roots = tuple(root.path for root in loaded.settings.arrivals.roots)
    named: tuple[Path, ...] = tuple(paths or roots)
    if not named:
        message = "nothing to compare by: name a folder with photos (taggerd compare … FOLDER)"
        raise ConfigurationError(message)
    kept = Comparisons(loaded.settings.state_directory)
    found = interrupts.run(
        ask_candidates(candidates, named, kept, sample=sample, tell=_tell),
        drain_seconds=loaded.settings.service.drain_seconds,
    )
    if as_json:
        typer.echo(json.dumps(asdict(found), indent=2, ensure_ascii=False))
    else:
        _print(found)
    return 0 if all(total.answered == len(found.photos) for total in found.totals) else 1


def _candidates(
    load: options.Load, loaded: Configuration, models: list[str], profiles: list[str]
) -> dict[Candidate, Configuration]:
    """Return each candidate with its settings.

    Raises:
        ConfigurationError: there are not two, or too many.

    """
    profiles = profiles or [loaded.settings.prompts.profile]
    named = [Candidate(m, p) for m in dict.fromkeys(models) for p in dict.fromkeys(profiles)]
    if not 1 < len(named) <= MOST:
        message = (
            f"{len(named)} to compare: name two to {MOST}, like --model a --model b, or one model "
            "and several --prompt-profile"
        )
        raise ConfigurationError(message)
    return {each: _configured(load, loaded, each) for each in named}


def _configured(load: options.Load, loaded: Configuration, candidate: Candidate) -> Configuration:
    """Return the settings that make *candidate* the one that is asked, in every role."""
    given = {**load.given, "prompts.profile": candidate.profile}
    if candidate.model:
        given["backend.model"] = candidate.model
        roles = loaded.settings.roles
        for role in (*type(roles).model_fields, *roles.own):
            if roles.named(role).model:
                given[f"roles.{role}.model"] = candidate.model
    return replace(load, given=given)(log_level="error")


def _tell(candidate: Candidate, done: int, photos: int) -> None:
    """Say how far it is, where somebody looks on."""
    if sys.stderr.isatty():
        end = "\n" if done == photos else ""
        sys.stderr.write(f"\r{candidate.name}: {done} of {photos}{end}")
        sys.stderr.flush()


def _print(found: Comparison) -> None:
    """Print the totals, and where to look."""
    for total in found.totals:
        name = f"{total.model} · {total.candidate.profile}" if total.model else total.candidate.name
        typer.echo(f"{name}: {_line(total, len(found.photos))}")
    for error in dict.fromkeys(r.error for each in found.photos for r in each.replies if r.error):
        typer.echo(f"failed: {error}")
    typer.echo(f"to look and to vote: taggerd web --open, Compare (/compare/{found.id})")


def _line(total: Total, photos: int) -> str:
    """Return a total in words."""
    parts = [f"{total.answered} of {photos} photos"]
    if total.answered:
        parts.append(f"{total.seconds:.1f} s a photo")
    if total.tokens:
        parts.append(f"{total.tokens:,.0f} tokens a photo")
    if total.per_thousand:
        parts.append(f"{total.per_thousand} for 1,000 photos")
    return ", ".join(parts)
