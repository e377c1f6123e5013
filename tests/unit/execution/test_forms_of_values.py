"""Values of a node execution in the forms that an answer has."""

from collections.abc import Mapping
from uuid import uuid4

import orjson
import pytest
from blockyard.event.v1.event_pb2 import ValueAbsence
from blockyard.execution.v1.execution_pb2 import NodeExecution
from blockyard.execution.v1.execution_service_pb2 import ValueFormat

from services.common.structs import from_struct
from services.execution.history import Found
from services.execution.records import NodeExecutionRow
from services.execution.translation import node_message

TOO_LARGE = ValueAbsence.VALUE_ABSENCE_TOO_LARGE

LARGE = [7] * 1_000_000
"""2 MB of JSON, 11 MB as a Struct: a message has room for one."""


def message(
    inputs: Mapping[str, object], outputs: Mapping[str, list[object]], form: ValueFormat.ValueType
) -> NodeExecution:
    """A node execution of these values."""
    row = NodeExecutionRow.incomplete(1, "node", "block", orjson.dumps(inputs), (), ())
    found = Found(row, (0, 1, 1), {pin: [orjson.dumps(value) for value in values] for pin, values in outputs.items()})
    return node_message(uuid4(), found, form)


def test_values_that_have_no_room_in_a_struct_hide_no_other() -> None:
    inputs = {"large": LARGE, "small": 1}
    outputs: dict[str, list[object]] = {"large": [0, LARGE, LARGE, 3], "none": [None]}
    struct = message(inputs, outputs, ValueFormat.VALUE_FORMAT_STRUCT)
    assert from_struct(struct.outputs) == {"large": [0, LARGE, None, 3], "none": [None]}
    assert from_struct(struct.inputs) == {"small": 1}
    told = [(one.pin, one.index, one.input, one.absence) for one in struct.absent_values]
    assert told == [("large", 2, False, TOO_LARGE), ("large", 0, True, TOO_LARGE)]
    assert all("VALUE_FORMAT_JSON" in one.message for one in struct.absent_values)

    exact = message(inputs, outputs, ValueFormat.VALUE_FORMAT_JSON)
    assert (orjson.loads(exact.inputs_json), orjson.loads(exact.outputs_json)) == (inputs, outputs)
    assert not exact.absent_values


@pytest.mark.parametrize("form", [ValueFormat.VALUE_FORMAT_STRUCT, ValueFormat.VALUE_FORMAT_UNSPECIFIED])
def test_a_node_without_values_has_empty_ones(form: ValueFormat.ValueType) -> None:
    struct = message({}, {}, form)
    assert struct.HasField("inputs")
    assert struct.HasField("outputs")
