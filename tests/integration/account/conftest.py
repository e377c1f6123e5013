"""An account service for each module."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest
from blockyard.dev.postgres import PostgresServer

from tests.integration.account.service import Service, account_service


@pytest.fixture(scope="module")
def service(runner: asyncio.Runner, postgres: PostgresServer) -> Iterator[Service]:
    stack = AsyncExitStack()
    try:
        yield runner.run(stack.enter_async_context(account_service(postgres)))
    finally:
        runner.run(stack.aclose())
