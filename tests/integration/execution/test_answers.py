"""What ExecutionService answers when something is in the way: repeated starts, parts that are away, large answers."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from blockyard.dev.postgres import PostgresServer
from blockyard.event.v1.event_pb2 import Event
from blockyard.execution.v1 import execution_service_pb2 as messages
from blockyard.execution.v1.execution_pb2 import NodeExecution
from blockyard.runner.v1.task_pb2 import Task

from services.common.structs import from_struct
from tests.integration.execution.house import Client, House, house
from tests.integration.execution.protocol_runner import running
from tests.integration.execution.test_bad_input import Refused, adding, refusal
from tests.integration.execution.test_guarantees import echo, one_node
from tests.integration.execution.test_lost_commits import hold, looking
from tests.waiting import until


def forget_the_graph(built: House) -> None:
    built.catalogue.graphs.clear()


def want_another_input(built: House) -> None:
    """The graph's active version is another one now, which the earlier inputs do not fit."""
    graph = built.graph()
    graph.input("text", {"type": "string"}, required=True)
    built.catalogue.add(graph)


def reach_the_limit(built: House) -> None:
    """Nothing to do: one unfinished execution is the limit."""


REFUSALS: list[tuple[Callable[[House], None], str]] = [
    (reach_the_limit, "TOO_MANY_EXECUTIONS"),
    (forget_the_graph, "GRAPH_NOT_FOUND"),
    (want_another_input, "INPUTS_INVALID"),
]


@pytest.mark.parametrize(("change", "reason"), REFUSALS)
async def test_a_repeated_start_is_answered_as_the_first_whatever_refuses_a_new_one_now(
    postgres: PostgresServer, change: Callable[[House], None], reason: str
) -> None:
    async with house(postgres, unended_executions=1) as built:
        adding(built)
        await built.add_replica()
        client = built.client()
        first = await client.start(inputs={"number": 1}, request_id="once")
        change(built)

        assert (await refusal(client.start(inputs={"number": 1}, request_id="other")))[1] == reason
        assert (await client.start(inputs={"number": 1}, request_id="once")).id == first.id
        reused = await refusal(client.start(inputs={"number": 2}, request_id="once"))
        assert reused == ("ALREADY_EXISTS", "REQUEST_ID_REUSED", [])
        listed = await client.call("ListExecutions", messages.ListExecutionsRequest())
        assert [execution.id for execution in listed.executions] == [first.id]


