"""Changes settings files: the only module that writes them.

What is not named stays as its owner wrote it: other settings, comments, order. A change is worked
out first, so that it can be shown, and the result is loaded before it takes the file's name.
"""

from __future__ import annotations

import copy
import errno
import fcntl
import os
import re
import stat
import tomllib
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import tomlkit
from tomlkit.exceptions import TOMLKitError

from taggerd.errors import ConfigurationError
from taggerd.photo import brief, printable
from taggerd.settings.configuration import refuse_shared, validated
from taggerd.settings.display import HIDDEN, default_line, literal, template
from taggerd.settings.keys import fields_at
from taggerd.settings.project import FILE as PYPROJECT
from taggerd.settings.sources import Layer, anchored, parsed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SECRETS = frozenset({"api_key", "password", "secret", "url"})
"""Last keys of settings that are not shown."""


class Line(NamedTuple):
    """One setting that changes, for people."""

    key: str
    """``backend.model``."""
    before: str
    """As TOML; empty: not set in this file."""
    after: str


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a settings file that was worked out, and not written yet."""

    path: Path
    lines: tuple[Line, ...]
    """What changes; empty: the file says it already."""
    before: bytes | None
    """What the file holds; None: there is none yet."""
    after: bytes

    def write(self) -> None:
        """Write the file, unless it says all of it already.

        Raises:
            ConfigurationError: it changed since :func:`plan` read it, or cannot be written.
        """
        if self.lines or self.before is None:
            _write(self.path, self.before, self.after)


def change(path: Path, values: Mapping[str, object]) -> Change:
    """Set *values* in a settings file, as :func:`plan` does, and write it.

    Raises:
        ConfigurationError: as of :func:`plan` and :meth:`Change.write`; the file is as it was.
    """
    planned = plan(path, values)
    planned.write()
    return planned


def plan(path: Path, values: Mapping[str, object]) -> Change:
    """Work out how *values* come into a settings file.

    Args:
        path: the file. One that does not exist begins with every setting explained, as
            ``taggerd config init`` writes it.
        values: by dotted key, such as ``{"backend.model": "qwen2.5-vl"}``; None: the default, where
            that is to have none.

    Raises:
        ConfigurationError: the file cannot be read, is shared with others, or is a pyproject.toml;
            or the result would not be valid.
    """
    if path.name == PYPROJECT:
        first = next(iter(values.items()), ("", ""))
        message = f"{path}: belongs to a project, and is left as it is: set {first[0]} there"
        raise ConfigurationError(message)
    before = _read(path)
    text = template() if before is None else _text(path, before)
    old = parsed(path, text.encode())
    lines = tuple(_lines(old, values))
    wanted = _with(old, values)
    for key, value in values.items():
        text = _set(path, text, key.split("."), value)
    after = _encoded(path, text)
    if parsed(path, after) != wanted:
        keys = ", ".join(line.key for line in lines)
        message = f"{path}: cannot be changed without touching more than {keys}: set it there"
        raise ConfigurationError(message)
    validated([Layer(str(path), anchored(wanted, path.absolute().parent))])
    return Change(path, lines, before, after)


def readable(path: Path) -> Path:
    """Return what to read for settings that go into *path*: nothing, while it is not there."""
    return path if path.exists() else Path(os.devnull)


def listed(path: Path, key: str) -> list[str]:
    """Return the list *key* as a settings file has it now; none where it has none.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    before = _read(path)
    found = None if before is None else _at(parsed(path, before), key.split("."))
    return [str(each) for each in found] if isinstance(found, list) else []


def create(path: Path, text: str) -> None:
    """Write a settings file that does not exist yet.

    It is for the user alone, whatever the umask; in a folder of another group (/etc/taggerd), that
    group may read it: the service's.

    Raises:
        ConfigurationError: it exists, or cannot be written.
    """
    _write(path, None, _encoded(path, text))


def _lines(old: Mapping[str, Any], values: Mapping[str, object]) -> Iterator[Line]:
    """Yield what *values* change."""
    for key, value in values.items():
        before, after = _at(old, key.split(".")), literal(value)
        shown = "" if before is None else literal(before)
        if shown == after:
            continue
        if key.rpartition(".")[2] in _SECRETS:
            shown, after = shown and HIDDEN, HIDDEN if value else after
        yield Line(key, shown, after)


def _at(table: Mapping[str, Any], keys: list[str]) -> Any:  # noqa: ANN401 - whatever TOML can say
    """Return the value at *keys*; None if there is none."""
    at: Any = table
    for key in keys:
        at = at.get(key) if isinstance(at, dict) else None
    return at


def _with(old: Mapping[str, Any], values: Mapping[str, object]) -> dict[str, Any]:
    """Return what the file has to say afterwards."""
    wanted: dict[str, Any] = copy.deepcopy(dict(old))
    for dotted, value in values.items():
        *tables, key = dotted.split(".")
        at = wanted
        for table in tables:
            below = at.setdefault(table, {})
            at = below if isinstance(below, dict) else at.setdefault(f"{table} ", {})
        at[key] = _plain(value)
    return wanted


def _plain(value: object) -> object:
    """Return *value* as TOML reads it."""
    return tomllib.loads(f"value = {literal(value)}")["value"]


def _set(path: Path, text: str, keys: list[str], value: object) -> str:
    """Return the *text* of a settings file with one setting changed."""
    old = tomllib.loads(text)
    if (there := _at(old, keys)) is not None:
        return text if there == _plain(value) else _replaced(path, text, keys, value)
    wanted = _with(old, {".".join(keys): value})
    for candidate in _candidates(text, keys, f"{keys[-1]} = {literal(value)}"):
        # A line that looks like a table may be part of a text: only the parser knows.
        with suppress(tomllib.TOMLDecodeError):
            if tomllib.loads(candidate) == wanted:
                return candidate
    return _replaced(path, text, keys, value)


