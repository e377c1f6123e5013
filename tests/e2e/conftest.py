"""The whole stack, once for all end-to-end tests of a test process, and clients of it."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import blockyard
import pytest
from blockyard.client import Client
from blockyard.dev import Stack

from tests.e2e.models import answer
from tests.unit.ai.model_server import ModelServer


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of the stack: BLOCKYARD_HOME for what is started beside it."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def models(runner: asyncio.Runner) -> Iterator[ModelServer]:
    """A server of models in this process, which notes what it was asked."""
    resources = AsyncExitStack()
    try:
        yield runner.run(resources.enter_async_context(ModelServer(answer)))
    finally:
        runner.run(resources.aclose())


@pytest.fixture(scope="session")
def stack(runner: asyncio.Runner, home: Path, models: ModelServer) -> Iterator[Stack]:
    """PostgreSQL, NATS, the services, the edge and two runners, whose blocks ask the server of models."""
    resources = AsyncExitStack()
    try:
        settings = {"BLOCKYARD_AI_OPENAI_BASE_URL": f"{models.url}/v1", "BLOCKYARD_AI_OPENAI_KEY": "test"}
        yield runner.run(resources.enter_async_context(Stack(home, notifications=1, edge=True, environment=settings)))
    finally:
        runner.run(resources.aclose())


@pytest.fixture(scope="session")
def client(runner: asyncio.Runner, stack: Stack, home: Path) -> Iterator[Client]:
    """A client as a user gets it: by the state that the stack has left."""
    resources = AsyncExitStack()
    try:
        yield runner.run(resources.enter_async_context(blockyard.connect(home=home)))
    finally:
        runner.run(resources.aclose())
