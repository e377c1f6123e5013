"""A database with the vault's schema for each module, and one provider for each test process."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest
from blockyard.dev.postgres import PostgresServer

from tests.integration.credentials.oauth.hostile_provider import HostileProvider, hostile_provider
from tests.integration.credentials.oauth.openid_provider import OpenIdProvider, running_provider
from tests.integration.credentials.oauth.vaults import Vaults, vaults


@pytest.fixture(scope="module")
def vault_database(runner: asyncio.Runner, postgres: PostgresServer) -> Iterator[Vaults]:
    with vaults(postgres, runner) as opened:
        yield opened


@pytest.fixture(scope="session")
def _running_provider(runner: asyncio.Runner) -> Iterator[OpenIdProvider]:
    stack = AsyncExitStack()
    try:
        yield runner.run(stack.enter_async_context(running_provider()))
    finally:
        runner.run(stack.aclose())


@pytest.fixture
def provider(runner: asyncio.Runner, _running_provider: OpenIdProvider) -> OpenIdProvider:
    """With its clock right, and its calls forgotten."""
    runner.run(_running_provider.reset())
    return _running_provider


@pytest.fixture(scope="module")
def _running_hostile(runner: asyncio.Runner) -> Iterator[HostileProvider]:
    stack = AsyncExitStack()
    try:
        yield runner.run(stack.enter_async_context(hostile_provider()))
    finally:
        runner.run(stack.aclose())


@pytest.fixture
def hostile(_running_hostile: HostileProvider) -> HostileProvider:
    """It behaves well, and was asked nothing."""
    _running_hostile.behaviours.clear()
    _running_hostile.asked.clear()
    return _running_hostile
