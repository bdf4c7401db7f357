"""How paths stand in a ledger that several hosts share.

A host mounts a named root where it likes: the ledger keeps ``archive:/2025/06/`` for what is
``/mnt/nas/photos/2025/06/`` on one and ``/Photos/2025/06/`` on another. What lies below no named
root is this host's alone, and is kept with its name: ``@station-1/srv/import/``. A name of a root
has neither ``:`` nor ``@``, a host's no ``/``: so nothing can be taken for anything else.

Pure: nothing here looks at a disk or a database. In memory a path that has no place on this host is
a relative :class:`~pathlib.Path` that reads as it is kept, ``archive:/2025/06/IMG_1.JPG``.
"""

from __future__ import annotations

import base64
import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from taggerd.ledger.rows import Paths, folder_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

_OF_ROOT = re.compile(rb"([A-Za-z0-9_][A-Za-z0-9_-]*):/")


def range_of(folder: bytes) -> tuple[bytes, bytes]:
    """Return the range, without its end, of what is kept at and below a *folder*."""
    return folder, folder[:-1] + b"0"  # "0" follows "/"


@dataclass(frozen=True, slots=True)
class Naming(Paths):
    """How one host names its paths."""

    host: str = "localhost"
    """This host's name."""
    roots: Mapping[str, Path] = field(default_factory=dict)
    """The named roots that it has, and where."""
    nested: Mapping[str, tuple[str, bytes]] = field(default_factory=dict)
    """Roots that lie in another, as some host said: name → the other's, and the path below it with
    its final ``/``. A host that has the outer one alone has the inner one as well: without this a
    photo in both would have two names, and be asked about twice."""
    _mounts: list[tuple[bytes, bytes]] = field(init=False, repr=False)
    """Folder on this host and as kept, both with a final ``/``; the longest first."""

    def __post_init__(self) -> None:
        """Put the mounts into their order."""
        mounts = {
            folder_bytes(path): name.encode() + b":/" for name, path in sorted(self.roots.items())
        }
        mounts[b"/"] = mounts.get(b"/") or b"@" + self.host.encode() + b"/"
        for name in self.nested:
            for folder in self._mounts_of(name):
                mounts.setdefault(folder, name.encode() + b":/")
        object.__setattr__(self, "_mounts", sorted(mounts.items(), key=_longest, reverse=True))

    def _mounts_of(self, name: str, seen: tuple[str, ...] = ()) -> Iterator[bytes]:
        """Yield where on this host the root *name* lies: its own mount, and those in others."""
        if name in self.roots:
            yield folder_bytes(self.roots[name])
        if name in self.nested and name not in seen:  # two hosts may contradict each other
            outer, below = self.nested[name]
            for folder in self._mounts_of(outer, (*seen, name)):
                yield folder + below

    def stored(self, path: Path) -> bytes:
        """Return what is kept of an absolute *path*, without a final ``/`` but for a root's own.

        A path that names no place of this host (see :meth:`path`) is kept as it reads.
        """
        return self._stored(os.fsencode(path))

    def folder(self, folder: Path) -> bytes:
        """Return what is kept of the path of a *folder*, with its final ``/``."""
        return self._stored(folder_bytes(folder))

    def _stored(self, path: bytes) -> bytes:
        if not path.startswith(b"/"):
            return path
        for here, kept in self._mounts:
            if path.startswith(here):
                return kept + path[len(here) :]
            if path == here[:-1]:
                return kept
        message = f"not an absolute path: {path!r}"  # "/" is among the mounts
        raise ValueError(message)

    def path(self, stored: bytes) -> Path:
        """Return the path on this host of what is kept as *stored*; relative if it has none."""
        for name, path in self._named_mounts():
            if stored.startswith(name):
                return Path(os.fsdecode(path + stored[len(name) :]))
        return Path(os.fsdecode(stored))

    def _named_mounts(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield each name and its folder on this host; a root's own mount comes first."""
        own = {name.encode() + b":/": folder_bytes(path) for name, path in self.roots.items()}
        yield from own.items()
        for here, kept in self._mounts:
            if kept not in own:
                yield kept, here

    def is_here(self, stored: bytes) -> bool:
        """Say whether what is kept as *stored* has a path on this host."""
        return any(stored.startswith(kept) for _, kept in self._mounts)

    def portable(self, line: str) -> str:
        """Return a journal *line* of this host with its paths as they are kept."""
        return _with_paths(line, self.stored)

    def readable(self, line: str) -> str:
        """Return a *line* that was kept with the paths of this host, where they have one."""
        return _with_paths(line, lambda path: os.fsencode(self.path(os.fsencode(path))))

    def note(self, key: str) -> str:
        """Return what is kept of the *key* of a note about this host."""
        return f"{key} @{self.host}"

    @property
    def names(self) -> tuple[str, ...]:
        """The named roots that this host has, in the order of their names."""
        kept = {kept for _, kept in self._mounts if not kept.startswith(b"@")}
        return tuple(sorted(name[:-2].decode() for name in kept))

    def ranges(self, below: Path, *, without: Collection[str] = ()) -> list[tuple[bytes, bytes]]:
        """Return the ranges of the folders that lie at and *below* a path on this host.

        Above a named root that is the root and what else lies there, at ``/`` all that this host
        can reach. The roots *without* are left out.
        """
        here = folder_bytes(below)
        inside = {kept for at, kept in self._mounts if at.startswith(here) and at != here}
        lows = [self.folder(below), *sorted(inside)]
        return [range_of(low) for low in lows if root_of(low) not in without]


def _longest(mount: tuple[bytes, bytes]) -> tuple[int, bytes]:
    return len(mount[0]), mount[0]


def root_of(stored: bytes) -> str:
    """Return the name of the root that what is kept as *stored* lies in; empty: in none."""
    found = _OF_ROOT.match(stored)
    return found[1].decode() if found else ""


def host_of(stored: bytes) -> str:
    """Return the host that alone has what is kept as *stored*; empty: any that has its root."""
    return stored[1:].partition(b"/")[0].decode() if stored.startswith(b"@") else ""


_PATHS = ("files", "sidecars", "embedded")
"""Where a record has lists of paths."""


def _with_paths(line: str, translated: Callable[[Path], bytes]) -> str:
    """Return the JSON of a record with its paths *translated*; any other line as it is."""
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return line
    if not isinstance(said, dict) or not isinstance(said.get("image"), str):
        return line
    said["image"] = os.fsdecode(translated(Path(said["image"])))
    if isinstance(exact := said.get("image_base64"), str):
        path = translated(Path(os.fsdecode(base64.b64decode(exact))))
        said["image_base64"] = base64.b64encode(path).decode()
    for key in _PATHS:
        if isinstance(paths := said.get(key), list):
            said[key] = [os.fsdecode(translated(Path(str(each)))) for each in paths]
    return json.dumps(said, ensure_ascii=False)


def nestings(roots: Mapping[str, Path]) -> dict[str, tuple[str, bytes]]:
    """Return which of a host's *roots* lie in another of them, as :attr:`Naming.nested` says it."""
    found: dict[str, tuple[str, bytes]] = {}
    for name, path in roots.items():
        above = [other for other in roots if other != name and path.is_relative_to(roots[other])]
        if above:
            outer = max(above, key=lambda other: len(roots[other].parts))
            found[name] = outer, folder_bytes(path)[len(folder_bytes(roots[outer])) :]
    return found
