"""Which names below a root are photos, and why the others are not."""

from __future__ import annotations

import fnmatch
import os
import re
from typing import TYPE_CHECKING

from taggerd.photo import IMAGE_EXTENSIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from taggerd import settings

NOT_AN_IMAGE = "not an image extension"
SIDECAR = "sidecar"
COPY = "temporary file of a copy"
HIDDEN = "hidden"
TRASH = "in the trash"
COPY_FOLDER = "temporary folder of a copy"
OTHER_ROOT = "an import folder of its own"
OWN_FOLDER = "taggerd's own folder"
DEEPER = "in a subfolder, and recursive is off"

_COPY_ENDINGS = (".part", ".tmp", ".crdownload", ".partial", ".filepart")
_RSYNC = re.compile(r"\..+\.[A-Za-z0-9]{6}", re.DOTALL)
"""rsync writes ``.IMG_1.JPG.x7Kq2Z`` and renames."""
_TRASH_FOLDERS = frozenset({"$RECYCLE.BIN", "#recycle", "@Recycle", ".Trash", ".Trashes"})
_MACHINE_FOLDERS = frozenset({"@eaDir", "#snapshot", ".stversions", "System Volume Information"})
"""Thumbnails, snapshots and old versions that NAS systems, Syncthing and Windows keep beside."""


_COPY_FOLDER = "rpd-tmp"
"""Rapid Photo Downloader copies into ``rpd-tmp-…`` in the import folder, and renames from there."""


def _is_copy(name: str) -> bool:
    """Say whether *name* is a copying program's temporary file."""
    return (
        name.startswith(("~syncthing~", ".syncthing."))
        or name.lower().endswith(_COPY_ENDINGS)
        # ".IMG_1.CR3.edited" matches too: it is hidden anyway.
        or (name[0] == "." and _RSYNC.fullmatch(name) is not None)
    )


class Filters:
    """Decides by name alone what is taken, component by component below the root.

    The root itself may be hidden. ``extensions`` are lower case without the dot. ``ignore_globs``
    are matched, case-sensitively, on the name and on the path below the root, for files and
    folders alike; ``*`` matches slashes too, and a glob that ends in ``/`` matches folders only.
    """

    def __init__(
        self,
        extensions: Iterable[str] = IMAGE_EXTENSIONS,
        ignore_globs: Iterable[str] = (),
        *,
        recursive: bool = True,
        apart: Mapping[str, str] | None = None,
    ) -> None:
        """Take the names that end in one of *extensions* and match none of *ignore_globs*.

        *apart*: folders below the root, relative to it, that are not taken, and why.
        """
        self._extensions = frozenset(extensions)
        self._globs = [_compiled(glob) for glob in ignore_globs]
        cased = {e for ext in self._extensions for e in (f".{ext}", f".{ext.upper()}")}
        self.plain_endings = {e for e in cased if len(e) == 4 and not self._globs}  # noqa: PLR2004 - ".jpg"
        """Endings of names that are surely taken, unless they begin with a dot or a tilde. A fast
        path: of a million files in a library nearly all are."""
        self.recursive = recursive
        self._apart = apart or {}

    @classmethod
    def of(
        cls, arrivals: settings.Arrivals, root: settings.Root | None, apart: Mapping[str, str]
    ) -> Filters:
        """Return what the settings take below *root*; None: outside of every import folder."""
        recursive = arrivals.recursive if root is None or root.recursive is None else root.recursive
        ignore = [*arrivals.ignore, *(root.ignore if root else ())]
        extensions = arrivals.extensions(recursive=recursive)
        return cls(extensions, ignore, recursive=recursive, apart=apart)

    def verdict(self, path: Path | str, root: Path | str, *, is_dir: bool = False) -> str:
        """Return ``""`` if *path* below *root* is taken, else why not."""
        relative = os.path.relpath(path, root)
        if relative == os.pardir or relative.startswith("../"):
            return "outside the import folder"
        return "" if relative == os.curdir else self.below(relative, is_dir=is_dir)

    def below(self, relative: str, *, is_dir: bool = False) -> str:
        """Return the same for a path *relative* to the root, without ``.`` and ``..`` in it."""
        *folders, name = relative.split("/")
        for depth, folder in enumerate(folders, 1):
            reason = self.of_folder(folder, "/".join(folders[:depth]))
            if reason:
                return reason
        return (self.of_folder if is_dir else self.of_file)(name, relative)

    def of_folder(self, name: str, relative: str) -> str:
        """Judge one folder by its *name* and path *relative* to the root; its parents are taken."""
        if name in _TRASH_FOLDERS or name.startswith((".Trash-", ".trashed-")):
            return TRASH
        if name in _MACHINE_FOLDERS:
            return f"inside {name}"
        if name[0] == "." or name.startswith(_COPY_FOLDER):
            return HIDDEN if name[0] == "." else COPY_FOLDER
        if not self.recursive:
            return DEEPER
        return self._apart.get(relative, "") or self._ignored(name, relative, is_dir=True)

    def of_file(self, name: str, relative: str) -> str:
        """Judge one file by its *name* and path *relative* to the root; its folders are taken."""
        _, dot, ending = name.rpartition(".")
        if not dot or ending.lower() not in self._extensions or name[0] in ".~":
            reason = self._not_taken(name, ending.lower() if dot else "")
            if reason:
                return reason
        return self._ignored(name, relative, is_dir=False)

    def _not_taken(self, name: str, ending: str) -> str:
        """Say why a file is not taken whose name is not plainly that of a photo."""
        if name.startswith(".trashed-"):
            return TRASH
        if _is_copy(name):
            return COPY
        if name[0] == ".":
            return HIDDEN
        if ending == "xmp":
            return SIDECAR
        return "" if ending in self._extensions else NOT_AN_IMAGE

    def _ignored(self, name: str, relative: str, *, is_dir: bool) -> str:
        for glob, matches, folders_only in self._globs:
            if (is_dir or not folders_only) and (matches(name) or matches(relative)):
                return f"ignored by arrivals.ignore {glob!r}"
        return ""


def folders_below(root: Path, folders: Iterable[Path], reason: str) -> dict[str, str]:
    """Return those of *folders* below *root* as :class:`Filters` wants its *apart*."""
    below = (folder for folder in folders if root in folder.parents)
    return {os.fspath(folder.relative_to(root)): reason for folder in below}


def _compiled(glob: str) -> tuple[str, Callable[[str], object], bool]:
    """Return *glob*, its matcher, and whether it matches folders only."""
    return glob, re.compile(fnmatch.translate(glob.rstrip("/"))).match, glob.endswith("/")
