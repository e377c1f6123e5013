"""WebhookService as its callers see it, beside a real execution service whose executions are told."""

import json
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from blockyard.dev.postgres import PostgresServer
from blockyard.errors import CallError, from_rpc_error
from blockyard.event.v1 import event_pb2
from blockyard.notification.v1 import webhook_pb2
from blockyard.notification.v1 import webhook_service_pb2 as messages
from blockyard.notification.v1.webhook_pb2 import Webhook, WebhookFilter
from blockyard.notification.v1.webhook_service_pb2_grpc import WebhookServiceStub
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from services.common.cursors import encode_cursor
from services.notification.webhooks.replaying import FULL_SECONDS
from tests.integration.execution.protocol_runner import running
from tests.integration.execution.test_guarantees import echo, one_node
from tests.integration.notification.house import Notifier, metadata, notifying
from tests.integration.notification.test_restored_database import go_back
from tests.integration.notification.test_subscribing import connected, run_some
from tests.integration.notification.webhooks.office import Endpoint, endpoint
from tests.waiting import until

PUBLIC = "https://example.com/events"
PUT_OFF = f"""
SELECT count(*) FROM notification.webhook_replays
WHERE look_time BETWEEN now() AND now() + {FULL_SECONDS} * interval '1 second'
"""
"""Replays that wait for room in their queues. One that goes on is due at once, or leased for longer."""


class Caller:
    """Calls as one user."""

    def __init__(self, told: Notifier, user_id: str = "anna", role: str = "user") -> None:
        self._stub: Any = WebhookServiceStub(told.channel)  # Any: its type depends on the kind of channel
        self._metadata = metadata(user_id, role)

    async def call(self, method: str, request: Any) -> Any:  # Any: of whichever method
        return await getattr(self._stub, method)(request, metadata=self._metadata, timeout=20)

    async def refused(self, method: str, request: Any) -> CallError:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.call(method, request)
        return from_rpc_error(caught.value)

    async def create(self, url: str = PUBLIC, **fields: Any) -> messages.CreateWebhookResponse:
        request = messages.CreateWebhookRequest(webhook=Webhook(url=url, **fields))
        made: messages.CreateWebhookResponse = await self.call("CreateWebhook", request)
        return made

    async def set_state(self, webhook_id: str, state: webhook_pb2.WebhookState.ValueType) -> None:
        change, mask = Webhook(id=webhook_id, state=state), FieldMask(paths=["state"])
        await self.call("UpdateWebhook", messages.UpdateWebhookRequest(webhook=change, update_mask=mask))

    async def get(self, webhook_id: str) -> Webhook:
        answer = await self.call("GetWebhook", messages.GetWebhookRequest(webhook_id=webhook_id))
        found: Webhook = answer.webhook
        return found


async def test_a_webhook_lives(postgres: PostgresServer) -> None:
    async with notifying(postgres, webhooks_of_user=50) as (_, told):
        anna = Caller(told)
        made = await anna.create(filter=WebhookFilter(kinds=[event_pb2.EVENT_KIND_NODE_FAILED]), description="why")
        assert made.secret.startswith("whsec_")
        got = await anna.get(made.webhook.id)
        assert got == made.webhook
        assert (got.url, got.description, got.state) == (PUBLIC, "why", webhook_pb2.WEBHOOK_STATE_ACTIVE)
        assert list(got.filter.kinds) == [event_pb2.EVENT_KIND_NODE_FAILED]

        change = Webhook(id=got.id, state=webhook_pb2.WEBHOOK_STATE_DISABLED, description="left as it is")
        request = messages.UpdateWebhookRequest(webhook=change, update_mask=FieldMask(paths=["state"]))
        changed = (await anna.call("UpdateWebhook", request)).webhook
        assert (changed.description, changed.state) == ("why", webhook_pb2.WEBHOOK_STATE_DISABLED)
        assert changed.disable_reason == webhook_pb2.WEBHOOK_DISABLE_REASON_OWNER

        given = Webhook(id=got.id, description="because", filter=WebhookFilter())
        unmasked = messages.UpdateWebhookRequest(webhook=given)
        changed = (await anna.call("UpdateWebhook", unmasked)).webhook
        assert (changed.url, changed.filter, changed.description) == (PUBLIC, got.filter, "because")

        idle = messages.UpdateWebhookRequest(webhook=Webhook(id=got.id))
        assert (await anna.call("UpdateWebhook", idle)).webhook == changed

        rotate = messages.RotateWebhookSecretRequest(webhook_id=got.id, overlap=Duration(seconds=60))
        rotated = await anna.call("RotateWebhookSecret", rotate)
        assert rotated.secret != made.secret
        assert rotated.webhook.HasField("previous_secret_expire_time")

        await the_pages_are_whole(anna)
        await others_see_nothing(told, got.id)
        await what_is_wrong_is_named(anna, got.id)
        await many_are_refused(anna)

        await anna.call("DeleteWebhook", messages.DeleteWebhookRequest(webhook_id=got.id))
        gone = await anna.refused("GetWebhook", messages.GetWebhookRequest(webhook_id=got.id))
        assert gone.reason == "WEBHOOK_NOT_FOUND"


