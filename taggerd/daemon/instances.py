"""The running daemons of this machine: where each says that it runs, and who finds it there.

A daemon writes a runtime file, ``PID.json``, and holds a lock (flock) on it as long as it lives: a
file without one was left behind by a daemon that was killed, and counts for nothing. The file goes
into the first of these folders that the daemon may write to:

- ``$TAGGERD_RUNTIME_DIRECTORY``, for tests: where it is set, no other folder is written or read;
- ``$RUNTIME_DIRECTORY``, which systemd gives to a service: ``/run/taggerd/taggerd@alice``;
- ``/run/taggerd-root``, for root (not ``/run/taggerd``: where that exists, the slots are there);
- ``$XDG_RUNTIME_DIR/taggerd``.

Readers look into all of them. Every user may read the files, and whoever has a folder there may
write any: a command acts only on a daemon of its own user, root's too, and of another's it says who
may. A daemon that can write to none of the folders is found by the lock in its state directory
alone: by those whose settings name that.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import time
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from taggerd import __version__
from taggerd.errors import RootInUse
from taggerd.ledger.owners import Lock, daemon_pid
from taggerd.logs import get_logger
from taggerd.photo import printable
from taggerd.settings.permissions import is_ours_alone, user_name, why_not_private

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

log = get_logger(__name__)

RUN = Path("/run")
STATUS = "status.json"
"""The published status in a state directory; beside a runtime file its name begins with the PID."""
LONGEST_BYTES = 65536
"""A runtime file is shorter; what is longer is something else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """A running daemon."""

    name: str
    """Its systemd unit, else its user."""
    pid: int
    user: str
    state_directory: str
    outputs: str
    """Folder of the journal."""
    version: str
    started_at: float
    """Seconds since the epoch."""
    roots: dict[str, bool] = field(default_factory=dict)
    """Its import folders, without links, and whether with their subfolders."""

    @property
    def writable(self) -> bool:
        """Whether this user may use its state directory: it is their own daemon, also for root.

        What another user wrote into its folder, and leads to by links, is not to be believed.
        """
        rights = os.R_OK | os.W_OK | os.X_OK
        return self.user == user_name(os.geteuid()) and os.access(self.state_directory, rights)

    def has(self, state_directory: Path) -> bool:
        """Say whether *state_directory* is the instance's, by whatever path."""
        return os.path.realpath(self.state_directory) == os.path.realpath(state_directory)

    def shares(self, roots: Mapping[str, bool]) -> str:
        """Return a folder whose photos this one and a daemon on *roots* would both tag, or ""."""
        for ours, with_ours in roots.items():
            for theirs, with_theirs in self.roots.items():
                above = with_theirs and Path(ours).is_relative_to(theirs)
                if ours == theirs or above:
                    return ours
                if with_ours and Path(theirs).is_relative_to(ours):
                    return theirs
        return ""

    def answers_to(self, name: str) -> bool:
        """Say whether a person means this one by *name*: its name, its user or its PID."""
        return name in {self.name, self.user, str(self.pid)}


@contextmanager
def announced(
    state_directory: Path,
    outputs: Path,
    environ: Mapping[str, str] = os.environ,
    run: Path = RUN,
    *,
    roots: Mapping[Path, bool] | None = None,
) -> Iterator[Path | None]:
    """Tell others, as long as the context lasts, that this process is a daemon.

    Yields the runtime file; None where none can be written: the daemon runs without.

    Args:
        state_directory: the daemon's.
        outputs: folder of its journal.
        environ: names the folders, as the module says.
        run: ``/run``.
        roots: its import folders, and whether with their subfolders.

    Raises:
        RootInUse: another daemon, on another state directory, has one of *roots*: each photo would
            be paid for twice.

    """
    service = environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    user = user_name(os.geteuid())
    instance = Instance(
        name=Path(service).name or user,
        pid=os.getpid(),
        user=user,
        state_directory=os.path.abspath(state_directory),  # noqa: PTH100 - keeps links
        outputs=os.path.abspath(outputs),  # noqa: PTH100
        version=__version__,
        started_at=time.time(),
        roots={os.path.realpath(root): below for root, below in (roots or {}).items()},
    )
    file = lock = None
    for folder in _writers_folders(environ, run):
        file = folder / f"{instance.pid}.json"
        try:
            lock = _write(file, instance)
        except OSError as error:
            log.debug("no runtime file", folder=printable(folder), reason=str(error))
        else:
            _remove_stale(folder)
            break
    if lock is None:
        log.info("commands find this daemon by its state directory alone: no runtime folder")
    try:
        # After it was announced: of two that start in the same moment one at least sees the other.
        _refuse_shared_roots(instance, environ, run)
        yield file if lock else None
    finally:
        if file is not None and lock is not None:
            for each in (file, status_beside(file)):
                with suppress(OSError):
                    each.unlink()
            lock.release()


