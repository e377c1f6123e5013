"""Registration, the catalogue that comes of it, and graphs ready to run."""

import asyncio

import asyncpg
import grpc
from blockyard.dev.postgres import PostgresServer
from blockyard.graph.v1 import block_service_pb2 as block_messages
from blockyard.graph.v1 import graph_service_pb2 as messages
from blockyard.graph.v1.block_pb2 import Block
from blockyard.graph.v1.graph_pb2 import Graph
from blockyard.runner.v1 import catalogue_service_pb2 as catalogue_messages
from google.protobuf.field_mask_pb2 import FieldMask

from tests.integration.graph.service import Service, graph_service, replica
from tests.unit.graph.building import BLOCKS, TEXT, WHOLE, block, block_id, graph, node, small_graph
from tests.waiting import until


async def get_block(service: Service, name: str) -> Block:
    got: Block = (await service.user().call("GetBlock", block_messages.GetBlockRequest(block_id=name))).block
    return got


async def create(service: Service, written: Graph) -> Graph:
    made: Graph = (await service.user().call("CreateGraph", messages.CreateGraphRequest(graph=written))).graph
    return made


def runnable(made: Graph, version: int = 0) -> catalogue_messages.GetRunnableGraphRequest:
    return catalogue_messages.GetRunnableGraphRequest(graph_id=made.id, version=version, user_id="anna")


async def test_registered_blocks_are_listed_and_found(service: Service) -> None:
    answer = await service.user().call("ListBlocks", block_messages.ListBlocksRequest())
    assert [one.name for one in answer.blocks] == sorted(one.name for one in BLOCKS)
    by_name = await get_block(service, "TextBlock")
    assert by_name == await get_block(service, block_id("TextBlock"))
    assert len(by_name.schema_hash) == 64
    assert by_name.HasField("register_time")
    assert by_name.unavailable_reason == ""
    assert (await get_block(service, "DisabledBlock")).unavailable_reason == "it is disabled"


async def test_blocks_come_in_pages(service: Service) -> None:
    found: list[str] = []
    token = ""
    while True:
        request = block_messages.ListBlocksRequest(page_size=4, page_token=token, query="block")
        page = await service.user().call("ListBlocks", request)
        found += [one.name for one in page.blocks]
        token = page.next_page_token
        if not token:
            break
    assert found == sorted(one.name for one in BLOCKS)


async def test_pages_go_on_where_they_were_whatever_is_registered_meanwhile(postgres: PostgresServer) -> None:
    def text_block(name: str, description: str = "") -> Block:
        return block(name, {}, {}, description=description)

    first = [
        text_block("TextBlock"),
        text_block("BText1Block"),
        text_block("DText1Block"),
        text_block("ZBlock", "Text"),
    ]
    later = [text_block("AText1Block"), text_block("CText1Block"), text_block("YBlock", "Text")]
    async with graph_service(postgres) as service:
        await service.register(first, "first")
        request = block_messages.ListBlocksRequest(page_size=2, query="text")
        page = await service.user().call("ListBlocks", request)
        assert [one.name for one in page.blocks] == ["TextBlock", "BText1Block"]

        await service.register(later, "later")
        request.page_token = page.next_page_token
        page = await service.user().call("ListBlocks", request)
        assert [one.name for one in page.blocks] == ["CText1Block", "DText1Block"]
        request.page_token = page.next_page_token
        page = await service.user().call("ListBlocks", request)
        assert [one.name for one in page.blocks] == ["YBlock", "ZBlock"]
        assert page.next_page_token == ""


async def test_an_unknown_category_is_refused_with_those_that_there_are(service: Service) -> None:
    request = block_messages.ListBlocksRequest(category="FRUIT")
    refused = await service.user().refused("ListBlocks", request)
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert refused.fields["category"].startswith("there is no category 'FRUIT'; there are AGENT, AI, ")


