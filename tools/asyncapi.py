"""The AsyncAPI document of what subscribers are told, made of the protos: messages of NATS, and events in JSON.

`python -m tools.asyncapi write` puts it into docs/asyncapi.yaml, `check` says whether another one stands there.
"""

import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from tools.openapi.contract import ROOT, Contract, Method, Service, read_contract
from tools.openapi.schemas import Direction, Schemas

PLACE = ROOT / "docs" / "asyncapi.yaml"
PROTOBUF = "application/vnd.google.protobuf;version=3"
CLOUD_EVENTS = "application/cloudevents+json"
PACKAGE = "blockyard.event.v1"
DESCRIPTION = """
What executions do, and what else users should know. docs/events.md says what subscribers can rely on: order, at least
once, sequences without gaps, cursors.
""".strip()

PARAMETERS = {
    "user": "Id of the user who owns it; dots are %2E.",
    "graph": "Id of the graph; `block` for the run of a single block.",
    "execution": "Id of the execution, a UUID.",
}
HEADERS = {
    "Nats-Msg-Id": "`<execution>:<first>-<last>`, the sequences inside.",
    "Blockyard-Kinds": "The kinds inside, with commas, as `NODE_COMPLETED,NODE_QUEUED`.",
    "Blockyard-Feed": "`<partition> <before> <sequence>`: the place of the turn in the feed of its partition.",
    "ce-specversion": "`1.0`",
    "ce-id": "As Nats-Msg-Id.",
    "ce-source": "`/graphs/<graph>/executions/<execution>`",
    "ce-type": f"`{PACKAGE}.EventBatch`",
    "ce-time": "When the first event inside was recorded.",
    "content-type": "`application/protobuf`",
}

Json = dict[str, Any]
"""A part of the document."""


def document(contract: Contract) -> Json:
    """The document as JSON."""
    batch, event, notice = (
        contract.pool.FindMessageTypeByName(f"{PACKAGE}.{name}") for name in ("EventBatch", "Event", "Notice")
    )
    schemas = Schemas(_telling(contract, batch, notice))
    data = _data(schemas, batch, event)
    user = {"user": {"description": PARAMETERS["user"]}}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Blockyard's events",
            "version": tomllib.loads((ROOT / "sdk" / "pyproject.toml").read_text())["project"]["version"],
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0"},
        },
        "servers": {
            "nats": {
                "host": "nats.example:4222",
                "protocol": "nats",
                "description": "As the user `subscriber.<user>`, whose account has the subjects of that user alone.",
                "security": [{"$ref": "#/components/securitySchemes/password"}],
            }
        },
        "channels": {
            "events": {
                "address": "blockyard.event.{user}.{graph}.{execution}",
                "description": "What executions do, a message for each committed turn.",
                "parameters": {name: {"description": text} for name, text in PARAMETERS.items()},
                "messages": {"eventBatch": {"$ref": "#/components/messages/eventBatch"}},
            },
            "notices": {
                "address": "blockyard.notice.{user}",
                "description": "What no execution does.",
                "parameters": user,
                "messages": {"notice": {"$ref": "#/components/messages/notice"}},
            },
        },
        "operations": {
            "receiveEvents": {"action": "receive", "channel": {"$ref": "#/channels/events"}},
            "receiveNotices": {"action": "receive", "channel": {"$ref": "#/channels/notices"}},
        },
        "components": {
            "securitySchemes": {"password": {"type": "userPassword"}},
            "messages": {
                "eventBatch": _message(schemas, batch, "event.proto", HEADERS),
                "notice": _message(schemas, notice, "notice.proto", {"Nats-Msg-Id": "The id of the notice."}),
                "cloudEvent": {
                    "name": "CloudEvent",
                    "summary": "One event as WebSocket, server-sent events and webhooks carry it.",
                    "contentType": CLOUD_EVENTS,
                    "payload": {"$ref": "#/components/schemas/CloudEvent"},
                },
            },
            "schemas": dict(sorted({**schemas.components, "CloudEvent": _cloud_event(data)}.items())),
        },
    }


