"""`python -m services.gateway.trial`: runs a graph as a client does, through the edge, and checks its result.

`helm test` runs it. Where to go is in BLOCKYARD_ADDRESS, as of any client; its token it signs with
BLOCKYARD_JWT_SECRET, or takes from BLOCKYARD_TOKEN. What has only just been installed is given time: services may be
away and blocks unknown until runners have told of them. The graph is deleted in the end.
"""

import asyncio
import os
import sys
import uuid

import blockyard
from blockyard.errors import BlockyardError
from blockyard.graphs import Graph

from services.common.identity import user_token

USER = "trial"
SECONDS = 120.0
PAUSE_SECONDS = 2.0
EXPECTED = {"answer": ["BLOCKYARD"]}


def trial_graph() -> Graph:
    """A block, between an input and an output."""
    graph = Graph(f"trial {uuid.uuid4()}")
    upper = graph.add("TextProcessingBlock", text=graph.input("text"), operation="upper")
    graph.output("answer", upper["processed_text"])
    return graph


async def run(client: blockyard.Client) -> None:
    """Raises when the graph cannot be run, or gives something else."""
    stored = await client.graphs.create(trial_graph())
    try:
        results = await client.run(stored.id, {"text": "blockyard"}, SECONDS)
    finally:
        await client.graphs.delete(stored.id)
    if results != EXPECTED:
        raise ValueError(f"expected {EXPECTED}, got {results}")


async def run_within_time(token: str) -> None:
    """The same, again and again until it works or the time is over: then the last error is raised."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + SECONDS
    async with blockyard.connect(token=token) as client:
        while True:
            try:
                return await run(client)
            except (BlockyardError, TimeoutError) as error:
                if clock() + PAUSE_SECONDS > deadline:
                    raise
                print(f"not yet: {error or type(error).__name__}", file=sys.stderr)
            await asyncio.sleep(PAUSE_SECONDS)


def main() -> int:
    """0 when all is well."""
    secret = os.environ.get("BLOCKYARD_JWT_SECRET", "")
    token = os.environ.get("BLOCKYARD_TOKEN") or user_token(secret, USER, "user", 10 * SECONDS)
    try:
        asyncio.run(run_within_time(token))
    except (BlockyardError, TimeoutError, ValueError) as error:
        print(f"the trial failed: {error or type(error).__name__}", file=sys.stderr)
        return 1
    print("A graph was run, and gave what it should.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
