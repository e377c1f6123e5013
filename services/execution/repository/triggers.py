"""All SQL about triggers and their deliveries."""

import json
from collections.abc import Sequence

import asyncpg

from services.common.user_limits import one_at_a_time
from services.execution.webhooks.records import (
    Condition,
    Delivery,
    DeliveryPage,
    DeliveryRow,
    Kind,
    NewTrigger,
    Outcome,
    Page,
    SecretState,
    TriggerContent,
    TriggerRow,
)

_COLUMNS = """trigger_id, user_id, kind, name, template, events, conditions, disabled, secret_credential_id,
    graph_id, key_id, generation, previous_key_id, previous_until, version, create_time, update_time"""


class TriggerRepository:
    """Owners are named in every question of theirs: a trigger of somebody else's is not there."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def insert(self, new: NewTrigger, most: int) -> bool:
        """Stores a trigger; False if the user's request id has made one before, or they have as many as `most`."""
        async with self._pool.acquire() as connection, connection.transaction():
            await one_at_a_time(connection, "triggers", new.user_id)
            done = await connection.execute(
                """
                INSERT INTO triggers (trigger_id, user_id, kind, name, template, events, conditions, disabled,
                                      secret_credential_id, key_id, request_id, request_hash, graph_id)
                SELECT $1, $2, $3, $4, $5, $6::text[], $7, $8, $9, $10, $11, $12, $13
                WHERE (SELECT count(*) FROM triggers WHERE user_id = $2) < $14
                ON CONFLICT (user_id, request_id) WHERE request_id IS NOT NULL DO NOTHING
                """,
                new.trigger_id,
                new.user_id,
                int(new.kind),
                *_content_columns(new.content),
                new.key_id,
                new.request_id,
                new.request_hash,
                new.graph_id,
                most,
            )
        return bool(done == "INSERT 0 1")

    async def made_by_request(self, user_id: str, request_id: str) -> tuple[str, bytes] | None:
        """The trigger that a request made, and the hash of that request."""
        row = await self._pool.fetchrow(
            "SELECT trigger_id, request_hash FROM triggers WHERE user_id = $1 AND request_id = $2", user_id, request_id
        )
        return (row["trigger_id"], row["request_hash"]) if row else None

    async def get(self, user_id: str, trigger_id: str) -> TriggerRow | None:
        """A user's trigger."""
        row = await self._pool.fetchrow(
            f"SELECT {_COLUMNS} FROM triggers WHERE trigger_id = $1 AND user_id = $2", trigger_id, user_id
        )
        return _trigger(row) if row else None

    async def at(self, trigger_id: str) -> TriggerRow | None:
        """The trigger at an address, for whoever posts there."""
        row = await self._pool.fetchrow(f"SELECT {_COLUMNS} FROM triggers WHERE trigger_id = $1", trigger_id)
        return _trigger(row) if row else None

    async def page(self, user_id: str, graph_id: str, below: Page | None, limit: int) -> Sequence[TriggerRow]:
        """A user's triggers, newest first; of one graph or ('') of all."""
        rows = await self._pool.fetch(
            f"""
            SELECT {_COLUMNS} FROM triggers
            WHERE user_id = $1 AND $2 IN ('', graph_id)
                AND ($3::timestamptz IS NULL OR (create_time, trigger_id) < ($3, $4))
            ORDER BY create_time DESC, trigger_id DESC LIMIT $5
            """,
            user_id,
            graph_id,
            below and below.create_time,
            below and below.trigger_id,
            limit,
        )
        return [_trigger(row) for row in rows]

    async def replace(self, row: TriggerRow, content: TriggerContent, graph_id: str) -> bool:
        """Gives a trigger other content, which starts that graph; False if it is no longer as it was read."""
        done = await self._pool.execute(
            """
            UPDATE triggers SET name = $3, template = $4, events = $5::text[], conditions = $6, disabled = $7,
                                secret_credential_id = $8, graph_id = $9,
                                version = version + 1, update_time = now()
            WHERE trigger_id = $1 AND version = $2
            """,
            row.trigger_id,
            row.version,
            *_content_columns(content),
            graph_id,
        )
        return bool(done == "UPDATE 1")

    async def rotate(self, row: TriggerRow, key_id: str, previous_seconds: float) -> bool:
        """Takes the next generation of secrets, made from that key; False if it is no longer as it was read."""
        done = await self._pool.execute(
            """
            UPDATE triggers SET generation = generation + 1, key_id = $3, previous_key_id = key_id,
                version = version + 1, update_time = now(),
                previous_until = CASE WHEN $4 > 0 THEN now() + make_interval(secs => $4) END
            WHERE trigger_id = $1 AND version = $2
            """,
            row.trigger_id,
            row.version,
            key_id,
            previous_seconds,
        )
        return bool(done == "UPDATE 1")

    async def delete(self, user_id: str, trigger_id: str) -> bool:
        """Deletes a trigger with its deliveries; False if there is none such."""
        done = await self._pool.execute(
            "DELETE FROM triggers WHERE trigger_id = $1 AND user_id = $2", trigger_id, user_id
        )
        return bool(done == "DELETE 1")

    async def note(self, trigger_id: str, delivery: Delivery, most: int) -> None:
        """Notes what became of a delivery, and how often it came; of each trigger about `most` are kept, and apart
        from those as many that were refused.

        That it has started something once is never taken back. A trigger that is gone has no deliveries.
        """
        await self._pool.execute(
            """
            WITH noted AS (
                INSERT INTO trigger_deliveries AS d
                    (trigger_id, delivery_id, event, outcome, reason, execution_id, payload_bytes)
                SELECT trigger_id, $2, $3, $4::smallint, $5, $6, $7 FROM triggers
                WHERE trigger_id = $1 FOR KEY SHARE
                ON CONFLICT (trigger_id, delivery_id) WHERE delivery_id <> '' DO UPDATE SET
                    receipts = d.receipts + 1, receive_time = now(),
                    outcome = CASE WHEN d.outcome = 1 THEN 1 ELSE excluded.outcome END,
                    reason = CASE WHEN d.outcome = 1 THEN '' ELSE excluded.reason END,
                    execution_id = coalesce(d.execution_id, excluded.execution_id)
            )
            DELETE FROM trigger_deliveries WHERE trigger_id = $1 AND (outcome = 5) = ($4 = 5) AND number <= (
                SELECT number FROM trigger_deliveries WHERE trigger_id = $1 AND (outcome = 5) = ($4 = 5)
                ORDER BY number DESC OFFSET $8 LIMIT 1
            )
            """,
            trigger_id,
            delivery.delivery_id,
            delivery.event,
            int(delivery.outcome),
            delivery.reason,
            delivery.execution_id,
            delivery.payload_bytes,
            most,
        )

    async def deliveries(self, trigger_id: str, below: DeliveryPage | None, limit: int) -> Sequence[DeliveryRow]:
        """What came to a trigger, the latest first."""
        rows = await self._pool.fetch(
            """
            SELECT delivery_id, event, outcome, reason, execution_id, payload_bytes, number, receipts, receive_time
            FROM trigger_deliveries
            WHERE trigger_id = $1 AND ($2::timestamptz IS NULL OR (receive_time, number) < ($2, $3))
            ORDER BY receive_time DESC, number DESC LIMIT $4
            """,
            trigger_id,
            below and below.receive_time,
            below and below.number,
            limit,
        )
        return [_delivery(row) for row in rows]