async def test_an_unknown_block_is_not_there(service: Service) -> None:
    for name in ("", "GoneBlock"):
        refused = await service.user().refused("GetBlock", block_messages.GetBlockRequest(block_id=name))
        assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "BLOCK_NOT_FOUND")


async def test_a_runner_is_told_hashes_and_when_to_come_again(service: Service) -> None:
    answer = await service.register(BLOCKS)
    assert answer.interval.seconds == 15
    assert set(answer.schema_hashes) == {one.id for one in BLOCKS}
    listed = await get_block(service, "TextBlock")
    assert answer.schema_hashes[block_id("TextBlock")] == listed.schema_hash


async def test_a_registration_with_a_bad_block_changes_nothing(service: Service) -> None:
    good = block("NewBlock", {}, {})
    bad = block("not a name", {}, {})
    request = catalogue_messages.RegisterBlocksRequest(runner_id="bad", blocks=[good, bad])
    refused = await service.service().refused("RegisterBlocks", request)
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "BLOCK_INVALID")
    assert list(refused.fields) == ["blocks[1].name"]
    unnamed = catalogue_messages.RegisterBlocksRequest(blocks=[good])
    assert (await service.service().refused("RegisterBlocks", unnamed)).fields.keys() == {"runner_id"}
    refused = await service.user().refused("GetBlock", block_messages.GetBlockRequest(block_id="NewBlock"))
    assert refused.reason == "BLOCK_NOT_FOUND"


async def test_a_graph_ready_to_run_comes_with_its_blocks(service: Service) -> None:
    made = await create(service, small_graph())
    answer = await service.service().call("GetRunnableGraph", runnable(made))
    assert (answer.graph.id, answer.graph.version, answer.graph.user_id) == (made.id, 1, "anna")
    assert {one.name for one in answer.blocks} == {"NumberInputBlock", "TextBlock", "OutputBlock"}
    assert all(one.schema_hash for one in answer.blocks)
    assert answer.graph.nodes[1].inputs_json == b'{"text":"a"}'
    assert answer.graph.input_schema == made.input_schema
    assert await service.service().call("GetRunnableGraph", runnable(made)) == answer
    again = runnable(made)
    again.known_etag = answer.etag
    unchanged = await service.service().call("GetRunnableGraph", again)
    assert unchanged == catalogue_messages.GetRunnableGraphResponse(etag=answer.etag)


async def test_a_start_follows_the_edit_before_it(service: Service) -> None:
    made = await create(service, small_graph())
    await service.service().call("GetRunnableGraph", runnable(made))
    changed = graph([node("only", "TextBlock", text="b")], id=made.id)
    await service.user().call(
        "UpdateGraph", messages.UpdateGraphRequest(graph=changed, update_mask=FieldMask(paths=["*"]))
    )
    answer = await service.service().call("GetRunnableGraph", runnable(made))
    assert (answer.graph.version, [one.id for one in answer.graph.nodes]) == (2, ["only"])
    old = await service.service().call("GetRunnableGraph", runnable(made, 1))
    assert (old.graph.version, old.graph.latest_version, len(old.graph.nodes)) == (1, 2, 3)


async def test_a_newer_release_of_a_block_takes_over_and_may_end_old_graphs(postgres: PostgresServer) -> None:
    async with graph_service(postgres) as service:
        await service.register([block("TextBlock", {"text": TEXT}, {"text": TEXT})], "old")
        made = await create(service, graph([node("t", "TextBlock", text="a")]))
        before = (await get_block(service, "TextBlock")).schema_hash

        await service.register([block("TextBlock", {"text": WHOLE}, {"text": TEXT})], "new")
        await service.register([block("TextBlock", {"text": TEXT}, {"text": TEXT})], "old")

        assert (await get_block(service, "TextBlock")).schema_hash != before
        refused = await service.service().refused("GetRunnableGraph", runnable(made))
        assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "GRAPH_NOT_RUNNABLE")
        assert refused.fields == {"nodes[0].inputs.text": 'expected a whole number, got "a"'}
        assert "nodes[0].inputs.text" in refused.message
        picture = await service.user().call("RenderGraph", messages.RenderGraphRequest(graph_id=made.id))
        assert "Text<br/>t" in picture.picture


