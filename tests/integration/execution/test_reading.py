"""What ExecutionService answers of executions that run, wait, or have left much behind."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest
from blockyard.dev.postgres import PostgresServer
from blockyard.execution.v1 import execution_service_pb2 as messages
from blockyard.execution.v1.execution_pb2 import ExecutionStatus, NodeExecution, NodeExecutionStatus
from blockyard.graph.v1.block_pb2 import BlockType, Effect
from blockyard.runner.v1.result_pb2 import Finish, Outcome
from blockyard.runner.v1.task_pb2 import Task

from services.common.structs import from_struct, to_struct
from tests.integration.execution.house import Client, House, house
from tests.integration.execution.protocol_runner import Block, ProtocolRunner, Silent, running
from tests.integration.execution.test_answers import eight_nodes
from tests.integration.execution.test_bad_input import refusal
from tests.integration.execution.test_guarantees import ambiguous, echo, first_run, one_node
from tests.integration.execution.test_lost_commits import hold, looking
from tests.waiting import until


def numbers(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
    for number in range(inputs["count"]):
        yield "item", number


def nothing(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
    yield from ()


async def pages_of_results(client: Client, execution_id: str, **fields: Any) -> list[dict[str, list[Any]]]:
    """GetExecutionResults to its end."""
    pages: list[dict[str, list[Any]]] = []
    token = ""
    while token or not pages:
        request = messages.GetExecutionResultsRequest(execution_id=execution_id, page_token=token, **fields)
        page = await client.call("GetExecutionResults", request)
        pages.append(json.loads(page.results_json) if page.results_json else from_struct(page.results))
        token = page.next_page_token
    return pages


def joined(pages: list[dict[str, list[Any]]]) -> dict[str, list[Any]]:
    results: dict[str, list[Any]] = {}
    for page in pages:
        for name, values in page.items():
            results.setdefault(name, []).extend(values)
    return results


# A number has two bytes in JSON, and eleven in a Struct.
LARGE = [("x" * 900_000, messages.VALUE_FORMAT_JSON), ([7] * 50_000, messages.VALUE_FORMAT_STRUCT)]


@pytest.mark.parametrize(("value", "value_format"), LARGE)
async def test_results_larger_than_a_message_are_read_in_pages_that_clients_take(
    postgres: PostgresServer, value: Any, value_format: messages.ValueFormat.ValueType
) -> None:
    async with house(postgres) as built:
        eight_nodes(built)
        await built.add_replica()
        async with running(built.bus, {"work": echo}):
            client = built.client()
            execution_id = (await client.start(inputs={"value": value})).id
            await client.events(execution_id)
        pages = await pages_of_results(client, execution_id, value_format=value_format)
        assert len(pages) > 1
        assert joined(pages) == {f"out{at}": [value] for at in range(8)}


async def test_a_list_of_results_goes_on_in_the_next_page(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        graph = built.graph()
        graph.node("numbers", many=("item",), count=25)
        graph.output("each")
        graph.output("again")
        graph.link("numbers.item", "each.value")
        graph.link("numbers.item", "again.value")
        built.catalogue.add(graph)
        await built.add_replica()
        async with running(built.bus, {"numbers": numbers}):
            client = built.client()
            execution_id = (await client.start()).id
            await client.events(execution_id)
        expected = {"again": list(range(25)), "each": list(range(25))}
        for size in (7, 25, 0):
            pages = await pages_of_results(
                client, execution_id, page_size=size, value_format=messages.VALUE_FORMAT_JSON
            )
            assert joined(pages) == expected
            assert all(sum(map(len, page.values())) <= (size or 50) for page in pages)

        first = await client.call(
            "GetExecutionResults", messages.GetExecutionResultsRequest(execution_id=execution_id, page_size=7)
        )
        other = (await client.start()).id
        elsewhere = messages.GetExecutionResultsRequest(execution_id=other, page_token=first.next_page_token)
        expected_refusal = ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID", ["page_token"])
        assert await refusal(client.call("GetExecutionResults", elsewhere)) == expected_refusal


async def test_an_execution_that_runs_tells_its_node_executions_so_far(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        graph = built.graph()
        graph.node("numbers", many=("item",), count=5)
        graph.node("each", "hold")
        graph.link("numbers.item", "each.a")
        built.catalogue.add(graph)
        await built.add_replica()
        async with running(built.bus, {"numbers": numbers, "hold": hold}) as runner:
            client = built.client()
            execution_id = (await client.start()).id
            await until(lambda: len(runner.held) == 5, "all run")

            execution = await client.get(execution_id)
            assert execution.status == ExecutionStatus.EXECUTION_STATUS_RUNNING
            assert execution.node_executions == 6
            (listed,) = (await client.call("ListExecutions", messages.ListExecutionsRequest())).executions
            assert listed.node_executions == 6
            request = messages.ExplainExecutionRequest(execution_id=execution_id)
            explained = await client.call("ExplainExecution", request)
            assert explained.execution.node_executions == 6


async def test_the_runner_that_holds_a_node_is_named_by_the_replica_that_drives_it(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        one_node(built)
        await built.add_replica()
        async with running(built.bus, {"work": hold}) as runner:
            client = built.client()
            execution_id = (await client.start()).id
            request = messages.ExplainExecutionRequest(execution_id=execution_id)

            async def named() -> Any:
                return [one.runner for one in (await client.call("ExplainExecution", request)).waiting if one.runner]

            assert await until(named, "the runner has told that it holds the node") == [runner.runner_id]


def joining(built: House, count: int) -> None:
    """A graph of a fan-out whose items wait for another value each, which never comes."""
    graph = built.graph()
    graph.node("numbers", many=("item",), count=count)
    graph.node("silent", "nothing")
    graph.node("both", "work")
    graph.node("held", "hold")
    graph.link("numbers.item", "both.a")
    graph.link("silent.result", "both.b")
    graph.link("numbers.item", "held.a")
    built.catalogue.add(graph)


async def nodes_of(client: Client, execution_id: str, node_id: str, size: int) -> list[list[NodeExecution]]:
    pages: list[list[NodeExecution]] = []
    token = ""
    while token or not pages:
        request = messages.ListNodeExecutionsRequest(
            execution_id=execution_id,
            node_id=node_id,
            page_size=size,
            page_token=token,
            value_format=messages.VALUE_FORMAT_JSON,
        )
        page = await client.call("ListNodeExecutions", request)
        pages.append(list(page.node_executions))
        token = page.next_page_token
    return pages


async def end(runner: ProtocolRunner, number: int) -> None:
    """The run of a node execution that is held ends well."""
    task = next(task for task in runner.held.values() if task.node_execution == number)
    del runner.held[(task.execution_id, number)]
    await runner.say(task, 1, [], Finish(outcome=Outcome.OUTCOME_COMPLETED))


async def _has_ended(client: Client, request: messages.ListNodeExecutionsRequest) -> bool:
    listed = await client.call("ListNodeExecutions", request)
    return bool(listed.node_executions[0].status == NodeExecutionStatus.NODE_EXECUTION_STATUS_COMPLETED)


@asynccontextmanager
async def joining_runs(built: House, count: int) -> AsyncIterator[tuple[Client, ProtocolRunner, str]]:
    """An execution of that graph, whose nodes "held" all run."""
    joining(built, count)
    await built.add_replica()
    blocks: dict[str, Block] = {"numbers": numbers, "nothing": nothing, "hold": hold}
    async with running(built.bus, blocks, slots=64) as runner:
        client = built.client()
        execution_id = (await client.start()).id
        await until(lambda: len(runner.held) == count, "all run")
        yield client, runner, execution_id


async def test_what_has_no_outcome_yet_is_listed_in_pages_by_number(postgres: PostgresServer) -> None:
    async with house(postgres) as built, joining_runs(built, 30) as (client, runner, execution_id):
        request = messages.ListNodeExecutionsRequest(execution_id=execution_id, node_id="held", page_size=7)
        first = await client.call("ListNodeExecutions", request)
        await end(runner, first.node_executions[0].number)
        await until(lambda: _has_ended(client, request), "one that is listed has ended")
        request.page_token, request.page_size = first.next_page_token, 100
        rest = await client.call("ListNodeExecutions", request)
        listed = {node.number for page in (first, rest) for node in page.node_executions}
        assert len(listed) == 30

        pages = await nodes_of(client, execution_id, "", 7)
        assert [len(page) for page in pages[:-1]] == [7] * (len(pages) - 1)
        nodes = [node for page in pages for node in page]
        held = [node for node in nodes if node.node_id == "held"]
        assert {node.number for node in held} == listed
        assert len(held) == 30
        incomplete = [node for node in nodes if node.status == NodeExecutionStatus.NODE_EXECUTION_STATUS_INCOMPLETE]
        assert sorted(json.loads(node.inputs_json)["a"] for node in incomplete) == list(range(30))
        assert len(nodes) == 62
        of_one = [node for page in await nodes_of(client, execution_id, "both", 7) for node in page]
        assert [json.loads(node.inputs_json) for node in of_one] == [
            json.loads(node.inputs_json) for node in incomplete
        ]


async def test_input_sets_that_were_never_full_are_listed_in_pages(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        graph = built.graph()
        graph.node("numbers", many=("item",), count=30)
        graph.node("silent", "nothing")
        graph.node("both", "work")
        graph.link("numbers.item", "both.a")
        graph.link("silent.result", "both.b")
        built.catalogue.add(graph)
        await built.add_replica()
        async with running(built.bus, {"numbers": numbers, "nothing": nothing}):
            client = built.client()
            execution_id = (await client.start()).id
            await client.events(execution_id)
        pages = await nodes_of(client, execution_id, "both", 7)
        assert [len(page) for page in pages] == [7, 7, 7, 7, 2]
        found = [node for page in pages for node in page]
        assert sorted(json.loads(node.inputs_json)["a"] for node in found) == list(range(30))


async def test_an_execution_that_somebody_locks_keeps_no_other_from_being_stopped(postgres: PostgresServer) -> None:
    async with house(postgres) as built, looking(built) as rows, looking(built) as witness:
        one_node(built)
        await built.add_replica()
        async with running(built.bus, {"work": hold}) as runner:
            client = built.client()
            started = [(await client.start()).id for _ in range(3)]
            await until(lambda: len(runner.held) == 3, "all run")
            transaction = rows.transaction()
            await transaction.start()
            await rows.execute("SELECT FROM executions WHERE execution_id = $1 FOR UPDATE", UUID(started[0]))
            stopping = asyncio.create_task(client.call("StopExecutions", messages.StopExecutionsRequest()))

            async def others_are_cancelled() -> bool:
                found = [(await client.get(execution_id)).status for execution_id in started[1:]]
                return set(found) == {ExecutionStatus.EXECUTION_STATUS_CANCELLED}

            await until(others_are_cancelled, "the others are stopped")
            assert not stopping.done()
            await transaction.commit()
            assert (await stopping).stopping == 3
            await client.events(started[0])
            assert (await client.get(started[0])).status == ExecutionStatus.EXECUTION_STATUS_CANCELLED
            numbered = await witness.fetch("SELECT number FROM commands")
            assert [row["number"] for row in numbered] == [1, 1, 1]
            again = await client.call("StopExecutions", messages.StopExecutionsRequest())
            assert again.stopping == 0


def deciding(execution_id: str, number: int, outputs: Any, **fields: Any) -> messages.ResumeNodeRequest:
    data = outputs if isinstance(outputs, bytes) else json.dumps(outputs).encode()
    return messages.ResumeNodeRequest(
        execution_id=execution_id,
        node_execution=number,
        decision=messages.DECISION_COMPLETE,
        outputs_json=data,
        **fields,
    )


async def undecided(client: Client, runner: ProtocolRunner) -> tuple[str, int]:
    """An execution, and the number of a node execution in it that waits for a decision."""
    execution_id = (await client.start()).id
    await ambiguous(client, execution_id)
    (task,) = runner.ran
    return execution_id, task.node_execution


def shaped(built: House, kind: BlockType.ValueType = BlockType.BLOCK_TYPE_STANDARD) -> None:
    """A graph of one node whose block says its pins: `result` gives one value, `each` many."""
    graph = built.graph()
    graph.node("work", effect=Effect.EFFECT_ONCE, many=("each",), a=1)
    graph.output("name")
    graph.output("all")
    graph.link("work.result_#_name", "name.value")
    graph.link("work.each", "all.value")
    pins: dict[str, Any] = {"result": {}, "each": {}, "error": {}}
    graph.blocks["work"].output_schema.CopyFrom(to_struct({"type": "object", "properties": pins}))
    graph.blocks["work"].type = kind
    built.catalogue.add(graph)


WRONG_OUTPUTS: list[tuple[Any, list[str]]] = [
    ({"reslt": [1]}, ["outputs_json.reslt"]),
    ({"result": [1, 2], "each": [1, 2]}, ["outputs_json.result"]),
    ({"error": ["no"]}, ["outputs_json.error"]),
    ({"result_#_name": ["x"]}, ["outputs_json.result_#_name"]),
    ({"result": 1}, ["outputs_json"]),
    (b"[" * 100, ["outputs_json"]),
    ({"result": ["x" * (4 << 20)]}, ["outputs_json"]),
    ({"result": [{"blockyard:blob": {}}]}, ["outputs_json"]),
]


async def test_a_decision_is_checked_as_what_a_runner_reports(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        shaped(built)
        await built.add_replica()
        async with running(built.bus, {"work": first_run(echo, Silent)}) as runner:
            client = built.client()
            execution_id, number = await undecided(client, runner)
            for outputs, paths in WRONG_OUTPUTS:
                found = await refusal(client.call("ResumeNode", deciding(execution_id, number, outputs)))
                assert found == ("INVALID_ARGUMENT", "INVALID_REQUEST", paths)
            for message in ("x" * 10_001, "\0"):
                request = messages.ResumeNodeRequest(
                    execution_id=execution_id, node_execution=number, decision=messages.DECISION_FAIL, message=message
                )
                found = await refusal(client.call("ResumeNode", request))
                assert found == ("INVALID_ARGUMENT", "INVALID_REQUEST", ["message"])

            good = {"result": [{"name": "Ada"}], "each": [1, 2]}
            await client.call("ResumeNode", deciding(execution_id, number, good))
            await client.events(execution_id)
            # The linked part of the value is passed on, as with what a block gives.
            assert await client.results(execution_id) == {"name": ["Ada"], "all": [1, 2]}


async def test_a_decision_may_use_pins_that_such_a_block_makes_itself(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        shaped(built, BlockType.BLOCK_TYPE_AI)
        await built.add_replica()
        async with running(built.bus, {"work": first_run(echo, Silent)}) as runner:
            client = built.client()
            execution_id, number = await undecided(client, runner)
            await client.call("ResumeNode", deciding(execution_id, number, {"tool": [1, 2], "each": [1]}))
            events = await client.events(execution_id)
            assert [event.value for event in events if event.pin == "tool"] == [b"1", b"2"]
            assert await client.results(execution_id) == {"all": [1]}


async def test_a_decision_is_possible_without_the_graph_service(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        shaped(built)
        await built.add_replica()
        async with running(built.bus, {"work": first_run(echo, Silent)}) as runner:
            client = built.client()
            execution_id, number = await undecided(client, runner)
            built.catalogue.graphs.clear()
            await until(lambda: _asked(built, client), "the graph is not known any more")
            await client.call("ResumeNode", deciding(execution_id, number, {"each": [1]}))
            await client.events(execution_id)
            assert await client.results(execution_id) == {"all": [1]}


async def _asked(built: House, client: Client) -> bool:
    code, _, _ = await refusal(client.start(graph_version=1))
    return code == "NOT_FOUND"


async def test_a_graph_may_be_named_by_its_id_in_capitals(postgres: PostgresServer) -> None:
    graph_id = "0190c0de-0000-7000-8000-00000000000a"
    async with house(postgres) as built:
        graph = built.graph(graph_id)
        graph.node("work", a=1)
        built.catalogue.add(graph)
        await built.add_replica()
        async with running(built.bus, {"work": hold}) as runner:
            client = built.client()
            execution_id = (await client.start(graph_id.upper())).id
            await until(lambda: runner.held, "it runs")
            listed = await client.call("ListExecutions", messages.ListExecutionsRequest(graph_id=graph_id.upper()))
            assert [execution.id for execution in listed.executions] == [execution_id]
            stop = messages.StopExecutionRequest(execution_id=execution_id.upper(), graph_id=graph_id.upper())
            stopped = await client.call("StopExecution", stop)
            assert stopped.execution.status == ExecutionStatus.EXECUTION_STATUS_CANCELLED


WITHOUT_OUTCOME = (
    NodeExecutionStatus.NODE_EXECUTION_STATUS_QUEUED,
    NodeExecutionStatus.NODE_EXECUTION_STATUS_RUNNING,
)
WAITS_FOR_SNAPSHOTS = """
SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database AND d.datname = current_database()
    WHERE l.relation = 'snapshots'::regclass AND NOT l.granted)
