"""Logging: structlog to stderr, plain on a terminal, with priorities for journald, or JSON."""

from __future__ import annotations

import io
import logging
import os
import sys
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, TextIO, cast

import structlog

from taggerd.photo import brief

if TYPE_CHECKING:
    from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
"""sd-daemon(3): the prefix that journald takes as a line's priority."""


def _journald(_logger: WrappedLogger, method: str, line: EventDict | str) -> str:
    """Prefix a rendered line with its priority; a line of a trace gets it too."""
    prefix = f"<{_PRIORITIES.get(method, 6)}>"
    return "\n".join(prefix + part for part in str(line).splitlines())


def _one_line(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Make every value safe to print: no control characters, no broken UTF-8 from file names."""
    return {key: _safe(value) if isinstance(value, str) else value for key, value in event.items()}


LONGEST_VALUE = 2000
"""Characters of a value, or of one line of a traceback: foreign code may quote megabytes."""
LONGEST_TRACEBACK = 200
"""Lines."""


def _safe(text: str) -> str:
    text = text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"
    text = text.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _traceback(stream: TextIO, exc_info: ExcInfo) -> None:
    """Write a traceback as Python does, without what foreign exceptions may make of it."""
    lines = "".join(traceback.format_exception(*exc_info)).splitlines()
    if len(lines) > LONGEST_TRACEBACK:
        lines[LONGEST_TRACEBACK // 2 : -LONGEST_TRACEBACK // 2] = ["    …"]
    stream.write("\n" + "\n".join(map(_safe, lines)))


def _rendered(exc_info: ExcInfo) -> str:
    stream = io.StringIO()
    _traceback(stream, exc_info)
    return stream.getvalue().strip()


def described(error: BaseException) -> str:
    """Return the kind and the text of *error*, which is no class of ours, as one line.

    It may come from any library and quote anything: megabytes, or what no file can hold.
    """
    try:
        text = brief(str(error))
    except Exception:  # noqa: BLE001 - its own __str__ may raise whatever it likes
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class _Stderr:
    """Standard error as it is now; work goes on where nothing can be written there.

    It may be a file on a full disk or a pipe that nobody reads any more: every line would raise.
    """

    def __init__(self) -> None:
        self._stream = sys.stderr

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


def set_up(
    log_format: Literal["auto", "console", "json"] = "auto",
    level: Literal["debug", "info", "warning", "error"] = "info",
) -> None:
    """Send all log lines to stderr.

    ``auto`` is coloured on a terminal; under systemd (``$JOURNAL_STREAM``) it leaves out the time,
    which journald adds, and prefixes the priority.
    """
    under_journald = bool(os.environ.get("JOURNAL_STREAM"))
    processors: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        _one_line,
    ]
    if log_format == "json":
        processors += [
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.ExceptionRenderer(_rendered),
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ]
    else:
        if not under_journald:
            processors.append(structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False))
        colors = sys.stderr.isatty() and not under_journald
        processors.append(
            structlog.dev.ConsoleRenderer(
                colors=colors,
                pad_event_to=0,
                pad_level=False,
                exception_formatter=_traceback,
            )
        )
        if under_journald:
            processors.append(_journald)
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", _Stderr())),
        cache_logger_on_first_use=False,
    )
