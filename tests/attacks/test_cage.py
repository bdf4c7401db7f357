"""The decoders' cage, tried from inside: whoever takes a decoder over has nothing.

The attacks are in `support/escapes.py`. Each is tried in a decoder, where it must be refused, and
those that need no right but the user's own in a writer, where they work: else they prove nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import fcntl
import io
import json
import os
import platform
import re
import resource
import struct
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pillow_heif
import pytest
from PIL import Image
from samples import dng
from support.escapes import ESCAPES, PRELUDE
from support.program import corpus

from taggerd import files, settings
from taggerd.errors import PhotoGone, WorkerLost
from taggerd.imaging import open_photo, prepare
from taggerd.photo import Picture, Stamp
from taggerd.services.pools import DECODED, DECODING
from taggerd.workers import cage
from taggerd.workers.pool import Workers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pillow_heif.register_heif_opener()
pytest.importorskip("pillow_jxl")

REFUSED = {errno.EPERM, errno.EACCES}
OTHERWISE = {
    "read: a file through openat2": errno.ENOSYS,
    "start: clone3": errno.ENOSYS,
    "lent file: its flags": errno.ENOTTY,
    "lent file: writing": errno.EBADF,
}
"""What is refused with another error, and why: see `taggerd/workers/cage.py`."""
WORK_OUTSIDE = (
    *("read: the parent's environment", "read: accounts", "read: a file", "read: a folder"),
    *("write: a new file", "write: truncating", "write: removing", "write: renaming"),
    *("lent file: modes", "lent file: locking", "lent file: opening it again to write"),
    *("network: listening", "network: UDP", "network: an abstract socket", "start: a program"),
    *("start: a shell", "start: forking", "start: memory as a file", "start: clone3"),
    *("others: killing the parent", "others: watching files", "limits: being seen"),
)


@contextlib.asynccontextmanager
async def working(*, caged: bool = True, **options: float) -> AsyncIterator[Workers]:
    """Workers that are closed again."""
    given = {"processes": 1, "deadline_seconds": 120, **options}
    workers = Workers(settings.Workers(**given), caged=caged, returns=DECODED, loads=DECODING)
    try:
        yield workers
    finally:
        await workers.close()


@contextlib.contextmanager
def lent(path: Path) -> Iterator[dict[str, Any]]:
    """What an attack knows: a folder with a secret, and an open file."""
    (path / "secret").write_bytes(b"secret")
    (path / "photo").write_bytes(b"photo")
    with files.open_file(path / "photo") as file:
        yield {"home": str(path), "file": file}


async def attempt(workers: Workers, code: str, known: dict[str, Any]) -> int | str | None:
    """Try an attack in a worker; return the number it was refused with, None if it was not."""
    try:
        await workers.run(exec, PRELUDE + code, known)
    except RuntimeError as error:
        number = re.search(r"^\w*Error: \[Errno (\d+)\]", str(error))
        return int(number[1]) if number else str(error)
    return None


def encoded(kind: str) -> bytes:
    """Return a picture in that format."""
    pixels = np.linspace(0, 255, 96 * 64 * 3).astype(np.uint8).reshape(64, 96, 3)
    image, file = Image.fromarray(pixels), io.BytesIO()
    if kind == "DNG":
        image.save(file, "JPEG")
        return dng.dng(np.asarray(image), dng.Preview(file.getvalue(), *image.size), (), ())
    if kind == "raw data":
        return dng.dng(np.asarray(image), dng.Preview(b"", 1, 1), (), ())
    image.save(file, kind)
    return file.getvalue()


async def test_the_kernel_here_has_all_parts() -> None:
    """Else the tests below would test less than they say."""
    async with working() as workers:
        if lacking := await workers.check():
            pytest.skip(f"this kernel lacks {lacking}")


async def test_every_escape_is_refused(tmp_path: Path) -> None:
    """One decoder, tried in every way that is known: nothing works, and it is alive after each."""
    wrong = {}
    with lent(tmp_path) as known:
        async with working(files_per_process=1000) as workers:
            pid = await workers.run(os.getpid)
            for name, code in ESCAPES.items():
                error = await attempt(workers, code, known)
                expected = {OTHERWISE[name]} if name in OTHERWISE else REFUSED
                if error not in expected:
                    wrong[name] = error
            assert await workers.run(os.getpid) == pid
    assert wrong == {}
    assert (tmp_path / "secret").read_bytes() == b"secret"
    assert set(os.listdir(tmp_path)) == {"secret", "photo"}  # noqa: PTH208 - names alone


@pytest.mark.parametrize("name", WORK_OUTSIDE)
async def test_the_same_works_outside(name: str, tmp_path: Path) -> None:
    """In a process without the cage the attack succeeds: it is the cage that refuses it."""
    with lent(tmp_path) as known:
        async with working(caged=False) as workers:
            assert await attempt(workers, ESCAPES[name], known) is None


FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "HEIF", "AVIF", "JXL", "DNG", "raw data")


async def test_every_format_is_decoded_inside(tmp_path: Path) -> None:
    """What decoders need is in the list: all formats, one after the other in one process."""
    async with working() as workers:
        for kind in FORMATS:
            path = tmp_path / f"photo{'.dng' if kind in {'DNG', 'raw data'} else ''}"
            path.write_bytes(encoded(kind))
            with open_photo(path) as file:
                stamp = Stamp.of(file.stat())
                picture = await workers.run(prepare, file, stamp, settings.Image())
            assert isinstance(picture, Picture), kind
            assert (picture.width, picture.height) in {(96, 64), (48, 32)}, kind


async def test_real_photos_are_decoded_inside() -> None:
    """Photos of many cameras give the same picture inside as outside."""
    folder = corpus("photos")
    files.work_below(folder)
    paths = sorted(folder.iterdir())
    async with working(processes=2) as inside, working(caged=False, processes=2) as outside:
        found = await asyncio.gather(*(_prepared(inside, path) for path in paths))
        expected = await asyncio.gather(*(_prepared(outside, path) for path in paths))
    assert found == expected
    assert sum(isinstance(outcome, Picture) for outcome in found) > len(paths) / 2


async def _prepared(workers: Workers, path: Path) -> Picture | str:
    with open_photo(path) as file:
        try:
            return await workers.run(prepare, file, Stamp.of(file.stat()), settings.Image())
        except Exception as error:  # noqa: BLE001 - the same inside and outside, whatever it is
            return repr(error)


async def test_libraries_that_are_loaded_late_work_inside() -> None:
    """Exiv2 reads bytes and converts UCS-2 by glibc's modules; rules of plurals and towns load."""
    read = """
import pyexiv2
with pyexiv2.ImageData(data) as image:
    image.modify_exif({"Exif.Image.XPTitle": "A\u0308 title"})
    said = dict(image.read_exif(), **image.read_xmp(), **image.read_iptc())
assert said["Exif.Image.XPTitle"], said
import encodings.cp1251, inflect, zoneinfo, numpy.fft
"""
    async with working() as workers:
        await workers.run(exec, read, {"data": encoded("JPEG")})


