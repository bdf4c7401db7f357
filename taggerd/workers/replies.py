"""What a process sends back: rebuilt as plain values, whoever controls the process.

A decoder that is taken over may send any pickle. Of the language of pickles (`pickletools`) only
what builds values is spoken here:

- no function is called: classes are found in an allow list, and all of them only hold data;
- nothing is changed that was there before: BUILD, which sets attributes, would set those of a class
  for all its instances, and those of an enum's member for everybody;
- nothing is contained twice: whoever hashed or compared a tuple of a tuple … of a tuple, each of
  them twice in the next, would never end;
- it ends after so many steps.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import enum
import importlib
import io
import pathlib
import pickle
import sys
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable

_VALUES = (
    *(Exception, enum.Enum, pathlib.PurePath, set, frozenset, bytearray, complex),
    *(dt.date, dt.time, dt.timedelta, dt.tzinfo),
)


def rebuilt(content: bytes, most_steps: int) -> object:
    """Return the value that a process sent as *content*.

    Raises:
        pickle.UnpicklingError: it is none that a process may send.
    """
    return _Rebuilder(content, most_steps).load()


def rebuilt_error(content: bytes, most_steps: int) -> Exception:
    """Return the exception that a process sent, or at least one with its text.

    Raises:
        pickle.UnpicklingError: it is none that a process may send.
    """
    sent = rebuilt(content, most_steps)
    text, rebuildable = sent if isinstance(sent, tuple) else (sent, b"")
    with contextlib.suppress(Exception):
        error = rebuilt(rebuildable, most_steps)
        if isinstance(error, Exception):
            return error
    return RuntimeError(text)


class _Rebuilder(pickle._Unpickler):  # noqa: SLF001 - the one in Python: its steps can be checked
    """Builds values, step by step."""

    stack: list[Any]

    def __init__(self, content: bytes, most_steps: int) -> None:
        super().__init__(io.BytesIO(content))
        self.steps_left = most_steps

    def find_class(self, module: str, name: str) -> type:
        if module.partition(".")[0] == "taggerd":
            importlib.import_module(module)
        found = getattr(sys.modules.get(module), name, None)
        if isinstance(found, type) and _is_value(found):
            return found
        message = f"a worker process may not return {module}.{name}"
        raise pickle.UnpicklingError(message)

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {}


def _is_value(kind: type) -> bool:
    """Say whether creating an instance of *kind* does nothing but hold data."""
    is_named_tuple = issubclass(kind, tuple) and hasattr(kind, "_fields")
    return issubclass(kind, _VALUES) or dataclasses.is_dataclass(kind) or is_named_tuple


def _counted(step: Callable[[Any], None]) -> Callable[[_Rebuilder], None]:
    def load(rebuilder: _Rebuilder) -> None:
        rebuilder.steps_left -= 1
        if rebuilder.steps_left < 0:
            message = "a worker process returned too much"
            raise pickle.UnpicklingError(message)
        step(rebuilder)

    return load


def _refuse_twice(_: _Rebuilder) -> None:
    message = "a worker process may not return one object twice"
    raise pickle.UnpicklingError(message)


def _build(rebuilder: _Rebuilder) -> None:
    if isinstance(rebuilder.stack[-2], type | enum.Enum):
        message = "a worker process may not change what is there"
        raise pickle.UnpicklingError(message)
    _STEPS[pickle.BUILD[0]](rebuilder)


_STEPS: dict[int, Callable[[Any], None]] = dict(pickle._Unpickler.dispatch)  # noqa: SLF001 - as above
_OWN: dict[int, Callable[[Any], None]] = {
    pickle.BUILD[0]: _build,
    **{code[0]: _refuse_twice for code in (pickle.GET, pickle.BINGET, pickle.LONG_BINGET)},
    pickle.DUP[0]: _refuse_twice,
}
"""A process writes no references: see `taggerd.workers.process.pickled`."""
_Rebuilder.dispatch |= {code: _counted(step) for code, step in (_STEPS | _OWN).items()}
