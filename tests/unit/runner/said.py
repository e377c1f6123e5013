"""Runs and an outbox without a bus, for tests of what is said and kept."""

import mmap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blockyard.runner.v1.result_pb2 import ResultBatch
from blockyard.runner.v1.task_pb2 import Task

from services.runner.casualty import SIZE, HeldRuns
from services.runner.kept import Kept
from services.runner.metrics import RunMetrics
from services.runner.outbox import Outbox
from services.runner.runs import Run
from services.runner.spill import SpillFile

EXECUTION = bytes(range(16))


def a_run(number: int = 1, owner: str = "owner-1", partition: int = 3, **fields: Any) -> Run:
    """A run that has begun."""
    task = Task(execution_id=EXECUTION, node_execution=number, attempt=1, partition=partition, owner=owner, **fields)
    run = Run(task, None, (EXECUTION, number))
    run.begin()
    return run


@dataclass(eq=False)
class Desk:
    """An outbox, what it keeps, and the numbers of what it sent."""

    kept: Kept
    outbox: Outbox
    sent: list[int] = field(default_factory=list)

    def batch(self, number: int) -> ResultBatch:
        """A batch as it is published."""
        message = self.kept.message(number)
        assert message is not None
        return ResultBatch.FromString(message.payload)


def a_desk(folder: Path, memory: int = 1 << 20, spilled: int = 1 << 20, runs: int = 1000, streamed: int = 1000) -> Desk:
    """With these bounds."""
    table = HeldRuns(mmap.mmap(-1, SIZE))
    kept = Kept("runner-1", SpillFile(folder, spilled), table, memory, runs, streamed)
    sent: list[int] = []
    return Desk(kept, Outbox("runner-1", "default", kept, sent.append, RunMetrics()), sent)
