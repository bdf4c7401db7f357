"""The order of the services: who may import whom, and where foreign libraries live."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import taggerd

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(taggerd.__file__).parent
ROOMS = frozenset({"arrivals", "imaging", "inference", "journal", "ledger", "metadata"})
SHARED = frozenset({"__version__", "errors", "files", "photo", "retry", "settings"})
"""What every room may use; it uses nothing but itself."""
HOMES = {
    "httpx": ("inference/",),
    "PIL": ("imaging/", "data/", "inference/pixels.py"),  # the describer sees only our own JPEG
    "pillow_heif": ("imaging/", "data/"),
    "pyexiv2": ("metadata/",),
    "rawpy": ("imaging/",),
    "sqlite3": ("ledger/",),
    "typer": ("cli/",),
    "watchdog": ("arrivals/watcher.py",),
}


@cache
def _imports() -> tuple[tuple[str, str], ...]:
    """Return each module's path in the package, and the name of each module that it imports."""
    return tuple(_read_imports())


def _read_imports() -> Iterator[tuple[str, str]]:
    for module in sorted(PACKAGE.rglob("*.py")):
        path = module.relative_to(PACKAGE).as_posix()
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from ((path, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{path}: a relative import"
                names = [alias.name for alias in node.names] if node.module == "taggerd" else [""]
                yield from ((path, f"{node.module}.{name}".rstrip(".")) for name in names)


def _part(path: str) -> str:
    """Return the room, or the module that is none."""
    return path.split("/", maxsplit=1)[0].removesuffix(".py")


def test_a_room_imports_no_other_room() -> None:
    """It knows itself and what all share; what all share knows nothing else."""
    met = set()
    for path, name in _imports():
        part = _part(path)
        if name.startswith("taggerd.") and part in ROOMS | SHARED:
            used = name.split(".")[1]
            allowed = SHARED | {part} if part in ROOMS else SHARED
            assert used in allowed, f"{path} imports {name}"
            met.add((part, used))
    assert {part for part, _ in met} > ROOMS


def test_nothing_but_the_program_itself_imports_the_command_line() -> None:
    """Commands call; nobody calls them."""
    users = {path for path, name in _imports() if name.startswith("taggerd.cli")}
    assert {path for path in users if not path.startswith("cli/")} == {"__main__.py"}


@pytest.mark.parametrize("library", HOMES)
def test_a_foreign_library_stays_at_home(library: str) -> None:
    """One border a library: its errors and its untrusted bytes are dealt with there."""
    users = {path for path, name in _imports() if name.split(".")[0] == library}
    assert users
    assert [path for path in sorted(users) if not path.startswith(HOMES[library])] == []
