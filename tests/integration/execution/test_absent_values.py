"""Values that cannot be had, gone from the blob store or larger than a message: readers get whatever else there is."""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from blockyard.dev.postgres import PostgresServer
from blockyard.event.v1.event_pb2 import Event, EventKind, ValueAbsence
from blockyard.execution.v1 import execution_service_pb2 as messages
from blockyard.execution.v1.execution_pb2 import ExecutionStatus, NodeExecution
from blockyard.runner.v1.task_pb2 import Task
from blockyard.values import encode_reference

from services.common.blobs import BlobStore
from services.common.structs import from_struct
from services.execution.large_values import LARGEST
from tests.integration.execution.house import Client, House, house
from tests.integration.execution.protocol_runner import running
from tests.integration.execution.test_guarantees import echo, node_executions
from tests.integration.execution.test_reading import joined

MISSING = ValueAbsence.VALUE_ABSENCE_MISSING
TOO_LARGE = ValueAbsence.VALUE_ABSENCE_TOO_LARGE
TOO_DEEP = ValueAbsence.VALUE_ABSENCE_TOO_DEEP

JSON = messages.VALUE_FORMAT_JSON


def blobs_of(built: House) -> list[Path]:
    return [path for path in (built.folder / "blobs").rglob("*") if path.is_file()]


def remove(blob: Path) -> None:
    blob.unlink()


def damage(blob: Path) -> None:
    data = blob.read_bytes()
    blob.write_bytes(data[:-2] + b'y"')


def leave(blob: Path) -> None:
    """It is what was written, and stays."""


