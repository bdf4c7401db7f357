"""The settings of imageworks' personal tagger, as settings of taggerd.

It keeps them in ``[tool.imageworks.personal_tagger]`` of a pyproject.toml and in the environment as
``IMAGEWORKS_PERSONAL_TAGGER__KEY``.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taggerd.errors import ConfigurationError
from taggerd.photo import brief
from taggerd.settings.configuration import validated
from taggerd.settings.display import literal
from taggerd.settings.keys import leaves
from taggerd.settings.project import content, nearest
from taggerd.settings.sources import Layer, parsed, toml

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

PREFIX = "IMAGEWORKS_PERSONAL_TAGGER__"
TABLE = "[tool.imageworks.personal_tagger]"
NOTICE = "settings of imageworks found: `taggerd config import` translates them"

KEYS = {
    "base_url": "backend.base_url",
    "default_base_url": "backend.base_url",
    "api_key": "backend.api_key",
    "default_api_key": "backend.api_key",
    "model": "backend.model",
    "default_model": "backend.model",
    "timeout": "backend.timeout_seconds",
    "timeout_seconds": "backend.timeout_seconds",
    "temperature": "backend.temperature",
    "top_p": "backend.top_p",
    "max_new_tokens": "backend.max_tokens",
    "preflight": "backend.preflight",
    "use_registry": "backend.use_registry",
    "use_loader": "backend.use_loader",
    "registry_path": "backend.registry_path",
    "caption_model": "roles.caption.model",
    "keyword_model": "roles.keywords.model",
    "description_model": "roles.description.model",
    "caption_role": "roles.caption.registry_role",
    "keyword_role": "roles.keywords.registry_role",
    "description_role": "roles.description.registry_role",
    "caption_registry_model": "roles.caption.registry_model",
    "keyword_registry_model": "roles.keywords.registry_model",
    "description_registry_model": "roles.description.registry_model",
    "prompt_profile": "prompts.profile",
    "max_keywords": "keywords.max",
    "batch_size": "queue.photos_in_flight",
    "max_workers": "workers.processes",
    "input_dir": "arrivals.roots",
    "input_dirs": "arrivals.roots",
    "recursive": "arrivals.recursive",
    "image_exts": "arrivals.image_extensions",
    "overwrite_metadata": "metadata.overwrite",
    "backup_originals": "metadata.backup_originals",
}
"""Each of the older keys with its equivalent. Of two with the same one the first here wins."""

_PER_SCAN = {
    "output_jsonl": "--output-jsonl FILE",
    "summary_path": "--summary FILE",
    "dry_run": "--dry-run",
    "no_meta": "--no-meta",
}
"""What is chosen for each scan and not set, with its switch."""
_ABSENT = frozenset({"", "none", "null"})
_NO_KEY = "EMPTY"
"""vLLM's word for no API key."""
_PATHS = frozenset({"backend.registry_path", "arrivals.roots"})


@dataclass(frozen=True, slots=True)
class _Old:
    """One of the older settings."""

    key: str
    name: str
    """As its owner wrote it: a key, or the name of a variable."""
    value: object


@dataclass(slots=True)
class Translation:
    """The older settings as settings of taggerd."""

    source: str
    """Where they come from, for people."""
    found: Path | None = None
    """The pyproject.toml among them that nobody named: it was found at or above the folder."""
    values: dict[str, object] = field(default_factory=dict)
    """By dotted key."""
    left: list[str] = field(default_factory=list)
    """What has no equivalent, and why."""

    def toml(self, *, with_key: bool) -> str:
        """Return a settings file; the API key is in it only *with_key*."""
        lines = [f"# Translated from {self.source}."]
        section = ""
        for keys, _ in leaves():
            dotted = ".".join(keys)
            if dotted not in self.values:
                continue
            if (table := ".".join(keys[:-1])) != section:
                section = table
                lines += ["", f"[{section}]"]
            if dotted == "backend.api_key" and not with_key:
                lines.append("# api_key is not shown here; --write writes it")
            else:
                lines.append(f"{keys[-1]} = {literal(self.values[dotted])}")
        if self.left:
            lines += ["", "# Not translated:", *(f"#   {line}" for line in self.left)]
        return "\n".join(lines) + "\n"


