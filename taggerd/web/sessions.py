"""Who is logged in: one-time links, and sessions, which live in memory and end with the server."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

IDLE_SECONDS = 7 * 86400.0
"""A session that is not used for so long has ended."""
LONGEST_SECONDS = 30 * 86400.0
"""Of a session, however much it is used."""
MOST_SESSIONS = 256
"""Beyond, the one that was used longest ago ends."""
_BYTES = 32


@dataclass(slots=True, kw_only=True)
class Session:
    """One browser that is logged in."""

    csrf: str
    """What each form carries: another site's page cannot know it."""
    who: str
    """For people: who does what is done in it."""
    password: str
    """Which password began it, as :attr:`Passwords.version` says; empty: a link did."""
    began: float
    seen: float
    """Seconds of the clock."""
    notices: list[str] = field(default_factory=list)
    """Lines that the next page shows, once."""


class Sessions:
    """The links that are open, and the sessions that they, or the password, began."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Begin with none; *clock* says seconds, and never goes back."""
        self._clock = clock
        self._link = b""
        self._sessions: dict[bytes, Session] = {}

    def new_link(self) -> str:
        """Return a token that logs one browser in, once; the one before it is void."""
        token = secrets.token_urlsafe(_BYTES)
        self._link = _hashed(token)
        return token

    def use_link(self, token: str) -> bool:
        """Say whether *token* is the open one; it is void from now on."""
        if not self._link or not hmac.compare_digest(self._link, _hashed(token)):
            return False
        self._link = b""
        return True

    def begin(self, who: str, *, password: str = "") -> str:
        """Begin a session and return its id, which nobody could choose or guess before."""
        now = self._clock()
        name = secrets.token_urlsafe(_BYTES)
        if len(self._sessions) >= MOST_SESSIONS:
            del self._sessions[min(self._sessions, key=lambda each: self._sessions[each].seen)]
        self._sessions[_hashed(name)] = Session(
            csrf=secrets.token_urlsafe(_BYTES), who=who, password=password, began=now, seen=now
        )
        return name

    def find(self, name: str, *, password: str) -> Session | None:
        """Return the session of that id; None: there is none, or it has ended.

        Args:
            name: the id.
            password: the version of the one in force; a session of another one has ended.

        """
        session = self._sessions.get(hashed := _hashed(name))
        if session is None:
            return None
        now = self._clock()
        late = now - session.seen > IDLE_SECONDS or now - session.began > LONGEST_SECONDS
        if late or (session.password and session.password != password):
            del self._sessions[hashed]
            return None
        session.seen = now
        return session

    def end(self, name: str) -> None:
        """End the session of that id, if there is one."""
        self._sessions.pop(_hashed(name), None)


def _hashed(secret: str) -> bytes:
    """Return what is kept of a secret: a lookup by it takes as long, whatever was guessed."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
