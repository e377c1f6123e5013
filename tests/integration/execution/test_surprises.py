"""What nobody expects: bytes that mean nothing, commits that fail again and again, executions that are parked."""

import json
from typing import Any

import asyncpg
import grpc
import pytest
from blockyard.dev.postgres import PostgresServer
from blockyard.execution.v1 import execution_service_pb2 as messages
from blockyard.execution.v1.execution_pb2 import ExecutionStatus
from blockyard.graph.v1.block_pb2 import Effect
from blockyard.runner.v1.heartbeat_pb2 import ClaimRequest, ClaimResponse, Heartbeat, Holding
from blockyard.runner.v1.result_pb2 import Finish, Outcome, Output, Result, ResultBatch

from services.common.bus import Message
from services.execution.repository.leases import LeaseRepository
from tests.integration.execution.house import House, house
from tests.integration.execution.protocol_runner import ProtocolRunner, running
from tests.integration.execution.test_guarantees import echo, one_node
from tests.integration.execution.test_lost_commits import WAITING_TURNS, hold, let_go, looking
from tests.waiting import until


async def all_results_in_one_message(runner: ProtocolRunner) -> None:
    """All runs that are held end, and say so together."""
    batch = ResultBatch(runner_id=runner.runner_id, batch=1_000, pool="default")
    for key, task in list(runner.held.items()):
        del runner.held[key]
        batch.results.append(
            Result(
                execution_id=task.execution_id,
                node_execution=task.node_execution,
                attempt=task.attempt,
                partition=task.partition,
                run_id=1,
                outputs=[Output(pin="result", value=json.dumps(json.loads(task.inputs)["a"]).encode())],
                finish=Finish(outcome=Outcome.OUTCOME_COMPLETED, outputs=1),
            )
        )
    runner.kept[batch.batch] = batch
    await runner.send(batch)


async def test_commits_that_are_not_confirmed_take_nothing_from_the_window(postgres: PostgresServer) -> None:
    async with (
        house(postgres, lease_seconds=30, window=1.0, partitions=1) as built,
        looking(built) as lock,
        looking(built) as rows,
    ):
        one_node(built)
        await built.add_replica()
        async with running(built.bus, {"work": hold}, slots=6) as runner:
            client = built.client()
            started = [await client.start() for _ in range(6)]
            await until(lambda: len(runner.held) == 6, "the runner is full")
            async with lock.transaction():
                await lock.execute("LOCK TABLE turns IN SHARE MODE")
                await all_results_in_one_message(runner)
                pid = await until(lambda: rows.fetchval(WAITING_TURNS), "the turn with the results waits for the lock")
                await rows.execute("SELECT pg_terminate_backend($1, 20000)", pid)
            for execution in started:
                await client.events(execution.id)
            for _ in range(6):
                await client.start()
            await until(lambda: len(runner.held) == 6, "the runner is full again")


async def test_bytes_that_name_no_execution_do_no_harm(postgres: PostgresServer) -> None:
    async with house(postgres, partitions=1) as built:
        one_node(built)
        await built.add_replica()
        async with running(built.bus, {"work": echo}):
            client = built.client()
            await client.events((await client.start()).id)
            bad = Result(execution_id=b"short", node_execution=1, attempt=1, partition=0, run_id=1)
            batch = ResultBatch(runner_id="foreign", batch=1, pool="default", results=[bad])
            await built.bus.publish_all([Message("blockyard.result.0", batch.SerializeToString())])
            holding = Holding(execution_id=b"short", node_execution=1, attempt=1, partition=0, run_id=1)
            beat = Heartbeat(runner_id="foreign", pool="default", holdings=[holding])
            built.bus.publish_now("blockyard.heartbeat", beat.SerializeToString())
            claim = ClaimRequest(runner_id="foreign", run=holding).SerializeToString()
            answer = ClaimResponse.FromString((await built.bus.request("blockyard.claim.0", claim, 5.0)).data)
            assert not answer.granted
            execution = await client.start()
            await client.events(execution.id)
            assert await client.results(execution.id) == {"out": [1]}
            assert await taken_off(built)


