"""What a decoder that is taken over would try: each attack as Python, and system calls by name."""

from __future__ import annotations

import platform

NUMBERS = {
    # Of calls that Python has no function for, or whose function does more than the one call.
    "x86_64": {
        "socketpair": 53, "fork": 57, "vfork": 58, "shmget": 29, "semget": 64, "msgget": 68,
        "ptrace": 101, "syslog": 103, "rt_sigqueueinfo": 129, "personality": 135,
        "pivot_root": 155, "settimeofday": 164, "mount": 165, "umount2": 166, "reboot": 169,
        "init_module": 175, "quotactl": 179, "tgkill": 234, "mq_open": 240, "add_key": 248,
        "keyctl": 250, "ioprio_set": 251, "unshare": 272, "perf_event_open": 298,
        "fanotify_init": 300, "name_to_handle_at": 303, "open_by_handle_at": 304, "setns": 308,
        "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312, "finit_module": 313,
        "seccomp": 317, "memfd_create": 319, "bpf": 321, "execveat": 322, "userfaultfd": 323,
        "pidfd_send_signal": 424, "io_uring_setup": 425, "open_tree": 428, "fsopen": 430,
        "pidfd_open": 434, "clone3": 435, "openat2": 437, "pidfd_getfd": 438,
        "process_madvise": 440, "memfd_secret": 447,
    },
    "aarch64": {
        "unshare": 97, "perf_event_open": 241, "name_to_handle_at": 264, "open_by_handle_at": 265,
        "setns": 268, "process_vm_readv": 270, "process_vm_writev": 271, "kcmp": 272,
        "finit_module": 273, "seccomp": 277, "memfd_create": 279, "bpf": 280, "execveat": 281,
        "userfaultfd": 282, "fanotify_init": 262, "keyctl": 219, "add_key": 217, "mq_open": 180,
        "msgget": 186, "semget": 190, "shmget": 194, "socketpair": 199, "settimeofday": 170,
        "reboot": 142, "tgkill": 131, "rt_sigqueueinfo": 138, "ptrace": 117, "syslog": 116,
        "init_module": 105, "personality": 92, "quotactl": 60, "pivot_root": 41, "mount": 40,
        "umount2": 39, "ioprio_set": 30, "pidfd_send_signal": 424, "io_uring_setup": 425,
        "open_tree": 428, "fsopen": 430, "pidfd_open": 434, "clone3": 435, "openat2": 437,
        "pidfd_getfd": 438, "process_madvise": 440, "memfd_secret": 447,
    },
}  # fmt: skip

PRELUDE = f"""
import ctypes, errno, fcntl, os, resource, signal, socket, subprocess, threading
parent = os.getppid()
NUMBERS = {NUMBERS.get(platform.machine(), {})!r}
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def call(name, *arguments):
    number = NUMBERS.get(name) if isinstance(name, str) else name
    if number is None:
        raise PermissionError(errno.EPERM, "does not exist here")
    arguments = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
def libc_call(name, *arguments):
    if getattr(libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
def raised(limit, value):
    try:
        resource.setrlimit(limit, (value, value))
    except ValueError:  # Python's word for EPERM
        raise PermissionError(errno.EPERM, "not raised") from None
def child(function, *arguments):
    # For what would replace or end this process if it worked.
    if (pid := function(*arguments)) == 0:
        os._exit(0)
    os.waitpid(pid, 0)
"""
"""What each attack may use, besides `home` (a folder with `secret`) and `file`, which was lent."""

