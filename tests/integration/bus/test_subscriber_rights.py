"""Subscribers on NATS have accounts of their own: they read their user's events and notices, and reach nothing else."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import nats
import pytest
from blockyard.dev import nats_users
from blockyard.dev.nats import NatsServer, start_nats
from nats.aio.client import Client

from services.common.bus import EVENTS, NOTICES_CONFIGURATION, TASKS, Bus, Message, connect
from services.execution.feed import subject
from tests.integration.bus.test_rights import as_user
from tests.waiting import until

ANNA, DOTTED = "anna", "bert.smith"
SUBSCRIBERS = [ANNA, DOTTED]
OWN = {"name": "SUBSCRIBED", "subjects": ["blockyard.>"], "storage": "file"}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, runner: asyncio.Runner) -> Iterator[NatsServer]:
    """A server with two subscribers."""
    passwords = {name: f"password-of-{name}" for name in nats_users.names(["default"], SUBSCRIBERS)}
    users = nats_users.users(["default"], passwords, SUBSCRIBERS)
    server = runner.run(start_nats(tmp_path_factory.mktemp("nats") / "data", users=users))
    yield server
    runner.run(server.kill())


@asynccontextmanager
async def connected(server: NatsServer, user: str) -> AsyncIterator[Client]:
    client = await nats.connect(server.url_of(nats_users.subscriber_of(user)), allow_reconnect=False)
    try:
        yield client
    finally:
        await client.close()


async def ask(client: Client, subject: str, body: Mapping[str, Any]) -> dict[str, Any]:
    answer = await client.request(f"$JS.API.{subject}", json.dumps(body).encode(), timeout=5)
    return dict(json.loads(answer.data))


async def told(client: Client) -> dict[str, int]:
    """What is in the stream of a subscriber: messages by subject."""
    answer = await ask(client, "STREAM.INFO.SUBSCRIBED", {"subjects_filter": ">"})
    return dict(answer["state"].get("subjects") or {})


async def publish(bus: Bus, number: int = 0) -> None:
    """An event of each of three users, and a task."""
    users = (ANNA, DOTTED, "bert")
    await bus.ensure_streams()
    await bus.publish_all([Message(subject(user, "graph", f"execution-{number}"), b"event") for user in users])


async def test_a_subscriber_has_the_events_and_notices_of_its_user_and_of_no_other(guarded: NatsServer) -> None:
    async with (
        connect(guarded.url_of("execution"), "execution") as execution,
        connect(guarded.url, "account") as account,
        connected(guarded, ANNA) as anna,
        connected(guarded, DOTTED) as bert,
    ):
        for client in (anna, bert):
            await ask(client, "STREAM.CREATE.SUBSCRIBED", OWN)
        await account.jetstream.ensure_stream(NOTICES_CONFIGURATION)
        await publish(execution)
        notices = [Message(f"blockyard.notice.{user}", b"notice") for user in (ANNA, "bert")]
        await account.publish_all(notices)
        (event,) = [one for one in await until_told(bert, 1) if ".event." in one]
        assert event == "blockyard.event.bert%2Esmith.graph.execution-0"
        assert set(await until_told(anna, 2)) == {"blockyard.event.anna.graph.execution-0", "blockyard.notice.anna"}


async def until_told(client: Client, subjects: int) -> dict[str, int]:
    found: dict[str, int] = {}

    async def enough() -> bool:
        found.update(await told(client))
        return len(found) >= subjects

    await until(enough, "the messages have come")
    return found


@pytest.mark.parametrize(
    "subject",
    [
        "blockyard.event.anna.graph.execution",
        "blockyard.task.default",
        "blockyard.result.0",
        "blockyard.command.0",
        "_INBOX.execution.1",
        "$JS.API.STREAM.DELETE.EVENTS",
        "$JS.API.STREAM.PURGE.SUBSCRIBED",
        "$JS.API.CONSUMER.CREATE.EVENTS.spy.blockyard.event.bert.>",
        "$JS.API.STREAM.MSG.GET.EVENTS",
        "$JS.API.DIRECT.GET.EVENTS",
        "$JS.ACK.TASKS.pool-default.1.1.1.1.0",
    ],
)
async def test_a_subscriber_writes_nothing(guarded: NatsServer, subject: str) -> None:
    async with as_user(guarded, nats_users.subscriber_of(ANNA)) as attempts:
        await attempts.publish(subject)
        said = await until(lambda: attempts.refused, "the server refuses it", 5)
    assert f'permissions violation for publish to "{subject.lower()}"' in said[0].lower()


@pytest.mark.parametrize("subject", [">", "blockyard.>", "blockyard.event.>", "blockyard.event.bert.*.*", "$JS.>"])
async def test_a_subscriber_hears_nothing_of_others(guarded: NatsServer, subject: str) -> None:
    async with as_user(guarded, nats_users.subscriber_of(ANNA)) as attempts:
        await attempts.subscribe(subject)
        said = await until(lambda: attempts.refused, "the server refuses it", 5)
    assert f'permissions violation for subscription to "{subject.lower()}"' in said[0].lower()


@pytest.mark.parametrize(
    "consumer",
    [
        {"deliver_subject": "blockyard.task.default"},
        {"deliver_subject": "$JS.API.STREAM.PURGE.EVENTS", "idle_heartbeat": 100_000_000},
        {"filter_subjects": ["blockyard.event.bert.>", "blockyard.event.anna.>"]},
    ],
    ids=lambda one: next(iter(one.values())) if isinstance(one, dict) else None,
)
async def test_no_consumer_that_a_subscriber_makes_reaches_out_of_its_account(
    guarded: NatsServer, consumer: Mapping[str, Any]
) -> None:
    async with (
        connect(guarded.url_of("execution"), "execution") as execution,
        connected(guarded, ANNA) as anna,
    ):
        await ask(anna, "STREAM.CREATE.SUBSCRIBED", OWN)
        await publish(execution)
        kept = await execution.stream_info(EVENTS)
        assert kept is not None
        config = {"name": "out", "durable_name": "out", "ack_policy": "none", **consumer}
        body = {"stream_name": "SUBSCRIBED", "config": config}
        await ask(anna, "CONSUMER.CREATE.SUBSCRIBED.out", body)
        await publish(execution, 1)
        await until_told(anna, 2)
        await ask(anna, "CONSUMER.DELETE.SUBSCRIBED.out", {})
        tasks, events = await execution.stream_info(TASKS), await execution.stream_info(EVENTS)
    assert tasks is not None
    assert tasks.messages == 0
    assert events is not None
    assert (events.first_sequence, events.messages) == (kept.first_sequence, kept.messages + 3)


async def test_answers_that_a_subscriber_wants_elsewhere_stay_in_its_account(guarded: NatsServer) -> None:
    async with (
        connect(guarded.url_of("execution"), "execution") as execution,
        connected(guarded, ANNA) as anna,
    ):
        await ask(anna, "STREAM.CREATE.SUBSCRIBED", OWN)
        await publish(execution)
        config = {"name": "next", "durable_name": "next", "ack_policy": "explicit", "deliver_policy": "new"}
        await ask(anna, "CONSUMER.CREATE.SUBSCRIBED.next", {"stream_name": "SUBSCRIBED", "config": config})
        # Nothing is there: the server's answer is empty, which is what asks JetStream to empty or delete a stream.
        for stream in ("EVENTS", "SUBSCRIBED"):
            for deed in ("PURGE", "DELETE"):
                request = json.dumps({"batch": 1, "no_wait": True}).encode()
                reply = f"$JS.API.STREAM.{deed}.{stream}"
                await anna.publish("$JS.API.CONSUMER.MSG.NEXT.SUBSCRIBED.next", request, reply)
        await anna.flush()
        await ask(anna, "CONSUMER.INFO.SUBSCRIBED.next", {})
        events = await execution.stream_info(EVENTS)
    assert events is not None
    assert events.messages >= 3


async def test_a_stream_of_a_subscriber_has_nothing_but_what_came_into_its_account(guarded: NatsServer) -> None:
    async with (
        connect(guarded.url_of("execution"), "execution") as execution,
        connected(guarded, DOTTED) as bert,
    ):
        await publish(execution)
        await ask(bert, "STREAM.CREATE.SUBSCRIBED", OWN)
        sourced = {**OWN, "sources": [{"name": EVENTS}]}
        await ask(bert, "STREAM.UPDATE.SUBSCRIBED", sourced)
        await publish(execution, 2)
        found = await until_told(bert, 1)
    assert {one.split(".")[2] for one in found} == {"bert%2Esmith"}
