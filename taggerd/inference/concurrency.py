"""How many requests an endpoint gets at once: permits of this program, slots of this machine.

:class:`Limit` adapts (:mod:`~taggerd.inference.throttle`). Where hosts share a ledger it is this
program's share of the limit of all of them (:mod:`~taggerd.inference.sharing`). Permits are given
by :class:`Rank`: a photo that is begun is finished first. Asked in the order they came, as many
photos as are in flight would end together, and slots would lie idle until the next ones are
decoded; and a server that keeps what it read of a picture would have dropped it by the next
question.

:class:`Slots` are file locks. All programs that ask one endpoint lock files of the same names in
one folder, one file per slot. The kernel releases a lock when its process ends, however it ends.
Whoever waits holds another lock, the turnstile: so a program that has just released a slot does not
take it again at once, and everybody is served. Locks say nothing about whether their holder does
anything: who waits for long, or for a process that is stopped, goes on without a slot.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import math
import os
import pwd
import re
import stat
import time
from collections import deque
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias
from urllib.parse import urlsplit

from taggerd.errors import ConfigurationError
from taggerd.inference.throttle import Throttle
from taggerd.logs import get_logger
from taggerd.photo import brief

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping

    from taggerd.inference.throttle import Share

COMMON = Path("/run/taggerd/slots")
"""The folder that the members of the group taggerd-slots share (systemd/tmpfiles.d)."""
SLOT_POLL_SECONDS = (0.004, 0.02)
"""Between polls by the one who holds the turnstile, at first and in the end: a free slot lies idle
no longer."""
TURNSTILE_POLL_SECONDS = (0.012, 0.03)
"""Between polls by those who wait for the turnstile, at first and in the end."""
RESERVED_SECONDS = 0.1
"""How long a permit stays free for the next question about a photo: its answer is stored first."""
HOLDER_SECONDS = 0.5
"""Between checks of who holds what is waited for."""
STALLED_SECONDS = 0.25
"""Longest wait for a slot after one was waited for too long, until there is one again."""
_LONGEST_LIST = 1 << 20
"""Bytes of /proc/locks that are read."""
_LOOPBACK = {"localhost", "127.0.0.1", "::1", "0.0.0.0"}  # noqa: S104 - a name, nothing is bound
_PORTS = {"http": 80, "https": 443}

log = get_logger(__name__)


Check: TypeAlias = "Callable[[], Awaitable[object]]"
"""Raises what is to be raised instead of a request."""


class Rank(IntEnum):
    """Which of the requests that wait for a permit go first."""

    BEGUN = 0
    """One of a photo that was asked about before, and every probe."""
    NEW = 1
    """The first one of a photo."""
    SPARE = 2
    """One that could wait for the photo's others; it takes a permit that lies idle."""


@dataclass(eq=False, slots=True)
class Waiter:
    """A question that needs a permit, and how soon."""

    rank: Rank = Rank.BEGUN
    granted: asyncio.Future[None] | None = None
    """Set while it waits for a permit."""
    taken: Rank | None = None
    """The rank that it had when it first got a permit; None: it has had none."""
    more: bool = False
    """Whether another question about its photo follows."""
    check: Check | None = None
    """Called before it is sent."""


