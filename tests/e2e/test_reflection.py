"""From any language: what the services say of themselves by reflection is enough to run a graph."""

import asyncio
import re
import sys
from pathlib import Path

import grpc
import pytest
from blockyard.dev import Stack
from google.protobuf import descriptor_pool

from examples.any_language import GRAPH, Server, describe

ROOT = Path(__file__).parents[2]
EXECUTIONS = "blockyard.execution.v1.ExecutionService"


@pytest.fixture(scope="module")
def graphs(stack: Stack) -> Server:
    return Server(stack.graph_address, stack.token)


@pytest.fixture(scope="module")
def executions(stack: Stack) -> Server:
    return Server(stack.execution_address, stack.token)


async def test_the_services_are_listed(graphs: Server, executions: Server) -> None:
    own = {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
    assert {"blockyard.graph.v1.GraphService", "blockyard.graph.v1.BlockService", *own} <= await listed(graphs)
    assert {EXECUTIONS, *own} <= await listed(executions)


async def test_a_method_is_described_by_the_server_alone(executions: Server) -> None:
    def described() -> str:
        method = executions.method(EXECUTIONS, "WatchExecution")
        assert method.containing_service.file.pool is not descriptor_pool.Default()
        return describe(method)

    assert await asyncio.to_thread(described) == (
        f"{EXECUTIONS}.WatchExecution(execution_id, after_sequence) "
        "-> stream of blockyard.execution.v1.WatchExecutionResponse"
    )


async def test_a_graph_is_created_started_and_read(graphs: Server, executions: Server) -> None:
    def run() -> tuple[list[str], object]:
        graph = graphs.call("blockyard.graph.v1.GraphService/CreateGraph", graph=GRAPH)["graph"]
        started = executions.call(f"{EXECUTIONS}/StartExecution", graph_id=graph["id"], inputs={"text": "hello"})
        execution_id = started["execution"]["id"]
        answers = executions.call(f"{EXECUTIONS}/WatchExecution", execution_id=execution_id)
        results = executions.call(f"{EXECUTIONS}/GetExecutionResults", execution_id=execution_id)
        return [event["kind"] for answer in answers for event in answer["events"]], results["results"]

    kinds, results = await asyncio.to_thread(run)

    assert results == {"result": ["HELLO"]}
    assert (kinds[0], kinds[-1]) == ("EVENT_KIND_EXECUTION_STARTED", "EVENT_KIND_EXECUTION_COMPLETED")


async def test_a_call_without_a_good_token_is_refused_and_reflection_is_not(stack: Stack) -> None:
    stranger = Server(stack.graph_address, "no token")
    assert await listed(stranger)
    with pytest.raises(grpc.RpcError) as caught:
        await asyncio.to_thread(stranger.call, "blockyard.graph.v1.GraphService/ListGraphs")
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_the_example_needs_nothing_of_blockyard(stack: Stack, home: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "import runpy, sys; runpy.run_path('examples/any_language.py', run_name='__main__');"
        "print('imported:', [name for name in sys.modules if name.split('.')[0] == 'blockyard'])",
        env={"BLOCKYARD_HOME": str(home)},
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, errors.decode()
    lines = output.decode().splitlines()
    assert lines[-2:] == ["results: {'result': ['HELLO']}", "imported: []"]
    assert re.search(r"StartExecution\(graph_id, .*\) -> blockyard", output.decode())


async def listed(server: Server) -> set[str]:
    return set(await asyncio.to_thread(server.reflection.get_services))
