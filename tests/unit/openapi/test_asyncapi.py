"""The AsyncAPI document: it fits the protos, refers to what is there, and describes what is really told."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest
import yaml
from blockyard.event.v1.event_pb2 import Event, EventBatch, EventKind
from blockyard.feeds import FeedPlace

from services.execution.feed import message_of
from services.notification.cloudevents import cloud_event
from tools import asyncapi


@cache
def document() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(asyncapi.PLACE.read_text(encoding="utf-8"))
    return content


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        part = list(part.values())
    if isinstance(part, list):
        for one in part:
            yield from references(one)


def test_a_document_that_does_not_fit_the_protos_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "asyncapi.yaml"
    assert asyncapi.main(["check"], place) == 1
    assert asyncapi.main(["write"], place) == 0
    assert asyncapi.main(["check"], place) == 0
    place.write_text(place.read_text(encoding="utf-8") + "#", encoding="utf-8")
    assert asyncapi.main(["check"], place) == 1
    assert "run `./task proto` and commit" in capsys.readouterr().err


def test_every_reference_leads_somewhere() -> None:
    found = set(references(document()))
    assert found
    for reference in found:
        part: Any = document()
        for name in reference.removeprefix("#/").split("/"):
            assert name in part, reference
            part = part[name]


def test_every_kind_is_there() -> None:
    assert document()["components"]["schemas"]["EventKind"]["enum"] == list(EventKind.keys())


@pytest.mark.parametrize(
    "event",
    [
        Event(sequence=1, kind=EventKind.EVENT_KIND_EXECUTION_STARTED),
        Event(
            sequence=7,
            kind=EventKind.EVENT_KIND_NODE_OUTPUT,
            node_execution=2,
            node_id="node",
            attempt=1,
            pin="result",
            value=b'{"n": 9007199254740993}',
        ),
        Event(sequence=8, kind=EventKind.EVENT_KIND_NODE_FAILED, node_id="node", message="no", reason=1),  # type: ignore[arg-type]
    ],
    ids=lambda event: EventKind.Name(event.kind),
)
def test_an_event_in_json_is_as_it_says(event: Event) -> None:
    event.time.FromSeconds(1_700_000_000)
    batch = EventBatch(execution_id="execution", graph_id="graph", graph_version=3, user_id="anna", events=[event])
    schemas = document()["components"]["schemas"]
    told = orjson.loads(cloud_event(batch, event))
    jsonschema.validate(told, {**schemas["CloudEvent"], "components": {"schemas": schemas}})
    data = schemas["CloudEvent"]["properties"]["data"]["properties"]
    assert told["data"].keys() <= data.keys()


def test_a_message_of_nats_has_the_headers_and_the_subject_that_it_says() -> None:
    time, place = "2026-01-01T00:00:00Z", FeedPlace(1, 0, 1)
    message = message_of("anna", "graph", "execution", b"", 1, 2, "NODE_QUEUED", time, place)
    described = document()["components"]["messages"]["eventBatch"]["headers"]["properties"]
    assert {"Nats-Msg-Id", *(message.headers or {})} == set(described)
    address = document()["channels"]["events"]["address"]
    assert message.subject == address.format(user="anna", graph="graph", execution="execution")