async def the_pages_are_whole(anna: Caller) -> None:
    made = [(await anna.create(f"{PUBLIC}/{number}")).webhook.url for number in range(3)]
    found, token = [], ""
    while True:
        page = await anna.call("ListWebhooks", messages.ListWebhooksRequest(page_size=2, page_token=token))
        found += [one.url for one in page.webhooks]
        token = page.next_page_token
        if not token:
            break
    assert found == [*reversed(made), PUBLIC]


async def others_see_nothing(told: Notifier, webhook_id: str) -> None:
    bert = Caller(told, "bert")
    named: dict[str, Any] = {"webhook_id": webhook_id}
    for method, request in (
        ("GetWebhook", messages.GetWebhookRequest(**named)),
        ("DeleteWebhook", messages.DeleteWebhookRequest(**named)),
        ("UpdateWebhook", messages.UpdateWebhookRequest(webhook=Webhook(id=webhook_id, url=PUBLIC))),
        ("RotateWebhookSecret", messages.RotateWebhookSecretRequest(**named)),
        ("ListWebhookDeliveries", messages.ListWebhookDeliveriesRequest(**named)),
        ("TestWebhook", messages.TestWebhookRequest(**named)),
        ("ReplayWebhook", messages.ReplayWebhookRequest(**named, cursor=encode_cursor({}))),
    ):
        assert (await bert.refused(method, request)).reason == "WEBHOOK_NOT_FOUND", method
    assert not (await bert.call("ListWebhooks", messages.ListWebhooksRequest())).webhooks


def violations(error: CallError) -> dict[str, str]:
    return {one.field: one.description for one in error.violations}


async def what_is_wrong_is_named(anna: Caller, webhook_id: str) -> None:
    async def wrong(webhook: Webhook) -> dict[str, str]:
        return violations(await anna.refused("CreateWebhook", messages.CreateWebhookRequest(webhook=webhook)))

    assert "https" in (await wrong(Webhook()))["url"]
    for url, said in (
        ("http://example.com/", "expected https"),
        ("https://10.0.0.1/", "this is a private address"),
        ("https://169.254.169.254/latest", "instance metadata"),
        ("https://[::ffff:127.0.0.1]/", "loopback"),
        ("https://example.com:22/", "port 22 is not open"),
        ("https://anna:secret@example.com/", "user name or password"),
        ("ftp://example.com/", "the scheme 'ftp' is not allowed"),
        ("https://example.com/#part", "fragment"),
        ("https://example.com/" + "x" * 2_000, "at most 2000 characters"),
        ("no address", "URL"),
    ):
        assert said in (await wrong(Webhook(url=url)))["url"], url
    many = WebhookFilter(graph_ids=["g"] * 101, execution_ids=[""])
    unknown = WebhookFilter()
    unknown.MergeFromString(bytes([0x1A, 1, 99]))
    assert await wrong(Webhook(url=PUBLIC, filter=many)) == {
        "filter.graph_ids": "at most 100 are allowed, got 101",
        "filter.execution_ids[0]": "expected an id of 1 to 100 characters",
    }
    assert await wrong(Webhook(url=PUBLIC, filter=unknown)) == {"filter.kinds[0]": "99 is no kind of event"}
    named: dict[str, Any] = {"webhook_id": webhook_id}
    mask = messages.UpdateWebhookRequest(webhook=Webhook(id=webhook_id), update_mask=FieldMask(paths=["id"]))
    part = messages.UpdateWebhookRequest(webhook=Webhook(id=webhook_id), update_mask=FieldMask(paths=["filter.kinds"]))
    for method, request, field in (
        ("UpdateWebhook", mask, "update_mask"),
        ("UpdateWebhook", part, "update_mask"),
        ("RotateWebhookSecret", messages.RotateWebhookSecretRequest(**named, overlap=Duration(seconds=-1)), "overlap"),
        ("ReplayWebhook", messages.ReplayWebhookRequest(**named), "from"),
        ("ReplayWebhook", messages.ReplayWebhookRequest(**named, cursor="none"), "cursor"),
        ("ListWebhookDeliveries", messages.ListWebhookDeliveriesRequest(**named, page_token="none"), "page_token"),
    ):
        assert list(violations(await anna.refused(method, request))) == [field], method
    ahead = messages.ReplayWebhookRequest(**named, cursor=encode_cursor({0: 1_000_000}))
    assert (await anna.refused("ReplayWebhook", ahead)).reason == "CURSOR_AHEAD"
    retry = messages.RetryWebhookDeliveryRequest(**named, delivery_id="none")
    assert (await anna.refused("RetryWebhookDelivery", retry)).reason == "WEBHOOK_DELIVERY_NOT_FOUND"


