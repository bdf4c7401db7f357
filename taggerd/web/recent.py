"""What was done lately, so that a page can say it and offer its undo."""

from __future__ import annotations

from collections import OrderedDict
from secrets import token_hex
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_MOST = 200


class Done(NamedTuple):
    """One action."""

    message: str
    paths: Sequence[Path] = ()
    """The photos that it was done with."""
    actions: Sequence[str] = ()
    """What the ledger calls it, for each photo: others may have done something since."""
    token: str = ""
    """Names it in an address."""
    once: bool = False
    """It cannot be undone."""


class Recent:
    """The latest actions; a restart forgets them, the ledger does not."""

    def __init__(self) -> None:
        """Know of none."""
        self._done: OrderedDict[str, Done] = OrderedDict()

    def keep(self, done: Done) -> str:
        """Remember what was *done* and return its token."""
        token = token_hex(8)
        self._done[token] = done._replace(token=token)
        while len(self._done) > _MOST:
            self._done.popitem(last=False)
        return token

    def get(self, token: str) -> Done | None:
        """Return the action with *token*; None: it is forgotten."""
        return self._done.get(token)

    def take(self, token: str) -> Done | None:
        """Return it and forget it: it is undone once."""
        return self._done.pop(token, None)