async def test_threads_run_inside() -> None:
    """Decoders may start threads: a thread is no process."""
    code = """
import threading
said = []
threads = [threading.Thread(target=said.append, args=(n,)) for n in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert sorted(said) == list(range(8))
"""
    async with working() as workers:
        await workers.run(exec, code, {})


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("held = bytearray(4 << 30)", "more memory than workers.memory_megabytes"),
        ("import os; os.abort()", "SIGABRT"),
        ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
        ("import os; os._exit(7)", "status 7"),
    ],
)
async def test_how_a_decoder_ends_is_told_as_before(code: str, words: str) -> None:
    """Memory that runs out, a crash, an abort: the cage keeps none of them from being named."""
    async with working() as workers:
        with pytest.raises(WorkerLost, match=words):
            await workers.run(exec, code, {})
        assert await workers.run(abs, -1) == 1


@pytest.mark.parametrize(
    "error",
    ["LedgerDamaged", "StorageError", "BackendDenied", "StartError", "PhotoError('x' * 3000)"],
)
async def test_a_decoder_blames_nothing_but_the_photo(error: str) -> None:
    """Else one photo could stop all work: the ledger would be put aside, the backend paused."""
    async with working() as workers:
        with pytest.raises(WorkerLost, match="not about the photo") as lost:
            await workers.run(exec, f"from taggerd import errors; raise errors.{error}")
        assert len(str(lost.value)) < 200
        with pytest.raises(PhotoGone):
            await workers.run(exec, "from taggerd import errors; raise errors.PhotoGone")


