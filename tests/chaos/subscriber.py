"""`python -m tests.chaos.subscriber KIND JOURNAL`: a program that reacts to events, as users write them.

What it has seen, and where it is to resume, stands in its journal alone: it may be killed at any moment, and goes on
from there when it is started again. Its connections may end as often as they like; by itself it ends on errors alone
that users have not been told of. More is in the environment: SUBSCRIBER_ADDRESSES, SUBSCRIBER_TOKEN, and for the one on
NATS SUBSCRIBER_EXECUTION_ADDRESSES and SUBSCRIBER_NATS_URL.
"""

import asyncio
import json
import os
import random
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import httpx2
import websockets
from aiohttp import web
from blockyard.client import Client, DeliveryState
from blockyard.connection import Connection
from blockyard.errors import BlockyardError
from blockyard.events import Event
from blockyard.notification.v1 import notification_service_pb2 as messages
from blockyard.notification.v1.notification_service_pb2_grpc import NotificationServiceStub
from blockyard.subscriber import Checkpoint, FileCheckpoint, Subscriber
from standardwebhooks import Webhook

PAUSE_SECONDS = 0.3
RETRY_SECONDS = 1.0
DURABLE = "jetstream"
"""The one way that is never to end by itself, whatever happens to the stack."""
WEBHOOK = "webhook"
"""The one way in which events of an execution may come in another order."""


class Journal:
    """Lines that are written at once: "S" at a start, "E <execution> <sequence>", "C <cursor>"."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        # A line that the last life did not finish was never written.
        cursors = [line[2:-1] for line in lines if line.startswith("C ") and line.endswith("\n")]
        self.cursor = cursors[-1] if cursors else ""
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._write("\nS\n" if lines and not lines[-1].endswith("\n") else "S\n")

    def saw(self, execution_id: str, sequence: int) -> None:
        """An event came."""
        self._write(f"E {execution_id} {sequence}\n")

    def resume_at(self, cursor: str) -> None:
        """All that comes before it was seen."""
        self.cursor = cursor
        self._write(f"C {cursor}\n")

    def _write(self, text: str) -> None:
        os.write(self._file, text.encode())


async def over_grpc(journal: Journal, address: str, token: str) -> None:
    """One connection, as long as it lasts."""
    async with grpc.aio.insecure_channel(address) as channel:
        request = messages.SubscribeRequest(cursor=journal.cursor)
        calls = NotificationServiceStub(channel).Subscribe(request, metadata=[("authorization", f"Bearer {token}")])
        async for answer in calls:
            for batch in answer.batches:
                for event in batch.events:
                    journal.saw(batch.execution_id, event.sequence)
            if answer.cursor:
                journal.resume_at(answer.cursor)


async def over_websocket(journal: Journal, address: str, token: str) -> None:
    """One connection, as long as it lasts."""
    headers = {"authorization": f"Bearer {token}"}
    async with websockets.connect(f"ws://{address}/ws", additional_headers=headers) as socket:
        await socket.send(json.dumps({"type": "subscribe", "id": "all", "cursor": journal.cursor}))
        async for text in socket:
            message = json.loads(text)
            if message["type"] == "events":
                for event in message["events"]:
                    journal.saw(event["data"]["executionId"], int(event["sequence"]))
            elif message["type"] == "error":
                raise OSError(message["error"]["message"])
            elif "cursor" in message:
                journal.resume_at(message["cursor"])


async def over_sse(journal: Journal, address: str, token: str) -> None:
    """One connection, as long as it lasts."""
    headers = {"authorization": f"Bearer {token}"} | ({"last-event-id": journal.cursor} if journal.cursor else {})
    async with (
        # There is no TLS to verify, and it would read all authorities of this machine for each client.
        httpx2.AsyncClient(timeout=httpx2.Timeout(5, read=20), verify=False) as client,
        client.stream("GET", f"http://{address}/api/events", headers=headers) as response,
    ):
        response.raise_for_status()
        event: dict[str, str] = {}
        async for line in response.aiter_lines():
            name, _, value = line.partition(": ")
            if line:
                event[name] = value
                continue
            if event.get("event") == "error":
                raise OSError(event["data"])
            if "data" in event:
                told = json.loads(event["data"])
                journal.saw(told["data"]["executionId"], int(told["sequence"]))
            if "id" in event:
                journal.resume_at(event["id"])
            event = {}


class Kept(FileCheckpoint):
    """A checkpoint beside the journal, which notes each."""

    def __init__(self, journal: Journal) -> None:
        super().__init__(journal.path.with_suffix(".checkpoint"))
        self._journal = journal

    async def save(self, text: str) -> None:
        await super().save(text)
        self._journal.resume_at(Checkpoint.from_json(text).cursor)


async def over_jetstream(journal: Journal, address: str, token: str) -> None:
    """The SDK's durable subscriber, as long as it lasts."""
    executions = os.environ["SUBSCRIBER_EXECUTION_ADDRESSES"]
    connection = Connection("nowhere:1", f"ipv4:{executions}", token, notification_address=address)

    async def handle(event: Event) -> None:
        journal.saw(event.execution_id, event.sequence)

    async with Client(connection) as client:
        await Subscriber(client, os.environ["SUBSCRIBER_NATS_URL"], "developer", Kept(journal)).run(handle)


