"""A runner that speaks the protocol with plain functions as blocks, and misbehaves when a test tells it to."""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from blockyard.common.v1.errors_pb2 import NodeErrorReason
from blockyard.graph.v1.block_pb2 import Effect
from blockyard.runner.v1.heartbeat_pb2 import ClaimRequest, ClaimResponse, Heartbeat, Holding, Instruction
from blockyard.runner.v1.result_pb2 import Finish, Outcome, Output, Result, ResultBatch
from blockyard.runner.v1.task_pb2 import Task, TaskBatch

from services.common.bus import TASKS, Bus, BusError, Delivery, Message, PullConsumer

Block = Callable[[dict[str, Any], Task], Iterator[tuple[str, Any]]]


COST = "cost"
"""On this pin a block says what its run costs, as a runner measures it."""


class Silent(Exception):
    """A block raises it to have nothing said of its run: as if the runner had died with it."""


class Held(Exception):
    """A block raises it to have the run go on until the test ends it."""


@dataclass(eq=False)
class ProtocolRunner:
    """Pulls, runs, reports, keeps results until they are recorded."""

    bus: Bus
    blocks: dict[str, Block]
    pool: str = "default"
    slots: int = 16
    heartbeat_seconds: float = 0.2
    runner_id: str = field(default_factory=lambda: f"runner-{secrets.token_hex(4)}")
    ran: list[Task] = field(default_factory=list)
    kept: dict[int, ResultBatch] = field(default_factory=dict)
    held: dict[tuple[bytes, int], Task] = field(default_factory=dict)
    dropped: list[tuple[bytes, int]] = field(default_factory=list)
    deaf: bool = False
    """Takes no instructions: keeps all results."""
    batches: int = 0
    beats: int = 0

    async def run(self) -> None:
        consumer = PullConsumer(self.bus, TASKS, f"pool-{self.pool}", f"blockyard.task.{self.pool}")
        subscriptions = [
            await self.bus.subscribe(f"blockyard.runner.{told}", self._instructed) for told in (self.runner_id, "all")
        ]
        beating = asyncio.create_task(self._beat())
        try:
            while True:
                deliveries = await consumer.fetch(self.slots, 1.0)
                consumer.ack_all(deliveries)
                for delivery in deliveries:
                    for task in TaskBatch.FromString(delivery.data).tasks:
                        self.ran.append(task)
                        await self._run(task)
        finally:
            beating.cancel()
            for subscription in subscriptions:
                subscription.unsubscribe()
            await consumer.close()

    async def _run(self, task: Task) -> None:
        run_id = secrets.randbits(64)
        if task.effect == Effect.EFFECT_ONCE and not await self._claim(task, run_id):
            return
        outputs: list[Output] = []
        counts: dict[str, int] = {}
        finish = Finish(outcome=Outcome.OUTCOME_COMPLETED)
        try:
            for pin, value in self.blocks[task.block_id](json.loads(task.inputs), task):
                if pin == COST:
                    finish.stats = json.dumps({COST: value}).encode()
                    continue
                at = counts.get(pin, 0)
                counts[pin] = at + 1
                # Bytes are sent as they are, whether JSON or not.
                encoded = value if isinstance(value, bytes) else json.dumps(value).encode()
                outputs.append(Output(pin=pin, index=at, value=encoded))
        except Silent:
            return
        except Held:
            self.held[(task.execution_id, task.node_execution)] = task
            await self.say(task, run_id, running=True)
            return
        except Exception as error:  # noqa: BLE001  # a block's error of any kind is its outcome
            finish = Finish(
                outcome=Outcome.OUTCOME_FAILED, error=str(error), reason=NodeErrorReason.NODE_ERROR_REASON_BLOCK_ERROR
            )
        await self.say(task, run_id, outputs, finish)

    async def _claim(self, task: Task, run_id: int) -> bool:
        run = self._holding(task, run_id)
        request = ClaimRequest(runner_id=self.runner_id, run=run).SerializeToString()
        while True:
            try:
                answer = await self.bus.request(f"blockyard.claim.{task.partition}", request, 2.0)
                return ClaimResponse.FromString(answer.data).granted
            except BusError:
                continue

    async def say(
        self,
        task: Task,
        run_id: int,
        outputs: list[Output] | None = None,
        finish: Finish | None = None,
        running: bool = False,
    ) -> None:
        """Sends a result in a batch of its own and keeps it."""
        self.batches += 1
        if finish is not None:
            finish.outputs = finish.outputs or len(outputs or ())
        result = Result(
            execution_id=task.execution_id,
            node_execution=task.node_execution,
            attempt=task.attempt,
            partition=task.partition,
            run_id=run_id,
            outputs=outputs or [],
            finish=finish,
            running=running,
            started_ms=int(time.time() * 1000),
        )
        batch = ResultBatch(runner_id=self.runner_id, batch=self.batches, pool=self.pool, results=[result])
        self.kept[batch.batch] = batch
        await self.send(batch)

    async def send(self, batch: ResultBatch) -> None:
        """Publishes a batch, again if need be."""
        message = Message(f"blockyard.result.{batch.results[0].partition}", batch.SerializeToString())
        await self.bus.publish_all([message])

    def _holding(self, task: Task | Result, run_id: int, batch: int = 0) -> Holding:
        return Holding(
            execution_id=task.execution_id,
            node_execution=task.node_execution,
            attempt=task.attempt,
            partition=task.partition,
            run_id=run_id,
            batch=batch,
        )

    async def _beat(self) -> None:
        while True:
            self.beat()
            await asyncio.sleep(self.heartbeat_seconds)

    def beat(self) -> None:
        """Tells of what it holds."""
        self.beats += 1
        holdings = [
            self._holding(result, result.run_id, number if result.HasField("finish") else 0)
            for number, batch in self.kept.items()
            for result in batch.results
            if result.HasField("finish")
        ]
        holdings += [self._holding(task, 1) for task in self.held.values()]
        beat = Heartbeat(
            runner_id=self.runner_id,
            pool=self.pool,
            slots=self.slots,
            free_slots=self.slots,
            number=self.beats,
            holdings=holdings,
        )
        self.bus.publish_now("blockyard.heartbeat", beat.SerializeToString())

    def _instructed(self, delivery: Delivery) -> None:
        if self.deaf:
            return
        told = Instruction.FromString(delivery.data)
        for number in told.recorded_batches:
            self.kept.pop(number, None)
        for holding in told.recorded:
            self.kept.pop(holding.batch, None)
        for holding in told.drop:
            place = (holding.execution_id, holding.node_execution)
            self.held.pop(place, None)
            self.dropped.append(place)
        for number in told.resend_batches:
            if number in self.kept:
                batch = self.kept[number]
                self.bus.publish_now(f"blockyard.result.{batch.results[0].partition}", batch.SerializeToString())
        if told.beat:
            self.beat()


@asynccontextmanager
async def running(bus: Bus, blocks: dict[str, Block], **settings: Any) -> AsyncIterator[ProtocolRunner]:
    """A runner that works until the block is left, and dies without a word then."""
    runner = ProtocolRunner(bus, blocks, **settings)
    task = asyncio.create_task(runner.run())
    try:
        yield runner
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()
