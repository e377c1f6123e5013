"""All SQL that moves credits or holds them. Whoever does either has first locked the balances that it concerns."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg
from blockyard.account.v1.account_pb2 import AuditEntry

from services.account.bookkeeping import Balance, Booking, Charge, ChargeKey, Spending, Transfer, TransferKind
from services.account.repository.audit import insert_entries
from services.common.notices import PendingNotice


@dataclass(frozen=True, slots=True)
class BookedCharge:
    """What the ledger has under a charge's key."""

    user_id: str
    amount: int


@dataclass(frozen=True, slots=True)
class HeldCredits:
    """What replicas hold of a user's credits at the moment."""

    own: int = 0
    others: int = 0


class LedgerTransaction:
    """One transaction of the ledger. The balances that it locked change for nobody else until it ends."""

    def __init__(self, connection: "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]") -> None:
        self._connection = connection

    async def has_user(self, user_id: str) -> bool:
        """Whether there is such a user."""
        return bool(await self._connection.fetchval("SELECT true FROM users WHERE user_id = $1", user_id))

    async def open_accounts(self, user_ids: Collection[str]) -> None:
        """Makes the balances that are missing; in one order, as all locks here, so that no two wait for each other."""
        await self._connection.execute(
            "INSERT INTO balances (user_id) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING", sorted(user_ids)
        )

    async def lock(self, user_ids: Collection[str]) -> dict[str, Balance]:
        """The balances of those of these users that have one."""
        rows = await self._connection.fetch(
            """
            SELECT b.user_id, b.balance, b.spent, b.told_low, coalesce(u.low_balance, 0) AS low_balance
            FROM balances b LEFT JOIN users u ON u.user_id = b.user_id
            WHERE b.user_id = ANY($1::text[])
            ORDER BY b.user_id
            FOR NO KEY UPDATE OF b
            """,
            list(user_ids),
        )
        return {row["user_id"]: Balance(**row) for row in rows}

    async def moment(self) -> datetime:
        """Now, by the clock that all replicas share: after a lock it is later than it was for who had it before."""
        now: datetime = await self._connection.fetchval("SELECT clock_timestamp()")
        return now

    async def insert_charges(
        self, charges: Sequence[Charge], transfer_ids: Mapping[tuple[UUID, str], UUID]
    ) -> set[ChargeKey]:
        """Books each charge whose key is new; the keys of those."""
        ordered = sorted(charges, key=lambda charge: charge.key)
        rows = await self._connection.fetch(
            """
            INSERT INTO charges (execution_id, node_execution, user_id, block_id, amount, transfer_id, time)
            SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::uuid[],
                                 $7::timestamptz[])
            ON CONFLICT DO NOTHING
            RETURNING execution_id, node_execution
            """,
            [charge.execution_id for charge in ordered],
            [charge.node_execution for charge in ordered],
            [charge.user_id for charge in ordered],
            [charge.block_id for charge in ordered],
            [charge.amount for charge in ordered],
            [transfer_ids[charge.execution_id, charge.user_id] for charge in ordered],
            [charge.time for charge in ordered],
        )
        return {(row["execution_id"], row["node_execution"]) for row in rows}

    async def booked(self, keys: Collection[ChargeKey]) -> dict[ChargeKey, BookedCharge]:
        """What is booked under these keys."""
        rows = await self._connection.fetch(
            """
            SELECT c.execution_id, c.node_execution, c.user_id, c.amount
            FROM unnest($1::uuid[], $2::bigint[]) AS k (execution_id, node_execution)
            JOIN charges c ON c.execution_id = k.execution_id AND c.node_execution = k.node_execution
            """,
            [execution_id for execution_id, _ in keys],
            [number for _, number in keys],
        )
        return {
            (row["execution_id"], row["node_execution"]): BookedCharge(row["user_id"], row["amount"]) for row in rows
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

    async def write(self, booking: Booking, notices: Sequence[PendingNotice] = ()) -> bool:
        """Writes all of a booking; False, and nothing is written, if its request has made a transfer before."""
        if not await self._insert_transfers(booking.transfers):
            return False
        await self._insert_entries(booking.transfers)
        await self._set_balances(booking.balances)
        if booking.spending:
            await self._add_spending(booking.spending)
        if notices:
            await self._connection.executemany(
                "INSERT INTO notices (notice_id, user_id, notice) VALUES ($1, $2, $3)",
                [(notice.notice_id, notice.user_id, notice.data) for notice in notices],
            )
        return True

    async def record(self, entry: AuditEntry) -> None:
        """Tells the audit log, together with what it tells of."""
        await insert_entries(self._connection, entry)

    async def _insert_transfers(self, transfers: Sequence[Transfer]) -> bool:
        done = await self._connection.execute(
            """
            INSERT INTO transfers (transfer_id, kind, user_id, execution_id, graph_id, amount, balance, charges, note,
                                   actor, request_id)
            SELECT * FROM unnest($1::uuid[], $2::smallint[], $3::text[], $4::uuid[], $5::text[], $6::bigint[],
                                 $7::bigint[], $8::integer[], $9::text[], $10::text[], $11::text[])
            ON CONFLICT (actor, request_id) WHERE request_id IS NOT NULL DO NOTHING
            """,
            [one.transfer_id for one in transfers],
            [one.kind for one in transfers],
            [one.user_id for one in transfers],
            [one.execution_id for one in transfers],
            [one.graph_id for one in transfers],
            [one.amount for one in transfers],
            [one.balance for one in transfers],
            [one.charges for one in transfers],
            [one.note for one in transfers],
            [one.actor for one in transfers],
            [one.request_id for one in transfers],
        )
        return done == f"INSERT 0 {len(transfers)}"

    async def _insert_entries(self, transfers: Sequence[Transfer]) -> None:
        entries = [entry for transfer in transfers for entry in transfer.entries()]
        await self._connection.execute(
            """
            INSERT INTO entries (transfer_id, account, amount)
            SELECT * FROM unnest($1::uuid[], $2::text[], $3::bigint[])
            """,
            [entry.transfer_id for entry in entries],
            [entry.account for entry in entries],
            [entry.amount for entry in entries],
        )

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

    async def _add_spending(self, spending: Sequence[Spending]) -> None:
        await self._connection.execute(
            """
            INSERT INTO spending AS s (user_id, hour, block_id, charges, amount)
            SELECT * FROM unnest($1::text[], $2::timestamptz[], $3::text[], $4::bigint[], $5::bigint[])
            ON CONFLICT (user_id, hour, block_id) DO UPDATE
                SET charges = s.charges + excluded.charges, amount = s.amount + excluded.amount
            """,
            [one.user_id for one in spending],
            [one.hour for one in spending],
            [one.block_id for one in spending],
            [one.charges for one in spending],
            [one.amount for one in spending],
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

    async def take_off(self, holder: str, amounts: Mapping[str, int]) -> None:
        """Lowers what a replica holds by what was booked: that part of the balance is gone."""
        await self._connection.execute(
            """
            UPDATE holds h SET amount = greatest(h.amount - n.amount, 0)
            FROM unnest($2::text[], $3::bigint[]) AS n (user_id, amount)
            WHERE h.holder = $1 AND h.user_id = n.user_id
            """,
            holder,
            list(amounts),
            list(amounts.values()),
        )


class LedgerRepository:
    """Opens transactions of the ledger."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[LedgerTransaction]:
        """All or nothing of what is done in it."""
        async with self._pool.acquire() as connection, connection.transaction():
            yield LedgerTransaction(connection)

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
