"""The consumers of RESULTS, one for each partition held here, named by its epoch (rule 24)."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import structlog
from blockyard.runner.v1.result_pb2 import Result, ResultBatch
from google.protobuf.message import DecodeError

from services.common.bus import RESULTS, Ack, Bus, BusError, Delivery, Message
from services.execution import intake
from services.execution.background import Background
from services.execution.driver import Driver
from services.execution.engine.plan import Reason
from services.execution.leases import Leases
from services.execution.live import Receipt
from services.execution.records import PartitionLease
from services.execution.streams import CONSUMER, consumer_of

log = structlog.get_logger()

PENDING = 1_024
"""Messages of a partition that are delivered and not acknowledged, at most."""

HEAD_SECONDS = 10.0
"""Longest time that timers wait for the results of before a take-over."""


@dataclass(slots=True, eq=False)
class Results:
    """Takes results in for a driver."""

    bus: Bus
    driver: Driver
    leases: Leases
    handed_back: Callable[[bytes, int, int, str, Reason], None]
    """(execution, number, attempt, why, reason): a runner gave a task back."""
    stream_lost: Callable[[], Awaitable[None]]
    background: Background
    _open: dict[int, AsyncExitStack] = field(default_factory=dict)

    async def open(self, lease: PartitionLease) -> None:
        """Begins to take a partition's results: unacknowledged ones of its last owner come at once."""
        await self.close([lease.partition])
        await self.bus.delete_consumers(RESULTS, f"{CONSUMER}{lease.partition}-")
        stack = AsyncExitStack()
        self._open[lease.partition] = stack
        name = consumer_of(lease.partition, lease.epoch)
        await stack.enter_async_context(
            self.bus.push_consumer(
                RESULTS,
                name,
                f"blockyard.result.{lease.partition}",
                self._receive,
                on_lost=lambda why: self._reopen_later(lease, why),
                max_ack_pending=PENDING,
            )
        )
        self.background.start(self._wait_for_head(lease, name), "wait for the head of results")

    async def close(self, partitions: Iterable[int]) -> None:
        """Takes no more results of these partitions."""
        stacks = [self._open.pop(partition) for partition in partitions if partition in self._open]
        async with asyncio.TaskGroup() as closing:
            for stack in stacks:
                closing.create_task(stack.aclose())

    async def close_all(self) -> None:
        """Takes no more results."""
        await self.close(list(self._open))

    def _reopen_later(self, lease: PartitionLease, why: str) -> None:
        self.background.start(self._reopen(lease, why), "reopen results")

    async def _reopen(self, lease: PartitionLease, why: str) -> None:
        log.warning("a consumer of results was lost", partition=lease.partition, why=why)
        while self.leases.held.get(lease.partition) == lease:
            try:
                await self.stream_lost()
                await self.close([lease.partition])
                await self.open(lease)
                return
            except BusError as error:
                log.warning("results cannot be taken", partition=lease.partition, error=str(error))
                await asyncio.sleep(1.0)

    def _receive(self, delivery: Delivery) -> None:
        try:
            batch = ResultBatch.FromString(delivery.data)
        except DecodeError:
            log.error("a message of results cannot be read", subject=delivery.subject, bytes=len(delivery.data))
            self._answer(delivery, b"+ACK")
            return
        own, foreign = intake.split(batch, self.leases.held.__contains__)
        if not own and not foreign:
            self._answer(delivery, b"+ACK")
            return
        # Who records a part of a batch must not say that all of it is recorded.
        number = 0 if foreign else batch.batch
        receipt = Receipt(
            acknowledge=lambda: self._answer(delivery, b"+ACK"),
            hand_back=lambda: self._answer(delivery, b"-NAK"),
            hand_back_later=lambda seconds: self._answer(delivery, b'-NAK {"delay": %d}' % int(seconds * 1e9)),
            runner_id=batch.runner_id,
            batch=number,
            remaining=len(own) + bool(foreign),
        )
        for result in own:
            if intake.handed_back(result):
                end = result.finish
                self.handed_back(
                    result.execution_id, result.node_execution, result.attempt, end.error, intake.reason(end.reason)
                )
                self.driver.settle([intake.void(result, receipt)])
            else:
                self.driver.arrive(intake.arrival(result, receipt))
        if foreign:
            self.background.start(self._pass_on(batch, foreign, receipt), "pass results on")

    def _answer(self, delivery: Delivery, word: bytes) -> None:
        self.bus.publish_now(delivery.reply, word)

    async def _pass_on(self, batch: ResultBatch, foreign: list[Result], receipt: Receipt) -> None:
        messages = [
            Message(f"blockyard.result.{partition}", part.SerializeToString())
            for partition, part in intake.foreign_batches(batch, foreign)
        ]
        answers = await self.bus.publish_all(messages)
        if all(isinstance(answer, Ack) for answer in answers):
            self.driver.settle([intake.void(foreign[0], receipt)])
        else:
            receipt.hand_back()

    async def _wait_for_head(self, lease: PartitionLease, name: str) -> None:
        """Timers of a partition fire when all results of before the take-over have come."""
        try:
            async with asyncio.timeout(HEAD_SECONDS):
                while True:
                    info = await self.bus.consumer_info(RESULTS, name)
                    if info is None or info.num_pending == 0:
                        break
                    await asyncio.sleep(0.05)
        except (TimeoutError, BusError) as error:
            log.warning("the head of the results was not reached", partition=lease.partition, error=repr(error))
        await self.driver.caught_up()
        self.driver.catching_up.discard(lease.partition)
        for live in list(self.driver.live.values()):
            if live.partition == lease.partition:
                self.driver.look_at_timer(live)
