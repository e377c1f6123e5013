"""Credentials in graphs, over gRPC and PostgreSQL."""

import asyncio
import uuid
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import grpc
import pytest
from blockyard.dev.postgres import PostgresServer
from blockyard.graph.v1 import graph_service_pb2 as messages
from blockyard.graph.v1.graph_pb2 import Graph
from blockyard.runner.v1.catalogue_service_pb2 import (
    CatalogueServiceFindCredentialUsesRequest,
    GetRunnableGraphRequest,
    GetRunnableGraphResponse,
)

from tests.integration.graph.service import Service, graph_service
from tests.integration.graph.test_graphs import create, get, update
from tests.integration.graph.test_importing import bring_in, export
from tests.unit.graph.building import BLOCKS, graph, node
from tests.unit.graph.test_credentials import SECRET, credentials_blocks, reference
from tests.unit.graph.test_tools_and_children import RUN_GRAPH


@pytest.fixture(scope="module")
def service(runner: asyncio.Runner, postgres: PostgresServer) -> Iterator[Service]:
    stack = AsyncExitStack()
    try:
        opened = runner.run(stack.enter_async_context(graph_service(postgres)))
        runner.run(opened.register([*BLOCKS, RUN_GRAPH, *credentials_blocks()]))
        yield opened
    finally:
        runner.run(stack.aclose())


def keyed(credential_id: str = "", name: str = "keyed") -> Graph:
    constants = {"credentials": reference(credential_id)} if credential_id else {}
    return graph([node("k", "KeyBlock", **constants)], name=name)


def running(child: Graph, version: int = 0) -> Graph:
    return graph([node("run", RUN_GRAPH.id, graph_id=child.id, graph_version=version)], name="running")


def names(whole: Graph) -> list[str]:
    return [one.name for one in whole.credentials_fields]


async def runnable(service: Service, made: Graph, known_etag: bytes = b"") -> GetRunnableGraphResponse:
    request = GetRunnableGraphRequest(user_id="anna", graph_id=made.id, known_etag=known_etag)
    answer: GetRunnableGraphResponse = await service.service().call("GetRunnableGraph", request)
    return answer


async def uses(service: Service, credential_id: str, user: str = "anna") -> list[tuple[str, int, str, str]]:
    request = CatalogueServiceFindCredentialUsesRequest(user_id=user, credential_id=credential_id)
    answer = await service.service().call("FindCredentialUses", request)
    assert all(one.execution_id == "" for one in answer.uses)
    return [(one.graph_id, one.graph_version, one.node_id, one.pin) for one in answer.uses]


async def test_every_answer_with_a_graph_says_what_it_wants_of_credentials(service: Service) -> None:
    made = await create(service.user(), keyed())
    changed = await update(service.user(), Graph(id=made.id, description="why"), "description")
    fork = await service.user().call("ForkGraph", messages.ForkGraphRequest(graph_id=made.id))
    active = await service.user().call(
        "SetActiveVersion", messages.SetActiveVersionRequest(graph_id=made.id, version=1)
    )
    valid = await service.user().call("ValidateGraph", messages.ValidateGraphRequest(graph=keyed()))
    imported = await bring_in(service.user(), (await export(service.user(), made.id)).file)
    ready = await runnable(service, made)
    for whole in (made, changed, fork.graph, active.graph, valid.graph, imported.graph, ready.graph):
        assert names(whole) == ["github_api_key"]
        assert whole.credentials_fields[0].required
        assert [(one.node_id, one.pin, one.credential_id) for one in whole.credentials_fields[0].pins] == [
            ("k", "credentials", "")
        ]
    listed = await service.user().call("ListGraphs", messages.ListGraphsRequest())
    versions = await service.user().call("ListGraphVersions", messages.ListGraphVersionsRequest(graph_id=made.id))
    assert [names(one) for one in (*listed.graphs, *versions.versions) if one.credentials_fields] == []


async def test_fields_that_a_client_sends_are_not_taken(service: Service) -> None:
    written = keyed()
    written.credentials_fields.add(name="mine", required=True)
    made = await create(service.user(), written)
    assert names(made) == ["github_api_key"]
    assert names(await get(service.user(), made.id)) == ["github_api_key"]


async def test_a_graph_wants_what_the_graphs_want_that_it_runs(service: Service) -> None:
    lowest = await create(service.user(), keyed())
    middle = await create(service.user(), running(lowest))
    top = await create(service.user(), running(middle, 1))
    before = await runnable(service, top)
    assert names(top) == names(before.graph) == ["github_api_key"]
    assert [(one.graph_id, one.node_id) for one in top.credentials_fields[0].pins] == [(lowest.id, "k")]

    await update(service.user(), Graph(id=lowest.id, nodes=[node("m", "MailBlock")]), "nodes")

    after = await runnable(service, top, before.etag)
    assert after.etag != before.etag
    assert names(after.graph) == ["smtp_user_password"]
    assert names(await get(service.user(), top.id)) == ["smtp_user_password"]


async def test_graphs_of_others_are_not_told_of(service: Service) -> None:
    theirs = await create(service.user("bert"), keyed())
    refusal = await service.user().refused("CreateGraph", messages.CreateGraphRequest(graph=running(theirs)))
    assert refusal.reason == "GRAPH_INVALID"


