"""A block that needs something of an operator, on the whole stack: without it, and beside a runner that has it."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import blockyard
import pytest
from blockyard.client import Client
from blockyard.dev import Stack
from blockyard.dev.ports import free_port
from blockyard.dev.services import ServiceProcess, service
from blockyard.errors import BlockyardError, InvalidArgument
from blockyard.graphs import Graph

from tests.integration.runner.blocks.configured import REASON, VARIABLE
from tests.waiting import until

ROOT = Path(__file__).parents[2]
BLOCKS = {"BLOCKYARD_PACKAGES": '["tests.integration.runner.blocks"]', "PYTHONPATH": str(ROOT)}


@asynccontextmanager
async def configured_runner(stack: Stack) -> AsyncIterator[ServiceProcess]:
    """A second runner of the same pool, which has what the block needs."""
    environment = {**BLOCKS, VARIABLE: "mail.example"}
    surroundings = replace(stack.surroundings, overrides=environment)
    runner = service(surroundings, "configured", "runner", port=free_port())
    await runner.start()
    try:
        yield runner
    finally:
        await runner.stop()


def fan_out() -> Graph:
    graph = Graph("fan-out")
    each = graph.add("StepThroughItemsBlock", items=list(range(40)))
    graph.output("server", graph.add("ConfiguredBlock", "configured", value=each["item"])["value"])
    return graph


async def refusal(client: Client) -> str:
    with pytest.raises(BlockyardError) as refused:
        await client.blocks.run("ConfiguredBlock", timeout=30)
    return str(refused.value)


async def test_a_block_is_unavailable_with_the_reason_until_a_runner_that_is_configured_for_it_registers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("BLOCKYARD_AI_")]:
        monkeypatch.delenv(name)
    async with (
        Stack(tmp_path, runners=1, environment=BLOCKS) as stack,
        blockyard.connect(home=tmp_path) as client,
    ):
        found = await client.blocks.get("ConfiguredBlock")
        assert (found.availability, found.unavailable_reason) == ("NOT_CONFIGURED", REASON)
        # A key is something that users bring: without one, the block can be placed, and its run says what is missing.
        assert (await client.blocks.get("AITextGeneratorBlock")).availability == "AVAILABLE"
        keyless = await client.blocks.run("AITextGeneratorBlock", {"prompt": "Hello"}, timeout=30)
        assert "there is no key for it: give the block credentials" in keyless.error
        assert (await client.blocks.get("AIResponseBlock")).availability == "NOT_CONFIGURED"
        available = {block.name async for block in client.blocks.list("configured", available_only=True)}
        assert available == set()
        with pytest.raises(InvalidArgument) as refused:
            await client.graphs.create(fan_out())
        (violation,) = refused.value.violations
        assert violation.field == "nodes[1].block_id"
        assert violation.description == f"ConfiguredBlock cannot be placed now: {REASON}"
        assert REASON in await refusal(client)

        async with configured_runner(stack) as runner:

            async def is_available() -> bool:
                assert runner.process.alive(), runner.process.last_lines()
                return (await client.blocks.get("ConfiguredBlock")).availability == "AVAILABLE"

            await until(is_available, "the block is available")
            # The other runner of the pool is given some of the tasks as well, and leaves them to this one.
            results = await client.run(fan_out(), timeout=120)
            assert results == {"server": ["mail.example"] * 40}
            once = await client.blocks.run("ConfiguredOnceBlock", timeout=60)
            assert once.outputs == {"value": ["mail.example"]}
            (version,) = await client.blocks.versions("ConfiguredBlock")
            assert sorted(one.unavailable_reason for one in version.runners if one.present) == ["", REASON]
