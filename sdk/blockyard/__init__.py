"""Blockyard's package for users: client, block SDK, event subscriber, CLI, and the stubs of the contract.

async with blockyard.connect() as client:
    print(await client.run(graph, {"text": "hello"}))
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from blockyard.client import Client as Client
    from blockyard.client import connect as connect
    from blockyard.errors import BlockyardError as BlockyardError
    from blockyard.graphs import Graph as Graph

_HOMES = {
    "Client": "blockyard.client",
    "connect": "blockyard.client",
    "BlockyardError": "blockyard.errors",
    "Graph": "blockyard.graphs",
}

__all__ = ["BlockyardError", "Client", "Graph", "connect"]


def __getattr__(name: str) -> Any:
    # Looked up on first use: services import the stubs and the block SDK from here, and need no client for that.
    if name not in _HOMES:
        raise AttributeError(f"module 'blockyard' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
