"""Whether a host's folder shows the tree that other hosts know by the root's name.

Whoever mounts another disk under a name would tag its photos as those of the others, and take
theirs for missing. So a host looks for a sample of the files that hosts which had the root before
it know there: at least half have to be there with their size and time. Where a person has put the
root's id into :data:`MARKER`, that decides instead.

What cannot be told: a copy that keeps times (``rsync -a``) is the same tree until something is
changed in one of them; a tree of which more than half was moved or deleted, on all hosts, looks
like another one to a host that starts before whoever watches it has noted that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from taggerd import files
from taggerd.photo import Stamp, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from taggerd.photo import PhotoFile

MARKER = ".taggerd-root"
"""In a root, made by a person: holds the root's id, which the message about it names."""
_MARKER_BYTES = 200


@dataclass(frozen=True, slots=True)
class Tree:
    """What a host's folder shows."""

    state: Literal["same", "unknown", "away", "another"]
    """What others know; nobody knows anything that could be compared; it is out of sight: not
    mounted, not readable, empty; another tree."""
    text: str = ""
    """Why it is out of sight or another, one line."""
    folder: tuple[int, int] = (0, 0)
    """Device and inode of the folder."""

    @property
    def usable(self) -> bool:
        """Whether photos of the root may be taken and admitted here."""
        return self.state in {"same", "unknown"}


def look(  # noqa: PLR0911 - one for each thing that may be seen
    root: Path, identity: str, sample: Sequence[PhotoFile]
) -> Tree:
    """Compare the folder *root* with what others know of it. Blocks.

    Args:
        root: the folder on this host.
        identity: the root's id.
        sample: files that others know in it, by their paths on this host, with foreign stamps.
    """
    try:
        with files.listing(root) as (status, entries):
            is_empty = next(entries, None) is None
    except OSError as error:
        return Tree("away", error.strerror or str(error))
    folder = status.st_dev, status.st_ino
    marker = _marker(root)
    if marker:
        said = f"its {MARKER} holds {printable(marker)!r} and not {identity!r}"
        return Tree("same", "", folder) if marker == identity else Tree("another", said, folder)
    found = [*_compared(sample)]
    if not sample:
        return Tree("unknown", "", folder)
    if not found:
        return Tree("away", "nothing in it can be read", folder)
    if 2 * found.count("same") >= len(found):
        return Tree("same", "", folder)
    if is_empty:
        return Tree("away", "it is empty: is its disk mounted?", folder)
    counts = f"{found.count('gone')} are not there"
    if changed := found.count("changed"):
        counts += f", {changed} have another size or time"
    return Tree("another", f"of {len(found)} photos known in it {counts}", folder)


def _compared(sample: Iterable[PhotoFile]) -> Iterable[Literal["same", "changed", "gone"]]:
    """Yield what became of each file; nothing of what cannot be told."""
    for file in sample:
        try:
            now = Stamp.of(files.lstat(file.path))
        except (FileNotFoundError, NotADirectoryError):
            yield "gone"
        except OSError:
            continue
        else:
            yield "same" if file.stamp.matches(now) else "changed"


def _marker(root: Path) -> str:
    """Return what a person has put into the marker; empty: there is none that can be read."""
    try:
        with files.open_file(root / MARKER) as opened:
            return opened.reader().read(_MARKER_BYTES).decode("utf-8", "replace").strip()
    except OSError:
        return ""