async def test_what_it_has_inherited() -> None:
    """A decoder has its channels open, and nothing else that is ours."""
    code = """
import fcntl, os
for number in range(256):
    try:
        fcntl.fcntl(number, fcntl.F_GETFD)
    except OSError:
        continue
    found[number] = os.fstat(number).st_mode >> 12
import json
raise LookupError(json.dumps(found))
"""
    canary = os.open("/etc/passwd", os.O_RDONLY)
    os.set_inheritable(canary, True)  # noqa: FBT003 - its second argument has no name
    try:
        async with working() as workers:
            with pytest.raises(RuntimeError, match="LookupError") as told:
                await workers.run(exec, code, {"found": {}})
    finally:
        os.close(canary)
    found = json.loads(str(told.value).partition(": ")[2])
    pipe, sock, device = 0o01, 0o14, 0o02
    assert found["0"] == device
    assert set(found.values()) <= {pipe, sock, device}
    assert len(found) <= 6


async def test_limits_inside() -> None:
    """Nothing is written, few files are open, and threads are counted."""
    async with working() as workers:
        assert await workers.run(resource.getrlimit, resource.RLIMIT_FSIZE) == (0, 0)
        assert await workers.run(resource.getrlimit, resource.RLIMIT_NOFILE) == (256, 256)
        soft, hard = await workers.run(resource.getrlimit, resource.RLIMIT_NPROC)
        assert 1000 < soft == hard


@pytest.mark.skipif(
    platform.machine() != "x86_64", reason="only x86-64 has these two other tables of calls"
)
@pytest.mark.parametrize(
    "code",
    [
        "call(0x40000000 | 41, 2, 1, 0)",  # socket, by x32's number
        """
import mmap  # mov eax, 20 (getpid); int 0x80; ret
memory = mmap.mmap(-1, 4096, prot=7)
memory.write(bytes.fromhex('b814000000cd80c3'))
address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
ctypes.CFUNCTYPE(ctypes.c_int)(address)()
""",
    ],
    ids=["x32", "i386"],
)
async def test_no_other_set_of_system_calls(code: str, tmp_path: Path) -> None:
    """A filter of numbers could be passed by the numbers of another ABI: refused, or killed."""
    with lent(tmp_path) as known:
        async with working() as workers:
            with contextlib.suppress(WorkerLost):
                error = await attempt(workers, code, known)
                assert error is not None
                assert error in {errno.EPERM, errno.ENOSYS}


# ── Kernels that lack a part, other users, and the other architecture ────────────────────────────

ANY_PROGRAM = """
import asyncio, json, re, sys
sys.path.insert(0, {tests!r})
from support import escapes
from taggerd import settings
from taggerd.workers.pool import Workers

async def main():
    workers = Workers(settings.Workers(processes=1, files_per_process=2), caged=True)
    refused = {{}}
    try:
        lacking = await workers.check()
        for name in {names!r}:
            try:
                code = escapes.PRELUDE + escapes.ESCAPES[name]
                await workers.run(exec, code, {{"home": {home!r}}})
            except RuntimeError as error:
                refused[name] = int(re.search(r"Errno (\\d+)", str(error))[1])
    finally:
        await workers.close()
    print(json.dumps([lacking, refused]))

asyncio.run(main())
"""


def interpreter(uid: int) -> str:
    """Return a Python of this version that the user *uid* may start; skip if there is none."""
    of_the_system = f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    for path in (sys.executable, of_the_system):
        folders = Path(os.path.realpath(path)).parents
        if Path(path).exists() and (not uid or all(f.stat().st_mode & 1 for f in folders)):
            return path
    pytest.skip("another user may start no Python here: give /usr/bin one of this version")


def in_a_process(
    home: Path, names: tuple[str, ...], *, filtered: bytes = b"", uid: int = 0
) -> tuple[list[str], dict[str, int]]:
    """Try attacks in a decoder of a program of its own.

    Args:
        home: a folder.
        names: of the attacks.
        filtered: the filter that the program runs under, as a container's.
        uid: its user; 0: this one.

    Returns:
        What the decoder lacks, and the error that refused each attack.
    """

    def prepare_process() -> None:
        if uid:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
        if filtered:
            libc = cage._libc()
            libc.prctl(38, 1, 0, 0, 0)
            program = cage._Program(len(filtered) // 8, filtered)
            assert libc.prctl(22, 2, ctypes.byref(program), 0, 0) == 0

    tests = str(Path(__file__).resolve().parent.parent)
    libraries = [path for path in sys.path if path.endswith("site-packages")]
    done = subprocess.run(
        [interpreter(uid), "-c", ANY_PROGRAM.format(tests=tests, names=names, home=str(home))],
        preexec_fn=prepare_process,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(tests).parent), *libraries])},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lacking, refused = json.loads(done.stdout.splitlines()[-1])
    assert done.stdout.count("not confined") == len(lacking)  # once, and not by each process
    return lacking, refused


