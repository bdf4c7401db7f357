"""``taggerd adopt``: words that another tagger wrote become machine words."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taggerd import __version__, metadata
from taggerd.arrivals import find, work_below
from taggerd.cli import interrupts, options
from taggerd.errors import ConfigurationError, WorkerLost
from taggerd.photo import printable
from taggerd.services import local_now, metadata_options, open_pools, read_embedded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from taggerd.metadata import Adopted, Adoption
    from taggerd.photo import Photo
    from taggerd.settings import Settings


@options.configured(options.RECURSIVE, options.STATE)
def adopt(
    load: options.Load,
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Photos or folders; default: arrivals.roots.",
            metavar="PATH",
            show_default=False,
            readable=False,
        ),
    ] = None,
    *,
    jsonl: Annotated[
        list[Path] | None,
        typer.Option(
            help="The other tagger's records (imageworks' results/*.jsonl, or taggerd's own): what "
            "they say word for word is adopted. May be repeated.",
            metavar="FILE",
        ),
    ] = None,
    marked: Annotated[
        str,
        typer.Option(
            help="All words of the photos that have this keyword; if it has keywords below it, "
            "only those keywords.",
            metavar="KEYWORD",
        ),
    ] = "",
    all_words_before: Annotated[
        datetime | None,
        typer.Option(
            help="All words in sidecars, and in photos without one, that were last changed before "
            "this day.",
            formats=["%Y-%m-%d"],
            metavar="YYYY-MM-DD",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Change nothing; list what would be adopted.")
    ] = False,
) -> int:
    """Take words that another tagger wrote for taggerd's own.

    No word changes: a record is added to the sidecars. From then on taggerd scan --retag replaces
    these words, and taggerd undo removes them. Words inside a photo that has no sidecar are copied
    into a new one; the photo stays as it is. Say which words with --jsonl, --marked or
    --all-words-before. Exit code 0: all well; 1: some sidecars were refused; 2: wrong usage.
    """
    loaded = load(log_level="error")
    if not (jsonl or marked or all_words_before):
        message = "say which words: --jsonl FILE, --marked KEYWORD or --all-words-before DATE"
        raise ConfigurationError(message)
    roots = [root.path for root in loaded.settings.arrivals.roots]
    if not (paths or roots):
        message = "nothing to adopt: name photos or folders (taggerd adopt PATH)"
        raise ConfigurationError(message)
    adoption = metadata.Adoption(
        marked=marked,
        before=all_words_before.date() if all_words_before else None,
        version=__version__,
        now=local_now(),
        dry_run=dry_run,
    )
    written = _read(jsonl or [])
    report = _Report(dry_run=dry_run)
    interrupts.run(_adopt_all(paths or roots, loaded.settings, adoption, written, report.adopted))
    report.conclude()
    return 1 if report.refused else 0


async def _adopt_all(
    paths: Sequence[Path],
    settings: Settings,
    adoption: Adoption,
    written: Mapping[str, Adoption],
    on_adopted: Callable[[Adopted], None],
) -> None:
    """Adopt words of all photos below *paths*."""
    await asyncio.to_thread(work_below, paths, settings)
    found = await asyncio.to_thread(find, paths, settings)
    options = metadata_options(settings)
    async with open_pools(settings) as pools:
        for photo in found.photos:
            wanted = _wanted(photo, adoption, written)
            if wanted is None:
                continue
            try:
                said = await read_embedded(photo, pools.decoders, pools.disks)
                done = await pools.writers.run(metadata.adopt, photo, wanted, options, said)
            except WorkerLost as error:
                done = (metadata.Adopted(path=photo.primary.path, error=str(error)),)
            for each in done:
                on_adopted(each)


def _wanted(photo: Photo, adoption: Adoption, written: Mapping[str, Adoption]) -> Adoption | None:
    """Return what to adopt of *photo*; None: nothing, it is not looked at."""
    said = [written[file.path.name] for file in photo.files if file.path.name in written]
    if not said and not adoption.marked and adoption.before is None:
        return None
    return replace(
        adoption,
        texts=frozenset().union(*(each.texts for each in said)),
        keywords=frozenset().union(*(each.keywords for each in said)),
        models={role: model for each in said for role, model in each.models.items()},
    )


def _read(files: Iterable[Path]) -> dict[str, Adoption]:
    """Return what the records in *files* say, by the file name of the photo.

    By name, because archives move; only words that are the very same are adopted.

    Raises:
        ConfigurationError: a file cannot be read or holds no records.
    """
    written: dict[str, Adoption] = {}
    for file in files:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeError) as error:
            message = f"{printable(file)} cannot be read: {error}"
            raise ConfigurationError(message) from error
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
                name = Path(record["image"]).name
                said = _said(record)
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
                message = f"{printable(file)}, line {number}: no record of a tagged photo"
                raise ConfigurationError(message) from error
            earlier = written.get(name, said)
            written[name] = replace(
                said,
                texts=said.texts | earlier.texts,
                keywords=said.keywords | earlier.keywords,
            )
    return written


def _said(record: dict[str, object]) -> Adoption:
    """Return what one record says: texts, keywords as words or as objects, models."""
    texts = [record.get("caption"), record.get("description")]
    words = record.get("keywords")
    listed = words if isinstance(words, list) else []
    keywords = [word.get("keyword") if isinstance(word, dict) else word for word in listed]
    models = record.get("models")
    return metadata.Adoption(
        texts=frozenset(text for text in texts if isinstance(text, str) and text.strip()),
        keywords=frozenset(word for word in keywords if isinstance(word, str) and word.strip()),
        models={
            role: Path(model).name
            for role, model in (models.items() if isinstance(models, dict) else ())
            if isinstance(model, str) and model not in {"", "None", "null"}
        },
        now=local_now(),
    )


class _Report:
    """What a person sees: a line per sidecar, and the totals."""

    def __init__(self, *, dry_run: bool) -> None:
        self._word = "would adopt" if dry_run else "adopted"
        self._sidecars = self._created = 0
        self.refused = 0

    def adopted(self, done: Adopted) -> None:
        """Print what was adopted in one sidecar."""
        if done.error:
            self.refused += 1
            typer.echo(f"refused: {printable(done.path)}: {done.error}")
            return
        self._sidecars += 1
        self._created += done.created
        words = [f"keywords {', '.join(done.keywords)}"] if done.keywords else []
        made = " (new: the words are in the photo)" if done.created else ""
        what = "; ".join([*([", ".join(done.fields)] if done.fields else []), *words])
        typer.echo(printable(f"{self._word}: {done.path}{made}: {what}"))

    def conclude(self) -> None:
        """Print the totals."""
        count = f"{self._sidecars} sidecar{'' if self._sidecars == 1 else 's'}"
        line = f"{self._word} words in {count}"
        line += f", {self._created} of them new" if self._created else ""
        line += f"; {self.refused} refused" if self.refused else ""
        typer.echo(line)
