"""The settings in force: the sources merged, validated, and what is wrong with them.

Highest first: command line, ``TAGGERD__SECTION__KEY`` in the environment, systemd credentials
(files named ``section.key`` in ``$CREDENTIALS_DIRECTORY``), one settings file (``--config``, else
``$XDG_CONFIG_HOME/taggerd/taggerd.toml``, else ``/etc/taggerd/taggerd.toml``), ``[tool.taggerd]``
of the nearest pyproject.toml if it is trusted (:mod:`taggerd.settings.project`), defaults.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from taggerd.errors import ConfigurationError
from taggerd.photo import brief
from taggerd.settings import Settings
from taggerd.settings.keys import leaves, leaves_of_own, nearest_to
from taggerd.settings.permissions import trusted_users, why_not_private
from taggerd.settings.project import FILE as PYPROJECT
from taggerd.settings.project import Project, project_layer, trusted_project
from taggerd.settings.sources import (
    Layer,
    anchored,
    credentials,
    default_file,
    environment,
    toml,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True, slots=True)
class Configuration:
    """The settings in force and where each came from."""

    settings: Settings
    origins: Mapping[str, str]
    """Layer per dotted key, e.g. ``{"backend.base_url": "/etc/taggerd/taggerd.toml"}``."""
    file: Path | None
    """The settings file that was read, if any."""
    layers: tuple[str, ...] = ()
    """The layers that were read, highest first."""
    notices: tuple[str, ...] = ()
    """What was found and is ignored, one line each, for people."""

    def outranks(self, one: str, other: str) -> bool | None:
        """Say whether setting *one* comes from a higher layer than *other*; None: the same."""
        order = [*self.layers, "default"]
        ranks = [order.index(self.origins.get(key, "default")) for key in (one, other)]
        return None if ranks[0] == ranks[1] else ranks[0] < ranks[1]

    @property
    def in_force(self) -> list[str]:
        """The layers that set something no higher layer sets, and the file, highest first."""
        used = {*self.origins.values(), *([str(self.file)] if self.file else [])}
        return [layer for layer in self.layers if layer in used]

    @property
    def prompts_directory(self) -> Path | None:
        """Folder of the user's own prompt profiles: as set, else ``prompts/`` beside the file."""
        if self.settings.prompts.directory:
            return self.settings.prompts.directory
        beside = self.file.parent / "prompts" if self.file else None
        return beside if beside and beside.is_dir() else None


def load(
    overrides: Mapping[str, Any] | None = None,
    *,
    config: Path | None = None,
    cwd: Path | None = None,
) -> Configuration:
    """Read all sources and return the settings in force.

    Args:
        overrides: settings of the command line, nested like the settings.
        config: the settings file; default: the user's, else the system's, if there is one.
        cwd: where the search for pyproject.toml starts; default: the working directory.

    Raises:
        ConfigurationError: one line per mistake: where, which key, what to write instead.
    """
    file = config or default_file()
    named = _read(file) if file else Project()
    project = Project() if file and file.name == PYPROJECT else trusted_project(cwd)
    found = [
        Layer("command line", overrides or {}),
        environment(),
        *credentials(),
        named.layer,
        project.layer,
    ]
    layers = [layer for layer in found if layer]
    loaded = Configuration(
        validated(layers),
        dict(_origins(layers)),
        file,
        tuple(layer.name for layer in layers),
        tuple(each.notice for each in (named, project) if each.notice),
    )
    _refuse_duties_of_one(loaded)
    return loaded


def _refuse_duties_of_one(configuration: Configuration) -> None:
    """Refuse duties that nobody else could have: what a host leaves, another has to do.

    Raises:
        ConfigurationError: not all duties, and no ledger that other hosts share.
    """
    settings = configuration.settings
    if settings.ledger.url is None and not settings.service.all_duties:
        message = (
            f"{configuration.origins['service.duties']}: service.duties: hosts divide their duties "
            "only where they share a ledger: set ledger.url, or leave service.duties out"
        )
        raise ConfigurationError(message)


def _read(file: Path) -> Project:
    """Read a settings file that was named, or has its usual name.

    Raises:
        ConfigurationError: it cannot be read, is not TOML, is another user's, or others may write
            to it or exchange it; or it is a pyproject.toml without a table.
    """
    if file.name != PYPROJECT:
        refuse_shared(file)
    content = toml(file)
    if file.name != PYPROJECT:
        return Project(Layer(str(file), anchored(content, file.absolute().parent)))
    project = project_layer(file, str(file), content)
    if project.layer is None:
        message = f"{file}: no settings of taggerd; it keeps them in [tool.taggerd]"
        raise ConfigurationError(message)
    return project


def refuse_shared(file: Path) -> None:
    """Refuse a file by which another user would say where photos and keys go.

    Raises:
        ConfigurationError: it is such a file.
    """
    try:
        status = file.stat()
        if stat.S_ISREG(status.st_mode):
            why = why_not_private(file)
        else:  # a pipe that the shell made
            why = "" if status.st_uid in trusted_users() else "another user made it"
    except OSError:
        return  # reading it says why
    if why:
        message = f"{file}: not used: {why}"
        raise ConfigurationError(message)


def validated(layers: list[Layer]) -> Settings:
    """Merge the layers, highest first, and validate the result."""
    merged: dict[str, Any] = {}
    for layer in layers:
        merged = _above(merged, layer.values)
    try:
        return Settings.model_validate(_with_names(merged, layers))
    except ValidationError as error:
        lines = [_complaint(layers, mistake) for mistake in error.errors()]
        raise ConfigurationError("\n".join(lines)) from None


