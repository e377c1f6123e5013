"""`python -m tests.bench.audience KIND COUNT`: so many subscribers of one kind in a process of their own.

It says "ready" when all are subscribed. For each line of its input, a JSON object with the number of events of each
execution, it says when all have heard all of them, in seconds since 1970. When its input ends it says what they heard:
a JSON list of [execution, sequence, seconds since 1970], one for each event and subscriber. AUDIENCE_ADDRESS and
AUDIENCE_TOKEN say where and as whom.
"""

import asyncio
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import blockyard
import nats
import uvloop
from aiohttp import web
from blockyard.client import Client
from blockyard.connection import Connection
from blockyard.dev.tokens import DEVELOPER
from blockyard.event.v1.event_pb2 import EventBatch
from blockyard.events import Event
from blockyard.subscriber import Subscriber, find_nats_url
from nats.aio.msg import Msg

from tests.chaos.subscriber import WAYS, WEBHOOK

READY_SECONDS = 120.0
NATS = "nats"


@dataclass(slots=True, eq=False)
class Hearing:
    """What all subscribers together have heard, and how much of it is of which execution."""

    heard: list[tuple[str, int, float]] = field(default_factory=list)
    """One for each event and listener."""
    _known: set[tuple[int, str, int]] = field(default_factory=set)
    """The same, to tell what comes again."""
    _counts: Counter[str] = field(default_factory=Counter)
    _lacking: dict[str, int] = field(default_factory=dict)
    _all_there: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, listener: int, execution_id: str, sequence: int) -> None:
        """One of them heard an event. It may come to the same one again, and counts once."""
        one = (listener, execution_id, sequence)
        if one in self._known:
            return
        self._known.add(one)
        self.heard.append((execution_id, sequence, time.time()))
        self._counts[execution_id] += 1
        if execution_id in self._lacking:
            self._lacking[execution_id] -= 1
            if not self._lacking[execution_id]:
                del self._lacking[execution_id]
                if not self._lacking:
                    self._all_there.set()

    async def until_heard(self, lengths: Mapping[str, int], listeners: int) -> float:
        """When the last event of these executions was heard; waits until so many listeners have heard all of them."""
        lacking = {one: listeners * length - self._counts[one] for one, length in lengths.items()}
        self._lacking = {one: count for one, count in lacking.items() if count > 0}
        self._all_there.clear()
        if self._lacking:
            await self._all_there.wait()
        return max(moment for execution_id, _, moment in self.heard if execution_id in lengths)


@dataclass(slots=True, eq=False)
class Listener:
    """One subscriber, as tests.chaos.subscriber wants it."""

    hearing: Hearing
    cursor: str = ""
    subscribed: asyncio.Event = field(default_factory=asyncio.Event)

    def saw(self, execution_id: str, sequence: int) -> None:
        """An event came."""
        self.hearing.add(id(self), execution_id, sequence)

    def resume_at(self, cursor: str) -> None:
        """It is subscribed, or goes on."""
        self.cursor = cursor
        self.subscribed.set()


async def over_nats(listener: Listener, address: str, token: str) -> None:
    """A plain subscription: the least that it takes to hear of something."""
    connection = await nats.connect(address)

    async def hear(message: Msg) -> None:
        batch = EventBatch.FromString(message.data)
        for event in batch.events:
            listener.saw(batch.execution_id, event.sequence)

    await connection.subscribe("blockyard.event.>", cb=hear)
    await connection.flush()
    listener.resume_at("now")
    await asyncio.Event().wait()


class Forgotten:
    """A checkpoint that nobody needs, of a subscriber that is subscribed once it is saved."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    async def load(self) -> str | None:
        """None: it begins now."""
        return None

    async def save(self, text: str) -> None:
        """Keeps nothing."""
        self._listener.resume_at("now")


async def over_jetstream(listener: Listener, address: str, token: str) -> None:
    """The durable subscriber of the SDK. `address` is the home of the stack."""

    async def handle(event: Event) -> None:
        listener.saw(event.execution_id, event.sequence)

    home = Path(address)
    async with blockyard.connect(home=home) as client:
        name = f"listener-{id(listener)}"
        await Subscriber(client, find_nats_url(home), DEVELOPER, Forgotten(listener), name=name).run(handle)


async def over_webhook(listener: Listener, address: str, token: str) -> None:
    """An endpoint with a webhook of its own, which is deleted in the end."""

    async def take(request: web.BaseRequest) -> web.Response:
        told = await request.json()
        listener.saw(told["data"]["executionId"], int(told["sequence"]))
        return web.Response(status=204)

    server = web.ServerRunner(web.Server(take))
    await server.setup()
    async with Client(Connection("nowhere:1", "nowhere:1", token, notification_address=address)) as client:
        await web.TCPSite(server, "127.0.0.1", 0).start()
        made, _ = await client.webhooks.create(f"http://127.0.0.1:{server.addresses[0][1]}/")
        listener.resume_at("its creation")
        try:
            await asyncio.Event().wait()
        finally:
            await client.webhooks.delete(made.id)
            await server.cleanup()


OWN_WAYS = {NATS: over_nats, "jetstream": over_jetstream, WEBHOOK: over_webhook}


async def main(kind: str, count: int) -> None:
    """Listens until the input ends."""
    address, token = os.environ["AUDIENCE_ADDRESS"], os.environ["AUDIENCE_TOKEN"]
    hearing = Hearing()
    listeners = [Listener(hearing) for _ in range(count)]
    way: Any = OWN_WAYS.get(kind) or WAYS[kind]  # Any: those of the chaos run take a journal, and this is as good
    listening = [asyncio.create_task(way(one, address, token)) for one in listeners]
    async with asyncio.timeout(READY_SECONDS):
        await asyncio.gather(*(one.subscribed.wait() for one in listeners))
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        print(await hearing.until_heard(json.loads(line), count), flush=True)
    for task in listening:
        task.cancel()
    await asyncio.wait(listening)
    print(json.dumps(hearing.heard), flush=True)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2])))