async def test_uses_are_those_of_the_newest_and_the_active_version(service: Service) -> None:
    first, second = str(uuid.uuid4()), str(uuid.uuid4())
    made = await create(service.user(), keyed(first))
    assert await uses(service, first) == [(made.id, 1, "k", "credentials")]

    await update(service.user(), Graph(id=made.id, nodes=keyed(second).nodes), "nodes")
    assert await uses(service, first) == []
    assert await uses(service, second) == [(made.id, 2, "k", "credentials")]

    await service.user().call("SetActiveVersion", messages.SetActiveVersionRequest(graph_id=made.id, version=1))
    assert await uses(service, first) == [(made.id, 1, "k", "credentials")]
    assert await uses(service, second) == [(made.id, 2, "k", "credentials")]

    await service.user().call("DeleteGraph", messages.DeleteGraphRequest(graph_id=made.id))
    assert await uses(service, first) == await uses(service, second) == []


async def test_uses_in_forks_and_imports_count_and_those_of_others_do_not(service: Service) -> None:
    credential_id = str(uuid.uuid4())
    made = await create(service.user(), keyed(credential_id.upper()))
    fork = (await service.user().call("ForkGraph", messages.ForkGraphRequest(graph_id=made.id))).graph
    content = {"name": "a", "nodes": [{"id": "n", "block_id": "KeyBlock", "inputs": {"credentials": None}}]}
    content["nodes"][0]["inputs"]["credentials"] = reference(credential_id)  # type: ignore[index]  # a list of objects
    imported = (await bring_in(service.user(), content)).graph
    await create(service.user("bert"), keyed(credential_id))

    assert [(graph_id, node_id) for graph_id, _, node_id, _ in await uses(service, credential_id)] == [
        (imported.id, "n"),
        (fork.id, "k"),
        (made.id, "k"),
    ]
    assert len(await uses(service, credential_id, "bert")) == 1
    assert await uses(service, credential_id, "carla") == []


async def test_a_version_that_an_older_release_wrote_is_searched(service: Service) -> None:
    credential_id = str(uuid.uuid4())
    made = await create(service.user(), keyed(credential_id))
    connection: Any = await asyncpg.connect(service.database_url)
    try:
        await connection.execute(
            "UPDATE graph.graph_versions SET credential_ids = NULL WHERE graph_id = $1", uuid.UUID(made.id)
        )
    finally:
        await connection.close()
    assert await uses(service, credential_id) == [(made.id, 1, "k", "credentials")]
    assert await uses(service, str(uuid.uuid4())) == []


async def test_no_more_than_a_hundred_uses_are_told(service: Service) -> None:
    credential_id = str(uuid.uuid4())
    many = [node(f"k{number}", "KeyBlock", credentials=reference(credential_id)) for number in range(70)]
    for _ in range(2):
        await create(service.user(), graph(many))
    assert len(await uses(service, credential_id)) == 100


async def test_what_is_no_id_of_a_credential_is_refused(service: Service) -> None:
    request = CatalogueServiceFindCredentialUsesRequest(user_id="anna", credential_id="x")
    refusal = await service.service().refused("FindCredentialUses", request)
    assert (refusal.code, refusal.fields) == (grpc.StatusCode.INVALID_ARGUMENT, {"credential_id": "expected a UUID"})


@pytest.mark.parametrize(
    "constants", [{"credentials": {"api_key": SECRET}}, {"credentials_#_api_key": SECRET}, {"credentials": SECRET}]
)
async def test_a_secret_in_a_graph_is_refused_and_nowhere_kept(
    service: Service, capfd: pytest.CaptureFixture[str], constants: dict[str, Any]
) -> None:
    written = graph([node("k", "KeyBlock", **constants)])
    refusal = await service.user().refused("CreateGraph", messages.CreateGraphRequest(graph=written))
    assert (refusal.reason, list(refusal.fields)) == ("GRAPH_INVALID", ["nodes[0].inputs.credentials"])
    assert "keep the secret in the vault" in refusal.fields["nodes[0].inputs.credentials"]
    made = await create(service.user(), keyed())
    changed = Graph(id=made.id, nodes=written.nodes)
    refusals = [refusal, await service.user().refused("UpdateGraph", messages.UpdateGraphRequest(graph=changed))]
    content = {"name": "a", "nodes": [{"id": "k", "block_id": "KeyBlock", "inputs": constants}]}
    imported = await bring_in(service.user(), content)

    assert SECRET not in f"{refusals} {imported} {await get(service.user(), imported.graph.id)}"
    out, err = capfd.readouterr()
    assert SECRET not in out + err
    assert SECRET.encode() not in await everything_stored(service)


async def everything_stored(service: Service) -> bytes:
    """All bodies and heads of all versions."""
    connection: Any = await asyncpg.connect(service.database_url)
    try:
        rows = await connection.fetch("SELECT head, body FROM graph.graph_versions")
    finally:
        await connection.close()
    assert rows
    return b"".join(row["head"] + row["body"] for row in rows)
