"""Memory shared between a runner and its supervisor: which run holds the event loop, and which one was killed for it.

There are two records of one form. The first is the mark of the step that goes on (its deadline is 0 between steps).
When the supervisor kills the runner it copies the mark into the second, and the next runner tells of that run. Between
them stands by when the event loop must have turned again, whatever holds it, and how many runs are in threads.
The standard library alone is used here, since the supervisor is to be small.
"""

import mmap
import struct
from dataclasses import dataclass

_RECORD = struct.Struct("<d16sqiiQq")
"""Deadline (monotonic), execution, node execution, attempt, partition, run, outputs said."""
_DEADLINE = struct.Struct("<d")
_COUNT = struct.Struct("<i")
TURN = 64
THREADS = 72
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

    def turned(self, now: float) -> None:
        """The event loop turns; it must do so again before long."""
        _DEADLINE.pack_into(self._memory, TURN, now + self._seconds)

    def stopped(self) -> None:
        """The event loop need not turn any more."""
        _DEADLINE.pack_into(self._memory, TURN, 0.0)

    def in_threads(self, runs: int) -> None:
        """So many runs are in threads: each of them may be what holds the interpreter."""
        _COUNT.pack_into(self._memory, THREADS, runs)

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

    def overdue(self, now: float) -> float:
        """The deadline that has passed, of a step or of the event loop; 0 if there is none."""
        for place in (0, TURN):
            deadline: float = _DEADLINE.unpack_from(self._memory, place)[0]
            if 0.0 < deadline < now:
                return deadline
        return 0.0

    def bury(self) -> None:
        """The runner was killed: the run that is marked, if it is known to be the one, is noted for the next runner."""
        if not _COUNT.unpack_from(self._memory, THREADS)[0]:
            self._memory[SECOND : SECOND + _RECORD.size] = self._memory[: _RECORD.size]
        self.reset()

    def reset(self) -> None:
        """The runner is gone: nothing goes on."""
        _DEADLINE.pack_into(self._memory, 0, 0.0)
        _DEADLINE.pack_into(self._memory, TURN, 0.0)
        _COUNT.pack_into(self._memory, THREADS, 0)
