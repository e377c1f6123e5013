"""What a sandbox sees: the arguments for bubblewrap."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from blockyard.sandbox.languages import SYSTEM_PATH
from blockyard.sandbox.program import MEBIBYTE, Limits

# The user's number inside; outside it is the runner's own, or one that owns nothing.
USER_INSIDE = "1000"
WORK, RESULT = "/work", "/result"
# Made inside of the working folder, so that one limit holds for both.
TEMPORARY = ".tmp"
_SHARED_MEMORY_SIZE = 16 * MEBIBYTE
_ACCOUNT = {
    "passwd": f"sandbox:x:{USER_INSIDE}:{USER_INSIDE}:sandbox:{WORK}:/bin/sh\n",
    "group": f"sandbox:x:{USER_INSIDE}:\n",
}
_NAMESPACES = ("user", "pid", "net", "ipc", "uts", "cgroup")
# Of /etc, no more than what programs in /usr are started through. Settings of R and Java are links into it.
_SETTINGS = ("alternatives", "ld.so.cache", "localtime", "R")


def base_files() -> dict[str, str]:
    """Text by path, for every sandbox."""
    return {f"/etc/{name}": text for name, text in _ACCOUNT.items()}


def arguments(
    limits: Limits, mounts: Iterable[str], files: Sequence[tuple[str, int]], filter_descriptor: int
) -> list[str]:
    """`files` are pairs of a path inside, and the descriptor that its content is read from."""
    made = [f"--unshare-{namespace}" for namespace in _NAMESPACES]
    made += ["--uid", USER_INSIDE, "--gid", USER_INSIDE, "--hostname", "sandbox"]
    made += ["--cap-drop", "ALL", "--new-session", "--die-with-parent", "--seccomp", str(filter_descriptor)]
    made += _system()
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
    for name, value in _environment().items():
        made += ["--setenv", name, value]
    return [*made, "--chdir", WORK]


def _system() -> list[str]:
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


def _environment() -> dict[str, str]:
    return {
        "PATH": SYSTEM_PATH,
        "HOME": WORK,
        "TMPDIR": "/tmp",
        "LANG": "C.UTF-8",
        "USER": "sandbox",
    }
