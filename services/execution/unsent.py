"""Tasks that wait to be sent where a partition is given up: the next owner sends them, and need not miss them first.

Of all other tasks that rows have as queued a new owner takes for granted that they are out, and finds in time that no
runner has them (rule 5). Only who gives a partition up in order can say which are not.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec
import structlog

from services.execution.live import Live
from services.execution.records import PartitionLease

log = structlog.get_logger()


class Said(msgspec.Struct, array_like=True):
    """As the row of a partition has it."""

    epoch: int
    """Of the owner that says it: only the next one may believe it."""
    tasks: list[tuple[bytes, int, int]]
    """(execution, number, attempt)"""


@dataclass(slots=True, eq=False)
class Unsent:
    """What the owners before have said of executions that have not been loaded since."""

    _tasks: dict[int, dict[bytes, dict[int, int]]] = field(default_factory=dict)
    """Attempts by partition, execution and number."""

    def take(self, lease: PartitionLease) -> None:
        """A partition was taken."""
        if lease.unsent is None:
            return
        try:
            said = msgspec.msgpack.decode(lease.unsent, type=Said)
        except msgspec.DecodeError as error:
            log.warning("tasks that were not sent are found later", partition=lease.partition, error=str(error))
            return
        if said.epoch == lease.epoch - 1:
            executions = self._tasks.setdefault(lease.partition, {})
            for key, number, attempt in said.tasks:
                executions.setdefault(key, {})[number] = attempt

    def of(self, live: Live) -> Mapping[int, int]:
        """Attempts by number, of an execution that is loaded now: from here on its tasks may be out."""
        return self._tasks.get(live.partition, {}).pop(live.key, {})

    def give_up(self, lease: PartitionLease, waiting: Iterable[tuple[bytes, int, int]]) -> bytes | None:
        """What the row of a partition is to have: what waits of executions in memory, and what nobody has loaded."""
        tasks = [
            (key, number, attempt)
            for key, attempts in self._tasks.pop(lease.partition, {}).items()
            for number, attempt in attempts.items()
        ]
        tasks.extend(waiting)
        return msgspec.msgpack.encode(Said(lease.epoch, tasks)) if tasks else None
