"""``taggerd show``: whose words photos carry, and what photo programs display of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from taggerd.arrivals import Skip
from taggerd.cli import interrupts, options
from taggerd.photo import printable
from taggerd.show import show_photos

if TYPE_CHECKING:
    from taggerd.metadata import Shown, SidecarView, View
    from taggerd.settings.configuration import Configuration


@options.configured()
def show(
    load: options.Load,
    paths: Annotated[
        list[Path],
        typer.Argument(help="Photos, sidecars or folders.", metavar="PATH", readable=False),
    ],
    *,
    as_json: options.AsJson = False,
) -> int:
    """Show whose words photos carry and what programs display.

    Sends no request and changes nothing. The programs are Lightroom, darktable, digiKam, Immich and
    PhotoPrism with their default settings: one line each per folder, with --verbose a table per
    photo.
    """
    loaded = load(log_level="error")
    return interrupts.run(_show(loaded, paths, as_json=as_json, per_photo=load.verbose))


async def _show(loaded: Configuration, paths: list[Path], *, as_json: bool, per_photo: bool) -> int:
    console = Console(highlight=False, emoji=False)
    views: list[dict[str, Any]] = []
    by_folder: dict[Path, list[View]] = {}
    code = 0
    async for each in show_photos(loaded, paths):
        if isinstance(each, Skip):
            code = 1
            typer.echo(f"taggerd: {printable(each.path)}: {each.reason}", err=True)
        elif as_json:
            views.append(_as_json(each))
        else:
            _print(console, each, readers=per_photo)
            by_folder.setdefault(each.photo.parent, []).append(each)
    for folder, shown in ({} if per_photo else by_folder).items():
        console.print(escape(printable(folder)), style="bold", soft_wrap=True)
        for line in _per_program(shown):
            console.print(escape(line), soft_wrap=True)
    if as_json:
        typer.echo(json.dumps(views, indent=2, ensure_ascii=False))
    return code


def _per_program(views: list[View]) -> list[str]:
    """Say in a line per program how much of a folder's photos it shows."""
    by_program: dict[str, list[Shown]] = {}
    for view in views:
        refused = {sidecar.path for sidecar in view.sidecars if sidecar.refused}
        for shown in view.readers:
            known = by_program.setdefault(shown.reader, [])
            known += [shown] if shown.sidecar not in refused else []
    return [f"{name} {_shows(shown, len(views))}" for name, shown in by_program.items()]


def _shows(shown: list[Shown], photos: int) -> str:
    """Return ``shows titles of 12, keywords of 14 of 14 photos``, with what is to be noted."""
    counts = {
        "titles": sum(bool(each.title) for each in shown),
        "descriptions": sum(bool(each.description) for each in shown),
        "keywords": sum(bool(each.keywords) for each in shown),
    }
    by_count: dict[int, list[str]] = {}
    for field, count in counts.items():
        by_count.setdefault(count, []).append(field)
    none = by_count.pop(0, [])
    parts = [f"{_and(fields)} of {count}" for count, fields in by_count.items()]
    line = f"shows {', '.join(parts) or 'nothing'} of {photos} photo{'' if photos == 1 else 's'}"
    line += f", but no {_and(none)}" if parts and none else ""
    notes = dict.fromkeys(f"keywords {each.note}" for each in shown if each.note)
    if unknown := photos - len(shown):
        notes[f"{unknown} not known: the sidecar is damaged"] = None
    return line + (f" ({'; '.join(notes)})" if notes else "")


def _and(words: list[str]) -> str:
    return " and ".join([*filter(None, [", ".join(words[:-1])]), words[-1]])


LONGEST = 240
"""Characters of a text that a program shows; the first table has all of it."""


def _print(console: Console, view: View, *, readers: bool) -> None:
    """Print one photo: whose words, then, if wanted, what the *readers* show of them."""
    console.print(escape(printable(view.photo)), style="bold", soft_wrap=True)
    about = [line for sidecar in view.sidecars for line in _about(sidecar, view)]
    if all(sidecar.path == view.photo for sidecar in view.sidecars):
        about.append("no sidecar")
    for line in (*about, *view.notes):
        console.print(escape(line), soft_wrap=True)
    words = _table("in", "whose", "field", "text")
    for row in [
        *(row for sidecar in view.sidecars for row in _rows(sidecar, view)),
        *_own_rows(view),
    ]:
        words.add_row(*map(escape, row))
    if words.row_count:
        console.print(words)
    if not readers:
        return
    table = _table("program", "reads", "field", "shows")
    for shown in view.readers:
        for row in _shown_rows(shown, view):
            table.add_row(*map(escape, row))
        table.add_section()
    console.print(table)


def _shown_rows(shown: Shown, view: View) -> list[tuple[str, str, str, str]]:
    """Return the rows for what one program shows."""
    name, reads = shown.reader, "photo" if shown.sidecar is None else _kind(shown.sidecar)
    if any(sidecar.refused and sidecar.path == shown.sidecar for sidecar in view.sidecars):
        return [(name, reads, "", "not known: the sidecar is damaged")]
    said = {
        "title": "(the program has no titles)" if shown.title is None else shown.title,
        "description": shown.description,
        "keywords": ", ".join(shown.keywords) + (f" ({shown.note})" if shown.note else ""),
    }
    rows = []
    for field, text in said.items():
        line = _one_line(text)
        rows.append((name, reads, field, line if len(line) <= LONGEST else line[:LONGEST] + "…"))
        name = reads = ""
    return [(*row[:3], row[3] or "-") for row in rows]


