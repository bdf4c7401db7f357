"""The published status: a file that the daemon writes when something changed, and others read.

It lies beside the runtime file (see :mod:`~taggerd.daemon.instances`), in memory: written into the
state directory every few seconds, it kept that disk from ever sleeping. That the daemon lives shows
in the file's time. Where there is no runtime folder it lies in the state directory after all, its
time says nothing, and the lock that the daemon holds says that it lives.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import fields
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from taggerd.daemon.instances import STATUS, daemon_of, runtime_file_of, status_beside
from taggerd.settings.permissions import open_own

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

T = TypeVar("T")

RESERVE_BYTES = 8192
"""Smallest size of the file: on a full disk a new state still fits into the blocks it has."""


class Publisher:
    """Writes the status of one daemon."""

    def __init__(self, runtime_file: Path | None, state_directory: Path) -> None:
        """Publish beside *runtime_file*; None: in the *state_directory*."""
        self.file = status_beside(runtime_file) if runtime_file else state_directory / STATUS
        self._in_memory = runtime_file is not None
        self._last: bytes | None = None

    def publish(self, table: Mapping[str, object], at: float) -> None:
        """Write *table* if it is not what the file holds; a full disk is no reason to stop.

        Args:
            table: the status, without its time.
            at: seconds since the epoch.
        """
        data = json.dumps(table).encode()
        if data == self._last and self._touched(at):
            return
        self._last = data if self._written(data) else None
        if self._in_memory:
            self._touched(at)

    def _touched(self, at: float) -> bool:
        """Say in the file's time that the daemon lives; False if the file is gone."""
        try:
            if self._in_memory:
                os.utime(self.file, (at, at), follow_symlinks=False)
            else:
                self.file.lstat()
        except OSError:
            return False
        return True

    def _written(self, data: bytes) -> bool:
        """Write *data*; False if that is not possible."""
        new = self.file.with_name(f".{self.file.name}.{os.getpid()}")
        try:
            with os.fdopen(open_own(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as file:
                file.write(data.ljust(RESERVE_BYTES))
            new.replace(self.file)
        except OSError:
            with suppress(OSError):
                new.unlink()
            try:
                return _overwritten(data, self.file)
            except OSError:
                return False
        return True


class Published(NamedTuple):
    """What a daemon published last."""

    data: bytes
    """The table as JSON."""
    at: float
    """When the daemon last said that it lives, seconds since the epoch."""


def read_published(state_directory: Path) -> Published | None:
    """Return what the daemon on *state_directory* published; None if there is nothing to read."""
    runtime_file = runtime_file_of(state_directory)
    if runtime_file is not None and (found := _read(status_beside(runtime_file))) is not None:
        return found
    found = _read(state_directory / STATUS)
    if found is not None and daemon_of(state_directory) is not None:
        return found._replace(at=time.time())
    return found


def _read(file: Path) -> Published | None:
    try:
        with os.fdopen(open_own(file), "rb") as opened:
            return Published(opened.read(), os.fstat(opened.fileno()).st_mtime)
    except OSError:
        return None


def _overwritten(data: bytes, file: Path) -> bool:
    """Write *data* over *file* within the blocks it has; False if it is too short.

    May raise OSError.
    """
    descriptor = open_own(file, os.O_WRONLY)
    try:
        size = os.fstat(descriptor).st_size
        if len(data) > size:
            return False
        os.pwrite(descriptor, data.ljust(size), 0)
    finally:
        os.close(descriptor)
    return True


_PLAIN: Mapping[str, type | tuple[type, ...]] = {
    "str": str,
    "int": int,
    "float": (float, int),
    "bool": bool,
}


def read_back(kind: type[T], given: object, parts: Mapping[str, object]) -> T:
    """Make a dataclass of the table that :func:`~dataclasses.asdict` has made of one.

    By hand: what pydantic builds for it takes 15 ms, and a status is asked for by scripts.

    Args:
        kind: whose fields are plain values, or tuples, or texts by text.
        given: from a file that another version may have written.
        parts: the classes, or the words, that its annotations name.

    Raises:
        TypeError: it is no such table.
    """
    if not isinstance(given, dict):
        message = f"no table: {given!r}"
        raise TypeError(message)
    annotations = {each.name: str(each.type) for each in fields(kind)}  # type: ignore[arg-type]  # a dataclass
    return kind(
        **{name: _value(annotations.get(name, ""), value, parts) for name, value in given.items()}
    )


def _value(annotation: str, given: object, parts: Mapping[str, object]) -> object:
    """Return a value of a field with this *annotation*.

    Raises:
        TypeError: it is none.
    """
    several = annotation.removeprefix("tuple[").removesuffix(", ...]")
    if several != annotation and isinstance(given, list):
        return tuple(_value(several, each, parts) for each in given)
    if annotation == "dict[str, str]" and isinstance(given, dict):
        return {key: _value("str", value, parts) for key, value in given.items()}
    part = parts.get(annotation)
    if isinstance(part, type):
        return read_back(part, given, parts)
    if given in part if isinstance(part, tuple) else isinstance(given, _PLAIN.get(annotation, ())):
        return given
    message = f"not {annotation or 'known'}: {given!r}"
    raise TypeError(message)
