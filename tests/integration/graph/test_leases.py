"""The active version is leased to those that run it often, and no edit is answered before their lease has run out."""

import asyncio
import contextlib
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


def update_what_is_known(made: Graph) -> tuple[str, Any]:
    method, request = update(made)
    request.expected_latest_version = 2
    return method, request


def activate(made: Graph) -> tuple[str, Any]:
    return "SetActiveVersion", messages.SetActiveVersionRequest(graph_id=made.id, version=1)


def delete(made: Graph) -> tuple[str, Any]:
    return "DeleteGraph", messages.DeleteGraphRequest(graph_id=made.id)


NO_SPACE = """
CREATE FUNCTION graph.no_space() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'no space left on device' USING ERRCODE = 'disk_full'; END $$;
CREATE TRIGGER no_space BEFORE UPDATE ON graph.graphs
FOR EACH ROW WHEN (OLD.graph_id = '{graph_id}') EXECUTE FUNCTION graph.no_space()
"""

EDITS = pytest.mark.parametrize("edit", [update, update_what_is_known, activate, delete])


async def runnable(service: Service, graph_id: str, **fields: Any) -> GetRunnableGraphResponse:
    request = GetRunnableGraphRequest(graph_id=graph_id, user_id="anna", **fields)
    answer: GetRunnableGraphResponse = await service.service().call("GetRunnableGraph", request)
    return answer


async def two_versions(service: Service) -> Graph:
    made = await create(service.user())
    await service.user().call(*update(made))
    return made


async def is_edited(service: Service, made: Graph) -> Any:
    """Whether a graph of two versions is seen as one of the edits leaves it."""
    return await sql(service, "SELECT active_version FROM graph.graphs WHERE graph_id = $1", made.id) != 2


async def is_waiting(service: Service, made: Graph) -> Any:
    """Whether an edit waits for the lease, or is over."""
    held_back = await sql(service, "SELECT no_lease_until FROM graph.graphs WHERE graph_id = $1", made.id)
    return held_back is not None or await is_edited(service, made)


async def sql(service: Service, statement: str, *arguments: Any) -> Any:
    connection = await asyncpg.connect(service.database_url)
    try:
        if not arguments:
            return await connection.execute(statement)
        return await connection.fetchval(statement, *arguments)
    finally:
        await connection.close()


@EDITS
async def test_an_edit_is_answered_when_the_lease_has_run_out(service: Service, edit: Edit) -> None:
    made = await two_versions(service)
    asked_at = time.monotonic()
    leased = await runnable(service, made.id, wants_lease=True)
    assert leased.lease.ToNanoseconds() == LEASE_SECONDS * 1e9
    await service.user().call(*edit(made))
    assert time.monotonic() >= asked_at + LEASE_SECONDS


@EDITS
async def test_an_edit_of_a_graph_that_is_not_leased_does_not_wait(service: Service, edit: Edit) -> None:
    async def is_quick() -> bool:
        made, other = await two_versions(service), await two_versions(service)
        assert not (await runnable(service, made.id)).HasField("lease")
        assert (await runnable(service, other.id, wants_lease=True)).HasField("lease")
        began = time.monotonic()
        await service.user().call(*edit(made))
        return time.monotonic() - began < LEASE_SECONDS

    await until(is_quick, "an edit that takes less than a lease")


@EDITS
async def test_nobody_sees_an_edit_before_the_lease_has_run_out(service: Service, edit: Edit) -> None:
    made = await two_versions(service)
    asked_at = time.monotonic()
    await runnable(service, made.id, wants_lease=True)
    waiting = asyncio.create_task(service.user().call(*edit(made)))
    await until(lambda: is_edited(service, made), "the edit is seen")
    assert time.monotonic() >= asked_at + LEASE_SECONDS
    await waiting