async def taken_off(built: House) -> bool:
    async def none_left() -> bool:
        info = await built.bus.stream_info("RESULTS")
        return info is not None and info.messages == 0

    await until(none_left, "all results are off their stream")
    return True


async def test_an_unknown_decision_is_refused(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        one_node(built)
        await built.add_replica()
        client = built.client()
        execution = await client.start()
        request = messages.ResumeNodeRequest(execution_id=execution.id, node_execution=1)
        request.decision = 99  # type: ignore[assignment]  # enums of proto3 are open
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await client.call("ResumeNode", request)
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("loaded", [True, False])
async def test_a_command_that_cannot_be_read_parks_its_execution_alone(postgres: PostgresServer, loaded: bool) -> None:
    async with house(postgres) as built, looking(built) as rows:
        one_node(built)
        replica = await built.add_replica()
        async with running(built.bus, {"work": hold}) as runner:
            execution = await built.client().start()
            await until(lambda: len(runner.held) == 1, "the node runs")
            if not loaded:
                await replica.close()
                built.replicas.clear()
            await rows.execute("UPDATE executions SET commands = 1, wake_at = now()")
            await rows.execute(
                "INSERT INTO commands (execution_id, number, kind, body) VALUES ($1, 1, 2, '')", execution.id
            )
            if not loaded:
                await built.add_replica()
            why = "SELECT parked FROM executions WHERE parked IS NOT NULL"
            assert "command 1 cannot be read" in str(await until(lambda: rows.fetchval(why), "it is parked"))
            other = await built.client().start()
            await until(lambda: len(runner.held) == 2, "the other execution's node runs")
            await let_go(runner, other.id)
            await built.client().events(other.id)


async def test_a_result_for_a_parked_execution_is_kept(postgres: PostgresServer) -> None:
    async with house(postgres) as built, looking(built) as rows:
        one_node(built)
        replica = await built.add_replica()
        async with running(built.bus, {"work": hold}) as runner:
            execution = await built.client().start()
            await until(lambda: len(runner.held) == 1, "the node runs")
            await replica.close()
            built.replicas.clear()
            await rows.execute("UPDATE executions SET rules = 99")
            await built.add_replica()
            await until(lambda: rows.fetchval("SELECT parked FROM executions"), "it is parked")
            await let_go(runner, execution.id)
            await until(lambda: pending(built), "the result is in its stream")
            await rows.execute("UPDATE executions SET rules = 1, parked = NULL, wake_at = now()")
            events = await built.client().events(execution.id, timeout=60)
            assert (await built.client().get(execution.id)).status == ExecutionStatus.EXECUTION_STATUS_COMPLETED
            assert len(runner.ran) == 1
            assert events


async def pending(built: House) -> bool:
    info = await built.bus.stream_info("RESULTS")
    return info is not None and info.messages > 0


async def test_a_task_that_nats_finds_too_large_fails_its_node_and_holds_up_nobody(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        one_node(built)
        graph = built.graph("large")
        values: dict[str, Any] = {f"value_{at}": "x" * 250_000 for at in range(40)}
        graph.node("large", effect=Effect.EFFECT_IDEMPOTENT, **values)
        built.catalogue.add(graph)
        await built.add_replica()
        async with running(built.bus, {"work": echo, "large": echo}):
            client = built.client()
            large, usual = await client.start("large"), await client.start()
            await client.events(usual.id)
            assert await client.results(usual.id) == {"out": [1]}
            await client.events(large.id)
            found = await client.get(large.id)
            assert found.status == ExecutionStatus.EXECUTION_STATUS_FAILED
            assert "which NATS does not take" in found.status_message


async def test_joining_again_under_the_same_id_renews_the_row(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        pool = await asyncpg.create_pool(built.database_url, server_settings={"search_path": "execution"})
        try:
            leases = LeaseRepository(pool)
            await leases.join("me", "here", 0.0, 4)
            await leases.join("me", "here", 30.0, 4)
            assert await leases.living() == ["me"]
        finally:
            await pool.close()
