"""What tests of the laptop stack wait for."""

from pathlib import Path

import psutil


def runs(pid: int) -> bool:
    """Whether the process runs; one that is dead and not yet collected does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def written_number(path: Path) -> int | None:
    """The number in a file, or None while it is not there in full."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return None
    return int(text) if text.endswith("\n") else None


def shared_memory(pid: int) -> list[Path]:
    """The segments of PostgreSQL's shared memory that the process has."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return sorted({Path(line.split()[-1]) for line in lines if "/dev/shm/PostgreSQL." in line})
