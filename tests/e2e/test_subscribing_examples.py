"""The examples of subscribers on NATS, run as programs on the stack: each prints every event of what is started."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import nats
import pytest
from blockyard.client import Client
from blockyard.connection import find_nats_url
from blockyard.dev import Stack
from blockyard.graphs import Graph

from tests.waiting import until

EXAMPLES = Path(__file__).parents[2] / "examples" / "subscribe"
INSTALL_SECONDS = 150
ENDED = "ended with"


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


async def test_each_example_prints_every_event_of_what_is_started(
    stack: Stack, client: Client, home: Path, tmp_path: Path, node: list[str]
) -> None:
    environment = {
        "BLOCKYARD_HOME": str(home),
        "BLOCKYARD_NATS_URL": find_nats_url(home),
        "BLOCKYARD_PROTO": str(EXAMPLES.parents[1] / "proto"),
    }
    commands = {
        "python": [sys.executable, str(EXAMPLES / "subscribe.py"), str(tmp_path / "events.json")],
        "node": node,
        "plain": [sys.executable, str(EXAMPLES / "plain_nats.py")],
    }
    async with AsyncExitStack() as programs:
        printed = {
            name: await programs.enter_async_context(printing(command, environment, tmp_path))
            for name, command in commands.items()
        }

        async def subscribed() -> bool:
            return await consumers(find_nats_url(home)) >= len(commands)

        await until(subscribed, "all have their consumers", 60)
        await until((tmp_path / "events.json").exists, "the checkpoint is there")
        graph = Graph("shout")
        graph.output("result", graph.add("TextProcessingBlock", text="hello", operation="upper")["processed_text"])
        stored = await client.graphs.create(graph)
        wanted: set[str] = set()
        for _ in range(3):
            execution = await client.executions.start(stored.id)
            async for event in execution.watch():
                wanted.add(f"{execution.id} {event.sequence} {event.kind.name}")
        for lines in printed.values():
            await until_printed(lines, wanted)


async def until_printed(lines: list[str], wanted: set[str]) -> None:
    """Returns when a program has printed these lines; fails with what it has printed if it ends before."""
    await until(lambda: wanted <= set(lines) or (lines[-1:] and lines[-1].startswith(ENDED)), "all events are printed")
    assert wanted <= set(lines), lines


async def consumers(url: str) -> int:
    """How many consumers the stream of a subscriber has."""
    client = await nats.connect(url)
    try:
        answer = await client.request("$JS.API.STREAM.INFO.SUBSCRIBED", b"", timeout=5)
        return int(json.loads(answer.data).get("state", {}).get("consumer_count", 0))
    finally:
        await client.close()
