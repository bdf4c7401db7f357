"""Settings of the import folders."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from taggerd.photo import IMAGE_EXTENSIONS, RAW_EXTENSIONS, RENDERED_EXTENSIONS
from taggerd.settings.section import Section, UserPath


class Root(Section):
    """One import folder."""

    path: UserPath = Field(description="Absolute path of the folder.")
    name: str | None = Field(
        None,
        description="What machines that share a ledger call this folder, wherever each mounts it.",
    )
    mode: Literal["auto", "inotify", "poll"] = Field(
        "auto",
        description="How changes are detected; auto polls network and FUSE file systems.",
    )
    recursive: bool | None = Field(
        None, description="Include subfolders; default: arrivals.recursive."
    )
    settle_seconds: float | None = Field(
        None, ge=0, le=86400, description="Default: arrivals.settle_seconds."
    )
    ignore: list[str] = Field([], description="More globs to ignore in this folder.")

    @field_validator("path")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        if not path.is_absolute():
            message = f"must be an absolute path, not {str(path)!r}"
            raise ValueError(message)
        return Path(os.path.normpath(path))  # without "..", which leads elsewhere behind a link

    @field_validator("name")
    @classmethod
    def _plain(cls, name: str | None) -> str | None:
        if name is not None and not _NAME.fullmatch(name):
            message = f"a root's name has 1 to 63 letters, digits, - and _ alone, not {name!r}"
            raise ValueError(message)
        return name


_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}")
"""The shared ledger keeps a path as ``NAME:/folder/``."""


def _root_table(value: object) -> object:
    """Accept a path instead of a root's table."""
    return {"path": value} if isinstance(value, str | Path) else value


def _normal_extensions(value: object) -> object:
    """Accept ``".JPG"`` and ``"jpg"`` alike, and a comma-separated string."""
    if isinstance(value, str):
        value = [part for part in value.replace(",", " ").split() if part]
    if isinstance(value, list | tuple):
        return [v.lower().lstrip(".") if isinstance(v, str) else v for v in value]
    return value


class Arrivals(Section):
    """How new photos are found."""

    roots: list[Annotated[Root, BeforeValidator(_root_table)]] = Field(
        [],
        description='Import folders: paths, or tables {path = "/srv/import", mode = "auto", '
        'recursive = true, settle_seconds = 5.0, ignore = []}; name = "archive": what all machines '
        "of one ledger call it.",
    )
    settle_seconds: float = Field(
        5.0,
        ge=0,
        le=86400,
        description="Seconds a file must stay unchanged before it counts as complete.",
    )
    reconcile_minutes: float = Field(
        30.0,
        gt=0,
        le=10080,
        description="Minutes between full comparisons of the folders with the queue.",
    )
    poll_seconds: float = Field(
        10.0, gt=0, le=86400, description="Seconds between scans of a folder in poll mode."
    )
    recursive: bool = Field(default=True, description="Include subfolders.")
    image_extensions: Annotated[list[str], BeforeValidator(_normal_extensions)] = Field(
        [*RENDERED_EXTENSIONS, *sorted(RAW_EXTENSIONS)],
        min_length=1,
        description="File name extensions of photos, without the dot.",
    )
    ignore: list[str] = Field(
        [],
        description="Globs of file names, or of paths below an import folder, to ignore, e.g. "
        '["*_preview.jpg"].',
    )
    forget_days: float = Field(
        30.0,
        ge=0,
        le=36500,
        description="Days until a deleted photo is forgotten; its answers are kept.",
    )
    unpack: bool = Field(
        default=False,
        description="Unpack the photos and sidecars of each new ZIP into a folder beside it; the "
        "ZIP stays. Needs recursive.",
    )
    release_to: UserPath | None = Field(
        None,
        description="Folder that each tagged photo is moved to, with its sidecars, once these are "
        "written; it keeps its path below its import folder. Nothing is replaced: where a name is "
        "taken, the photo stays, and the log says so. Default: photos stay.",
    )
    archive_keywords: list[str] = Field(
        [],
        description='Keywords for every photo from a ZIP; "{archive}" stands for the name of the '
        "ZIP without its extension.",
    )
    unpack_members: int = Field(
        20_000,
        ge=1,
        le=1_000_000,
        description="Most members of a ZIP; one with more is not unpacked.",
    )
    unpack_gigabytes: float = Field(
        50.0, gt=0, le=100_000, description="Largest unpacked size of a ZIP, gigabytes."
    )
    unpack_ratio: float = Field(
        100.0,
        gt=1,
        le=10_000,
        description="Largest ratio of unpacked to packed size; a ZIP beyond it counts as a bomb.",
    )

    @property
    def watched(self) -> dict[Path, bool]:
        """The import folders, and whether with their subfolders."""
        return {
            root.path: self.recursive if root.recursive is None else root.recursive
            for root in self.roots
        }

    @property
    def named(self) -> dict[str, Path]:
        """The import folders that have a name, by it."""
        return {root.name: root.path for root in self.roots if root.name is not None}

    @model_validator(mode="after")
    def _released_elsewhere(self) -> Arrivals:
        if self.release_to is None:
            return self
        if not self.release_to.is_absolute():
            message = f"release_to must be an absolute path, not {str(self.release_to)!r}"
            raise ValueError(message)
        if any(root.path == self.release_to for root in self.roots):
            message = "release_to is an import folder: name another, which may lie in it"
            raise ValueError(message)
        return self

    def extensions(self, *, recursive: bool) -> list[str]:
        """Return the extensions of the files to wait for: photos, and archives to unpack."""
        return [*self.image_extensions, *(["zip"] if self.unpack and recursive else [])]

    @field_validator("roots")
    @classmethod
    def _once(cls, roots: list[Root]) -> list[Root]:
        """Refuse a folder that is listed twice; of nested folders the inner one's settings hold."""
        seen: set[str] = set()
        names: dict[str, Path] = {}
        for root in roots:
            if root.name is not None:
                other = names.setdefault(root.name.casefold(), root.path)
                if other != root.path:
                    message = (
                        f"two import folders have the name {root.name!r}, {str(other)!r} and "
                        f"{str(root.path)!r}: give one of them another"
                    )
                    raise ValueError(message)
            path = os.path.normpath(root.path)
            if path in seen:
                message = f"the import folder {path!r} is listed twice: remove one"
                raise ValueError(message)
            seen.add(path)
        return roots

    @field_validator("image_extensions")
    @classmethod
    def _known(cls, extensions: list[str]) -> list[str]:
        unknown = [e for e in extensions if e not in IMAGE_EXTENSIONS]
        if unknown:
            message = (
                f"cannot read .{unknown[0]} files; known: {' '.join(sorted(IMAGE_EXTENSIONS))}"
            )
            raise ValueError(message)
        return extensions