async def over_webhook(journal: Journal, address: str, token: str) -> None:
    """An endpoint at the same port in each life. What failed while it was down it asks for, as its owner would who does
    not want to wait for the schedule."""
    place = journal.path.with_suffix(".webhook")
    port, webhook_id, secret = json.loads(place.read_text()) if place.exists() else (0, "", "")

    async def take(request: web.BaseRequest) -> web.Response:
        told = Webhook(secret).verify(await request.read(), dict(request.headers))
        journal.saw(told["data"]["executionId"], int(told["sequence"]))
        return web.Response(status=204)

    async with Client(Connection("nowhere:1", "nowhere:1", token, notification_address=address)) as client:
        server = web.ServerRunner(web.Server(take))
        await server.setup()
        try:
            await web.TCPSite(server, "127.0.0.1", port).start()
            if not webhook_id:
                port = server.addresses[0][1]
                made, secret = await client.webhooks.create(f"http://127.0.0.1:{port}/")
                webhook_id = made.id
                place.write_text(json.dumps([port, webhook_id, secret]))
                journal.resume_at("its-creation")
            while True:
                await asyncio.sleep(RETRY_SECONDS)
                async for delivery in client.webhooks.deliveries(webhook_id, state=DeliveryState.PENDING):
                    if delivery.attempts:
                        await client.webhooks.retry(webhook_id, delivery.id)
        finally:
            await server.cleanup()


Connect = Callable[[Journal, str, str], Awaitable[None]]
WAYS: dict[str, Connect] = {
    "grpc": over_grpc,
    "websocket": over_websocket,
    "sse": over_sse,
    DURABLE: over_jetstream,
    WEBHOOK: over_webhook,
}
FAILURES = (OSError, BlockyardError, grpc.aio.AioRpcError, httpx2.HTTPError, websockets.WebSocketException)


async def subscribe(kind: str, journal: Journal, addresses: list[str], token: str) -> None:
    """Connects again and again, to any of the addresses; the durable one is left to outlive everything by itself."""
    way = WAYS[kind]
    if kind == DURABLE:
        await way(journal, f"ipv4:{','.join(addresses)}", token)
        return
    while True:
        try:
            await way(journal, random.choice(addresses), token)
        except FAILURES as error:
            print(f"connecting again: {error!r}", flush=True)
        await asyncio.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    kind, path = sys.argv[1:]
    addresses = os.environ["SUBSCRIBER_ADDRESSES"].split(",")
    asyncio.run(subscribe(kind, Journal(Path(path)), addresses, os.environ["SUBSCRIBER_TOKEN"]))
