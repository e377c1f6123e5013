"""The load of a rollout: chains that never wait, and requests to a server that counts them."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx2
from aiohttp import web
from blockyard.client import Client
from blockyard.errors import BlockyardError
from blockyard.graphs import Graph

CHAIN = 200
CHAINS_AT_ONCE = 6
REQUESTS = 5
REQUESTERS_AT_ONCE = 6
SLOW_SECONDS = 1.5
"""What a request of every other execution takes: some are on their way whenever a runner is told to end."""
PROBE_SECONDS = 0.02


@dataclass(slots=True, eq=False)
class Load:
    """What was done until now."""

    chains: list[str] = field(default_factory=list)
    """Executions of no-ops in a row, which have nothing to wait for."""
    requested: list[str] = field(default_factory=list)
    """URLs; each has to be asked for REQUESTS times."""
    hits: Counter[str] = field(default_factory=Counter)
    """How often each was."""
    failures: list[str] = field(default_factory=list)
    """Executions that did not come to their results, or could not be started."""
    probes: int = 0
    probe_failures: list[tuple[float, str]] = field(default_factory=list)
    """(time.time(), what) of calls of REST that had no good answer."""
    slowest_probe: float = 0.0
    """Seconds."""


@asynccontextmanager
async def counting(load: Load) -> AsyncIterator[str]:
    """A server that counts what is asked of it; gives its URL."""

    async def count(request: web.Request) -> web.Response:
        load.hits[str(request.url)] += 1
        if "slow" in request.query:
            await asyncio.sleep(SLOW_SECONDS)
        return web.json_response({})

    application = web.Application()
    application.router.add_post("/{name}", count)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def chain() -> Graph:
    """No-ops in a row."""
    graph = Graph(f"chain of {CHAIN}")
    value = graph.input("value")
    for _ in range(CHAIN):
        value = graph.add("NoOperationBlock", value=value)["value"]
    graph.output("value", value)
    return graph


def requests() -> Graph:
    """Requests of a URL, one after the other."""
    graph = Graph(f"{REQUESTS} requests")
    url = graph.input("url")
    body = graph.input("body")
    for _ in range(REQUESTS):
        body = graph.add("SendWebRequestBlock", url=url, method="POST", body=body)["response"]
    graph.output("body", body)
    return graph


async def run_until(ended: asyncio.Event, client: Client, rest: httpx2.AsyncClient, url: str, load: Load) -> None:
    """Executions one after the other, several at once, until the event; then until the last of them has ended."""
    chains = (await client.graphs.create(chain())).id
    requesting = (await client.graphs.create(requests())).id

    async def run_chains() -> None:
        while not ended.is_set():
            try:
                execution = await client.executions.start(chains, {"value": 1})
                load.chains.append(execution.id)
                await execution.result(120)
            except (BlockyardError, TimeoutError) as error:
                load.failures.append(f"a chain: {error!r}")

    async def request(number: int) -> None:
        count = 0
        while not ended.is_set():
            count += 1
            asked = f"{url}/{number}-{count}" + ("?slow=1" if number % 2 else "")
            load.requested.append(asked)
            try:
                await client.run(requesting, {"url": asked, "body": {}}, 120)
            except (BlockyardError, TimeoutError) as error:
                load.failures.append(f"requests: {error!r}")

    async def probe() -> None:
        while not ended.is_set():
            began = time.monotonic()
            try:
                answer = await rest.get("/api/graphs")
                if answer.status_code != 200:
                    load.probe_failures.append((time.time(), f"{answer.status_code} {answer.text[:200]}"))
            except httpx2.HTTPError as error:
                load.probe_failures.append((time.time(), repr(error)))
            load.probes += 1
            load.slowest_probe = max(load.slowest_probe, time.monotonic() - began)
            await asyncio.sleep(PROBE_SECONDS)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(CHAINS_AT_ONCE):
            tasks.create_task(run_chains())
        for number in range(REQUESTERS_AT_ONCE):
            tasks.create_task(request(number))
        tasks.create_task(probe())
