"""``taggerd config``: write, show and check the settings."""

from __future__ import annotations

import asyncio
import json
import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic.json_schema import GenerateJsonSchema

from taggerd.arrivals import warning_about, work_below
from taggerd.cli import interrupts, options
from taggerd.daemon.status import status_schema
from taggerd.errors import BackendError, ConfigurationError
from taggerd.inference import available_profiles, load_profile
from taggerd.journal import metrics_schema, record_schema
from taggerd.photo import printable
from taggerd.services import check_settings, make_inference, open_pools
from taggerd.settings import display, editing, imageworks, project
from taggerd.settings.configuration import check_folders, sets
from taggerd.settings.keys import leaves
from taggerd.settings.sources import user_file

if TYPE_CHECKING:
    from taggerd.settings import Settings
    from taggerd.settings.configuration import Configuration

_COLUMN = 70
"""Longest setting that the column of origins makes room for."""

app = typer.Typer(
    help="Write, show and check the settings.", no_args_is_help=True, rich_markup_mode=None
)


@app.command()
def init(
    path: Annotated[
        Path | None,
        typer.Argument(
            help="File to write; default: ~/.config/taggerd/taggerd.toml.", metavar="FILE"
        ),
    ] = None,
    *,
    input_dir: Annotated[
        list[Path] | None,
        typer.Option(
            help="Import folder to set as arrivals.roots, also in a file that names none yet; may "
            "be repeated.",
            metavar="DIR",
        ),
    ] = None,
) -> None:
    """Write a settings file with all defaults, explained."""
    file = path or user_file(os.environ)
    roots = options.absolute(input_dir or [])
    if not roots:
        editing.create(file, display.template())
        typer.echo(f"wrote {file}: set arrivals.roots and backend.base_url there")
        return
    planned = editing.plan(file, {"arrivals.roots": roots})
    if any(line.before not in {"", "[]"} for line in planned.lines):
        message = f"{file}: arrivals.roots is set already: change it there"
        raise ConfigurationError(message)
    planned.write()
    if planned.before is None:
        typer.echo(f"wrote {file}: set backend.base_url there")
    else:
        typer.echo(f"{file}: arrivals.roots is set")


@app.command()
@options.configured()
def show(load: options.Load, *, as_json: options.AsJson = False) -> None:
    """Print every setting and where it comes from.

    Secrets are not shown.
    """
    rows = list(display.rows(load()))
    if as_json:
        table = {row.key: {"value": row.value, "from": row.origin} for row in rows}
        typer.echo(json.dumps(table, indent=2, ensure_ascii=False))
        return
    shown = [(f"{row.key} = {row.text}", row.origin) for row in rows]
    width = max(len(text) for text, _ in shown if len(text) <= _COLUMN)
    for text, origin in shown:
        typer.echo(f"{text:<{width}}  # {origin}")


@app.command()
@options.configured()
def check(
    load: options.Load,
    *,
    allow_offline: Annotated[
        bool,
        typer.Option("--allow-offline", help="Import folders and backend need not be there now."),
    ] = False,
) -> None:
    """Check the settings, the folders they name and the backend.

    A backend that is not there is a warning: the service waits for it. Exit code 0: all well;
    2: something is wrong.
    """
    loaded = load()
    check_settings(loaded)
    check_folders(loaded, allow_offline=allow_offline)
    typer.echo(f"settings are valid: {', '.join(loaded.in_force)}")
    work_below((), loaded.settings)
    for root in loaded.settings.arrivals.roots:
        if warning := warning_about(root.path):
            typer.echo(f"taggerd: warning: {warning}", err=True)
    if "tag" not in loaded.settings.service.duties:
        return
    for lacking in interrupts.run(_lacking(loaded.settings)):
        typer.echo(f"taggerd: warning: decoders are not confined by {lacking}", err=True)
    for warning in [] if allow_offline else interrupts.run(_missing_backends(loaded)):
        typer.echo(f"taggerd: warning: {warning}; see taggerd preflight", err=True)


async def _lacking(settings: Settings) -> tuple[str, ...]:
    """Return which parts of the decoders' cage the kernel does not have."""
    async with open_pools(settings) as pools:
        return await pools.decoders.check()


async def _missing_backends(loaded: Configuration) -> list[str]:
    """Return why backends do not answer; only the list of models is asked for."""
    inference = make_inference(loaded)
    try:
        backends = [endpoint.backend for endpoint in inference.endpoints]
        listings = (backend.list_models() for backend in backends)
        answers = await asyncio.gather(*listings, return_exceptions=True)
    finally:
        await inference.close()
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, BackendError):
            raise answer
    return [str(answer) for answer in answers if isinstance(answer, BackendError)]


