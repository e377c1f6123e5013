"""All SQL that moves credits or holds them. Whoever does either has first locked the balances that it concerns."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import asyncpg
from blockyard.account.v1.account_pb2 import AuditEntry

from services.account.bookkeeping import Balance, Booking, Span, SpanKey, Transfer, TransferKind
from services.account.errors import LedgerChanged
from services.account.repository.audit import insert_entries
from services.common.notice_rows import PendingNotice, add_notices

_INSERT_ENTRIES = f"""
INSERT INTO entries (transfer_id, account, amount)
SELECT transfer_id, 'user:' || user_id, amount FROM moved
UNION ALL
SELECT transfer_id, CASE kind WHEN {TransferKind.CHARGE.value} THEN 'earned' ELSE 'issued' END, -amount FROM moved
"""
"""What one account gives, the other one gets; written in the statement of their transfer."""


@dataclass(frozen=True, slots=True)
class HeldCredits:
    """What replicas hold of a user's credits at the moment."""

    own: int = 0
    others: int = 0


class LedgerTransaction:
    """One transaction of the ledger. The balances that it locked change for nobody else until it ends."""

    def __init__(self, connection: "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]") -> None:
        self._connection = connection

    async def lock(self, user_ids: Collection[str]) -> tuple[dict[str, Balance], datetime]:
        """The balances of those of these users that have one, and the moment at which all of them were locked.

        They are locked in one order, so that no two transactions wait for each other. The moment is that of the clock
        which all replicas share: it is later than it was for who had a lock before.
        """
        rows = await self._connection.fetch(
            """
            WITH locked AS MATERIALIZED (
                SELECT b.user_id, b.balance, b.spent, b.told_low, coalesce(u.low_balance, 0) AS low_balance
                FROM balances b LEFT JOIN users u ON u.user_id = b.user_id
                WHERE b.user_id = ANY($1::text[])
                ORDER BY b.user_id
                FOR NO KEY UPDATE OF b
            )
            SELECT user_id, balance, spent, told_low, low_balance, clock_timestamp() AS moment FROM locked
            """,
            list(user_ids),
        )
        balances = {
            row["user_id"]: Balance(
                row["user_id"], row["balance"], row["spent"], row["told_low"], low_balance=row["low_balance"]
            )
            for row in rows
        }
        return balances, max((row["moment"] for row in rows), default=datetime.now(UTC))

    async def charged(self, spans: Collection[SpanKey]) -> dict[SpanKey, Span]:
        """Which node executions of these spans are charged; spans of which none is are left out.

        LATERAL and LIMIT have each span looked up by its key: planned as a join, all weeks may be read.
        """
        rows = await self._connection.fetch(
            """
            SELECT s.execution_id, s.span, c.node_executions, c.version
            FROM unnest($1::uuid[], $2::bigint[]) AS s (execution_id, span),
            LATERAL (
                SELECT node_executions, version FROM charges
                WHERE execution_id = s.execution_id AND span = s.span LIMIT 1
            ) AS c
            """,
            [execution_id for execution_id, _ in spans],
            [span for _, span in spans],
        )
        return {
            (row["execution_id"], row["span"]): Span(int.from_bytes(row["node_executions"], "little"), row["version"])
            for row in rows
        }

    async def by_request(self, actor: str, request_id: str) -> Transfer | None:
        """The transfer that a request has made."""
        row = await self._connection.fetchrow(
            """
            SELECT transfer_id, kind, user_id, amount, balance, execution_id, graph_id, charges, note, actor, request_id
            FROM transfers WHERE actor = $1 AND request_id = $2
            """,
            actor,
            request_id,
        )
        return Transfer(**{**row, "kind": TransferKind(row["kind"])}) if row else None

    async def write_charges(self, booking: Booking, notices: Sequence[PendingNotice]) -> None:
        """Writes all that booked charges come to; in few statements, as every one of them takes its time."""
        try:
            marked = await self._write_charges(booking)
        except asyncpg.CheckViolationError as error:
            raise LedgerChanged from error  # a week has no table
        if marked != len(booking.charged):
            # Somebody charges an execution to another user at this moment: who has locked other balances.
            raise LedgerChanged
        await self._set_balances(booking.balances)
        await add_notices(self._connection, notices)

    async def _write_charges(self, booking: Booking) -> int:
        """How many spans are as they were read, and so were written."""
        marked: int = await self._connection.fetchval(
            f"""
            WITH moved AS (
                INSERT INTO transfers (transfer_id, kind, user_id, execution_id, graph_id, amount, balance, charges)
                SELECT transfer_id, {TransferKind.CHARGE.value}, user_id, execution_id, graph_id, amount, balance,
                       charges
                FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[], $5::bigint[], $6::bigint[], $7::integer[])
                  AS n (transfer_id, user_id, execution_id, graph_id, amount, balance, charges)
                RETURNING transfer_id, kind, user_id, amount
            ), spent AS (
                INSERT INTO spending AS s (user_id, hour, block_id, charges, amount)
                SELECT user_id, to_timestamp(second), block_id, charges, amount
                FROM unnest($8::text[], $9::bigint[], $10::text[], $11::bigint[], $12::bigint[])
                  AS n (user_id, second, block_id, charges, amount)
                ON CONFLICT (user_id, hour, block_id) DO UPDATE
                    SET charges = s.charges + excluded.charges, amount = s.amount + excluded.amount
            ), charged AS (
                INSERT INTO charges AS c (execution_id, span, node_executions, version)
                SELECT * FROM unnest($13::uuid[], $14::bigint[], $15::bytea[], $16::bigint[])
                ON CONFLICT (execution_id, span) DO UPDATE
                    SET node_executions = excluded.node_executions, version = excluded.version
                    WHERE c.version = excluded.version - 1
                RETURNING 1
            ), moved_between AS ({_INSERT_ENTRIES})
            SELECT count(*) FROM charged
            """,
            [one.transfer_id for one in booking.transfers],
            [one.user_id for one in booking.transfers],
            [one.execution_id for one in booking.transfers],
            [one.graph_id for one in booking.transfers],
            [one.amount for one in booking.transfers],
            [one.balance for one in booking.transfers],
            [one.charges for one in booking.transfers],
            [one.user_id for one in booking.spending],
            [one.hour for one in booking.spending],
            [one.block_id for one in booking.spending],
            [one.charges for one in booking.spending],
            [one.amount for one in booking.spending],
            [execution_id for execution_id, _ in booking.charged],
            [span for _, span in booking.charged],
            [_bytes(span.marks) for span in booking.charged.values()],
            [span.version for span in booking.charged.values()],
        )
        return marked

    async def write_top_up(self, booking: Booking, notices: Sequence[PendingNotice], entry: AuditEntry) -> bool:
        """Writes all of a top-up; False, and nothing is written, if its request has made a transfer before."""
        [transfer] = booking.transfers
        done = await self._connection.execute(
            f"""
            WITH moved AS (
                INSERT INTO transfers (transfer_id, kind, user_id, amount, balance, note, actor, request_id)
                VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
                ON CONFLICT (actor, request_id) WHERE request_id IS NOT NULL DO NOTHING
                RETURNING transfer_id, kind, user_id, amount
            )
            {_INSERT_ENTRIES}
            """,
            transfer.transfer_id,
            transfer.kind,
            transfer.user_id,
            transfer.amount,
            transfer.balance,
            transfer.note,
            transfer.actor,
            transfer.request_id,
        )
        if done == "INSERT 0 0":
            return False
        await self._set_balances(booking.balances)
        await add_notices(self._connection, notices)
        await insert_entries(self._connection, entry)
        return True

    async def _set_balances(self, balances: Sequence[Balance]) -> None:
        """As nobody else can have changed them since they were locked, they are set, not added to."""
        await self._connection.execute(
            """
            UPDATE balances b SET balance = n.balance, spent = n.spent, told_low = n.told_low
            FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::boolean[]) AS n (user_id, balance, spent, told_low)
            WHERE b.user_id = n.user_id
            """,
            [one.user_id for one in balances],
            [one.balance for one in balances],
            [one.spent for one in balances],
            [one.told_low for one in balances],
        )

    async def held(self, holder: str, user_ids: Collection[str]) -> dict[str, HeldCredits]:
        """What is held of these users' credits.

        A statement of its own: one that also takes the lock would still see the holds from before it waited.
        """
        rows = await self._connection.fetch(
            """
            SELECT user_id,
                   coalesce(sum(amount) FILTER (WHERE holder = $1), 0)::bigint AS own,
                   coalesce(sum(amount) FILTER (WHERE holder <> $1), 0)::bigint AS others
            FROM holds WHERE user_id = ANY($2::text[]) AND expires_at > clock_timestamp()
            GROUP BY user_id
            """,
            holder,
            list(user_ids),
        )
        return {row["user_id"]: HeldCredits(row["own"], row["others"]) for row in rows}

    async def hold(self, holder: str, amounts: Mapping[str, int], seconds: float) -> None:
        """Sets what a replica holds, from now on for so many seconds; nothing is kept of what is 0."""
        await self._connection.execute(
            "DELETE FROM holds WHERE holder = $1 AND user_id = ANY($2::text[])",
            holder,
            [user_id for user_id, amount in amounts.items() if not amount],
        )
        await self._connection.execute(
            """
            INSERT INTO holds (user_id, holder, amount, expires_at)
            SELECT n.user_id, $1, n.amount, clock_timestamp() + make_interval(secs => $4)
            FROM unnest($2::text[], $3::bigint[]) AS n (user_id, amount) WHERE n.amount > 0
            ON CONFLICT (user_id, holder) DO UPDATE SET amount = excluded.amount, expires_at = excluded.expires_at
            """,
            holder,
            list(amounts),
            list(amounts.values()),
            seconds,
        )

    async def take_off(self, holder: str, amounts: Mapping[str, int]) -> dict[str, int]:
        """Lowers what a replica holds by what was booked, as that part of the balance is gone; what it holds then."""
        rows = await self._connection.fetch(
            """
            UPDATE holds h SET amount = greatest(h.amount - n.amount, 0)
            FROM unnest($2::text[], $3::bigint[]) AS n (user_id, amount)
            WHERE h.holder = $1 AND h.user_id = n.user_id AND h.expires_at > clock_timestamp()
            RETURNING h.user_id, h.amount
            """,
            holder,
            list(amounts),
            list(amounts.values()),
        )
        return {row["user_id"]: row["amount"] for row in rows}


def _bytes(marks: int) -> bytes:
    return marks.to_bytes((marks.bit_length() + 7) // 8, "little")


class LedgerRepository:
    """Opens transactions of the ledger."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[LedgerTransaction]:
        """All or nothing of what is done in it."""
        async with self._pool.acquire() as connection, connection.transaction():
            yield LedgerTransaction(connection)

    async def open_accounts(self, user_ids: Collection[str]) -> None:
        """Makes the balances that are missing. In one order, and on its own: it waits for nobody while it has locks."""
        await self._pool.execute(
            "INSERT INTO balances (user_id) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING", sorted(user_ids)
        )

    async def drop_expired_holds(self, limit: int) -> int:
        """Deletes holds that ended a while ago, those that somebody locks left out; how many that were."""
        done = await self._pool.execute(
            """
            DELETE FROM holds h USING (
                SELECT user_id, holder FROM holds WHERE expires_at < clock_timestamp() - interval '1 hour'
                LIMIT $1 FOR UPDATE SKIP LOCKED
            ) AS e WHERE h.user_id = e.user_id AND h.holder = e.holder
            """,
            limit,
        )
        return int(done.removeprefix("DELETE "))
