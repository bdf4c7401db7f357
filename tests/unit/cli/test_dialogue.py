"""Questions at a terminal."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from support.terminal import terminal

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
import os, signal, threading, time
from taggerd.cli.dialogue import Dialogue

def interrupt():
    # This thread takes the signal: what the first one waits in does not end by it, as if it had
    # come in the instant before.
    clock, used = time.pthread_getcpuclockid(threading.main_thread().ident), None
    while used != (now := time.clock_gettime(clock)):  # until the first one waits
        used = now
        time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGINT)

thread = threading.Thread(target=interrupt, daemon=True)
dialogue = Dialogue(asks=True)
thread.start()
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
try:
    dialogue.yes("Write them?")
except KeyboardInterrupt:
    print("Stopped.")
"""


def test_ctrl_c_is_heard_that_comes_before_the_answer_is_waited_for(tmp_path: Path) -> None:
    """A person need not press it again, nor Enter."""
    with terminal([sys.executable, "-c", PROGRAM], os.environ, tmp_path) as shown:
        shown.until("Write them?")
        shown.until("Stopped.")
        assert shown.end() == 0