def _content_columns(content: TriggerContent) -> tuple[object, ...]:
    conditions = [{"path": list(one.path), "equals": one.equals} for one in content.conditions]
    return (
        content.name,
        content.template,
        list(content.events),
        json.dumps(conditions),
        content.disabled,
        content.secret_credential_id,
    )


def _trigger(row: asyncpg.Record) -> TriggerRow:
    conditions = tuple(Condition(tuple(one["path"]), one["equals"]) for one in json.loads(row["conditions"]))
    content = TriggerContent(
        row["name"],
        row["template"],
        tuple(row["events"]),
        conditions,
        row["disabled"],
        row["secret_credential_id"],
    )
    return TriggerRow(
        trigger_id=row["trigger_id"],
        user_id=row["user_id"],
        kind=Kind(row["kind"]),
        content=content,
        graph_id=row["graph_id"],
        secret=SecretState(row["key_id"], row["generation"], row["previous_key_id"], row["previous_until"]),
        version=row["version"],
        create_time=row["create_time"],
        update_time=row["update_time"],
    )


def _delivery(row: asyncpg.Record) -> DeliveryRow:
    delivery = Delivery(
        row["delivery_id"],
        row["event"],
        Outcome(row["outcome"]),
        row["reason"],
        row["execution_id"],
        row["payload_bytes"],
    )
    return DeliveryRow(delivery, row["number"], row["receive_time"], row["receipts"])
