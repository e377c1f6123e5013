"""Where tests keep their files: in memory, where there is plenty of it.

A run starts and kills some two hundred PostgreSQL and NATS servers, all with fsync on. On a disk that others use too,
the tests then measure the disk: half of a run's time was spent waiting for it, and what failed had waited for longer
than any caller would. What is killed in tests are processes, never the machine, so a file in memory outlives as much
as one on a disk.
"""

import os
import tempfile
from pathlib import Path

MEMORY = Path("/dev/shm")
NEEDED_BYTES = 8 << 30  # a whole run on three workers was seen to keep up to 4 GiB of files


def keep_files_in_memory() -> None:
    """Let this process and its children make temporary files in memory, unless TMPDIR says otherwise."""
    if "TMPDIR" not in os.environ and _room() >= NEEDED_BYTES:
        os.environ["TMPDIR"] = str(MEMORY)
        tempfile.tempdir = None


def _room() -> int:
    """How many bytes may be kept there without pressing the processes, which need as much again."""
    try:
        state = os.statvfs(MEMORY)
        sizes = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    except FileNotFoundError:
        return 0
    return min(state.f_bavail * state.f_frsize, int(sizes["MemAvailable"].split()[0]) * 1024 // 2)
