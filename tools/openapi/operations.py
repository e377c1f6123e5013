"""Methods at their addresses as operations of OpenAPI: what stands in the path, in the query and in the body."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from services.common.permissions import INTERNAL, PERMISSIONS, STARTS, Permission
from tools.openapi.contract import Binding, Method, Service
from tools.openapi.errors import responses_of
from tools.openapi.examples import ANSWERS, REQUESTS
from tools.openapi.limits import REQUIRED, Schema
from tools.openapi.schemas import EXACT, IN_A_QUERY, WELL_KNOWN, Direction, Schemas

JSON = "application/json"
STREAM = "application/x-ndjson"
"""Media type of streams: a JSON object a line."""

ACCEPTED = frozenset({"/blockyard.execution.v1.TriggerService/ReceiveWebhook"})
"""Methods that the edge answers with 202 in place of 200."""

SIGNED = ACCEPTED
"""Methods that take no token, and look whether the body is signed."""

Operation = dict[str, Any]


def operations(services: Iterable[Service], schemas: Schemas) -> dict[str, dict[str, Operation]]:
    """All operations, by path and verb."""
    paths: dict[str, dict[str, Operation]] = {}
    shapes: dict[str, str] = {}
    for service in services:
        for method in service.methods:
            for number, binding in enumerate(method.bindings, 1):
                operation = _operation(service, method, binding, number, schemas)
                path = _shown_path(binding.path)
                verbs = paths.setdefault(path, {})
                if binding.verb in verbs or shapes.setdefault(re.sub(r"\{[^}]*\}", "{}", path), path) != path:
                    raise ValueError(f"{binding.verb} {binding.path} belongs to two methods: {method.full_name}")
                verbs[binding.verb] = operation
    return paths


def _operation(service: Service, method: Method, binding: Binding, number: int, schemas: Schemas) -> Operation:
    name = method.name[0].lower() + method.name[1:] + (f"_{number}" if number > 1 else "")
    permission = PERMISSIONS.get(method.full_name)
    if permission is None or permission in INTERNAL:
        raise ValueError(
            f"{method.full_name} has an address, and no permission of users in services/common/permissions.py"
        )
    is_open = permission is Permission.PUBLIC
    operation: Operation = {
        "operationId": name,
        "tags": [service.name],
        "summary": _words(method.name),
        "description": method.comment + ("" if is_open else f"\n\nNeeds the permission `{permission.name}`."),
    }
    if is_open:
        operation["security"] = []
    if parameters := [*_path_parameters(method, binding, schemas), *_query_parameters(method, binding, schemas)]:
        operation["parameters"] = parameters
    if binding.body:
        operation["requestBody"] = _body(method, binding, schemas)
    operation["responses"] = {
        "202" if method.full_name in ACCEPTED else "200": _answer(method, schemas),
        **responses_of(
            asks_who=not is_open,
            is_signed=method.full_name in SIGNED,
            finds=bool(binding.variables),
            costs=method.full_name in STARTS,
            has_body=bool(binding.body),
        ),
    }
    return operation


def _words(name: str) -> str:
    """GetExecutionResults as "Get execution results"."""
    return re.sub(r"(?<!^)[A-Z]", lambda letter: f" {letter[0].lower()}", name)


def _shown_path(path: str) -> str:
    """With names as JSON writes them. {graph_id}, {graph.id} and {preset.graph_id} are all {graphId}: of paths that
    differ in the names of their parameters alone, OpenAPI takes one."""
    return re.sub(r"\{([^}]*)\}", lambda found: "{" + _in_path(found[1]) + "}", path)


def _in_path(variable: str) -> str:
    *above, last = variable.split(".")
    first, *others = (f"{above[-1]}_id" if above and last == "id" else last).split("_")
    return first + "".join(other.capitalize() for other in others)


def _path_parameters(method: Method, binding: Binding, schemas: Schemas) -> Iterator[Schema]:
    for variable in binding.variables:
        field = field_at(method.request, variable)
        schema = schemas.of_field(field, Direction.REQUEST)
        description = schema.pop("description", "")
        if field.type == FieldDescriptor.TYPE_STRING:
            # How long an address may be, the edge says before any service looks at it.
            schema.pop("maxLength")
            schema["minLength"] = 1
        yield {
            "name": _in_path(variable),
            "in": "path",
            "required": True,
            "description": description,
            "schema": _of_parameter(schema),
        }


def _query_parameters(method: Method, binding: Binding, schemas: Schemas) -> Iterator[Schema]:
    """What is neither in the path nor in the body, as Envoy takes it: scalars, lists of them, fields of messages."""
    if binding.body == "*":
        return
    elsewhere = {*binding.variables, binding.body}
    for path, field in _leaves(method.request, ""):
        if path in elsewhere or path.split(".")[0] == binding.body:
            continue
        schema = schemas.of_field(field, Direction.REQUEST)
        description = schema.pop("description", "")
        parameter: Schema = {"name": _as_json(method.request, path), "in": "query", "description": description}
        if path in REQUIRED.get(method.request.full_name, ()):
            parameter["required"] = True
        yield parameter | {"schema": _of_parameter(schema)}


def _leaves(message: Descriptor, prefix: str) -> Iterator[tuple[str, FieldDescriptor]]:
    """The fields that a query can hold, by their path. Maps, Structs and lists of messages cannot stand there."""
    for field in message.fields:
        kind, path = field.message_type, prefix + field.name
        if kind is None or kind.full_name in IN_A_QUERY:
            yield path, field
        elif not field.is_repeated and kind.full_name not in WELL_KNOWN:
            yield from _leaves(kind, f"{path}.")


def field_at(message: Descriptor, path: str) -> FieldDescriptor:
    """The field at a path such as "graph.id"."""
    *above, last = path.split(".")
    for name in above:
        inner = message.fields_by_name[name].message_type
        assert inner is not None, f"{path}: {name} is no message"
        message = inner
    return message.fields_by_name[last]


def _as_json(message: Descriptor, path: str) -> str:
    names = path.split(".")
    return ".".join(field_at(message, ".".join(names[:length])).json_name for length in range(1, len(names) + 1))


def _of_parameter(schema: Schema) -> Schema:
    """In an address every value is text, so that a long integer needs no form of its own there."""
    if schema.get("format") in ("int64", "uint64"):
        lowest, highest = (0, 2**64 - 1) if schema["format"] == "uint64" else (-(2**63), 2**63 - 1)
        if schema["minimum"] != -EXACT:
            lowest = schema["minimum"]
        return {"type": "integer", "format": schema["format"], "minimum": lowest, "maximum": highest}
    return schema


def _body(method: Method, binding: Binding, schemas: Schemas) -> Schema:
    if binding.body == "*":
        schema = _whole_body(method, binding, schemas)
    else:
        schema = schemas.of_field(method.request.fields_by_name[binding.body], Direction.REQUEST)
    if schema.keys() <= {"description"}:
        # google.api.HttpBody: whatever is sent, as it is.
        return {"required": True, "content": {"*/*": {"schema": {}}}}
    # No body is the same as {}.
    required = bool(set(REQUIRED.get(method.request.full_name, ())) - set(binding.variables))
    return {"required": required, "content": {JSON: {"schema": schema} | _example(REQUESTS, method, binding)}}


def _whole_body(method: Method, binding: Binding, schemas: Schemas) -> Schema:
    """The request without what stands in the path: a component for the first address, and as it is for further ones."""
    schema = schemas.of_message(method.request, Direction.REQUEST, binding.variables)
    if binding is not method.bindings[0]:
        return schema
    schemas.components[method.request.name] = schema
    return {"$ref": f"#/components/schemas/{method.request.name}"}


def _answer(method: Method, schemas: Schemas) -> Schema:
    schema = schemas.reference(method.answer, Direction.ANSWER)
    description = schemas.comment(method.answer.full_name)
    if method.streams:
        description += " A stream: each line is such an object, and comes as soon as there is one."
        return {"description": description, "content": {STREAM: {"schema": schema}}}
    if not schema:
        return {"description": description or "What the method answers with.", "content": {"*/*": {"schema": {}}}}
    return {"description": description, "content": {JSON: {"schema": schema} | _example(ANSWERS, method)}}


def _example(examples: Mapping[str, Any], method: Method, binding: Binding | None = None) -> Schema:
    """The method's example, without what stands in the path."""
    if method.name not in examples:
        return {}
    above = "" if binding is None or binding.body == "*" else f"{binding.body}."
    variables = binding.variables if binding is not None else ()
    in_path = {field_at(method.request, variable).json_name for variable in variables if variable.startswith(above)}
    return {"example": {name: value for name, value in examples[method.name].items() if name not in in_path}}
