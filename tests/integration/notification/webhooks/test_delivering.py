"""Deliveries: signed, once each however many replicas there are, taken over from those that die, no endpoint waits for
another."""

import base64
import json
from datetime import timedelta
from uuid import UUID

import pytest
from blockyard.event.v1.notice_pb2 import NOTICE_KIND_WEBHOOK_DISABLED, Notice
from blockyard.notification.v1.webhook_pb2 import WEBHOOK_STATE_ACTIVE, WEBHOOK_STATE_PAUSED
from blockyard.notification.v1.webhook_pb2 import Webhook as WebhookMessage
from standardwebhooks import Webhook as Library
from standardwebhooks import WebhookVerificationError

from services.common.identity import Caller
from services.common.permissions import Role
from services.notification.webhooks.checking import CHANGEABLE
from services.notification.webhooks.errors import DeliveryDone
from services.notification.webhooks.records import DeliveryState, State, Webhook, delivery_id
from services.notification.webhooks.upkeep import sweep
from tests.integration.notification.webhooks.office import ANNA, Office, Post, endpoint, office
from tests.waiting import until


def verified(secret: str, post: Post) -> bool:
    """Whether the library of Standard Webhooks takes it."""
    try:
        Library(secret).verify(post.body, dict(post.headers))
    except WebhookVerificationError:
        return False
    return True


async def set_state(house: Office, webhook: Webhook, state: int) -> Webhook:
    change = WebhookMessage(state=state)  # type: ignore[arg-type]  # a number of the enum
    return await house.first.subscriptions.update(ANNA, webhook.webhook_id, change, ["state"])


async def state_of(house: Office, webhook: Webhook) -> tuple[str, str]:
    found = await house.first.subscriptions.get(ANNA, webhook.webhook_id)
    return found.content.state.name, found.disable_reason.name


async def test_the_standard_webhooks_library_verifies_signatures_also_while_the_secret_is_rotated(
    tables: str,
) -> None:
    async with office(tables) as house, endpoint() as taker:
        webhook, first = await house.webhook(taker.url)
        await house.happen()
        await until(lambda: taker.posts, "it is delivered")
        [post] = taker.posts
        assert verified(first, post)
        told = json.loads(post.body)
        assert (told["id"], told["type"], post.headers["Content-Type"]) == (
            "e1:1",
            "blockyard.node.completed",
            "application/cloudevents+json",
        )
        other = "whsec_" + base64.b64encode(bytes(32)).decode()
        assert not verified(other, post)
        assert not verified(first, Post(post.headers, post.body + b" "))

        _, second = await house.first.subscriptions.rotate(ANNA, webhook.webhook_id, timedelta(hours=1))
        await house.happen()
        await until(lambda: len(taker.posts) == 2, "the next one too")
        assert (verified(first, taker.posts[1]), verified(second, taker.posts[1])) == (True, True)

        _, third = await house.first.subscriptions.rotate(ANNA, webhook.webhook_id, timedelta())
        await house.happen()
        await until(lambda: len(taker.posts) == 3, "and the one after")
        assert [verified(one, taker.posts[2]) for one in (first, second, third)] == [False, False, True]
        rows = await house.pool.fetch("SELECT w::text FROM webhooks w")
        assert not any(one.removeprefix("whsec_") in str(rows) for one in (first, second, third))


async def test_replicas_send_each_delivery_once(tables: str) -> None:
    async with office(tables, replicas=3) as house, endpoint() as taker:
        hooks = [(await house.webhook(f"{taker.url}/{number}"))[0] for number in range(3)]
        for number in range(10):
            await house.happen(10, execution_id=f"e{number}")
        await house.settled()
        sent = [post.message_id for post in taker.posts]
        assert (len(sent), len(set(sent))) == (300, 300)
        for hook in hooks:
            log = await house.log(hook.webhook_id)
            assert {(one.state, len(one.attempts)) for one in log} == {(DeliveryState.DELIVERED, 1)}
            assert (await house.first.subscriptions.get(ANNA, hook.webhook_id)).health.pending == 0


async def test_an_event_that_is_taken_in_twice_is_delivered_once(tables: str) -> None:
    async with office(tables) as house, endpoint() as taker:
        await house.webhook(taker.url)
        await house.happen()
        house._told.clear()
        await house.happen(2)
        await house.settled()
        assert [json.loads(post.body)["id"] for post in taker.posts] == ["e1:1", "e1:2"]


