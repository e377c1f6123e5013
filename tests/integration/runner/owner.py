"""The owner's side of the runner protocol, in memory: sends tasks, records results, answers heartbeats and claims."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from blockyard.block import Block
from blockyard.block.catalogue import describe
from blockyard.graph.v1.block_pb2 import Effect
from blockyard.runner.v1.heartbeat_pb2 import ClaimRequest, ClaimResponse, Heartbeat, Holding, Instruction
from blockyard.runner.v1.result_pb2 import Finish, Outcome, Result, ResultBatch
from blockyard.runner.v1.task_pb2 import Task, TaskBatch

from services.common.bus import RESULTS, Ack, Bus, Delivery, Message

PARTITION = 3
WHY_NOT = "the owner of this test has its reasons"
"""Of a claim that is not granted."""
FINISHED = {Outcome.OUTCOME_COMPLETED, Outcome.OUTCOME_FAILED, Outcome.OUTCOME_RETURNED}


@dataclass(eq=False)
class Recorded:
    """What is known of one run."""

    run_id: int
    values: dict[tuple[str, int], Any] = field(default_factory=dict)
    finish: Finish | None = None
    running: bool = False

    @property
    def complete(self) -> bool:
        """True if the end and all outputs before it are here."""
        return self.finish is not None and len(self.values) >= self.finish.outputs

    def on(self, pin: str) -> list[Any]:
        """The values of a pin, in order."""
        return [value for (name, _), value in sorted(self.values.items()) if name == pin]


@dataclass(eq=False)
class Owner:
    """One owner of one partition."""

    bus: Bus
    name: str = "owner-1"
    execution: bytes = field(default_factory=lambda: uuid.uuid4().bytes)
    numbers: int = 0
    sent: dict[int, Task] = field(default_factory=dict)
    runs: dict[int, dict[int, Recorded]] = field(default_factory=dict)
    """By node execution, then by run."""
    batches: list[ResultBatch] = field(default_factory=list)
    beats: list[Heartbeat] = field(default_factory=list)
    claims: list[ClaimRequest] = field(default_factory=list)
    grants: Callable[[ClaimRequest], bool | None] = lambda _: True
    """True or False is the answer; None is silence."""
    heard_at: float = 0.0
    """time.time() of the last heartbeat."""
    deaf: bool = False
    """Records nothing of what arrives and answers nothing, but takes it off the stream."""
    forgets: bool = True
    """Tells runners what is recorded."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    pool: str = "default"

    def task(self, block: Block, **fields: Any) -> Task:
        """A task for a block, with inputs as keywords."""
        self.numbers += 1
        settings = {name: fields.pop(name) for name in tuple(fields) if name in Task.DESCRIPTOR.fields_by_name}
        task = Task(
            execution_id=self.execution,
            node_execution=self.numbers,
            attempt=1,
            partition=PARTITION,
            owner=self.name,
            block_id=block.id,
            schema_hash=describe(block).schema_hash,
            inputs=json.dumps(fields).encode(),
            timeout_ms=60_000,
            effect=Effect.ValueType(block.effect),
            user_id="anna",
            graph_id="graph",
            graph_version=1,
            node_id=f"node-{self.numbers}",
        )
        task.MergeFrom(Task(**settings))
        self.sent[task.node_execution] = task
        return task

    async def send(self, *tasks: Task, together: bool = False) -> None:
        """Publish tasks, one by one or in one message."""
        batches = [TaskBatch(tasks=tasks)] if together else [TaskBatch(tasks=[task]) for task in tasks]
        answers = await self.bus.publish_all(
            [Message(f"blockyard.task.{self.pool}", batch.SerializeToString()) for batch in batches]
        )
        assert all(isinstance(answer, Ack) for answer in answers), answers

    async def run(self, block: Block, **fields: Any) -> Recorded:
        """Send a task and wait for its end."""
        task = self.task(block, **fields)
        await self.send(task)
        return await self.end_of(task)

    async def end_of(self, task: Task, seconds: float = 30.0) -> Recorded:
        """The first run of a task that is complete."""
        await self.until(lambda: self.ended(task) is not None, f"the end of {task.node_id}", seconds)
        ended = self.ended(task)
        assert ended is not None
        return ended

    def ended(self, task: Task) -> Recorded | None:
        """The first run that is complete, if there is one."""
        return next((run for run in self.runs.get(task.node_execution, {}).values() if run.complete), None)

    async def until(self, condition: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
        """Wait for something that messages bring about."""
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    self.changed.clear()
                    try:
                        async with asyncio.timeout(0.2):
                            await self.changed.wait()
                    except TimeoutError:
                        continue
        except TimeoutError:
            raise AssertionError(f"did not happen in {seconds:g} s: {what}") from None

    async def beats_after(self, condition: Callable[[Heartbeat], bool], what: str) -> Heartbeat:
        """The next heartbeat of which something is true."""
        seen = len(self.beats)
        await self.until(lambda: any(map(condition, self.beats[seen:])), what)
        return next(beat for beat in self.beats[seen:] if condition(beat))

    def instruct(self, runner_id: str, instruction: Instruction) -> None:
        """Tell a runner something."""
        instruction.owner = self.name
        self.bus.publish_now(f"blockyard.runner.{runner_id}", instruction.SerializeToString())

    def drop(self, task: Task) -> None:
        """Tell the runner that was heard last that a task is not wanted."""
        holding = Holding(execution_id=task.execution_id, node_execution=task.node_execution)
        self.instruct(self.beats[-1].runner_id, Instruction(drop=[holding]))

    # -- what comes

    def on_result(self, delivery: Delivery) -> None:
        self.bus.publish_now(delivery.reply, b"+ACK")
        if self.deaf:
            return
        batch = ResultBatch.FromString(delivery.data)
        self.batches.append(batch)
        for result in batch.results:
            self._record(result)
        if self.forgets:
            self.instruct(batch.runner_id, Instruction(recorded_batches=[batch.batch]))
        self.changed.set()

    def _record(self, result: Result) -> None:
        runs = self.runs.setdefault(result.node_execution, {})
        run = runs.setdefault(result.run_id, Recorded(result.run_id))
        for output in result.outputs:
            run.values[(output.pin, output.index)] = json.loads(output.value)
        run.running = run.running or result.running
        if result.HasField("finish"):
            run.finish = result.finish

    def on_heartbeat(self, delivery: Delivery) -> None:
        beat = Heartbeat.FromString(delivery.data)
        self.beats.append(beat)
        self.heard_at = time.time()
        self.changed.set()
        answer = Instruction()
        for holding in beat.holdings:
            run = self.runs.get(holding.node_execution, {}).get(holding.run_id)
            if holding.batch and self.forgets:
                if run is not None and run.complete:
                    answer.recorded.append(holding)
                else:
                    answer.resend_batches.append(holding.batch)
        if not self.deaf:
            self.instruct(beat.runner_id, answer)

    def on_claim(self, delivery: Delivery) -> None:
        request = ClaimRequest.FromString(delivery.data)
        self.claims.append(request)
        self.changed.set()
        granted = self.grants(request)
        if granted is not None:
            self.bus.publish_now(delivery.reply, ClaimResponse(granted=granted, reason=WHY_NOT).SerializeToString())


@asynccontextmanager
async def owning(bus: Bus, **fields: Any) -> AsyncIterator[Owner]:
    """An owner at work."""
    owner = Owner(bus, **fields)
    lost: list[str] = []
    beats = await bus.subscribe("blockyard.heartbeat", owner.on_heartbeat)
    claims = await bus.subscribe(f"blockyard.claim.{PARTITION}", owner.on_claim)
    consumer = bus.push_consumer(
        RESULTS,
        f"partition-{PARTITION}-{time.monotonic_ns()}",
        f"blockyard.result.{PARTITION}",
        owner.on_result,
        on_lost=lost.append,
    )
    async with consumer:
        try:
            yield owner
        finally:
            beats.unsubscribe()
            claims.unsubscribe()
