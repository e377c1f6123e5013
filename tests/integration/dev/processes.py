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
