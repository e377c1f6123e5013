"""A house for each test module that shares a runner, and one for each test that breaks things."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.integration.runner.house import House, house


@pytest.fixture
def broken_house(tmp_path: Path, runner: asyncio.Runner) -> Iterator[House]:
    """A house of the test's own, without a runner."""
    stack = AsyncExitStack()
    try:
        yield runner.run(stack.enter_async_context(house(tmp_path)))
    finally:
        runner.run(stack.aclose())


@pytest.fixture(scope="module")
def shared_house(tmp_path_factory: pytest.TempPathFactory, runner: asyncio.Runner) -> Iterator[House]:
    """A house with one runner, for tests that leave it as it was."""
    stack = AsyncExitStack()
    try:
        built = runner.run(stack.enter_async_context(house(tmp_path_factory.mktemp("runner"))))
        runner.run(built.add_runner())
        yield built
    finally:
        runner.run(stack.aclose())
