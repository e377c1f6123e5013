"""Subscriptions over gRPC: every event once and in order, from now on or from a cursor, whatever is lost on the way."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import grpc
from blockyard.dev.postgres import PostgresServer
from blockyard.event.v1.event_pb2 import Event, EventKind, ValueAbsence
from blockyard.notification.v1.notification_service_pb2 import EventFilter
from blockyard.runner.v1.task_pb2 import Task

from services.common.cursors import decode_cursor, encode_cursor
from services.common.tokens import LEEWAY_SECONDS
from tests.integration.execution.house import House
from tests.integration.execution.protocol_runner import running
from tests.integration.execution.test_guarantees import echo, one_node
from tests.integration.execution.test_recovery import begin, count_down, loop
from tests.integration.notification.house import Subscriber, notifying, subscribed
from tests.waiting import until

LOOP: dict[str, Any] = {"begin": begin, "count": count_down}
START = encode_cursor({})
"""Before everything."""
COPIED = """
INSERT INTO execution.turns SELECT execution_id, turn + 100, partition,
    (SELECT max(feed_sequence) + 1 FROM execution.turns t WHERE t.partition = o.partition),
    first_event, last_event, node_executions, commands_through, now_ms, facts, events, checksum
FROM execution.turns o ORDER BY execution_id DESC, turn DESC LIMIT 1 RETURNING execution_id, last_event
"""
"""A turn of which no message tells."""


@asynccontextmanager
async def connected(built: House) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(built.database_url)
    try:
        yield connection
    finally:
        await connection.close()


async def heads(built: House) -> dict[int, int]:
    """Feed sequence of the last turn by partition."""
    async with connected(built) as connection:
        rows = await connection.fetch("SELECT partition, max(feed_sequence) FROM execution.turns GROUP BY partition")
    return dict(map(tuple, rows))


def absent(subscriber: Subscriber) -> list[Event]:
    """Events whose value was too large."""
    absence = ValueAbsence.VALUE_ABSENCE_TOO_LARGE
    return [event for batch in subscriber.batches for event in batch.events if event.value_absence == absence]


async def run_some(built: House, many: int) -> dict[str, int]:
    """Runs executions to their ends; how many events each has."""
    client = built.client()
    started = [await client.start() for _ in range(many)]
    return {one.id: len(await client.events(one.id)) for one in started}


async def test_a_subscriber_is_told_every_event_once_and_in_order(postgres: PostgresServer) -> None:
    async with notifying(postgres) as (built, told):
        loop(built, 10)
        async with running(built.bus, LOOP), subscribed(told) as first, subscribed(told, "bert") as other:
            await until(lambda: first.live and other.live, "both are subscribed")
            lengths = await run_some(built, 8)
            await until(lambda: first.complete(lengths), "all is told")
            assert first.sequences.keys() == lengths.keys()
            assert not other.batches, "another user's events are nobody else's"


async def test_a_cursor_resumes_without_a_gap_and_repeats_nothing_that_came_before_it(
    postgres: PostgresServer,
) -> None:
    async with notifying(postgres) as (built, told):
        loop(built, 10)
        async with running(built.bus, LOOP):
            async with subscribed(told) as first:
                await until(lambda: first.live, "it is subscribed")
                begun = first.cursor
            lengths = await run_some(built, 5)
            async with subscribed(told, cursor=begun) as again:
                await until(lambda: again.live, "what was missed is told")
                assert again.complete(lengths)
                more = await run_some(built, 3)
                await until(lambda: again.complete({**lengths, **more}), "it goes on")
                newest = await heads(built)
                await until(lambda: decode_cursor(again.cursor) == newest, "a cursor behind all of it")
            async with subscribed(told, cursor=again.cursor) as last:
                await until(lambda: last.live, "there is nothing to tell")
                assert not last.batches


async def test_what_was_committed_and_never_published_is_told(postgres: PostgresServer) -> None:
    async with notifying(postgres) as (built, told):
        one_node(built)
        async with running(built.bus, {"work": echo}), subscribed(told) as subscriber:
            await until(lambda: subscriber.live, "it is subscribed")
            lengths = await run_some(built, 2)
            await until(lambda: subscriber.complete(lengths), "all is told")
        async with subscribed(told, cursor=subscriber.cursor) as resumed:
            await until(lambda: resumed.live, "it is subscribed")
            async with connected(built) as connection:
                (lost,) = await connection.fetch(COPIED)
            key, last = str(lost["execution_id"]), int(lost["last_event"])
            # Messages may be lost with a connection, so a new one makes the service look at the rows.
            await built.nats.restart()
            await until(lambda: last in resumed.sequences.get(key, []), "the lost turn is told")


async def test_a_filter_lets_through_what_it_names(postgres: PostgresServer) -> None:
    async with notifying(postgres) as (built, told):
        one_node(built)
        kinds = [EventKind.EVENT_KIND_EXECUTION_COMPLETED, EventKind.EVENT_KIND_NODE_OUTPUT]
        async with (
            running(built.bus, {"work": echo}),
            subscribed(told, filter=EventFilter(kinds=kinds)) as by_kind,
            subscribed(told, filter=EventFilter(graph_ids=["another"])) as by_graph,
            subscribed(told, "root", "admin", filter=EventFilter(user_id="anna")) as by_user,
            subscribed(told, "root", "admin", filter=EventFilter(user_id="*")) as of_all,
        ):
            subscribers = (by_kind, by_graph, by_user, of_all)
            await until(lambda: all(one.live for one in subscribers), "all are subscribed")
            lengths = await run_some(built, 2)
            (key, *_) = lengths
            async with subscribed(told, filter=EventFilter(execution_ids=[key]), cursor=START) as by_execution:
                await until(lambda: by_execution.live, "what was before is told")
            assert by_execution.sequences == {key: list(range(1, lengths[key] + 1))}
            await until(lambda: by_user.complete(lengths) and of_all.complete(lengths), "administrators see all")
            await until(lambda: by_kind.sequences.keys() == lengths.keys(), "events of some kinds are told")
            found = {event.kind for batch in by_kind.batches for event in batch.events}
            assert found == set(kinds)
            assert not by_graph.batches


async def test_a_large_value_is_named_and_not_carried(postgres: PostgresServer) -> None:
    async with notifying(postgres) as (built, told):
        one_node(built)
        large = "x" * (300 << 10)

        def talkative(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
            yield "out", large

        async with running(built.bus, {"work": talkative}), subscribed(told) as subscriber:
            await until(lambda: subscriber.live, "it is subscribed")
            await run_some(built, 1)
            outputs = await until(lambda: absent(subscriber), "the output is told")
            assert all(not event.value and "ListEvents" in event.message for event in outputs)


async def test_what_cannot_be_subscribed_is_refused_with_the_reason(postgres: PostgresServer) -> None:
    async with notifying(postgres, subscriptions_per_user=1) as (built, told):
        one_node(built)
        cases: list[tuple[dict[str, Any], str, str]] = [
            ({"cursor": "nonsense"}, "INVALID_ARGUMENT", "cursor is none that an answer gave"),
            ({"cursor": encode_cursor({0: 10**9})}, "OUT_OF_RANGE", "ahead of what there is"),
            ({"filter": EventFilter(kinds=[999])}, "INVALID_ARGUMENT", "filter is not valid"),  # type: ignore[list-item]
            ({"filter": EventFilter(execution_ids=["x"] * 1001)}, "INVALID_ARGUMENT", "filter is not valid"),
            ({"filter": EventFilter(user_id="*")}, "PERMISSION_DENIED", "Only administrators"),
            ({"filter": EventFilter(user_id="no id")}, "INVALID_ARGUMENT", "filter is not valid"),
        ]
        for fields, code, words in cases:
            async with subscribed(told, **fields) as refused:
                error = await until(lambda refused=refused: refused.error, f"{fields} is refused")  # type: ignore[misc]
                assert (error.code().name, words in (error.details() or "")) == (code, True), error.details()
        async with subscribed(told) as first, running(built.bus, {"work": echo}):
            await until(lambda: first.live, "it is subscribed")
            async with subscribed(told) as second:
                error = await until(lambda: second.error, "one more than allowed is refused")
                assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            # What is told first is not kept any more.
            await run_some(built, 2)
        async with connected(built) as connection:
            await connection.execute("DELETE FROM execution.turns WHERE feed_sequence = 1")
        async with subscribed(told, cursor=START) as late:
            error = await until(lambda: late.error, "what was dropped is not passed over in silence")
            assert "not kept any more" in (error.details() or "")


async def test_a_token_that_expires_ends_the_stream(postgres: PostgresServer) -> None:
    # Its time is over, but for the seconds that clocks may differ.
    async with notifying(postgres) as (_, told), subscribed(told, life=2 - LEEWAY_SECONDS) as subscriber:
        error = await until(lambda: subscriber.error, "it is cut off")
        assert subscriber.live
        assert error is not None
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
