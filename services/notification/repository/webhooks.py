"""All SQL about webhooks as their owners see them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID

import asyncpg

from services.common.notice_rows import PendingNotice, add_notices
from services.common.user_limits import one_at_a_time
from services.notification.repository.followers import NAME as FOLLOWER
from services.notification.repository.followers import Connection
from services.notification.webhooks.records import (
    Content,
    DisableReason,
    Filter,
    Health,
    Replay,
    Secrets,
    State,
    Webhook,
)

_FROM = """
    w.*, q.pending, q.last_success_time, q.failing_since,
    r.done, r.queued, r.message, r.create_time AS replay_time
    FROM webhooks w LEFT JOIN webhook_queues q USING (webhook_id) LEFT JOIN webhook_replays r USING (webhook_id)
"""


class WebhookRepository:
    """Every question of an owner names the user: a webhook of somebody else's is not there."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool

    async def insert(self, webhook: Webhook, most: int) -> bool:
        """Keeps a webhook with an empty queue; False if its user has as many as `most`."""
        async with self._pool.acquire() as connection, connection.transaction():
            await one_at_a_time(connection, "webhooks", webhook.user_id)
            inserted = await connection.execute(
                """
                INSERT INTO webhooks (webhook_id, user_id, url, description, graph_ids, execution_ids, kinds, state,
                                      state_time, secret_generation, secret_key, create_time, update_time)
                SELECT $1, $2, $3, $4, $5, $6, $7, $8, $11, $9, $10, $11, $11
                WHERE (SELECT count(*) FROM webhooks WHERE user_id = $2) < $12
                """,
                webhook.webhook_id,
                webhook.user_id,
                *_columns(webhook.content),
                webhook.secrets.generation,
                webhook.secrets.key,
                webhook.create_time,
                most,
            )
            if inserted != "INSERT 0 1":
                return False
            await connection.execute("INSERT INTO webhook_queues (webhook_id) VALUES ($1)", webhook.webhook_id)
            return True

    async def get(self, user_id: str, webhook_id: UUID) -> Webhook | None:
        """A webhook."""
        row = await self._pool.fetchrow(
            f"SELECT {_FROM} WHERE w.webhook_id = $1 AND w.user_id = $2", webhook_id, user_id
        )
        return _webhook(row) if row else None

    async def page(self, user_id: str, before: tuple[datetime, UUID] | None, limit: int) -> Sequence[Webhook]:
        """A user's webhooks, newest first."""
        moment, webhook_id = before or (None, None)
        rows = await self._pool.fetch(
            f"""
            SELECT {_FROM} WHERE w.user_id = $1
              AND ($2::timestamptz IS NULL OR (w.create_time, w.webhook_id) < ($2, $3))
            ORDER BY w.create_time DESC, w.webhook_id DESC LIMIT $4
            """,
            user_id,
            moment,
            webhook_id,
            limit,
        )
        return [_webhook(row) for row in rows]

    async def replace(self, webhook: Webhook, content: Content, now: datetime) -> bool:
        """Gives a webhook other content; False if it is no longer as it was read."""
        async with self._pool.acquire() as connection, connection.transaction():
            state_changes = content.state is not webhook.content.state
            reason = DisableReason.OWNER if content.state is State.DISABLED else DisableReason.NONE
            done = await connection.execute(
                """
                UPDATE webhooks SET url = $4, description = $5, graph_ids = $6, execution_ids = $7, kinds = $8,
                    state = $9, update_time = greatest($10, update_time + interval '1 microsecond'),
                    state_time = CASE WHEN $11 THEN $10 ELSE state_time END,
                    disable_reason = CASE WHEN $11 THEN $12 ELSE disable_reason END,
                    disable_message = CASE WHEN $11 THEN '' ELSE disable_message END
                WHERE webhook_id = $1 AND user_id = $2 AND update_time = $3
                """,
                webhook.webhook_id,
                webhook.user_id,
                webhook.update_time,
                *_columns(content),
                now,
                state_changes,
                reason,
            )
            if done != "UPDATE 1":
                return False
            if state_changes and content.state is State.DISABLED:
                await _note_place(connection, webhook.webhook_id)
            if webhook.content.state is State.DISABLED and state_changes:
                await _make_due(connection, webhook.webhook_id, now)
            if state_changes or content.url != webhook.content.url:
                await _begin_anew(connection, webhook.webhook_id)
            return True

    async def rotate(self, user_id: str, webhook_id: UUID, key: str, expire_time: datetime, now: datetime) -> bool:
        """A new generation of the secret, made from the key with this fingerprint; the one before signs until then."""
        done = await self._pool.execute(
            """
            UPDATE webhooks SET previous_key = secret_key, previous_expire_time = $4, secret_key = $3,
                secret_generation = secret_generation + 1,
                update_time = greatest($5, update_time + interval '1 microsecond')
            WHERE webhook_id = $1 AND user_id = $2
            """,
            webhook_id,
            user_id,
            key,
            expire_time,
            now,
        )
        return bool(done == "UPDATE 1")

    async def delete(self, user_id: str, webhook_id: UUID) -> bool:
        """Deletes a webhook; False if there is none such. What waits for it goes with what is old: it may be much."""
        done = await self._pool.execute(
            "DELETE FROM webhooks WHERE webhook_id = $1 AND user_id = $2", webhook_id, user_id
        )
        return bool(done == "DELETE 1")

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """In which a webhook is disabled."""
        async with self._pool.acquire() as connection, connection.transaction():
            yield connection


