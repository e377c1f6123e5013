"""A small disk of a test's own, to be filled and freed again."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True, slots=True)
class SmallDisk:
    """A file system in memory."""

    folder: Path

    def fill(self) -> None:
        """Take up all room that is left."""
        with (self.folder / "filler").open("ab", buffering=0) as filler:
            while True:
                state = os.statvfs(self.folder)
                if state.f_bavail == 0:
                    return
                filler.write(bytes(state.f_bavail * state.f_frsize))

    def free(self) -> None:
        """Give that room back."""
        (self.folder / "filler").unlink()


@contextmanager
def small_disk(folder: Path, megabytes: int = 32) -> Iterator[SmallDisk]:
    """A disk of so many MB in this folder; skips the test where it may not be mounted."""
    folder.mkdir(parents=True, exist_ok=True)
    size = f"size={megabytes}m"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder], capture_output=True).returncode != 0:
        pytest.skip("this user may not mount a small disk")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
