"""What a new owner finds in rows, and in which order it takes it (rules 13, 16, 17, 18 and 19)."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import asyncpg
import prometheus_client
import pytest
from blockyard.dev.postgres import PostgresServer
from blockyard.execution.v1 import execution_service_pb2 as messages
from blockyard.execution.v1.execution_pb2 import ExecutionStatus
from blockyard.graph.v1.block_pb2 import Effect
from blockyard.runner.v1.result_pb2 import Finish, Outcome, Output, Result, ResultBatch
from blockyard.runner.v1.task_pb2 import Task

from services.common.bus import Ack, Message
from services.common.ids import new_id
from services.execution import leases
from services.execution.commands import Stop, encode_command
from services.execution.repository.leases import LeaseRepository
from services.execution.repository.turns import HEAD_BYTES, HEAD_TURNS
from services.execution.snapshots import FEWEST_FACTS
from tests.integration.execution.house import House, Replica, house
from tests.integration.execution.protocol_runner import Held, Silent, running
from tests.integration.execution.test_guarantees import ambiguous, echo, first_run, one_node
from tests.integration.execution.test_lost_commits import looking
from tests.integration.execution.test_recovery import begin, count_down, loop
from tests.metrics import value
from tests.waiting import until


def held(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
    raise Held


async def close(built: House, replica: Replica) -> None:
    """An orderly end of a replica."""
    await replica.close()
    built.replicas.remove(replica)


# Snapshots


async def test_a_load_reads_the_snapshot_and_the_turns_after_it_alone(postgres: PostgresServer) -> None:
    async with house(postgres) as built, looking(built) as rows:
        loop(built, 2500)
        first = await built.add_replica()
        async with running(built.bus, {"begin": begin, "count": count_down}) as runner:
            execution = await built.client().start()
            await until(lambda: len(runner.ran) > 1300, "it is well on its way")
            await close(built, first)
            turn = await rows.fetchval("SELECT max(turn) FROM snapshots")
            await rows.execute("UPDATE turns SET facts = 'cannot be replayed' WHERE turn <= $1", turn)
            await built.add_replica()
            client = built.client()
            await client.events(execution.id, timeout=60)
            assert await client.results(execution.id) == {"out": [0]}


def rounds(built: House, name: str, count: int, carried: int = 0, waiting: int = 0) -> None:
    """A graph that goes round so often with a text of so many characters, while another one waits for the end."""
    graph = built.graph(name)
    graph.node("begin", many=("value", "waiting"), value=[count, "x" * carried], waiting="x" * waiting)
    graph.node("count", "count")
    graph.node("work")
    graph.output("out")
    graph.link("begin.value", "count.left")
    graph.link("count.again", "count.left")
    graph.link("count.done", "work.a")
    graph.link("begin.waiting", "work.b")
    graph.link("work.result", "out.value")
    built.catalogue.add(graph)


def both(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
    yield "value", inputs["value"]
    yield "waiting", inputs["waiting"]


def until_the_last(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
    left, carried = inputs["left"]
    if not left:
        raise Held
    yield "again", [left - 1, carried]


async def test_executions_with_few_and_many_small_and_large_turns_are_loaded_together(postgres: PostgresServer) -> None:
    async with house(postgres, partitions=1) as built, looking(built) as rows:
        rounds(built, "few", 3)
        rounds(built, "many", 2 * HEAD_TURNS)
        rounds(built, "large", HEAD_TURNS // 2, carried=HEAD_BYTES // 8)
        rounds(built, "one-too-large", 3, carried=2 * HEAD_BYTES)
        rounds(built, "snapshot", FEWEST_FACTS + 3 * HEAD_TURNS)
        rounds(built, "large-snapshot", FEWEST_FACTS + 3 * HEAD_TURNS, waiting=2 * HEAD_BYTES)
        first = await built.add_replica()
        async with running(built.bus, {"begin": both, "count": until_the_last, "work": echo}) as runner:
            executions = [await built.client().start(name) for name in built.catalogue.graphs]
            await until(lambda: len(runner.held) == len(executions), "all wait in their last round", 60)
            sizes = await rows.fetch("SELECT octet_length(state) <= $1 FROM snapshots ORDER BY 1", HEAD_BYTES)
            assert [small for (small,) in sizes] == [False, True]
            await close(built, first)
            await built.add_replica()
            for task in runner.held.values():
                finish = Finish(outcome=Outcome.OUTCOME_COMPLETED)
                await runner.say(task, 1, [Output(pin="done", value=b"7")], finish)
            for execution in executions:
                await built.client().events(execution.id)
                assert await built.client().results(execution.id) == {"out": [7]}


async def test_turns_go_on_while_a_snapshot_cannot_be_stored(postgres: PostgresServer) -> None:
    async with house(postgres, lease_seconds=30) as built, looking(built) as rows, looking(built) as witness:
        loop(built, 1500)
        await built.add_replica()
        async with running(built.bus, {"begin": begin, "count": count_down}), rows.transaction():
            await rows.execute("LOCK TABLE snapshots IN SHARE MODE")
            client = built.client()
            execution = await client.start()
            await client.events(execution.id, timeout=60)
            assert await client.results(execution.id) == {"out": [0]}
            waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'snapshots'::regclass"
            assert await witness.fetchval(waits) == 1


# What is given up, and what is loaded


async def test_an_orderly_end_gives_the_partitions_up_at_once(postgres: PostgresServer) -> None:
    # With a lease so long that nobody could wait for its end.
    async with house(postgres, lease_seconds=600) as built, looking(built) as rows:
        one_node(built)
        first = await built.add_replica()
        execution = await built.client().start()
        await until(lambda: rows.fetchval("SELECT count(*) FROM turns"), "it has begun")
        await until(lambda: value("blockyard_tasks_runnable", pool="default") == 1, "a task that waits is counted")
        assert value("blockyard_tasks_oldest_seconds", pool="default") > 0
        assert value("blockyard_partitions_held") == value("blockyard_partitions") == 4
        await close(built, first)
        assert await rows.fetchval("SELECT count(*) FROM replicas") == 0
        # What others hold by now is not told of here any more.
        for metric in ("blockyard_partitions_held", "blockyard_executions_loaded"):
            assert value(metric) == 0
        for metric in ("blockyard_tasks_runnable", "blockyard_tasks_oldest_seconds"):
            assert value(metric, pool="default") == 0
        await built.add_replica()
        async with running(built.bus, {"work": echo}):
            await built.client().events(execution.id)
            assert await built.client().results(execution.id) == {"out": [1]}


async def test_a_replica_that_comes_asks_who_the_runners_are(postgres: PostgresServer) -> None:
    # Without runners nothing is sent, and they would tell of themselves an hour later.
    async with house(postgres, runner_silence=7200.0) as built:
        one_node(built)
        first = await built.add_replica()
        async with running(built.bus, {"work": echo}, heartbeat_seconds=3600.0):
            await close(built, first)
            await built.add_replica()
            execution = await built.client().start()
            await built.client().events(execution.id)
            assert await built.client().results(execution.id) == {"out": [1]}


async def test_tasks_that_wait_to_be_sent_are_sent_by_the_next_owner(postgres: PostgresServer) -> None:
    # Whatever is taken to be out is missed two hours later.
    async with house(postgres, heartbeat_seconds=3600.0, runner_silence=7200.0, window=1.0) as built:
        one_node(built)
        for _ in range(2):
            await built.add_replica()
        first, second = built.replicas
        blocks = {"work": first_run(echo, Held)}
        async with running(built.bus, blocks, slots=1, heartbeat_seconds=3600.0) as runner:
            client = built.client()
            executions = [await client.start() for _ in range(8)]
            await until(lambda: runner.held, "one of them runs, and the others wait")
            third = await built.add_replica(loaded_executions=2)
            # None of what the third has taken and has no room for was ever in its memory.
            await close(built, first)
            await close(built, second)
            await built.add_replica()
            await close(built, third)
            (task,) = runner.held.values()
            await runner.say(task, 1, [Output(pin="result", value=b"1")], Finish(outcome=Outcome.OUTCOME_COMPLETED))
            for execution in executions:
                await built.client().events(execution.id)
            assert len(runner.ran) == len(executions)


async def test_room_that_partitions_leave_behind_is_for_tasks_of_the_others(postgres: PostgresServer) -> None:
    # Heartbeats, with which tasks are sent too, come an hour later.
    async with house(postgres, partitions=2, runner_silence=7200.0, window=1.0) as built, looking(built) as rows:
        one_node(built)
        await built.add_replica()
        async with running(built.bus, {"work": held}, slots=1, heartbeat_seconds=3600.0) as runner:
            client = built.client()
            of_either = "SELECT count(DISTINCT partition) = 2 FROM executions WHERE status < 4"
            while not await rows.fetchval(of_either):
                await client.start()
            await until(lambda: runner.held, "one of them runs, and the others wait")
            while (task := next(iter(runner.held.values()))).partition == 0:
                runner.held.clear()
                await runner.say(task, 1, [Output(pin="result", value=b"1")], Finish(outcome=Outcome.OUTCOME_COMPLETED))
                await client.start()
                await until(lambda: runner.held, "the next one runs")
            while not await rows.fetchval(of_either):
                await client.start()
            # The newcomer takes the second partition, and with it the task that fills the window.
            await built.add_replica()
            await until(lambda: {task.partition for task in runner.held.values()} == {0, 1}, "one of the first runs")


async def test_replicas_tell_each_other_of_partitions_whatever_the_clock_says(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "BALANCE", 3600.0)
    async with house(postgres, lease_seconds=30) as built, looking(built) as rows:

        async def shares() -> list[int]:
            counts = "SELECT count(*) AS held FROM partitions JOIN replicas ON replica_id = owner GROUP BY owner"
            return [row["held"] for row in await rows.fetch(counts)]

        async def shared(*expected: int) -> bool:
            return await shares() == list(expected)

        first = await built.add_replica()
        await until(lambda: shared(4), "partitions are held by 4")
        await built.add_replica()
        await until(lambda: shared(2, 2), "partitions are held by 2 and 2")
        await close(built, first)
        await until(lambda: shared(4), "partitions are held by 4")


async def test_what_only_waits_is_loaded_when_it_is_addressed_and_not_before(postgres: PostgresServer) -> None:
    async with house(postgres) as built, looking(built) as rows:
        one_node(built, effect=Effect.EFFECT_ONCE)
        first = await built.add_replica()
        async with running(built.bus, {"work": first_run(echo, Silent)}):
            waiting = await built.client().start()
            await ambiguous(built.client(), waiting.id)
            row = await rows.fetchrow("SELECT wake_at > now() + interval '1 day' AS later, wake_reason FROM executions")
            assert row is not None
            assert tuple(row) == (True, "a timer, or a decision")
            await close(built, first)
            await rows.execute(COUNT_LOADS)
            await built.add_replica()
            client = built.client()
            other = await client.start()
            await client.events(other.id)
            loads = "SELECT count(*) FROM loads WHERE execution_id = $1"
            assert await rows.fetchval(loads, UUID(waiting.id)) == 0
            explained = await client.call("ExplainExecution", messages.ExplainExecutionRequest(execution_id=waiting.id))
            decided = messages.ResumeNodeRequest(
                execution_id=waiting.id,
                node_execution=explained.waiting[0].node_execution,
                decision=messages.DECISION_COMPLETE,
                outputs_json=json.dumps({"result": [42]}).encode(),
            )
            await client.call("ResumeNode", decided)
            await client.events(waiting.id)
            assert await client.results(waiting.id) == {"out": [42]}
            assert await rows.fetchval(loads, UUID(waiting.id)) == 1


COUNT_LOADS = """
CREATE TABLE loads (execution_id uuid);
GRANT INSERT ON loads TO execution;
CREATE FUNCTION note_load() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO execution.loads VALUES (new.execution_id);
    RETURN new;
