"""Slots: how many requests one endpoint gets from this whole machine at once, by file locks.

All who ask the same endpoint lock files of the same names in one folder, one file a slot. The
kernel lets go of a lock when its process ends, however it ends. Whoever waits holds the turnstile,
another lock: so a program that has just let go of a slot does not take it again at once, and
everybody gets a turn.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import structlog

from taggerd.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping

COMMON = Path("/run/taggerd")
"""The folder that all of the machine share who are in its group (systemd/tmpfiles.d)."""
LOOK_SECONDS = (0.004, 0.02)
"""Between looks of the one who holds the turnstile, first and in the end: so long may a free slot
lie idle."""
TURN_SECONDS = (0.012, 0.03)
"""Between looks at the turnstile of those who wait for it, first and in the end."""
_LOOPBACK = {"localhost", "127.0.0.1", "::1", "0.0.0.0"}  # noqa: S104 - a name, nothing is bound
_PORTS = {"http": 80, "https": 443}

log = structlog.get_logger(__name__)


def slots_folder(state_directory: Path, environ: Mapping[str, str], common: Path = COMMON) -> Path:
    """Return the folder of the slots: as widely shared as this user may.

    :data:`COMMON` if it may be written to; else the user's own, ``$XDG_RUNTIME_DIR``; else the
    service's own, ``$RUNTIME_DIRECTORY``; else the state directory. The service's own comes that
    late because no other program looks for slots there.
    """
    user = environ.get("XDG_RUNTIME_DIR", "")
    service = environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    for folder, below in ((common, "."), (user, "taggerd"), (service, ".")):
        if folder and Path(folder).is_dir() and os.access(folder, os.W_OK | os.X_OK):
            return Path(folder) / below
    return state_directory / "slots"


class Slots:
    """The slots of one endpoint."""

    def __init__(
        self,
        folder: Path,
        base_url: str,
        count: int,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Use *count* slots of the endpoint at *base_url*; nothing is touched yet.

        Raises:
            ConfigurationError: *base_url* is no address.
        """
        self.place = _place(base_url)
        """Whose slots these are, for people: host and port."""
        self._folder = folder
        self._name = re.sub(r"[^a-z0-9.-]", "_", self.place)
        self._count = count
        self._sleep = sleep
        self._files: dict[str, int] = {}
        self._held: set[int] = set()
        self._turn = asyncio.Lock()
        self._useless = False

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Hold a slot for the time of the block, after waiting for it.

        Where the folder cannot be used there is no limit over several programs; that is logged.
        """
        try:
            held = None if self._useless else await self.take()
        except OSError as error:
            log.warning("slots are not shared", folder=str(self._folder), reason=error.strerror)
            self._useless, held = True, None
        try:
            yield
        finally:
            if held is not None:
                self.give_back(held)

    async def take(self) -> int:
        """Wait for a slot and return its open file, locked. Raises :class:`OSError`."""
        async with self._turn:  # one of this program stands at the turnstile, for all
            turnstile = self._open("turnstile")
            turns, looks = _growing(*TURN_SECONDS), _growing(*LOOK_SECONDS)
            while not _locked(turnstile):
                await self._sleep(next(turns))
            try:
                while (free := self._free()) is None:
                    await self._sleep(next(looks))
            finally:
                fcntl.flock(turnstile, fcntl.LOCK_UN)
        self._held.add(free)
        return free

    def give_back(self, held: int) -> None:
        """Let go of a slot that was taken."""
        fcntl.flock(held, fcntl.LOCK_UN)
        self._held.discard(held)

    def close(self) -> None:
        """Close all files, and so let go of all slots."""
        for file in self._files.values():
            os.close(file)
        self._files.clear()
        self._held.clear()

    def _free(self) -> int | None:
        """Lock a slot that is free, if there is one."""
        for number in range(self._count):
            file = self._open(str(number))
            if file not in self._held and _locked(file):
                return file
        return None

    def _open(self, name: str) -> int:
        """Return the open file of a slot. It is opened for reading: that is enough for a lock."""
        if name not in self._files:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            path = self._folder / f"slot-{self._name}.{name}"
            self._files[name] = os.open(path, flags, 0o664)
            with suppress(PermissionError):  # somebody else's is as they made it
                os.fchmod(self._files[name], 0o664)  # whatever the umask says
        return self._files[name]


def _growing(first: float, last: float) -> Iterator[float]:
    """Yield waits that grow by a tenth: who waits for long need not look that often."""
    while True:
        yield first
        first = min(first * 1.1, last)


def _locked(file: int) -> bool:
    """Lock a file if nobody else has; say whether it is locked."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _place(base_url: str) -> str:
    """Return host and port of an address: a GPU knows no paths."""
    try:
        url = urlsplit(base_url)
        host, port = (url.hostname or "").casefold(), url.port or _PORTS.get(url.scheme)
    except ValueError:
        host, port = "", None
    if not host or not port:
        message = f"{base_url.rsplit('@', 1)[-1]!r} is not an address like http://127.0.0.1:8000/v1"
        raise ConfigurationError(message)
    return f"{'localhost' if host in _LOOPBACK else host}:{port}"
