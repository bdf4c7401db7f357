"""Logging: structlog to stderr, plain on a terminal, with priorities for journald, or JSON."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Literal

import structlog

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger

_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
"""sd-daemon(3): the prefix that journald takes as a line's priority."""


def _journald(_logger: WrappedLogger, method: str, line: EventDict | str) -> str:
    """Prefix a rendered line with its priority; a line of a trace gets it too."""
    prefix = f"<{_PRIORITIES.get(method, 6)}>"
    return "\n".join(prefix + part for part in str(line).splitlines())


def _one_line(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Make every value safe to print: no control characters, no broken UTF-8 from file names."""
    return {key: _safe(value) if isinstance(value, str) else value for key, value in event.items()}


def _safe(text: str) -> str:
    text = text.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


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
            structlog.processors.format_exc_info,
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
                exception_formatter=structlog.dev.plain_traceback,
            )
        )
        if under_journald:
            processors.append(_journald)
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
