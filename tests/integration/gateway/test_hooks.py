"""Incoming webhooks at the edge: bytes and headers reach the service as they came, and success is 202."""

import json

import pytest
from blockyard.execution.v1.trigger_service_pb2 import ReceiveWebhookRequest, ReceiveWebhookResponse
from google.protobuf.json_format import MessageToDict

from services.common import error_status
from services.common.errors import Unauthenticated
from tests.integration.gateway.conftest import Front
from tests.integration.gateway.upstream import Call, answering, failing

RECEIVE = "execution.v1.TriggerService/ReceiveWebhook"
LIMIT = 1 << 20


def received(front: Front) -> list[Call]:
    return [call for upstream in front.execution for call in upstream.calls]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b'{"a": 1,  "b":[ ]}', "application/json"),
        (b"payload=%7B%7D", "application/x-www-form-urlencoded"),
        (b"\x00\xff no json {{", "text/plain"),
        (b"a" * LIMIT, "application/json"),
    ],
    ids=["json", "form", "anything", "as large as may be"],
)
async def test_a_payload_comes_as_it_was_sent_and_is_accepted(front: Front, content: bytes, kind: str) -> None:
    front.answer(RECEIVE, answering(ReceiveWebhookResponse()))
    sent = {"content-type": kind, "x-hub-signature-256": "sha256=ab", "webhook-id": "1", "authorization": "Bearer s"}
    answer = await front.client.post("/api/hooks/t-1", content=content, headers=sent)
    assert (answer.status_code, json.loads(answer.text)) == (202, {})
    (call,) = received(front)
    request = ReceiveWebhookRequest.FromString(call.request)
    assert (request.trigger_id, request.body.data, request.body.content_type) == ("t-1", content, kind)
    assert call.metadata.items() >= {name: value for name, value in sent.items() if name != "content-type"}.items()


async def test_a_payload_that_is_too_large_does_not_reach_the_service(front: Front) -> None:
    front.answer(RECEIVE, answering(ReceiveWebhookResponse()))
    answer = await front.client.post("/api/hooks/t-1", content=b"a" * (LIMIT + 1))
    assert answer.status_code == 413
    assert received(front) == []


async def test_what_the_service_refuses_is_no_202(front: Front) -> None:
    said = error_status.status_of(Unauthenticated("The signature does not fit."))
    front.answer(RECEIVE, failing(said))
    answer = await front.client.post("/api/hooks/t-1", content=b"{}")
    assert (answer.status_code, answer.json()) == (401, MessageToDict(said))
