"""The examples of subscribers on NATS, run as programs on the stack: each prints every event of what is started."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import nats
import pytest
from blockyard.client import Client
from blockyard.connection import find_nats_url
from blockyard.dev import Stack
from blockyard.event.v1.event_pb2 import EventBatch
from blockyard.graphs import Graph
from nats.aio.client import Client as NatsClient

from tests.waiting import until

EXAMPLES = Path(__file__).parents[2] / "examples" / "subscribe"
INSTALL_SECONDS = 150
ENDED = "ended with"
CHECKPOINT = "events.json"
CONSUMER = "example-plain"
PLAIN = [sys.executable, str(EXAMPLES / "plain_nats.py")]


@asynccontextmanager
async def printing(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> AsyncIterator[list[str]]:
    """The lines that a program prints, errors included, as they come."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, **environment},
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    lines: list[str] = []

    async def read() -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            lines.append(line.decode().rstrip())
        lines.append(f"{ENDED} {await process.wait()}")

    reading = asyncio.create_task(read())
    try:
        yield lines
    finally:
        if process.returncode is None:
            process.kill()
        await reading


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command of the example in Node, with its packages."""
    found, npm = shutil.which("node"), shutil.which("npm")
    if found is None or npm is None:
        pytest.skip("Node is not installed, so the example in Node is not run")
    folder = tmp_path_factory.mktemp("node")
    for name in ("package.json", "subscribe.mjs"):
        shutil.copyfile(EXAMPLES / name, folder / name)
    options = ["--no-audit", "--no-fund", "--no-package-lock", "--prefer-offline"]
    install = [npm, "install", *options]
    done = subprocess.run(install, cwd=folder, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    return [found, str(folder / "subscribe.mjs")]


@pytest.fixture
def environment(home: Path) -> dict[str, str]:
    """What the examples read."""
    return {
        "BLOCKYARD_HOME": str(home),
        "BLOCKYARD_NATS_URL": find_nats_url(home),
        "BLOCKYARD_PROTO": str(EXAMPLES.parents[1] / "proto"),
    }


@pytest.fixture
def command(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """The command of an example; only that of the one in Node needs Node."""
    if request.param == "node":
        return list(request.getfixturevalue("node"))
    return {
        "python": [sys.executable, str(EXAMPLES / "subscribe.py"), str(tmp_path / CHECKPOINT)],
        "plain": PLAIN,
    }[request.param]


@pytest.mark.parametrize(
    ("command", "consumer"),
    [("python", "example-python"), ("node", "example-node"), ("plain", CONSUMER)],
    indirect=["command"],
)
async def test_an_example_prints_every_event_of_what_is_started(
    stack: Stack, client: Client, environment: dict[str, str], tmp_path: Path, command: list[str], consumer: str
) -> None:
    graph_id = await stored(client)
    async with printing(command, environment, tmp_path) as lines:
        await until(lambda: has_consumer(environment, consumer), "it has its consumer", 60)
        if consumer == "example-python":
            await until((tmp_path / CHECKPOINT).exists, "the checkpoint is there")
        wanted: set[str] = set()
        for _ in range(3):
            execution = await client.executions.start(graph_id)
            async for event in execution.watch():
                wanted.add(f"{execution.id} {event.sequence} {event.kind.name}")
        await until_printed(lines, wanted)


async def test_the_plain_example_says_which_sequences_it_lacks(
    stack: Stack, client: Client, environment: dict[str, str], tmp_path: Path
) -> None:
    async with connected(environment) as connection:
        await make_consumer(connection)
        execution = await client.executions.start(await stored(client))
        first = await take_first_batch(connection, execution.id)
    async with printing(PLAIN, environment, tmp_path) as lines:
        await until_printed(lines, {f"{execution.id}: 1 to {first.events[-1].sequence} are missing"})


async def test_the_plain_example_ends_where_jetstream_refuses_its_consumer(
    stack: Stack, environment: dict[str, str], tmp_path: Path
) -> None:
    async with connected(environment) as connection:
        await make_consumer(connection, deliver_policy="all")
    async with printing(PLAIN, environment, tmp_path) as lines:
        await until(lambda: lines and lines[-1].startswith(ENDED), "it has ended")
    assert lines[-1] != f"{ENDED} 0"
    assert any("CONSUMER.CREATE" in line for line in lines), lines


async def stored(client: Client) -> str:
    """The id of a graph with one node."""
    graph = Graph("shout")
    graph.output("result", graph.add("TextProcessingBlock", text="hello", operation="upper")["processed_text"])
    return (await client.graphs.create(graph)).id


async def until_printed(lines: list[str], wanted: set[str]) -> None:
    """Returns when a program has printed these lines; fails with what it has printed if it ends before."""
    await until(lambda: wanted <= set(lines) or (lines[-1:] and lines[-1].startswith(ENDED)), "all events are printed")
    assert wanted <= set(lines), lines


async def has_consumer(environment: Mapping[str, str], name: str) -> bool:
    """Whether this consumer is there."""
    async with connected(environment) as connection:
        return "error" not in await ask(connection, f"CONSUMER.INFO.SUBSCRIBED.{name}", {})


async def make_consumer(connection: NatsClient, deliver_policy: str = "new") -> None:
    """Makes the consumer of the plain example anew; as it would itself, unless it is to begin elsewhere."""
    subject = "blockyard.event.developer.*.*"
    config = {"durable_name": CONSUMER, "filter_subject": subject, "ack_policy": "explicit"}
    config |= {"deliver_policy": deliver_policy}
    await ask(connection, "STREAM.CREATE.SUBSCRIBED", {"name": "SUBSCRIBED", "subjects": [subject]})
    await ask(connection, f"CONSUMER.DELETE.SUBSCRIBED.{CONSUMER}", {})
    made = {"stream_name": "SUBSCRIBED", "config": config}
    assert "error" not in await ask(connection, f"CONSUMER.CREATE.SUBSCRIBED.{CONSUMER}.{subject}", made)


async def take_first_batch(connection: NatsClient, execution_id: str) -> EventBatch:
    """Takes from the consumer of the plain example up to what comes first of an execution: nobody else gets it."""
    subject = f"$JS.API.CONSUMER.MSG.NEXT.SUBSCRIBED.{CONSUMER}"
    while True:
        # In the old style, since a message that is taken keeps its own subject.
        message = await connection.request(subject, b"1", timeout=20, old_style=True)
        batch = EventBatch.FromString(message.data)
        await connection.request(message.reply, b"+ACK", timeout=5)
        if batch.execution_id == execution_id:
            return batch


async def ask(connection: NatsClient, subject: str, body: Mapping[str, object]) -> dict[str, object]:
    """JetStream's answer to a request."""
    answer = await connection.request(f"$JS.API.{subject}", json.dumps(body).encode(), timeout=5)
    content: dict[str, object] = json.loads(answer.data)
    return content


@asynccontextmanager
async def connected(environment: Mapping[str, str]) -> AsyncIterator[NatsClient]:
    """A connection as the examples have it."""
    connection = await nats.connect(environment["BLOCKYARD_NATS_URL"])
    try:
        yield connection
    finally:
        await connection.close()
