"""The driver process of the bare pipeline: takes results, stores two rows for each, publishes the next tasks.

It is asked over NATS to run a workload, and answers with how long that took.
"""

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import asyncpg
import uvloop

from services.common import bus
from services.common.bus import Ack, Bus, Delivery, Message
from tests.bench.raw.messages import (
    PAYLOAD,
    RESULT_SUBJECT,
    RESULTS,
    RUN_SUBJECT,
    TASK_SUBJECT,
    TASKS,
    Step,
    messages_of,
    steps_in,
    stream,
)

SCHEMA = """
CREATE SCHEMA IF NOT EXISTS raw;
CREATE TABLE IF NOT EXISTS raw.facts (run bigint, chain bigint, position bigint, body bytea,
    PRIMARY KEY (run, chain, position));
CREATE TABLE IF NOT EXISTS raw.outcomes (LIKE raw.facts INCLUDING ALL);
"""

# One statement, so one round trip and one transaction, as a turn of the product is.
STORE = """
WITH fact AS (
    INSERT INTO raw.facts SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bytea[])
)
INSERT INTO raw.outcomes SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bytea[])
"""


@dataclass(slots=True, eq=False)
class Driver:
    """Runs workloads, one after the other."""

    bus: Bus
    connection: "asyncpg.Connection[asyncpg.Record]"
    run_number: int = 0
    _arrived: list[Delivery] = field(default_factory=list)
    _came: asyncio.Event = field(default_factory=asyncio.Event)

    def receive(self, delivery: Delivery) -> None:
        """Takes a message of results."""
        self._arrived.append(delivery)
        self._came.set()

    async def run(self, chains: int, length: int) -> tuple[float, list[float]]:
        """Seconds for so many chains of so many steps, all together, and those of each turn."""
        self.run_number += 1
        turns: list[float] = []
        began = last = time.perf_counter()
        async with asyncio.TaskGroup() as sending:
            sending.create_task(self._send([(self.run_number, chain, 1) for chain in range(chains)]))
            left = chains * length
            while left:
                deliveries = await self._next()
                steps = list(steps_in(deliveries))
                await self._store(steps)
                following = [(run, chain, position + 1) for run, chain, position in steps if position < length]
                if following:
                    sending.create_task(self._send(following))
                for delivery in deliveries:
                    self.bus.publish_now(delivery.reply, b"+ACK")
                left -= len(steps)
                last, before = time.perf_counter(), last
                turns.append(last - before)
        return last - began, turns

    async def _next(self) -> list[Delivery]:
        await self._came.wait()
        self._came.clear()
        arrived, self._arrived = self._arrived, []
        return arrived

    async def _store(self, steps: Sequence[Step]) -> None:
        runs, chains, positions = zip(*steps, strict=True)
        await self.connection.execute(STORE, runs, chains, positions, [PAYLOAD] * len(steps))

    async def _send(self, steps: Sequence[Step]) -> None:
        answers = await self.bus.publish_all([Message(TASK_SUBJECT, body) for body in messages_of(steps)])
        if not all(isinstance(answer, Ack) for answer in answers):
            raise RuntimeError(f"tasks were refused: {answers[0]}")


async def main(nats_url: str, postgres_url: str) -> None:
    """Serves requests to run a workload until the process is ended."""
    connection = await asyncpg.connect(postgres_url)
    await connection.execute(SCHEMA)
    async with bus.connect(nats_url, "raw-driver") as over:
        for name, subject in ((TASKS, TASK_SUBJECT), (RESULTS, RESULT_SUBJECT)):
            await over.jetstream.ensure_stream(stream(name, subject))
        driver = Driver(over, connection)
        wanted: asyncio.Queue[Delivery] = asyncio.Queue()
        async with over.push_consumer(RESULTS, "raw-driver", RESULT_SUBJECT, driver.receive, on_lost=_lost):
            await over.subscribe(RUN_SUBJECT, wanted.put_nowait)
            while True:
                request = await wanted.get()
                workload = json.loads(request.data)
                seconds, turns = await driver.run(workload["chains"], workload["length"])
                answer = {"seconds": seconds, "turns": turns}
                over.publish_now(request.reply, json.dumps(answer).encode())


def _lost(why: str) -> None:
    raise RuntimeError(f"the consumer of results was lost: {why}")


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
