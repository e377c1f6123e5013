"""What a sandbox sees: the arguments for bubblewrap."""

import os
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path

from blockyard.sandbox.languages import SYSTEM_PATH
from blockyard.sandbox.program import MEBIBYTE, Limits

# The user's number inside; outside it is the runner's own, or one that owns nothing.
USER_INSIDE = "1000"
WORK, RESULT = "/work", "/result"
# Made inside of the working folder, so that one limit holds for both.
TEMPORARY = ".tmp"
# Users that own nothing anywhere: whom a sandbox runs as where that can be chosen.
_FIRST_USER, _USERS = 0x6A000000, 0x10000
_SHARED_MEMORY_SIZE = 16 * MEBIBYTE
_ACCOUNT = {
    "passwd": f"sandbox:x:{USER_INSIDE}:{USER_INSIDE}:sandbox:{WORK}:/bin/sh\n",
    "group": f"sandbox:x:{USER_INSIDE}:\n",
}
_NAMESPACES = ("user", "pid", "net", "ipc", "uts", "cgroup")
# Of /etc, no more than what programs in /usr are started through. Settings of R and Java are links into it.
_SETTINGS = ("alternatives", "ld.so.cache", "localtime", "R")


def any_user() -> int:
    """One of these users: to the kernel's limits a sandbox is then a user of its own."""
    return _FIRST_USER + secrets.randbelow(_USERS)


def base_files() -> dict[str, bytes]:
    """Content by path, for every sandbox."""
    return {f"/etc/{name}": text.encode() for name, text in _ACCOUNT.items()}


def arguments(
    limits: Limits, mounts: Iterable[str], files: Sequence[tuple[str, int]], filter_descriptor: int
) -> list[str]:
    """`files` are pairs of a path inside, and the descriptor that its content is read from."""
    made = [f"--unshare-{namespace}" for namespace in _NAMESPACES]
    made += ["--uid", USER_INSIDE, "--gid", USER_INSIDE, "--hostname", "sandbox"]
    made += ["--cap-drop", "ALL", "--new-session", "--die-with-parent", "--seccomp", str(filter_descriptor)]
    made += system()
    for path in mounts:
        made += ["--ro-bind", path, path]
    for path, descriptor in files:
        made += ["--ro-bind-data", str(descriptor), path]
    made += ["--proc", "/proc", "--dev", "/dev"]
    made += ["--size", str(_SHARED_MEMORY_SIZE), "--tmpfs", "/dev/shm"]
    made += ["--size", str(limits.folder_size), "--tmpfs", WORK, "--dir", f"{WORK}/{TEMPORARY}"]
    made += ["--size", str(limits.file_size + MEBIBYTE), "--tmpfs", RESULT]
    made += ["--symlink", f"{WORK}/{TEMPORARY}", "/tmp"]
    # The two that hold the others are in memory and without a limit of their own.
    made += ["--remount-ro", "/dev", "--remount-ro", "/"]
    for name, value in environment().items():
        made += ["--setenv", name, value]
    return [*made, "--chdir", WORK]


def system() -> list[str]:
    """The machine's programs and libraries, and of its settings what they are started through."""
    made = ["--ro-bind", "/usr", "/usr", "--ro-bind-try", "/nix/store", "/nix/store"]
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        folder = Path("/", name)
        if folder.is_symlink():
            made += ["--symlink", os.readlink(folder), str(folder)]
        elif folder.is_dir():
            made += ["--ro-bind", str(folder), str(folder)]
    java = [path.name for path in Path("/etc").glob("java-*-openjdk")]
    for name in (*_SETTINGS, *sorted(java)):
        made += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    return made


def environment() -> dict[str, str]:
    """The variables of its processes."""
    return {
        "PATH": SYSTEM_PATH,
        "HOME": WORK,
        "TMPDIR": "/tmp",
        "LANG": "C.UTF-8",
        "USER": "sandbox",
    }
