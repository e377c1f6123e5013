"""How many processes for cpu-bound blocks there is room for: a container sees the cores of its node, not its limits."""

import os
from contextlib import suppress
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
"""What holds for this container, where Linux has version 2 of control groups."""

PROCESS_BYTES = 256 << 20
"""Memory that a process is counted with: what it begins with, and as much again for a block's values."""

MOST = 256


def room_for_processes(cgroup: Path = CGROUP) -> int:
    """One a core that may be used, and no more than half of the memory limit has room for; at least one."""
    cores = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    # "max" where there is no limit, which is no number.
    with suppress(OSError, ValueError):
        quota, period = (cgroup / "cpu.max").read_text(encoding="ascii").split()
        cores = min(cores, int(quota) / int(period))
    room = MOST
    with suppress(OSError, ValueError):
        room = int((cgroup / "memory.max").read_text(encoding="ascii")) // 2 // PROCESS_BYTES
    return max(1, min(round(cores), room, MOST))
