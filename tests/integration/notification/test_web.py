"""Events over WebSocket and server-sent events."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import httpx2
import pytest
import websockets
from blockyard.account.v1 import account_pb2
from blockyard.account.v1.account_service_pb2 import SetUserAccessRequest
from blockyard.dev.postgres import PostgresServer
from blockyard.notification.v1.notification_service_pb2 import EventFilter
from blockyard.runner.v1.task_pb2 import Task
from websockets.asyncio.client import ClientConnection

from services.common import identity
from services.common.tokens import LEEWAY_SECONDS
from tests import signing
from tests.integration.account.service import account_service
from tests.integration.execution.protocol_runner import running
from tests.integration.execution.test_guarantees import echo, one_node
from tests.integration.notification.house import Notifier, notifying, subscribed
from tests.integration.notification.test_subscribing import run_some
from tests.waiting import until


def bearer(user_id: str = "anna", life: float = 300, role: str = "user") -> str:
    return identity.user_token(signing.JWT_SECRET, user_id, role, life)


@dataclass(eq=False)
class Listener:
    """What came over one connection."""

    events: list[dict[str, Any]] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    """Of a WebSocket, all but events."""
    cursor: str = ""
    ended: str = ""

    @property
    def sequences(self) -> dict[str, list[int]]:
        """By execution, as they came."""
        found: dict[str, list[int]] = {}
        for event in self.events:
            found.setdefault(event["data"]["executionId"], []).append(int(event["sequence"]))
        return found

    def complete(self, lengths: dict[str, int]) -> bool:
        """Whether each execution was told from its first event to its last, once and in order."""
        sequences = self.sequences
        return all(sequences.get(key) == list(range(1, length + 1)) for key, length in lengths.items())

    def has(self, kind: str, **fields: Any) -> dict[str, Any] | None:
        """The first message of a kind with these fields."""
        for message in self.messages:
            if message["type"] == kind and all(message.get(name) == value for name, value in fields.items()):
                return message
        return None


@asynccontextmanager
async def in_background(work: Any) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


@asynccontextmanager
async def socket(told: Notifier, token: str | None = None) -> AsyncIterator[tuple[ClientConnection, Listener]]:
    """A WebSocket, whose messages are gathered."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    listener = Listener()

    async def read(connection: ClientConnection) -> None:
        try:
            async for text in connection:
                message = json.loads(text)
                if message["type"] == "events":
                    listener.events.extend(message["events"])
                else:
                    listener.messages.append(message)
                listener.cursor = message.get("cursor", listener.cursor)
        except websockets.ConnectionClosed:
            pass
        listener.ended = f"{connection.close_code} {connection.close_reason}"

    async with (
        websockets.connect(f"ws://{told.web}/ws", additional_headers=headers) as connection,
        in_background(read(connection)),
    ):
        yield connection, listener


@asynccontextmanager
async def stream(told: Notifier, query: str = "", **headers: str) -> AsyncIterator[Listener]:
    """Server-sent events, read as browsers do."""
    listener = Listener()

    async def read() -> None:
        sent = {"authorization": f"Bearer {bearer()}", **headers}
        async with (
            httpx2.AsyncClient(timeout=30) as client,
            client.stream("GET", f"http://{told.web}/api/events{query}", headers=sent) as response,
        ):
            if response.status_code != 200:
                listener.ended = f"{response.status_code} {(await response.aread()).decode()}"
                return
            event: dict[str, str] = {}
            async for line in response.aiter_lines():
                name, _, value = line.partition(": ")
                if line:
                    event[name] = value
                    continue
                listener.cursor = event.get("id", listener.cursor)
                if event.get("event") == "error":
                    listener.ended = event["data"]
                elif "data" in event:
                    assert json.loads(event["data"])["type"] == event["event"]
                    listener.events.append(json.loads(event["data"]))
                event = {}

    async with in_background(read()):
        yield listener