def filter_of(*refused: tuple[int, tuple[int, int] | None, int]) -> bytes:
    """Return a filter that refuses some calls: number, argument and its value, error."""
    program = []
    for number, argument, error in refused:
        verdict = [cage._instruction(cage._RETURN, cage._ERRNO | error)]
        if argument is not None:
            position, value = argument
            verdict = [
                cage._instruction(cage._LOAD, cage._ARGUMENTS + 8 * position),
                cage._instruction(cage._EQUAL, value, otherwise=1),
                *verdict,
            ]
        program += [
            cage._instruction(cage._LOAD, cage._NUMBER),
            cage._instruction(cage._EQUAL, number, otherwise=len(verdict)),
            *verdict,
        ]
    return b"".join([*program, cage._instruction(cage._RETURN, cage._ALLOW)])


ELSEWHERE = ("read: accounts", "network: TCP", "start: forking", "others: killing the parent")


@pytest.mark.parametrize("error", [errno.ENOSYS, errno.EOPNOTSUPP], ids=["old", "switched off"])
def test_a_kernel_without_landlock_says_so_and_the_rest_holds(tmp_path: Path, error: int) -> None:
    """Files can be read then; no network, no program, no signal all the same."""
    without = filter_of((444, None, error))
    lacking, refused = in_a_process(tmp_path, (*ELSEWHERE, "write: a new file"), filtered=without)
    (said,) = lacking
    assert said.startswith("Landlock")
    assert "files can be read" in said
    assert refused == dict.fromkeys((*ELSEWHERE[1:], "write: a new file"), errno.EPERM)


def test_a_kernel_without_seccomp_says_so_and_the_rest_holds(tmp_path: Path) -> None:
    """Programs could be started if they could be read; no file, no TCP, no signal to others."""
    number = cage.MACHINES[platform.machine()].calls["prctl"]
    without = filter_of((number, (0, 22), errno.EINVAL))
    attacks = ("read: accounts", "write: a new file", "network: TCP", "start: this program")
    lacking, refused = in_a_process(tmp_path, attacks, filtered=without)
    (said,) = lacking
    assert said.startswith("seccomp")
    assert refused == dict.fromkeys(attacks, errno.EACCES)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts a process as another user")
def test_it_holds_for_a_user_without_rights(tmp_path: Path) -> None:
    """Nothing of the cage needs root: the service runs as a user of its own."""
    for folder in (tmp_path, *tmp_path.parents[:2]):  # pytest's own are for root alone
        folder.chmod(0o755)
    lacking, refused = in_a_process(tmp_path, ELSEWHERE, uid=65534)
    assert lacking == []
    assert set(refused) == set(ELSEWHERE)


