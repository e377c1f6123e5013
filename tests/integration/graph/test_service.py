"""The service as a whole: as a process, without its database for a while, and for clients that know nothing of it."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import grpc
from blockyard.block.catalogue import describe
from blockyard.block.loader import load_blocks
from blockyard.dev.health import HealthProbe
from blockyard.dev.postgres import PostgresServer
from blockyard.graph.v1 import graph_service_pb2 as messages
from blockyard.graphs import load_graph
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from services.common import identity, migrate
from tests import signing
from tests.integration.graph.service import SECRET, Caller, Service, graph_service
from tests.stack.postgres import as_role, fresh_database, running_postgres
from tests.unit.graph.building import BLOCKS, small_graph
from tests.waiting import until

ROOT = Path(__file__).parents[3]


async def test_the_process_starts_serves_and_ends_in_order(postgres: PostgresServer, tmp_path: Path) -> None:
    with fresh_database(postgres.url) as database_url:
        await asyncio.to_thread(migrate.migrate, database_url, ["graph"])
        port_file = tmp_path / "port"
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            **signing.ENVIRONMENT,
            "BLOCKYARD_DATABASE_URL": as_role(database_url, "graph"),
            "BLOCKYARD_PORT": "0",
            "BLOCKYARD_PORT_FILE": str(port_file),
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.graph", env=environment, stdout=asyncio.subprocess.DEVNULL
        )
        try:
            await until(lambda: port_file.exists() or process.returncode is not None, "an address or an early end")
            assert process.returncode is None
            probe = HealthProbe(f"127.0.0.1:{port_file.read_text().strip()}")
            assert await probe.serving(timeout_seconds=10)
            await probe.close()
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), 20) == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def test_without_its_database_the_service_says_so_and_comes_back() -> None:
    async with running_postgres() as postgres, graph_service(postgres) as service:
        await service.register(BLOCKS)
        request = messages.CreateGraphRequest(graph=small_graph(), request_id="once")
        made = (await service.user().call("CreateGraph", request)).graph
        await postgres.kill()
        for method, asked in (
            ("GetGraph", messages.GetGraphRequest(graph_id=made.id)),
            ("CreateGraph", messages.CreateGraphRequest(graph=small_graph())),
        ):
            refused = await service.user().refused(method, asked)
            assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE")
            assert refused.retry
        await postgres.start()
        assert (await service.user().call("CreateGraph", request)).graph.id == made.id
        assert len((await service.user().call("ListGraphs", messages.ListGraphsRequest())).graphs) == 1


async def test_the_built_in_blocks_and_the_example_are_taken(postgres: PostgresServer) -> None:
    loaded = load_blocks(["blocks"], entry_points=False)
    async with graph_service(postgres) as service:
        blocks = [describe(block) for block in loaded.blocks.values()]
        answer = await service.register(blocks)
        assert dict(answer.schema_hashes) == {block.id: block.schema_hash for block in blocks}
        written = load_graph(ROOT / "examples" / "airports.yaml")
        checked = await service.user().call("ValidateGraph", messages.ValidateGraphRequest(graph=written))
        assert (list(checked.errors), list(checked.warnings)) == ([], [])


async def test_a_client_that_knows_nothing_makes_a_graph_by_reflection(service: Service) -> None:
    """As grpcurl does: no generated stubs, only what the server tells of itself."""
    token = identity.user_token(SECRET, "ada", "user", 60)
    made = await asyncio.to_thread(_create_by_reflection, service.address, token)
    got = await service.user("ada").call("GetGraph", messages.GetGraphRequest(graph_id=made["id"]))
    assert got.graph.name == "told"


def _create_by_reflection(address: str, token: str) -> dict[str, Any]:
    with grpc.insecure_channel(address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert "blockyard.graph.v1.GraphService" in database.get_services()
        pool = DescriptorPool(database)
        method = pool.FindServiceByName("blockyard.graph.v1.GraphService").FindMethodByName("CreateGraph")
        request = GetMessageClass(method.input_type)()
        node = {"id": "n", "blockId": "TextBlock", "inputs": {"text": "hello", "times": 2}}
        ParseDict({"graph": {"name": "told", "nodes": [node]}}, request, descriptor_pool=pool)
        # Any: the messages' classes are made from what the server tells.
        call: Any = channel.unary_unary(
            "/blockyard.graph.v1.GraphService/CreateGraph",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        answer = call(request, metadata=(("authorization", f"Bearer {token}"),), timeout=20)
        made: dict[str, Any] = MessageToDict(answer.graph)
        return made


async def test_users_do_not_see_each_others_lists(service: Service) -> None:
    async def count(caller: Caller) -> int:
        return len((await caller.call("ListGraphs", messages.ListGraphsRequest())).graphs)

    await service.user("one").call("CreateGraph", messages.CreateGraphRequest(graph=small_graph()))
    assert await count(service.user("one")) == 1
    assert await count(service.user("two")) == 0
