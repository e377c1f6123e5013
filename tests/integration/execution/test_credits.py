"""Credits: who has none is refused, who runs out waits or fails, and each recorded outcome is charged once."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import grpc
import pytest
from blockyard.dev.postgres import PostgresServer
from blockyard.errors import from_rpc_error
from blockyard.execution.v1 import execution_service_pb2 as calls
from blockyard.execution.v1.execution_pb2 import ExecutionStatus
from blockyard.runner.v1.result_pb2 import Finish, Outcome, Output, Result, ResultBatch
from blockyard.runner.v1.task_pb2 import Task

from services.common.bus import Message
from services.execution.settling import SETTLE_SECONDS
from tests.integration.execution.house import House, house
from tests.integration.execution.ledger import MemoryLedger, serving
from tests.integration.execution.protocol_runner import COST, Block, Held, running
from tests.integration.execution.test_lost_commits import looking
from tests.waiting import until

FAILED = ExecutionStatus.EXECUTION_STATUS_FAILED
COMPLETED = ExecutionStatus.EXECUTION_STATUS_COMPLETED


@asynccontextmanager
async def built_with_credits(
    postgres: PostgresServer, replicas: int = 1, hold: int = 10, **settings: Any
) -> AsyncIterator[tuple[House, MemoryLedger]]:
    ledger = MemoryLedger()
    async with (
        serving(ledger) as address,
        house(postgres, credits_enabled=True, account_address=address, credits_hold=hold, **settings) as built,
    ):
        for _ in range(replicas):
            await built.add_replica()
        yield built, ledger


def fan(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
    yield COST, 1
    for number in range(inputs["count"]):
        yield "item", number


def work(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
    yield COST, 3
    yield "value", inputs["value"]


def free(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
    yield "value", inputs["value"]


BLOCKS: dict[str, Block] = {"fan": fan, "work": work, "free": free}


def graph_of(built: House, count: int) -> None:
    """One run for 1, `count` runs for 3 each, and as many that are free."""
    graph = built.graph()
    graph.node("fan", many=("item",), count=count)
    graph.node("work")
    graph.node("free")
    graph.output("out")
    graph.link("fan.item", "work.value")
    graph.link("work.value", "free.value")
    graph.link("free.value", "out.value")
    built.catalogue.add(graph)


async def test_who_has_no_credits_is_refused_and_nothing_is_stored(postgres: PostgresServer) -> None:
    async with built_with_credits(postgres) as (built, _):
        graph_of(built, 1)

        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await built.client().start()
        listed = await built.client().call("ListExecutions", calls.ListExecutionsRequest())

    error = from_rpc_error(caught.value)
    assert (error.code, error.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "INSUFFICIENT_CREDITS")
    assert not listed.executions


async def test_each_outcome_that_costs_something_is_charged_once(postgres: PostgresServer) -> None:
    async with built_with_credits(postgres) as (built, ledger):
        ledger.balances["anna"] = 1_000
        graph_of(built, 20)
        async with running(built.bus, BLOCKS):
            started = await built.client().start()
            await built.client().events(started.id)
            await until(lambda: len(ledger.charges) == 21, "all is charged")

    assert ledger.balances["anna"] == 1_000 - 1 - 20 * 3
    assert sorted(charge.amount for charge in ledger.charges.values()) == [1, *[3] * 20]
    assert {charge.block_id for charge in ledger.charges.values()} == {"fan", "work"}
    assert ledger.repeated == 0


async def test_charges_gather_also_while_others_are_told(postgres: PostgresServer) -> None:
    async with built_with_credits(postgres, hold=10_000) as (built, ledger):
        ledger.balances["anna"] = 100_000
        graph_of(built, 2_000)
        clock = asyncio.get_running_loop().time
        began = clock()
        async with running(built.bus, BLOCKS):
            await built.client().start()
            await until(lambda: len(ledger.charges) == 2_001, "all is charged")
        seconds = clock() - began

    assert ledger.settled <= 2 + seconds / SETTLE_SECONDS


async def test_who_runs_out_waits_and_goes_on_with_new_credits(postgres: PostgresServer) -> None:
    async with built_with_credits(postgres) as (built, ledger):
        ledger.balances["anna"] = 10
        graph_of(built, 50)
        client = built.client()
        async with running(built.bus, BLOCKS) as runner:
            started = await client.start()
            await until(lambda: ledger.balances["anna"] <= 0, "the credits are used up")

            async def explained() -> bool:
                request = calls.ExplainExecutionRequest(execution_id=started.id)
                return "credits" in (await client.call("ExplainExecution", request)).summary

            await until(explained, "it is said what it waits for")
            ran_before = len(runner.ran)
            ledger.balances["anna"] = 10_000
            events = await client.events(started.id)
            await until(lambda: len(ledger.charges) == 51, "all is charged")
        ended = await client.get(started.id)

    assert ran_before < 101
    assert ended.status == COMPLETED
    assert events[-1].sequence == len(events)
    assert sum(charge.amount for charge in ledger.charges.values()) == 1 + 50 * 3


async def test_little_is_overspent_once_the_cost_of_a_block_is_known(postgres: PostgresServer) -> None:
    async with built_with_credits(postgres) as (built, ledger):
        ledger.balances["anna"] = 1_000
        graph_of(built, 3)
        async with running(built.bus, BLOCKS):
            started = await built.client().start()
            await built.client().events(started.id)
            await until(lambda: len(ledger.charges) == 4, "what the blocks cost is known")
            ledger.balances["anna"] = 20
            graph_of(built, 200)
            await built.client().start(graph_version=0)
            await until(lambda: ledger.balances["anna"] <= 0, "the credits are used up")
            low = ledger.balances["anna"]

    # Other tasks than those that were sent by then are not.
    assert low > -3 * 16


async def test_who_asked_for_it_fails_without_credits(postgres: PostgresServer) -> None:
    async with built_with_credits(postgres) as (built, ledger):
        ledger.balances["anna"] = 10
        graph_of(built, 50)
        async with running(built.bus, BLOCKS):
            started = await built.client().start(credits_policy=calls.CREDITS_POLICY_FAIL)
            await built.client().events(started.id)
        ended = await built.client().get(started.id)

    assert ended.status == FAILED
    assert ended.status_message == "the credits of its owner have run out"


async def test_charges_are_told_when_the_account_service_is_back(postgres: PostgresServer) -> None:
    async with built_with_credits(postgres, hold=500) as (built, ledger):
        ledger.balances["anna"] = 1_000
        graph_of(built, 2)
        async with running(built.bus, BLOCKS):
            first = await built.client().start()
            await built.client().events(first.id)
            await until(lambda: len(ledger.charges) == 3, "the first is charged")
            ledger.away = True
            second = await built.client().start()
            await built.client().events(second.id)
            assert len(ledger.charges) == 3
            ledger.away = False
            await until(lambda: len(ledger.charges) == 6, "the second is charged")

    assert ledger.balances["anna"] == 1_000 - 2 * 7


async def test_without_the_account_service_a_start_is_to_be_tried_again(postgres: PostgresServer) -> None:
    async with built_with_credits(postgres) as (built, ledger):
        ledger.away = True
        graph_of(built, 1)

        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await built.client().start()

    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


async def test_who_takes_over_charges_what_was_not_charged(postgres: PostgresServer) -> None:
    async with built_with_credits(postgres, hold=500) as (built, ledger):
        ledger.balances["anna"] = 1_000
        graph_of(built, 4)
        async with running(built.bus, BLOCKS):
            first = await built.client().start()
            await built.client().events(first.id)
            await until(lambda: len(ledger.charges) == 5, "the first is charged")
            ledger.away = True
            second = await built.client().start()
            await built.client().events(second.id)
        await built.replicas[0].close()
        ledger.away = False
        await built.add_replica()
        await until(lambda: len(ledger.charges) == 10, "the next owner charges the rest")

    assert ledger.balances["anna"] == 1_000 - 2 * 13


MARKS_WAIT = """
CREATE FUNCTION execution.wait() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN PERFORM pg_advisory_xact_lock_shared(26); RETURN NEW; END';
CREATE TRIGGER wait BEFORE UPDATE OF charged_through ON execution.partitions FOR EACH ROW
    EXECUTE FUNCTION execution.wait();
