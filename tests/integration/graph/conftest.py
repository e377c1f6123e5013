"""A graph service for each module, with the blocks of the unit tests registered."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest
from blockyard.dev.postgres import PostgresServer

from tests.integration.graph.service import Service, graph_service
from tests.unit.graph.building import BLOCKS


@pytest.fixture(scope="module")
def service(runner: asyncio.Runner, postgres: PostgresServer) -> Iterator[Service]:
    stack = AsyncExitStack()
    try:
        opened = runner.run(stack.enter_async_context(graph_service(postgres)))
        runner.run(opened.register(BLOCKS))
        yield opened
    finally:
        runner.run(stack.aclose())
