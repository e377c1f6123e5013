"""The addresses of methods: one of a kind that Blockyard does not know is refused, and not served in another way."""

import pytest
from google.api import annotations_pb2, http_pb2
from google.protobuf.descriptor_pb2 import MethodOptions

from services.gateway.http_rules import http_rules


def options_with(rule: http_pb2.HttpRule) -> MethodOptions:
    options = MethodOptions()
    options.Extensions[annotations_pb2.http].CopyFrom(rule)
    return options


def test_all_addresses_of_a_method_are_read_and_one_that_is_not_public_has_none() -> None:
    rule = http_pb2.HttpRule(post="/api/things/{id}", body="*")
    rule.additional_bindings.add(get="/api/things/{id}:read")
    found = list(http_rules("Read", options_with(rule)))
    assert found == [("post", "/api/things/{id}", "*"), ("get", "/api/things/{id}:read", "")]
    assert list(http_rules("Read", MethodOptions())) == []


@pytest.mark.parametrize(
    "rule",
    [
        http_pb2.HttpRule(get="/api/files/{path=**}"),
        http_pb2.HttpRule(get="/api/files", response_body="file"),
        http_pb2.HttpRule(custom=http_pb2.CustomHttpPattern(kind="HEAD", path="/api/files")),
        http_pb2.HttpRule(body="*"),
    ],
    ids=["several segments", "part of the answer", "other verb", "no path"],
)
def test_an_address_of_another_kind_is_refused_by_its_method(rule: http_pb2.HttpRule) -> None:
    with pytest.raises(ValueError, match="Read: Blockyard does not know this kind of address"):
        list(http_rules("Read", options_with(rule)))
