"""What scenarios work with: the stack, a client of it, an ear for its events, and the bare pipeline beside it."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from blockyard.client import Client
from blockyard.connection import Connection
from blockyard.dev.stack import Stack
from blockyard.graphs import Graph
from blockyard.records import Json

from services.common import bus
from tests.bench.completions import SUBJECT, Completions, NotCompleted
from tests.bench.loads import Load, chain, fan_out
from tests.bench.raw.pipeline import RawPipeline, raw_pipeline

EXECUTION_SERVICE = "execution-1"
RUNNERS = ("runner-1", "runner-2")
ENVIRONMENT = {"BLOCKYARD_EGRESS_ALLOW": "127.0.0.1"}
"""Runners may reach the servers of the bench."""
STARTS_AT_ONCE = 1_000
"""Further starts wait for one of these to be answered."""

END_SECONDS = 120.0
END_SECONDS_A_NODE = 0.01
WARM_CHAINS = 100
WARM_ITEMS = 1_000
WARM_ROUNDS = 3


@dataclass(slots=True, eq=False)
class Laboratory:
    """A stack that stands, and how it is loaded."""

    stack: Stack
    client: Client
    completions: Completions
    raw: RawPipeline
    quick: bool
    say: Callable[[str], None]
    _graphs: dict[str, str] = field(default_factory=dict)

    async def graph(self, graph: Graph) -> str:
        """The id of a graph, which is stored when it is asked for first."""
        if graph.name not in self._graphs:
            self._graphs[graph.name] = (await self.client.graphs.create(graph)).id
        return self._graphs[graph.name]

    async def start(self, graph_id: str, count: int, inputs: dict[str, Json]) -> list[str]:
        """Starts so many executions together; gives their ids."""
        room = asyncio.Semaphore(STARTS_AT_ONCE)

        async def start_one() -> str:
            async with room:
                return (await self.client.executions.start(graph_id, inputs)).id

        return list(await asyncio.gather(*(start_one() for _ in range(count))))

    async def time(self, load: Load, count: int) -> float:
        """Seconds from the first start's request to the last completed event of so many executions."""
        graph_id = await self.graph(load.graph)
        self.completions.forget()
        began = time.perf_counter()
        execution_ids = await self.start(graph_id, count, load.inputs)
        patience = END_SECONDS + END_SECONDS_A_NODE * load.nodes * count
        _, last = await self.completions.first_and_last_of(execution_ids, patience)
        results = await self.client.executions.results(execution_ids[-1])
        if results != load.results:
            raise NotCompleted(f"execution {execution_ids[-1]} came to {results} instead of {load.results}")
        return last - began

    async def time_chains(self, count: int, length: int) -> float:
        """Seconds that so many chains take together."""
        return await self.time(chain(length), count)

    async def time_fan_out(self, items: int) -> float:
        """Seconds that one fan-out takes, and its collecting."""
        return await self.time(fan_out(items), 1)

    async def warm_up(self) -> None:
        """Runs a bit of everything: plans, prepared statements and connections are there afterwards."""
        for _ in range(1 if self.quick else WARM_ROUNDS):
            await self.time_chains(WARM_CHAINS, 10)
            await self.time_fan_out(WARM_ITEMS)
            await self.raw.run(WARM_CHAINS, 10)

    async def fresh_execution_service(self) -> None:
        """Restarts the execution service and warms it, so that its memory tells of what comes next alone."""
        await self.stack.restart(EXECUTION_SERVICE)
        await self.time_chains(WARM_CHAINS, 1)


async def developer_token(stack: Stack) -> str:
    """The token that the stack has made for its user."""
    return stack.token


@asynccontextmanager
async def laboratory(
    home: Path,
    quick: bool,
    say: Callable[[str], None],
    settings: Mapping[str, str] = MappingProxyType({}),
    identify: Callable[[Stack], Awaitable[str]] = developer_token,
    *,
    postgres_settings: Mapping[str, str] = MappingProxyType({}),
    notifications: int = 0,
) -> AsyncIterator[Laboratory]:
    """A stack with one execution replica and two runners, for as long as the block lasts.

    It has default settings but for those given. `identify` says with which token or key it is asked.
    """
    completions = Completions()
    environment = {**ENVIRONMENT, **settings}
    stack_of_its_own = Stack(
        home,
        runners=len(RUNNERS),
        replicas=1,
        notifications=notifications,
        environment=environment,
        postgres_settings=postgres_settings,
        report=say,
    )
    async with stack_of_its_own as stack:
        connection = Connection(stack.graph_address, stack.execution_address, await identify(stack))
        async with (
            Client(connection) as client,
            bus.connect(stack.nats.url, "bench") as events,
            raw_pipeline(stack, events) as raw,
        ):
            await events.subscribe(SUBJECT, completions.hear)
            yield Laboratory(stack, client, completions, raw, quick, say)