HIDDEN = """
import os, subprocess, sys
from pathlib import Path
from taggerd.workers import cage
if HIDES:
    cage.hide()
# Its own uses of /proc: descriptors, watches (arrivals/inotify.py), mounts; and its programs'.
watches = cage._libc().inotify_init1(0)
Path(f"/proc/self/fdinfo/{watches}").read_bytes()
for name in ("mountinfo", "status", f"fd/{os.open('/etc/passwd', os.O_RDONLY)}"):
    Path("/proc/self", name).read_bytes()
os.listdir("/proc/self/fd")
code = "import os; open('/proc/self/oom_score_adj', 'w').write('500')"
subprocess.run([sys.executable, "-c", code], check=True)
for name in ("environ", "mem", "maps", "fd/0"):
    code = f"import os; open(f'/proc/{os.getpid()}/{name}', 'rb')"
    if subprocess.run([sys.executable, "-c", code], stderr=subprocess.DEVNULL).returncode == 0:
        print(name)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts a process as another user")
@pytest.mark.parametrize("hides", [True, False])
def test_the_program_is_hidden_from_others_of_its_user(*, hides: bool) -> None:
    """No process of the same user reads its keys; the program still reads what it needs there."""
    done = subprocess.run(
        [interpreter(65534), "-c", HIDDEN.replace("HIDES", str(hides))],
        user=65534,
        group=65534,
        extra_groups=[],
        env={"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ([] if hides else ["environ", "mem", "maps", "fd/0"])


def test_every_command_hides_itself() -> None:
    """The keys are in the settings, which every command may read."""
    code = "from taggerd.cli import main; main(['--version'])"
    seen = "import ctypes; raise SystemExit(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"
    done = subprocess.run([sys.executable, "-c", f"{code}; {seen}"], check=False, timeout=180)
    assert done.returncode == 0


def test_what_is_missing_is_said_by_config_check(tmp_path: Path) -> None:
    """On a kernel without Landlock the check warns, and is passed all the same."""

    def prepare_process() -> None:
        filtered = filter_of((444, None, errno.ENOSYS))
        libc = cage._libc()
        libc.prctl(38, 1, 0, 0, 0)
        libc.prctl(22, 2, ctypes.byref(cage._Program(len(filtered) // 8, filtered)), 0, 0)

    (tmp_path / "in").mkdir()
    roots = json.dumps([{"path": str(tmp_path / "in")}])
    for prepared, words in ((None, ""), (prepare_process, "not confined by Landlock (not in this")):
        done = subprocess.run(
            [sys.executable, "-m", "taggerd", "config", "check", "--allow-offline"],
            preexec_fn=prepared,
            env={**os.environ, "TAGGERD__ARRIVALS__ROOTS": roots},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert words in done.stderr
        assert bool(words) == ("decoders" in done.stderr)


ARM64 = """
getcwd 17 dup 23 dup3 24 fcntl 25 ioctl 29 faccessat 48 openat 56 close 57 getdents64 61 lseek 62
read 63 write 64 readv 65 writev 66 pread64 67 ppoll 73 readlinkat 78 newfstatat 79 fstat 80 exit 93
exit_group 94 set_tid_address 96 futex 98 set_robust_list 99 get_robust_list 100 nanosleep 101
clock_gettime 113 clock_getres 114 clock_nanosleep 115 sched_getaffinity 123 sched_yield 124
tgkill 131 sigaltstack 132 rt_sigaction 134 rt_sigprocmask 135 rt_sigreturn 139 uname 160
getrlimit 163 getrusage 165 prctl 167 getcpu 168 gettimeofday 169 getpid 172 getppid 173 getuid 174
geteuid 175 getgid 176 getegid 177 gettid 178 sysinfo 179 recvmsg 212 brk 214 munmap 215 mremap 216
clone 220 mmap 222 mprotect 226 mincore 232 madvise 233 prlimit64 261 getrandom 278 membarrier 283
statx 291 rseq 293 clone3 435 openat2 437 faccessat2 439
"""
"""From include/uapi/asm-generic/unistd.h, which arm64 uses."""
HEADERS = {
    "x86_64": ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "/usr/include/asm/unistd_64.h"),
    "aarch64": ("/usr/include/asm-generic/unistd.h",),
}
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


@pytest.mark.parametrize("machine", cage.MACHINES)
def test_the_numbers_are_the_kernels(machine: str) -> None:
    """A wrong number would allow another call: compared with the kernel's own header."""
    calls = cage.MACHINES[machine].calls
    if machine == "aarch64":
        words = ARM64.split()
        copied = zip(words[::2], map(int, words[1::2]), strict=True)
        assert calls == dict(copied)
    header = next((Path(path) for path in HEADERS[machine] if Path(path).exists()), None)
    if header is None:
        pytest.skip("the kernel's headers are not installed: apt-get install linux-libc-dev")
    defined = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)$", header.read_text(), re.MULTILINE)
    # What has two names there: the generic one, and that of 64-bit architectures.
    kernel = {{"fstatat": "newfstatat"}.get(name, name): int(number) for name, number in defined}
    assert calls == {name: kernel[name] for name in calls}


