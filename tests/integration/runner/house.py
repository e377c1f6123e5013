"""A runner as a process of its own, between a real NATS, a small catalogue and the owner of the test."""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import psutil
from blockyard.block import Block
from blockyard.block.loader import Catalogue, load_blocks
from blockyard.dev.health import HealthProbe
from blockyard.dev.nats import NatsServer, start_nats
from blockyard.dev.ports import free_port
from blockyard.dev.process import ChildProcess
from blockyard.runner.v1.catalogue_service_pb2 import (
    CatalogueServiceFindCredentialUsesRequest,
    CatalogueServiceFindCredentialUsesResponse,
    GetGraphNamesRequest,
    GetGraphNamesResponse,
    GetRunnableBlockRequest,
    GetRunnableBlockResponse,
    GetRunnableGraphRequest,
    GetRunnableGraphResponse,
    RegisterBlocksRequest,
    RegisterBlocksResponse,
)
from blockyard.runner.v1.catalogue_service_pb2_grpc import (
    CatalogueServiceServicer,
    add_CatalogueServiceServicer_to_server,
)
from google.protobuf.duration_pb2 import Duration

from services.common.bus import Bus, StreamLimits, connect
from tests import signing
from tests.integration.runner.owner import Owner, owning
from tests.waiting import until

SERVICE = "services.runner.service"
TEMPLATE = "services.runner.template"
WORKER = "services.runner.process_worker"
BLOCKS = "tests.integration.runner.blocks"
ROOT = Path(__file__).parents[3]


class RegisteringCatalogue(CatalogueServiceServicer):
    """Takes every block as its runner describes it."""

    def __init__(self) -> None:
        self.registered: list[RegisterBlocksRequest] = []

    async def GetRunnableGraph(
        self, request: GetRunnableGraphRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> GetRunnableGraphResponse:
        await context.abort(grpc.StatusCode.NOT_FOUND, "There are no graphs here.")

    async def GetRunnableBlock(
        self, request: GetRunnableBlockRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> GetRunnableBlockResponse:
        await context.abort(grpc.StatusCode.NOT_FOUND, "There are no blocks here to run on their own.")

    async def FindCredentialUses(
        self, request: CatalogueServiceFindCredentialUsesRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> CatalogueServiceFindCredentialUsesResponse:
        return CatalogueServiceFindCredentialUsesResponse()

    async def GetGraphNames(
        self, request: GetGraphNamesRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> GetGraphNamesResponse:
        return GetGraphNamesResponse()

    async def RegisterBlocks(
        self, request: RegisterBlocksRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> RegisterBlocksResponse:
        self.registered.append(request)
        hashes = {block.id: block.schema_hash for block in request.blocks}
        return RegisterBlocksResponse(schema_hashes=hashes, interval=Duration(seconds=1))


@dataclass(eq=False)
class RunnerProcess:
    """`python -m services.runner`."""

    process: ChildProcess
    address: str

    async def start(self) -> None:
        """Start it and wait until it pulls."""
        self.process.start()
        probe = HealthProbe(self.address)

        async def pulls() -> bool:
            assert self.process.alive(), self.process.last_lines()
            return await probe.serving()

        try:
            await until(pulls, "the runner pulls")
        finally:
            await probe.close()

    @property
    def log(self) -> str:
        return self.process.log_file.read_text()

    def running(self, program: str) -> list[int]:
        """The ids of its processes that are this program, or are listed as it."""
        return [process.pid for process in self.process.family() if program in _command(process) and runs(process.pid)]

    async def lose_template(self) -> None:
        """From now on, processes for blocks are programs of their own."""
        [template] = self.running(TEMPLATE)
        psutil.Process(template).kill()
        await until(lambda: "template of processes for blocks is lost" in self.log, "the loss")


def runs(pid: int) -> bool:
    """Whether this process does anything; one that has ended and was not collected does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@dataclass(eq=False)
class House:
    """What a test works with."""

    folder: Path
    nats: NatsServer
    bus: Bus
    owner: Owner
    catalogue: RegisteringCatalogue
    catalogue_address: str
    blocks: Catalogue
    runners: list[RunnerProcess] = field(default_factory=list)

    def block(self, name: str) -> Block:
        """A block by the name of its class."""
        return self.blocks.by_name[name]

    @property
    def breaks(self) -> Path:
        """A program that is named here, with an exit code, ends with it while it loads blocks."""
        return self.folder / "breaks"

    async def add_runner(self, **settings: Any) -> RunnerProcess:
        """Start a runner with these settings and wait until it is ready."""
        runner = self.prepare_runner("-m", "services.runner", **settings)
        await runner.start()
        return runner

    def prepare_runner(self, *program: str, **settings: Any) -> RunnerProcess:
        """A runner that is not started yet, of this program with these settings."""
        port = free_port()
        defaults: dict[str, Any] = {
            "port": port,
            "runner_secret": signing.RUNNER_SECRET,
            "nats_url": self.nats.url,
            "graph_address": self.catalogue_address,
            "blob_url": (self.folder / "blobs").as_uri(),
            "packages": f'["{BLOCKS}"]',
            "entry_points": "false",
            "heartbeat_seconds": 0.2,
            "event_loop_seconds": 1.0,
            "grace_seconds": 1.0,
            "processes": 1,
        }
        values = {f"BLOCKYARD_{name.upper()}": str(value) for name, value in {**defaults, **settings}.items()}
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **values}
        environment["BREAKS"] = str(self.breaks)
        log = self.folder / f"runner-{len(self.runners)}.log"
        process = ChildProcess("runner", [sys.executable, *program], log, environment=environment, folder=self.folder)
        runner = RunnerProcess(process, f"127.0.0.1:{port}")
        self.runners.append(runner)
        return runner


@asynccontextmanager
async def house(folder: Path) -> AsyncIterator[House]:
    """NATS, a catalogue and an owner; runners are added by the test."""
    async with AsyncExitStack() as stack:
        server = await start_nats(folder / "nats")
        stack.push_async_callback(server.kill)
        bus = await stack.enter_async_context(connect(server.url, "test"))
        await bus.ensure_streams(StreamLimits(64 << 20, 64 << 20, 64 << 20))
        owner = await stack.enter_async_context(owning(bus))
        catalogue = RegisteringCatalogue()
        grpc_server = grpc.aio.server()
        add_CatalogueServiceServicer_to_server(catalogue, grpc_server)
        port = grpc_server.add_insecure_port("127.0.0.1:0")
        await grpc_server.start()
        stack.push_async_callback(grpc_server.stop, 0)
        blocks = load_blocks([BLOCKS], entry_points=False)
        assert not blocks.errors, blocks.errors
        built = House(folder, server, bus, owner, catalogue, f"127.0.0.1:{port}", blocks)
        try:
            yield built
        finally:
            for runner in built.runners:
                await runner.process.kill()
