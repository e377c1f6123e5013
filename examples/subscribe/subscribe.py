"""Prints every event of your executions, whatever happens to NATS, the services or this program.

    python examples/subscribe/subscribe.py [CHECKPOINT_FILE]

It takes messages from NATS as `subscriber.developer` of the stack of `blockyard dev`, or as BLOCKYARD_NATS_URL says;
BLOCKYARD_USER is whose events. What it has printed stands in the checkpoint: started again, it goes on behind it.
"""

import asyncio
import os
import sys

import blockyard
from blockyard.events import Event
from blockyard.subscriber import FileCheckpoint, Subscriber, find_nats_url


async def handle(event: Event) -> None:
    """Your reaction. An event comes again if the program dies before the checkpoint has it."""
    print(event.execution_id, event.sequence, event.kind.name, flush=True)


async def main(checkpoint: str) -> None:
    """Runs until Ctrl-C."""
    user = os.environ.get("BLOCKYARD_USER", "developer")
    async with blockyard.connect() as client:
        subscriber = Subscriber(client, find_nats_url(), user, FileCheckpoint(checkpoint), name="example-python")
        await subscriber.run(handle)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "events.json"))
