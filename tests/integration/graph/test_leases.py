"""The active version is leased to those that run it often, and no edit is answered before their lease has run out."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import asyncpg
import grpc
import pytest
from blockyard.graph.v1 import graph_service_pb2 as messages
from blockyard.graph.v1.graph_pb2 import Graph
from blockyard.runner.v1.catalogue_service_pb2 import GetRunnableGraphRequest, GetRunnableGraphResponse
from google.protobuf.field_mask_pb2 import FieldMask

from services.graph.graphs import LEASE_SECONDS
from tests.integration.graph.service import Service
from tests.integration.graph.test_graphs import create
from tests.waiting import until

Edit = Callable[[Graph], tuple[str, Any]]


def update(made: Graph) -> tuple[str, Any]:
    changed = Graph(id=made.id, description="changed")
    return "UpdateGraph", messages.UpdateGraphRequest(graph=changed, update_mask=FieldMask(paths=["description"]))


def activate(made: Graph) -> tuple[str, Any]:
    return "SetActiveVersion", messages.SetActiveVersionRequest(graph_id=made.id, version=1)


def delete(made: Graph) -> tuple[str, Any]:
    return "DeleteGraph", messages.DeleteGraphRequest(graph_id=made.id)


EDITS = pytest.mark.parametrize("edit", [update, activate, delete])


async def runnable(service: Service, graph_id: str, **fields: Any) -> GetRunnableGraphResponse:
    request = GetRunnableGraphRequest(graph_id=graph_id, user_id="anna", **fields)
    answer: GetRunnableGraphResponse = await service.service().call("GetRunnableGraph", request)
    return answer


async def sql(service: Service, statement: str, *arguments: Any) -> Any:
    connection = await asyncpg.connect(service.database_url)
    try:
        return await connection.fetchval(statement, *arguments)
    finally:
        await connection.close()


@EDITS
async def test_an_edit_is_answered_when_the_lease_has_run_out(service: Service, edit: Edit) -> None:
    made = await create(service.user())
    asked_at = time.monotonic()
    leased = await runnable(service, made.id, wants_lease=True)
    assert leased.lease.ToNanoseconds() == LEASE_SECONDS * 1e9
    await service.user().call(*edit(made))
    assert time.monotonic() >= asked_at + LEASE_SECONDS


@EDITS
async def test_an_edit_of_a_graph_that_is_not_leased_does_not_wait(service: Service, edit: Edit) -> None:
    made = await create(service.user())
    assert not (await runnable(service, made.id)).lease.ToNanoseconds()
    await sql(service, "UPDATE graph.graphs SET lease_until = now() + interval '1 hour' WHERE graph_id <> $1", made.id)
    async with asyncio.timeout(20):
        await service.user().call(*edit(made))


async def test_who_asks_while_an_edit_waits_gets_what_it_has_made(service: Service) -> None:
    made = await create(service.user())
    before = await runnable(service, made.id, wants_lease=True)
    edit = asyncio.create_task(service.user().call(*update(made)))

    async def is_new() -> bool:
        return (await runnable(service, made.id)).graph.version == 2

    await until(is_new, "the edit is stored")
    again = await runnable(service, made.id, wants_lease=True, known_etag=before.etag)
    assert again.graph.description == "changed"
    await edit


async def test_a_version_that_is_named_needs_no_lease(service: Service) -> None:
    made = await create(service.user())
    answer = await runnable(service, made.id, version=1, wants_lease=True)
    assert answer.graph.version == 1
    assert not answer.lease.ToNanoseconds()


async def test_a_lease_is_of_the_users_own_graph_alone(service: Service) -> None:
    made = await create(service.user("bert"))
    request = GetRunnableGraphRequest(graph_id=made.id, user_id="anna", wants_lease=True)
    refused = await service.service().refused("GetRunnableGraph", request)
    assert refused.code is grpc.StatusCode.NOT_FOUND
    assert await sql(service, "SELECT lease_until FROM graph.graphs WHERE graph_id = $1", made.id) is None
