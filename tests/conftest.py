"""What the tests of the whole program share."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import structlog
from hypothesis import settings
from support.program import LONGEST_LOG, CountingBackend, Program, photo

from taggerd import files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what runs in the background so, and each program of a test would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

if "PYTEST_XDIST_WORKER" not in os.environ and (here := time.localtime()).tm_hour >= 22:
    # Four hours earlier, which the workers inherit: no test meets midnight.
    os.environ["TZ"] = f"EARLIER{4 - here.tm_gmtoff // 3600:+}"
    time.tzset()

# A run says the same of the same code. What looks for new faults, by chance, says so itself.
settings.register_profile("the same", derandomize=True)
settings.load_profile("the same")


@pytest.fixture(autouse=True)
def _log_to_a_stream_that_is_open() -> Iterator[None]:
    """Forget, after a test that set up logging, the captured stream that it logged to."""
    yield
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def _stay_visible() -> Iterator[None]:
    """Undo, after a test that called a command in this process, that it has hidden itself."""
    yield
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE


@pytest.fixture(autouse=True)
def _work_below_the_tests_own_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let the functions under test touch the folder of all tests, as a command would."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(files, "_roots", [])
        files.work_below(tmp_path_factory.getbasetemp())
        yield


@pytest.fixture
def taggerd(tmp_path: Path) -> Iterator[Program]:
    """Return the program, with a home of its own; daemons are ended with the test."""
    home = tmp_path / "home"
    home.mkdir()
    program = Program(home)
    yield program
    program.end()
    with suppress(FileNotFoundError):
        sys.stdout.write(program.log()[-LONGEST_LOG:])  # shown if the test has failed


@pytest.fixture
def powerless(taggerd: Program) -> Program:
    """Return the program so that file permissions hold for it, also when root runs the tests."""
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root passes over permissions, and setpriv (util-linux) is not there")
        taggerd.powerless = True
    return taggerd


@pytest.fixture
def card(tmp_path: Path) -> Path:
    """Return a folder of five photos."""
    folder = tmp_path / "card"
    for number in range(5):
        photo(folder / f"IMG_{number:04}.jpg", number)
    return folder


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """Return an empty import folder."""
    folder = tmp_path / "import"
    folder.mkdir()
    return folder


@pytest.fixture
def backend() -> Iterator[CountingBackend]:
    """Return a backend that counts."""
    serving = CountingBackend()
    yield serving
    serving.close()
