"""What a process sends back: JSON of plain values and bytes, whoever controls the process.

A decoder that is taken over may send anything. A pickle would build instances of every class that
the main process has loaded, call some of them, hash what collides, and nest until the stack ends.
Here is what a reply may be, and nothing else:

- ``null``, ``true``, ``false``, integers of 64 bits, finite numbers, text without lone surrogates,
  and arrays, which are lists;
- an object with one member, whose name says what it is: ``tuple`` (an array), ``dict`` (an object),
  ``path`` (Base64), ``bytes`` (their number), or a type that the pool was made for, with all its
  fields, each of the type that it declares.

Behind the JSON comes a NUL, which no JSON contains, and behind that all bytes in the order of their
numbers, without a gap or a rest: a picture as Base64 in JSON costs both sides 5 ms. How much there
is of it is known before it is parsed, by its commas and brackets.
"""

from __future__ import annotations

import base64
import collections.abc
import dataclasses
import inspect
import json
import math
import os
import pathlib
import types
import typing
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, NoReturn, cast

from taggerd import errors
from taggerd.errors import ProgramFault, TaggerdError
from taggerd.photo import storable
from taggerd.retry import is_of_the_program

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

MOST_LEVELS = 20
"""Containers in containers; functions return six."""
_LARGEST_INTEGER = 1 << 63
_LONGEST_NUMBER = 40
"""Characters; those of a float need 24."""
_END = b"\0"
"""Between the JSON and the bytes."""
_READ_AT_ONCE = 4096
"""Bytes of JSON that are read within milliseconds, whatever they are."""
_COPIED_AT_ONCE = 4 << 20
"""Likewise of a whole reply."""
_LONGEST_WORDS = 10_000
"""Characters of an error's text, and of where it was raised."""

_NAMES: Mapping[str, object] = {
    # Of the names in annotations, those that modules import for type checkers alone.
    "Any": Any,
    "Mapping": collections.abc.Mapping,
    "Path": pathlib.Path,
    "Sequence": collections.abc.Sequence,
}
_PLAIN = frozenset(
    {types.NoneType, bool, int, float, str, bytes, pathlib.Path, object, Any, Ellipsis}
)
_ERRORS: Mapping[str, type[TaggerdError]] = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, TaggerdError)
}


class NotAReplyError(Exception):
    """A process sent what no process that is sound sends."""


# ── In the process ───────────────────────────────────────────────────────────────────────────────


