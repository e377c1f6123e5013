"""An edge with two replicas of a service behind it, for all tests of this folder in a test process."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from blockyard.dev.edge import Edge
from blockyard.dev.ports import free_port
from blockyard.execution.v1.execution_service_pb2 import GetExecutionResponse

from tests.integration.gateway.upstream import Answer, Upstream, answering
from tests.waiting import until

TIMEOUT_SECONDS = 2
BODY_BYTES = 2 << 20
SETTINGS = {
    "BLOCKYARD_EDGE_CORS_ORIGINS": "https://app.example",
    "BLOCKYARD_EDGE_TIMEOUT": str(TIMEOUT_SECONDS),
    "BLOCKYARD_EDGE_BODY_BYTES": str(BODY_BYTES),
    "BLOCKYARD_EDGE_CLIENT_RATE": "100000",
    "BLOCKYARD_EDGE_CLIENT_BURST": "100000",
}


@dataclass(eq=False)
class Front:
    """An edge, what stands behind it (no account service), and a client of REST."""

    edge: Edge
    graph: Upstream
    execution: tuple[Upstream, Upstream]
    client: httpx2.AsyncClient

    def answer(self, method: str, answer: Answer) -> str:
        """Have a method answered so, by whatever replica; returns its path."""
        path = f"/blockyard.{method}"
        for upstream in (self.graph, *self.execution):
            upstream.answers[path] = answer
            upstream.calls.clear()
        return path

    async def whole(self) -> None:
        """Returns once both replicas of execution are given calls: who failed in another test gets none for a while."""
        self.answer("execution.v1.ExecutionService/GetExecution", answering(GetExecutionResponse()))

        async def both() -> bool:
            await self.client.get("/api/executions/e")
            return all(one.calls for one in self.execution)

        await until(both, "both replicas are given calls")


@asynccontextmanager
async def fronted(folder: Path, settings: Mapping[str, str]) -> AsyncIterator[Front]:
    """An edge with these settings."""
    async with AsyncExitStack() as resources:
        graph, first, second = [await resources.enter_async_context(Upstream()) for _ in range(3)]
        endpoints = dict.fromkeys(("graph", "credentials", "notification"), graph.address)
        endpoints["execution"] = f"{first.address},{second.address}"
        edge = Edge(folder / "edge", free_port(), folder / "edge.log", endpoints, SETTINGS | dict(settings))
        resources.push_async_callback(edge.kill)
        await edge.start()
        client = await resources.enter_async_context(httpx2.AsyncClient(base_url=edge.url, timeout=20))
        yield Front(edge, graph, (first, second), client)


@pytest.fixture(scope="session")
def front(runner: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """The edge; tests leave all of it running."""
    resources = AsyncExitStack()
    try:
        yield runner.run(resources.enter_async_context(fronted(tmp_path_factory.mktemp("front"), {})))
    finally:
        runner.run(resources.aclose())