def status_beside(runtime_file: Path) -> Path:
    """Return the file in which the daemon of *runtime_file* publishes its status."""
    return runtime_file.with_suffix(f".{STATUS}")


def _refuse_shared_roots(own: Instance, environ: Mapping[str, str], run: Path) -> None:
    """Refuse to begin where another daemon tags the same photos; errors as :func:`announced`."""
    uid = os.geteuid()
    for folder, other in _found(environ, run, uid):
        if other.pid == own.pid or other.has(Path(own.state_directory)):
            continue
        root = other.shares(own.roots)
        if not root or not _may_claim(other, root, of_user=run / "user" in folder.parents):
            continue
        message = (
            f"{printable(Path(root))} is an import folder of another taggerd ({line_of(other)}): "
            "stop that one, or take the folder out of the settings of one of the two"
        )
        raise RootInUse(message)


def _may_claim(instance: Instance, root: str, *, of_user: bool) -> bool:
    """Say whether *instance* is believed that *root* is its own.

    Whoever writes into a user's own folder could otherwise keep root's service from starting.
    """
    user = user_name(os.geteuid())
    if not of_user or instance.user == user:
        return True
    try:
        return instance.user == user_name(Path(root).stat().st_uid)
    except OSError:
        return False


def line_of(instance: Instance) -> str:
    """Return an instance in one line."""
    return printable(
        f"{instance.name}, pid {instance.pid}, user {instance.user}, "
        f"state in {instance.state_directory}, version {instance.version}"
    )


def running(
    environ: Mapping[str, str] = os.environ, run: Path = RUN, *, uid: int | None = None
) -> tuple[Instance, ...]:
    """Return the daemons that run, of this user and of the system, by name and PID.

    Args:
        environ: names the folders, as the module says.
        run: ``/run``.
        uid: the user who looks; default: the present one. Root sees those of all users.

    """
    uid = os.geteuid() if uid is None else uid
    found = {(each.pid, each.state_directory): each for _, each in _found(environ, run, uid)}
    return tuple(sorted(found.values(), key=lambda each: (each.name, each.pid)))


def runtime_file_of(
    state_directory: Path, environ: Mapping[str, str] = os.environ, run: Path = RUN
) -> Path | None:
    """Return the runtime file of this user's daemon on *state_directory*; None: there is none."""
    for folder, instance in _found(environ, run, os.geteuid()):
        if instance.has(state_directory) and instance.user == user_name(os.geteuid()):
            return folder / f"{instance.pid}.json"
    return None


def _found(environ: Mapping[str, str], run: Path, uid: int) -> Iterator[tuple[Path, Instance]]:
    """Yield the daemons that run, each with the folder that its runtime file is in."""
    for folder in _readers_folders(environ, run, uid):
        for instance in _in(folder, uid):
            yield folder, instance


def daemon_of(state_directory: Path) -> int | None:
    """Return the process id of the daemon on *state_directory*; None: none, or not ours to see."""
    try:
        return None if why_not_private(state_directory) else daemon_pid(state_directory)
    except OSError:
        return None


def _writers_folders(environ: Mapping[str, str], run: Path) -> Iterator[Path]:
    """Yield the folders that a daemon may write to, best first."""
    if only := environ.get("TAGGERD_RUNTIME_DIRECTORY"):
        yield Path(only)
        return
    if service := environ.get("RUNTIME_DIRECTORY", "").split(":")[0]:
        yield Path(service)
    if os.geteuid() == 0:
        yield run / "taggerd-root"
    if user := environ.get("XDG_RUNTIME_DIR"):
        yield Path(user) / "taggerd"