def written(value: object) -> bytes:
    """Return *value* as a reply.

    Raises:
        TypeError: it is, or holds, what cannot be sent. ValueError: it nests too deep, or holds a
            number that is not finite or too large.
    """
    behind: list[bytes] = []
    plain = _plain(value, 0, behind)
    text = json.dumps(plain, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return b"".join((text.encode(), _END, *behind))


def written_error(error: Exception, raised_at: str) -> bytes:
    """Return *error* as a reply: the name of its class, its text, and where it was raised."""
    name = type(error).__name__
    try:
        text = str(error)
        if is_of_the_program(error) and not isinstance(error, ProgramFault):
            name, text = ProgramFault.__name__, f"{name}: {text}"
    except Exception:  # noqa: BLE001 - the class may be anybody's
        text = ""
    words = (name, text[:_LONGEST_WORDS], raised_at[-_LONGEST_WORDS:])
    return written(words)


def _plain(value: object, level: int, behind: list[bytes]) -> object:
    """Return what JSON has for *value*; bytes go to *behind* it."""
    if level > MOST_LEVELS:
        message = f"a worker process cannot return more than {MOST_LEVELS} levels"
        raise ValueError(message)
    kind, below = type(value), level + 1
    plain: object
    if value is None or kind is bool or kind is float:
        plain = value
    elif kind is int:
        plain = _integer(str(value))
    elif isinstance(value, str):
        plain = _encodable(value)
    elif kind is list:
        plain = [_plain(each, below, behind) for each in cast("list[object]", value)]
    elif kind is tuple:
        plain = {
            "tuple": [_plain(each, below, behind) for each in cast("tuple[object, ...]", value)]
        }
    elif kind is bytes:
        behind.append(cast("bytes", value))
        plain = {"bytes": len(behind[-1])}
    elif kind is dict:
        inner = cast("dict[str, object]", value)
        plain = {
            "dict": {_encodable(name): _plain(each, below, behind) for name, each in inner.items()}
        }
    elif isinstance(value, pathlib.PurePath):
        plain = {"path": base64.b64encode(os.fsencode(value)).decode("ascii")}
    else:
        fields = _fields(value)
        plain = {
            kind.__name__: {name: _plain(each, below, behind) for name, each in fields.items()}
        }
    return plain


def _fields(value: object) -> dict[str, object]:
    """Return the fields of a dataclass or named tuple."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return dict(value._asdict())
    message = f"a worker process cannot return {type(value).__name__}"
    raise TypeError(message)


def _encodable(text: str) -> str:
    r"""Return *text* with lone surrogates, as in names that are not UTF-8, as ``\udcff``."""
    return text.encode("utf-8", "backslashreplace").decode()


# ── In the main process ──────────────────────────────────────────────────────────────────────────


def is_short(content: bytes) -> bool:
    """Say whether a reply is read within milliseconds, whatever it says; its bytes cost nothing."""
    return len(content) <= _COPIED_AT_ONCE and _END in content[: _READ_AT_ONCE + 1]


class _Parts:
    """The bytes behind the JSON, taken one after the other."""

    def __init__(self, behind: bytes) -> None:
        self._behind = behind
        self._taken = 0

    def next(self, length: int) -> bytes:
        """Return the next *length* of them."""
        start, self._taken = self._taken, self._taken + length
        if length < 0 or self._taken > len(self._behind):
            _refuse("fewer bytes than it says")
        return self._behind[start : self._taken]

    def end(self) -> None:
        """Refuse what nobody has taken."""
        if self._taken != len(self._behind):
            _refuse("more bytes than it says")


class Replies:
    """Reads what processes send back."""

    def __init__(self, returns: Iterable[type], most_values: int) -> None:
        """Look up the fields of the types.

        Args:
            returns: dataclasses and named tuples that may be returned, and those in their fields.
            most_values: values in one reply.

        Raises:
            TypeError, NameError: a field is of a type that is not among them.
        """
        self._most_values = most_values
        self._expected: dict[Callable[..., object], object] = {}
        """By function: reading an annotation takes a tenth of a millisecond."""
        listed = {*returns}
        self._types = {kind.__name__: kind for kind in listed}
        if len(self._types) < len(listed):
            message = "two types of one name cannot be told apart in a reply"
            raise TypeError(message)
        self._names = {**_NAMES, **self._types}
        self._hints = {
            name: typing.get_type_hints(kind, localns=self._names)
            for name, kind in self._types.items()
        }
        for hints in self._hints.values():
            for hint in hints.values():
                self._check(hint)

    def expected(self, function: Callable[..., object]) -> object:
        """Return what *function* says it returns; ``object``: it does not say.

        Raises:
            TypeError, NameError: it returns what may not be returned.
        """
        if function not in self._expected:
            unwrapped = inspect.unwrap(function)
            said = getattr(unwrapped, "__annotations__", {}).get("return", object)
            returning = types.SimpleNamespace(__annotations__={"return": said})
            known = getattr(unwrapped, "__globals__", {})
            expected = typing.get_type_hints(returning, known, self._names)["return"]
            self._check(expected)
            self._expected[function] = expected
        return self._expected[function]

    def value(self, content: bytes, expected: object) -> object:
        """Return the value that a process sent.

        Raises:
            NotAReplyError: it is none, or not the one *expected*.
        """
        text, _, behind = content.partition(_END)
        parts = _Parts(behind)
        try:
            value = self._value(self._parsed(text), 0, parts)
            parts.end()
        except (ValueError, RecursionError) as error:
            raise NotAReplyError(str(error)) from None
        if not _fits(value, expected):
            message = f"{type(value).__name__} was not asked for"
            raise NotAReplyError(message)
        return value

    def error(self, content: bytes) -> Exception:
        """Return the error that a process sent: one of taggerd's own, or a RuntimeError.

        Raises:
            NotAReplyError: it is none.
        """
        sent = self.value(content, tuple[str, str, str])
        words = (storable(each, _LONGEST_WORDS) for each in cast("tuple[str, str, str]", sent))
        name, text, raised_at = words
        if name in _ERRORS:
            ours = _ERRORS[name](text)
            if isinstance(ours, ProgramFault):
                ours.add_note(f"In the worker process:\n{raised_at}")
            return ours
        error = RuntimeError(f"{name}: {text}")
        error.add_note(f"In the worker process:\n{raised_at}")
        return error

    def _check(self, hint: Any) -> None:  # noqa: ANN401 - whatever may be an annotation
        """Raise TypeError if an annotation names a type that is not listed."""
        if typing.get_origin(hint) is Literal:
            return
        for inside in typing.get_args(hint):
            self._check(inside)
        listed = hint in _PLAIN or hint in self._types.values()
        if not listed and not typing.get_args(hint):
            message = f"processes may not return {hint}: list it in taggerd.services.pools"
            raise TypeError(message)

    def _parsed(self, text: bytes) -> object:
        if sum(map(text.count, (b",", b"[", b"{"))) >= self._most_values:
            _refuse("more values than a process may send")
        found: object = _DECODER.decode(text.decode())
        return found

    def _value(self, found: object, level: int, parts: _Parts) -> object:
        if level > MOST_LEVELS:
            _refuse("more levels than a process may send")
        if isinstance(found, str):
            return _text(found)
        if isinstance(found, list):
            return [self._value(each, level + 1, parts) for each in found]
        if not isinstance(found, dict):
            return found
        if len(found) != 1:
            _refuse("an object that does not say what it is")
        ((name, inner),) = found.items()
        return self._named(name, inner, level + 1, parts)

    def _named(self, name: str, inner: object, level: int, parts: _Parts) -> object:
        """Return what an object is, by the name of its member."""
        if name == "bytes" and type(inner) is int:
            return parts.next(inner)
        if name == "path" and isinstance(inner, str):
            return _path(base64.b64decode(inner, validate=True))
        if name == "tuple" and isinstance(inner, list):
            return tuple([self._value(each, level, parts) for each in inner])
        if name in {"dict", *self._types} and isinstance(inner, dict):
            fields = {_text(key): self._value(each, level, parts) for key, each in inner.items()}
            return fields if name == "dict" else self._instance(name, fields)
        return _refuse(f"a type that is not listed: {storable(name, 100)!a}")

    def _instance(self, name: str, fields: dict[str, object]) -> object:
        hints = self._hints[name]
        if fields.keys() != hints.keys():
            _refuse(f"{name} with other fields than it has")
        for field, value in fields.items():
            if not _fits(value, hints[field]):
                _refuse(f"{name}.{field} of another type")
        return self._types[name](**fields)


def _refuse(why: str) -> NoReturn:
    raise ValueError(why)


def _object(members: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(members)
    if len(found) != len(members):
        _refuse("a name twice in one object")
    return found


def _integer(digits: str) -> int:
    if len(digits) > _LONGEST_NUMBER or not -_LARGEST_INTEGER <= int(digits) < _LARGEST_INTEGER:
        _refuse("an integer of more than 64 bits")
    return int(digits)


def _finite(digits: str) -> float:
    if len(digits) > _LONGEST_NUMBER or not math.isfinite(float(digits)):
        _refuse("a number that is too large or too long")
    return float(digits)


def _text(text: str) -> str:
    text.encode()  # raises for a lone surrogate, which JSON can escape
    return text


def _path(name: bytes) -> pathlib.Path:
    if b"\0" in name:
        _refuse("a path with NUL")
    return pathlib.Path(os.fsdecode(name))


def _fits(value: object, hint: Any) -> bool:  # noqa: ANN401 - whatever may be an annotation
    """Say whether *value* is what an annotation says."""
    return _check_of(hint)(value)


@lru_cache(maxsize=1000)
def _check_of(  # noqa: PLR0911 - one return for each form
    hint: Any,  # noqa: ANN401 - see above
) -> Callable[[object], bool]:
    """Return what says that; taking an annotation apart takes longer than the check."""
    origin, inside = typing.get_origin(hint), typing.get_args(hint)
    if origin in {typing.Union, types.UnionType}:
        checks = tuple(map(_check_of, inside))
        return lambda value: any(check(value) for check in checks)
    if origin is Literal:
        return lambda value: isinstance(value, str) and value in inside
    if origin is tuple:
        fit = _check_of_all(inside)
        return lambda value: type(value) is tuple and fit(value)
    if origin is list:
        fit = _check_of_all((*inside, ...))
        return lambda value: type(value) is list and fit(value)
    if origin in {dict, collections.abc.Mapping}:
        fit = _check_of_all((inside[1], ...))
        return lambda value: type(value) is dict and fit(value.values())
    if hint in {object, Any}:
        return lambda _: True
    if hint is pathlib.Path:
        return lambda value: isinstance(value, pathlib.Path)
    kinds = {hint, int} if hint is float else {hint}
    return lambda value: type(value) in kinds


def _check_of_all(hints: tuple[Any, ...]) -> Callable[[Collection[object]], bool]:
    if len(hints) == 2 and hints[1] is Ellipsis:  # noqa: PLR2004 - ``tuple[str, ...]``
        check = _check_of(hints[0])
        return lambda values: all(map(check, values))
    checks = tuple(map(_check_of, hints))
    return lambda values: (
        len(values) == len(checks)
        and all(check(each) for check, each in zip(checks, values, strict=True))
    )


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_finite, parse_constant=_refuse
)
