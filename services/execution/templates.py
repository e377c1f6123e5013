"""What schedules and triggers start: read from a StartTemplate once, kept as its bytes, made a start each time.

The start has a request id that no user can give: it holds a character that requests may not hold (input_limits.py). So
nobody can take its place before it is due, and one that is there already is the same start, however often it is tried.
"""

from dataclasses import replace
from typing import Any

from blockyard.execution.v1.execution_service_pb2 import ValueFormat
from blockyard.execution.v1.start_template_pb2 import StartTemplate
from blockyard.values import encode

from services.common.errors import BlockyardError, InvalidArgument, Violation
from services.common.structs import to_struct
from services.execution import translation
from services.execution.errors import RequestIdReused
from services.execution.records import ExecutionRow
from services.execution.starting import MOST_LABELS, Starter, StartRequest

OWN_LABELS = frozenset({"schedule", "trigger"})
"""Labels that starts get from what has started them."""

MOST_TEMPLATE_LABELS = MOST_LABELS - len(OWN_LABELS)

MOST_BYTES = 1 << 20
"""Of a template: they are read again and again."""

UNFORGEABLE = "\x1f"
"""No text of a user holds it."""


def own_request_id(kind: str, *parts: object) -> str:
    """The request id of a start that Blockyard itself makes: `kind` says of what, `parts` of which one."""
    return UNFORGEABLE + " ".join([kind, *map(str, parts)])


def stored(message: StartTemplate, field: str) -> bytes:
    """A template as it is kept. Raises InvalidArgument; `field` is where it stands in its request."""
    path = f"{field}.inputs_json" if message.inputs_json else f"{field}.inputs"
    inputs = translation.json_object(message.inputs, message.inputs_json, path)
    violations = [
        Violation(f"{field}.labels.{name}", "is set by what starts the execution: choose another name")
        for name in sorted(OWN_LABELS & message.labels.keys())
    ]
    if len(message.labels) > MOST_TEMPLATE_LABELS:
        violations.append(Violation(f"{field}.labels", f"more than {MOST_TEMPLATE_LABELS} labels"))
    if violations:
        raise InvalidArgument(violations=violations)
    kept = StartTemplate()
    kept.CopyFrom(message)
    kept.graph_id = translation.graph_id(message.graph_id)
    kept.preset_id = translation.preset_id(message.preset_id)
    kept.ClearField("inputs")
    try:
        kept.inputs_json = encode(inputs)
    except ValueError as error:
        raise InvalidArgument(violations=[Violation(path, str(error))]) from None
    # The same template is the same bytes: maps have no order of their own.
    data = kept.SerializeToString(deterministic=True)
    if len(data) > MOST_BYTES:
        problem = f"{len(data)} bytes, at most {MOST_BYTES} are kept: give large values as files"
        raise InvalidArgument(violations=[Violation(field, problem)])
    return data


def shown(data: bytes, value_format: int, *, with_inputs: bool = True) -> StartTemplate:
    """A kept template as clients see it."""
    message = StartTemplate.FromString(data)
    if not with_inputs:
        message.ClearField("inputs_json")
    elif value_format != ValueFormat.VALUE_FORMAT_JSON:
        message.inputs.CopyFrom(to_struct(_inputs(message)))
        message.ClearField("inputs_json")
    return message


def start_of(data: bytes, user_id: str, request_id: str, labels: dict[str, str]) -> StartRequest:
    """The start that a kept template asks for; `labels` come to its own."""
    message = StartTemplate.FromString(data)
    return StartRequest(
        user_id=user_id,
        inputs=_inputs(message),
        request_id=request_id,
        graph_id=message.graph_id,
        graph_version=message.graph_version,
        labels={**message.labels, **labels},
        priority=message.priority,
        credentials=dict(message.credentials),
        credits_policy=message.credits_policy,
        preset_id=message.preset_id,
    )


async def check_start(starter: Starter, request: StartRequest, field: str, later: frozenset[str] = frozenset()) -> str:
    """The id of the graph that would be started. Raises what a start would be refused with now, with the fields of the
    template, which stands in `field`. The inputs `later` come with the start: the graph must have them."""
    try:
        return await starter.check_start(request, later)
    except BlockyardError as error:
        error.violations = tuple(replace(each, field=f"{field}.{each.field}") for each in error.violations)
        raise


async def start_once(starter: Starter, request: StartRequest) -> ExecutionRow:
    """The execution of a request with an id of our own, which is started now unless it was before.

    Which it is is told by the id alone: the template may have been changed since the first try.
    """
    try:
        return await starter.start(request)
    except RequestIdReused:
        earlier = await starter.executions.by_request(request.user_id, request.request_id)
        if earlier is None:
            raise
        return earlier


def _inputs(message: StartTemplate) -> dict[str, Any]:
    return translation.json_object(message.inputs, message.inputs_json, "inputs")
