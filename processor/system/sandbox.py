"""What a worker may do, once it is about to run its model: a model is a program, and may be somebody else's.

Three layers, each as far as the kernel has it. Landlock: the files of the version, the programs' and the system's
libraries are read, one by one where a folder also holds what is nobody's business; nothing is written but what the
caller names, nothing is started; no TCP, no signals and no abstract sockets to processes outside. seccomp: no sockets,
no tracing of other processes, no change of a file's mode or owner, no mounting, no io_uring (which would open sockets
past the filter). No new privileges, ever. All of it holds for every thread and child from here on, and cannot be
undone.

Not contained: CPU and memory but by `memory_bytes_max` and the cores; what the version's answers say.
"""

import ctypes
import logging
import os
import platform
import site
import struct
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from corelane import kernels, processor, scheduler
from corelane.processor.errors import LoadError

_logger = logging.getLogger(__name__)

_PR_SET_NO_NEW_PRIVS = 38
_SYS_SECCOMP = {"x86_64": 317, "aarch64": 277}
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_EPERM = 1
_O_PATH = getattr(os, "O_PATH", 0o10000000)

# Landlock's rights to files, by the version of its interface that brought them.
_WRITE, _READ, _READ_DIR = 1 << 1, 1 << 2, 1 << 3
_FILES = {1: (1 << 13) - 1, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
_EXECUTE = 1 << 0
_READING = _READ | _READ_DIR
_OF_FILES = _EXECUTE | _WRITE | _READ | 1 << 14 | 1 << 15  # the rest is of folders
_TCP = {4: 0b11}
_SCOPES = {6: 0b11}  # abstract unix sockets, signals

# By need: what the engines open, as seen in their system calls. /etc and /proc hold secrets beside it.
_LIBRARIES = ("/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/local/lib", "/usr/local/lib64", "/lib", "/lib64")
_SYSTEM = (
    *_LIBRARIES,
    *("/usr/share/locale", "/usr/share/zoneinfo", "/opt/intel"),
    *("/sys/devices/system", "/sys/bus/node", "/sys/fs/cgroup", "/sys/kernel/mm"),
    *("/etc/ld.so.cache", "/etc/localtime", "/etc/os-release"),
    *("/etc/ssl/openssl.cnf", "/etc/pki/tls/openssl.cnf", "/etc/crypto-policies/back-ends/opensslcnf.config"),
    *("/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/version", "/proc/filesystems"),
    *("/proc/sys/vm/overcommit_memory", "/dev/zero", "/dev/random", "/dev/urandom"),
)
# Of the process itself; its environment and its memory are not among them.
_OWN = ("maps", "status", "statm", "stat", "cgroup", "cpuset", "cmdline", "mounts", "mountinfo", "auxv", "limits")
_OWN_LISTED = ("task",)
_THREADS_WAIT_S = 2.0

_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# By number on x86_64 and on aarch64; None where there is none.
_SYSCALLS = {
    "socket": (41, 198),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "setns": (308, 268),
    "unshare": (272, 97),
    "reboot": (169, 142),
    "kexec_load": (246, 104),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "bpf": (321, 280),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "open_by_handle_at": (304, 265),
    # What Landlock leaves to whoever owns a file.
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "lchown": (94, None),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
}


def contain(
    mode: str, readable: Sequence[Path], *, writable: Sequence[Path] = (), listed: Sequence[Path] = ()
) -> list[str]:
    """Puts this process into its sandbox, beside the system's files with these to read and to write; of folders that
    are `listed` the names may be read. Returns what holds now, in words. `mode` "required": LoadError if a layer is
    missing; "auto": its absence is logged; "off": nothing."""
    if mode == "off":
        return []
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise LoadError(f"the kernel refuses to give up privileges: {os.strerror(ctypes.get_errno())}")
    held, missing = ["no new privileges"], []
    layers: dict[str, Callable[[], str]] = {
        "landlock": lambda: _landlock(libc, readable, writable, listed),
        "seccomp": lambda: _seccomp(libc),
    }
    for name, layer in layers.items():
        try:
            held.append(layer())
        except OSError as error:
            missing.append(f"{name}: {error.strerror or error}")
    if missing and mode == "required":
        raise LoadError(f"host.sandbox is required, but the kernel lacks {'; '.join(missing)}")
    for reason in missing:
        _logger.warning("the sandbox is without %s", reason)
    return held


def _landlock(libc: ctypes.CDLL, readable: Sequence[Path], writable: Sequence[Path], listed: Sequence[Path]) -> str:
    version = _call(libc, _LANDLOCK_CREATE, None, 0, 1)
    rights, tcp, scopes = (_sum(bits, version) for bits in (_FILES, _TCP, _SCOPES))
    size = 24 if scopes else 16 if tcp else 8
    ruleset = _call(libc, _LANDLOCK_CREATE, struct.pack("=QQQ", rights, tcp, scopes)[:size], size, 0)
    try:
        for path in (*_SYSTEM, *map(str, (*program_folders(), *readable))):
            _allow(libc, ruleset, path, _READING)
        for path in map(str, listed):
            _allow(libc, ruleset, path, _READ_DIR)
        for path in map(str, writable):
            _allow(libc, ruleset, path, rights & ~_EXECUTE)
        _allow(libc, ruleset, "/dev/null", _READ | _WRITE | rights & 1 << 14)
        for names, allowed in ((_OWN, _READ), (_OWN_LISTED, _READ_DIR)):
            for name in names:
                # The kernel may forget such a file, and with it the rule, unless somebody holds it.
                _allow(libc, ruleset, f"/proc/self/{name}", allowed, is_held=True)
        _wait_for_one_thread()
        _call(libc, _LANDLOCK_RESTRICT, ruleset, 0)
    finally:
        os.close(ruleset)
    words = ["landlock: reads its files"]
    words += ["writes nothing"] if not writable else ["writes its own folder"]
    words += ["no TCP"] if tcp else []
    words += ["no signals"] if scopes else []
    return ", ".join(words)


def _wait_for_one_thread() -> None:
    """Landlock is for the thread that asks for it, and for those that it makes. OSError if others are there."""
    end_s = time.monotonic() + _THREADS_WAIT_S
    while (count := len(os.listdir("/proc/self/task"))) > 1:
        if time.monotonic() > end_s:
            raise OSError(0, f"{count} threads are running already")
        time.sleep(0.001)  # one that was joined ends a moment later


def program_folders() -> list[Path]:
    """What Python, the libraries and our own packages are loaded from. A folder that holds our packages as a working
    copy does, beside whatever else its owner keeps there, is not among them: the packages are."""
    folders = [Path(package.__path__[0]) for package in (processor, scheduler, kernels)]
    packages = [folder.resolve() for folder in (folders[0].parent, *folders)]
    prefixes = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
    libraries = [Path(prefix, name) for prefix in prefixes for name in ("lib", "lib64", "pyvenv.cfg")]
    paths = [Path(entry).resolve() for entry in (*site.getsitepackages(), *filter(None, sys.path))]
    parents = {package.parent for package in packages}
    installed = [path for path in paths if path not in parents or any(path.glob("*.dist-info"))]
    return sorted({*packages, *libraries, *installed})


def _allow(libc: ctypes.CDLL, ruleset: int, path: str, rights: int, *, is_held: bool = False) -> None:
    """Of a path that is not there, nothing need be allowed."""
    try:
        descriptor = os.open(path, _O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not os.path.isdir(path):
            rights &= _OF_FILES
        rule = struct.pack("=Qi", rights, descriptor)
        _call(libc, _LANDLOCK_ADD, ruleset, 1, rule, 0)
    finally:
        if not is_held:
            os.close(descriptor)


def _seccomp(libc: ctypes.CDLL) -> str:
    machine = platform.machine()
    if machine not in _AUDIT_ARCH:
        raise OSError(0, f"no filter is known for {machine}")
    program = _filter(machine)
    instructions = ctypes.create_string_buffer(program)

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    filter_program = Program(len(program) // 8, ctypes.addressof(instructions))
    # For all threads at once, those that are there already included.
    _call(libc, _SYS_SECCOMP[machine], 1, 1, ctypes.byref(filter_program))
    return "seccomp: no sockets, no tracing, no mounting"


def _filter(machine: str) -> bytes:
    """The filter's program: a call of another architecture ends the process; those listed get EPERM; all else is
    allowed."""
    column = 0 if machine == "x86_64" else 1
    denied = [number for numbers in _SYSCALLS.values() if (number := numbers[column]) is not None]
    load, equal, at_least, done = 0x20, 0x15, 0x35, 0x06
    allow, refuse, kill = 0x7FFF0000, 0x00050000 | _EPERM, 0x80000000
    body = [
        (load, 0, 0, 4),  # the architecture
        (equal, 1, 0, _AUDIT_ARCH[machine]),
        (done, 0, 0, kill),
        (load, 0, 0, 0),  # the call's number
    ]
    if machine == "x86_64":
        body += [(at_least, 0, 1, 0x40000000), (done, 0, 0, refuse)]  # x32's numbers
    for index, number in enumerate(denied):
        body.append((equal, len(denied) - index, 0, number))
    body += [(done, 0, 0, allow), (done, 0, 0, refuse)]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in body)


def _sum(rights: dict[int, int], version: int) -> int:
    return sum(bits for since, bits in rights.items() if since <= version)


def _call(libc: ctypes.CDLL, number: int, *arguments: object) -> int:
    result = int(libc.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