@app.command("import")
def import_(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="File with [tool.imageworks.personal_tagger]; default: the nearest "
            "pyproject.toml, which --write wants named.",
            show_default=False,
        ),
    ] = None,
    *,
    write: Annotated[
        bool,
        typer.Option("--write", help="Write ~/.config/taggerd/taggerd.toml, if there is none."),
    ] = False,
) -> None:
    """Translate the settings of imageworks' personal tagger.

    Also those in the environment (IMAGEWORKS_PERSONAL_TAGGER__…). Prints a settings file; what has
    no equivalent is listed at its end.
    """
    translation = imageworks.translate(file, available_profiles(None))
    if not write:
        typer.echo(translation.toml(with_key=False), nl=False)
        return
    if translation.found:
        # It may lie on a memory card, and says where photos and keys go.
        message = f"name the file that you mean: taggerd config import {translation.found} --write"
        raise ConfigurationError(message)
    target = user_file(os.environ)
    editing.create(target, translation.toml(with_key=True))
    typer.echo(f"wrote {target}: {len(translation.values)} settings")
    for line in translation.left:
        typer.echo(f"not translated: {line}")


@app.command()
def trust(
    folder: Annotated[
        Path | None,
        typer.Argument(
            help="Folder with a pyproject.toml; default: the nearest at or above this folder.",
            show_default=False,
        ),
    ] = None,
    *,
    remove: Annotated[bool, typer.Option("--remove", help="Trust it no longer.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="List the trusted folders.")] = False,
) -> None:
    """Take settings from the pyproject.toml of a folder.

    They hold in the folder and below it, until the file changes: then taggerd ignores it, says so,
    and you decide again. Keys and addresses (backend.api_key, base_url, endpoints, the registry)
    are never taken from a pyproject.toml. Without this command none is read, but for --config FILE.
    """
    if list_:
        for each in project.listing():
            typer.echo(f"{printable(each.folder)}: {each.state}")
        return
    found = project.nearest(None) if folder is None else None
    if folder is None and found is None:
        message = f"no {project.FILE} here or above: name its folder, taggerd config trust FOLDER"
        raise ConfigurationError(message)
    chosen = found.parent if found else Path(os.path.realpath(folder or "."))
    chosen = chosen.parent if chosen.name == project.FILE else chosen
    if remove:
        project.distrust(chosen)
        typer.echo(f"{printable(chosen)}: not trusted any more")
        return
    trusted = project.trust(chosen)
    layer = trusted.layer
    keys = [".".join(keys) for keys, _ in leaves() if layer and sets(layer.values, [*keys])]
    typer.echo(f"{printable(chosen / project.FILE)}: trusted as it is now: {', '.join(keys)}")
    if trusted.notice:
        typer.echo(f"taggerd: warning: {trusted.notice}", err=True)


@app.command()
@options.configured()
def prompts(load: options.Load, *, as_json: options.AsJson = False) -> None:
    """List the prompt profiles, shipped and your own.

    The one in use is marked.
    """
    loaded = load()
    folder, chosen = loaded.prompts_directory, loaded.settings.prompts.profile
    listed = available_profiles(folder)
    profiles = [load_profile(name, folder) for name in listed]
    mine = {name for name, path in listed.items() if folder and path.parent == folder}
    if as_json:
        rows = [
            {
                "name": profile.name,
                "description": " ".join(profile.description.split()),
                "roles": list(profile.roles),
                "digest": profile.digest,
                "from": "yours" if profile.name in mine else "shipped",
                "path": printable(listed[profile.name]),
                "chosen": profile.name == chosen,
            }
            for profile in profiles
        ]
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    for profile in profiles:
        about = " ".join(profile.description.split()) or "-"
        where = printable(listed[profile.name]) if profile.name in mine else "shipped"
        typer.echo(f"{'*' if profile.name == chosen else ' '} {profile.name}: {about}")
        typer.echo(f"    {', '.join(profile.roles)}; {profile.digest}; {where}")
    typer.echo(f"* in use; your own: {printable(folder) if folder else 'no folder'}")


class Output(StrEnum):
    """What programs read."""

    STATUS = "status"
    RECORD = "record"
    METRICS = "metrics"


_SCHEMAS = {
    Output.STATUS: status_schema,
    Output.RECORD: record_schema,
    Output.METRICS: metrics_schema,
}


@app.command()
def schema(
    output: Annotated[
        Output,
        typer.Argument(
            help="status, of taggerd status --json; record, a line of a day file; "
            "metrics, of taggerd metrics --json.",
            metavar="status|record|metrics",
        ),
    ],
) -> None:
    """Print the JSON schema of what taggerd prints and writes for programs."""
    dialect = {"$schema": GenerateJsonSchema.schema_dialect}
    typer.echo(json.dumps(dialect | _SCHEMAS[output](), indent=2, ensure_ascii=False))
