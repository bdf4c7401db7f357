"""The drop-in that fits a shipped unit to one machine: which program, which folders."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from taggerd.errors import ConfigurationError
from taggerd.photo import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

NAME = "50-service-install.conf"
"""Comes after what packages drop in, and before ``override.conf`` of ``systemctl edit``."""
MARK = "# Written by taggerd service install"
"""First words of each file that it may replace and remove."""
_START = re.compile(r'^ExecStart=(?P<program>"(\\.|[^"])+"|\S+) ', re.MULTILINE)


def drop_in(  # noqa: PLR0913 - what differs from machine to machine
    shipped: str,
    *,
    program: Path | None,
    needed: Iterable[Path] = (),
    folders: Sequence[tuple[Path, Path]] = (),
    own: Iterable[Path] = (),
    more: Sequence[str] = (),
) -> str:
    """Return the text of the drop-in.

    Args:
        shipped: text of the unit.
        program: the command to start; None: the unit's own.
        needed: what has to be mounted before the start.
        folders: import folders and other folders that settings name, each with the folder that
            the service may write to for its sake.
        own: folders of its own that it may write to.
        more: lines for ``[Service]``.

    Raises:
        ConfigurationError: a path cannot be written into a unit file.
    """
    lines = [f"{MARK}, which replaces it: changes of your own belong in another file here."]
    if paths := " ".join(quoted(str(path)) for path in dict.fromkeys(needed)):
        lines += [
            "",
            "[Unit]",
            "# Import folders are not among them: a card that is missing would keep the service",
            "# from starting, and one that is unmounted would stop it.",
            f"RequiresMountsFor={paths}",
        ]
    lines += ["", "[Service]"]
    if program is not None:
        lines += _commands(shipped, program)
    lines += more
    if "ProtectSystem=strict" in [*shipped.splitlines(), *more]:
        lines += _folders(folders, own)
    return "\n".join(lines) + "\n"


def program_of(shipped: str) -> str:
    """Return the command that a unit starts, as it is written there; empty if it starts none."""
    found = _START.search(shipped)
    return found["program"] if found else ""


def unquoted(word: str) -> str:
    """Return what :func:`quoted` made *word* of."""
    inner = word.removeprefix('"').removesuffix('"') if word.startswith('"') else word
    return re.sub(r"\\(.)|%(%)", r"\1\2", inner)


def quoted(text: str) -> str:
    """Return *text* as one word of a unit file (systemd.syntax(7)).

    Raises:
        ConfigurationError: it has control characters or bytes that are not UTF-8.
    """
    if not text.isprintable():  # a surrogate, which stands for such a byte, is not either
        message = f"{printable(text)}: systemd takes no such name in a unit: rename it"
        raise ConfigurationError(message)
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"' if re.search(r"[\s\\'\"]", text) else escaped


def _commands(shipped: str, program: Path) -> Iterable[str]:
    """Yield the unit's commands, with another program."""
    if re.search(r"[\\'\"]", str(program)):
        message = f"{printable(program)}: systemd starts no program of such a name: rename it"
        raise ConfigurationError(message)
    old = program_of(shipped)
    lines = [line for line in shipped.splitlines() if re.match(r"Exec(?!Paths)\w+=", line)]
    for key in dict.fromkeys(line.partition("=")[0] for line in lines):
        of_key = [line for line in lines if line.startswith(f"{key}=")]
        if any(old in line for line in of_key):
            yield f"{key}="  # replaces the list instead of adding to it
            yield from (line.replace(old, quoted(str(program))) for line in of_key)


def _folders(folders: Sequence[tuple[Path, Path]], own: Iterable[Path]) -> Iterable[str]:
    yield "# Nothing else of the machine. The folder above an import folder, where that can be, so"
    yield '# that one that is removed and made again stays writable; "-": it may be missing.'
    yield "ReadWritePaths="
    yield from (f"ReadWritePaths={quoted(f'-{path}')}" for path in own)
    of_folder: dict[Path, list[Path]] = {}
    for named, opened in folders:
        of_folder.setdefault(opened, []).append(named)
    for opened, named_by in of_folder.items():
        yield from (f"# {quoted(str(path))}" for path in named_by)
        yield f"ReadWritePaths={quoted(f'-{opened}')}"
