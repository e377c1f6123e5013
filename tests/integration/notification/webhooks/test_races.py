"""What happens to a delivery or a webhook while something else does."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from aiohttp import web
from blockyard.notification.v1.webhook_pb2 import Webhook as WebhookMessage

from services.notification.repository import queues
from services.notification.webhooks.records import DeliveryState, NewDelivery, delivery_id
from tests.integration.notification.webhooks.office import ANNA, endpoint, office
from tests.integration.notification.webhooks.test_delivering import state_of
from tests.unit.egress.network import http_server
from tests.waiting import until

NOBODY = "http://127.0.0.1:9999/"
BLOCKED = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0
"""


async def test_time_in_which_nothing_waited_is_no_time_of_failing(tables: str) -> None:
    async with office(tables, webhook_failing_days=5.0) as house:
        hook, _ = await house.webhook(NOBODY)
        await house.happen()
        await house.play_on()
        [given_up] = await house.log(hook.webhook_id)
        assert given_up.state is DeliveryState.FAILED
        house.clock.ahead += timedelta(days=30)
        await house.happen()
        await house.settled()
        assert len((await house.log(hook.webhook_id))[1].attempts) == 1
        assert await state_of(house, hook) == ("ACTIVE", "NONE"), "it has failed for a moment, not for a month"


async def test_a_replica_whose_lease_has_ended_sends_nothing_twice(tables: str) -> None:
    async with office(tables, webhook_seconds=20.0) as house, endpoint(opened=False) as taker:
        hook, _ = await house.webhook(taker.url)
        await house.happen()
        await until(lambda: taker.posts, "it is under way")
        # As after an outage, or when the process stood still.
        await house.pool.execute("UPDATE webhook_queues SET held_until = '-infinity'")
        house.first.wake()

        async def held() -> bool:
            return bool(await house.pool.fetchval("SELECT held_until > now() FROM webhook_queues"))

        await until(held, "it has its lease again")
        await house.happen()
        taker.open.set()
        await house.settled()
        assert sorted(post.message_id for post in taker.posts) == sorted(
            str(one.delivery_id) for one in await house.log(hook.webhook_id)
        )


async def test_what_its_owner_retries_is_not_dropped_as_old(tables: str) -> None:
    async with office(tables) as house, endpoint() as taker:
        hook, _ = await house.webhook(taker.url)
        await house.happen()
        await house.settled()
        later = house.clock() + timedelta(days=30)
        async with house.pool.acquire() as connection, connection.transaction():
            await connection.execute("UPDATE webhook_deliveries SET state = $1", DeliveryState.PENDING)
            sweeping = asyncio.create_task(house.rows.sweep(later, 10))
            await until(lambda: house.pool.fetchval(BLOCKED), "it is found, and waited for")
        assert await sweeping == 0
        assert len(await house.log(hook.webhook_id)) == 1


async def test_what_an_old_address_answers_disables_no_new_one(tables: str) -> None:
    asked, answering = asyncio.Event(), asyncio.Event()

    async def gone(_: web.Request) -> web.StreamResponse:
        asked.set()
        await answering.wait()
        return web.Response(status=410)

    async with office(tables, webhook_seconds=20.0) as house, http_server(gone) as port, endpoint() as taker:
        hook, _ = await house.webhook(f"http://127.0.0.1:{port}/")
        await house.happen()
        await asked.wait()
        moved = WebhookMessage(url=taker.url)
        await house.first.subscriptions.update(ANNA, hook.webhook_id, moved, ["url"])
        answering.set()
        await house.play_on()
        assert await state_of(house, hook) == ("ACTIVE", "NONE")
        assert len(taker.posts) == 1, "it is sent to the new address"


async def test_a_full_queue_disables_its_webhook_though_its_address_changes_meanwhile(tables: str) -> None:
    async with office(tables, webhook_backlog=2) as house:
        hook, _ = await house.webhook(NOBODY)
        await house.happen(2)
        await house.settled()
        async with house.pool.acquire() as owner, owner.transaction():
            await owner.execute("UPDATE webhooks SET url = 'http://127.0.0.1:9998/', update_time = now()")
            happening = asyncio.create_task(house.happen())
            await until(lambda: house.pool.fetchval(BLOCKED), "it is disabled as soon as its owner is done")
        await happening
        assert await state_of(house, hook) == ("DISABLED", "BACKLOG"), "what it is not sent is not lost in silence"
        [notice] = await house.notices()
        assert notice["user_id"] == "anna"


async def test_those_who_insert_the_same_deliveries_in_many_pieces_wait_for_each_other_and_not_for_ever(
    tables: str,
) -> None:
    async with office(tables) as house:
        hook, _ = await house.webhook(NOBODY)
        names = [f"e1:{number}" for number in range(2 * queues.INSERTED)]
        made = [NewDelivery(delivery_id(hook.webhook_id, one), hook.webhook_id, one, "t", b"{}") for one in names]
        # Each comes to the last of its first piece before it may end it.
        halves = made[: queues.INSERTED], made[queues.INSERTED :]
        last = [max(half, key=lambda one: one.delivery_id) for half in halves]

        async def insert(deliveries: Sequence[NewDelivery], *, again: bool) -> int:
            async with house.pool.acquire() as connection, connection.transaction():
                return await queues.insert_deliveries(connection, deliveries, house.clock(), again=again)

        async with house.pool.acquire() as third:
            holding = third.transaction()
            await holding.start()
            await queues.insert_deliveries(third, last, house.clock())
            inserting = [
                asyncio.create_task(insert(made, again=False)),
                asyncio.create_task(insert(made[::-1], again=True)),
            ]

            async def both_wait() -> bool:
                return bool(await house.pool.fetchval(BLOCKED) >= len(inserting))

            await until(both_wait, "both wait")
            await holding.rollback()
        assert sum(await asyncio.gather(*inserting)) == len(made), "each is new to one of them"


async def test_leases_are_renewed_in_the_order_in_which_queues_are_counted(tables: str) -> None:
    async with office(tables) as house:
        hooks = [(await house.webhook(NOBODY))[0] for _ in range(2)]
        first, last = sorted(hook.webhook_id for hook in hooks)
        # They lie in the table the other way round.
        await house.pool.execute("DELETE FROM webhook_queues")
        for webhook_id in (last, first):
            await house.pool.execute(
                "INSERT INTO webhook_queues (webhook_id, holder) VALUES ($1, 'a replica')", webhook_id
            )
        async with house.pool.acquire() as connection, connection.transaction():
            await queues.count(connection, {first: (0, 0)})
            renewing = asyncio.create_task(house.rows.renew("a replica", [last, first], 20.0))
            await until(lambda: house.pool.fetchval(BLOCKED), "it waits for the first")
            await queues.count(connection, {last: (0, 0)})
        assert await renewing == {first, last}
