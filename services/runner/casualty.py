"""Memory shared between a runner and its supervisor: which run holds the event loop, and which one was killed for it.

Two records of one form. The first is the mark of the step that goes on (its deadline is 0 between steps). When the
supervisor kills the runner it copies the mark into the second, and the next runner tells of that run. The standard
library alone is used here, since the supervisor is to be small.
"""

import mmap
import struct
from dataclasses import dataclass

_RECORD = struct.Struct("<d16sqiiQq")
"""Deadline (monotonic), execution, node execution, attempt, partition, run, outputs said."""
_DEADLINE = struct.Struct("<d")
SECOND = 128
SIZE = 256


@dataclass(frozen=True, slots=True)
class Casualty:
    """A run that the runner was killed for, as far as its owner has to know it."""

    execution_id: bytes
    node_execution: int
    attempt: int
    partition: int
    run_id: int
    outputs: int


class Mark:
    """The runner's side."""

    def __init__(self, memory: mmap.mmap, seconds: float) -> None:
        self._memory = memory
        self._seconds = seconds

    def set(
        self, now: float, execution_id: bytes, number: int, attempt: int, partition: int, run_id: int, outputs: int
    ) -> None:
        """A step of this run begins."""
        deadline = now + self._seconds
        _RECORD.pack_into(self._memory, 0, deadline, execution_id, number, attempt, partition, run_id, outputs)

    def clear(self) -> None:
        """The step has ended."""
        _DEADLINE.pack_into(self._memory, 0, 0.0)

    def take_casualty(self) -> Casualty | None:
        """The run that the last runner was killed for, once."""
        deadline, execution_id, number, attempt, partition, run_id, outputs = _RECORD.unpack_from(self._memory, SECOND)
        if not deadline:
            return None
        _DEADLINE.pack_into(self._memory, SECOND, 0.0)
        return Casualty(execution_id, number, attempt, partition, run_id, outputs)


class Sight:
    """The supervisor's side."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory

    def overdue(self, now: float) -> bool:
        """Whether a step has gone on past its deadline."""
        deadline: float = _DEADLINE.unpack_from(self._memory, 0)[0]
        return 0.0 < deadline < now

    def bury(self) -> None:
        """The runner was killed for the run that is marked: note it for the next runner."""
        self._memory[SECOND : SECOND + _RECORD.size] = self._memory[: _RECORD.size]
        self.reset()

    def reset(self) -> None:
        """No step goes on: the runner is gone."""
        _DEADLINE.pack_into(self._memory, 0, 0.0)