@EDITS
async def test_an_edit_that_is_called_off_and_made_again_waits_for_the_lease(service: Service, edit: Edit) -> None:
    made = await two_versions(service)
    asked_at = time.monotonic()
    await runnable(service, made.id, wants_lease=True)
    waiting = asyncio.create_task(service.user().call(*edit(made)))
    await until(lambda: is_waiting(service, made), "the edit waits")
    waiting.cancel()
    await asyncio.wait({waiting})
    # That it has been made before is an answer as well.
    with contextlib.suppress(grpc.aio.AioRpcError):
        await service.user().call(*edit(made))
    assert await is_edited(service, made)
    assert time.monotonic() >= asked_at + LEASE_SECONDS


@EDITS
async def test_an_edit_waits_no_longer_than_a_lease_though_the_clock_was_set_back(service: Service, edit: Edit) -> None:
    made = await two_versions(service)
    await sql(service, "UPDATE graph.graphs SET lease_until = now() + interval '1 hour' WHERE graph_id = $1", made.id)
    await service.user().call(*edit(made))
    assert await is_edited(service, made)


async def test_an_edit_of_a_graph_that_is_run_without_pause_is_made(service: Service) -> None:
    made = await two_versions(service)
    await runnable(service, made.id, wants_lease=True)
    edit = asyncio.create_task(service.user().call(*update(made)))
    while not edit.done():
        assert (await runnable(service, made.id, wants_lease=True)).graph.version in (2, 3)
    await edit
    assert (await runnable(service, made.id)).graph.version == 3


async def test_while_an_edit_waits_there_are_answers_but_no_leases(service: Service) -> None:
    made = await create(service.user())
    held_back = "UPDATE graph.graphs SET no_lease_until = now() + interval '1 hour' WHERE graph_id = $1"
    await sql(service, held_back, made.id)
    answer = await runnable(service, made.id, wants_lease=True)
    assert answer.graph.version == 1
    assert not answer.HasField("lease")


async def test_after_an_edit_there_are_leases_again(service: Service) -> None:
    made = await two_versions(service)
    await runnable(service, made.id, wants_lease=True)
    await service.user().call(*update(made))

    async def is_leased() -> bool:
        return (await runnable(service, made.id, wants_lease=True)).HasField("lease")

    await until(is_leased, "a lease")
    assert (await runnable(service, made.id)).graph.version == 3


@EDITS
async def test_an_edit_waits_for_a_lease_that_is_taken_at_the_same_time(service: Service, edit: Edit) -> None:
    made = await two_versions(service)
    edited = asyncio.create_task(service.user().call(*edit(made)))
    may_run_until = 0.0
    with contextlib.suppress(grpc.aio.AioRpcError):  # deleted
        while not edited.done():
            asked_at = time.monotonic()
            answer = await runnable(service, made.id, wants_lease=True)
            if answer.graph.version == 2 and answer.HasField("lease"):
                may_run_until = asked_at + LEASE_SECONDS
    await edited
    assert time.monotonic() >= may_run_until


async def test_a_graph_can_be_run_when_its_lease_cannot_be_stored(service: Service) -> None:
    made = await create(service.user())
    await sql(service, NO_SPACE.format(graph_id=made.id))
    try:
        answer = await runnable(service, made.id, wants_lease=True)
        assert answer.graph.version == 1
        assert not answer.HasField("lease")
    finally:
        await sql(service, "DROP FUNCTION graph.no_space CASCADE")


async def test_a_version_that_is_named_needs_no_lease(service: Service) -> None:
    made = await create(service.user())
    answer = await runnable(service, made.id, version=1, wants_lease=True)
    assert answer.graph.version == 1
    assert not answer.HasField("lease")


async def test_a_lease_is_of_the_users_own_graph_alone(service: Service) -> None:
    made = await create(service.user("bert"))
    request = GetRunnableGraphRequest(graph_id=made.id, user_id="anna", wants_lease=True)
    refused = await service.service().refused("GetRunnableGraph", request)
    assert refused.code is grpc.StatusCode.NOT_FOUND
    assert await sql(service, "SELECT lease_until FROM graph.graphs WHERE graph_id = $1", made.id) is None