def present() -> bool:
    """Say whether there are settings of imageworks, in the environment or the nearest project."""
    file = nearest(None)
    # Not parsed: it may lie on a memory card, and is anybody's.
    return any(_from_environment()) or bool(file and b"imageworks.personal_tagger" in content(file))


def translate(file: Path | None, profiles: Collection[str]) -> Translation:
    """Translate the settings of *file*, by default the nearest pyproject.toml, and the environment.

    Args:
        file: holds the table.
        profiles: the prompt profiles that there are.

    Raises:
        ConfigurationError: *file* cannot be read, or there are no such settings.
    """
    found = file or nearest(None)
    table = _table(toml(file) if file else parsed(found, content(found)) if found else {})
    environment = list(_from_environment())
    if not table and (file or not environment):
        where = file or "neither the nearest pyproject.toml nor the environment"
        message = f"{where}: no settings of imageworks; it keeps them in {TABLE}"
        raise ConfigurationError(message)
    sources = [f"{found} {TABLE}"] if table else []
    source = " and ".join([*sources, *(["the environment"] * bool(environment))])
    translation = Translation(source, found if table and not file else None)
    order = list(KEYS)
    rank = {key: order.index(key) for key in order}
    for olds in (environment, [_Old(key, key, value) for key, value in table.items()]):
        for old in sorted(olds, key=lambda each: rank.get(each.key, len(rank))):
            _add(translation, old, found.parent if found else Path.cwd(), profiles)
    return translation


def _add(translation: Translation, old: _Old, base: Path, profiles: Collection[str]) -> None:
    """Add one older setting; paths are relative to *base*."""
    if isinstance(old.value, str) and old.value.casefold() in _ABSENT:
        return
    target = KEYS.get(old.key)
    if target is None:
        switch = _PER_SCAN.get(old.key)
        reason = f"per scan: taggerd scan {switch}" if switch else "no equivalent"
        translation.left.append(f"{brief(old.name)}: {reason}")
    elif target == "prompts.profile" and old.value not in profiles:
        shown = brief(str(old.value))
        reason = "no such profile here; taggerd config prompts lists them"
        translation.left.append(f"{old.name} = {shown}: {reason}")
    elif target not in translation.values and old.value != _NO_KEY:
        _set(translation, old, target, base)


def _set(translation: Translation, old: _Old, target: str, base: Path) -> None:
    """Set *target* to the value of *old*, if the settings take it."""
    complaint = ""
    for value in _readings(old):
        placed = _below(base, value) if target in _PATHS else value
        try:
            validated([Layer("imageworks", _nested(target, placed))])
        except ConfigurationError as error:
            complaint = complaint or str(error).removeprefix("imageworks: ")
        else:
            translation.values[target] = placed
            return
    shown = "" if target.startswith("backend.") else f" = {brief(str(old.value))}"
    translation.left.append(f"{old.name}{shown}: cannot be used: {complaint}")


def _readings(old: _Old) -> Iterator[object]:
    """Yield what the value may mean: a text of the environment may be a number, flag or list."""
    if old.name != old.key and isinstance(old.value, str):
        with suppress(ValueError, RecursionError):
            yield json.loads(old.value.lower() if old.value.lower() in _FLAGS else old.value)
    yield old.value


_FLAGS = frozenset({"true", "false"})


def _below(base: Path, value: object) -> object:
    """Return a relative path, or a list of them, from the root: the older tool ran in *base*."""
    if isinstance(value, list):
        return [_below(base, item) for item in value]
    return str(base / Path(value).expanduser()) if isinstance(value, str) else value


def _nested(dotted: str, value: object) -> dict[str, Any]:
    """Make ``backend.model`` into a table in a table."""
    nested: Any = value
    for key in reversed(dotted.split(".")):
        nested = {key: nested}
    table: dict[str, Any] = nested
    return table


def _from_environment() -> Iterator[_Old]:
    for name, value in sorted(os.environ.items()):
        if name.upper().startswith(PREFIX):
            yield _Old(name[len(PREFIX) :].lower(), name, value)


def _table(content: object) -> dict[str, Any]:
    """Return the older tool's table in the *content* of a file; empty if there is none."""
    at = content
    for key in ("tool", "imageworks", "personal_tagger"):
        at = at.get(key) if isinstance(at, dict) else None
    return at if isinstance(at, dict) else {}
