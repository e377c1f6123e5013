"""The whole stack when a block does to its runner what no block should."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import blockyard
import pytest
from blockyard.client import Client
from blockyard.dev import Stack
from blockyard.errors import ExecutionFailed
from blockyard.graphs import Graph

ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def stack_with_bad_blocks(home: Path) -> AsyncIterator[Client]:
    """One runner, with the blocks that the runner's own tests have. Nobody starts again what ends for good."""
    environment = {"BLOCKYARD_PACKAGES": '["tests.integration.runner.blocks"]', "PYTHONPATH": str(ROOT)}
    async with Stack(home, runners=1, environment=environment), blockyard.connect(home=home) as client:
        yield client


@pytest.mark.parametrize("block", ["ExitingBlock", "ExitingThreadBlock"])
async def test_a_block_that_ends_its_process_fails_its_node_and_the_next_execution_finds_a_runner(
    tmp_path: Path, block: str
) -> None:
    bad, good = Graph("bad"), Graph("good")
    bad.output("result", bad.add(block, "exit", count=7)["value"])
    good.output("result", good.add("EchoBlock", "echo", value=good.input("value"))["value"])
    async with stack_with_bad_blocks(tmp_path) as client:
        bad_id, good_id = [(await client.graphs.create(graph)).id for graph in (bad, good)]

        with pytest.raises(ExecutionFailed) as failed:
            await client.run(bad_id, timeout=60)
        after = await client.run(good_id, {"value": 1}, timeout=60)

    assert "node exit failed: the block ended the process of its runner, which ended with exit code 7" in str(
        failed.value
    )
    assert after == {"result": [1]}