def _telling(contract: Contract, *messages: Descriptor) -> Contract:
    """A contract that has these messages alone, so that schemas are named and made of them."""
    methods = tuple(Method(one.name, one.name, "", one, one, False, ()) for one in messages)
    return replace(contract, services=(Service("", "", methods),))


def _message(schemas: Schemas, message: Descriptor, proto: str, headers: dict[str, str]) -> Json:
    """A message of NATS. The proto itself is its schema; a reader of JSON schemas finds the same under components."""
    source = (ROOT / "proto" / PACKAGE.replace(".", "/") / proto).read_text(encoding="utf-8")
    schemas.reference(message, Direction.ANSWER)
    return {
        "name": message.full_name,
        "title": message.name,
        "description": schemas.comment(message.full_name),
        "contentType": "application/protobuf",
        "headers": {
            "type": "object",
            "properties": {name: {"type": "string", "description": text} for name, text in headers.items()},
        },
        "payload": {"schemaFormat": PROTOBUF, "schema": source},
    }


def _data(schemas: Schemas, batch: Descriptor, event: Descriptor) -> Json:
    """The `data` of an event in JSON: what its batch has once for all, then the fields of the event."""
    schemas.reference(event, Direction.ANSWER)
    fields = [field for field in batch.fields if field.name != "events"]
    fields += [field for field in event.fields if field.name != "time"]
    properties = {field.json_name: _easier(schemas, field) for field in fields}
    required = ["executionId", "userId", "sequence", "kind"]
    return {"type": "object", "properties": properties, "required": required}


def _easier(schemas: Schemas, field: FieldDescriptor) -> Json:
    """As proto3 JSON has it, but whole numbers are numbers and the value is the JSON value itself."""
    schema = schemas.of_field(field, Direction.ANSWER)
    described = {"description": schema["description"]}
    if field.type == FieldDescriptor.TYPE_INT64:
        return {"type": "integer"} | described
    return described if field.type == FieldDescriptor.TYPE_BYTES else schema


def _cloud_event(data: Json) -> Json:
    text = {"type": "string"}
    properties = {
        "specversion": {"const": "1.0"},
        "id": text | {"description": "`<execution>:<sequence>`, the same however often and wherever it is told."},
        "source": text | {"description": "`/graphs/<graph>/executions/<execution>`"},
        "type": text | {"description": "The kind, as `blockyard.execution.completed`."},
        "subject": text | {"description": "The node, in events of nodes."},
        "time": text | {"format": "date-time", "description": "When the fact behind it was recorded."},
        "datacontenttype": {"const": "application/json"},
        "sequence": text | {"description": "As in `data`, as an extension of CloudEvents."},
        "sequencetype": {"const": "Integer"},
        "data": data,
    }
    required = [name for name in properties if name != "subject"]
    return {"type": "object", "properties": properties, "required": required}


def written(contract: Contract) -> str:
    """The document as text, the same for the same contract."""

    class Dumper(yaml.SafeDumper):
        """Texts of several lines as they are, and nothing by reference."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)

    Dumper.add_representer(str, text)
    head = "# Made of proto/ by `./task proto`; changes made here are lost.\n"
    return head + yaml.dump(document(contract), Dumper=Dumper, sort_keys=False, width=110, allow_unicode=True)


def main(arguments: list[str], place: Path = PLACE) -> int:
    """Do one of `write` and `check`."""
    if arguments not in (["write"], ["check"]):
        print("usage: python -m tools.asyncapi write|check", file=sys.stderr)
        return 2
    text = written(read_contract())
    if arguments == ["write"]:
        place.write_text(text, encoding="utf-8")
        return 0
    if place.exists() and place.read_text(encoding="utf-8") == text:
        return 0
    print(f"{place.name} does not fit proto/: run `./task proto` and commit.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
