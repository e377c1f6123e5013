"""The bare pipeline as the bench sees it: its two processes, and the asking of the driver for figures."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from blockyard.dev.process import ChildProcess
from blockyard.dev.stack import Stack

from services.common.bus import Bus, NoResponders, RequestTimeout
from tests.bench.raw.messages import RUN_SUBJECT

ROOT = Path(__file__).parents[3]
START_SECONDS = 30.0
RUN_SECONDS = 120.0


class RawPipelineError(Exception):
    """The bare pipeline does not run."""


@dataclass(frozen=True, slots=True)
class RawRun:
    """How long a workload took."""

    seconds: float
    turns: tuple[float, ...]
    """Seconds of each turn of the driver; with one chain a turn is a step."""


@dataclass(frozen=True, slots=True)
class RawPipeline:
    """A bare pipeline that runs."""

    bus: Bus
    processes: tuple[ChildProcess, ...]

    async def run(self, chains: int, length: int) -> RawRun:
        """Runs so many chains of so many steps together."""
        workload = json.dumps({"chains": chains, "length": length}).encode()
        try:
            answer = json.loads((await self.bus.request(RUN_SUBJECT, workload, RUN_SECONDS)).data)
        except (NoResponders, RequestTimeout) as error:
            raise RawPipelineError(f"{error}\n{self._last_lines()}") from error
        return RawRun(answer["seconds"], tuple(answer["turns"]))

    async def until_ready(self) -> None:
        """Returns once a step goes through."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                await self.run(1, 1)
                return
            except RawPipelineError:
                if time.monotonic() >= deadline or not all(process.alive() for process in self.processes):
                    raise
                await asyncio.sleep(0.05)

    def _last_lines(self) -> str:
        return "\n".join(process.last_lines() for process in self.processes)


@asynccontextmanager
async def raw_pipeline(stack: Stack, bus: Bus) -> AsyncIterator[RawPipeline]:
    """The pipeline on the servers of a stack, for as long as the block lasts."""
    arguments = {"driver": [stack.nats.url, stack.postgres.url], "runner": [stack.nats.url]}
    processes = tuple(
        ChildProcess(
            f"raw-{name}",
            [sys.executable, "-m", f"tests.bench.raw.{name}", *given],
            stack.folder.log(f"raw-{name}"),
            folder=ROOT,
        )
        for name, given in arguments.items()
    )
    pipeline = RawPipeline(bus, processes)
    try:
        for process in processes:
            process.start()
        await pipeline.until_ready()
        yield pipeline
    finally:
        await asyncio.gather(*(process.stop() for process in processes))