async def test_what_a_replica_was_sending_when_it_ended_is_sent_by_another_with_the_same_id(
    tables: str,
) -> None:
    async with office(tables, webhook_seconds=20.0) as house, endpoint(opened=False) as taker:
        hook, _ = await house.webhook(taker.url)
        await house.happen()
        await until(lambda: taker.posts, "it is under way")
        ended = house.replicas.pop()
        await ended.close()
        taker.open.set()
        await house.add_replica()
        await until(lambda: len(taker.posts) == 2, "another replica sends it")
        assert len({post.message_id for post in taker.posts}) == 1
        await house.settled()
        [delivery] = await house.log(hook.webhook_id)
        assert (delivery.state, len(delivery.attempts)) == (DeliveryState.DELIVERED, 1)


async def test_the_queue_of_a_replica_that_died_is_taken_over_when_its_lease_ends(tables: str) -> None:
    async with office(tables, replicas=0) as house, endpoint() as taker:
        await house.add_replica()
        hook, _ = await house.webhook(taker.url)
        await house.replicas[0].close()
        await house.happen()
        assert await house.rows.claim("a replica that dies", house.clock(), 1.0, 10) == [hook.webhook_id]
        assert await house.rows.claim("another", house.clock(), 1.0, 10) == [], "it is held"
        await house.add_replica()
        await until(lambda: taker.posts, "its lease has ended")
        await house.settled()
        assert len(taker.posts) == 1


async def test_an_attempt_that_two_replicas_made_is_recorded_once(tables: str) -> None:
    async with office(tables, webhook_seconds=20.0) as house, endpoint(opened=False) as taker:
        hook, _ = await house.webhook(taker.url)
        await house.happen()
        await until(lambda: taker.posts, "the first sends")
        # As if it had been frozen for longer than its lease.
        await house.pool.execute("UPDATE webhook_queues SET holder = '', held_until = '-infinity'")
        await house.add_replica()
        await until(lambda: len(taker.posts) == 2, "the second sends too")
        taker.open.set()
        await house.settled()
        [delivery] = await house.log(hook.webhook_id)
        assert (delivery.state, [one.number for one in delivery.attempts]) == (DeliveryState.DELIVERED, [1])
        assert (await house.first.subscriptions.get(ANNA, hook.webhook_id)).health.pending == 0


async def test_the_slow_endpoints_of_a_user_leave_room_for_those_of_others(tables: str) -> None:
    async with (
        office(tables, webhook_seconds=60.0, webhook_requests=8) as house,
        endpoint(opened=False) as slow,
        endpoint() as others,
    ):
        for _ in range(4):
            # More than a user has slots for: all that Anna may have under way waits for answers.
            await house.webhook(slow.url)
        await house.webhook(others.url, Caller("bert", Role.USER))
        await house.happen(50)
        await house.happen(50, user_id="bert", execution_id="b1")
        await until(lambda: len(others.posts) == 50, "another user's are delivered")
        assert slow.most_at_once == 2, "a quarter of all requests"


async def test_a_slow_endpoint_delays_no_other_and_has_few_requests_under_way(
    tables: str,
) -> None:
    async with (
        office(tables, webhook_seconds=60.0, webhook_requests_each=2) as house,
        endpoint(opened=False) as slow,
        endpoint() as fast,
    ):
        await house.webhook(slow.url)
        await house.webhook(fast.url)
        await house.happen(50)
        await until(lambda: len(fast.posts) == 50, "all goes to the fast one while the slow one has answered nothing")
        assert (len(slow.posts), slow.most_at_once) == (2, 2)
        slow.open.set()
        await until(lambda: len(slow.posts) == 50, "and then to the slow one")
        assert slow.most_at_once == 2


async def test_a_paused_webhook_is_sent_later_what_happened_meanwhile(tables: str) -> None:
    async with office(tables) as house, endpoint() as taker:
        hook, _ = await house.webhook(taker.url)
        await set_state(house, hook, WEBHOOK_STATE_PAUSED)
        await house.happen(3)
        await house.settled()
        assert not taker.posts
        assert (await house.first.subscriptions.get(ANNA, hook.webhook_id)).health.pending == 3
        await set_state(house, hook, WEBHOOK_STATE_ACTIVE)
        await until(lambda: len(taker.posts) == 3, "it is sent all")


