"""Which build runs: files that are replaced are seen, whatever their times say."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, NoReturn

import pytest

from taggerd.errors import BuildChanged, ProgramFault
from taggerd.settings import Workers as Settings
from taggerd.workers.build import Build
from taggerd.workers.pool import Workers

if TYPE_CHECKING:
    from pathlib import Path


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        """Begin at 0."""
        self.now = 0.0

    def __call__(self) -> float:
        """Return the seconds."""
        return self.now


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Return a package of two modules."""
    for name in ("package/__init__.py", "package/inner/module.py"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("a = 1\n")
    return tmp_path / "package"


def test_a_file_that_is_replaced_changes_the_build(package: Path) -> None:
    """Also by one of the same size and time, as Debian packages have; not by compiled files."""
    clock = Clock()
    build = Build(package, clock)
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "module.pyc").touch()
    clock.now = 2
    assert not build.changed()
    old = package / "inner" / "module.py"
    times = old.stat()
    new = package / "inner" / "new"
    new.write_text("a = 2\n")
    os.utime(new, ns=(times.st_atime_ns, times.st_mtime_ns))
    new.replace(old)
    assert not build.changed()  # it was checked just now
    clock.now = 4
    assert build.changed()


def test_a_moment_without_descriptors_changes_no_build(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that has many files open is not started again for that; an upgrade is seen."""
    clock = Clock()
    build = Build(package, clock)

    def full(_folder: str) -> NoReturn:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", full)
        clock.now = 2
        assert not build.changed()
    (package / "inner" / "module.py").write_text("a = 22\n")
    clock.now = 4
    assert build.changed()


def test_files_that_are_gone_are_another_build(package: Path) -> None:
    """In the middle of an upgrade there may be none."""
    clock = Clock()
    build = Build(package, clock)
    for file in (*package.rglob("*.py"), package / "inner", package):
        file.unlink() if file.is_file() else file.rmdir()
    clock.now = 2
    assert build.changed()


async def test_a_process_of_another_build_is_given_no_task(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may know other functions than those that it would be asked for."""
    monkeypatch.setattr("taggerd.workers.template.RUNNING", Build(package))
    workers = Workers(Settings(processes=1))
    with pytest.raises(BuildChanged):
        await workers.run(os.getpid)
    await workers.close()


@pytest.mark.parametrize(
    "code",
    [
        "import taggerd.nothing",
        "import taggerd.photo; taggerd.photo.nothing",
        "from taggerd.photo import nothing",
        "from taggerd.photo import Stamp; Stamp(1, 2, 3, 4).nothing",
        "nothing",
        "compile('def', '', 'exec')",
    ],
)
async def test_code_that_does_not_fit_together_is_the_programs_fault(code: str) -> None:
    """No photo is charged for it."""
    workers = Workers(Settings(processes=1))
    with pytest.raises(ProgramFault, match="Error: "):
        await workers.run(exec, code)
    await workers.close()


async def test_what_the_bytes_of_a_photo_may_lead_to_is_not_the_programs_fault() -> None:
    """A value that a library returns lacks what it has for other photos."""
    workers = Workers(Settings(processes=1))
    with pytest.raises(RuntimeError, match="AttributeError"):
        await workers.run(exec, "None.nothing")
    await workers.close()
