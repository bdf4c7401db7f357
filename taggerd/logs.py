"""Logging: structlog to stderr, plain on a terminal, or JSON; to the journal where stderr is that.

In the journal an event is one entry, with fields to search by: ``journalctl TAGGERD_PHOTO=…``.
"""

from __future__ import annotations

import io
import logging
import sys
import traceback
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, TextIO, cast

from logging_journald import JournaldTransport, check_journal_stream

from taggerd.photo import brief

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType, TracebackType

    from structlog.typing import (
        EventDict,
        ExcInfo,
        FilteringBoundLogger,
        Processor,
        WrappedLogger,
    )

_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
"""sd-daemon(3): the prefix that journald takes as a line's priority."""


CANNOT_RUN = "taggerd cannot run"
UNEXPECTED = "unexpected error"
MESSAGE_IDS: Mapping[str, str] = {
    "starting": "2c5a667573af482d8f2332810a43a782",
    "serving": "76a6c7c2c2f84eb899ba4ab058454fbd",
    "reloading": "83936f586ee24c4fbf5f84649ad34f11",
    "the new settings are wrong; the old ones stay in force": "e2d67e5dbc744d75b4d8c579d6b41cf2",
    "stopping": "2e308ba68ffa4456a2cbf4362d491d36",
    "stopped": "e5ed1ee069f04a59af72ba7633c291d9",
    CANNOT_RUN: "a3ebaac066324635b14ac18146ce13a3",
    UNEXPECTED: "20f76d5266b44f0ba841e5d756b56fba",
    "tagged": "587e55df63ea4393a99c3662f022629b",
    "failed": "8f1d4f801e8140349944f17e92fe59d9",
    "backend unusable; work waits for it": "da183fba8a0245d182466d26d02e96cd",
    "backend is usable": "5040b4d8e20741ddae245a6360d8cadd",
    "watching": "1200527ea44f43509e2544f43c33760e",
    "polling": "d11bcb9264ee4546aabca29ed0fef131",
    "degraded": "4bb914e894334534a27223f675c6d3c0",
    "offline": "a211b963e848468396c52210e729d5f7",
    "work is blocked": "99d4cdf840184b509bef1e4ea98a23be",
    "photos cannot enter the queue": "ecfcfadc9437410dad5e57cd05dbb282",
    "sidecars can be written again": "913f2af1d01a4188bc10149bc30ddf81",
    "records stay in the ledger": "929678b01a214fcd8b73299fe3053507",
    "records are delivered again": "8188ea54c934480f8583f963bd6f3956",
}
"""``MESSAGE_ID`` of the events that matter, by their text; people search by it and alarm on it, so
that an event keeps its own even if its text changes. Four are states of an import folder."""
_FIELDS = {"import_folder": "TAGGERD_ROOT", "base_url": "TAGGERD_ENDPOINT"}
"""Fields of the journal whose names are not made from ours: ``photo`` is ``TAGGERD_PHOTO``."""
_JOURNAL_SECONDS = 0.5
"""How long journald may take to accept an entry: one that hangs must not stop the event loop."""


class _Logger:
    """A logger of structlog's, which is imported for the first line."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._logger: Any = None

    def __getattr__(self, method: str) -> object:
        if self._logger is None:
            self._logger = _structlog().get_logger(self._name)
        return getattr(self._logger, method)


def get_logger(name: str) -> FilteringBoundLogger:
    """Return the logger of the module *name*."""
    return cast("FilteringBoundLogger", _Logger(name))


_put_off: list[Callable[[], None]] = []
"""What :func:`set_up` was asked for before there was a line."""


def _structlog() -> Any:  # noqa: ANN401 - a module
    """Return structlog, set up.

    It is imported as if rich were not installed, which it draws tracebacks with. We use none of
    these, and rich, Pygments and attrs are three quarters of what structlog takes.
    """
    if "structlog" not in sys.modules:
        without = {"rich": None} if "rich" not in sys.modules else {}
        sys.modules.update(cast("dict[str, ModuleType]", without))
        try:
            import_module("structlog")
        finally:
            for name in without:
                del sys.modules[name]
    while _put_off:
        _put_off.pop()()
    return sys.modules["structlog"]


class _Journal:
    """Sends each event to journald as one entry; to stderr, line by line, where it takes none."""

    def __init__(self) -> None:
        """Find the socket.

        Raises:
            OSError: this process may open none.

        """
        self._transport = JournaldTransport(connected=False)  # journald may be restarted
        self._transport.socket.settimeout(_JOURNAL_SECONDS)

    def send(self, entry: Mapping[str, str]) -> None:
        """Send an *entry*; its values may have several lines."""
        try:
            self._transport.send(entry.items())
        except OSError:
            prefix = f"<{entry['PRIORITY']}>"
            _Stderr().write("".join(f"{prefix}{x}\n" for x in entry["MESSAGE"].splitlines()))

    debug = info = warning = error = critical = msg = send


def _processed(
    logger: WrappedLogger, method: str, event: EventDict
) -> tuple[tuple[dict[str, str]], dict[str, object]]:
    """Make what :class:`_Journal` is called with."""
    return (_entry(logger, method, event),), {}


def _entry(_logger: WrappedLogger, method: str, event: EventDict) -> dict[str, str]:
    """Make the journal's entry of an event: systemd.journal-fields(7)."""
    text, trace = str(event.pop("event", "")), event.pop("exception", "")
    event.pop("level", None)
    told = " ".join([text, *(f"{key}={_quoted(value)}" for key, value in event.items())])
    entry = {
        "MESSAGE": f"{told}\n{trace}" if trace else told,
        "PRIORITY": str(_PRIORITIES.get(method, 6)),
        "SYSLOG_IDENTIFIER": "taggerd",
    }
    if identity := MESSAGE_IDS.get(text):
        entry["MESSAGE_ID"] = identity
    for key, value in event.items():
        entry[_FIELDS.get(key) or f"TAGGERD_{key.upper()}"] = str(value)
    return entry


