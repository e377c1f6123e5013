"""The runner process of the bare pipeline: each message of tasks becomes a message of results."""

import asyncio
import sys

import uvloop

from services.common import bus
from services.common.bus import Ack, Bus, Delivery, Message, PullConsumer
from tests.bench.raw.messages import RESULT_SUBJECT, TASK_SUBJECT, TASKS

FETCH = 256
WAIT_SECONDS = 5.0


async def main(nats_url: str) -> None:
    """Answers tasks until the process is ended."""
    async with bus.connect(nats_url, "raw-runner") as connection, asyncio.TaskGroup() as group:
        consumer = PullConsumer(connection, TASKS, "raw-runner", TASK_SUBJECT)
        while True:
            deliveries = await consumer.fetch(FETCH, WAIT_SECONDS)
            if deliveries:
                group.create_task(_answer(connection, consumer, deliveries))


async def _answer(connection: Bus, consumer: PullConsumer, deliveries: list[Delivery]) -> None:
    answers = await connection.publish_all([Message(RESULT_SUBJECT, delivery.data) for delivery in deliveries])
    if not all(isinstance(answer, Ack) for answer in answers):
        raise RuntimeError(f"results were refused: {answers[0]}")
    consumer.ack_all(deliveries)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
