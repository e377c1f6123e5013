"""Which fields an update changes."""

import pytest
from blockyard.graph.v1.preset_pb2 import Preset
from blockyard.notification.v1.webhook_pb2 import Webhook, WebhookFilter
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.struct_pb2 import Struct

from services.common.errors import InvalidArgument
from services.common.field_masks import changed_fields

CHANGEABLE = ("url", "description", "filter", "state")


def test_without_a_mask_what_is_set_is_changed() -> None:
    assert changed_fields(FieldMask(), Webhook(id="1", url="https://a"), CHANGEABLE) == ["url"]
    narrow = WebhookFilter(graph_ids=["a"])
    assert changed_fields(FieldMask(), Webhook(filter=narrow), CHANGEABLE) == ["filter"]
    assert changed_fields(FieldMask(), Webhook(id="1"), CHANGEABLE) == []


def test_a_message_that_is_there_and_empty_is_changed_only_where_it_is_named() -> None:
    given = Webhook(url="https://a", filter=WebhookFilter())
    assert changed_fields(FieldMask(), given, CHANGEABLE) == ["url"]
    assert changed_fields(FieldMask(paths=["filter"]), given, CHANGEABLE) == ["filter"]
    assert changed_fields(FieldMask(), Preset(inputs=Struct()), ("name", "inputs")) == []


def test_a_mask_names_what_is_changed_set_or_not() -> None:
    mask = FieldMask(paths=["description", "state", "description"])
    assert changed_fields(mask, Webhook(url="https://a"), CHANGEABLE) == ["description", "state"]


def test_a_star_is_all_that_can_be_changed() -> None:
    assert changed_fields(FieldMask(paths=["*"]), Webhook(), CHANGEABLE) == list(CHANGEABLE)


def test_two_names_of_one_field_are_one() -> None:
    aliases = {"inputs_json": "inputs"}
    mask = FieldMask(paths=["inputs_json", "inputs"])
    assert changed_fields(mask, Preset(), ("name", "inputs"), aliases) == ["inputs"]
    assert changed_fields(FieldMask(), Preset(inputs_json=b"{}"), ("name", "inputs"), aliases) == ["inputs"]


@pytest.mark.parametrize("paths", [["id"], ["url", "nothing"], ["*", "url"], [""], ["filter.kinds"]])
def test_what_cannot_be_changed_is_named(paths: list[str]) -> None:
    with pytest.raises(InvalidArgument) as refused:
        changed_fields(FieldMask(paths=paths), Webhook(), CHANGEABLE)
    [violation] = refused.value.violations
    assert violation.field == "update_mask"
    assert "expected url, description, filter, state, or * for all of them, got " in violation.description
