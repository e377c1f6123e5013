"""What a runner does when the catalogue refuses some of its blocks. The catalogue is that of a real graph service."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from blockyard.block import Block
from blockyard.common.v1.errors_pb2 import NodeErrorReason
from blockyard.dev.ports import free_port
from blockyard.dev.postgres import PostgresServer
from blockyard.graph.v1.block_service_pb2 import ListBlocksRequest
from structlog.testing import capture_logs

from services.common import grpc_client
from services.runner.blocks_here import BlocksHere
from services.runner.registration import NothingToRegister, Registration
from tests import signing
from tests.integration.graph.service import Service, graph_service
from tests.integration.runner.house import House
from tests.integration.runner.refused import BadBlock, GoodBlock
from tests.waiting import until

PACKAGE = "tests.integration.runner.refused"


async def names_in(service: Service) -> list[str]:
    answer = await service.user().call("ListBlocks", ListBlocksRequest())
    return [block.name for block in answer.blocks]


@asynccontextmanager
async def registration_of(service: Service, *blocks: Block, pool: str = "default") -> AsyncIterator[Registration]:
    credentials = grpc_client.ServiceCredentials(signing.RUNNER_SECRET, "runner")
    async with grpc_client.channel(service.address, credentials) as channel:
        here = BlocksHere({block.id: block for block in blocks})
        yield Registration(channel, "runner-1", pool, here)


def bad_block(number: int) -> Block:
    """One of many bad blocks."""
    kind = type(f"Bad{number}Block", (BadBlock,), {"number": number})
    block: Block = kind()
    return block


async def test_blocks_that_are_refused_are_left_out_and_the_others_serve(
    broken_house: House, postgres: PostgresServer
) -> None:
    port = free_port()
    async with graph_service(postgres) as service:
        runner = await broken_house.add_runner(
            packages=f'["{PACKAGE}"]', graph_address=service.address, metrics_port=port
        )
        owner = broken_house.owner
        assert (await owner.run(GoodBlock(), value=7)).on("value") == [7]
        assert await names_in(service) == ["GoodBlock"]

        refused = await owner.run(BadBlock(), value=7)
        assert refused.finish is not None
        assert refused.finish.reason == NodeErrorReason.NODE_ERROR_REASON_BLOCK_UNAVAILABLE
        assert refused.finish.error.startswith("the catalogue refuses BadBlock as this runner has it: input_schema: ")

        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as answer:
            assert 'blockyard_runner_blocks_left_out{block="BadBlock"} 1.0' in await answer.text()
        told = [line for line in runner.log.splitlines() if "a block is left out" in line]
        assert len(told) == 1
        assert "BadBlock" in told[0]
        assert "input_schema: is no JSON schema: $.properties.value.minLength" in told[0]
        assert '"level": "error"' in told[0] or '"level":"error"' in told[0]


async def test_runner_whose_blocks_are_all_refused_ends_and_says_why(
    broken_house: House, postgres: PostgresServer
) -> None:
    module = broken_house.folder / "all_bad.py"
    module.write_text(f"from {PACKAGE} import BadBlock\n\n\nclass WorseBlock(BadBlock):\n    number = 2\n")
    async with graph_service(postgres) as service:
        runner = broken_house.prepare_runner(
            "-m", "services.runner", packages='["all_bad"]', graph_address=service.address
        )
        runner.process.start()
        await until(lambda: not runner.process.alive(), "the runner ends")
    assert "The catalogue refuses every block that this runner has." in runner.log
    assert "WorseBlock: input_schema: is no JSON schema" in runner.log


async def test_more_refused_blocks_than_one_refusal_names_are_left_out(postgres: PostgresServer) -> None:
    bad = [bad_block(number) for number in range(1, 61)]
    async with graph_service(postgres) as service, registration_of(service, GoodBlock(), *bad) as registration:
        running = asyncio.create_task(registration.run())
        async with asyncio.timeout(30):
            await registration.done.wait()
        running.cancel()
        assert set(registration.left_out) == {block.name for block in bad}
        assert await names_in(service) == ["GoodBlock"]


async def test_nothing_is_left_out_when_all_are_good(postgres: PostgresServer) -> None:
    async with graph_service(postgres) as service, registration_of(service, GoodBlock()) as registration:
        running = asyncio.create_task(registration.run())
        async with asyncio.timeout(30):
            await registration.done.wait()
        running.cancel()
        assert registration.left_out == {}


async def test_nothing_is_left_out_when_the_fault_is_not_a_blocks(postgres: PostgresServer) -> None:
    async with (
        graph_service(postgres) as service,
        registration_of(service, GoodBlock(), pool="NO POOL") as registration,
    ):
        with capture_logs() as logs:
            running = asyncio.create_task(registration.run())
            await until(lambda: any("cannot be registered" in entry["event"] for entry in logs), "it is refused")
            running.cancel()
        assert registration.left_out == {}
        assert not registration.done.is_set()


async def test_registration_of_refused_blocks_alone_fails(postgres: PostgresServer) -> None:
    async with graph_service(postgres) as service, registration_of(service, bad_block(1)) as registration:
        with pytest.raises(NothingToRegister, match="Bad1Block: input_schema: is no JSON schema"):
            await registration.run()
