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

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from taggerd import files
from taggerd.errors import StorageError
from taggerd.ledger.postgres.naming import root_of
from taggerd.logs import get_logger
from taggerd.photo import Stamp, printable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from taggerd.ledger.postgres.roots import Agreed, Root
    from taggerd.photo import PhotoFile

log = get_logger(__name__)

MARKER = ".taggerd-root"
"""In a root, made by a person: holds the root's id, which the message about it names."""
_MARKER_BYTES = 200

GLANCE_SECONDS = 10.0
"""Between two looks whether a root is there."""
COMPARE_SECONDS = 600.0
"""Between two comparisons of one that was found to be the same."""
FIRST_SECONDS = 10.0
"""A root that has not answered for so long holds nobody up; until it does, it is out of sight."""


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


def compare(  # noqa: PLR0911 - one for each thing that may be seen
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


class Trees:
    """What the named roots of this host show, looked at while somebody works with them."""

    def __init__(
        self,
        agreed: Agreed,
        sample: Callable[[str, int], Awaitable[Sequence[PhotoFile]]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Look at the roots in *agreed*; *sample* gives files known in one, see `roots.sample`."""
        self._agreed = agreed
        self._sample = sample
        self._clock = clock
        self._seen: dict[str, Tree] = {}
        self._glanced: dict[str, float] = {}
        self._compared: dict[str, float] = {}
        self._checking: dict[str, asyncio.Task[None]] = {}

    async def ready(self) -> None:
        """Look at each root that is due. Waits only for those that were never seen."""
        for name, root in self._agreed.roots.items():
            due = self._glanced.get(name, -GLANCE_SECONDS) + GLANCE_SECONDS
            if name not in self._checking and self._clock() >= due:
                task = asyncio.create_task(self._check(name, root))
                self._checking[name] = task
        if first := [task for name, task in self._checking.items() if name not in self._seen]:
            await asyncio.wait(first, timeout=FIRST_SECONDS)

    async def _check(self, name: str, root: Root) -> None:
        try:
            await self._compare(name, root)
        except StorageError:
            pass  # the ledger is away: what was seen before counts until it is back
        finally:
            del self._checking[name]

    async def _compare(self, name: str, root: Root) -> None:
        before = self._seen.get(name)
        now = await asyncio.to_thread(compare, root.path, root.marker, ())
        was_same = before is not None and before.state == "same" and before.folder == now.folder
        if now.state == "unknown":
            compared = self._compared.get(name, -COMPARE_SECONDS)
            if before is not None and was_same and self._clock() - compared < COMPARE_SECONDS:
                now = before
            else:
                known = await self._sample(name, now.folder[0])
                now = await asyncio.to_thread(compare, root.path, root.marker, known)
                self._compared[name] = self._clock()
                if before is not None and was_same and now.state == "another":
                    now = before  # somebody has moved photos: it is the folder that it was
        self._glanced[name] = self._clock()
        self._seen[name] = now
        if now.state == "another" and (before is None or before.state != "another"):
            log.error(self._trouble(name, root, now.text))
        elif before is not None and before.state == "another" and now.state != "another":
            log.info("a root shows its own tree again, or none", root=name)

    def close(self) -> None:
        """Look no more."""
        for task in self._checking.values():
            task.cancel()

    @property
    def unusable(self) -> frozenset[str]:
        """The roots of which nothing is to be taken now."""
        roots = self._agreed.roots
        return frozenset(n for n in roots if n not in self._seen or not self._seen[n].usable)

    @property
    def left_to_others(self) -> frozenset[Path]:
        """The folders that other hosts have as well, and that are not to be used here now."""
        roots, unusable = self._agreed.roots, self.unusable
        shown = {
            name for name in unusable if name in self._seen and self._seen[name].state == "another"
        }
        return frozenset(roots[n].path for n in unusable if n in shown or roots[n].others)

    def refuse_another(self, paths: Iterable[Path]) -> None:
        """Refuse what lies in a root that shows another tree.

        Raises:
            StorageError: one of *paths* does.
        """
        another = {name for name, tree in self._seen.items() if tree.state == "another"}
        if not another:
            return
        for path in paths:
            name = root_of(self._agreed.naming.folder(path))
            if name in another:
                root = self._agreed.roots[name]
                raise StorageError(self._trouble(name, root, self._seen[name].text))

    @property
    def troubles(self) -> Mapping[Path, str]:
        """What a person has to put right, by the folder: one line each."""
        another = {
            root.path: self._trouble(name, root, self._seen[name].text)
            for name, root in self._agreed.roots.items()
            if name in self._seen and self._seen[name].state == "another"
        }
        return {**self._agreed.troubles, **another}

    @staticmethod
    def _trouble(name: str, root: Root, seen: str) -> str:
        others = ", ".join(root.before or root.others) or "the hosts before this one"
        return (
            f"the root {name!r} shows another tree here than on {others} ({seen}): nothing of it "
            "is tagged here. Mount the right one, give this one another name, or, if this is the "
            f"right one, write {root.marker} into {printable(root.path / MARKER)}"
        )