"""


def hold(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
    raise Held
    yield


def paid(task: Task, partition: int) -> Message:
    """The end of a held task in a message to a partition, which need not be its own."""
    finish = Finish(outcome=Outcome.OUTCOME_COMPLETED, outputs=1, stats=b'{"cost": 3}')
    result = Result(
        execution_id=task.execution_id,
        node_execution=task.node_execution,
        attempt=task.attempt,
        partition=task.partition,
        run_id=1,
        outputs=[Output(pin="value", index=0, value=b"1")],
        finish=finish,
    )
    batch = ResultBatch(runner_id="another", batch=task.execution_id[-1] + 1, pool="default", results=[result])
    return Message(f"blockyard.result.{partition}", batch.SerializeToString())


async def test_what_a_new_owner_commits_before_it_knows_the_marks_is_charged(postgres: PostgresServer) -> None:
    async with built_with_credits(postgres, replicas=2, hold=500) as (built, ledger), looking(built) as rows:
        ledger.balances["anna"] = 1_000
        graph = built.graph()
        graph.node("hold")
        graph.output("out")
        graph.link("hold.value", "out.value")
        built.catalogue.add(graph)

        async def partitions() -> dict[str, list[int]]:
            """By owner."""
            found = await rows.fetch("SELECT owner, array_agg(partition) FROM partitions GROUP BY owner")
            return {row[0]: row[1] for row in found}

        async def shared() -> bool:
            owners = await partitions()
            return len(owners) == 2 and None not in owners

        await until(shared, "both have partitions")
        async with running(built.bus, {"hold": hold}) as runner:
            for number in range(20):
                await built.client(replica=number % 2).start()
            await until(lambda: len(runner.held) == 20, "all wait for their ends")
            before = await partitions()
            await rows.execute(MARKS_WAIT)
            await rows.execute("SELECT pg_advisory_lock(26)")
            await built.replicas.pop(0).close()
            [living] = await rows.fetchval("SELECT array_agg(replica_id) FROM replicas")
            kept = before[living]
            taken = [task for task in runner.held.values() if task.partition not in kept]

            async def waits() -> int:
                waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 26 AND NOT granted"
                count: int = await rows.fetchval(waiting)
                return count

            async def recorded() -> bool:
                count = await rows.fetchval("SELECT count(*) FROM node_executions WHERE stats <> ''")
                return bool(count == len(taken))

            await until(waits, "the new owner asks for the marks")
            await built.bus.publish_all([paid(task, kept[0]) for task in taken])
            await until(recorded, "their outcomes are recorded")
            assert not ledger.charges
            await rows.execute("SELECT pg_advisory_unlock(26)")
            await until(lambda: len(ledger.charges) == len(taken), "they are charged")

    assert taken
    assert ledger.balances["anna"] == 1_000 - 3 * len(taken)


async def test_what_was_done_without_credits_is_never_charged(postgres: PostgresServer) -> None:
    async with built_with_credits(postgres, replicas=0) as (built, ledger):
        ledger.balances["anna"] = 1_000
        graph_of(built, 4)
        async with running(built.bus, BLOCKS):
            await built.add_replica(credits_enabled=False)
            before = await built.client().start()
            await built.client().events(before.id)
            await built.replicas.pop().close()
            await built.add_replica()
            after = await built.client().start()
            await built.client().events(after.id)
            await until(lambda: len(ledger.charges) == 5, "the second is charged")

    executions = {charge.execution_id.hex() for charge in ledger.charges.values()}
    assert executions == {after.id.replace("-", "")}


async def test_it_is_noted_up_to_where_outcomes_are_charged(postgres: PostgresServer) -> None:
    async with built_with_credits(postgres) as (built, ledger):
        ledger.balances["anna"] = 1_000
        graph_of(built, 4)
        async with running(built.bus, BLOCKS):
            started = await built.client().start()
            await built.client().events(started.id)
            await until(lambda: len(ledger.charges) == 5, "all is charged")
        connection = await asyncpg.connect(built.database_url)
        try:

            async def noted() -> bool:
                return bool(
                    await connection.fetchval(
                        """
                        SELECT bool_and(charged_through = coalesce((
                            SELECT max(feed_sequence) FROM execution.turns t WHERE t.partition = p.partition), 0))
                        FROM execution.partitions p
                        """
                    )
                )

            await until(noted, "all partitions are noted as charged")
        finally:
            await connection.close()


async def test_what_is_held_of_an_idle_user_is_given_back_at_the_end(postgres: PostgresServer) -> None:
    async with built_with_credits(postgres) as (built, ledger):
        ledger.balances["anna"] = 1_000
        graph_of(built, 1)
        async with running(built.bus, BLOCKS):
            started = await built.client().start()
            await built.client().events(started.id)
            await until(lambda: sum(ledger.holds.values()) > 0, "something is held")
            await until(lambda: sum(ledger.holds.values()) == 0, "it is given back", 20)
