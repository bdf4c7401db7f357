"""A Debian 12 that runs under its own systemd: a container, booted from a root file system.

The root file system is made once by scripts/test-systemd and never written to: each machine has an
overlay of its own on it, in memory, that lasts over its reboots and is gone with it.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeVar

from support.program import REPOSITORY, photo, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Literal

T = TypeVar("T")

NAME = "taggerd-test"
BOOT_SECONDS = 180.0
"""A container is up within a second; one that is not within some minutes never is."""
COMMAND_SECONDS = 180.0
"""Longest run of one command."""
CLONE_NEWNET = 0x40000000

HOLD = """
set -eu
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/machine
mount -t tmpfs -o mode=755 tmpfs /run/machine
mkdir /run/machine/upper /run/machine/work /run/machine/root /run/machine/home /run/machine/srv
mount -t overlay -o lowerdir="$1",upperdir=/run/machine/upper,workdir=/run/machine/work \
    overlay /run/machine/root
# systemd draws a machine ID at the first boot; the host's would be one too many.
: > /run/machine/root/etc/machine-id
# An installer writes it; debootstrap does not.
echo '127.0.0.1 localhost' > /run/machine/root/etc/hosts
echo held
# Lasts as long as the tests: their end closes this pipe.
exec cat
"""
"""Makes the overlay in a mount namespace of its own, whose /run is none of the host's."""


class NotBooted(Exception):
    """No container comes up here; the text says why, in one line."""


