"""Commands are rows: any replica takes them, and each is taken once, in order (rules 11 and 12)."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import msgspec
from blockyard.dev.postgres import PostgresServer
from blockyard.execution.v1 import execution_service_pb2 as messages
from blockyard.execution.v1.execution_pb2 import ExecutionStatus
from blockyard.graph.v1.block_pb2 import Effect
from blockyard.runner.v1.task_pb2 import Task

from services.execution.commands import CommandKind, Stop, encode_command, hint_payload, hint_subject
from services.execution.engine import Fact, StopRequested
from services.execution.repository.executions import ExecutionRepository
from tests.integration.execution.house import house
from tests.integration.execution.protocol_runner import Held, Silent, running
from tests.integration.execution.test_guarantees import ambiguous, echo, first_run, one_node
from tests.integration.execution.test_looking import database, new
from tests.integration.execution.test_lost_commits import WAITING_TURNS, looking
from tests.waiting import until


def held(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
    raise Held


async def test_any_replica_takes_a_start_and_a_stop(postgres: PostgresServer) -> None:
    async with house(postgres) as built, looking(built) as rows:
        one_node(built)
        await built.add_replica()
        await built.add_replica()
        shared = "SELECT count(DISTINCT owner) = 2 FROM partitions"
        await until(lambda: rows.fetchval(shared), "both replicas hold partitions")
        async with running(built.bus, {"work": held}) as runner:
            started = [await built.client(replica=at % 2).start() for at in range(8)]
            await until(lambda: len(runner.held) == 8, "all run")
            for at, execution in enumerate(started):
                # Asked of both in turn, so some of those that do not drive it.
                request = messages.StopExecutionRequest(execution_id=execution.id)
                answer = await built.client(replica=at // 2 % 2).call("StopExecution", request)
                assert answer.execution.status == ExecutionStatus.EXECUTION_STATUS_CANCELLED


async def test_a_command_with_the_same_request_id_is_one_command(postgres: PostgresServer) -> None:
    async with house(postgres, lease_seconds=30) as built, looking(built) as rows:
        one_node(built, effect=Effect.EFFECT_ONCE)
        await built.add_replica()
        async with running(built.bus, {"work": first_run(echo, Silent)}) as runner:
            client = built.client()
            execution = await client.start()
            await ambiguous(client, execution.id)
            (task,) = runner.ran
            decided = messages.ResumeNodeRequest(
                execution_id=execution.id,
                node_execution=task.node_execution,
                decision=messages.DECISION_COMPLETE,
                outputs_json=json.dumps({"result": [42]}).encode(),
                request_id="once",
            )
            async with rows.transaction():
                # No turn is committed meanwhile, so both come before the first is taken.
                await rows.execute("LOCK TABLE turns IN SHARE MODE")
                await client.call("ResumeNode", decided)
                await client.call("ResumeNode", decided)
            await client.events(execution.id)
            assert await client.results(execution.id) == {"out": [42]}
            assert await rows.fetchval("SELECT count(*) FROM commands") == 1


async def test_a_command_that_is_repeated_after_it_was_taken_is_answered_as_before(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        one_node(built, effect=Effect.EFFECT_ONCE)
        await built.add_replica()
        async with running(built.bus, {"work": first_run(echo, Silent)}) as runner:
            client = built.client()
            execution = await client.start()
            await ambiguous(client, execution.id)
            (task,) = runner.ran
            decided = messages.ResumeNodeRequest(
                execution_id=execution.id,
                node_execution=task.node_execution,
                decision=messages.DECISION_COMPLETE,
                outputs_json=json.dumps({"result": [42]}).encode(),
                request_id="once",
            )
            answer = await client.call("ResumeNode", decided)
            await client.events(execution.id)
            # By a client that has not got the answer.
            assert await client.call("ResumeNode", decided) == answer
            assert await client.results(execution.id) == {"out": [42]}


async def test_a_command_is_numbered_after_those_that_were_committed_before_it(postgres: PostgresServer) -> None:
    async with house(postgres) as built, looking(built) as rows, looking(built) as witness:
        one_node(built)
        await built.add_replica()
        async with running(built.bus, {"work": held}) as runner:
            client = built.client()
            execution = await client.start()
            await until(lambda: runner.held, "the task runs")
            kind, body = encode_command(Stop("the first"))
            transaction = rows.transaction()
            await transaction.start()
            await rows.execute("UPDATE executions SET commands = commands + 1, wake_at = now()")
            await rows.execute("INSERT INTO commands VALUES ($1, 1, $2, $3)", UUID(execution.id), kind, body)
            request = messages.StopExecutionRequest(execution_id=execution.id)
            stopping = asyncio.create_task(client.call("StopExecution", request))
            waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND locktype = 'transactionid')"
            await until(lambda: witness.fetchval(waits), "the second command waits for the first")
            await transaction.commit()
            await stopping
            found = await rows.fetch("SELECT number, kind FROM commands ORDER BY number")
            assert [tuple(row) for row in found] == [(1, CommandKind.STOP), (2, CommandKind.STOP)]
            assert (await client.get(execution.id)).status_message == "the first"


async def test_a_command_becomes_a_fact_once_however_often_it_is_read(postgres: PostgresServer) -> None:
    async with house(postgres, lease_seconds=30) as built, looking(built) as rows, looking(built) as witness:
        one_node(built)
        await built.add_replica()
        async with running(built.bus, {"work": held}) as runner:
            client = built.client()
            execution = await client.start()
            await until(lambda: runner.held, "the task runs")
            await until(lambda: witness.fetchval("SELECT count(*) = 2 FROM turns"), "it is told that it does")
            (task,) = runner.held.values()
            partition = await witness.fetchval("SELECT partition FROM executions")
            reads: set[object] = set()

            async def read_often() -> bool:
                """Has the command read by the hints that come while a turn is on its way."""
                built.bus.publish_now(hint_subject(partition), hint_payload(UUID(execution.id)))
                reads.update(row["query_start"] for row in await witness.fetch(READS_OF_COMMANDS))
                return len(reads) >= 4

            async with rows.transaction():
                await rows.execute("LOCK TABLE turns IN SHARE MODE")
                await runner.say(task, 5, running=True)
                await until(lambda: witness.fetchval(WAITING_TURNS), "a turn is on its way")
                request = messages.StopExecutionRequest(execution_id=execution.id)
                stopping = asyncio.create_task(client.call("StopExecution", request))
                await until(lambda: witness.fetchval("SELECT count(*) = 1 FROM commands"), "the command is stored")
                await until(read_often, "the command is read several times")
            await stopping
            found = await rows.fetch("SELECT facts FROM turns ORDER BY turn")
            facts = [fact for row in found for fact in msgspec.msgpack.decode(row["facts"], type=list[Fact])]
            assert [fact for fact in facts if isinstance(fact, StopRequested)] == [StopRequested(1, "stopped by anna")]


READS_OF_COMMANDS = """
SELECT query_start FROM pg_stat_activity
WHERE datname = current_database() AND query LIKE '%JOIN commands c ON%' AND pid <> pg_backend_pid()
"""


async def test_a_stop_of_what_has_ended_stores_nothing(postgres: PostgresServer) -> None:
    async with house(postgres) as built, looking(built) as rows:
        one_node(built)
        await built.add_replica()
        async with running(built.bus, {"work": echo}):
            client = built.client()
            execution = await client.start()
            await client.events(execution.id)
            ended = await client.get(execution.id)
            request = messages.StopExecutionRequest(execution_id=execution.id)
            answer = await client.call("StopExecution", request)
            assert answer.execution.status == ended.status == ExecutionStatus.EXECUTION_STATUS_COMPLETED
            assert answer.execution.last_event_sequence == ended.last_event_sequence
            assert await rows.fetchval("SELECT count(*) FROM commands") == 0


async def test_a_number_is_drawn_only_with_the_row_of_its_command(database_url: str) -> None:
    async with database(database_url) as pool:
        executions = ExecutionRepository(pool)
        started = [new() for _ in range(3)]
        ids = [each.execution_id for each in started]
        await executions.start(started, {})
        kind, body = encode_command(Stop("stopped by anna"))
        await executions.command(ids[0], kind, body, "one")
        await pool.execute("UPDATE executions SET wake_at = now() + interval '1 day'")
        assert await executions.command(ids[0], kind, body, "one") == 0
        # Repeated, and so neither numbered nor due.
        assert await pool.fetchval("SELECT count(*) FROM executions WHERE commands = 1 AND wake_at > now()") == 1

        singles = [executions.command(ids[at % 2], kind, body, f"request {at % 6}") for at in range(24)]
        await asyncio.gather(*singles, *(executions.command_each(ids, kind, body) for _ in range(6)))
        numbers = await pool.fetch(
            """
            SELECT e.commands, array_agg(c.number ORDER BY c.number) AS stored
            FROM executions e JOIN commands c USING (execution_id) GROUP BY e.execution_id, e.commands
            """
        )
        assert sorted(row["commands"] for row in numbers) == [6, 6 + 3, 6 + 3 + 1]
        assert all(row["stored"] == list(range(1, row["commands"] + 1)) for row in numbers)


async def test_a_stop_that_comes_too_late_is_answered_with_how_it_ended(postgres: PostgresServer) -> None:
    async with house(postgres) as built, looking(built) as rows, looking(built) as witness:
        one_node(built)
        await built.add_replica()
        client = built.client()
        execution = await client.start()
        await until(lambda: witness.fetchval("SELECT turn FROM turns WHERE turn = 1"), "its first turn")
        async with rows.transaction():
            # It ends after the stop has read it, and before the command is stored.
            await rows.execute("UPDATE executions SET status = 4, end_time = now()")
            stopping = asyncio.create_task(
                client.call("StopExecution", messages.StopExecutionRequest(execution_id=execution.id))
            )
            await until(lambda: witness.fetchval(WAITING_COMMANDS), "the command waits for the row")
        assert (await stopping).execution.status == ExecutionStatus.EXECUTION_STATUS_COMPLETED


WAITING_COMMANDS = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%INSERT INTO commands%'
"""
