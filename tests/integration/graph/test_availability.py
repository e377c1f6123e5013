"""Which blocks can be placed and run: configured or not, there or gone, as each runner says of them."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import asyncpg
import grpc
from blockyard.dev.ports import free_port
from blockyard.dev.postgres import PostgresServer
from blockyard.dev.process import ChildProcess
from blockyard.graph.v1 import block_service_pb2 as messages
from blockyard.graph.v1 import graph_service_pb2 as graph_messages
from blockyard.graph.v1.block_pb2 import Block, BlockAvailability
from blockyard.runner.v1.catalogue_service_pb2 import GetRunnableBlockRequest, GetRunnableGraphRequest

from services.common import migrate
from services.graph.registration import registered
from tests import signing
from tests.integration.graph.service import Service, graph_service
from tests.stack.postgres import as_role, fresh_database
from tests.unit.graph.building import TEXT, WHOLE, block, graph, node
from tests.waiting import until

AVAILABLE = BlockAvailability.BLOCK_AVAILABILITY_AVAILABLE
NOT_CONFIGURED = BlockAvailability.BLOCK_AVAILABILITY_NOT_CONFIGURED
NO_RUNNER = BlockAvailability.BLOCK_AVAILABILITY_NO_RUNNER
REASON = "no server for mail is configured: set MAIL_HOST"


def mail(reason: str = "", **fields: Any) -> Block:
    return block("SendMailBlock", {"text": TEXT}, {"status": TEXT}, unavailable_reason=reason, **fields)


def mail_graph() -> graph_messages.CreateGraphRequest:
    return graph_messages.CreateGraphRequest(graph=graph([node("send", "SendMailBlock", text="a")]))


async def seen(service: Service, name: str = "SendMailBlock") -> tuple[int, str]:
    found = (await service.user().call("GetBlock", messages.GetBlockRequest(block_id=name))).block
    return found.availability, found.unavailable_reason


async def versions(service: Service, name: str = "SendMailBlock") -> list[messages.BlockVersion]:
    answer = await service.user().call("ListBlockVersions", messages.ListBlockVersionsRequest(block_id=name))
    return list(answer.versions)


async def test_a_block_that_no_runner_is_configured_for_is_listed_with_the_reason_and_cannot_be_placed(
    postgres: PostgresServer,
) -> None:
    async with graph_service(postgres) as service:
        await service.register([mail(REASON)], "without")
        assert await seen(service) == (NOT_CONFIGURED, REASON)
        listed = await service.user().call("ListBlocks", messages.ListBlocksRequest(query="mail"))
        assert [one.unavailable_reason for one in listed.blocks] == [REASON]
        usable = messages.ListBlocksRequest(query="mail", available_only=True)
        assert list((await service.user().call("ListBlocks", usable)).blocks) == []

        refused = await service.user().refused("CreateGraph", mail_graph())
        assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "GRAPH_INVALID")
        assert refused.fields == {"nodes[0].block_id": f"SendMailBlock cannot be placed now: {REASON}"}
        runnable = await service.service().call("GetRunnableBlock", GetRunnableBlockRequest(block_id="SendMailBlock"))
        assert (runnable.block.unavailable_reason, runnable.absence) == (REASON, "")


async def test_it_is_available_as_soon_as_a_runner_registers_that_can_run_it(postgres: PostgresServer) -> None:
    async with graph_service(postgres) as service:
        await service.register([mail(REASON)], "without")
        await service.register([mail()], "with")
        assert await seen(service) == (AVAILABLE, "")
        made = (await service.user().call("CreateGraph", mail_graph())).graph

        # What is registered last does not decide: one that can run it is enough.
        await service.register([mail("another reason")], "also-without")
        assert await seen(service) == (AVAILABLE, "")
        asked = GetRunnableGraphRequest(graph_id=made.id, user_id="anna")
        before = await service.service().call("GetRunnableGraph", asked)

        await service.register([mail(REASON)], "with")
        assert (await seen(service))[0] == NOT_CONFIGURED
        refused = await service.service().refused("GetRunnableGraph", asked)
        assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "GRAPH_NOT_RUNNABLE")
        assert refused.fields.keys() == {"nodes[0].block_id"}

        await service.register([mail()], "with")
        assert (await service.service().call("GetRunnableGraph", asked)).etag == before.etag


async def test_runners_that_are_gone_do_not_count(postgres: PostgresServer) -> None:
    async with graph_service(postgres, registration_interval=0.3) as service:
        await service.register([mail()], "with")

        async def only_the_other_counts() -> bool:
            await service.register([mail(REASON)], "without")
            return await seen(service) == (NOT_CONFIGURED, REASON)

        await until(only_the_other_counts, "the runner that could run it is gone")

        async def nobody_counts() -> bool:
            return (await seen(service))[0] == NO_RUNNER

        await until(nobody_counts, "no runner is there")
        # Then executions wait for a runner, whichever it will be.
        assert (await service.user().call("CreateGraph", mail_graph())).graph.id


async def test_a_runner_of_another_pool_does_not_make_a_block_available(postgres: PostgresServer) -> None:
    async with graph_service(postgres) as service:
        await service.register([mail()], "gpu-1", pool="gpu")
        assert await seen(service) == (NO_RUNNER, "no runner of the pool 'default' has it")
        await service.register([mail()], "default-1")
        assert await seen(service) == (AVAILABLE, "")
        (version,) = await versions(service)
        assert [(one.runner_id, one.pool, one.present) for one in version.runners] == [
            ("default-1", "default", True),
            ("gpu-1", "gpu", False),
        ]


async def test_a_version_that_can_run_goes_before_a_newer_one_that_cannot(postgres: PostgresServer) -> None:
    new = block("SendMailBlock", {"text": WHOLE}, {"status": TEXT}, unavailable_reason=REASON)
    async with graph_service(postgres) as service:
        old_hash = (await service.register([mail()], "old")).schema_hashes[new.id]
        new_hash = (await service.register([new], "new")).schema_hashes[new.id]

        found = await versions(service)
        assert [(one.schema_hash, one.current) for one in found] == [(old_hash, True), (new_hash, False)]
        assert await seen(service) == (AVAILABLE, "")
        assert [one.unavailable_reason for one in found[1].runners] == [REASON]

        new.unavailable_reason = ""
        await service.register([new], "new")
        assert [one.schema_hash for one in await versions(service)] == [new_hash, old_hash]


async def test_what_the_release_before_has_taken_counts_as_able_until_it_is_registered_again(
    postgres: PostgresServer,
) -> None:
    """Its statements, word for word, on the schema of this release."""
    stored = registered(mail(), "default")
    async with graph_service(postgres) as service:
        connection = await asyncpg.connect(as_role(service.database_url, "graph"))
        await connection.execute(
            "INSERT INTO blocks (block_id, schema_hash, definition_hash, definition) VALUES ($1, $2, $3, $4)",
            *(stored.block_id, stored.schema_hash, stored.definition_hash, stored.definition),
        )
        await connection.execute("INSERT INTO runners (runner_id, digest, seen_time) VALUES ('old', '', now())")
        await connection.execute(
            "INSERT INTO runner_blocks SELECT $1, * FROM unnest($2::text[], $3::text[])",
            *("old", [stored.block_id], [stored.schema_hash]),
        )
        await connection.close()

        async def listed() -> bool:
            answer = await service.user().call("ListBlocks", messages.ListBlocksRequest(available_only=True))
            return [one.name for one in answer.blocks] == ["SendMailBlock"]

        await until(listed, "the block is known here, and available")
        await service.register([mail(REASON)], "old")
        assert await seen(service) == (NOT_CONFIGURED, REASON)


async def test_versions_tell_which_runners_have_them(postgres: PostgresServer) -> None:
    async with graph_service(postgres) as service:
        for number in range(3):
            await service.register([mail()], f"runner-{number}")
        await service.register([mail()], "runner-0")
        (version,) = await versions(service)
        assert version.pool == "default"
        assert version.HasField("register_time")
        assert [one.runner_id for one in version.runners] == ["runner-0", "runner-2", "runner-1"]
        assert all(one.present and one.HasField("seen_time") for one in version.runners)
        refused = await service.user().refused("ListBlockVersions", messages.ListBlockVersionsRequest(block_id="No"))
        assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "BLOCK_NOT_FOUND")


async def test_categories_come_with_their_sentences_and_counts(postgres: PostgresServer) -> None:
    async with graph_service(postgres) as service:
        await service.register([mail(REASON, categories=["COMMUNICATION"])])
        answer = await service.user("vera", "viewer").call("ListBlockCategories", messages.ListBlockCategoriesRequest())
        assert len(answer.categories) == 19
        (found,) = [one for one in answer.categories if one.blocks]
        assert (found.name, found.blocks, found.available_blocks) == ("COMMUNICATION", 1, 0)
        assert found.description == "Blocks that send and receive messages."


@asynccontextmanager
async def graph_process(database_url: str, folder: Path) -> AsyncIterator[tuple[Service, int]]:
    """The service as a process that serves metrics, and their port."""
    port, metrics_port = free_port(), free_port()
    settings = {
        "DATABASE_URL": as_role(database_url, "graph"),
        "PORT": str(port),
        "METRICS_PORT": str(metrics_port),
    }
    environment = {
        **os.environ,
        **signing.ENVIRONMENT,
        **{f"BLOCKYARD_{name}": value for name, value in settings.items()},
    }
    environment["PYTHONPATH"] = str(Path(__file__).parents[3])
    process = ChildProcess(
        "graph", [sys.executable, "-m", "services.graph"], folder / "log", environment=environment, folder=folder
    )
    process.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            await asyncio.wait_for(channel.channel_ready(), 30)
            yield Service(channel, f"127.0.0.1:{port}", database_url), metrics_port
    finally:
        await process.kill()


async def test_metrics_tell_of_the_blocks_though_nobody_asks(postgres: PostgresServer, tmp_path: Path) -> None:
    def metrics(port: int) -> dict[str, float]:
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines) if name[:1] != "#"}

    with fresh_database(postgres.url) as database_url:
        await asyncio.to_thread(migrate.migrate, database_url, ["graph"])
        async with graph_process(database_url, tmp_path) as (service, port):
            text = block("TextBlock", {}, {}, categories=["TEXT", "BASIC"])
            await service.register([mail(REASON), text, block("CutBlock", {}, {}, categories=["TEXT"])])

            async def told() -> dict[str, float] | None:
                found = await asyncio.to_thread(metrics, port)
                return found if found.get('blockyard_blocks_total{state="available"}') else None

            found = await until(told, "the metrics tell of the blocks")
            assert isinstance(found, dict)
            assert found['blockyard_blocks_total{state="available"}'] == 2
            assert found['blockyard_blocks_total{state="unavailable"}'] == 1
            assert found['blockyard_blocks_by_category{category="TEXT"}'] == 2
            assert found['blockyard_blocks_by_category{category="BASIC"}'] == 1
            assert found['blockyard_blocks_by_category{category="AI"}'] == 0
