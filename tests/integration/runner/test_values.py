"""What runs keep beyond their execution, as a runner asks for it, whatever happens to the other side."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from blockyard.common.v1.errors_pb2 import NodeErrorReason
from blockyard.dev.ports import free_port
from blockyard.runner.v1 import value_service_pb2 as messages
from blockyard.runner.v1.result_pb2 import Outcome
from blockyard.runner.v1.value_service_pb2_grpc import ValueServiceServicer, add_ValueServiceServicer_to_server
from grpc_status import rpc_status

from blocks.flow.persistence import PersistInformationBlock, RetrieveInformationBlock
from services.common import error_status
from services.common.errors import BlockyardError, FailedPrecondition, StorageFull, Unavailable
from tests.integration.runner.house import House, RunnerProcess

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(eq=False)
class ValueServer(ValueServiceServicer):
    """Keeps values by task, key and number, and fails calls as a test says."""

    failures: list[BlockyardError] = field(default_factory=list)
    """Of the next calls; a put has been made before its call fails."""
    puts: list[messages.PutValueRequest] = field(default_factory=list)
    kept: dict[tuple[int, str], bytes] = field(default_factory=dict)

    async def PutValue(self, request: messages.PutValueRequest, context: Context) -> messages.PutValueResponse:
        self.puts.append(request)
        self.kept[request.key.scope, request.key.key] = request.value
        await self._fail(context)
        return messages.PutValueResponse()

    async def GetValue(self, request: messages.GetValueRequest, context: Context) -> messages.GetValueResponse:
        await self._fail(context)
        return messages.GetValueResponse(value=self.kept.get((request.key.scope, request.key.key), b""))

    async def _fail(self, context: Context) -> None:
        if self.failures:
            parts = rpc_status.to_status(error_status.status_of(self.failures.pop(0)))
            await context.abort(parts.code, parts.details, parts.trailing_metadata)


@asynccontextmanager
async def serving(values: ValueServer, port: int) -> AsyncIterator[None]:
    server = grpc.aio.server()
    add_ValueServiceServicer_to_server(values, server)
    assert server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield
    finally:
        await server.stop(0)


async def runner_of(house: House, port: int) -> RunnerProcess:
    return await house.add_runner(packages='["blocks.flow.persistence"]', execution_address=f"127.0.0.1:{port}")


async def test_a_run_puts_and_gets_by_its_task_and_scope(broken_house: House) -> None:
    values, port = ValueServer(), free_port()
    await runner_of(broken_house, port)
    async with serving(values, port):
        put = await broken_house.owner.run(PersistInformationBlock(), key="k", value=[1], scope="across_agents")
        across = await broken_house.owner.run(RetrieveInformationBlock(), key="k", scope="across_agents")
        within = await broken_house.owner.run(RetrieveInformationBlock(), key="k", default_value="none")

    assert [each.on("value") for each in (put, across, within)] == [[[1]], [[1]], ["none"]]
    (request,) = values.puts
    assert request.task.execution_id == broken_house.owner.execution
    assert (request.task.node_execution, request.task.attempt, request.number) == (1, 1, 0)


async def test_a_run_waits_while_the_execution_service_is_away(broken_house: House) -> None:
    values, port = ValueServer(), free_port()
    runner = await runner_of(broken_house, port)
    owner = broken_house.owner
    task = owner.task(PersistInformationBlock(), key="k", value=1)
    await owner.send(task)
    await owner.until(lambda: "values cannot be kept or got, trying on" in runner.log, "the service is missed")
    assert owner.ended(task) is None
    async with serving(values, port):
        ended = await owner.end_of(task)

    assert ended.on("value") == [1]


async def test_a_write_whose_answer_is_lost_is_repeated_as_the_same_write(broken_house: House) -> None:
    values, port = ValueServer(failures=[Unavailable(), StorageFull(), Unavailable()]), free_port()
    await runner_of(broken_house, port)
    async with serving(values, port):
        ended = await broken_house.owner.run(PersistInformationBlock(), key="k", value="secret-word")

    assert ended.on("value") == ["secret-word"]
    assert len(values.puts) == 4
    assert len({request.SerializeToString(deterministic=True) for request in values.puts}) == 1


async def test_no_value_stands_in_the_log(broken_house: House) -> None:
    values, port = ValueServer(failures=[Unavailable(), FailedPrecondition("No.")]), free_port()
    runner = await broken_house.add_runner(
        packages='["blocks.flow.persistence"]', execution_address=f"127.0.0.1:{port}", log_level="DEBUG"
    )
    async with serving(values, port):
        await broken_house.owner.run(PersistInformationBlock(), key="k", value="a-secret-word")

    assert "trying on" in runner.log
    assert "a-secret-word" not in runner.log


async def test_the_timeout_of_a_run_ends_its_waiting(broken_house: House) -> None:
    await runner_of(broken_house, free_port())
    ended = await broken_house.owner.run(RetrieveInformationBlock(), key="k", timeout_ms=700)

    assert ended.finish is not None
    assert ended.finish.reason == NodeErrorReason.NODE_ERROR_REASON_TIMEOUT


async def test_what_is_refused_fails_the_run_with_the_reason(broken_house: House) -> None:
    values, port = ValueServer(failures=[FailedPrecondition("The execution has ended.")]), free_port()
    await runner_of(broken_house, port)
    async with serving(values, port):
        refused = await broken_house.owner.run(PersistInformationBlock(), key="k", value=1)
        too_large = await broken_house.owner.run(PersistInformationBlock(), key="k", value="v" * (1 << 20))

    assert refused.finish is not None
    assert (refused.finish.outcome, refused.finish.error) == (Outcome.OUTCOME_FAILED, "The execution has ended.")
    assert too_large.finish is not None
    assert too_large.finish.error.startswith("value: 1,048,578 bytes as JSON, at most 1,048,576 are kept under a key")
    assert len(values.puts) == 1
