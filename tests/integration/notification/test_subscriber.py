"""The durable subscriber on NATS: whatever is lost, of NATS or of itself, it is told every event of every execution."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from blockyard.dev.postgres import PostgresServer
from blockyard.events import Event, EventKind
from blockyard.records import ExecutionStatus
from blockyard.runner.v1.task_pb2 import Task
from blockyard.subscriber import Checkpoint, Subscriber
from blockyard.subscriber.pulling import Pull, Source

from services.common.bus import EVENTS
from tests.generators import left_open
from tests.integration.execution.house import House, house
from tests.integration.execution.protocol_runner import running
from tests.integration.execution.test_guarantees import one_node
from tests.integration.execution.test_recovery import loop
from tests.integration.notification.house import Notifier, notifying
from tests.integration.notification.test_following import client_of
from tests.integration.notification.test_subscribing import LOOP, START, run_some
from tests.waiting import until


class Memory:
    """A checkpoint in memory, which can stop being kept, as that of a program that was killed before it could."""

    def __init__(self, text: str | None = None) -> None:
        self.text = text
        self.kept = True

    async def load(self) -> str | None:
        return self.text

    async def save(self, text: str) -> None:
        if self.kept:
            self.text = text

    @property
    def checkpoint(self) -> Checkpoint | None:
        return Checkpoint.from_json(self.text) if self.text else None


@dataclass(eq=False)
class Seen:
    """What a subscriber was told, over all of its lives."""

    sequences: dict[str, list[int]] = field(default_factory=dict)

    async def take(self, event: Event) -> None:
        assert event.user_id == "anna"
        self.sequences.setdefault(event.execution_id, []).append(event.sequence)

    def complete(self, lengths: dict[str, int]) -> bool:
        """Whether each of these was told to its end."""
        return all(set(self.sequences.get(key, ())) == set(range(1, many + 1)) for key, many in lengths.items())

    def once(self, lengths: dict[str, int]) -> bool:
        """Whether each event of these was told once and in order, and nothing else."""
        return self.sequences == {key: list(range(1, many + 1)) for key, many in lengths.items()}


@asynccontextmanager
async def subscribing(built: House, told: Notifier, checkpoints: Memory, seen: Seen) -> AsyncIterator[None]:
    """A subscriber until the block is left."""
    async with client_of(built, told) as client:
        subscriber = Subscriber(client, built.nats.url, "anna", checkpoints, shared=True)
        work = asyncio.create_task(subscriber.run(seen.take))
        try:
            yield
            assert not work.done(), work.exception()
        finally:
            work.cancel()
            await asyncio.wait({work})


async def begun(checkpoints: Memory, built: House) -> None:
    """Returns when a subscriber has its first cursor and its consumer."""
    await until(lambda: checkpoints.text, "there is a checkpoint")
    await until(lambda: built.bus.consumer_info(EVENTS, "subscriber"), "there is a consumer")


async def test_a_subscriber_is_told_everything_once_and_goes_on_after_a_restart(
    postgres: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "blockyard.subscriber")
    async with notifying(postgres) as (built, told):
        loop(built, 10)
        checkpoints, seen = Memory(), Seen()
        async with running(built.bus, LOOP):
            async with subscribing(built, told, checkpoints, seen):
                await begun(checkpoints, built)
                lengths = await run_some(built, 6)
                await until(lambda: seen.complete(lengths), "all is told")
            lengths |= await run_some(built, 4)
            async with subscribing(built, told, checkpoints, seen):
                await until(lambda: seen.complete(lengths), "what came meanwhile is told")
                lengths |= await run_some(built, 2)
                await until(lambda: seen.complete(lengths), "what comes then is told")
        assert seen.once(lengths)
        assert not caplog.messages, "messages of NATS had all of it, nothing was read from rows"


@pytest.mark.parametrize("value", [b"NaN", b"{", b""])
async def test_a_runner_that_gives_no_json_fails_its_execution_and_stops_no_subscriber(
    postgres: PostgresServer, value: bytes
) -> None:
    def wrong(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
        yield "result", value

    async with notifying(postgres) as (built, told):
        one_node(built)
        checkpoints, seen = Memory(), Seen()
        async with (
            client_of(built, told) as client,
            running(built.bus, {"work": wrong}),
            subscribing(built, told, checkpoints, seen),
        ):
            await begun(checkpoints, built)
            execution_id = (await built.client().start()).id
            events = [event async for event in client.events(execution_id)]
            assert events[-1].kind is EventKind.EXECUTION_FAILED
            (failed,) = [event for event in events if event.kind is EventKind.NODE_FAILED]
            assert (failed.node_id, failed.reason) == ("work", "OUTPUT_INVALID")
            assert "no JSON" in failed.message
            assert not any(event.absence for event in events)
            assert (await client.executions.get(execution_id)).status is ExecutionStatus.FAILED
            assert await client.executions.results(execution_id) == {}
            (node,) = [one async for one in client.executions.nodes(execution_id) if one.node_id == "work"]
            assert node.outputs == {}
            await until(lambda: seen.complete({execution_id: len(events)}), "all is told")


def _settled(checkpoints: Memory) -> bool:
    checkpoint = checkpoints.checkpoint
    return checkpoint is not None and not checkpoint.seen


async def test_a_subscriber_that_was_killed_is_told_again_what_it_had_not_kept_and_nothing_else(
    postgres: PostgresServer,
) -> None:
    async with notifying(postgres) as (built, told):
        loop(built, 10)
        checkpoints, seen = Memory(), Seen()
        async with running(built.bus, LOOP):
            async with subscribing(built, told, checkpoints, seen):
                await begun(checkpoints, built)
                before = await run_some(built, 3)
                await until(lambda: seen.complete(before) and _settled(checkpoints), "all is told and kept")
                checkpoints.kept = False
                lost = await run_some(built, 3)
                await until(lambda: seen.complete(lost), "more is told, and not kept")
            checkpoints.kept = True
            async with subscribing(built, told, checkpoints, seen):
                after = await run_some(built, 2)
                await until(lambda: seen.complete(after), "it goes on")
                await until(lambda: _settled(checkpoints), "all is settled")
        assert seen.complete(before | lost | after)
        for execution_id, sequences in seen.sequences.items():
            most = 2 if execution_id in lost else 1
            assert max(Counter(sequences).values()) <= most
            assert sequences == list(range(1, len(set(sequences)) + 1)) * max(Counter(sequences).values())


@pytest.mark.parametrize("away", [False, True], ids=["while it runs", "while it is away"])
async def test_what_is_lost_with_the_disk_of_nats_is_told(postgres: PostgresServer, away: bool) -> None:
    async with notifying(postgres) as (built, told):
        loop(built, 10)
        checkpoints, seen = Memory(), Seen()
        async with running(built.bus, LOOP):
            async with subscribing(built, told, checkpoints, seen):
                await begun(checkpoints, built)
                lengths = await run_some(built, 2)
                await until(lambda: seen.complete(lengths), "all is told")
                if not away:
                    await _wipe(built)
                    lengths |= await run_some(built, 2)
                    await until(lambda: seen.complete(lengths), "what comes after that is told")
            if away:
                lengths |= await run_some(built, 2)
                await _wipe(built)
                async with subscribing(built, told, checkpoints, seen):
                    lengths |= await run_some(built, 2)
                    await until(lambda: seen.complete(lengths), "what was lost is told")
                    await until(lambda: _settled(checkpoints), "all is settled")
        assert seen.once(lengths)


async def _wipe(built: House) -> None:
    await built.nats.wipe()
    await built.nats.start()
    await until(lambda: built.bus.connected, "NATS is there again")


async def test_what_the_stream_does_not_hold_any_more_is_told(postgres: PostgresServer) -> None:
    async with notifying(postgres) as (built, told):
        loop(built, 10)
        checkpoints, seen = Memory(), Seen()
        async with running(built.bus, LOOP):
            async with subscribing(built, told, checkpoints, seen):
                await begun(checkpoints, built)
            lengths = await run_some(built, 3)
            await built.bus.jetstream.ask(f"STREAM.PURGE.{EVENTS}")
            async with subscribing(built, told, checkpoints, seen):
                await until(lambda: seen.complete(lengths), "what was deleted is told")
        assert seen.once(lengths)


async def test_events_come_from_rows_while_there_is_no_nats_for_the_subscriber(
    postgres: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with notifying(postgres) as (built, told):
        loop(built, 10)
        checkpoints, seen = Memory(), Seen()
        async with running(built.bus, LOOP), client_of(built, told) as client:
            nowhere = Subscriber(client, "nats://127.0.0.1:9", "anna", checkpoints, shared=True)
            work = asyncio.create_task(nowhere.run(seen.take))
            await until(lambda: checkpoints.text, "there is a checkpoint")
            lengths = await run_some(built, 2)
            await until(lambda: seen.complete(lengths), "all is told")
            work.cancel()
            await asyncio.wait({work})
        assert seen.once(lengths)
        told_why = [one for one in caplog.messages if one.startswith("NATS gives no messages, trying on: ")]
        assert len(told_why) == 1, "once, not at each try"
        assert sum(one.startswith("no message has come from NATS") for one in caplog.messages) == 1


async def test_what_the_handler_raises_ends_it_and_the_event_comes_again(postgres: PostgresServer) -> None:
    async with notifying(postgres) as (built, told):
        loop(built, 10)
        checkpoints, seen = Memory(Checkpoint("anna", START).to_json()), Seen()

        async def fail(event: Event) -> None:
            if event.sequence == 5:
                raise LookupError("no such customer")
            await seen.take(event)

        async with running(built.bus, LOOP), client_of(built, told) as client:
            lengths = await run_some(built, 1)
            subscriber = Subscriber(client, built.nats.url, "anna", checkpoints, shared=True)
            with pytest.raises(LookupError, match="no such customer"):
                await subscriber.run(fail)
            async with subscribing(built, told, checkpoints, seen):
                await until(lambda: seen.complete(lengths), "the rest is told")
        assert seen.once(lengths)


async def test_messages_that_nobody_wants_any_more_leave_no_connection(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        source = Source(built.nats.url, EVENTS, "closing", "blockyard.event.>", ("blockyard.event.>",), 1 << 20)
        pull = Pull(source, None)
        with left_open() as left:
            messages = pull.messages()
            coming = asyncio.create_task(anext(messages))
            await until(lambda: built.bus.consumer_info(EVENTS, "closing"), "the consumer is there")
            await built.bus.publish("blockyard.event.a.b.c", b"event")
            assert [message.data for message in await coming] == [b"event"]
            await messages.aclose()
            assert left == []
