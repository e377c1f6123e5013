"""What schedules and triggers start, from the request to the start."""

import pytest
from blockyard.execution.v1.execution_service_pb2 import CreditsPolicy, StartExecutionRequest, ValueFormat
from blockyard.execution.v1.start_template_pb2 import StartTemplate
from google.protobuf.struct_pb2 import Struct

from services.common import input_limits
from services.common.errors import InvalidArgument
from services.execution import starting
from services.execution.templates import own_request_id, shown, start_of, stored

EXACT = 9_007_199_254_740_993


def test_a_template_becomes_the_start_that_it_describes() -> None:
    message = StartTemplate(
        graph_id="graph",
        graph_version=3,
        inputs_json=b'{"number": %d}' % EXACT,
        labels={"team": "a"},
        priority=5,
        credentials={"github": "id"},
        credits_policy=CreditsPolicy.CREDITS_POLICY_FAIL,
        preset_id="preset",
    )
    start = start_of(stored(message, "start"), "anna", own_request_id("schedule", "x", 1), {"schedule": "x"})
    assert start.inputs == {"number": EXACT}
    assert start.labels == {"team": "a", "schedule": "x"}
    assert (start.user_id, start.graph_id, start.graph_version, start.priority) == ("anna", "graph", 3, 5)
    assert (start.credentials, start.credits_policy, start.preset_id) == ({"github": "id"}, 2, "preset")
    starting.check(start)


def test_a_template_is_shown_in_the_form_that_is_asked_for() -> None:
    inputs = Struct()
    inputs.update({"text": "hello"})
    kept = stored(StartTemplate(graph_id="graph", inputs=inputs), "start")
    assert shown(kept, ValueFormat.VALUE_FORMAT_STRUCT).inputs == inputs
    exact = shown(kept, ValueFormat.VALUE_FORMAT_JSON)
    assert (exact.inputs_json, exact.HasField("inputs")) == (b'{"text":"hello"}', False)


def test_the_request_id_of_a_start_of_our_own_is_refused_from_users() -> None:
    request = StartExecutionRequest(graph_id="graph", request_id=own_request_id("schedule", "x", 1))
    with pytest.raises(InvalidArgument) as refused:
        input_limits.check(request)
    assert [each.field for each in refused.value.violations] == ["request_id"]


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (StartTemplate(graph_id="graph", inputs_json=b"[1]"), "start.inputs_json"),
        (StartTemplate(graph_id="graph", inputs_json=b"{"), "start.inputs_json"),
        (StartTemplate(graph_id="graph", labels={"schedule": "mine"}), "start.labels.schedule"),
        (StartTemplate(graph_id="graph", inputs_json=b'{"text": "%s"}' % (b"x" * (1 << 20))), "start"),
        (StartTemplate(graph_id="graph", labels={str(number): "" for number in range(31)}), "start.labels"),
    ],
)
def test_what_is_wrong_in_a_template_is_named_by_its_field(message: StartTemplate, field: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        stored(message, "start")
    assert [each.field for each in refused.value.violations] == [field]
