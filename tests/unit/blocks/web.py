"""A block's client for tests: it reaches the test's own server by name, and nothing else."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from blockyard.block import Block, Context
from blockyard.block.preparation import prepare
from blockyard.block.resources import Factory
from blockyard.egress import Egress

from tests.unit.egress.network import Names, egress

NAMES = ("api.example.com", "example.com", "other.example")


def client_for(port: int) -> Factory[Egress]:
    """Opens a client for which some names are the server at that port of loopback."""

    @asynccontextmanager
    async def open_client() -> AsyncIterator[Egress]:
        allowed = ",".join(f"{name}:{port}" for name in NAMES)
        async with egress(allowed, Names({name: [["127.0.0.1"]] for name in NAMES})) as client:
            yield client

    return open_client


async def outputs_of(block: Block, unlocked: Any = None, /, **inputs: Any) -> list[tuple[str, Any]]:
    """Everything the block yields, in order; raises what makes it fail. `unlocked` is what its credentials give."""
    given = {} if unlocked is None else {"credentials": unlocked}
    return [output async for output in block.execute(prepare(block, inputs), Context(), given)]
