"""A file for results that memory has no room for. It has no name, so it goes with the process."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Spilled:
    """Where in the file something is."""

    offset: int
    size: int


class SpillFile:
    """Written at its end, read anywhere, and emptied whenever all of it was removed."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._descriptor: int | None = None
        self._end = 0
        self._entries = 0

    @property
    def full(self) -> bool:
        """Whether the file has reached its bound; one that may hold nothing says nothing of how much is kept.

        What is removed gives room once the file is empty.
        """
        return 0 < self._max_bytes <= self._end

    def put(self, data: bytes) -> Spilled | None:
        """Write; None if the disk or the bound does not allow it."""
        if self._end + len(data) > self._max_bytes:
            return None
        try:
            if self._descriptor is None:
                with tempfile.TemporaryFile(dir=self._folder) as file:
                    self._descriptor = os.dup(file.fileno())
            written = 0
            while written < len(data):
                written += os.pwrite(self._descriptor, data[written:], self._end + written)
        except OSError:
            return None
        place = Spilled(self._end, len(data))
        self._end += len(data)
        self._entries += 1
        return place

    def get(self, place: Spilled) -> bytes:
        """Read."""
        assert self._descriptor is not None
        return os.pread(self._descriptor, place.size, place.offset)

    def remove(self) -> None:
        """One of the entries is not needed any more."""
        self._entries -= 1
        if self._entries == 0 and self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            self._end = 0

    def close(self) -> None:
        """Give the file up."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
