"""``taggerd list-registry``: the models of the registry, and which of them each role gets."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from taggerd.cli import options
from taggerd.inference import configured_entries, resolve, resolve_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taggerd.inference import Resolution
    from taggerd.inference.registry import Entry


@options.configured(options.REGISTRY)
def list_registry(
    load: options.Load,
    role: Annotated[
        str | None, typer.Option(help="Show only this role; any name.", metavar="ROLE")
    ] = None,
    *,
    as_json: options.AsJson = False,
) -> None:
    """List the models of the registry.

    Also prints which model each role gets, and why it does not get the others.
    """
    settings = load(log_level="error").settings
    entries = configured_entries(settings.backend)
    found = {role: resolve(entries, role)} if role else resolve_all(entries, settings.roles)
    if as_json:
        typer.echo(json.dumps(_as_json(entries, found), indent=2))
        return
    for entry in entries:
        typer.echo(_line(entry))
    for name, resolution in found.items():
        model = f"{resolution.entry.name} ({resolution.entry.served})" if resolution.entry else "-"
        typer.echo(f"\n{name}: {model}: {resolution.reason}")
        for other, reason in resolution.rejected:
            typer.echo(f"  not {other}: {reason}")


def _line(entry: Entry) -> str:
    """Put an entry on one line."""
    aliases = f" (also {', '.join(entry.model_aliases)})" if entry.model_aliases else ""
    roles = ", ".join(entry.roles) or "no roles"
    deprecated = "; deprecated" if entry.deprecated else ""
    return f"{entry.name}{aliases}: {entry.served} at {entry.endpoint}; {roles}{deprecated}"


def _as_json(entries: Sequence[Entry], found: dict[str, Resolution]) -> dict[str, object]:
    return {
        "models": [
            {**entry.model_dump(mode="json"), "served": entry.served, "endpoint": entry.endpoint}
            for entry in entries
        ],
        "roles": {
            name: {
                "model": resolution.entry.name if resolution.entry else None,
                "served": resolution.entry.served if resolution.entry else None,
                "reason": resolution.reason,
                "not": dict(resolution.rejected),
            }
            for name, resolution in found.items()
        },
    }
