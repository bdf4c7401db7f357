"""``[tool.taggerd]`` of a pyproject.toml: taken only from folders that the user has trusted.

A pyproject.toml may lie on a memory card or in a folder above it. One is read where ``--config``
names it, or where ``taggerd config trust`` has listed its folder, its owner is the user or root,
and its bytes are those that were trusted: as git's ``safe.directory`` and ``direnv allow`` do. The
list is ``trusted.json`` beside the user's own settings, for the user alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from taggerd.errors import ConfigurationError
from taggerd.photo import printable
from taggerd.settings.backend import PROJECT_KEYS, Backend
from taggerd.settings.permissions import open_own, why_not_private
from taggerd.settings.sources import Layer, anchored, parsed, user_file

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE = "pyproject.toml"
_MOST_BYTES = 2**20
"""A larger file is no project's, and is not read."""


class Project(NamedTuple):
    """What the nearest pyproject.toml contributes."""

    layer: Layer | None = None
    notice: str = ""
    """What of it is ignored, and what to do; empty: nothing."""


class Trusted(NamedTuple):
    """One trusted folder."""

    folder: Path
    state: str
    """``"trusted"``, or why its file is not read now."""


def nearest(start: Path | None) -> Path | None:
    """Return the nearest pyproject.toml at or above *start*, by default the working directory."""
    try:
        start = start or Path.cwd()
        files = (folder / FILE for folder in (start, *start.parents))
        return next((file for file in files if file.is_file()), None)
    except OSError:  # also a working directory that was deleted
        return None


def content(file: Path) -> bytes:
    """Return the bytes of a pyproject.toml that nobody has vouched for; empty if it is no such.

    Never waits (a pipe), never follows a link, never reads more than a megabyte.
    """
    found = _read(file)
    return found.data if found else b""


def trusted_project(start: Path | None) -> Project:
    """Return ``[tool.taggerd]`` of the nearest pyproject.toml at or above *start*, if trusted.

    Raises:
        ConfigurationError: the list of trusted folders cannot be used, or a trusted file is wrong.
    """
    file = nearest(start)
    found = _read(file) if file else None
    # One without that table belongs to another project, and mistakes in it do not matter.
    if file is None or found is None or b"tool.taggerd" not in found.data:
        return Project()
    why = _why_not(file, found, _load())
    if why:
        where = printable(file.parent)
        notice = (
            f"{printable(file)}: its settings are ignored: {why}; if you want them, look at the "
            f"file, then: taggerd config trust {where}"
        )
        return Project(notice=notice)
    return project_layer(file, f"{file} [tool.taggerd]", parsed(file, found.data))


def project_layer(file: Path, name: str, content: Mapping[str, Any]) -> Project:
    """Return ``[tool.taggerd]`` without what no project may set: keys, addresses and hooks.

    A hook is a command that runs as the user, or an address that hears of every photo; a ledger
    says what is written into sidecars.

    Args:
        file: the pyproject.toml.
        name: name of the layer.
        content: all of the file.
    """
    tool = content.get("tool")
    table = tool.get("taggerd") if isinstance(tool, dict) else None
    if not isinstance(table, dict):
        return Project()
    table = dict(anchored(table, file.absolute().parent))
    given = table.get("backend")
    backend = given if isinstance(given, dict) else {}
    left = [key for key in backend if key in Backend.model_fields and key not in PROJECT_KEYS]
    others = [key for key in ("hooks", "ledger") if table.pop(key, None) is not None]
    if not (left or others):
        return Project(Layer(name, table))
    if left:
        table["backend"] = {key: value for key, value in backend.items() if key not in left}
    keys = ", ".join([*(f"backend.{key}" for key in left), *others])
    notice = (
        f"{printable(file)}: {keys} ignored: keys, addresses and hooks are never taken from a "
        f"{FILE}; set them in {printable(user_file(os.environ))} or in the environment"
    )
    return Project(Layer(name, table), notice)


