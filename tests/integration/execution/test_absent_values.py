"""Values that cannot be had, gone from the blob store or larger than a message: readers get whatever else there is."""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from blockyard.dev.postgres import PostgresServer
from blockyard.event.v1.event_pb2 import Event, EventKind, ValueAbsence
from blockyard.execution.v1 import execution_service_pb2 as messages
from blockyard.execution.v1.execution_pb2 import NodeExecution
from blockyard.runner.v1.task_pb2 import Task
from blockyard.values import encode_reference

from services.common.blobs import BlobStore
from services.execution.large_values import LARGEST
from tests.integration.execution.house import Client, House, house
from tests.integration.execution.protocol_runner import running
from tests.integration.execution.test_bad_input import Refused, refusal
from tests.integration.execution.test_guarantees import echo

MISSING = ValueAbsence.VALUE_ABSENCE_MISSING
TOO_LARGE = ValueAbsence.VALUE_ABSENCE_TOO_LARGE


def blobs_of(built: House) -> list[Path]:
    return [path for path in (built.folder / "blobs").rglob("*") if path.is_file()]


def remove(blob: Path) -> None:
    blob.unlink()


def damage(blob: Path) -> None:
    data = blob.read_bytes()
    blob.write_bytes(data[:-2] + b'y"')


def leave(blob: Path) -> None:
    """It is what was written, and stays."""


CASES: list[tuple[int, Callable[[Path], None], ValueAbsence.ValueType, Refused]] = [
    (400_000, remove, MISSING, ("DATA_LOSS", "VALUE_MISSING", [])),
    (400_000, damage, MISSING, ("DATA_LOSS", "VALUE_MISSING", [])),
    (LARGEST, leave, TOO_LARGE, ("OUT_OF_RANGE", "VALUE_TOO_LARGE", [])),
]


@asynccontextmanager
async def ended(postgres: PostgresServer, length: int) -> AsyncIterator[tuple[House, Client, str]]:
    """An execution in which a node gave a text of this length, as runners do: in the blob store."""
    references: list[bytes] = []

    def large(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
        yield "result", json.loads(references[0])

    async with house(postgres) as built:
        graph = built.graph()
        graph.node("large")
        graph.node("after", "echo")
        graph.node("small", "echo", a="small")
        for source, name in (("large", "first"), ("after", "last"), ("small", "aside")):
            graph.output(name)
            graph.link(f"{source}.result", f"{name}.value")
        graph.link("large.result", "after.a")
        built.catalogue.add(graph)
        await built.add_replica()
        stored = await BlobStore(f"file://{built.folder / 'blobs'}").put("a/1/b", json.dumps("x" * length).encode())
        references.append(encode_reference(stored.key, stored.size, stored.sha256))
        async with running(built.bus, {"large": large, "echo": echo}):
            client = built.client()
            execution_id = (await client.start()).id
            await client.events(execution_id)
            yield built, client, execution_id


def carries_large(event: Event) -> bool:
    return event.node_id in ("large", "after", "first", "last") and (
        event.kind == EventKind.EVENT_KIND_EXECUTION_OUTPUT or event.pin in ("result", "output")
    )


@pytest.mark.parametrize(("length", "spoil", "absence", "refused"), CASES)
async def test_a_value_that_cannot_be_had_is_left_out_and_the_rest_is_told(
    postgres: PostgresServer,
    length: int,
    spoil: Callable[[Path], None],
    absence: ValueAbsence.ValueType,
    refused: Refused,
) -> None:
    async with ended(postgres, length) as (built, client, execution_id):
        (blob,) = blobs_of(built)
        spoil(blob)

        events = await client.events(execution_id)
        listed = await client.call("ListEvents", messages.ListEventsRequest(execution_id=execution_id))
        assert list(listed.events) == events
        assert [event.sequence for event in events] == list(range(1, len(events) + 1))
        assert any(carries_large(event) for event in events)
        for event in events:
            if carries_large(event):
                assert (event.value_absence, event.value) == (absence, b"")
                assert event.message
            else:
                assert event.value_absence == ValueAbsence.VALUE_ABSENCE_UNSPECIFIED

        request = messages.ListNodeExecutionsRequest(execution_id=execution_id, value_format=messages.VALUE_FORMAT_JSON)
        nodes: dict[str, NodeExecution] = {
            node.node_id: node for node in (await client.call("ListNodeExecutions", request)).node_executions
        }
        assert len(nodes) == 6
        assert json.loads(nodes["small"].outputs_json) == {"result": ["small"]}
        assert not nodes["small"].absent_values
        assert json.loads(nodes["after"].inputs_json) == {}
        assert json.loads(nodes["after"].outputs_json) == {"result": [None]}
        told = {(one.pin, one.index, one.input, one.absence) for one in nodes["after"].absent_values}
        assert told == {("a", 0, True, absence), ("result", 0, False, absence)}

        results = messages.GetExecutionResultsRequest(execution_id=execution_id)
        assert await refusal(client.call("GetExecutionResults", results)) == refused
        with pytest.raises(grpc.aio.AioRpcError, match="'first'"):
            await client.call("GetExecutionResults", results)
        # Outputs are in the order of their names: what comes before can be had.
        results.page_size = 1
        (first,) = dict((await client.call("GetExecutionResults", results)).results)
        assert first == "aside"


async def test_a_large_value_is_whole_for_readers_wherever_it_stands(postgres: PostgresServer) -> None:
    async with ended(postgres, 400_000) as (_, client, execution_id):
        value = "x" * 400_000
        assert await client.results(execution_id) == {"first": [value], "last": [value], "aside": ["small"]}
        request = messages.ListNodeExecutionsRequest(
            execution_id=execution_id, node_id="after", value_format=messages.VALUE_FORMAT_JSON
        )
        (node,) = (await client.call("ListNodeExecutions", request)).node_executions
        assert json.loads(node.inputs_json) == {"a": value}
        assert json.loads(node.outputs_json) == {"result": [value]}
