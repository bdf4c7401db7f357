"""Where comparisons are kept: a folder each, in the state directory."""

from __future__ import annotations

import fcntl
import json
import os
import re
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from taggerd.compare.comparison import Comparison
from taggerd.errors import StorageError
from taggerd.photo import printable
from taggerd.settings.permissions import open_own

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}")
_FILE = "comparison.json"
LARGEST = 64 * 1024 * 1024
"""Bytes of a file that are read."""


class Comparisons:
    """The comparisons of one state directory."""

    def __init__(self, state_directory: Path) -> None:
        """Name the folder; nothing is touched."""
        self._folder = state_directory / "comparisons"

    def ids(self) -> list[str]:
        """Return which there are, the latest first."""
        try:
            names = os.listdir(self._folder)  # noqa: PTH208 - names alone
        except OSError:
            return []
        return sorted((name for name in names if _ID.fullmatch(name)), reverse=True)

    def get(self, number: str) -> Comparison | None:
        """Return one; None where there is none that can be read."""
        if not _ID.fullmatch(number):
            return None
        try:
            with open(open_own(self._folder / number / _FILE), "rb") as file:  # noqa: PTH123 - a descriptor
                return TypeAdapter(Comparison).validate_python(json.loads(file.read(LARGEST)))
        except (OSError, ValueError):
            return None

    def picture(self, number: str, photo: int) -> bytes | None:
        """Return the JPEG of a *photo* by its index, as the candidates saw it."""
        if not _ID.fullmatch(number):
            return None
        try:
            with open(open_own(self._folder / number / f"{photo:04}.jpg"), "rb") as file:  # noqa: PTH123 - a descriptor
                return file.read(LARGEST)
        except OSError:
            return None

    def put(self, comparison: Comparison) -> None:
        """Keep *comparison*, in one step. Raises StorageError."""
        text = json.dumps(asdict(comparison), ensure_ascii=False)
        self._write(comparison.id, _FILE, text.encode("utf-8", "replace"))

    def put_picture(self, number: str, photo: int, jpeg: bytes) -> None:
        """Keep the picture of a *photo* by its index. Raises StorageError."""
        self._write(number, f"{photo:04}.jpg", jpeg)

    @contextmanager
    def changing(self, number: str) -> Iterator[Comparison | None]:
        """Give one to be changed; it is kept at the end. Two votes at once are both counted.

        Raises:
            StorageError: it cannot be kept.
        """
        if self.get(number) is None:
            yield None
            return
        lock = open_own(self._folder / number / "lock", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            comparison = self.get(number)
            yield comparison
            if comparison is not None:
                self.put(comparison)
        finally:
            os.close(lock)

    def _write(self, number: str, name: str, content: bytes) -> None:
        folder = self._folder / number
        new = folder / f".{name}.new"
        try:
            for each in (self._folder, folder):  # the mode is not for what mkdir makes above
                each.mkdir(mode=0o700, parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                new.unlink()
            with open(open_own(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:  # noqa: PTH123 - a descriptor
                file.write(content)
            new.replace(folder / name)
        except OSError as error:
            message = f"cannot write {printable(folder / name)}: {error.strerror}"
            raise StorageError(message) from error
