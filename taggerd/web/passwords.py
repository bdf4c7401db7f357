"""The password of the review: its hash, where it is kept, and how fast it may be guessed."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import os
import secrets
import stat
import tempfile
from collections import OrderedDict
from contextlib import suppress
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from taggerd.errors import ConfigurationError
from taggerd.photo import printable

if TYPE_CHECKING:
    from collections.abc import Callable

FILE = "web-password"
"""In the state directory."""
SHORTEST = 10
"""Characters."""
LONGEST = 1024
"""Characters; a longer one is refused before it is hashed."""
_N, _R, _P = 1 << 15, 8, 3
"""scrypt's cost: 32 MB, and a third of a second of a small machine.

https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html#scrypt
"""
_MEMORY = 128 * _R * (_N + _P + 2) * 2
_MOST_COST = 1 << 20
"""Largest product of N and r in a hash that is read: one that somebody made elsewhere."""


def hashed(password: str) -> str:
    """Return what is kept of *password*: ``scrypt$N$r$p$SALT$HASH``."""
    salt = secrets.token_bytes(16)
    found = _scrypt(password, salt, _N, _R, _P)
    parts = (base64.b64encode(each).decode() for each in (salt, found))
    return "$".join(["scrypt", str(_N), str(_R), str(_P), *parts])


def matches(password: str, kept: str) -> bool:
    """Say whether *password* is the one that *kept* was made of. Takes a third of a second.

    Raises:
        ConfigurationError: *kept* is no hash.

    """
    try:
        kind, n, r, p, salt, wanted = kept.split("$")
        cost = int(n), int(r), int(p)
        expected = base64.b64decode(wanted, validate=True)
        right = kind == "scrypt" and cost[0] * cost[1] <= _MOST_COST and expected
        found = _scrypt(password, base64.b64decode(salt, validate=True), *cost) if right else b""
    except ValueError:
        found = b""
    if not found:
        message = "web.password_hash is no hash: make one with taggerd web --set-password"
        raise ConfigurationError(message)
    return hmac.compare_digest(found, expected)


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    memory = max(_MEMORY, 128 * r * (n + p + 2) * 2)
    return hashlib.scrypt(
        password.encode("utf-8", "surrogatepass"), salt=salt, n=n, r=r, p=p, maxmem=memory
    )


def why_unfit(password: str) -> str:
    """Return why *password* is none that should guard photos on a network; empty if it is."""
    if len(password) < SHORTEST:
        return f"it is shorter than {SHORTEST} characters"
    if len(password) > LONGEST:
        return f"it is longer than {LONGEST} characters"
    if len(set(password)) < SHORTEST // 2:
        return "it repeats a few characters"
    return ""


def keep(state_directory: Path, password: str) -> Path:
    """Keep the hash of *password* in the state directory, for its owner alone; return the file.

    Raises:
        ConfigurationError: the password is not fit, or the file cannot be written.

    """
    if why := why_unfit(password):
        message = f"the password is not used: {why}"
        raise ConfigurationError(message)
    path = state_directory / FILE
    try:
        state_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{FILE}.", dir=state_directory)
        new = Path(name)
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(hashed(password) + "\n")  # mkstemp made it with mode 600
                file.flush()
                os.fsync(file.fileno())
            new.replace(path)
        except OSError:
            with suppress(OSError):
                new.unlink()
            raise
    except OSError as error:
        message = f"{printable(path)}: cannot be written: {error.strerror}"
        raise ConfigurationError(message) from error
    return path


class Passwords:
    """The password in force: of the settings, else of the state directory."""

    def __init__(self, state_directory: Path, given: str = "") -> None:
        """Take the hash *given* by the settings, if there is one."""
        self._file = state_directory / FILE
        self._given = given
        self._one = asyncio.Semaphore(1)
        """Each check takes 32 MB: a thousand at once would take the machine's memory."""

    @property
    def kept(self) -> str:
        """The hash; empty: there is no password.

        Raises:
            ConfigurationError: its file cannot be read, or others may read or write it.

        """
        if self._given:
            return self._given
        try:
            with self._file.open("r", encoding="ascii", errors="replace") as file:
                status = os.fstat(file.fileno())
                if stat.S_IMODE(status.st_mode) & 0o077 or status.st_uid not in {0, os.geteuid()}:
                    message = (
                        f"{printable(self._file)}: not used: it is not yours alone (chmod 600)"
                    )
                    raise ConfigurationError(message)
                return file.read(LONGEST).strip()
        except FileNotFoundError:
            return ""
        except OSError as error:
            message = f"{printable(self._file)}: cannot be read: {error.strerror}"
            raise ConfigurationError(message) from error

    @property
    def version(self) -> str:
        """Names the password in force, and does not tell it; empty: there is none."""
        kept = self.kept
        return hashlib.sha256(kept.encode()).hexdigest() if kept else ""

    async def check(self, password: str) -> str:
        """Return the :attr:`version` that *password* is right for; empty: it is wrong."""
        if not password or len(password) > LONGEST:
            return ""
        kept = self.kept
        if not kept:
            return ""
        async with self._one:
            right = await asyncio.to_thread(matches, password, kept)
        return hashlib.sha256(kept.encode()).hexdigest() if right else ""


FIRST_SECONDS = 1.0
"""After the first wrong password; each further one doubles it."""
MOST_SECONDS = 60.0
FORGET_SECONDS = 900.0
"""After so long without a try an address begins again at zero."""
MOST_ADDRESSES = 4096


class Throttle:
    """How long an address waits before it may try a password again."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Begin without any try; *clock* says seconds, and never goes back."""
        self._clock = clock
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def wait(self, address: str) -> float:
        """Return for how many seconds *address* has to wait; 0: it may try, and that is counted.

        A try counts as wrong until :meth:`forgive`, so that a hundred at once are one.
        """
        now, network = self._clock(), _network(address)
        count, last = self._wrong.get(network, (0, now))
        if now - last > FORGET_SECONDS:
            count = 0
        if count:
            left: float = last + min(MOST_SECONDS, FIRST_SECONDS * 2.0 ** (count - 1)) - now
            if left > 0:
                return left
        self._wrong[network] = (min(count + 1, 32), now)
        self._wrong.move_to_end(network)
        if len(self._wrong) > MOST_ADDRESSES:
            self._wrong.popitem(last=False)
        return 0.0

    def renew(self, address: str) -> None:
        """Count the wait of *address* from now: to check the password took a while."""
        if known := self._wrong.get(_network(address)):
            self._wrong[_network(address)] = (known[0], self._clock())

    def forgive(self, address: str) -> None:
        """Forget the tries of *address*: the last one was right."""
        self._wrong.pop(_network(address), None)


def _network(address: str) -> str:
    """Return what one machine can have many addresses of: of IPv6 the first 64 bits."""
    try:
        number = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(number, IPv6Address):
        if number.ipv4_mapped:
            return str(number.ipv4_mapped)
        return str(IPv6Address(int(number) >> 64 << 64))
    return str(number)
