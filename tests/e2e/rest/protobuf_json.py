"""Whether a request that differs from the document is all the same what the document says, in another form of proto3's
JSON: null in place of nothing, numbers of enums, integers as text. Protobuf itself is asked.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import schemathesis
from google.api import annotations_pb2
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from jsonschema import Draft202012Validator
from schemathesis.core import NotSet

from tests.unit.common.test_permissions import methods
from tools.openapi.operations import field_at
from tools.openapi.schemas import WELL_KNOWN

Json = dict[str, Any]
JSON = "application/json"

UNMASKED = ("updateMask", "version", "userId")
"""Fields of updates that are not what is updated."""


def fits(case: schemathesis.Case[Any]) -> bool:
    """Whether a request, written the one way that the document knows, fits it."""
    definition = case.operation.definition.raw
    if JSON not in definition.get("requestBody", {}).get("content", {JSON: {}}):
        return False  # whatever is sent as it is
    method = _methods()[definition["operationId"].partition("_")[0]]
    components = case.operation.schema.raw_schema["components"]
    try:
        query = _query(method, case.query or {})
        body = _body(method, case)
    except (json_format.ParseError, ValueError):
        return False
    mask = query.get("updateMask") or (body.get("updateMask") if isinstance(body, dict) else None)
    body = _named(body, mask) if mask and mask != "*" else body
    return _query_fits(definition, query, components) and _body_fits(definition, body, components)


def _named(body: Json, mask: str) -> Json:
    """What an update looks at: the fields that its mask names, and those that no mask does."""
    looked_at = {*mask.split(","), *UNMASKED}
    return {name: value for name, value in body.items() if name in looked_at}


@cache
def _methods() -> Mapping[str, MethodDescriptor]:
    """The methods by the names of their operations."""
    public = (one for one in methods().values() if one.GetOptions().HasExtension(annotations_pb2.http))
    return {one.name[0].lower() + one.name[1:]: one for one in public}


def _query(method: MethodDescriptor, query: Mapping[str, Any]) -> Json:
    """The values of a query by the names of their parameters."""
    request: Json = {}
    for name, given in query.items():
        into = request
        *above, last = name.split(".")
        for part in above:
            into = into.setdefault(part, {})
        into[last] = _typed(_field(method, name), given)
    return _flat(_canonical(method, request))


def _field(method: MethodDescriptor, name: str) -> FieldDescriptor:
    message = method.input_type
    proto_names = []
    for part in name.split("."):
        field = next((one for one in message.fields if part in (one.json_name, one.name)), None)
        if field is None:
            raise ValueError(f"there is no parameter {name}")
        proto_names.append(field.name)
        message = field.message_type or message
    return field_at(method.input_type, ".".join(proto_names))


def _typed(field: FieldDescriptor, given: Any) -> Any:
    """What stands in an address is text."""
    if isinstance(given, list):
        return [_typed(field, one) for one in given] if field.is_repeated else _typed(field, given[-1])
    text = str(given).lower() if isinstance(given, bool) else str(given)
    value = {"true": True, "false": False}.get(text, text) if field.type == FieldDescriptor.TYPE_BOOL else text
    return [value] if field.is_repeated else value


def _flat(request: Json, prefix: str = "") -> Json:
    found: Json = {}
    for name, value in request.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found


def _body(method: MethodDescriptor, case: schemathesis.Case[Any]) -> Any:
    if isinstance(case.body, NotSet):
        return {}
    body = method.GetOptions().Extensions[annotations_pb2.http].body
    if body == "*":
        if not isinstance(case.body, dict):
            raise ValueError("the body is no object")
        return _canonical(method, _message_as_envoy_reads(case.body, method.input_type))
    request = _message_as_envoy_reads({body: case.body}, method.input_type)
    return _canonical(method, request).get(body, {})


def _message_as_envoy_reads(given: Json, message: Descriptor) -> Json:
    """What Envoy takes beyond protobuf's own JSON, as protobuf takes it: null or {} for whatever is empty, one value
    for a list of it, lists within lists as one."""
    fields = {name: field for field in message.fields for name in (field.json_name, field.name)}
    return {
        name: _field_as_envoy_reads(value, fields[name]) if name in fields else value
        for name, value in given.items()
        if value is not None and value != {}
    }


def _field_as_envoy_reads(value: Any, field: FieldDescriptor) -> Any:
    message = field.message_type
    if message is not None and message.GetOptions().map_entry and isinstance(value, dict):
        of_values = message.fields_by_name["value"]
        return {key: _value_as_envoy_reads(one, of_values) for key, one in value.items() if one is not None}
    if field.is_repeated:
        return [_value_as_envoy_reads(one, field) for one in _flattened(value)]
    return _value_as_envoy_reads(value, field)


def _value_as_envoy_reads(value: Any, field: FieldDescriptor) -> Any:
    message = field.message_type
    is_ours = message is not None and message.full_name not in WELL_KNOWN
    return _message_as_envoy_reads(value, message) if is_ours and message and isinstance(value, dict) else value


def _flattened(value: Any) -> Iterator[Any]:
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, list):
            yield from _flattened(one)
        elif one is not None:
            yield one


def _canonical(method: MethodDescriptor, request: Json) -> Json:
    """A request as protobuf writes it after it has read it."""
    message = json_format.ParseDict(request, GetMessageClass(method.input_type)())
    written: Json = json_format.MessageToDict(message)
    return written


def _query_fits(definition: Json, query: Json, components: Json) -> bool:
    parameters = [one for one in definition.get("parameters", []) if one["in"] == "query"]
    given = [(one, query.get(one["name"])) for one in parameters]
    return all(
        not one.get("required")
        if value is None
        else _is_valid(one["schema"], _number(one["schema"], value), components)
        for one, value in given
    )


def _number(schema: Json, value: Any) -> Any:
    return int(value) if schema.get("type") == "integer" else value


def _body_fits(definition: Json, body: Any, components: Json) -> bool:
    if "requestBody" not in definition:
        return True
    return _is_valid(definition["requestBody"]["content"][JSON]["schema"], body, components)


def _is_valid(schema: Json, value: Any, components: Json) -> bool:
    return bool(Draft202012Validator({**schema, "components": components}).is_valid(value))