def _candidates(text: str, keys: list[str], line: str) -> Iterator[str]:
    """Yield *text* with a *line* more, the best position first.

    tomlkit would add it behind the comment that explains the next table.
    """
    end = "\r\n" if "\r\n" in text else "\n"
    starts = [0]
    if keys[:-1]:
        name = r"[ \t]*\.[ \t]*".join(map(re.escape, keys[:-1]))
        header = re.compile(
            rf"^[ \t]*\[[ \t]*{name}[ \t]*\][ \t]*(#[^\r\n]*)?(?=\r?$)", re.MULTILINE
        )
        starts = [found.end() for found in header.finditer(text)]
    field = (fields_at(keys[:-1]) or {}).get(keys[-1])
    for start in starts:
        following = re.compile(r"^[ \t]*\[", re.MULTILINE).search(text, start)
        stop = following.start() if following else len(text)
        if field is not None:
            default = re.escape(default_line(keys[-1], field))
            if found := re.compile(rf"^{default}(?=\r?$)", re.MULTILINE).search(text, start, stop):
                yield text[: found.start()] + line + text[found.end() :]
        yield text[:start] + (f"{end}{line}" if start else f"{line}{end}") + text[start:]
    gap = f"{text.rstrip()}{end}{end}" if text.strip() else ""
    yield f"{gap}[{'.'.join(keys[:-1])}]{end}{line}{end}"


def _replaced(path: Path, text: str, keys: list[str], value: object) -> str:
    """Return *text* with a setting that it has, or that fits nowhere else, by tomlkit."""
    try:
        document = tomlkit.parse(text)
        at: Any = document
        for key in keys[:-1]:
            at = at.setdefault(key, tomlkit.table())
        at[keys[-1]] = tomlkit.parse(f"value = {literal(value)}")["value"]
        changed = document.as_string()
        return changed if changed.endswith("\n") or not text.endswith("\n") else f"{changed}\n"
    except (TOMLKitError, AttributeError, TypeError) as error:
        message = f"{path}: {'.'.join(keys)}: cannot be set: {brief(str(error))}"
        raise ConfigurationError(message) from error


def _read(path: Path) -> bytes | None:
    """Return what a settings file holds; None if there is none.

    Raises:
        ConfigurationError: it cannot be read, or others may write to it.
    """
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():
            message = f"{path}: leads to {path.readlink()}, which is not there: remove the link"
            raise ConfigurationError(message) from None
        return None
    except OSError as error:
        message = f"{path}: cannot read the settings: {error.strerror}"
        raise ConfigurationError(message) from error
    refuse_shared(path)
    return content


def _text(path: Path, content: bytes) -> str:
    """Return a settings file as text; what is wrong with it is raised as when it is read."""
    parsed(path, content)
    return content.decode()


def _encoded(path: Path, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        message = f"{path}: {printable(text[error.start : error.end])!r} cannot be kept in TOML"
        raise ConfigurationError(message) from error


def _write(path: Path, before: bytes | None, after: bytes) -> None:
    """Let *after* take the name of a file that holds *before*, in one step.

    Raises:
        ConfigurationError: it holds something else by now, or cannot be written.
    """
    target = path if before is None else path.resolve()  # a link into somebody's dotfiles stays one
    try:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _alone(target.parent):
            made = target.with_name(f".{target.name}.{os.getpid()}")
            try:
                _fill(made, after, _status(target) if before is not None else None)
                _exchange(path, made, target, before)
            finally:
                made.unlink(missing_ok=True)
            _sync(target.parent)
    except OSError as error:
        message = f"{path}: cannot write the settings: {error.strerror}"
        raise ConfigurationError(message) from error


def _exchange(path: Path, made: Path, target: Path, before: bytes | None) -> None:
    """Give *made* the name *target*, if what has that name holds *before*."""
    if before is None:
        try:
            os.link(made, target)
        except FileExistsError as error:
            message = f"{path}: already exists, and is left as it is"
            raise ConfigurationError(message) from error
        except OSError as error:
            if error.errno not in {errno.EPERM, errno.ENOTSUP, errno.ENOSYS} or target.exists():
                raise
            made.replace(target)  # a file system without links
        return
    try:
        is_same = target.read_bytes() == before
    except FileNotFoundError:
        is_same = False
    if not is_same:
        message = f"{path}: changed meanwhile, and is left as it is: try again"
        raise ConfigurationError(message)
    made.replace(target)


def _status(target: Path) -> os.stat_result | None:
    try:
        return target.stat()
    except FileNotFoundError:
        return None  # its end is noticed when it is compared


def _fill(made: Path, content: bytes, like: os.stat_result | None) -> None:
    """Write a file with owner and mode of the one that it replaces, else for the user alone."""
    made.unlink(missing_ok=True)
    group = made.parent.stat().st_gid
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(made, flags, 0o600), "wb") as out:
        is_root = os.geteuid() == 0
        if like is not None:
            if is_root:
                os.fchown(out.fileno(), like.st_uid, like.st_gid)
            os.fchmod(out.fileno(), stat.S_IMODE(like.st_mode))
        elif is_root and group != os.getegid():
            os.fchown(out.fileno(), -1, group)
            os.fchmod(out.fileno(), 0o640)
        out.write(content)
        out.flush()
        os.fsync(out.fileno())


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other programs of taggerd from changing a file in *folder* between look and rename."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # NFS cannot lock a folder; then what remains is the comparison
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # some file systems cannot
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