async def test_new_words_are_shown_without_a_new_hash(postgres: PostgresServer) -> None:
    async with graph_service(postgres) as service:
        await service.register([block("TextBlock", {}, {}, description="old words")])
        before = await get_block(service, "TextBlock")
        await service.register([block("TextBlock", {}, {}, description="new words")])
        after = await get_block(service, "TextBlock")
        assert (after.description, after.schema_hash) == ("new words", before.schema_hash)
        assert after.register_time == before.register_time


async def test_a_block_that_no_runner_has_now_can_be_placed_and_started_with_a_warning(
    postgres: PostgresServer,
) -> None:
    async with graph_service(postgres, registration_interval=0.2) as service:
        await service.register(BLOCKS)
        made = await create(service, small_graph())

        async def gone() -> bool:
            return (await get_block(service, "TextBlock")).unavailable_reason.startswith("no runner of the pool")

        await until(gone, "the block is unavailable")
        assert (await service.service().call("GetRunnableGraph", runnable(made))).graph.id == made.id
        found = await service.user().call("ValidateGraph", messages.ValidateGraphRequest(graph=small_graph()))
        assert list(found.errors) == []
        assert any("executions will wait" in warning.description for warning in found.warnings)


async def test_a_rollback_counts_once_the_newer_runner_is_gone(postgres: PostgresServer) -> None:
    old, new = block("TextBlock", {"text": TEXT}, {}), block("TextBlock", {"text": WHOLE}, {})
    async with graph_service(postgres, registration_interval=0.5) as service:
        first = (await service.register([old], "old")).schema_hashes[old.id]
        second = (await service.register([new], "new")).schema_hashes[old.id]
        assert (await get_block(service, "TextBlock")).schema_hash == second

        async def is_back() -> bool:
            await service.register([old], "old")
            return (await get_block(service, "TextBlock")).schema_hash == first

        await until(is_back, "the old release is current again")


async def test_what_is_registered_at_one_replica_is_known_at_the_others(postgres: PostgresServer) -> None:
    async with graph_service(postgres) as one, replica(one.database_url) as other:
        await other.user().call("ListBlocks", block_messages.ListBlocksRequest())
        await one.register(BLOCKS)

        async def known() -> bool:
            return len((await other.user().call("ListBlocks", block_messages.ListBlocksRequest())).blocks) > 0

        await until(known, "the other replica has the blocks")


async def test_runners_and_definitions_of_long_ago_are_forgotten(postgres: PostgresServer) -> None:
    old, new = block("TextBlock", {"text": TEXT}, {}), block("TextBlock", {"text": WHOLE}, {})
    async with graph_service(postgres) as service:
        await service.register([old], "old")
        await service.register([new], "new")
        connection = await asyncpg.connect(service.database_url)
        try:
            await connection.execute(
                """
                UPDATE graph.runners SET seen_time = seen_time - interval '2 days' WHERE runner_id = 'old';
                UPDATE graph.blocks SET register_time = register_time - interval '2 days';
                """
            )
            await service.register([block("OtherBlock", {}, {})], "third")
            runners = await connection.fetch("SELECT runner_id FROM graph.runners ORDER BY runner_id")
            blocks = await connection.fetchval("SELECT count(*) FROM graph.blocks")
        finally:
            await connection.close()
        assert [row["runner_id"] for row in runners] == ["new", "third"]
        assert blocks == 2


async def test_runners_that_register_at_the_same_time_do_not_hinder_each_other(postgres: PostgresServer) -> None:
    async with graph_service(postgres) as service:
        await asyncio.gather(
            *(service.register(BLOCKS if number % 2 else BLOCKS[::-1], f"runner-{number}") for number in range(12))
        )
        assert len((await service.user().call("ListBlocks", block_messages.ListBlocksRequest())).blocks) == len(BLOCKS)