def _above(higher: Mapping[str, Any], lower: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one tree of settings over another: tables are merged, of all else the *higher* counts."""
    return {**lower, **higher} | {
        key: _above(higher[key], lower[key])
        for key in higher.keys() & lower.keys()
        if isinstance(higher[key], dict) and isinstance(lower[key], dict)
    }


def _with_names(merged: dict[str, Any], layers: list[Layer]) -> dict[str, Any]:
    """Return *merged* with the name of each import folder that a higher layer gives by its path.

    Without this ``--input-dir`` would make another folder of it, known to this machine alone.
    """
    tables = [root for layer in layers for root in _roots(layer.values) if isinstance(root, dict)]
    names: dict[str, object] = {}
    for table in tables:
        if isinstance(table.get("path"), str) and table.get("name"):
            names.setdefault(_folder(table["path"]), table["name"])
    if not names:
        return merged
    named = [
        {"path": root, "name": names.get(_folder(root))} if isinstance(root, str | Path) else root
        for root in _roots(merged)
    ]
    return {**merged, "arrivals": {**merged["arrivals"], "roots": named}}


def _roots(values: Mapping[str, Any]) -> list[Any]:
    arrivals = values.get("arrivals")
    roots = arrivals.get("roots") if isinstance(arrivals, dict) else None
    return roots if isinstance(roots, list) else []


def _folder(path: str | Path) -> str:
    return os.path.normpath(Path(path).expanduser())


_KINDS = {
    "list_type": 'must be a list, like ["…", "…"]',
    "model_type": "must be a table, like {… = …}",
    "path_type": "must be a path",
}
"""Messages instead of pydantic's, which name Python's types."""


def _complaint(layers: list[Layer], mistake: Mapping[str, Any]) -> str:
    """Put one validation error as: where: key: what is wrong, and what was given."""
    keys = [str(key) for key in mistake["loc"]]
    origin = next((layer.name for layer in layers if sets(layer.values, keys)), "settings")
    key = brief(".".join(keys))
    if mistake["type"] == "extra_forbidden":
        nearest = nearest_to([k for k in mistake["loc"] if isinstance(k, str)])  # no index
        return f"{origin}: {key}: no such setting" + (
            f"; did you mean {nearest}?" if nearest else ""
        )
    text = mistake["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    what = text if text != mistake["msg"] else text[:1].lower() + text[1:]
    if text != mistake["msg"] and mistake["msg"].startswith("Input should be "):
        what = f"must be {text}"
    what = _KINDS.get(mistake["type"], what)
    # No value of these is repeated: it may hold a key or a password.
    quiet = keys[0] in {"backend", "hooks", "ledger"} or mistake["type"] == "value_error"
    given = "" if quiet else f", not {brief(repr(mistake['input']))}"
    return f"{origin}: {key}: {brief(what, 400)}{given}"


def sets(values: Mapping[str, Any], keys: list[str]) -> bool:
    """Say whether a layer sets the setting at *keys* (or the list that contains it)."""
    at: Any = values
    for key in keys:
        if not isinstance(at, dict):
            return True
        if key not in at:
            return False
        at = at[key]
    return True


def _origins(layers: list[Layer]) -> Iterator[tuple[str, str]]:
    """Yield each setting with the name of the layer that sets it."""
    own = [leaf for layer in layers for leaf in leaves_of_own(layer.values.get("roles"))]
    for keys, _ in [*leaves(), *own]:
        origin = next((layer.name for layer in layers if sets(layer.values, [*keys])), "default")
        by_systemd = keys == ("state_directory",) and os.environ.get("STATE_DIRECTORY")
        yield ".".join(keys), "$STATE_DIRECTORY" if origin == "default" and by_systemd else origin


def check_folders(configuration: Configuration, *, allow_offline: bool) -> None:
    """Refuse settings without an import folder, or with folders or files that cannot be used.

    Args:
        configuration: the settings.
        allow_offline: accept import folders that do not exist, or are not writable, for now (an
            unplugged disk).

    Raises:
        ConfigurationError: one line per folder: which layer, which key, which folder.
    """
    settings = configuration.settings
    if settings.service.needs_folders and not settings.arrivals.roots:
        message = "no import folder: set arrivals.roots (only taggerd scan FOLDER needs none)"
        raise ConfigurationError(message)
    roots = [] if allow_offline else settings.arrivals.roots
    named = [("arrivals.roots", root.path, True) for root in roots]
    if settings.prompts.directory:
        named.append(("prompts.directory", settings.prompts.directory, True))
    if settings.backend.registry_path and settings.backend.use_registry:
        named.append(("backend.registry_path", settings.backend.registry_path, False))
    wrong = [(key, path, _missing(path, folder=folder)) for key, path, folder in named]
    wrong += [("arrivals.roots", root.path, _not_permitted(root.path)) for root in roots]
    lines = [
        f"{configuration.origins[key]}: {key}: {path}: {what}" for key, path, what in wrong if what
    ]
    if lines:
        raise ConfigurationError("\n".join(lines))


def _missing(path: Path, *, folder: bool) -> str:
    """Return why *path* is no folder, or no file; empty if it is."""
    if not path.exists():
        return f"no such {'folder' if folder else 'file'}; create it, mount it or correct the path"
    if path.is_dir() != folder:
        return "not a folder" if folder else "not a file"
    return ""


def _not_permitted(folder: Path) -> str:
    """Return what the present user may not do in an import folder; empty if all that is needed."""
    if not folder.is_dir():
        return ""
    for right, what in ((os.R_OK, "read"), (os.X_OK, "entered"), (os.W_OK, "written")):
        if not os.access(folder, right):
            return f"cannot be {what} by user {os.geteuid()}; permit it, or remount its disk"
    return ""
