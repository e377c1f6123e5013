"""What the processes of a sandbox hold together, read through its own view of /proc.

The kernel limits the memory of each process by itself. That they do not all take their share at once is watched from
here, since the groups (cgroups) that could limit them together are not in a runner's hands on most machines. Their
number the kernel does limit; it is watched all the same, as everything else is multiplied by it.
"""

import os
from collections.abc import Iterator

_KIBIBYTE = 1024
# What no file backs: a process's own, and what it shares with others.
_QUICK = (b"RssAnon:", b"RssShmem:")
_EXACT = (b"Pss_Anon:", b"Pss_Shmem:")


def threads(proc: int) -> int:
    """How many processes and threads there are in this /proc (a descriptor)."""
    return sum(_numbers(proc, "status", (b"Threads:",)))


def memory_above(proc: int, limit: int) -> bool:
    """Whether the processes in this /proc (a descriptor) hold more than so many bytes."""
    # The sum counts pages that a fork shares once for each process, so it can only be too large.
    if sum(_numbers(proc, "status", _QUICK)) * _KIBIBYTE <= limit:
        return False
    return sum(_exact(proc, process) for process in _processes(proc)) * _KIBIBYTE > limit


def _exact(proc: int, process: str) -> int:
    found = list(_fields(proc, f"{process}/smaps_rollup", _EXACT))
    # A process can close itself to those of its own user, such as the first one of a container.
    return sum(found or _fields(proc, f"{process}/status", _QUICK))


def _numbers(proc: int, name: str, fields: tuple[bytes, ...]) -> Iterator[int]:
    """The numbers of these fields in this file of each process."""
    for process in _processes(proc):
        yield from _fields(proc, f"{process}/{name}", fields)


def _processes(proc: int) -> list[str]:
    try:
        return [entry for entry in os.listdir(proc) if entry.isdigit()]
    except OSError:
        # The last of them has ended.
        return []


def _fields(proc: int, path: str, fields: tuple[bytes, ...]) -> Iterator[int]:
    for line in _lines(proc, path):
        if line.startswith(fields):
            yield int(line.split()[1])


def _lines(proc: int, path: str) -> list[bytes]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)
        try:
            return os.read(descriptor, 1 << 16).splitlines()
        finally:
            os.close(descriptor)
    except OSError:
        # It has ended meanwhile.
        return []