READING = {
    "the parent's environment": "open(f'/proc/{parent}/environ', 'rb').read()",
    "the parent's memory": "open(f'/proc/{parent}/mem', 'rb')",
    "the parent's files": "os.listdir(f'/proc/{parent}/fd')",
    "the parent's command line": "open(f'/proc/{parent}/cmdline', 'rb').read()",
    "its own environment": "open('/proc/self/environ', 'rb').read()",
    "other processes": "os.listdir('/proc')",
    "accounts": "open('/etc/passwd').read()",
    "a file": "open(f'{home}/secret').read()",
    "a folder": "os.listdir(home)",
    "the root folder": "os.listdir('/')",
    "a file by another folder's handle": """
folder = os.open(home, os.O_PATH)
os.open('secret', os.O_RDONLY, dir_fd=folder)
""",
    "a file through openat2": """
how = (ctypes.c_uint64 * 3)(0, 0, 0)
call('openat2', -100, f'{home}/secret'.encode(), how, 24)
""",
    "a file by its handle": "call('open_by_handle_at', -100, bytes(200), 0)",
}
WRITING = {
    "a new file": "open(f'{home}/new', 'w')",
    "an old file": "open(f'{home}/secret', 'a')",
    "emptying a file": "open(f'{home}/secret', 'w')",
    "truncating": "os.truncate(f'{home}/secret', 0)",
    "a file without a name": "os.open(home, os.O_TMPFILE | os.O_RDWR)",
    "removing": "os.unlink(f'{home}/secret')",
    "renaming": "os.rename(f'{home}/secret', f'{home}/other')",
    "a second name": "os.link(f'{home}/secret', f'{home}/other')",
    "a link": "os.symlink('/etc/passwd', f'{home}/link')",
    "a folder": "os.mkdir(f'{home}/folder')",
    "a pipe": "os.mkfifo(f'{home}/pipe')",
    "a device": "os.mknod(f'{home}/device', 0o020666, os.makedev(1, 5))",
    "modes": "os.chmod(f'{home}/secret', 0o777)",
    "owners": "os.chown(f'{home}/secret', 65534, 65534)",
    "times": "os.utime(f'{home}/secret', (0, 0))",
    "attributes": "os.setxattr(f'{home}/secret', 'user.x', b'x')",
    "its own memory": "open('/proc/self/mem', 'wb')",
    "a temporary folder": "open('/tmp/cage-escape', 'w')",
    "shared memory": "open('/dev/shm/cage-escape', 'w')",
    "a terminal": "open('/dev/tty', 'w')",
}
THE_LENT_FILE = {
    "writing": "os.write(file.descriptor, b'x')",
    "truncating": "os.ftruncate(file.descriptor, 0)",
    "modes": "os.fchmod(file.descriptor, 0o777)",
    "owners": "os.fchown(file.descriptor, 65534, 65534)",
    "times": "os.utime(file.descriptor, (0, 0))",
    "attributes": "os.setxattr(file.descriptor, 'user.x', b'x')",
    "locking": "fcntl.flock(file.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)",
    "locking a part": "fcntl.lockf(file.descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)",
    "leases": "fcntl.fcntl(file.descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)",
    "opening it again to write": "os.open(f'/proc/self/fd/{file.descriptor}', os.O_RDWR)",
    "its flags": "fcntl.ioctl(file.descriptor, 0x80086601, bytes(8))",
    "a name for it": "os.link(f'/proc/self/fd/{file.descriptor}', f'{home}/other')",
    "signals through it": "fcntl.fcntl(file.descriptor, fcntl.F_SETOWN, parent)",
}
NETWORK = {
    "TCP": "socket.socket().connect(('127.0.0.1', 9))",
    "listening": "socket.socket().listen()",
    "UDP": "socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))",
    "IPv6": "socket.socket(socket.AF_INET6)",
    "a Unix socket": "socket.socket(socket.AF_UNIX).connect(f'{home}/socket')",
    "an abstract socket": "socket.socket(socket.AF_UNIX).bind('\\0cage')",
    "a pair of sockets": "call('socketpair', 1, 1, 0, (ctypes.c_int * 2)())",
    "netlink": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "packets": "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
}
STARTING = {
    "a program": "child(lambda: os.fork() or os.execv('/bin/true', ['true']))",
    "this program": "os.execv('/bin/true', ['true'])",
    "a shell": "subprocess.run('true', shell=True, check=True)",
    "spawning": "child(os.posix_spawn, '/bin/true', ['true'], {})",
    "forking": "child(os.fork)",
    "clone3": "child(call, 'clone3', (ctypes.c_uint64 * 11)(0, 0, 0, 0, 17), 88)",
    "a program from memory": """
descriptor = call('memfd_create', b'x', 0)
os.write(descriptor, open('/bin/true', 'rb').read())
os.execv(f'/proc/self/fd/{descriptor}', ['true'])
""",
    "memory as a file": "call('memfd_create', b'x', 0)",
    "secret memory": "call('memfd_secret', 0)",
    "a program by descriptor": "call('execveat', -100, b'/bin/true', 0, 0, 0)",
}
OTHERS = {
    "killing the parent": "os.kill(parent, 0)",
    "killing all": "os.kill(-1, 0)",
    "killing a thread of the parent": "call('tgkill', parent, parent, 0)",
    "queueing a signal": "call('rt_sigqueueinfo', parent, 0, bytes(128))",
    "a handle of the parent": "call('pidfd_open', parent, 0)",
    "signalling by handle": "call('pidfd_send_signal', 0, 0, 0, 0)",
    "descriptors of the parent": "call('pidfd_getfd', 0, 0, 0)",
    "tracing the parent": "call('ptrace', 16, parent, 0, 0)",
    "being traced": "call('ptrace', 0, 0, 0, 0)",
    "reading its memory": """
memory = ctypes.create_string_buffer(8)
span = (ctypes.c_uint64 * 2)(ctypes.addressof(memory), 8)
call('process_vm_readv', parent, span, 1, span, 1, 0)
""",
    "writing its memory": """
memory = ctypes.create_string_buffer(8)
span = (ctypes.c_uint64 * 2)(ctypes.addressof(memory), 8)
call('process_vm_writev', parent, span, 1, span, 1, 0)
""",
    "its priority": "os.setpriority(os.PRIO_PROCESS, parent, 0)",
    "its processors": "os.sched_setaffinity(parent, os.sched_getaffinity(0))",
    "its disk priority": "call('ioprio_set', 1, parent, 0)",
    "its limits": "resource.prlimit(parent, resource.RLIMIT_NOFILE, (9, 9))",
    "comparing": "call('kcmp', parent, os.getpid(), 0, 0, 0)",
    "advising": "call('process_madvise', 0, 0, 0, 0, 0)",
    "watching files": "libc_call('inotify_init1', 0)",
    "watching all": "call('fanotify_init', 0, 0)",
    "shared memory": "call('shmget', 0, 4096, 0o1600)",
    "semaphores": "call('semget', 0, 1, 0o1600)",
    "messages": "call('msgget', 0, 0o1600)",
    "message queues": "call('mq_open', b'cage', 0o102, 0o600, 0)",
    "pipes": "os.pipe()",
}
THE_MACHINE = {
    "a user namespace": "call('unshare', 0x10000000)",
    "a mount namespace": "call('unshare', 0x00020000)",
    "joining a namespace": "call('setns', 0, 0)",
    "mounting": "call('mount', b'none', home.encode(), b'tmpfs', 0, 0)",
    "unmounting": "call('umount2', home.encode(), 2)",
    "the new mount calls": "call('fsopen', b'tmpfs', 0)",
    "trees": "call('open_tree', -100, b'/', 1)",
    "another root": "os.chroot(home)",
    "exchanging the root": "call('pivot_root', home.encode(), home.encode())",
    "another folder": "os.chdir('/')",
    "another user": "os.setuid(65534)",
    "other groups": "os.setgroups([65534])",
    "capabilities": "libc_call('capset', (ctypes.c_uint32 * 2)(0x20080522, 0), b'\\xff' * 24)",
    "io_uring": "call('io_uring_setup', 4, bytes(120))",
    "bpf": "call('bpf', 0, bytes(72), 72)",
    "keys": "call('keyctl', 0, -3, 1)",
    "adding a key": "call('add_key', b'user', b'cage', b'x', 1, -3)",
    "measuring": "call('perf_event_open', bytes(120), 0, -1, -1, 0)",
    "page faults": "call('userfaultfd', 0)",
    "modules": "call('init_module', bytes(8), 8, b'')",
    "modules by descriptor": "call('finit_module', 0, b'', 0)",
    "the log": "call('syslog', 3, ctypes.create_string_buffer(8), 8)",
    "the clock": "call('settimeofday', bytes(16), 0)",
    "quotas": "call('quotactl', 0, 0, 0, 0)",
    "another personality": "call('personality', 0x0040000)",
    "rebooting": "call('reboot', 0, 0, 0, 0)",
    "its name": "socket.sethostname('cage')",
}
ITS_LIMITS = {
    "descriptors": "raised(resource.RLIMIT_NOFILE, 100000)",
    "files": "raised(resource.RLIMIT_FSIZE, -1)",
    "memory": "raised(resource.RLIMIT_AS, -1)",
    "cores": "raised(resource.RLIMIT_CORE, -1)",
    "processes": "raised(resource.RLIMIT_NPROC, -1)",
    "being seen": "libc_call('prctl', 4, 1, 0, 0, 0)",
    "living on": "libc_call('prctl', 1, 0, 0, 0, 0)",
    "another filter": "call('seccomp', 1, 0, bytes(16))",
    "another filter by prctl": "libc_call('prctl', 22, 2, bytes(16), 0, 0)",
    "children": "libc_call('prctl', 36, 1, 0, 0, 0)",
}

ESCAPES = {
    f"{kind}: {name}": code
    for kind, group in (
        ("read", READING),
        ("write", WRITING),
        ("lent file", THE_LENT_FILE),
        ("network", NETWORK),
        ("start", STARTING),
        ("others", OTHERS),
        ("machine", THE_MACHINE),
        ("limits", ITS_LIMITS),
    )
    for name, code in group.items()
}
