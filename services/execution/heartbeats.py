"""Answers heartbeats: whether a run that a runner holds is recorded, unwanted, or to be told again (rule 4)."""

import asyncio
from dataclasses import dataclass, field
from uuid import UUID

import structlog
from blockyard.runner.v1.heartbeat_pb2 import Heartbeat, Holding, Instruction

from services.common.database import TROUBLE
from services.execution.driver import Driver
from services.execution.engine.plan import Effect
from services.execution.engine.state import LiveStatus
from services.execution.instructions import Instructions
from services.execution.intake import ID_BYTES
from services.execution.leases import Leases
from services.execution.live import Live
from services.execution.repository.turns import TurnRepository
from services.execution.runners import Runners
from services.execution.sending import TaskSender

log = structlog.get_logger()

MOST_UNKNOWN = 10_000
"""Holdings of executions that are not in memory, looked up at most at once."""


def wants_run(live: Live, holding: Holding) -> bool:
    """Whether a node execution wants what a run of it may still have to say."""
    state = live.machine.state
    execution = state.live.get(holding.node_execution)
    if (
        execution is None
        or state.ending
        or execution.attempt != holding.attempt
        or execution.status not in (LiveStatus.QUEUED, LiveStatus.RUNNING, LiveStatus.AMBIGUOUS)
    ):
        return False
    if holding.run_id and execution.claimed_run:
        once = live.machine.topology.plan.nodes[execution.node].effect is Effect.ONCE
        return not once or execution.claimed_run == holding.run_id
    return True


@dataclass(slots=True, eq=False)
class Heartbeats:
    """One replica's answers."""

    driver: Driver
    leases: Leases
    turns: TurnRepository
    runners: Runners
    sender: TaskSender
    instructions: Instructions
    busy_backlog: int
    """With more arrivals than this waiting, results that were sent are on their way: none is asked for again."""
    _unknown: list[tuple[str, Holding]] = field(default_factory=list)
    _work: asyncio.Event = field(default_factory=asyncio.Event)

    def hear(self, data: bytes) -> None:
        """Takes a heartbeat and answers for the executions in memory; others are looked up."""
        heartbeat = Heartbeat.FromString(data)
        driver = self.driver
        self.runners.hear(heartbeat, asyncio.get_running_loop().time())
        answer = self.instructions.new()
        held = self.leases.held
        for holding in heartbeat.holdings:
            if holding.partition not in held or len(holding.execution_id) != ID_BYTES:
                continue
            if driver.is_uncommitted(holding.execution_id):
                # The next heartbeat asks again.
                continue
            if holding.execution_id in driver.live:
                self._judge(answer, holding)
            elif len(self._unknown) < MOST_UNKNOWN:
                self._unknown.append((heartbeat.runner_id, holding))
                self._work.set()
        if answer.ByteSize() > len(answer.owner) + 2:
            self.instructions.send(heartbeat.runner_id, answer)
        # Slots may have come or gone.
        self.sender.send()

    def _judge(self, answer: Instruction, holding: Holding) -> None:
        wanted = wants_run(self.driver.live[holding.execution_id], holding)
        if holding.batch:
            if not wanted:
                answer.recorded.append(holding)
            elif self.driver.backlog <= self.busy_backlog:
                answer.resend_batches.append(holding.batch)
        elif not wanted:
            answer.drop.append(holding)

    async def look_up(self) -> None:
        """Judges holdings of executions that are not in memory, until it is cancelled."""
        while True:
            await self._work.wait()
            self._work.clear()
            unknown, self._unknown = self._unknown, []
            try:
                await self._look_up(unknown)
            except TROUBLE as error:
                # The next heartbeat asks again.
                log.warning("holdings cannot be looked up", error=repr(error))

    async def _look_up(self, unknown: list[tuple[str, Holding]]) -> None:
        keys = {holding.execution_id for _, holding in unknown}
        alive = await self.turns.unended([UUID(bytes=key) for key in keys])
        answers: dict[str, Instruction] = {}
        for runner_id, holding in unknown:
            if UUID(bytes=holding.execution_id) in alive:
                # The sweep or its own result brings it into memory; it is judged then.
                continue
            answer = answers.setdefault(runner_id, self.instructions.new())
            (answer.recorded if holding.batch else answer.drop).append(holding)
        for runner_id, answer in answers.items():
            self.instructions.send(runner_id, answer)
