"""Memory shared between a runner and its supervisor: what is held here, what goes on, and how the last process ended.

The runner marks the step that goes on (its deadline is 0 between steps), by when the event loop must have turned again,
how many runs are in threads, and which runs it holds. When it dies otherwise than in order, the supervisor notes how,
with the step of that moment, and the next process tells of the runs that the dead one held.
The standard library alone is used here, since the supervisor is to be small.
"""

import mmap
import signal
import struct
from dataclasses import dataclass
from enum import Enum, IntEnum, auto

_STEP = struct.Struct("<dqq")
"""Deadline (monotonic), entry of the run, when it began."""
_DEADLINE = struct.Struct("<d")
_COUNT = struct.Struct("<i")
_DEATH = struct.Struct("<iiidqq")
"""What happened, exit code, runs in threads, the step."""
_ENTRY = struct.Struct("<ii16sqiiQq")
"""State, whether it must not be repeated, execution, node execution, attempt, partition, run, when it began."""
_STATE = struct.Struct("<i")
_BEGAN = struct.Struct("<q")
_BEGAN_AT = _ENTRY.size - _BEGAN.size

STEP = 0
TURN = 32
THREADS = 40
WORKS = 44
IN_ORDER = 48
DEATH = 64
TABLE = 128
ENTRIES = 4096
"""Runs held beyond so many have no entry: their owners find them missing when the process dies."""
SIZE = TABLE + ENTRIES * _ENTRY.size
NO_ENTRY = -1

OF_BLOCKS = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGTRAP, signal.SIGSYS}
"""Signals that code brings upon its own process. Others come from elsewhere, from the kernel short of memory too."""


class State(IntEnum):
    """Of an entry."""

    FREE = 0
    WAITS = 1
    RUNS = 2
    IN_THREAD = 3


class Part(Enum):
    """What a run had to do with the end of its process."""

    CAUSE = auto()
    """It alone can have brought it about."""
    BEGUN = auto()
    WAITING = auto()


@dataclass(frozen=True, slots=True)
class Death:
    """How a process ended."""

    code: int
    """Its exit code; negative, the signal that killed it."""
    hung: bool = False
    """The supervisor killed it."""

    @property
    def by_itself(self) -> bool:
        """Whether code in the process ended it."""
        return self.code >= 0 or -self.code in OF_BLOCKS

    def __str__(self) -> str:
        if self.code >= 0:
            return f"ended with exit code {self.code}"
        try:
            return f"was killed by signal {-self.code} ({signal.Signals(-self.code).name})"
        except ValueError:
            return f"was killed by signal {-self.code}"


@dataclass(frozen=True, slots=True)
class Step:
    """What went on in the event loop."""

    entry: int
    started_ms: int


@dataclass(frozen=True, slots=True)
class Casualty:
    """A run that a dead process held, as far as its owner has to know it."""

    part: Part
    once: bool
    execution_id: bytes
    node_execution: int
    attempt: int
    partition: int
    run_id: int
    started_ms: int


class HeldRuns:
    """The runner's table of what it holds."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory
        self._memory[TABLE:SIZE] = bytes(SIZE - TABLE)
        self._free = list(range(ENTRIES))[::-1]

    def add(self, once: bool, execution_id: bytes, number: int, attempt: int, partition: int, run_id: int) -> int:
        """A run has come; answers its entry."""
        if not self._free or len(execution_id) != 16:
            return NO_ENTRY
        entry = self._free.pop()
        fields = (State.WAITS, once, execution_id, number, attempt, partition, run_id, 0)
        _ENTRY.pack_into(self._memory, _place(entry), *fields)
        return entry

    def begins(self, entry: int, state: State, started_ms: int) -> None:
        """The run of this entry begins."""
        if entry != NO_ENTRY:
            _BEGAN.pack_into(self._memory, _place(entry) + _BEGAN_AT, started_ms)
            _STATE.pack_into(self._memory, _place(entry), state)

    def remove(self, entry: int) -> None:
        """Nothing of its run is needed any more: its result is recorded, or not wanted."""
        if entry != NO_ENTRY:
            _STATE.pack_into(self._memory, _place(entry), State.FREE)
            self._free.append(entry)


class Mark:
    """The runner's side of what goes on."""

    def __init__(self, memory: mmap.mmap, seconds: float) -> None:
        self._memory = memory
        self._seconds = seconds

    def set(self, now: float, entry: int, started_ms: int) -> None:
        """A step of this run begins."""
        _STEP.pack_into(self._memory, STEP, now + self._seconds, entry, started_ms)

    def clear(self) -> None:
        """The step has ended."""
        _DEADLINE.pack_into(self._memory, STEP, 0.0)

    def turned(self, now: float) -> None:
        """The event loop turns; it must do so again before long."""
        _DEADLINE.pack_into(self._memory, TURN, now + self._seconds)

    def stopped(self) -> None:
        """The event loop need not turn any more."""
        _DEADLINE.pack_into(self._memory, TURN, 0.0)

    def in_threads(self, runs: int) -> None:
        """So many runs are in threads: each of them may be what holds the interpreter."""
        _COUNT.pack_into(self._memory, THREADS, runs)