END $$;
CREATE TRIGGER note_load BEFORE UPDATE ON executions FOR EACH ROW WHEN (new.loads > old.loads)
    EXECUTE FUNCTION note_load();
"""


async def test_an_execution_in_memory_is_due_so_that_lost_memory_is_found(postgres: PostgresServer) -> None:
    async with house(postgres) as built, looking(built) as rows:
        one_node(built)
        await built.add_replica()
        async with running(built.bus, {"work": first_run(echo, Silent)}) as runner:
            client = built.client()
            execution = await client.start()
            await until(lambda: runner.ran, "the task runs, and its runner forgets it")
            await until(lambda: rows.fetchval("SELECT status = 2 FROM executions"), "it is RUNNING")
            assert await rows.fetchval("SELECT wake_at <= now() AND wake_reason = 'in memory' FROM executions")
            # All memory goes with the lease, and nothing comes for the execution but the sweep.
            await rows.execute("DELETE FROM replicas")
            await client.events(execution.id)
            assert await client.results(execution.id) == {"out": [1]}


async def test_what_is_overdue_and_in_nobodys_memory_is_an_alert(postgres: PostgresServer) -> None:
    async with house(postgres) as built, looking(built) as rows:
        one_node(built)
        first = await built.add_replica()
        for _ in range(3):
            await built.client().start()
        await until(lambda: rows.fetchval("SELECT bool_and(status = 2) FROM executions"), "all have begun")
        await close(built, first)
        assert prometheus_client.REGISTRY.get_sample_value(OVERDUE) == 0
        await rows.execute("UPDATE executions SET wake_at = now() - interval '2 minutes'")
        # Memory has room for one of them.
        await built.add_replica(loaded_executions=1)
        await until(lambda: prometheus_client.REGISTRY.get_sample_value(OVERDUE), "those that wait are told")


OVERDUE = "blockyard_executions_overdue"


async def test_partitions_whose_owner_is_silent_are_nobodys(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        pool = await asyncpg.create_pool(built.database_url, server_settings={"search_path": "execution"})
        try:
            leases = LeaseRepository(pool)
            await leases.join("silent", "there", 0.0, 4)
            await leases.join("alive", "here", 30.0, 4)
            await pool.execute("UPDATE partitions SET owner = CASE WHEN partition < 3 THEN 'silent' ELSE 'alive' END")
            assert sorted(await leases.orphans()) == [0, 1, 2]
        finally:
            await pool.close()


async def test_no_row_that_has_not_ended_is_without_a_time_and_a_reason(postgres: PostgresServer) -> None:
    async with house(postgres) as built, looking(built) as rows:
        one_node(built)
        await built.add_replica()
        await built.client().start()
        for column in ("wake_at", "wake_reason"):
            with pytest.raises(asyncpg.NotNullViolationError):
                await rows.execute(f"UPDATE executions SET {column} = NULL")


async def test_an_execution_ends_at_its_wall_time_whatever_it_waits_for(postgres: PostgresServer) -> None:
    async with house(postgres, max_duration=1.5) as built:
        one_node(built, effect=Effect.EFFECT_ONCE)
        await built.add_replica()
        async with running(built.bus, {"work": first_run(echo, Silent)}):
            client = built.client()
            execution = await client.start()
            await client.events(execution.id)
            found = await client.get(execution.id)
            assert found.status == ExecutionStatus.EXECUTION_STATUS_FAILED
            assert found.status_message == "limit reached: it ran for 1.5 seconds"


# The order of things at a take-over


async def publish(built: House, batches: list[ResultBatch]) -> None:
    sent = [Message(f"blockyard.result.{batch.results[0].partition}", batch.SerializeToString()) for batch in batches]
    answers = await built.bus.publish_all(sent)
    assert all(isinstance(answer, Ack) for answer in answers)


def result(task: Task, value: bytes) -> Result:
    return Result(
        execution_id=task.execution_id,
        node_execution=task.node_execution,
        attempt=task.attempt,
        partition=task.partition,
        run_id=1,
        outputs=[Output(pin="result", value=value)],
        finish=Finish(outcome=Outcome.OUTCOME_COMPLETED, outputs=1),
    )


async def until_over(rows: "asyncpg.Connection[asyncpg.Record]", seconds: float) -> None:
    """Returns when an execution that began has been going on for longer than this."""
    over = "SELECT bool_and(create_time < now() - $1 * interval '1 second') FROM executions"
    await until(lambda: rows.fetchval(over, seconds), "its time is over")


async def test_results_of_before_a_take_over_come_before_its_timers(postgres: PostgresServer) -> None:
    async with house(postgres, partitions=1, max_duration=2.0) as built, looking(built) as rows:
        one_node(built)
        first = await built.add_replica()
        async with running(built.bus, {"work": held}, heartbeat_seconds=0.1) as runner:
            execution = await built.client().start()
            await until(lambda: runner.held, "the task runs")
            (task,) = runner.held.values()
            runner.held.clear()
            await close(built, first)
            # Its result lies at the end of a long line when its time is over.
            stray = Task(execution_id=new_id().bytes, node_execution=1, attempt=1, partition=0)
            batches = [ResultBatch(runner_id="gone", results=[result(stray, b"0")]) for _ in range(3000)]
            await publish(built, [*batches, ResultBatch(runner_id="gone", results=[result(task, b"7")])])
            await until_over(rows, 2.5)
            await built.add_replica()
            client = built.client()
            await client.events(execution.id)
            assert (await client.get(execution.id)).status_message == ""
            assert await client.results(execution.id) == {"out": [7]}


async def test_commands_of_before_a_take_over_come_before_its_timers(postgres: PostgresServer) -> None:
    async with house(postgres, max_duration=1.5) as built, looking(built) as rows:
        one_node(built)
        first = await built.add_replica()
        async with running(built.bus, {"work": held}) as runner:
            execution = await built.client().start()
            await until(lambda: runner.held, "the task runs")
            await close(built, first)
            kind, body = encode_command(Stop("stopped in time"))
            await rows.execute("UPDATE executions SET commands = 1")
            await rows.execute("INSERT INTO commands VALUES ($1, 1, $2, $3)", UUID(execution.id), kind, body)
            await until_over(rows, 2.0)
            await built.add_replica()
            await built.client().events(execution.id)
            assert (await built.client().get(execution.id)).status_message == "stopped in time"


# What is fixed at the start


async def test_an_execution_goes_on_with_the_plan_of_its_start(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        one_node(built)
        first = await built.add_replica()
        execution = await built.client().start()
        await close(built, first)
        changed = built.graph()
        changed.node("work", "another block", effect=Effect.EFFECT_PURE, a=2)
        changed.output("other")
        changed.link("work.result", "other.value")
        built.catalogue.add(changed)
        await built.add_replica()
        async with running(built.bus, {"work": echo, "another block": echo}) as runner:
            client = built.client()
            await client.events(execution.id)
            assert await client.results(execution.id) == {"out": [1]}
            assert [(task.block_id, task.schema_hash) for task in runner.ran] == [("work", "hash of work")]
            new = await client.start()
            await client.events(new.id)
            assert await client.results(new.id) == {"other": [2]}


@pytest.mark.parametrize(("before", "after"), [(3, 7), (7, 3)])
async def test_an_execution_stays_in_the_partition_of_its_start_and_is_driven_there(
    postgres: PostgresServer, before: int, after: int
) -> None:
    async with house(postgres) as built, looking(built) as rows:
        one_node(built)
        first = await built.add_replica(partitions=before)
        started = [await built.client().start() for _ in range(12)]
        await close(built, first)
        found = await rows.fetch("SELECT execution_id, partition FROM executions")
        stored = {row["execution_id"]: row["partition"] for row in found}
        await built.add_replica(partitions=after)
        async with running(built.bus, {"work": echo}) as runner:
            for execution in started:
                await built.client().events(execution.id)
            assert {UUID(bytes=task.execution_id): task.partition for task in runner.ran} == stored
        strayed = """
        SELECT count(*) FROM turns JOIN executions USING (execution_id) WHERE turns.partition <> executions.partition
        """
        assert await rows.fetchval(strayed) == 0
