"""What runners are told: which results are recorded, which runs are in vain."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from blockyard.runner.v1.heartbeat_pb2 import Instruction

from services.common.bus import Bus
from services.execution.live import Live, Receipt

RECORDED_PAUSE = 0.02
"""Seconds for which recorded results are gathered before their runners are told."""

ALL = "all"
"""In place of a runner's id, which begins with its pool and a dash."""

TOLD_TO_ALL = 200
"""Runs, and runners, at most, when it is not known who holds what; for the rest their heartbeats are waited for."""


@dataclass(slots=True, eq=False)
class Instructions:
    """Sent once, by a plain subject: the answers to heartbeats repeat what got lost."""

    bus: Bus
    replica_id: str
    _recorded: dict[str, Instruction] = field(default_factory=dict)
    """By runner: which of its results are recorded and not yet told to be."""

    def new(self) -> Instruction:
        """One that says nothing yet."""
        return Instruction(owner=self.replica_id)

    def send(self, runner_id: str, instruction: Instruction) -> None:
        """Tells a runner something."""
        self.bus.publish_now(f"blockyard.runner.{runner_id}", instruction.SerializeToString())

    def call_the_roll(self) -> None:
        """Has every runner send a heartbeat at once."""
        told = self.new()
        told.beat = True
        self.send(ALL, told)

    def drop(self, runner_id: str, live: Live, number: int) -> None:
        """Nobody wants this node execution's run any more."""
        told = self.new()
        told.drop.add(execution_id=live.key, node_execution=number, partition=live.partition)
        self.send(runner_id, told)

    def drop_anywhere(self, runner_ids: Sequence[str], live: Live, numbers: Sequence[int]) -> None:
        """As drop, of runs of which no heartbeat has told yet who holds them; the next ones tell of what is left."""
        told = self.new()
        for number in numbers[:TOLD_TO_ALL]:
            told.drop.add(execution_id=live.key, node_execution=number, partition=live.partition)
        for runner_id in runner_ids[:TOLD_TO_ALL]:
            self.send(runner_id, told)

    def recorded(self, receipt: Receipt) -> None:
        """The runner may forget these results; nothing waits for that, so many turns are told together."""
        if not self._recorded:
            asyncio.get_running_loop().call_later(RECORDED_PAUSE, self._tell_recorded)
        told = self._recorded.get(receipt.runner_id)
        if told is None:
            told = self._recorded[receipt.runner_id] = self.new()
        told.recorded_batches.append(receipt.batch)

    def _tell_recorded(self) -> None:
        recorded, self._recorded = self._recorded, {}
        for runner_id, instruction in recorded.items():
            self.send(runner_id, instruction)