CASES: list[tuple[int, Callable[[Path], None], ValueAbsence.ValueType]] = [
    (400_000, remove, MISSING),
    (400_000, damage, MISSING),
    (LARGEST, leave, TOO_LARGE),
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


@pytest.mark.parametrize(("length", "spoil", "absence"), CASES)
async def test_a_value_that_cannot_be_had_is_left_out_and_the_rest_is_told(
    postgres: PostgresServer,
    length: int,
    spoil: Callable[[Path], None],
    absence: ValueAbsence.ValueType,
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

        for value_format in (messages.VALUE_FORMAT_JSON, messages.VALUE_FORMAT_STRUCT):
            results = messages.GetExecutionResultsRequest(execution_id=execution_id, value_format=value_format)
            for page_size in (0, 1):
                results.page_size = page_size
                (answer, *_) = pages = await pages_of(client, results)
                assert joined([given_in(page) for page in pages]) == {
                    "aside": ["small"],
                    "first": [None],
                    "last": [None],
                }
                absent = [one for page in pages for one in page.absent_values]
                assert [(one.output, one.index, one.absence) for one in absent] == [
                    ("first", 0, absence),
                    ("last", 0, absence),
                ]
                assert all(one.message for one in absent)
                assert answer.status == ExecutionStatus.EXECUTION_STATUS_COMPLETED


async def test_what_is_recorded_and_no_json_is_left_out_and_the_rest_is_told(postgres: PostgresServer) -> None:
    async with ended(postgres, 300_000) as (built, client, execution_id):
        # What a runner gave wrongly is refused by now, and may have been recorded before.
        connection = await asyncpg.connect(built.database_url)
        try:
            await connection.execute("UPDATE execution.outputs SET value = 'NaN' WHERE name IN ('first', 'last')")
            await connection.execute(
                """UPDATE execution.node_executions SET inputs = '{"a":{}' WHERE node_id = 'after'"""
            )
        finally:
            await connection.close()
        nodes = await node_executions(client, execution_id)
        (after,) = [node for node in nodes if node.node_id == "after"]
        assert json.loads(after.inputs_json) == {}
        assert [(one.pin, one.input, one.absence) for one in after.absent_values] == [("", True, MISSING)]
        for value_format in (messages.VALUE_FORMAT_JSON, messages.VALUE_FORMAT_STRUCT):
            request = messages.GetExecutionResultsRequest(execution_id=execution_id, value_format=value_format)
            answer = await client.call("GetExecutionResults", request)
            assert given_in(answer) == {"aside": ["small"], "first": [None], "last": [None]}
            assert {(one.output, one.absence) for one in answer.absent_values} == {
                ("first", MISSING),
                ("last", MISSING),
            }


async def pages_of(
    client: Client, request: messages.GetExecutionResultsRequest
) -> list[messages.GetExecutionResultsResponse]:
    """GetExecutionResults to its end."""
    pages: list[messages.GetExecutionResultsResponse] = []
    while not pages or pages[-1].next_page_token:
        request.page_token = pages[-1].next_page_token if pages else ""
        pages.append(await client.call("GetExecutionResults", request))
    request.page_token = ""
    return pages


def given_in(page: messages.GetExecutionResultsResponse) -> dict[str, list[Any]]:
    """The results in an answer, in whatever form."""
    given: dict[str, list[Any]] = json.loads(page.results_json) if page.results_json else from_struct(page.results)
    return given


NESTINGS = (1, 22, 23, 24, 40, 200)
"""Of lists in lists. A Struct has room for 23 in a list in an object."""


def nested(levels: int) -> Any:
    value: Any = 7
    for _ in range(levels):
        value = [value]
    return value


def nestings(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
    for levels in NESTINGS:
        yield "item", nested(levels)


@asynccontextmanager
async def ended_with_nestings(postgres: PostgresServer) -> AsyncIterator[tuple[Client, str]]:
    """An execution whose output `out` was given each of the nestings."""
    async with house(postgres) as built:
        graph = built.graph()
        graph.node("nestings", many=("item",))
        graph.node("each", "echo")
        graph.output("out")
        graph.link("nestings.item", "each.a")
        graph.link("each.result", "out.value")
        built.catalogue.add(graph)
        await built.add_replica()
        async with running(built.bus, {"nestings": nestings, "echo": echo}):
            client = built.client()
            execution_id = (await client.start()).id
            await client.events(execution_id)
            yield client, execution_id


async def test_a_value_too_deep_for_a_struct_is_left_out_and_the_rest_is_told(postgres: PostgresServer) -> None:
    async with ended_with_nestings(postgres) as (client, execution_id):
        deep = [index for index, levels in enumerate(NESTINGS) if levels > 23]
        told: list[Any] = [None if index in deep else nested(levels) for index, levels in enumerate(NESTINGS)]
        results = messages.GetExecutionResultsRequest(execution_id=execution_id)
        (answer,) = await pages_of(client, results)
        assert given_in(answer) == {"out": told}
        assert [(one.output, one.index, one.absence) for one in answer.absent_values] == [
            ("out", index, TOO_DEEP) for index in deep
        ]
        assert all("VALUE_FORMAT_JSON" in one.message for one in answer.absent_values)
        # An index counts in the list of its answer.
        results.page_size = 5
        absent = [[one.index for one in page.absent_values] for page in await pages_of(client, results)]
        assert absent == [[3, 4], [0]]

        nodes = messages.ListNodeExecutionsRequest(execution_id=execution_id)
        listed = (await client.call("ListNodeExecutions", nodes)).node_executions
        assert len(listed) == 1 + 2 * len(NESTINGS)
        (source,) = [node for node in listed if node.node_id == "nestings"]
        assert from_struct(source.outputs) == {"item": told}
        assert [(one.pin, one.index, one.input, one.absence) for one in source.absent_values] == [
            ("item", index, False, TOO_DEEP) for index in deep
        ]
        # An input is not in a list, so one level more has room.
        each = [node for node in listed if node.node_id == "each"]
        missing = sorted([(one.input, one.absence) for one in node.absent_values] for node in each)
        assert missing == [[]] * 3 + [[(False, TOO_DEEP)]] + [[(False, TOO_DEEP), (True, TOO_DEEP)]] * 2
        assert sum("a" in node.inputs for node in each) == 4

        results = messages.GetExecutionResultsRequest(execution_id=execution_id, value_format=JSON)
        (answer,) = await pages_of(client, results)
        assert given_in(answer) == {"out": [nested(levels) for levels in NESTINGS]}
        assert not answer.absent_values
        nodes.value_format = JSON
        listed = (await client.call("ListNodeExecutions", nodes)).node_executions
        assert not [one for node in listed for one in node.absent_values]


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