async def test_a_web_socket_is_told_every_event_and_resumes(postgres: PostgresServer) -> None:
    async with notifying(postgres) as (built, told):
        one_node(built)
        async with running(built.bus, {"work": echo}):
            async with socket(told) as (connection, first):
                await connection.send(json.dumps({"type": "authenticate", "token": bearer()}))
                await connection.send(json.dumps({"type": "subscribe", "id": "all"}))
                await until(lambda: first.has("live", id="all"), "it is subscribed")
                lengths = await run_some(built, 3)
                await until(lambda: first.complete(lengths), "all is told")
                event = first.events[0]
                assert (event["specversion"], event["type"]) == ("1.0", "blockyard.execution.started")
                begun = first.has("subscribed", id="all")
            async with socket(told, bearer()) as (connection, again):
                assert begun is not None
                message = {"type": "subscribe", "id": "again", "cursor": begun["cursor"]}
                await connection.send(json.dumps(message))
                (key, *_) = lengths
                only = {"execution_ids": [key], "kinds": ["EXECUTION_COMPLETED"]}
                await connection.send(json.dumps({**message, "id": "one", "filter": only}))
                await until(lambda: again.has("live", id="again") and again.has("live", id="one"), "both are told")
                assert len(again.events) == sum(lengths.values()) + 1
                await connection.send(json.dumps({"type": "unsubscribe", "id": "again"}))
                await until(lambda: again.has("unsubscribed", id="again"), "it has ended")
                await connection.send(json.dumps({"type": "ping"}))
                await until(lambda: again.has("pong"), "the connection is there")


