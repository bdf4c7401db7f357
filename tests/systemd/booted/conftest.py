"""taggerd in a Debian 12 booted under its own systemd.

``scripts/test-systemd`` prepares the root file system and runs these tests; its arguments go to
pytest (``scripts/test-systemd tests/systemd/booted/test_person.py -k reload``). Elsewhere, and
where no container can be booted, they are skipped with the reason. Each module gets a machine in a
fresh boot, with taggerd installed, nothing enabled, no user made and no network but loopback::

    def test_a_photo_is_tagged(machine: Machine) -> None:
        machine.user("alice")
        machine.write("/home/alice/.config/taggerd/taggerd.toml", settings("/srv/in"), user="alice")
        machine.run("mkdir -p /srv/in && chown alice: /srv/in")
        machine.run("systemctl enable --now taggerd@alice")
        (path,) = machine.photos("/srv/in", range(1), user="alice")
        machine.until(f"test -e {path}.xmp")

- ``machine.run(command, user=…, check=…, given=…)`` returns a CompletedProcess of text; a text is
  run by the shell, a list as it is. A command that fails is an AssertionError unless
  ``check=False``. ``machine.start([…])`` leaves it running.
- ``machine.until(command or function, seconds)`` waits for success; tests sleep nowhere else.
- ``machine.copy(source, target, user=…)``, ``write``, ``read`` and ``photos`` deal with files.
- ``machine.property(unit, name)`` and ``machine.journal("-u", "taggerd@alice")`` ask systemd.
- ``machine.reboot()`` in order, ``machine.cut()`` then ``machine.boot()`` without warning: what was
  written stays.
- ``with machine.network(): CountingBackend()`` (or any server or client of the test's own process)
  opens its sockets on the machine's loopback.
- ``bare`` is a machine on which taggerd is not installed yet.

Tests of a module share the machine in order: say at its top what one leaves to the next, or let
each make a user of its own. Modules run beside each other, each on a machine of its own. The
journal's end is shown beside a failure.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.machine import SHOWN, Machine, NotBooted, install

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker("booted")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the end of the machine's journal beside a failure."""
    report = yield
    booted = getattr(item, "funcargs", {}).get("machine") or getattr(item, "funcargs", {}).get(
        "bare"
    )
    if report.failed and call.when != "teardown" and booted and booted.leader:
        said = booted.run(["journalctl", "-b", "-q", "--no-pager", "-n", "60"], check=False).stdout
        report.sections.append(("journal", said))
    return report


@pytest.fixture(scope="session")
def _root() -> Path:
    """Return the root file system, once it has been seen to boot on this computer."""
    given = os.environ.get("TAGGERD_BOOTED_ROOT")
    if not given:
        pytest.skip(os.environ.get("TAGGERD_NOT_BOOTED", "scripts/test-systemd runs these"))
    root = Path(given)
    try:
        first = Machine(root)
        try:
            first.boot()
        finally:
            first.close()
    except NotBooted as why:
        pytest.skip(str(why))
    return root


@pytest.fixture(scope="module")
def bare(_root: Path) -> Iterator[Machine]:
    """Return a machine that has just been booted for the first time, without taggerd."""
    machine = Machine(_root, SHOWN)
    try:
        machine.boot()
        yield machine
    finally:
        machine.close()


@pytest.fixture(scope="module")
def machine(bare: Machine) -> Machine:
    """Return a machine on which taggerd is installed."""
    install(bare)
    return bare