@pytest.mark.parametrize("machine", cage.MACHINES)
def test_the_filter_says_what_the_list_says(machine: str) -> None:
    """Executed step by step for each number there may be: what is not on the list is refused."""
    pid, channel, audit = 4711, 7, ARCHITECTURES[machine]
    calls = cage.MACHINES[machine].calls
    program = cage.seccomp_program(cage.MACHINES[machine], pid, channel)

    def verdict(name: str, *arguments: int, architecture: int = audit) -> int:
        return executed(program, calls[name], architecture, arguments)

    allow, refuse = cage._ALLOW, cage._ERRNO | errno.EPERM
    never = {number for number in range(1000) if number not in calls.values()}
    assert {executed(program, number, audit, ()) for number in never} == {refuse}
    assert executed(program, calls["read"], 0x40000003, ()) == cage._KILL  # i386
    assert executed(program, 0x40000000 | calls["read"], audit, ()) == refuse  # x32
    assert verdict("read", 3) == verdict("mmap", 0) == verdict("exit_group", 0) == allow
    assert verdict("openat", -100, 0, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY) == allow
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_TRUNC, os.O_TMPFILE, 3):
        assert verdict("openat", -100, 0, flags) == refuse
    thread = 0x3D0F00
    assert verdict("clone", thread) == verdict("clone", thread | 0x400000) == allow
    for flags in (17, 0x11, 0x4111, thread | 0x10000000, thread & ~0x10000, thread | 1 << 35):
        assert verdict("clone", flags) == refuse
    assert verdict("clone3") == cage._ERRNO | errno.ENOSYS
    assert verdict("ioctl") == cage._ERRNO | errno.ENOTTY
    assert verdict("tgkill", pid, pid, 6) == allow
    assert verdict("tgkill", pid + 1, pid + 1, 6) == refuse
    assert verdict("recvmsg", channel) == allow
    assert verdict("recvmsg", channel + 1) == refuse
    assert verdict("prlimit64", 0, resource.RLIMIT_NOFILE, 0, 4096) == allow
    assert verdict("prlimit64", 0, resource.RLIMIT_CPU, 4096, 0) == allow
    assert verdict("prlimit64", 0, resource.RLIMIT_NOFILE, 4096, 0) == refuse
    assert verdict("prlimit64", 0, resource.RLIMIT_NOFILE, 1 << 32, 0) == refuse
    assert verdict("prlimit64", 1, resource.RLIMIT_CPU, 4096, 0) == refuse
    for command, expected in ((fcntl.F_GETFD, allow), (fcntl.F_SETOWN, refuse), (7, refuse)):
        assert verdict("fcntl", 3, command) == expected
    assert verdict("prctl", 15) == allow
    assert verdict("prctl", 4, 1) == refuse


def executed(program: bytes, number: int, architecture: int, arguments: tuple[int, ...]) -> int:
    """Run classic BPF as the kernel does."""
    padded = (*arguments, *(0,) * (6 - len(arguments)))
    data = struct.pack("<iIQ6Q", number, architecture, 0, *(a & (1 << 64) - 1 for a in padded))
    instructions = list(struct.iter_unpack("=HBBI", program))
    at = accumulator = 0
    while True:
        code, then, otherwise, value = instructions[at]
        at += 1
        match code:
            case 0x20:
                (accumulator,) = struct.unpack_from("<I", data, value)
            case 0x54:
                accumulator &= value
            case 0x15:
                at += then if accumulator == value else otherwise
            case 0x35:
                at += then if accumulator >= value else otherwise
            case 0x06:
                return int(value)
            case _:
                raise AssertionError(code)


async def test_no_writer_loads_exiv2(tmp_path: Path) -> None:
    """It reads foreign bytes: in decoders alone; writers are given what it found."""
    code = """
import sys
from pathlib import Path
from taggerd import files, metadata
from taggerd.photo import Keyword, Photo, PhotoFile, Provenance, Stamp, Tags
path = Path(name)
files.work_below(path.parent)
photo = Photo((PhotoFile(path, Stamp.of(path.lstat())),))
said = {path: metadata.Embedded()}
tags = Tags(caption="A dog", description="A dog.", keywords=(Keyword("dog"),))
provenance = Provenance(version="1", date=now, profile="", models={}, digest="ab" * 32)
both = metadata.Options(target="both")
done = metadata.write(photo, tags, provenance, both, said)
assert [each.written for each in done] == [True, True], done
photo = Photo((PhotoFile(path, Stamp.of(path.lstat())),))
metadata.inspect(photo, both, said, ["place"])
metadata.unhide_human_texts(photo, both, said)
metadata.view(photo, both, said[path])
metadata.adopt(photo, metadata.Adoption(now=now), both, said)
assert metadata.undo_embedded(path, metadata.UndoOptions(), both).end == "restored"
assert "pyexiv2" not in sys.modules
"""
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded("JPEG"))
    async with working(caged=False) as workers:
        await workers.run(exec, code, {"name": str(path), "now": datetime.now(UTC)})
