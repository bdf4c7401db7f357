"""The decoders' cage: what a process gives up for good before it reads foreign bytes.

A decoder that is taken over by the file it reads runs the attacker's code. It has the descriptors
that it was lent and a channel to the main process, and this is all it can use. It can

- read below the folders that Python loads its modules from and the system its libraries, for what
  is imported late; no other file, no folder, nothing of other processes in /proc: Landlock, which
  has no right for stat(2), so that it may ask whether a path exists;
- write nothing, send nothing, start nothing, signal and trace nobody: a list of the system calls
  that decoding needs, all others are refused: seccomp;
- not be raised above its limits: no capabilities, also when root started it; few descriptors, no
  file to write to, no core, and as many threads as the machine has twice over.

What is refused fails with EPERM: a library that tries something harmless (the number of processors
in /sys, a locale) goes on without it. Each part holds by itself, so a kernel that lacks one still
has the others; :func:`confine` returns what it lacks.

With ctypes, as `prctl` in `taggerd.workers.process`: pyseccomp wants libseccomp.so, which is not
everywhere and knows system calls by name only up to its own age, and the Landlock packages of PyPI
cover half of this; together they would be larger than the two structures and the list below, which
is what has to be reviewed.

Sources: landlock(7) and Documentation/userspace-api/landlock.rst; seccomp(2) and
Documentation/userspace-api/seccomp_filter.rst; arch/x86/entry/syscalls/syscall_64.tbl and
include/uapi/asm-generic/unistd.h (arm64) of Linux.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import site
import struct
import sys
import sysconfig
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_PR_SET_DUMPABLE = 4
_PR_SET_SECCOMP = 22
_PR_SET_NAME = 15
_SECCOMP_MODE_FILTER = 2

_MOST_DESCRIPTORS = 256
"""Its channels, a packet of open files, and what Python opens to import a module."""
_LEAST_THREADS = 1000


def confine(channel: int) -> tuple[str, ...]:
    """Put this process into the cage, for good; return which parts the kernel does not have.

    Call it while there is one thread: Landlock and seccomp hold for the thread that asks for them
    and for those that it starts. Both want `no_new_privs`, which every worker has.

    Args:
        channel: descriptor of the socket that open files come from.
    """
    libc = _libc()
    _limit()
    lacking = [_landlock(libc)]
    hide()
    _drop_capabilities(libc)
    lacking.append(_seccomp(libc, channel))
    return tuple(filter(None, lacking))


def hide() -> None:
    """Hide this process from others of its user: its memory and environment, where the keys are.

    Files of it in /proc belong to root from now on, no process without root's rights may trace it,
    and it dumps no core (PR_SET_DUMPABLE in prctl(2)). What taggerd reads of itself there (mounts,
    descriptors, watches) it still may; a program that it starts is as visible as any.
    """
    _libc().prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _libc() -> Any:  # noqa: ANN401 - its functions are looked up at run time
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    return libc


def _limit() -> None:
    """Limit what the kernel counts; without capabilities none of it can be raised again.

    Tasks are counted by user, not by process: a limit of 0 would stop a decoder's own threads, and
    one of 50 would as well for a user who runs a desktop. As many again as the whole machine runs
    now stop a process that starts threads without end.
    """
    _at_most(resource.RLIMIT_FSIZE, 0)
    _at_most(resource.RLIMIT_NOFILE, _MOST_DESCRIPTORS)
    with suppress(OSError, ValueError, IndexError):
        running = Path("/proc/loadavg").read_text("ascii").split()[3]
        _at_most(resource.RLIMIT_NPROC, 2 * int(running.partition("/")[2]) + _LEAST_THREADS)


def _at_most(kind: int, limit: int) -> None:
    _, hard = resource.getrlimit(kind)
    limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(kind, (limit, limit))


def _drop_capabilities(libc: Any) -> None:  # noqa: ANN401 - a ctypes library
    """Give up root's rights; a user who is not root has none (capset(2))."""
    version_3 = struct.pack("=Ii", 0x20080522, 0)
    libc.capset(version_3, bytes(24))