async def test_who_is_far_behind_is_told_in_messages_that_every_client_takes(postgres: PostgresServer) -> None:
    large = "x" * (200 << 10)

    def talkative(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
        yield "out", large

    async with notifying(postgres) as (built, told):
        one_node(built)
        async with running(built.bus, {"work": talkative}):
            async with socket(told, bearer()) as (connection, first):
                await connection.send(json.dumps({"type": "subscribe", "id": "all"}))
                await until(lambda: first.cursor, "it has a cursor")
            lengths = await run_some(built, 6)
            # A client takes messages of 1 MiB unless it is told otherwise.
            async with socket(told, bearer()) as (connection, again):
                await connection.send(json.dumps({"type": "subscribe", "id": "all", "cursor": first.cursor}))
                await until(lambda: again.has("live", id="all") or again.ended, "all is told")
                assert not again.ended
                assert again.complete(lengths)


async def test_what_a_web_socket_sends_wrongly_is_answered_and_ends_nothing(postgres: PostgresServer) -> None:
    async with notifying(postgres) as (_, told):
        async with socket(told, bearer()) as (connection, listener):
            wrong: list[tuple[str | bytes, str]] = [
                ("not json", "no JSON"),
                (b"\x00\x01", "binary"),
                ("[1]", "JSON object is expected"),
                ('{"type": "dance"}', "no message that a client sends"),
                ('{"type": "subscribe"}', "no message that a client sends"),
                ('{"type": "subscribe", "id": "a", "filter": {"kinds": ["DANCED"]}}', "filter is not valid"),
                ('{"type": "subscribe", "id": "a", "filter": {"colour": "red"}}', "filter is not valid"),
                ('{"type": "subscribe", "id": "a", "filter": {"graph_ids": [""]}}', "filter is not valid"),
                ('{"type": "subscribe", "id": "a", "filter": {"execution_ids": ["\\u0000"]}}', "filter is not valid"),
                ('{"type": "subscribe", "id": "a", "user_id": "anna"}', "is no message that a client sends"),
                ('{"type": "subscribe", "id": "a", "filter": {"user_id": "bert"}}', "Only administrators"),
                ('{"type": "subscribe", "id": "a", "filter": 7}', "no message that a client sends"),
                ('{"type": "subscribe", "id": "a", "cursor": "nonsense"}', "cursor is none"),
                ('{"type": "unsubscribe", "id": "b"}', "no message that a client sends"),
            ]
            for at, (text, words) in enumerate(wrong):
                await connection.send(text)
                await until(lambda at=at: len(listener.messages) > at + 1, f"{text!r} is answered")  # type: ignore[misc]
                message = listener.messages[-1]
                assert message["type"] == "error"
                assert words in message["error"]["message"], message
            await connection.send(json.dumps({"type": "authenticate", "token": bearer("bert")}))
            await until(lambda: listener.ended.startswith("4401"), "the token of another user ends it")
        async with socket(told) as (connection, listener):
            await connection.send("x" * (65 << 10))
            await until(lambda: listener.ended.startswith("1009"), "a frame that is too large ends it")
        async with socket(told) as (connection, listener):
            await connection.send(json.dumps({"type": "authenticate", "token": "nonsense"}))
            await until(lambda: listener.ended.startswith("4401"), "a token that is none ends it")
            assert [one["error"]["code"] for one in listener.messages] == [16], "it is told once"


async def test_connections_and_subscriptions_count_for_the_rate_limit(postgres: PostgresServer) -> None:
    async with notifying(postgres, rate_limit_read="1/minute burst 2") as (_, told):
        async with socket(told, bearer()) as (connection, listener):
            for key in ("first", "second"):
                await connection.send(json.dumps({"type": "subscribe", "id": key}))
            await connection.send(json.dumps({"type": "ping"}))
            await until(lambda: listener.has("pong") and listener.has("live", id="first"), "both are answered")
            (error,) = [one["error"] for one in listener.messages if one["type"] == "error"]
            assert (error["code"], error["details"][0]["reason"]) == (8, "RATE_LIMITED")
            assert listener.has("subscribed", id="second") is None
        async with socket(told, bearer()) as (connection, listener):
            await until(lambda: listener.ended.startswith("4429"), "one connection more is refused with the reason")
            assert [one["error"]["code"] for one in listener.messages] == [8]
        async with socket(told) as (connection, listener):
            await connection.send(json.dumps({"type": "authenticate", "token": bearer()}))
            await connection.send(json.dumps({"type": "authenticate", "token": "nonsense"}))
            await until(lambda: listener.ended.startswith("4401"), "who was not let in may try another token")
            assert [one["error"]["code"] for one in listener.messages] == [8, 16], "each is told once"


async def test_a_token_that_expires_ends_a_web_socket(postgres: PostgresServer) -> None:
    async with notifying(postgres) as (_, told), socket(told, bearer(life=2 - LEEWAY_SECONDS)) as (connection, one):
        await connection.send(json.dumps({"type": "subscribe", "id": "all"}))
        await until(lambda: one.has("live"), "it is subscribed")
        await until(lambda: one.ended.startswith("4401"), "it is closed")


async def test_who_is_disabled_is_refused_with_4403_however_they_authenticate(postgres: PostgresServer) -> None:
    async with (
        account_service(postgres) as accounts,
        notifying(postgres, account_address=accounts.address) as (_, told),
    ):
        async with socket(told, bearer("carl")) as (_, listener):
            await until(lambda: listener.has("authenticated"), "they are let in")
        request = SetUserAccessRequest(user_id="carl", state=account_pb2.USER_STATE_DISABLED)
        await accounts.admin().call("SetUserAccess", request)
        async with socket(told, bearer("carl")) as (_, by_header):
            await until(lambda: by_header.ended.startswith("4403"), "by the header")
        async with socket(told) as (connection, by_message):
            await connection.send(json.dumps({"type": "authenticate", "token": bearer("carl")}))
            await until(lambda: by_message.ended, "by a message")
        assert by_message.ended.startswith("4403")
        assert [one["error"]["code"] for one in by_message.messages] == [7], "it is told once"


async def test_who_is_no_administrator_any_more_is_told_nothing_more_of_others(postgres: PostgresServer) -> None:
    async with (
        account_service(postgres) as accounts,
        notifying(postgres, account_address=accounts.address) as (built, told),
    ):
        one_node(built)
        boss = bearer("boss", role="admin")
        async with (
            running(built.bus, {"work": echo}),
            socket(told, boss) as (connection, over_socket),
            stream(told, "?user_id=*", authorization=f"Bearer {boss}") as over_http,
            subscribed(told, "boss", "admin", filter=EventFilter(user_id="*")) as over_grpc,
        ):
            for key, whose in (("all", "*"), ("own", "boss")):
                asked = {"type": "subscribe", "id": key, "filter": {"user_id": whose}}
                await connection.send(json.dumps(asked))
            await until(lambda: over_socket.has("live", id="all") and over_grpc.live and over_http.cursor, "all begin")
            lengths = await run_some(built, 1)
            for one in (over_socket, over_http, over_grpc):
                await until(lambda one=one: one.complete(lengths), "others are told of")  # type: ignore[misc]

            request = SetUserAccessRequest(user_id="boss", role=account_pb2.USER_ROLE_USER)
            await accounts.admin().call("SetUserAccess", request)

            async with asyncio.timeout(40):
                while not (over_socket.has("error", id="all") and over_http.ended and over_grpc.error):
                    await run_some(built, 1)
            await connection.send(json.dumps({"type": "ping"}))
            await until(lambda: over_socket.has("pong"), "the connection is there, and what is its own")
    refused = over_socket.has("error")
    assert refused is not None
    assert (refused["id"], refused["error"]["code"]) == ("all", 7)
    assert json.loads(over_http.ended)["code"] == 7
    assert over_grpc.error.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_server_sent_events_are_told_in_order_and_resume_by_their_id(postgres: PostgresServer) -> None:
    async with notifying(postgres) as (built, told):
        one_node(built)
        async with running(built.bus, {"work": echo}):
            async with stream(told) as first:
                await until(lambda: first.cursor, "it is subscribed")
                begun = first.cursor
                lengths = await run_some(built, 3)
                await until(lambda: first.complete(lengths), "all is told")
            async with stream(told, **{"last-event-id": begun}) as again:
                await until(lambda: again.complete(lengths), "all is told again")
            async with stream(told, f"?cursor={begun}&kind=execution_completed") as ends:
                await until(lambda: len(ends.events) == len(lengths), "the ends are told")


async def test_a_request_for_events_that_cannot_be_served_says_why(
    postgres: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with notifying(postgres, subscriptions_per_user=1) as (_, told):
        refused = {
            "?kind=danced": "400",
            "?colour=red": "400",
            "?graph_id=": "400",
            "?execution_id=%00": "400",
            "?cursor=nonsense": "400",
            "?user_id=bert": "403",
        }
        for query, status in refused.items():
            async with stream(told, query) as one:
                await until(lambda one=one: one.ended, f"{query} is answered")  # type: ignore[misc, arg-type]
                assert one.ended.startswith(status), one.ended
        async with stream(told, authorization="Bearer nonsense") as one:
            await until(lambda: one.ended.startswith("401"), "who it is must be said")
        async with stream(told) as first:
            await until(lambda: first.cursor, "it is subscribed")
            async with stream(told) as second:
                await until(lambda: second.ended.startswith("429"), "one more than allowed is refused")
        async with httpx2.AsyncClient() as client:
            answer = await client.get(f"http://{told.web}/nowhere")
            assert (answer.status_code, answer.json()["code"]) == (404, 5)
            health = await client.get(f"http://{told.web}/health")
            assert health.json()["services"]["execution"]["status"] == "SERVING"
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_a_replica_takes_so_many_connections_and_refuses_the_next_one(postgres: PostgresServer) -> None:
    async with (
        notifying(postgres, web_connections=2) as (_, told),
        stream(told) as one,
        websockets.connect(f"ws://{told.web}/ws") as another,
    ):
        await until(lambda: one.cursor, "both are open")
        with pytest.raises(websockets.InvalidStatus) as refused:
            await websockets.connect(f"ws://{told.web}/ws")
        assert refused.value.response.status_code == 503
        assert refused.value.response.headers["retry-after"] == "5"
        assert json.loads(refused.value.response.body)["code"] == 14
        async with stream(told) as third:
            await until(lambda: third.ended.startswith("503"), "a stream is refused too")
        await another.close()
        async with websockets.connect(f"ws://{told.web}/ws") as later:
            assert later.state is websockets.State.OPEN