async def disable_webhook(
    connection: Connection,
    webhook_id: UUID,
    url: str | None,
    reason: DisableReason,
    message: str,
    notice: PendingNotice,
    now: datetime,
) -> bool:
    """Disables a webhook and tells its owner; False if it is disabled already, or gone, or leads to another address
    than this one by now. None: to whichever it leads."""
    done = await connection.execute(
        """
        UPDATE webhooks SET state = $2, disable_reason = $3, disable_message = $4, state_time = $5,
            update_time = greatest($5, update_time + interval '1 microsecond')
        WHERE webhook_id = $1 AND state <> $2 AND ($6::text IS NULL OR url = $6)
        """,
        webhook_id,
        State.DISABLED,
        reason,
        message,
        now,
        url,
    )
    if done != "UPDATE 1":
        return False
    await _note_place(connection, webhook_id)
    await add_notices(connection, [notice])
    return True


async def _note_place(connection: Connection, webhook_id: UUID) -> None:
    """From here on nothing is taken in for it."""
    await connection.execute(
        """
        UPDATE webhooks SET resume_cursor = coalesce((SELECT positions FROM followers WHERE name = $2), '')
        WHERE webhook_id = $1
        """,
        webhook_id,
        FOLLOWER,
    )


async def _make_due(connection: Connection, webhook_id: UUID, now: datetime) -> None:
    """What waits is sent now, and its schedule begins anew: whoever enables a webhook has seen to what was wrong."""
    await connection.execute(
        "UPDATE webhook_deliveries SET due_time = $2, tries = 0 WHERE webhook_id = $1 AND state = 1", webhook_id, now
    )


async def _begin_anew(connection: Connection, webhook_id: UUID) -> None:
    """What it failed before is forgotten, and its queue is looked at again."""
    await connection.execute(
        """
        UPDATE webhook_queues SET due_time = '-infinity', not_before = '-infinity', failing_since = NULL, given_up = 0
        WHERE webhook_id = $1
        """,
        webhook_id,
    )


def _columns(content: Content) -> tuple[object, ...]:
    listed = content.filter
    return (
        content.url,
        content.description,
        list(listed.graph_ids),
        list(listed.execution_ids),
        list(listed.kinds),
        content.state,
    )


def _webhook(row: asyncpg.Record) -> Webhook:
    filter = Filter(tuple(row["graph_ids"]), tuple(row["execution_ids"]), tuple(row["kinds"]))
    replay = None
    if row["replay_time"] is not None:
        replay = Replay(row["done"], row["queued"], row["message"], row["replay_time"])
    return Webhook(
        webhook_id=row["webhook_id"],
        user_id=row["user_id"],
        content=Content(row["url"], row["description"], filter, State(row["state"])),
        disable_reason=DisableReason(row["disable_reason"]),
        disable_message=row["disable_message"],
        state_time=row["state_time"],
        resume_cursor=row["resume_cursor"],
        secrets=secrets_of(row),
        create_time=row["create_time"],
        update_time=row["update_time"],
        health=Health(row["pending"] or 0, row["last_success_time"], row["failing_since"]),
        replay=replay,
    )


def secrets_of(row: asyncpg.Record) -> Secrets:
    """From what the secrets of a row of `webhooks` are made."""
    return Secrets(row["secret_generation"], row["secret_key"], row["previous_key"], row["previous_expire_time"])
