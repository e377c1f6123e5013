"""What a request says of a trigger, and what in it is refused by its place."""

import pytest
from blockyard.execution.v1.start_template_pb2 import StartTemplate
from blockyard.execution.v1.trigger_pb2 import PayloadCondition, Trigger
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.struct_pb2 import ListValue, NullValue, Value

from services.common.errors import InvalidArgument
from services.execution.errors import TriggerNotFound
from services.execution.webhooks.records import Condition
from services.execution.webhooks.translation import changes_of, content_of, trigger_id


def test_numbers_that_json_does_not_have_are_refused() -> None:
    inside = Value(list_value=ListValue(values=[Value(number_value=float("nan"))]))
    conditions = [
        PayloadCondition(path="a", equals=Value(number_value=float("inf"))),
        PayloadCondition(path="b", equals=inside),
    ]
    with pytest.raises(InvalidArgument) as refused:
        content_of(Trigger(start=StartTemplate(graph_id="g"), conditions=conditions))
    assert [one.field for one in refused.value.violations] == [
        "trigger.conditions[0].equals",
        "trigger.conditions[1].equals",
    ]


def test_a_change_has_the_fields_of_its_mask_alone() -> None:
    conditions = [PayloadCondition(path="a.b", equals=Value(null_value=NullValue.NULL_VALUE))]
    message = Trigger(name="new", conditions=conditions, disabled=True)
    mask = FieldMask(paths=["conditions", "disabled"])
    assert changes_of(message, mask) == {"conditions": (Condition(("a", "b"), None),), "disabled": True}
    with pytest.raises(InvalidArgument) as refused:
        changes_of(message, FieldMask(paths=["*"]))
    assert [one.field for one in refused.value.violations] == ["trigger.start"]


def test_a_change_without_a_mask_has_the_fields_that_are_set() -> None:
    assert changes_of(Trigger(id="0" * 32, name="new"), FieldMask()) == {"name": "new"}


@pytest.mark.parametrize("text", ["", "0" * 31, "0" * 33, "G" * 32, "A" * 32, "../../etc"])
def test_what_is_no_id_names_no_trigger(text: str) -> None:
    with pytest.raises(TriggerNotFound):
        trigger_id(text)