class Limit:
    """Permits for requests in flight, at most ``most``, at least one."""

    def __init__(self, most: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with *most* permits; *clock* is monotonic, seconds."""
        self.most = most
        self.in_flight = 0
        self._clock = clock
        self._throttle = Throttle.of(most)
        self._cut_at = float("-inf")
        self.share: Share | None = None
        """What this program may have of the limit of all hosts; None: it is alone."""
        self._lends = False
        self._reserves = False
        self._reserved = 0
        """Free permits that only the next questions about photos get."""
        self._waiting: dict[Rank, deque[Waiter]] = {rank: deque() for rank in Rank}

    @property
    def size(self) -> int:
        """Number of permits now; 0 only where this program has no share."""
        return int(self._throttle.size) if self.share is None else self.share.permits

    @property
    def at_once(self) -> int:
        """How many requests the endpoint may be sent by this program, as far as is known."""
        return self.most if self.share is None else max(1, self.share.granted)

    @property
    def wanted(self) -> int:
        """Number of permits that are held or waited for."""
        ranks = Rank if self._lends else (Rank.BEGUN, Rank.NEW)
        return self.in_flight + sum(len(self._waiting[rank]) for rank in ranks)

    @asynccontextmanager
    async def permit(self, waiter: Waiter | None = None) -> AsyncIterator[None]:
        """Hold a permit for the time of the block: by rank, then first come, first served."""
        waiter = waiter or Waiter()
        if not any(self._waiting[rank] for rank in Rank if rank <= waiter.rank) and self._has_free(
            waiter.rank
        ):
            self._take(waiter.rank)
        else:
            granted = waiter.granted = asyncio.get_running_loop().create_future()
            self._waiting[waiter.rank].append(waiter)
            self._tell()
            try:
                await granted  # whoever wakes us has counted us already
            except asyncio.CancelledError:
                if granted.cancelled():
                    with suppress(ValueError):  # passed over already
                        self._waiting[waiter.rank].remove(waiter)
                else:
                    self._release()
                raise
            finally:
                waiter.granted = None
        waiter.taken = waiter.rank if waiter.taken is None else waiter.taken
        waiter.rank = Rank.BEGUN  # should its question be asked again
        try:
            if self.share is None:
                yield
            else:
                async with self.share.held():
                    yield
        finally:
            if waiter.more and self._reserves:
                self._reserved += 1
                asyncio.get_running_loop().call_later(RESERVED_SECONDS, self._release_reserved)
            self._release()

    def hurry(self, waiter: Waiter) -> None:
        """Let *waiter* wait no longer for a permit that lies idle, but go before new photos."""
        if waiter.rank is not Rank.SPARE:
            return
        if waiter.granted is not None and not waiter.granted.done():
            self._waiting[waiter.rank].remove(waiter)
            self._waiting[Rank.BEGUN].append(waiter)
        waiter.rank = Rank.BEGUN
        self._grant()

    def lend(self, *, idle: bool) -> None:
        """Say whether permits that lie *idle* are given to questions that could wait."""
        self._lends = idle
        self._grant()

    def reserve(self, *, briefly: bool) -> None:
        """Say whether the permit of a photo stays free *briefly* for its next question.

        Without this another photo gets it while an answer is stored, and a server with as many
        caches as permits reads each picture again for each question.
        """
        self._reserves = briefly

    def _has_free(self, rank: Rank) -> bool:
        """Return whether there is a permit for a request of this *rank*."""
        reserved = self._reserved if rank is not Rank.BEGUN else 0
        return self.in_flight + reserved < self.size and (rank < Rank.SPARE or self._lends)

    def _take(self, rank: Rank) -> None:
        """Count a request as in flight."""
        self.in_flight += 1
        if rank is Rank.BEGUN and self._reserved:
            self._reserved -= 1

    def _release_reserved(self) -> None:
        """Let any request have a permit that was reserved; its photo may have ended."""
        if self._reserved:
            self._reserved -= 1
            self._grant()

    def answered(self) -> None:
        """Note that a request was answered, while it still holds its permit."""
        full = self.in_flight >= self.size  # a limit that nobody needs says nothing of the server
        if full or self._waiting[Rank.BEGUN] or self._waiting[Rank.NEW]:
            if self.share is not None:
                self.share.answered()
            else:
                self._throttle.answered(1, self.most, self._clock())
        self._grant()

    def refused(self, begun_at: float) -> None:
        """Note that a request sent at *begun_at* was too much, while it still holds its permit.

        One that was alone was not refused for being one of too many.
        """
        if begun_at < self._cut_at or (self.in_flight <= 1 and self.share is None):
            return  # in flight when the limit was cut: the same news once more
        self._cut_at = self._clock()
        if self.share is not None:
            self.share.refused()
        else:
            self._throttle.refused(self.in_flight, self._cut_at)

    def resized(self, *, cut: bool = False) -> None:
        """Note that the share is another now; *cut*: because too much was refused, to any host."""
        if cut:
            self._cut_at = self._clock()
        self._grant()

    def _release(self) -> None:
        """Return a permit."""
        self.in_flight -= 1
        self._grant()
        self._tell()

    def _tell(self) -> None:
        """Let the share follow what is wanted."""
        if self.share is not None:
            self.share.follow()

    def _grant(self) -> None:
        """Give free permits to those who wait."""
        for rank, waiting in self._waiting.items():
            while waiting and self._has_free(rank):
                granted = waiting.popleft().granted
                if granted is not None and not granted.done():
                    self._take(rank)
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

    def __init__(  # noqa: PLR0913 - the last three by name
        self,
        folder: Path,
        base_url: str,
        count: int,
        *,
        longest_wait: float = math.inf,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Use *count* slots of the endpoint at *base_url*; nothing is touched yet.

        Args:
            folder: where the lock files are.
            base_url: the endpoint's address.
            count: how many there are.
            longest_wait: seconds until a request goes without one.
            sleep: waits.
            clock: seconds, monotonic.

        Raises:
            ConfigurationError: *base_url* is no address.
        """
        self.host = host_of(base_url)
        """Whose slots these are, for people: host and port."""
        self._folder = folder
        self._name = re.sub(r"[^a-z0-9.-]", "_", self.host)
        self.trouble = ""
        """Why requests go without a slot, one line; empty: they do not."""
        self._count = count
        self._longest_wait = longest_wait
        self._sleep = sleep
        self._clock = clock
        self._files: dict[str, int] = {}
        self._held: set[int] = set()
        self._queue = asyncio.Lock()
        self._unusable = False

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a slot and hold it for the time of the block.

        Where the folder cannot be used, and where none becomes free, programs do not limit each
        other; that is logged, once.
        """
        held = None
        if not self._unusable:
            stalled = self.trouble
            try:
                held = await self.take(STALLED_SECONDS if stalled else self._longest_wait)
            except OSError as error:
                log.warning("slots are not shared", folder=str(self._folder), reason=error.strerror)
                self._unusable = True
            if self.trouble and not stalled:
                log.error("requests are sent without a slot", host=self.host, reason=self.trouble)
            elif stalled and held is not None:
                log.info("requests wait for slots again", host=self.host)
        try:
            yield
        finally:
            if held is not None:
                self.release(held)

    async def take(self, seconds: float = math.inf) -> int | None:
        """Wait for a slot and return its open file, locked.

        None if there was none for so many *seconds*, or whoever holds one is stopped; then
        :attr:`trouble` says who. Raises :class:`OSError`.
        """
        deadline = self._clock() + seconds
        async with self._queue:  # one request of this program waits at the turnstile for all
            turnstile = self._open("turnstile")
            passed = await self._wait(
                lambda: turnstile if _locked(turnstile) else None,
                _growing(*TURNSTILE_POLL_SECONDS),
                deadline,
            )
            if passed is None:
                return None
            try:
                free = await self._wait(self._free, _growing(*SLOT_POLL_SECONDS), deadline)
            finally:
                fcntl.flock(turnstile, fcntl.LOCK_UN)
        if free is not None:
            self.trouble = ""
            self._held.add(free)
        return free

    async def _wait(
        self, tried: Callable[[], int | None], waits: Iterator[float], deadline: float
    ) -> int | None:
        """Try until there is a file; None after the *deadline*, or where a holder is stopped."""
        check_at = self._clock() + HOLDER_SECONDS
        while (found := tried()) is None:
            now = self._clock()
            if now >= deadline or now >= check_at:
                check_at = now + HOLDER_SECONDS
                holders = self._holders()
                stopped = [holder for holder in holders if holder.stopped]
                if stopped or now >= deadline:
                    self.trouble = _told(stopped or holders)
                    return None
            await self._sleep(next(waits))
        return found

    def _holders(self) -> list[_Holder]:
        """Return who else holds a slot or the turnstile."""
        found = dict.fromkeys(each for file in self._files.values() for each in _holders(file))
        return [holder for holder in found if holder.pid != os.getpid()]

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
            flags = os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            path = self._folder / f"slot-{self._name}.{name}"
            file = os.open(path, flags, 0o660)
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode):
                os.close(file)
                raise OSError(errno.EINVAL, "it is no regular file", str(path))
            self._files[name] = file
            # Somebody else's stays as they made it; with two names it may be any file of ours.
            if status.st_nlink == 1 and status.st_uid == os.geteuid():
                os.fchmod(file, 0o660)  # whatever the umask is; whoever reads it can lock it
        return self._files[name]


class _Holder(NamedTuple):
    """A process that holds a lock."""

    pid: int
    name: str
    """For people; empty where this user may not see it."""
    stopped: bool
    """By Ctrl-Z or SIGSTOP: it does nothing until somebody lets it go on."""


def _holders(file: int) -> Iterator[_Holder]:
    """Yield who holds a lock on an open *file*: proc_locks(5).

    Nobody is known where the processes are another container's, or on a file system whose numbers
    there are not those of stat(2) (Btrfs).
    """
    status = os.fstat(file)
    device = status.st_dev
    where = f"{os.major(device):02x}:{os.minor(device):02x}:{status.st_ino}"
    try:
        with Path("/proc/locks").open("rb") as listed:
            lines = listed.read(_LONGEST_LIST).decode("ascii", "replace").splitlines()
    except OSError:
        return
    for line in lines:
        # "1: FLOCK  ADVISORY  WRITE 4711 00:1a:42 0 EOF"; with "->" it only waits for the lock.
        fields = line.split()
        if fields[1:2] == ["FLOCK"] and fields[5:6] == [where] and int(fields[4]) > 0:
            yield _process(int(fields[4]))


def _process(pid: int) -> _Holder:
    """Return what is to be seen of a process."""
    folder = Path("/proc") / str(pid)
    try:
        # The number, the name in brackets (any, brackets too), the state: proc_pid_stat(5).
        text = (folder / "stat").read_text(encoding="utf-8", errors="replace")
        user = folder.stat().st_uid
    except OSError:
        return _Holder(pid, "", stopped=False)
    name, _, rest = text.partition("(")[2].rpartition(")")
    try:
        who = pwd.getpwuid(user).pw_name
    except KeyError:
        who = str(user)
    return _Holder(pid, f"{brief(name)}, user {who}", stopped=rest.split()[:1] in (["T"], ["t"]))


def _told(holders: list[_Holder]) -> str:
    """Say who holds slots."""
    each = [
        f"pid {holder.pid}{f' ({holder.name})' if holder.name else ''}"
        f"{', which is stopped' if holder.stopped else ''}"
        for holder in holders
    ]
    return f"the slots are held by {' and '.join(each) or 'a process that cannot be seen'}"


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


def host_of(base_url: str) -> str:
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
