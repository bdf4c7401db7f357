"""How a process ends that is told to by a signal."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from typing import NoReturn

INTERRUPTED = 130
"""Exit code after Ctrl-C, as in shells: 128 + SIGINT."""

_SHOW_CURSOR = "\x1b[?25h"


def end_at_once(number: int = signal.SIGINT, *_: object) -> NoReturn:
    """End the process without any clean-up: the queue and the sidecars survive a kill.

    By SIGTERM itself where that is the *number* of the signal: a service manager takes that for a
    clean end.
    """
    if sys.stderr.isatty():
        sys.stderr.write(_SHOW_CURSOR)  # a progress bar hides it
        sys.stderr.flush()
    if number == signal.SIGTERM:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(INTERRUPTED)


def end_as_interrupted() -> None:
    """Let a second Ctrl-C end the process at once, and change nothing while Python ends.

    By default it raises KeyboardInterrupt wherever Python is by then; after its threads have ended
    Python hears no signals, and died of it, with another exit code.
    """
    signal.signal(signal.SIGINT, end_at_once)
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
