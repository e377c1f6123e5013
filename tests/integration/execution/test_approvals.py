"""Nodes that wait for a person: what may be decided, what goes on from there, and that no runner is held meanwhile."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from blockyard.dev.postgres import PostgresServer
from blockyard.event.v1.event_pb2 import EventKind
from blockyard.execution.v1 import execution_service_pb2 as messages
from blockyard.execution.v1.execution_pb2 import ExecutionStatus, NodeExecutionStatus
from blockyard.runner.v1.task_pb2 import Task
from blockyard.values import encode_reference
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from services.common.blobs import BlobStore, blob_key
from services.execution.large_values import LIMIT
from tests.integration.execution.house import Client, House, house
from tests.integration.execution.protocol_runner import running
from tests.integration.execution.test_guarantees import ended, node_executions
from tests.waiting import until


def reviewed(built: House, **constants: Any) -> None:
    """A node "review" for input "x", whose three outputs are the results."""
    graph = built.graph()
    graph.input("x", required=True)
    graph.node("review", "APPROVAL", name="Mail", **constants)
    graph.link("x.result", "review.data")
    for pin in ("approved_data", "rejected_data", "review_message"):
        graph.output(pin)
        graph.link(f"review.{pin}", f"{pin}.value")
    built.catalogue.add(graph)


def violations(refused: grpc.aio.AioRpcError) -> dict[str, str]:
    """What a refusal says is wrong, by field."""
    status = rpc_status.from_call(refused)
    found = {}
    for detail in status.details if status is not None else ():
        bad = error_details_pb2.BadRequest()
        if detail.Unpack(bad):
            found.update({violation.field: violation.description for violation in bad.field_violations})
    return found


async def waiting(client: Client, execution_id: str) -> Any:
    """The node execution that waits for a person, once there is one."""

    async def found() -> Any:
        nodes = await node_executions(client, execution_id)
        return next((n for n in nodes if n.status == NodeExecutionStatus.NODE_EXECUTION_STATUS_WAITING), None)

    return await until(found, "a node waits for a person")


def decided(execution_id: str, number: int, decision: Any, **fields: Any) -> messages.ResumeNodeRequest:
    if "data" in fields:
        fields["data_json"] = json.dumps(fields.pop("data")).encode()
    return messages.ResumeNodeRequest(execution_id=execution_id, node_execution=number, decision=decision, **fields)


@pytest.mark.parametrize(
    ("decision", "fields", "results"),
    [
        (messages.DECISION_APPROVE, {}, {"approved_data": [{"to": "ada"}]}),
        (messages.DECISION_APPROVE, {"data": None}, {"approved_data": [None]}),
        (
            messages.DECISION_APPROVE,
            {"data": {"to": 2**60 + 1}, "message": "to her instead"},
            {"approved_data": [{"to": 2**60 + 1}], "review_message": ["to her instead"]},
        ),
        (messages.DECISION_REJECT, {}, {"rejected_data": [{"to": "ada"}]}),
        (
            messages.DECISION_REJECT,
            {"message": "no"},
            {"rejected_data": [{"to": "ada"}], "review_message": ["no"]},
        ),
    ],
)
async def test_the_decision_says_which_way_the_data_goes(
    postgres: PostgresServer, decision: Any, fields: dict[str, Any], results: dict[str, Any]
) -> None:
    async with house(postgres, unload_after=0) as built:
        reviewed(built)
        await built.add_replica()
        client = built.client()
        execution = await client.start(inputs={"x": {"to": "ada"}})
        node = await waiting(client, execution.id)
        await client.call("ResumeNode", decided(execution.id, node.number, decision, **fields))
        events = await client.events(execution.id)
        assert await client.results(execution.id) == results
        kinds = [event.kind for event in events if event.node_id == "review"]
        assert kinds[0] == EventKind.EVENT_KIND_NODE_WAITING
        assert kinds[-1] == EventKind.EVENT_KIND_NODE_COMPLETED


async def test_an_approval_may_be_taken_as_failed(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        reviewed(built)
        await built.add_replica()
        client = built.client()
        execution = await client.start(inputs={"x": 1})
        node = await waiting(client, execution.id)
        await client.call("ResumeNode", decided(execution.id, node.number, messages.DECISION_FAIL, message="nobody"))
        await ended(client, execution.id)
        found = await client.get(execution.id)
        assert found.status == ExecutionStatus.EXECUTION_STATUS_FAILED
        assert found.status_message == "node review failed: nobody"


@pytest.mark.parametrize(
    ("decision", "fields", "field", "message"),
    [
        (messages.DECISION_RETRY, {}, "decision", "node execution 2 is WAITING: expected one of APPROVE, REJECT, FAIL"),
        (messages.DECISION_APPROVE, {"data": 2}, "data_json", "this node does not let its data be changed"),
        (messages.DECISION_REJECT, {"data": 2}, "data_json", "data is changed only with DECISION_APPROVE"),
        (messages.DECISION_APPROVE, {"data_json": b"{"}, "data_json", "unexpected end of data"),
    ],
)
async def test_what_cannot_be_decided_is_refused_and_the_node_waits_on(
    postgres: PostgresServer, decision: Any, fields: dict[str, Any], field: str, message: str
) -> None:
    async with house(postgres) as built:
        reviewed(built, editable=False)
        await built.add_replica()
        client = built.client()
        execution = await client.start(inputs={"x": 1})
        node = await waiting(client, execution.id)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await client.call("ResumeNode", decided(execution.id, node.number, decision, **fields))
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert field in violations(refused.value)
        assert message in violations(refused.value)[field]
        await client.call("ResumeNode", decided(execution.id, node.number, messages.DECISION_APPROVE))
        await ended(client, execution.id)
        assert await client.results(execution.id) == {"approved_data": [1]}


async def test_a_second_decision_changes_nothing(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        reviewed(built)
        await built.add_replica()
        client = built.client()
        execution = await client.start(inputs={"x": 1})
        node = await waiting(client, execution.id)
        for decision in (messages.DECISION_APPROVE, messages.DECISION_REJECT):
            request = decided(execution.id, node.number, decision, request_id="once")
            await client.call("ResumeNode", request)
        await ended(client, execution.id)
        assert await client.results(execution.id) == {"approved_data": [1]}
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await client.call("ResumeNode", decided(execution.id, node.number, messages.DECISION_REJECT))
        assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION


async def test_somebody_elses_approval_is_not_found(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        reviewed(built)
        await built.add_replica()
        client = built.client()
        execution = await client.start(inputs={"x": 1})
        node = await waiting(client, execution.id)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await built.client("berta").call(
                "ResumeNode", decided(execution.id, node.number, messages.DECISION_APPROVE)
            )
        assert refused.value.code() == grpc.StatusCode.NOT_FOUND


async def test_parts_of_the_data_go_in_and_out(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        graph = built.graph()
        graph.input("to")
        graph.node("review", "APPROVAL", name="Mail", data={"subject": "rain"})
        graph.link("to.result", "review.data_#_to")
        for part in ("to", "subject"):
            graph.node(f"{part}-out", "OUTPUT", name=part)
            graph.link(f"review.approved_data_#_{part}", f"{part}-out.value")
        built.catalogue.add(graph)
        await built.add_replica()
        client = built.client()
        execution = await client.start(inputs={"to": "ada"})
        node = await waiting(client, execution.id)
        await client.call("ResumeNode", decided(execution.id, node.number, messages.DECISION_APPROVE))
        await ended(client, execution.id)
        assert await client.results(execution.id) == {"to": ["ada"], "subject": ["rain"]}


async def test_an_approval_outlives_the_replica(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        reviewed(built)
        replica = await built.add_replica()
        client = built.client()
        execution = await client.start(inputs={"x": 1})
        node = await waiting(client, execution.id)
        await replica.close()
        built.replicas.clear()
        await built.add_replica()
        client = built.client()
        await client.call("ResumeNode", decided(execution.id, node.number, messages.DECISION_APPROVE))
        await ended(client, execution.id)
        assert await client.results(execution.id) == {"approved_data": [1]}


@pytest.mark.parametrize("data", ["text", [1]])
async def test_parts_that_do_not_fit_the_data_are_told_of_and_other_data_may_be_sent(
    postgres: PostgresServer, data: Any
) -> None:
    async with house(postgres) as built:
        graph = built.graph()
        graph.input("x")
        graph.input("to")
        graph.node("review", "APPROVAL", name="Mail")
        graph.link("x.result", "review.data")
        graph.link("to.result", "review.data_#_to")
        graph.output("out")
        graph.link("review.approved_data", "out.value")
        built.catalogue.add(graph)
        await built.add_replica()
        client = built.client()
        execution = await client.start(inputs={"x": data, "to": "ada"})
        node = await waiting(client, execution.id)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await client.call("ResumeNode", decided(execution.id, node.number, messages.DECISION_APPROVE))
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "data_#_to: expected an object to put it into" in violations(refused.value)["decision"]
        request = decided(execution.id, node.number, messages.DECISION_APPROVE, data={"to": "eva"})
        await client.call("ResumeNode", request)
        await ended(client, execution.id)
        assert await client.results(execution.id) == {"out": [{"to": "eva"}]}


async def test_data_in_the_blob_store_is_put_together_with_its_parts_and_taken_apart(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        graph = built.graph()
        graph.node("make")
        graph.node("review", "APPROVAL", name="Mail")
        graph.link("make.mail", "review.data")
        graph.link("make.to", "review.data_#_to")
        for part in ("to", "subject"):
            graph.node(f"{part}-out", "OUTPUT", name=part)
            graph.link(f"review.approved_data_#_{part}", f"{part}-out.value")
        built.catalogue.add(graph)
        await built.add_replica()
        stored = json.dumps({"to": "nobody", "subject": "rain", "text": "x" * (LIMIT + 1)}).encode()
        key = blob_key("of", "make", "mail", hashlib.sha256(stored).hexdigest())
        reference = await BlobStore(f"file://{built.folder / 'blobs'}").put(key, stored)

        def make(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
            yield "mail", json.loads(encode_reference(reference.key, reference.size, reference.sha256))
            yield "to", "ada"

        async with running(built.bus, {"make": make}):
            client = built.client()
            execution = await client.start()
            node = await waiting(client, execution.id)
            await client.call("ResumeNode", decided(execution.id, node.number, messages.DECISION_APPROVE))
            await ended(client, execution.id)
            assert await client.results(execution.id) == {"to": ["ada"], "subject": ["rain"]}


async def test_an_event_says_that_a_person_is_waited_for(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        reviewed(built)
        await built.add_replica()
        client = built.client()
        execution = await client.start(inputs={"x": {"to": "ada"}})
        review = await waiting(client, execution.id)
        await client.call("ResumeNode", decided(execution.id, review.number, messages.DECISION_APPROVE))
        events = await client.events(execution.id)
        assert [event.kind for event in events if event.waits_for_person] == [EventKind.EVENT_KIND_NODE_WAITING]
