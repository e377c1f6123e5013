"""What processes hold, as /proc tells it; here of this machine's own."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from blockyard.sandbox.usage import memory_above, threads


@pytest.fixture
def only_this(tmp_path: Path) -> Iterator[int]:
    """A view of /proc in which this process is the only one, beside what is none."""
    (tmp_path / "17").symlink_to("/proc/self")
    (tmp_path / "18").symlink_to("/proc/self/no-such-process")
    (tmp_path / "uptime").symlink_to("/proc/uptime")
    descriptor = os.open(tmp_path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def test_threads_count(only_this: int) -> None:
    before = threads(only_this)
    stop = threading.Event()
    started = [threading.Thread(target=stop.wait) for _ in range(5)]
    for thread in started:
        thread.start()

    try:
        assert threads(only_this) == before + 5
    finally:
        stop.set()
        for thread in started:
            thread.join()


def test_memory_that_is_taken_counts(only_this: int) -> None:
    taken = b"x" * (64 << 20)

    assert memory_above(only_this, len(taken))
    assert not memory_above(only_this, 1 << 40)


def test_view_of_a_sandbox_that_has_ended_is_empty(only_this: int, tmp_path: Path) -> None:
    file = os.open(tmp_path / "uptime", os.O_RDONLY)
    try:
        assert threads(file) == 0
        assert not memory_above(file, 0)
    finally:
        os.close(file)