async def test_a_webhook_that_fails_for_days_is_disabled_and_its_owner_told(tables: str) -> None:
    async with office(tables, webhook_failing_days=2.0) as house:
        hook, _ = await house.webhook("http://127.0.0.1:9999/nobody?key=of+the+owner")
        await house.happen()
        await house.play_on()
        assert await state_of(house, hook) == ("DISABLED", "FAILING")
        [row] = await house.notices()
        notice = Notice.FromString(row["notice"])
        assert (notice.user_id, notice.kind) == ("anna", NOTICE_KIND_WEBHOOK_DISABLED)
        assert notice.details["webhook_id"] == str(hook.webhook_id)
        assert "Nothing was delivered for 2 days" in notice.details["message"]
        assert "key" not in notice.details["url"], "addresses may hold keys"

        await house.happen()
        assert len(await house.log(hook.webhook_id)) == 1, "nothing is kept for it"
        active = await set_state(house, hook, WEBHOOK_STATE_ACTIVE)
        assert (active.content.state, active.disable_message, active.health.failing_since) == (State.ACTIVE, "", None)


async def test_a_webhook_is_disabled_when_more_waits_than_is_kept(tables: str) -> None:
    async with office(tables, webhook_backlog=10) as house, endpoint() as taker:
        hook, _ = await house.webhook(taker.url)
        await set_state(house, hook, WEBHOOK_STATE_PAUSED)
        await house.happen(12)
        assert await state_of(house, hook) == ("PAUSED", "NONE")
        await house.happen(1)
        assert await state_of(house, hook) == ("DISABLED", "BACKLOG")
        await set_state(house, hook, WEBHOOK_STATE_ACTIVE)
        await until(lambda: len(taker.posts) == 12, "what waited is sent")


async def test_a_webhook_whose_key_the_operator_has_taken_away_is_disabled(tables: str) -> None:
    async with office(tables) as house, endpoint() as taker:
        hook, _ = await house.webhook(taker.url)
        await house.replicas.pop().close()
        await house.add_replica(webhook_keys="a key that is new and long enough for anybody")
        await house.happen()
        await house.settled()
        assert await state_of(house, hook) == ("ACTIVE", "NONE"), "another replica may have the key"
        await house.play_on()
        assert await state_of(house, hook) == ("DISABLED", "SECRET_LOST")
        assert not taker.posts, "nothing is sent with a signature that nobody can verify"
        house.clock.ahead = timedelta()  # the library goes by its own
        _, secret = await house.first.subscriptions.rotate(ANNA, hook.webhook_id, timedelta(hours=1))
        await set_state(house, hook, WEBHOOK_STATE_ACTIVE)
        await until(lambda: taker.posts, "with a new secret it is sent")
        assert verified(secret, taker.posts[0])


async def test_a_delivery_that_failed_is_sent_again_when_its_owner_wants_it(tables: str) -> None:
    async with office(tables) as house:
        hook, _ = await house.webhook("http://127.0.0.1:9999/")
        await house.happen()
        await house.settled()
        [waiting] = await house.log(hook.webhook_id)
        async with endpoint() as taker:
            moved = WebhookMessage(url=taker.url)
            await house.first.subscriptions.update(ANNA, hook.webhook_id, moved, ["url"])
            again = await house.first.deliveries.retry(ANNA, hook.webhook_id, waiting.delivery_id)
            assert again.state is DeliveryState.PENDING
            await until(lambda: taker.posts, "it is sent now")
            assert taker.posts[0].message_id == str(waiting.delivery_id)
            await house.settled()
            with pytest.raises(DeliveryDone):
                await house.first.deliveries.retry(ANNA, hook.webhook_id, waiting.delivery_id)


async def test_a_ping_is_sent_once_and_says_what_came_of_it(tables: str) -> None:
    async with office(tables) as house, endpoint() as taker:
        hook, secret = await house.webhook(taker.url)
        attempt = await house.first.deliveries.ping(ANNA, hook.webhook_id)
        assert (attempt.status, attempt.error) == (204, "")
        assert verified(secret, taker.posts[0])
        assert json.loads(taker.posts[0].body)["type"] == "blockyard.ping"
        assert await house.log(hook.webhook_id) == []