def _own_rows(view: View) -> list[tuple[str, str, str, str]]:
    """Return the rows for the words in the photo itself."""
    rows = [("photo", "human", _local(field), _one_line(text)) for field, text, _ in view.own]
    if view.own_keywords:
        rows.append(("photo", "human", "keywords", ", ".join(view.own_keywords)))
    return rows


def _table(*columns: str) -> Table:
    """Make a table whose last column wraps: it fits 80 columns."""
    table = Table(box=box.SIMPLE, pad_edge=False, show_edge=False)
    for column in columns[:-1]:
        table.add_column(column, no_wrap=True)
    table.add_column(columns[-1], overflow="fold", ratio=1)
    return table


def _about(sidecar: SidecarView, view: View) -> list[str]:
    """Describe one sidecar, or the XMP packet in the photo."""
    name = printable(sidecar.path.name)
    if sidecar.path == view.photo:
        name = f"the XMP in {name}"
    if sidecar.refused:
        return [f"{name} {sidecar.refused}: taggerd leaves it alone"]
    if not sidecar.touched:
        return [f"{name}: contains nothing from taggerd", *_notes(sidecar)]
    lines = [f"{name}: {sidecar.touched}"]
    by_model: dict[str, list[str]] = {}
    for role, model in sidecar.models.items():
        by_model.setdefault(model, []).append(role)
    said = "; ".join(f"{', '.join(roles)} by {model}" for model, roles in by_model.items())
    profile = f", prompts {sidecar.profile}" if sidecar.profile else ""
    lines.append(f"  {sidecar.date}, taggerd {sidecar.version}{profile}; {said}")
    if sidecar.inherited_from:
        asked = _one_line(sidecar.inherited_from)
        lines.append(f"  inherited from {asked}: of this burst, that photo was asked about")
    return [*lines, *_notes(sidecar)]


def _notes(sidecar: SidecarView) -> list[str]:
    return [f"  {note}" for note in sidecar.notes]


def _rows(sidecar: SidecarView, view: View) -> list[tuple[str, str, str, str]]:
    """Return the rows for the words of one sidecar."""
    kind = "photo" if sidecar.path == view.photo else _kind(sidecar.path)
    fields: dict[tuple[str, str], list[str]] = {}
    for field, text, machine in sidecar.texts:
        whose = "edited" if field in sidecar.edited else "machine" if machine else "human"
        key = (whose, _one_line(text))
        fields.setdefault(key, []).append(_local(field))
    said = {field for field, _, _ in sidecar.texts}
    if gone := [_local(field) for field in sidecar.edited if field not in said]:
        fields["edited", "(emptied)"] = gone
    rows = [(kind, whose, "\n".join(named), text) for (whose, text), named in fields.items()]
    lists = (("human", sidecar.human), ("machine", sidecar.machine), ("rejected", sidecar.rejected))
    rows += [(kind, whose, "keywords", ", ".join(words)) for whose, words in lists if words]
    rows += [
        (kind, "replaced", _local(field), _one_line(text))
        for field, text in sidecar.replaced.items()
    ]
    return rows


def _kind(sidecar: Path) -> str:
    """Return the suffixes of a sidecar's name: ``.jpg.xmp``."""
    return "".join(sidecar.suffixes[-2:]) if len(sidecar.suffixes) > 1 else sidecar.suffix


def _local(field: str) -> str:
    """Return the short name of a field."""
    local = field.rpartition(":")[2]
    return {"AltTextAccessibility": "alt text", "Headline": "headline"}.get(local, local)


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _as_json(view: View) -> dict[str, Any]:
    """Return *view* as JSON."""
    refused = {sidecar.path for sidecar in view.sidecars if sidecar.refused}
    return {
        "photo": printable(view.photo),
        "sidecars": [
            _words_json(sidecar) for sidecar in view.sidecars if sidecar.path != view.photo
        ],
        "embedded": [_words_json(packet) for packet in view.sidecars if packet.path == view.photo],
        "own": {
            "texts": [{"field": words.field, "text": words.text} for words in view.own],
            "keywords": view.own_keywords,
        },
        "readers": [
            {
                "reader": shown.reader,
                "known": shown.sidecar not in refused,
                "sidecar": printable(shown.sidecar) if shown.sidecar else None,
                "title": shown.title,
                "description": shown.description,
                "keywords": shown.keywords,
            }
            for shown in view.readers
        ],
        "notes": view.notes,
    }


def _words_json(sidecar: SidecarView) -> dict[str, Any]:
    """Return the words of one sidecar, or of the packet in the photo."""
    return {
        "path": printable(sidecar.path),
        "refused": sidecar.refused,
        "touched": sidecar.touched,
        "version": sidecar.version,
        "date": sidecar.date,
        "profile": sidecar.profile,
        "models": dict(sidecar.models),
        "inherited_from": sidecar.inherited_from,
        "texts": [
            {"field": field, "text": text, "whose": "machine" if machine else "human"}
            for field, text, machine in sidecar.texts
        ],
        "keywords": {
            "human": sidecar.human,
            "machine": sidecar.machine,
            "rejected": sidecar.rejected,
        },
        "edited": sidecar.edited,
        "replaced": dict(sidecar.replaced),
        "notes": sidecar.notes,
    }
