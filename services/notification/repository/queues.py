"""All SQL about what comes into the queues of webhooks, and how much waits in them.

Deliveries are locked before queues; queues, and deliveries that are inserted, in the order of their ids: transactions
that meet wait for each other, and never for ever.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from uuid import UUID

from services.notification.repository.followers import Connection
from services.notification.webhooks.records import Filter, Listener, NewDelivery, State

INSERTED = 500
INSERTED_BYTES = 4 << 20
"""By one statement."""


async def listeners(connection: Connection, user_ids: Collection[str]) -> Sequence[Listener]:
    """The webhooks of these users that are sent what happens now, paused ones included."""
    rows = await connection.fetch(
        """
        SELECT webhook_id, user_id, url, graph_ids, execution_ids, kinds, pending, pending_bytes
        FROM webhooks JOIN webhook_queues USING (webhook_id) WHERE user_id = ANY($1::text[]) AND state <> $2
        """,
        list(user_ids),
        State.DISABLED,
    )
    return [
        Listener(
            row["webhook_id"],
            row["user_id"],
            row["url"],
            Filter(tuple(row["graph_ids"]), tuple(row["execution_ids"]), tuple(row["kinds"])),
            row["pending"],
            row["pending_bytes"],
        )
        for row in rows
    ]


async def insert_deliveries(
    connection: Connection, deliveries: Sequence[NewDelivery], now: datetime, *, again: bool = False
) -> int:
    """Puts deliveries into their queues, and says how many were new there. Those that are there already stay as they
    are; `again`, those of them that have ended are sent once more."""
    sizes: list[tuple[UUID, int]] = []
    # Before it is cut: the same deliveries may come from the follower and from a replay at once, in any order.
    for piece in _pieces(sorted(deliveries, key=lambda one: one.delivery_id.int)):
        sizes += await _insert(connection, piece, now, again=again)
    await wake(connection, counted(sizes), now)
    return len(sizes)


def _pieces(deliveries: Sequence[NewDelivery]) -> Iterator[Sequence[NewDelivery]]:
    """What one statement each inserts, well within its time."""
    piece: list[NewDelivery] = []
    size = 0
    for one in deliveries:
        piece.append(one)
        size += len(one.body)
        if len(piece) >= INSERTED or size >= INSERTED_BYTES:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece


async def _insert(
    connection: Connection, deliveries: Sequence[NewDelivery], now: datetime, *, again: bool
) -> Sequence[tuple[UUID, int]]:
    """Webhook and size of those that are new."""
    on_conflict = (
        """
        DO UPDATE SET state = 1, tries = 0, due_time = excluded.due_time, body = excluded.body
        WHERE webhook_deliveries.state <> 1
        """
        if again
        else "DO NOTHING"
    )
    rows = await connection.fetch(
        f"""
        INSERT INTO webhook_deliveries (delivery_id, webhook_id, event_id, event_type, body, due_time, create_time)
        SELECT DISTINCT ON (delivery_id) delivery_id, webhook_id, event_id, event_type, body, $6, $6
        FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::bytea[])
            AS new (delivery_id, webhook_id, event_id, event_type, body)
        ON CONFLICT (delivery_id) {on_conflict} RETURNING webhook_id, octet_length(body) AS size
        """,
        [one.delivery_id for one in deliveries],
        [one.webhook_id for one in deliveries],
        [one.event_id for one in deliveries],
        [one.event_type for one in deliveries],
        [one.body for one in deliveries],
        now,
    )
    return [(row["webhook_id"], row["size"]) for row in rows]


Counts = dict[UUID, tuple[int, int]]
"""How many deliveries, and of how many bytes, by webhook."""


def counted(deliveries: Sequence[tuple[UUID, int]]) -> Counts:
    """Of deliveries by webhook and size."""
    numbers, sizes = Counter[UUID](), Counter[UUID]()
    for webhook_id, size in deliveries:
        numbers[webhook_id] += 1
        sizes[webhook_id] += size
    return {key: (numbers[key], sizes[key]) for key in numbers}


async def wake(connection: Connection, counts: Counts, now: datetime) -> None:
    """Something is due in these queues."""
    await count(connection, counts)
    await connection.execute(
        "UPDATE webhook_queues SET due_time = $2 WHERE webhook_id = ANY($1::uuid[]) AND due_time > $2",
        list(counts),
        now,
    )


async def count(connection: Connection, counts: Counts) -> None:
    """Counts what waits, and locks the queues, in order, until the transaction ends."""
    ids = sorted(counts)
    await connection.execute(
        """
        WITH changes AS (
            SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bigint[]) AS change (webhook_id, number, size)
        ), locked AS (
            SELECT webhook_id FROM webhook_queues WHERE webhook_id = ANY($1::uuid[]) ORDER BY webhook_id FOR UPDATE
        )
        UPDATE webhook_queues q SET pending = q.pending + c.number, pending_bytes = q.pending_bytes + c.size,
            -- While nothing waited nothing could succeed: that is no time of failing.
            failing_since = CASE WHEN q.pending > 0 THEN q.failing_since END
        FROM changes c JOIN locked USING (webhook_id) WHERE q.webhook_id = c.webhook_id
        """,
        ids,
        [counts[key][0] for key in ids],
        [counts[key][1] for key in ids],
    )