async def many_are_refused(anna: Caller) -> None:
    """However many are asked for, there are 50."""
    request = messages.CreateWebhookRequest(webhook=Webhook(url=PUBLIC))
    refused = Counter[str]()
    for _ in range(75):
        try:
            await anna.call("CreateWebhook", request)
        except grpc.aio.AioRpcError as error:
            refused[from_rpc_error(error).reason] += 1
    assert refused == {"LIMIT_REACHED": 29}
    listed = await anna.call("ListWebhooks", messages.ListWebhooksRequest(page_size=1_000))
    assert len(listed.webhooks) == 50


def received(taker: Endpoint) -> dict[str, list[int]]:
    """Sequences by execution, as they came."""
    found: dict[str, list[int]] = {}
    for post in taker.posts:
        data = json.loads(post.body)["data"]
        found.setdefault(data["executionId"], []).append(data["sequence"])
    return found


def complete(taker: Endpoint, lengths: dict[str, int], executions: Iterable[str]) -> bool:
    got = received(taker)
    return {key: sorted(one) for key, one in got.items()} == {
        key: list(range(1, lengths[key] + 1)) for key in executions
    }


async def test_what_executions_do_is_delivered_from_the_creation_on_and_replayed_from_a_cursor_or_a_time(
    postgres: PostgresServer,
) -> None:
    allowed: dict[str, Any] = {"egress_allow": "127.0.0.1", "webhook_http": True}
    async with notifying(postgres, **allowed) as (built, told), endpoint() as first, endpoint() as taker:
        one_node(built)
        anna = Caller(told)
        async with running(built.bus, {"work": echo}):
            await anna.create(first.url)
            before = await run_some(built, 2)
            await until(lambda: complete(first, before, before), "what came before was taken in")
            cut = datetime.now(UTC)
            hook = (await anna.create(taker.url)).webhook
            after = await run_some(built, 2)
            lengths = before | after

            async def listed() -> list[webhook_pb2.WebhookDelivery]:
                request = messages.ListWebhookDeliveriesRequest(webhook_id=hook.id, page_size=1_000)
                return list((await anna.call("ListWebhookDeliveries", request)).deliveries)

            async def recorded() -> bool:
                return {one.state for one in await listed()} == {webhook_pb2.WEBHOOK_DELIVERY_STATE_DELIVERED}

            await until(lambda: complete(taker, lengths, after), "what came after the creation was sent, and only that")
            ids = {post.message_id for post in taker.posts}

            # A delivery that is not over yet is not made a second time.
            await until(recorded, "what was sent is recorded as delivered")
            taker.posts.clear()
            start = Timestamp()
            start.FromDatetime(cut)
            await anna.call("ReplayWebhook", messages.ReplayWebhookRequest(webhook_id=hook.id, start_time=start))
            await until(lambda: complete(taker, lengths, after), "what came since that time came again")
            assert {post.message_id for post in taker.posts} == ids, "with the same ids"

            await until(recorded, "what was sent again is recorded as delivered")
            taker.posts.clear()
            request = messages.ReplayWebhookRequest(webhook_id=hook.id, cursor=encode_cursor({}))
            await anna.call("ReplayWebhook", request)
            await until(lambda: complete(taker, lengths, lengths), "everything came")

            async def done() -> bool:
                return (await anna.get(hook.id)).replay.state == webhook_pb2.WEBHOOK_REPLAY_STATE_DONE

            await until(done, "it is done")
            shown = await anna.get(hook.id)
            assert shown.replay.queued_deliveries == sum(lengths.values())

            await until(recorded, "what was sent is recorded as delivered")
            assert len(await listed()) == sum(lengths.values())


