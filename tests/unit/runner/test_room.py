"""Room for processes in a container."""

import os
from pathlib import Path

import pytest

from services.runner.room import room_for_processes


@pytest.fixture(autouse=True)
def many_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node of 64 cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)


@pytest.mark.parametrize(
    ("cpu", "memory", "room"),
    [
        ("max 100000", "max", 64),
        ("200000 100000", "max", 2),
        ("50000 100000", "max", 1),
        ("max 100000", str(2 << 30), 4),
        ("max 100000", str(64 << 20), 1),
        ("300000 100000", str(64 << 30), 3),
    ],
)
def test_what_a_container_may_use_is_what_counts(tmp_path: Path, cpu: str, memory: str, room: int) -> None:
    (tmp_path / "cpu.max").write_text(f"{cpu}\n")
    (tmp_path / "memory.max").write_text(f"{memory}\n")
    assert room_for_processes(tmp_path) == room


def test_without_control_groups_the_cores_count(tmp_path: Path) -> None:
    assert room_for_processes(tmp_path) == 64