def _readers_folders(environ: Mapping[str, str], run: Path, uid: int) -> Iterable[Path]:
    """Return the folders in which runtime files may lie."""
    if only := environ.get("TAGGERD_RUNTIME_DIRECTORY"):
        return [Path(only)]
    folders = [run / "taggerd", *_matches(run, "taggerd/*"), *_matches(run, "taggerd-*")]
    users = _matches(run, "user/*/taggerd") if uid == 0 else [run / "user" / str(uid) / "taggerd"]
    if own := environ.get("XDG_RUNTIME_DIR"):
        users = [*users, Path(own) / "taggerd"]
    return dict.fromkeys([*folders, *users])


def _matches(folder: Path, pattern: str) -> list[Path]:
    """Return what matches *pattern* below *folder*; nothing if it cannot be read."""
    try:
        return sorted(folder.glob(pattern))
    except OSError:
        return []


def _in(folder: Path, reader: int) -> Iterator[Instance]:
    """Yield the daemons that hold a runtime file in *folder*.

    Files that none holds are removed, if nobody but the reader could have put them there. What the
    folder is called may lead elsewhere by then.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return
    try:
        status = os.fstat(descriptor)
        own = status.st_uid == os.geteuid() and is_ours_alone(status)
        for name in sorted(os.listdir(descriptor)):  # noqa: PTH208 - a descriptor
            if name.endswith(".json") and name.removesuffix(".json").isdecimal():
                instance = _read(name, descriptor, reader, removes=own)
                if instance is not None:
                    yield instance
    except OSError:
        return
    finally:
        os.close(descriptor)


def _write(file: Path, instance: Instance) -> Lock:
    """Write the runtime *file* and return its lock.

    It is locked before others see it: a reader takes an unlocked one for stale. May raise OSError,
    also for a folder that somebody else may write to.
    """
    with suppress(FileExistsError):
        file.parent.mkdir()
        file.parent.chmod(0o755)  # whatever the umask
    if why := why_not_private(file.parent):
        raise PermissionError(errno.EPERM, why, str(file.parent))
    new = file.with_name(f".{file.name}")
    with suppress(FileNotFoundError):
        new.unlink()
    lock = Lock(new)
    try:
        lock.write(json.dumps(asdict(instance)))
        new.chmod(0o644)
        new.replace(file)
    except OSError:
        lock.release()
        with suppress(OSError):
            new.unlink()
        raise
    return lock


def _read(name: str, folder: int, reader: int, *, removes: bool) -> Instance | None:
    """Return the daemon that holds the file *name* in an open folder; None if none does."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        descriptor = os.open(name, flags, dir_fd=folder)
    except OSError:
        return None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return None
        if _is_free(descriptor):
            if removes:
                for each in (name, status_beside(Path(name)).name):
                    with suppress(FileNotFoundError):
                        os.unlink(each, dir_fd=folder)
            return None
        owner = status.st_uid
        instance = TypeAdapter(Instance).validate_json(os.read(descriptor, LONGEST_BYTES))
    except (OSError, ValidationError):
        return None
    finally:
        os.close(descriptor)
    return instance if _is_trusted(instance, owner, reader) else None


def _is_trusted(instance: Instance, owner: int, reader: int) -> bool:
    """Say whether the *owner* of a runtime file may speak for the state directory it names.

    Otherwise whoever can write a file there could lead others, root above all, to any folder.
    """
    if instance.user != user_name(owner) or not Path(instance.state_directory).is_absolute():
        return False
    try:
        of = Path(instance.state_directory).stat().st_uid
    except OSError:
        return reader != 0  # out of this user's sight: nothing can be done to it
    return owner in {0, of}


def _is_free(descriptor: int) -> bool:
    """Say whether nobody holds the lock of the file.

    Readers take a shared one, so that they do not take each other for daemons.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove_stale(folder: Path) -> None:
    """Remove what killed daemons left in *folder*."""
    for _ in _in(folder, os.geteuid()):
        pass