# ── Landlock ─────────────────────────────────────────────────────────────────────────────────────

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
"""Numbers of the system calls, the same on every architecture."""
_VERSION = 1
_PATH_BENEATH = 1
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
"""ABI → all rights to files that it knows: executing, writing, reading, making, removing …; since 2
moving between folders, since 3 truncating, since 5 ioctl of devices."""
_TCP_SINCE, _TCP = 4, 0b11
"""Binding and connecting."""
_SCOPES_SINCE, _SCOPES = 6, 0b11
"""Abstract Unix sockets, and signals, of processes outside."""

_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache")
"""What the loader, and glibc's conversions between character sets (`gconv`), read late."""
_DEVICES = ("/dev/null", "/dev/urandom", "/sys/devices/system/cpu")


def _landlock(libc: Any) -> str:  # noqa: ANN401 - a ctypes library
    """Allow nothing but reading libraries; return what the kernel lacks for it."""
    abi = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION)
    if abi < 1:
        return f"Landlock ({_why(ctypes.get_errno())}): files can be read"
    rights = _FILE_RIGHTS[max(known for known in _FILE_RIGHTS if known <= abi)]
    scope = struct.pack(
        "=QQQ",
        rights,
        _TCP if abi >= _TCP_SINCE else 0,
        _SCOPES if abi >= _SCOPES_SINCE else 0,
    )
    # An older kernel is given no more of the structure than it knows.
    size = 24 if abi >= _SCOPES_SINCE else 16 if abi >= _TCP_SINCE else 8
    rules = libc.syscall(_CREATE_RULESET, scope[:size], ctypes.c_size_t(size), 0)
    if rules < 0:
        return f"Landlock ({_why(ctypes.get_errno())}): files can be read"
    try:
        for path in _readable():
            _allow(libc, rules, path)
        if libc.syscall(_RESTRICT_SELF, rules, 0) < 0:
            return f"Landlock ({_why(ctypes.get_errno())}): files can be read"
    finally:
        os.close(rules)
    return ""