async def test_readers_are_told_that_the_blob_store_is_away(postgres: PostgresServer) -> None:
    def large(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
        for number in range(100):
            yield "item", "x" * 4_000 + str(number)

    async with house(postgres) as built:
        graph = built.graph()
        graph.node("large", many=("item",))
        graph.node("gather", "COLLECT")
        graph.output("all")
        graph.link("large.item", "gather.item")
        graph.link("gather.items", "all.value")
        built.catalogue.add(graph)
        await built.add_replica()
        async with running(built.bus, {"large": large}):
            client = built.client()
            execution_id = (await client.start()).id
            await client.events(execution_id)
        blobs = [path for path in (built.folder / "blobs").rglob("*") if path.is_file()]
        assert blobs
        for path in blobs:  # What is there but cannot be read is away; what is not there is gone.
            path.unlink()
            path.symlink_to(path)

        away: Refused = ("UNAVAILABLE", "UNAVAILABLE", [])
        assert await refusal(client.events(execution_id)) == away
        for method, request in (
            ("ListEvents", messages.ListEventsRequest(execution_id=execution_id)),
            ("ListNodeExecutions", messages.ListNodeExecutionsRequest(execution_id=execution_id)),
        ):
            assert await refusal(client.call(method, request)) == away


async def test_an_execution_that_this_release_cannot_replay_says_so_to_who_looks(postgres: PostgresServer) -> None:
    async with house(postgres) as built, looking(built) as connection:
        one_node(built)
        await built.add_replica()
        async with running(built.bus, {"work": hold}) as runner:
            client = built.client()
            execution_id = (await client.start()).id
            await until(lambda: runner.held, "the node runs")
            await connection.execute("UPDATE executions SET rules = 0")

            retry = messages.ResumeNodeRequest(
                execution_id=execution_id, node_execution=1, decision=messages.DECISION_RETRY
            )
            expected: Refused = ("FAILED_PRECONDITION", "EXECUTION_NOT_READABLE", [])
            for method, request in (
                ("ExplainExecution", messages.ExplainExecutionRequest(execution_id=execution_id)),
                ("ListNodeExecutions", messages.ListNodeExecutionsRequest(execution_id=execution_id)),
                ("ResumeNode", retry),
            ):
                assert await refusal(client.call(method, request)) == expected
                with pytest.raises(grpc.aio.AioRpcError, match="it runs by rules 0 of the engine"):
                    await client.call(method, request)


def eight_nodes(built: House) -> None:
    """A graph that hands its input "value" to eight nodes and gives what each of them makes of it."""
    graph = built.graph()
    graph.input("value", {})
    for at in range(8):
        graph.node(f"work{at}", "work")
        graph.output(f"out{at}")
        graph.link("value.result", f"work{at}.a")
        graph.link(f"work{at}.result", f"out{at}.value")
    built.catalogue.add(graph)


async def pages_of_nodes(
    client: Client, execution_id: str, value_format: messages.ValueFormat.ValueType
) -> list[list[NodeExecution]]:
    """ListNodeExecutions to its end."""
    pages: list[list[NodeExecution]] = []
    token = ""
    while token or not pages:
        request = messages.ListNodeExecutionsRequest(
            execution_id=execution_id, page_token=token, value_format=value_format
        )
        page = await client.call("ListNodeExecutions", request)
        pages.append(list(page.node_executions))
        token = page.next_page_token
    return pages


async def pages_of_events(client: Client, execution_id: str) -> list[list[Event]]:
    """ListEvents to the execution's last event."""
    pages: list[list[Event]] = []
    complete = False
    while not complete:
        after = pages[-1][-1].sequence if pages else 0
        request = messages.ListEventsRequest(execution_id=execution_id, after_sequence=after)
        page = await client.call("ListEvents", request)
        assert page.events
        pages.append(list(page.events))
        complete = page.complete
    return pages


# As much JSON as gRPC's clients take by default would not do: in a Struct a number has five times as many bytes.
LARGE = [("x" * 900_000, messages.VALUE_FORMAT_JSON), ([7] * 30_000, messages.VALUE_FORMAT_STRUCT)]


@pytest.mark.parametrize(("value", "value_format"), LARGE)
async def test_a_history_larger_than_a_message_is_read_in_pages_that_clients_take(
    postgres: PostgresServer, value: Any, value_format: messages.ValueFormat.ValueType
) -> None:
    async with house(postgres) as built:
        eight_nodes(built)
        await built.add_replica()
        async with running(built.bus, {"work": echo}):
            client = built.client()
            execution_id = (await client.start(inputs={"value": value})).id
            watched = await client.events(execution_id)
        assert [event.sequence for event in watched] == list(range(1, len(watched) + 1))
        assert await client.events(execution_id) == watched

        listed = await pages_of_events(client, execution_id)
        assert [event for page in listed for event in page] == watched

        pages = await pages_of_nodes(client, execution_id, value_format)
        nodes = [node for page in pages for node in page]
        assert len(pages) > 1
        assert len(nodes) == len({node.number for node in nodes}) == 17
        for node in nodes:
            if node.node_id.startswith("work"):
                outputs = json.loads(node.outputs_json) if node.outputs_json else from_struct(node.outputs)
                assert outputs == {"result": [value]}


async def test_node_executions_that_are_alive_are_read_in_pages_that_clients_take(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        eight_nodes(built)
        await built.add_replica()
        async with running(built.bus, {"work": hold}) as runner:
            client = built.client()
            execution_id = (await client.start(inputs={"value": "x" * 900_000})).id
            await until(lambda: len(runner.held) == 8, "all nodes run")

            pages = await pages_of_nodes(client, execution_id, messages.VALUE_FORMAT_JSON)
            assert len(pages) > 1
            found = sorted(node.node_id for page in pages for node in page)
            assert found == ["value", *(f"work{at}" for at in range(8))]


async def test_a_list_of_executions_tells_the_last_event_of_each(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        graph = built.graph()
        graph.node("first", "work", a=1)
        graph.node("second", "hold")
        graph.link("first.result", "second.a")
        built.catalogue.add(graph)
        await built.add_replica()
        async with running(built.bus, {"work": echo, "hold": hold}) as runner:
            client = built.client()
            started = [(await client.start()).id for _ in range(2)]
            await until(lambda: len(runner.held) == 2, "the second nodes run")

            async def told() -> bool:
                # A turn may still come in between, with the news that the node runs.
                listed = await client.call("ListExecutions", messages.ListExecutionsRequest())
                last = {execution_id: (await stored(client, execution_id))[-1] for execution_id in started}
                return {each.id: each.last_event_sequence for each in listed.executions} == last

            await until(told, "the list has the last events", 5)


async def stored(client: Client, execution_id: str) -> list[int]:
    """Sequences of the events so far."""
    answer = await client.call("ListEvents", messages.ListEventsRequest(execution_id=execution_id))
    return [event.sequence for event in answer.events]