def _quoted(value: object) -> str:
    text = str(value)
    return repr(text) if not text or any(c in text for c in " \"'=") else text


def _journal() -> _Journal | None:
    """Return the journal, if this process's stderr is it: systemd.exec(5), ``$JOURNAL_STREAM``."""
    with suppress(OSError, ValueError, AttributeError):
        if check_journal_stream():
            return _Journal()
    return None


def complain(message: str, event: str = CANNOT_RUN) -> None:
    """Say on stderr why a command ends; in the journal as an error.

    A plain line would be of priority info there, as all that a program prints: nobody who asks for
    errors would find why the service does not start.
    """
    if (journal := _journal()) is None:
        for line in message.splitlines():
            sys.stderr.write(f"taggerd: {line}\n")
        return
    for line in message.splitlines():
        entry = _entry(None, "error", {"event": event})
        journal.send({**entry, "MESSAGE": _safe(line)})


class _Libraries(logging.Handler):
    """Logs what libraries and asyncio say as entries: they would print it line by line."""

    def emit(self, record: logging.LogRecord) -> None:
        logger = get_logger(record.name)
        logger.log(record.levelno, record.getMessage(), exc_info=record.exc_info, by=record.name)


def _log_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Log what ends the program as one entry: Python prints a traceback line by line."""
    get_logger(__name__).critical(UNEXPECTED, exc_info=(kind, error, trace))


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
    """Send all log lines to stderr, or to the journal.

    A command that says nothing but errors has mostly nothing to say: it is set up at its first
    line. Others are set up now, before they have threads.

    ``auto`` speaks the journal's own protocol where stderr is the journal, and is coloured on a
    terminal. ``console`` and ``json`` are lines on stderr; for journald, which adds the time, with
    their priority before them.
    """
    journal = _journal()
    _put_off[:] = [partial(_set_up, log_format, level, journal)]
    if level != "error" or journal is not None or "structlog" in sys.modules:
        _structlog()


def _set_up(
    log_format: Literal["auto", "console", "json"],
    level: Literal["debug", "info", "warning", "error"],
    journal: _Journal | None,
) -> None:
    """Do what :func:`set_up` says."""
    structlog = sys.modules["structlog"]
    native = journal is not None and log_format == "auto"
    processors: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        _one_line,
    ]
    if native:
        processors += [structlog.processors.ExceptionRenderer(_rendered), _processed]
        sys.excepthook = _log_uncaught
        logging.basicConfig(handlers=[_Libraries(logging.WARNING)], force=True)
        logging.captureWarnings(capture=True)
    elif log_format == "json":
        processors += [
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.ExceptionRenderer(_rendered),
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ]
    else:
        if journal is None:
            processors.append(structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False))
        processors.append(
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(),
                pad_event_to=0,
                pad_level=False,
                exception_formatter=_traceback,
            )
        )
    if journal is not None and not native:
        processors.append(_journald)
    lines = structlog.WriteLoggerFactory(file=cast("TextIO", _Stderr()))
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=(lambda *_: journal) if native else lines,
        cache_logger_on_first_use=False,
    )