"""


async def test_a_node_execution_that_ends_while_it_is_listed_is_not_left_out(postgres: PostgresServer) -> None:
    async with house(postgres) as built, looking(built) as rows, looking(built) as witness:
        graph = built.graph()
        graph.node("work", "hold", a=1)
        graph.node("other", "hold", a=1)
        built.catalogue.add(graph)
        await built.add_replica()
        async with running(built.bus, {"hold": hold}) as runner:
            client = built.client()
            execution_id = (await client.start()).id
            await until(lambda: len(runner.held) == 2, "both run")
            number = min(task.node_execution for task in runner.held.values())
            request = messages.ListNodeExecutionsRequest(execution_id=execution_id)
            async with rows.transaction():
                # Outcomes have been read when the snapshot is.
                await rows.execute("LOCK TABLE snapshots IN ACCESS EXCLUSIVE MODE")
                listing = asyncio.create_task(client.call("ListNodeExecutions", request))
                await until(lambda: witness.fetchval(WAITS_FOR_SNAPSHOTS), "it is looked who is alive")
                await end(runner, number)
                await until(lambda: witness.fetchval("SELECT count(*) = 1 FROM node_executions"), "one ends")
            ended, alive = (await listing).node_executions
            assert (ended.number, alive.number) == (number, number + 1)
            assert ended.status == NodeExecutionStatus.NODE_EXECUTION_STATUS_COMPLETED
            assert alive.status in WITHOUT_OUTCOME


async def test_an_execution_that_ends_while_it_is_listed_is_listed_whole(postgres: PostgresServer) -> None:
    async with (
        house(postgres) as built,
        looking(built) as rows,
        looking(built) as witness,
        joining_runs(built, 3) as (client, _, execution_id),
    ):
        async with rows.transaction():
            await rows.execute("LOCK TABLE snapshots IN ACCESS EXCLUSIVE MODE")
            listing = asyncio.create_task(nodes_of(client, execution_id, "", 100))
            await until(lambda: witness.fetchval(WAITS_FOR_SNAPSHOTS), "it is looked who is alive")
            await client.call("StopExecution", messages.StopExecutionRequest(execution_id=execution_id))
        nodes = [node for page in await listing for node in page]
        # Two that have ended by themselves, three that were stopped, and three input sets that were never full.
        assert [node.status for node in nodes] == [
            *[NodeExecutionStatus.NODE_EXECUTION_STATUS_COMPLETED] * 2,
            *[NodeExecutionStatus.NODE_EXECUTION_STATUS_CANCELLED] * 3,
            *[NodeExecutionStatus.NODE_EXECUTION_STATUS_INCOMPLETE] * 3,
        ]


@pytest.mark.parametrize("all_end", [False, True])
async def test_what_ends_between_two_pages_is_on_one_of_them(postgres: PostgresServer, all_end: bool) -> None:
    async with house(postgres) as built, joining_runs(built, 30) as (client, runner, execution_id):
        request = messages.ListNodeExecutionsRequest(execution_id=execution_id, page_size=9)
        first = await client.call("ListNodeExecutions", request)
        assert first.node_executions[-1].status in WITHOUT_OUTCOME

        if all_end:
            await client.call("StopExecution", messages.StopExecutionRequest(execution_id=execution_id))
        else:
            ending = sorted(task.node_execution for task in runner.held.values())
            for number in (ending[0], ending[-1], ending[-9]):
                await end(runner, number)
            shown = messages.ListNodeExecutionsRequest(execution_id=execution_id, node_id="held", page_size=3)
            await until(lambda: _have_ended(client, shown), "three have ended")
        listed = list(first.node_executions)
        while first.next_page_token:
            request.page_token = first.next_page_token
            first = await client.call("ListNodeExecutions", request)
            listed += first.node_executions
        held = [node.number for node in listed if node.node_id == "held"]
        assert len(held) == len(set(held)) == 30
        assert len(listed) == 62


async def _have_ended(client: Client, request: messages.ListNodeExecutionsRequest) -> bool:
    listed = await client.call("ListNodeExecutions", request)
    completed = NodeExecutionStatus.NODE_EXECUTION_STATUS_COMPLETED
    return all(node.status == completed for node in listed.node_executions)