async def test_a_replay_ends_where_feeds_end_that_were_longer_when_it_was_asked_for(postgres: PostgresServer) -> None:
    allowed: dict[str, Any] = {"egress_allow": "127.0.0.1", "webhook_http": True}
    async with notifying(postgres, **allowed, webhook_backlog=40) as (built, told), endpoint() as taker:
        one_node(built)
        anna = Caller(told)
        async with running(built.bus, {"work": echo}):
            await run_some(built, 12)
            hook = (await anna.create(taker.url)).webhook
            await anna.set_state(hook.id, webhook_pb2.WEBHOOK_STATE_PAUSED)
            request = messages.ReplayWebhookRequest(webhook_id=hook.id, cursor=encode_cursor({}))
            await anna.call("ReplayWebhook", request)

            async def waiting() -> int:
                return (await anna.get(hook.id)).pending_deliveries

            await until(waiting, "its queue is filled")
            assert (await anna.get(hook.id)).replay.state == webhook_pb2.WEBHOOK_REPLAY_STATE_RUNNING

            await go_back(built)
            await anna.set_state(hook.id, webhook_pb2.WEBHOOK_STATE_ACTIVE)

            async def done() -> bool:
                return (await anna.get(hook.id)).replay.state == webhook_pb2.WEBHOOK_REPLAY_STATE_DONE

            await until(done, "it is done")


@pytest.mark.parametrize("bound", [{"webhook_backlog": 40}, {"webhook_backlog_bytes": 16_000}])
async def test_a_replay_leaves_its_webhook_room_for_what_happens_meanwhile(
    postgres: PostgresServer, bound: dict[str, int]
) -> None:
    allowed: dict[str, Any] = {"egress_allow": "127.0.0.1", "webhook_http": True}
    async with notifying(postgres, **allowed, **bound) as (built, told), endpoint() as first, endpoint() as taker:
        one_node(built)
        anna = Caller(told)
        async with running(built.bus, {"work": echo}):
            await anna.create(first.url, filter=WebhookFilter(kinds=[event_pb2.EVENT_KIND_EXECUTION_COMPLETED]))
            lengths = await run_some(built, 12)
            await until(lambda: len(first.posts) == 12, "what came before was taken in")
            hook = (await anna.create(taker.url)).webhook
            await anna.set_state(hook.id, webhook_pb2.WEBHOOK_STATE_PAUSED)
            request = messages.ReplayWebhookRequest(webhook_id=hook.id, cursor=encode_cursor({}))
            await anna.call("ReplayWebhook", request)

            async def waiting() -> int:
                return (await anna.get(hook.id)).pending_deliveries

            async with connected(built) as connection:
                await until(lambda: connection.fetchval(PUT_OFF), "its queue is filled, and it is left alone")
            replayed = await waiting()
            lengths |= await run_some(built, 2)

            async def told_too() -> bool:
                return await waiting() > replayed

            await until(told_too, "what happens meanwhile waits too")
            assert (await anna.get(hook.id)).state == webhook_pb2.WEBHOOK_STATE_PAUSED, "it is not disabled"
            assert (await anna.get(hook.id)).replay.state == webhook_pb2.WEBHOOK_REPLAY_STATE_RUNNING
            await anna.set_state(hook.id, webhook_pb2.WEBHOOK_STATE_ACTIVE)
            await until(lambda: complete(taker, lengths, lengths), "everything came")