def _readable() -> Iterator[str]:
    """Return the files and folders that modules and libraries are loaded from."""
    yield from (*_LIBRARIES, *_DEVICES)
    yield str(Path(__file__).parent.parent)
    yield from sys.path
    paths = sysconfig.get_paths()
    yield from (paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    yield from site.getsitepackages()
    yield str(Path(sys.base_prefix, "lib"))


def _allow(libc: Any, rules: int, path: str) -> None:  # noqa: ANN401 - a ctypes library
    """Allow reading *path*, and what is below it, if it exists."""
    if not path:
        return
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        rights = _READ_FILE | (_READ_DIR if Path(path).is_dir() else 0)
        rule = struct.pack("=Qi", rights, descriptor)
        libc.syscall(_ADD_RULE, rules, _PATH_BENEATH, rule, 0)
    finally:
        os.close(descriptor)


# ── seccomp ──────────────────────────────────────────────────────────────────────────────────────


class _Machine(NamedTuple):
    """How one architecture names its system calls."""

    audit: int
    """AUDIT_ARCH_*: what the filter is told (include/uapi/linux/audit.h)."""
    calls: dict[str, int]


_GENERIC = {
    # include/uapi/asm-generic/unistd.h, in its order
    "getcwd": 17, "dup": 23, "dup3": 24, "fcntl": 25, "ioctl": 29, "faccessat": 48, "openat": 56,
    "close": 57, "getdents64": 61, "lseek": 62, "read": 63, "write": 64, "readv": 65, "writev": 66,
    "pread64": 67, "ppoll": 73, "readlinkat": 78, "newfstatat": 79, "fstat": 80, "exit": 93,
    "exit_group": 94, "set_tid_address": 96, "futex": 98, "set_robust_list": 99,
    "get_robust_list": 100, "nanosleep": 101, "clock_gettime": 113, "clock_getres": 114,
    "clock_nanosleep": 115, "sched_getaffinity": 123, "sched_yield": 124, "tgkill": 131,
    "sigaltstack": 132, "rt_sigaction": 134, "rt_sigprocmask": 135, "rt_sigreturn": 139,
    "uname": 160, "getrlimit": 163, "getrusage": 165, "prctl": 167, "getcpu": 168,
    "gettimeofday": 169, "getpid": 172, "getppid": 173, "getuid": 174, "geteuid": 175,
    "getgid": 176, "getegid": 177, "gettid": 178, "sysinfo": 179, "recvmsg": 212, "brk": 214,
    "munmap": 215, "mremap": 216, "clone": 220, "mmap": 222, "mprotect": 226, "mincore": 232,
    "madvise": 233, "prlimit64": 261, "getrandom": 278, "membarrier": 283, "statx": 291,
    "rseq": 293, "clone3": 435, "openat2": 437, "faccessat2": 439,
}  # fmt: skip

_X86_64 = {
    # arch/x86/entry/syscalls/syscall_64.tbl, in its order
    "read": 0, "write": 1, "open": 2, "close": 3, "stat": 4, "fstat": 5, "lstat": 6, "poll": 7,
    "lseek": 8, "mmap": 9, "mprotect": 10, "munmap": 11, "brk": 12, "rt_sigaction": 13,
    "rt_sigprocmask": 14, "rt_sigreturn": 15, "ioctl": 16, "pread64": 17, "readv": 19,
    "writev": 20, "access": 21, "sched_yield": 24, "mremap": 25, "mincore": 27, "madvise": 28,
    "dup": 32, "nanosleep": 35, "getpid": 39, "recvmsg": 47, "clone": 56, "exit": 60, "uname": 63,
    "fcntl": 72, "getcwd": 79, "readlink": 89, "gettimeofday": 96, "getrlimit": 97,
    "getrusage": 98, "sysinfo": 99, "getuid": 102, "getgid": 104, "geteuid": 107, "getegid": 108,
    "getppid": 110, "sigaltstack": 131, "prctl": 157, "gettid": 186, "time": 201, "futex": 202,
    "sched_getaffinity": 204, "getdents64": 217, "set_tid_address": 218, "clock_gettime": 228,
    "clock_getres": 229, "clock_nanosleep": 230, "exit_group": 231, "tgkill": 234, "openat": 257,
    "newfstatat": 262, "readlinkat": 267, "faccessat": 269, "ppoll": 271, "set_robust_list": 273,
    "get_robust_list": 274, "dup3": 292, "prlimit64": 302, "getcpu": 309, "getrandom": 318,
    "membarrier": 324, "statx": 332, "rseq": 334, "clone3": 435, "openat2": 437,
    "faccessat2": 439,
}  # fmt: skip

MACHINES = {
    "x86_64": _Machine(0xC000003E, _X86_64),
    "aarch64": _Machine(0xC00000B7, _GENERIC),
}

_X32 = 0x40000000
"""Added to the number of a call in x86's third ABI, which would pass a filter of plain numbers."""


class _Condition(NamedTuple):
    """Says of an argument that ``argument & mask == value``, in its lower or upper 32 bits."""

    argument: int
    value: int
    mask: int = 0xFFFFFFFF
    upper: bool = False


_MAKES_OR_WRITES = os.O_ACCMODE | os.O_CREAT | os.O_TRUNC | 0o20000000
"""Flags of open(2); the last is O_TMPFILE without O_DIRECTORY. The same on both architectures."""
_THREAD = 0x3D0F00
"""How pthread_create calls clone: VM, FS, FILES, SIGHAND, THREAD, SYSVSEM, SETTLS, PARENT_SETTID,
CHILD_CLEARTID. Nothing else may be cloned: no process, no namespace."""
_DETACHED = 0x400000
"""Ignored by the kernel; musl sets it."""
_FCNTL = (0, 1, 2, 3, 1030)
"""F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC. Not F_SETOWN, which sends signals, nor
F_SETLK, which locks the photo for others."""


def _conditions(pid: int, channel: int) -> dict[str, tuple[tuple[_Condition, ...], ...]]:
    """Return for some calls the conditions, of which one set has to hold."""
    opened_for_reading = _Condition(2, 0, _MAKES_OR_WRITES)
    own = _Condition(0, 0)
    return {
        "openat": ((opened_for_reading,),),
        "open": ((opened_for_reading._replace(argument=1),),),
        "clone": ((_Condition(0, _THREAD, 0xFFFFFFFF & ~_DETACHED), _Condition(0, 0, upper=True)),),
        "fcntl": tuple((_Condition(1, command),) for command in _FCNTL),
        "prctl": ((_Condition(0, _PR_SET_NAME),),),
        "tgkill": ((_Condition(0, pid),),),  # abort()
        "recvmsg": ((_Condition(0, channel),),),
        # To read any limit, and to set that of processor time, which is set for each task.
        "prlimit64": (
            (own, _Condition(2, 0), _Condition(2, 0, upper=True)),
            (own, _Condition(1, resource.RLIMIT_CPU)),
        ),
    }


_REFUSED_OTHERWISE = {
    # Where the caller has another way, or takes EPERM amiss.
    "clone3": errno.ENOSYS,  # its flags lie in memory, which a filter cannot read: glibc clones
    "openat2": errno.ENOSYS,
    "ioctl": errno.ENOTTY,  # Python asks each file that it opens whether it is a terminal
}

_LOAD, _EQUAL, _AT_LEAST, _AND, _RETURN = 0x20, 0x15, 0x35, 0x54, 0x06
"""BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ, BPF_JMP|BPF_JGE, BPF_ALU|BPF_AND, BPF_RET (all BPF_K)."""
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
"""Offsets in ``struct seccomp_data``; both architectures are little-endian."""


def seccomp_program(machine: _Machine, pid: int, channel: int) -> bytes:
    """Return the filter for the process *pid*: instructions of classic BPF."""
    refuse = _instruction(_RETURN, _ERRNO | errno.EPERM)
    program = [
        _instruction(_LOAD, _ARCHITECTURE),
        _instruction(_EQUAL, machine.audit, then=1),
        _instruction(_RETURN, _KILL),
        _instruction(_LOAD, _NUMBER),
        _instruction(_AT_LEAST, _X32, otherwise=1),
        refuse,
    ]
    conditions = _conditions(pid, channel)
    for name, number in machine.calls.items():
        if name in _REFUSED_OTHERWISE:
            verdict = [_instruction(_RETURN, _ERRNO | _REFUSED_OTHERWISE[name])]
        elif name in conditions:
            verdict = [*_checked(conditions[name]), refuse]
        else:
            verdict = [_instruction(_RETURN, _ALLOW)]
        program += [_instruction(_EQUAL, number, otherwise=len(verdict)), *verdict]
    return b"".join([*program, refuse])


def _checked(alternatives: Iterable[tuple[_Condition, ...]]) -> Iterator[bytes]:
    """Return instructions that allow the call if all conditions of one of *alternatives* hold."""
    for conditions in alternatives:
        for position, condition in enumerate(conditions):
            offset = _ARGUMENTS + 8 * condition.argument + 4 * condition.upper
            yield _instruction(_LOAD, offset)
            yield _instruction(_AND, condition.mask)
            # Past the remaining conditions, three instructions each, and past what allows it.
            yield _instruction(
                _EQUAL, condition.value, otherwise=3 * (len(conditions) - position - 1) + 1
            )
        yield _instruction(_RETURN, _ALLOW)


def _instruction(code: int, value: int, *, then: int = 0, otherwise: int = 0) -> bytes:
    """Return one ``struct sock_filter``; a jump skips *then* or *otherwise* instructions."""
    return struct.pack("=HBBI", code, then, otherwise, value)


class _Program(ctypes.Structure):
    """``struct sock_fprog``."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def _seccomp(libc: Any, channel: int) -> str:  # noqa: ANN401 - a ctypes library
    """Refuse what decoding does not need; return what the kernel lacks for it."""
    machine = MACHINES.get(platform.machine())
    if machine is None or struct.calcsize("P") != 8:  # noqa: PLR2004 - a 32-bit Python
        return f"seccomp (no list for {platform.machine()}): programs can be started"
    program = seccomp_program(machine, os.getpid(), channel)
    prepared = _Program(len(program) // 8, program)
    if libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(prepared), 0, 0) < 0:
        return f"seccomp ({_why(ctypes.get_errno())}): programs can be started"
    return ""


def _why(number: int) -> str:
    """Say why the kernel refuses a part of the cage."""
    return {
        errno.ENOSYS: "not in this kernel, or refused by the container",
        errno.EPERM: "refused by the container or the service manager",
        errno.EOPNOTSUPP: "switched off at boot",
        errno.EINVAL: "not in this kernel",
    }.get(number, os.strerror(number))