def take_over(memory: mmap.mmap) -> tuple[Death, list[Casualty]] | None:
    """How the last process ended and what it held, once; None if it ended in order. From now on this one works."""
    happened, code, threads, deadline, step, began = _DEATH.unpack_from(memory, DEATH)
    _DEATH.pack_into(memory, DEATH, 0, 0, 0, 0.0, 0, 0)
    _COUNT.pack_into(memory, WORKS, 1)
    if not happened:
        return None
    death = Death(code, hung=happened == _HUNG)
    going_on = Step(step, began) if deadline else None
    return death, _casualties(memory, death, threads, going_on)


def ends_in_order(memory: mmap.mmap) -> None:
    """The process ends as it was written to, whatever its exit code: no block has ended it."""
    _COUNT.pack_into(memory, IN_ORDER, 1)


_DIED, _HUNG = 1, 2


def _casualties(memory: mmap.mmap, death: Death, threads: int, step: Step | None) -> list[Casualty]:
    entries = {entry: _ENTRY.unpack_from(memory, _place(entry)) for entry in range(ENTRIES)}
    held = {entry: fields for entry, fields in entries.items() if fields[0] != State.FREE}
    cause = _cause(death, threads, step, [entry for entry, fields in held.items() if fields[0] == State.IN_THREAD])
    casualties = []
    for entry, (state, once, execution_id, number, attempt, partition, run_id, started_ms) in held.items():
        began, begun = started_ms, state != State.WAITS
        if step is not None and entry == step.entry:
            began, begun = step.started_ms, True
        part = Part.CAUSE if entry == cause else Part.BEGUN if begun else Part.WAITING
        casualties.append(Casualty(part, bool(once), execution_id, number, attempt, partition, run_id, began))
    return casualties


def _cause(death: Death, threads: int, step: Step | None, in_threads: list[int]) -> int:
    """The entry of the run that brought the end about; none while another one may have done it."""
    if step is not None and not threads and (death.hung or death.by_itself):
        return step.entry
    # A thread that was given up counts among the threads and has no entry any more.
    if step is None and death.by_itself and threads == len(in_threads) == 1:
        return in_threads[0]
    return NO_ENTRY


def _place(entry: int) -> int:
    return TABLE + entry * _ENTRY.size


class Sight:
    """The supervisor's side."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory

    def overdue(self, now: float) -> float:
        """The deadline that has passed, of a step or of the event loop; 0 if there is none."""
        for place in (STEP, TURN):
            deadline: float = _DEADLINE.unpack_from(self._memory, place)[0]
            if 0.0 < deadline < now:
                return deadline
        return 0.0

    @property
    def in_order(self) -> bool:
        """Whether the runner ended as it was written to."""
        return bool(_COUNT.unpack_from(self._memory, IN_ORDER)[0])

    @property
    def worked(self) -> bool:
        """Whether the runner has come so far as to work, and held something when it ended."""
        if not _COUNT.unpack_from(self._memory, WORKS)[0]:
            return False
        states = (_STATE.unpack_from(self._memory, _place(entry))[0] for entry in range(ENTRIES))
        return any(state != State.FREE for state in states)

    def bury(self, code: int, hung: bool) -> None:
        """The runner died: how it did is noted for the next one. What never worked leaves the last note as it is."""
        if _COUNT.unpack_from(self._memory, WORKS)[0]:
            threads = _COUNT.unpack_from(self._memory, THREADS)[0]
            step = _STEP.unpack_from(self._memory, STEP)
            _DEATH.pack_into(self._memory, DEATH, _HUNG if hung else _DIED, code, threads, *step)
        self.reset()

    def reset(self) -> None:
        """The runner is gone: nothing goes on."""
        self._memory[:DEATH] = bytes(DEATH)