def trust(folder: Path) -> Project:
    """Trust the pyproject.toml in *folder* as it is now, and return what it sets.

    Raises:
        ConfigurationError: it is not there, not the user's, has no ``[tool.taggerd]`` or a mistake;
            or the list cannot be written.
    """
    file = folder / FILE
    found = _read(file)
    if found is None:
        message = f"{printable(file)}: no regular file of at most 1 MB that you may read"
        raise ConfigurationError(message)
    project = project_layer(file, f"{file} [tool.taggerd]", parsed(file, found.data))
    if project.layer is None:
        message = f"{printable(file)}: no settings of taggerd; it keeps them in [tool.taggerd]"
        raise ConfigurationError(message)
    if why := _foreign(found.owner):
        message = f"{printable(file)}: not trusted: {why}; copy the folder, or use --config once"
        raise ConfigurationError(message)
    _store({**_load(), str(folder): found.digest})
    return project


def distrust(folder: Path) -> None:
    """Take *folder* off the list.

    Raises:
        ConfigurationError: it is not on it, or the list cannot be used.
    """
    listed = dict(_load())
    if listed.pop(str(folder), None) is None:
        message = f"{printable(folder)}: not trusted anyway; see taggerd config trust --list"
        raise ConfigurationError(message)
    _store(listed)


def listing() -> list[Trusted]:
    """Return the trusted folders, by name.

    Raises:
        ConfigurationError: the list cannot be used.
    """
    listed = _load()
    rows = []
    for folder in map(Path, sorted(listed)):
        found = _read(folder / FILE)
        why = _why_not(folder / FILE, found, listed) if found else f"no {FILE} there"
        rows.append(Trusted(folder, why or "trusted"))
    return rows


class _Found(NamedTuple):
    """A file as it was read, in one go: what is compared is what is used."""

    data: bytes
    owner: int

    @property
    def digest(self) -> str:
        return hashlib.blake2b(self.data, digest_size=32).hexdigest()


def _read(file: Path) -> _Found | None:
    """Read a file that may be anybody's; None if it is no regular file of a usual size."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(file, flags), "rb") as opened:
            status = os.fstat(opened.fileno())
            if not stat.S_ISREG(status.st_mode):
                return None
            data = opened.read(_MOST_BYTES + 1)
    except OSError:
        return None
    return _Found(data, status.st_uid) if len(data) <= _MOST_BYTES else None


def _why_not(file: Path, found: _Found, listed: Mapping[str, str]) -> str:
    """Return why a file is not trusted; empty if it is."""
    digest = listed.get(str(file.parent))
    if digest is None:
        return "you have not trusted its folder"
    if digest != found.digest:
        return "it has changed since you trusted it"
    return _foreign(found.owner)


def _foreign(owner: int) -> str:
    """Return whose a file is, if it is neither the user's nor root's."""
    return "" if owner in {os.geteuid(), 0} else f"it belongs to user {owner}, not to you"


def _list_file() -> Path:
    return user_file(os.environ).with_name("trusted.json")


def _load() -> dict[str, str]:
    """Return the digest of each trusted folder's file.

    Raises:
        ConfigurationError: somebody else may write the list, or it cannot be read.
    """
    file = _list_file()
    try:
        why = why_not_private(file)
        with os.fdopen(open_own(file), "rb") as opened:
            if os.fstat(opened.fileno()).st_mode & 0o022:
                why = "others may write it"
            listed = json.loads(opened.read())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        message = f"{printable(file)}: cannot read the trusted folders: {error.strerror}"
        raise ConfigurationError(message) from error
    except (ValueError, RecursionError):
        listed = None
    if not isinstance(listed, dict) or not all(isinstance(each, str) for each in listed.values()):
        why = "it is damaged"
    if why:
        message = f"{printable(file)}: not used: {why}; remove it and trust your folders again"
        raise ConfigurationError(message)
    return dict(listed)


def _store(listed: Mapping[str, str]) -> None:
    """Write the list, in one step, for the user alone whatever the umask.

    Raises:
        ConfigurationError: it cannot be written.
    """
    file = _list_file()
    made = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with suppress(FileNotFoundError):
            made.unlink()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(made, flags, 0o600), "w", encoding="utf-8") as out:
            os.fchmod(out.fileno(), 0o600)
            json.dump(listed, out, indent=1, sort_keys=True)
            out.flush()
            os.fsync(out.fileno())
        made.replace(file)
    except OSError as error:
        message = f"{printable(file)}: cannot write the trusted folders: {error.strerror}"
        raise ConfigurationError(message) from error