async def test_internal_addresses_are_refused_at_each_request(tables: str) -> None:
    async with office(tables) as house, endpoint() as taker:
        hook, _ = await house.webhook(taker.url)
        # What was allowed when it was made is not any more.
        await house.pool.execute("UPDATE webhooks SET url = 'http://127.0.0.2:80/'")
        attempt = await house.first.deliveries.ping(ANNA, hook.webhook_id)
        assert attempt.status == 0
        assert "loopback address, which is not reached from here" in attempt.error


async def test_old_deliveries_and_those_of_deleted_webhooks_go(tables: str) -> None:
    async with office(tables) as house, endpoint() as taker:
        kept, _ = await house.webhook(taker.url)
        gone, _ = await house.webhook(taker.url)
        await set_state(house, gone, WEBHOOK_STATE_PAUSED)
        await house.happen(3)
        await until(lambda: len(taker.posts) == 3, "one is sent all")
        await house.settled()
        await house.first.subscriptions.delete(ANNA, gone.webhook_id)
        assert await sweep(house.rows, house.clock, timedelta(days=7)) == 3
        assert len(await house.log(kept.webhook_id)) == 3
        house.clock.ahead += timedelta(days=8)
        assert await sweep(house.rows, house.clock, timedelta(days=7)) == 3
        assert await house.pool.fetchval("SELECT count(*) FROM webhook_attempts") == 0


async def test_recording_goes_on_when_the_database_was_away(tables: str) -> None:
    async with office(tables, webhook_seconds=20.0) as house, endpoint(opened=False) as taker:
        hook, _ = await house.webhook(taker.url)
        await house.happen()
        await until(lambda: taker.posts, "it is under way")
        await house.pool.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename = user"
        )
        taker.open.set()

        async def delivered() -> bool:
            log = await house.log(hook.webhook_id)
            return [one.state for one in log] == [DeliveryState.DELIVERED]

        await until(delivered, "it is recorded")
        assert {post.message_id for post in taker.posts} == {str((await house.log(hook.webhook_id))[0].delivery_id)}


def test_ids_of_deliveries_are_those_of_event_and_webhook() -> None:
    one, other = UUID(int=1), UUID(int=2)
    assert delivery_id(one, "e:1") == delivery_id(one, "e:1")
    assert len({delivery_id(one, "e:1"), delivery_id(one, "e:2"), delivery_id(other, "e:1")}) == 3


async def test_large_deliveries_are_read_when_they_are_sent(tables: str) -> None:
    async with office(tables, replicas=1) as house, endpoint() as taker:
        hook, _ = await house.webhook(taker.url)
        await set_state(house, hook, WEBHOOK_STATE_PAUSED)
        await house.happen(8, size=300_000)
        now = house.clock()
        due = await house.rows.due(hook.webhook_id, now, [], 20)
        assert [one.body for one in due] == 8 * [None]
        assert min(one.size for one in due) > 300_000
        await set_state(house, hook, WEBHOOK_STATE_ACTIVE)
        await until(lambda: len(taker.posts) == 8, "all are sent")
        assert min(len(post.body) for post in taker.posts) > 300_000
        await house.settled()
        assert await house.pool.fetchval("SELECT pending_bytes FROM webhook_queues") == 0


async def test_a_change_that_does_not_say_a_state_leaves_it(tables: str) -> None:
    async with office(tables) as house:
        hook, _ = await house.webhook("http://127.0.0.1:9999/")
        await set_state(house, hook, WEBHOOK_STATE_PAUSED)
        everything = WebhookMessage(url="http://127.0.0.1:9998/", description="moved")
        changed = await house.first.subscriptions.update(ANNA, hook.webhook_id, everything, CHANGEABLE)
        assert (changed.content.state, changed.content.description) == (State.PAUSED, "moved")


async def test_a_ping_waits_for_no_endpoint_but_its_own(tables: str) -> None:
    async with (
        office(tables, webhook_seconds=60.0, webhook_requests=4) as house,
        endpoint(opened=False) as slow,
        endpoint() as taker,
    ):
        await house.webhook(slow.url)
        tried, _ = await house.webhook(taker.url)
        await house.happen()
        await until(lambda: slow.posts, "all that the user may have under way waits for an answer")
        attempt = await house.first.deliveries.ping(ANNA, tried.webhook_id)
        assert attempt.error == ""
        assert not slow.open.is_set()
