"""The client against the real services."""

import asyncio
from pathlib import Path

import blockyard
import pytest
from blockyard import sync
from blockyard.client import Client, ExecutionStatus, NodeStatus
from blockyard.dev import Stack
from blockyard.errors import ExecutionCancelled, ExecutionFailed, InvalidArgument, NotFound, Unauthenticated
from blockyard.events import EventKind
from blockyard.graphs import Graph, graph_from_mapping, graph_to_mapping


def shout(operation: str = "upper") -> Graph:
    graph = Graph("shout")
    upper = graph.add("TextProcessingBlock", "upper", text=graph.input("text"), operation=operation)
    graph.output("result", upper["processed_text"])
    return graph


def pause(seconds: float) -> Graph:
    graph = Graph("pause")
    graph.output("done", graph.add("DelayBlock", "slow", seconds=seconds, value="later")["value"])
    return graph


async def test_the_graph_of_the_readme_runs(client: Client) -> None:
    assert await client.run(shout(), {"text": "hello"}, timeout=30) == {"result": ["HELLO"]}


async def test_an_id_runs_the_active_version_and_a_record_its_own(client: Client) -> None:
    first = await client.graphs.create(shout())
    second = await client.graphs.update(first.id, shout("reverse"))

    runs = [await client.run(graph, {"text": "hello"}, timeout=30) for graph in (first.id, second, first)]

    assert runs == [{"result": ["olleh"]}, {"result": ["olleh"]}, {"result": ["HELLO"]}]


async def test_events_tell_the_run_without_gaps(client: Client) -> None:
    graph = await client.graphs.create(shout())
    execution = await client.executions.start(graph.id, {"text": "hello"})

    events = [event async for event in execution.watch()]

    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert events[0].kind is EventKind.EXECUTION_STARTED
    assert events[-1].kind is EventKind.EXECUTION_COMPLETED
    outputs = [event.value for event in events if event.kind is EventKind.EXECUTION_OUTPUT]
    assert outputs == ["HELLO"]
    assert [event async for event in execution.watch(after=events[2].sequence)] == events[3:]
    assert [event async for event in client.executions.events(execution.id)] == events
    assert [event async for event in execution.watch(after=len(events))] == []


async def test_node_executions_show_inputs_and_outputs(client: Client) -> None:
    graph = await client.graphs.create(shout())
    execution = await client.executions.start(graph.id, {"text": "hello"})
    await execution.wait(timeout=30)

    (node,) = [node async for node in execution.nodes("upper")]

    assert node.status is NodeStatus.COMPLETED
    assert node.inputs == {"text": "hello", "operation": "upper"}
    assert node.outputs["processed_text"] == ["HELLO"]
    assert node.task_id == f"{execution.id}-{node.number}"


@pytest.mark.parametrize("value", [2**63 - 1, -(2**63), 2**53 + 1, 1.5, True, None, "\x00ü", [{"a": [1]}]])
async def test_values_survive_every_path(client: Client, value: object) -> None:
    graph = Graph("same")
    graph.output("constant", graph.add("NoOperationBlock", value={"x": value})["value"])
    graph.output("linked", graph.add("NoOperationBlock", value=graph.input("given"))["value"])
    results = await client.run(graph, {"given": {"x": value}}, timeout=30)
    assert results == {"constant": [{"x": value}], "linked": [{"x": value}]}


async def test_a_stored_graph_comes_back_as_it_was_written(client: Client) -> None:
    stored = await client.graphs.create(shout())
    again = graph_from_mapping(graph_to_mapping((await client.graphs.get(stored.id)).content))
    written = shout().to_proto()
    assert [node.id for node in again.nodes] == [node.id for node in written.nodes]
    assert [node.inputs_json for node in again.nodes] == [node.inputs_json for node in written.nodes]
    assert list(again.links) == list(written.links)


async def test_the_same_request_id_is_one_execution(client: Client) -> None:
    graph = await client.graphs.create(shout())
    first = await client.executions.start(graph.id, {"text": "a"}, request_id="e2e-once")
    second = await client.executions.start(graph.id, {"text": "a"}, request_id="e2e-once")
    assert first.id == second.id


async def test_a_stopped_execution_is_cancelled(client: Client) -> None:
    graph = await client.graphs.create(pause(600))
    execution = await client.executions.start(graph.id)
    async for event in execution.watch():
        if event.kind is EventKind.NODE_QUEUED:
            break
    assert (await execution.explain()).summary

    stopped = await execution.stop()

    assert stopped.status is ExecutionStatus.CANCELLED
    assert (await execution.stop()).status is ExecutionStatus.CANCELLED
    with pytest.raises(ExecutionCancelled):
        await execution.result(timeout=10)


async def test_a_failed_node_fails_the_execution_with_its_message(client: Client) -> None:
    graph = Graph("failing")
    graph.add("GetListItemBlock", list=[1], index=7)
    with pytest.raises(ExecutionFailed, match="Index out of range"):
        await client.run(graph, timeout=30)


async def test_what_is_wrong_with_a_graph_is_said_at_once(client: Client) -> None:
    graph = Graph("wrong")
    graph.add("NoSuchBlock", "a")
    graph.add("TextProcessingBlock", "b", colour="red")
    found = await client.graphs.validate(graph)
    assert {error.field.split(".")[0] for error in found.errors} == {"nodes[0]", "nodes[1]"}
    with pytest.raises(InvalidArgument) as caught:
        await client.graphs.create(graph)
    assert caught.value.reason == "GRAPH_INVALID"
    assert caught.value.violations == found.errors


async def test_inputs_that_do_not_fit_are_refused(client: Client) -> None:
    graph = await client.graphs.create(shout())
    with pytest.raises(InvalidArgument) as caught:
        await client.executions.start(graph.id, {"txet": "hello"})
    assert caught.value.reason == "INPUTS_INVALID"
    assert {violation.field for violation in caught.value.violations} == {"inputs.text", "inputs.txet"}


async def test_what_belongs_to_another_is_not_found(client: Client, stack: Stack, home: Path) -> None:
    graph = await client.graphs.create(shout())
    execution = await client.executions.start(graph.id, {"text": "mine"})
    async with blockyard.connect(token=stack.user_token("somebody-else"), home=home) as other:
        with pytest.raises(NotFound):
            await other.graphs.get(graph.id)
        with pytest.raises(NotFound):
            await other.executions.get(execution.id)
        with pytest.raises(NotFound):
            await other.executions.start(graph.id, {"text": "mine"})
        assert [one async for one in other.graphs.list()] == []


async def test_an_expired_token_is_refused(stack: Stack, home: Path) -> None:
    expired = stack.user_token("developer", life_seconds=-3600)
    async with blockyard.connect(token=expired, home=home) as client:
        with pytest.raises(Unauthenticated) as caught:
            await client.executions.get("0190c0de-0000-7000-8000-000000000001")
    assert caught.value.reason == "TOKEN_EXPIRED"


async def test_the_sync_client_runs_a_graph(stack: Stack, home: Path) -> None:
    def work() -> dict[str, list[object]]:
        with sync.connect(home=home) as client:
            return client.run(shout(), {"text": "hello"}, timeout=30)

    assert await asyncio.to_thread(work) == {"result": ["HELLO"]}