class Machine:
    """A booted container; tests/systemd/booted/conftest.py says how tests use it."""

    def __init__(self, root: Path, binds: Sequence[tuple[Path, str]] = ()) -> None:
        """Take a root file system, and what of this computer is shown in it, for reading alone.

        Raises:
            NotBooted: This computer lets no container have an overlay of its own.
        """
        self._binds = binds
        self._folder = tempfile.TemporaryDirectory(prefix="taggerd-machine-")
        self._nspawn: subprocess.Popen[bytes] | None = None
        self.leader = 0
        """PID of its systemd, as this computer counts."""
        self._groups = _control_groups()
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation=private", "sh", "-c", HOLD, "sh", str(root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        if _pipe(self._holder.stdout).readline() != "held\n":
            why = _pipe(self._holder.stderr).read().strip().splitlines()
            self.close()
            raise NotBooted("no overlay can be mounted: " + (why or ["unshare failed"])[-1])

    # ---- life

    def boot(self) -> None:
        """Boot, and wait until every unit of the boot has started or failed.

        Raises:
            NotBooted: It is not up within :data:`BOOT_SECONDS`.
        """
        groups = "".join(f"echo $$ > {group}/cgroup.procs; " for group in self._groups)
        binds = [f"--bind-ro={source}:{target}" for source, target in self._binds]
        # fmt: off
        nspawn = [
            "setpriv", "--pdeathsig", "KILL", "nsenter", "-t", str(self._holder.pid), "-m",
            "systemd-nspawn", "--directory=/run/machine/root", f"--machine={NAME}", "--boot",
            "--register=no", "--keep-unit", "--console=read-only", "--private-network", "--quiet",
            "--resolv-conf=off", "--timezone=off", "--link-journal=no", *binds,
            # What is on an overlay is polled, as on a network's disk: folders of photos are not.
            "--bind=/run/machine/home:/home", "--bind=/run/machine/srv:/srv",
            # systemd 252's own list for containers is older than Landlock.
            "--system-call-filter=landlock_create_ruleset landlock_add_rule landlock_restrict_self",
        ]
        # fmt: on
        with self.console.open("ab") as console:
            self._nspawn = subprocess.Popen(
                ["sh", "-c", groups + 'exec "$@"', "sh", *nspawn],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
                start_new_session=True,
            )
        deadline = time.monotonic() + BOOT_SECONDS
        while time.monotonic() < deadline:
            if self._nspawn.poll() is not None:
                break
            self.leader = self.leader or _first_process(self._nspawn.pid)
            # systemd answers before it has a boot's first job: then it says "offline" or nothing.
            if self.leader and self._state() in {"running", "degraded"}:
                return
            threading.Event().wait(0.05)
        said = self.console.read_text(errors="replace").strip().splitlines()
        self._end()
        message = f"a container does not boot here: {(said or ['it says nothing'])[-1]}"
        raise NotBooted(message)

    def reboot(self) -> None:
        """Shut down in order, and boot again: services that are enabled start by themselves."""
        self.shut_down()
        self.boot()

    def shut_down(self) -> None:
        """Shut down in order, as ``systemctl poweroff`` does."""
        os.kill(self.leader, 34 + 4)  # SIGRTMIN+4, see systemd(1); libc keeps two for itself
        self._ended()

    def cut(self) -> None:
        """End every process at once, as a power cut does (but what was written stays written)."""
        os.kill(self.leader, 9)
        self._ended()

    def close(self) -> None:
        """End it; what was written in it is gone."""
        self._end()
        if self._holder.poll() is None:
            self._holder.kill()
        self._holder.communicate()
        for group in self._groups:
            _remove_group(group)
        self._folder.cleanup()

    @property
    def console(self) -> Path:
        """What its systemd printed."""
        return Path(self._folder.name) / "console"

    def _state(self) -> str:
        return self.run("systemctl is-system-running", check=False).stdout.strip()

    def _ended(self) -> None:
        if self._nspawn is not None:
            self._nspawn.wait(BOOT_SECONDS)
        self.leader = 0

    def _end(self) -> None:
        if self._nspawn is None or self._nspawn.poll() is not None:
            return
        if self.leader:
            with suppress(ProcessLookupError):
                os.kill(self.leader, 9)
        else:
            self._nspawn.kill()
        self._ended()

    # ---- use

    def run(
        self,
        command: str | Sequence[object],
        *,
        user: str | None = None,
        check: bool = True,
        given: str | bytes = "",
        seconds: float = COMMAND_SECONDS,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in it (a text by the shell) as root or as *user*, and return how it ended.

        A user's command has the environment of a login, so that ``systemctl --user`` works where
        the user lingers.

        Raises:
            AssertionError: It failed and *check* is true; the message holds all it printed.
        """
        __tracebackhide__ = True
        words = ["sh", "-c", command] if isinstance(command, str) else [str(w) for w in command]
        result = subprocess.run(
            [*self._enter(user), *words],
            input=given.encode() if isinstance(given, str) else given,
            capture_output=True,
            timeout=seconds,
            check=False,
        )
        ended = subprocess.CompletedProcess(
            words, result.returncode, result.stdout.decode(errors="replace"),
            result.stderr.decode(errors="replace"),
        )  # fmt: skip
        if check and ended.returncode:
            message = f"{shlex.join(words)}: exit {ended.returncode}\n{ended.stdout}{ended.stderr}"
            raise AssertionError(message)
        return ended

    def start(self, command: Sequence[object], *, user: str | None = None) -> subprocess.Popen[str]:
        """Start a command in it; the caller ends it."""
        return subprocess.Popen(
            [*self._enter(user), *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def _enter(self, user: str | None) -> list[str]:
        spaces = ["nsenter", "-t", str(self.leader), *["-m", "-u", "-i", "-n", "-p", "-r", "-w"]]
        path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        clean = [*spaces, "env", "-i", path, "LANG=C.UTF-8"]
        if user is None:
            return [*clean, "HOME=/root"]
        login = (
            'export HOME=$(getent passwd "$1" | cut -d: -f6) USER=$1 LOGNAME=$1'
            ' XDG_RUNTIME_DIR=/run/user/$(id -u "$1"); shift; cd ~; exec setpriv '
            '--reuid "$USER" --regid "$(id -g "$USER")" --init-groups "$@"'
        )
        return [*clean, "sh", "-c", login, "sh", user]

    def until(
        self, what: str | Callable[[], T | Literal[False] | None], seconds: float = 180.0
    ) -> T | str:
        """Wait until a command in it succeeds, or a function of the test returns something true.

        Raises:
            AssertionError: It is not so after *seconds*.
        """
        if not isinstance(what, str):
            return until(what, seconds)
        command: str = what
        try:
            return until(
                lambda: self.run(command, check=False).returncode == 0 and command, seconds
            )
        except AssertionError:
            ended = self.run(command, check=False)
            message = f"{command}: exit {ended.returncode} after {seconds:g} s\n"
            raise AssertionError(message + ended.stdout + ended.stderr) from None

    def user(self, name: str, *options: object, lingers: bool = False) -> None:
        """Make a user with a home, by ``useradd``; one who lingers has a systemd of their own."""
        self.run(["useradd", "--create-home", "--shell", "/bin/sh", *options, name])
        if lingers:
            self.run(["loginctl", "enable-linger", name])
            self.until(f"systemctl is-active --quiet user@$(id -u {name})")

    # ---- files

    def copy(self, source: Path, target: str, *, user: str | None = None) -> None:
        """Copy a file, or what a folder holds, of this computer to a path in it.

        Folders on the way are made; what is copied belongs to *user*, else to root.
        """
        folder = source if source.is_dir() else source.parent
        # Not ".": the folder that is there keeps its mode.
        names = sorted(os.listdir(source)) if source.is_dir() else [source.name]  # noqa: PTH208
        packed = subprocess.run(
            ["tar", "-C", str(folder), "-c", "--", *names], stdout=subprocess.PIPE, check=True
        ).stdout
        into = target if source.is_dir() else os.path.dirname(target)  # noqa: PTH120 - not a path here
        self.run(["mkdir", "-p", into], user=user)
        rename = [] if source.is_dir() else [f"--transform=s|.*|{os.path.basename(target)}|"]  # noqa: PTH119
        unpack = ["tar", "-C", into, "-x", "--no-same-owner", *rename]
        self.run(unpack, user=user, given=packed)

    def write(self, path: str, text: str, *, user: str | None = None, mode: str = "644") -> None:
        """Write a file in it; folders on the way are made."""
        command = 'mkdir -p "$(dirname "$1")" && cat > "$1" && chmod "$2" "$1"'
        self.run(["sh", "-c", command, "sh", path, mode], user=user, given=text)

    def read(self, path: str) -> str:
        """Return the text of a file in it."""
        return self.run(["cat", path]).stdout

    def photos(self, folder: str, numbers: range, *, user: str | None = None) -> list[str]:
        """Copy photos that differ, ``IMG_0001.jpg`` and so on, to a folder; return their paths."""
        with tempfile.TemporaryDirectory() as folder_of_all:
            card = Path(folder_of_all) / "card"
            for number in numbers:
                photo(card / f"IMG_{number:04}.jpg", number)
            self.copy(card, folder, user=user)
        return [f"{folder}/IMG_{number:04}.jpg" for number in numbers]

    # ---- its systemd and its network

    def property(self, unit: str, name: str) -> str:
        """Return what ``systemctl show`` says of a unit."""
        return self.run(["systemctl", "show", "--value", "-p", name, unit]).stdout.strip()

    def journal(self, *arguments: str) -> str:
        """Return what journalctl prints of this boot, messages alone unless told otherwise."""
        return (
            self.run(["journalctl", "--sync"]).stdout
            + self.run(["journalctl", "-b", "--no-pager", "-q", "-o", "cat", *arguments]).stdout
        )

    @contextmanager
    def network(self) -> Iterator[None]:
        """Let this thread open sockets on its loopback, which it shares with nobody outside.

        What is opened so, a :class:`support.program.CountingBackend` say, stays on that loopback.
        """
        libc = ctypes.CDLL(None, use_errno=True)
        with open("/proc/self/ns/net") as home, open(f"/proc/{self.leader}/ns/net") as there:  # noqa: PTH123
            if libc.setns(there.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
            try:
                yield
            finally:
                libc.setns(home.fileno(), CLONE_NEWNET)


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


def _first_process(nspawn: int) -> int:
    """Return the process below *nspawn* that is PID 1 of a namespace of its own, or 0."""
    for pid in _below(nspawn):
        with suppress(OSError):
            status = Path(f"/proc/{pid}/status").read_text()
            spaces = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()
            # Before it has started systemd it is a copy of nspawn, without the final mounts.
            if spaces[-1] == "1" and len(spaces) > 2 and "Name:\tsystemd\n" in status:
                return pid
    return 0


def _below(pid: int) -> list[int]:
    found = []
    with suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found += [int(child), *_below(int(child))]
    return found


def _control_groups() -> list[Path]:
    """Return control groups made for one machine, one below each hierarchy that systemd uses."""
    groups = []
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, folder, kind, options, *_ = line.split()
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options):
            groups.append(Path(folder) / f"{NAME}-{os.getpid()}-{time.monotonic_ns()}")
    for group in groups:
        try:
            group.mkdir()
        except OSError as error:
            message = f"no control group of its own: {group}: {error.strerror}"
            raise NotBooted(message) from error
    if not groups:
        message = "no control groups that systemd uses are mounted"
        raise NotBooted(message)
    return groups


def _remove_group(group: Path) -> None:
    """Remove a group and those below it; one that is in use still is left."""
    for folder, _, _ in os.walk(group, topdown=False):
        with suppress(OSError):
            Path(folder).rmdir()


SHOWN = [
    (REPOSITORY, "/opt/checkout"),
    (next(Path(sys.prefix).glob("lib/python3*/site-packages")), "/opt/packages"),
]
"""The checkout and the packages of the environment that runs the tests, shown in a machine."""

FROM_THE_CHECKOUT = """
set -eu
python3 -m venv --without-pip /opt/taggerd
cd /opt/taggerd/lib/python3*/site-packages
printf '/opt/checkout\\n/opt/packages\\n' > checkout.pth
cat > /opt/taggerd/bin/taggerd <<'END'
#!/opt/taggerd/bin/python
import sys
from taggerd.__main__ import main
sys.exit(main())
END
chmod 755 /opt/taggerd/bin/taggerd
ln -s /opt/taggerd/bin/taggerd /usr/local/bin/taggerd
cp /opt/checkout/systemd/taggerd* /usr/lib/systemd/system/
cp /opt/checkout/systemd/user/taggerd* /usr/lib/systemd/user/
cp /opt/checkout/systemd/sysusers.d/* /usr/lib/sysusers.d/
cp /opt/checkout/systemd/tmpfiles.d/* /usr/lib/tmpfiles.d/
systemd-sysusers
systemd-tmpfiles --create
systemctl daemon-reload
"""
"""What the package does, from what is shown."""


def install(machine: Machine) -> None:
    """Install taggerd in a machine, as README says an administrator does."""
    machine.run(FROM_THE_CHECKOUT)


def settings(*roots: str, base_url: str = "builtin:", more: str = "") -> str:
    """Return a taggerd.toml that tags what is put into *roots*; *more* is TOML of sections."""
    quoted = ", ".join(f'"{root}"' for root in roots)
    return (
        f'[backend]\nbase_url = "{base_url}"\n\n'
        f"[arrivals]\nroots = [{quoted}]\nsettle_seconds = 0.3\n\n{more}"
    )
