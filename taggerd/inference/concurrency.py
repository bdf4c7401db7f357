"""How many requests an endpoint gets at once: permits of this program, slots of this machine.

:class:`Limit` adapts: additive increase, multiplicative decrease, as TCP does it (RFC 5681). A
refusal (429, 503) or a timeout halves the limit, once for all requests in flight; an answer adds
1/limit, which is one more a round. It begins at the largest limit, which is set by somebody who
knows the machine. A number of requests that was refused is not tried again for a while
(:mod:`taggerd.retry`). Latency teaches it nothing: servers that batch take longer for one request,
and less for all of them, the more they have to do.

:class:`Slots` are file locks. All programs that ask one endpoint lock files of the same names in
one folder, one file per slot. The kernel releases a lock when its process ends, however it ends.
Whoever waits holds another lock, the turnstile: so a program that has just released a slot does not
take it again at once, and everybody is served.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import time
from collections import deque
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import structlog

from taggerd.errors import ConfigurationError
from taggerd.retry import CONCURRENCY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping

COMMON = Path("/run/taggerd")
"""The folder that everybody in its group shares (systemd/tmpfiles.d)."""
SLOT_POLL_SECONDS = (0.004, 0.02)
"""Between polls by the one who holds the turnstile, at first and in the end: a free slot lies idle
no longer."""
TURNSTILE_POLL_SECONDS = (0.012, 0.03)
"""Between polls by those who wait for the turnstile, at first and in the end."""
_LOOPBACK = {"localhost", "127.0.0.1", "::1", "0.0.0.0"}  # noqa: S104 - a name, nothing is bound
_PORTS = {"http": 80, "https": 443}

log = structlog.get_logger(__name__)


class Limit:
    """Permits for requests in flight, at most ``most``, at least one."""

    def __init__(self, most: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with *most* permits; *clock* is monotonic, seconds."""
        self.most = most
        self.in_flight = 0
        self._clock = clock
        self._size = float(most)
        self._ceiling = float(most)
        self._refusals = 0
        self._hold = CONCURRENCY.first
        self._held_until = self._cut_at = float("-inf")
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def size(self) -> int:
        """Number of permits now."""
        return int(self._size)

    @asynccontextmanager
    async def permit(self) -> AsyncIterator[None]:
        """Hold a permit for the time of the block, first come, first served."""
        if self._waiting or self.in_flight >= self.size:
            granted = asyncio.get_running_loop().create_future()
            self._waiting.append(granted)
            try:
                await granted  # whoever wakes us has counted us already
            except asyncio.CancelledError:
                if granted.cancelled():
                    with suppress(ValueError):  # passed over already
                        self._waiting.remove(granted)
                else:
                    self._release()
                raise
        else:
            self.in_flight += 1
        try:
            yield
        finally:
            self._release()

    def answered(self) -> None:
        """Note that a request was answered, while it still holds its permit."""
        full = self.in_flight >= self.size  # a limit that nobody needs says nothing of the server
        if full or self._waiting:
            held = self._clock() < self._held_until
            self._size = min(self._size + 1 / self._size, self._ceiling if held else self.most)
        self._grant()

    def refused(self, begun_at: float) -> None:
        """Note that a request sent at *begun_at* was too much, while it still holds its permit.

        One that was alone was not refused for being one of too many.
        """
        if begun_at < self._cut_at or self.in_flight <= 1:
            return  # in flight when the limit was cut: the same news once more
        now = self._clock()
        again = now < self._held_until + self._hold
        self._refusals = self._refusals + 1 if again else 1
        self._hold = CONCURRENCY.seconds(self._refusals)
        self._cut_at, self._held_until = now, now + self._hold
        self._ceiling = max(1.0, min(self.in_flight, self.size) - 1.0)
        self._size = max(1.0, self._size / 2)

    def _release(self) -> None:
        """Return a permit."""
        self.in_flight -= 1
        self._grant()

    def _grant(self) -> None:
        """Give free permits to those who wait."""
        while self._waiting and self.in_flight < self.size:
            granted = self._waiting.popleft()
            if not granted.done():
                self.in_flight += 1
                granted.set_result(None)


def slots_folder(state_directory: Path, environ: Mapping[str, str], common: Path = COMMON) -> Path:
    """Return the folder of the slots: the most widely shared one that this user may write to.

    :data:`COMMON` first; then the user's own, ``$XDG_RUNTIME_DIR``; then the service's own,
    ``$RUNTIME_DIRECTORY``, so late because no other program uses it; then the state directory.
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
        self.host = _host(base_url)
        """Whose slots these are, for people: host and port."""
        self._folder = folder
        self._name = re.sub(r"[^a-z0-9.-]", "_", self.host)
        self._count = count
        self._sleep = sleep
        self._files: dict[str, int] = {}
        self._held: set[int] = set()
        self._queue = asyncio.Lock()
        self._unusable = False

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a slot and hold it for the time of the block.

        Where the folder cannot be used, programs do not limit each other; that is logged.
        """
        try:
            held = None if self._unusable else await self.take()
        except OSError as error:
            log.warning("slots are not shared", folder=str(self._folder), reason=error.strerror)
            self._unusable, held = True, None
        try:
            yield
        finally:
            if held is not None:
                self.release(held)

    async def take(self) -> int:
        """Wait for a slot and return its open file, locked. Raises :class:`OSError`."""
        async with self._queue:  # one request of this program waits at the turnstile for all
            turnstile = self._open("turnstile")
            waits = _growing(*TURNSTILE_POLL_SECONDS)
            while not _locked(turnstile):
                await self._sleep(next(waits))
            waits = _growing(*SLOT_POLL_SECONDS)
            try:
                while (free := self._free()) is None:
                    await self._sleep(next(waits))
            finally:
                fcntl.flock(turnstile, fcntl.LOCK_UN)
        self._held.add(free)
        return free

    def release(self, held: int) -> None:
        """Release a slot that was taken."""
        fcntl.flock(held, fcntl.LOCK_UN)
        self._held.discard(held)

    def close(self) -> None:
        """Close all files, which releases all slots."""
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
        """Return the open file of a slot; reading it is enough for a lock."""
        if name not in self._files:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            path = self._folder / f"slot-{self._name}.{name}"
            self._files[name] = os.open(path, flags, 0o664)
            with suppress(PermissionError):  # somebody else's stays as they made it
                os.fchmod(self._files[name], 0o664)  # whatever the umask is
        return self._files[name]


def _growing(first: float, last: float) -> Iterator[float]:
    """Yield waits that grow by a tenth: after a long wait a little more does not matter."""
    while True:
        yield first
        first = min(first * 1.1, last)


def _locked(file: int) -> bool:
    """Lock a file if nobody else has; return whether it is ours."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _host(base_url: str) -> str:
    """Return host and port of an address: all paths share one GPU."""
    try:
        url = urlsplit(base_url)
        host, port = (url.hostname or "").casefold(), url.port or _PORTS.get(url.scheme)
    except ValueError:
        host, port = "", None
    if not host or not port:
        message = f"{base_url.rsplit('@', 1)[-1]!r} is not an address like http://127.0.0.1:8000/v1"
        raise ConfigurationError(message)
    return f"{'localhost' if host in _LOOPBACK else host}:{port}"
