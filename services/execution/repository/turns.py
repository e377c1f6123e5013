"""Turns: what an owner writes, and what it reads to load an execution."""

from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncpg

from services.execution.records import CommandRow, ExecutionRow, FeedEntry, Head, Snapshot, StoredTurn
from services.execution.repository.executions import EXECUTION_COLUMNS, NEW_COLUMNS, NEW_VALUES, execution_row
from services.execution.repository.portions import BYTES_READ, is_last, within


class LeaseLost(Exception):
    """What is in memory is void: another replica has taken over, or the database went back in time."""


@dataclass(slots=True)
class TurnBatch:
    """The rows of the turns of several executions, written in one transaction.

    Tuples are in the order of the statement's columns. The feed sequences of turns are drawn when they are written.
    """

    turns: list[tuple[Any, ...]] = field(default_factory=list)
    outcomes: list[tuple[Any, ...]] = field(default_factory=list)
    incomplete: list[tuple[Any, ...]] = field(default_factory=list)
    outputs: list[tuple[Any, ...]] = field(default_factory=list)
    executions: list[tuple[Any, ...]] = field(default_factory=list)
    begun: list[tuple[Any, ...]] = field(default_factory=list)
    """Executions that are new, as of their first turn."""

    @staticmethod
    def merged(batches: "Sequence[TurnBatch]") -> "TurnBatch":
        """All rows of several batches."""
        whole = TurnBatch()
        for batch in batches:
            whole.turns += batch.turns
            whole.outcomes += batch.outcomes
            whole.incomplete += batch.incomplete
            whole.outputs += batch.outputs
            whole.executions += batch.executions
            whole.begun += batch.begun
        return whole


# One statement, so one round trip and one transaction. `fence` comes first, since all others read from it: without
# its row nothing is written, and with it nobody can take over until the commit. Nor is anything written if a partition
# is another replica's by its row, whatever this one believes.
_ROWS_OF_TURNS = """
WITH fence AS MATERIALIZED (
    SELECT FROM replicas WHERE replica_id = $1 AND NOT EXISTS (
        SELECT FROM partitions p WHERE p.partition = ANY($5::int[]) AND p.owner IS DISTINCT FROM $1
    ) FOR KEY SHARE
), turn AS (
    INSERT INTO turns (feed_sequence, execution_id, turn, partition, first_event, last_event, node_executions,
        commands_through, now_ms, facts, events, checksum)
    SELECT u.* FROM fence, unnest($2::bigint[], $3::uuid[], $4::int[], $5::int[], $6::bigint[], $7::bigint[],
        $8::bigint[], $9::int[], $10::bigint[], $11::bytea[], $12::bytea[], $13::bigint[]) AS u
), outcome AS (
    INSERT INTO node_executions (execution_id, number, node_id, block_id, status, attempts, first_turn, last_turn,
        queued_ms, started_ms, ended_ms, inputs, lineage, error, reason, stats)
    SELECT u.* FROM fence, unnest($14::uuid[], $15::bigint[], $16::text[], $17::text[], $18::smallint[], $19::int[],
        $20::int[], $21::int[], $22::bigint[], $23::bigint[], $24::bigint[], $25::bytea[], $26::bytea[], $27::text[],
        $28::smallint[], $29::bytea[]) AS u
), incomplete AS (
    INSERT INTO incomplete_sets (execution_id, number, node_id, block_id, inputs, lineage, missing)
    SELECT u.execution_id, u.number, u.node_id, u.block_id, u.inputs, u.lineage, u.missing::text[]
    FROM fence, unnest($30::uuid[], $31::bigint[], $32::text[], $33::text[], $34::bytea[], $35::bytea[], $36::text[])
        AS u(execution_id, number, node_id, block_id, inputs, lineage, missing)
), output AS (
    INSERT INTO outputs (execution_id, number, name, position, value)
    SELECT u.execution_id, u.number, u.name, u.position::bigint[], u.value
    FROM fence, unnest($37::uuid[], $38::bigint[], $39::text[], $40::text[], $41::bytea[])
        AS u(execution_id, number, name, position, value)
), execution AS (
    UPDATE executions e SET
        status = u.status, status_message = u.message, loads = 0, parked = NULL,
        node_executions = u.node_executions, last_event = u.last_event,
        start_time = coalesce(e.start_time, to_timestamp(u.start_ms / 1000.0)),
        end_time = CASE WHEN u.status >= 4 THEN to_timestamp(u.end_ms / 1000.0) END,
        wake_at = CASE WHEN u.wake_ms IS NULL OR e.commands > u.commands_through THEN least(e.wake_at, now())
            ELSE to_timestamp(u.wake_ms / 1000.0) END,
        wake_reason = u.wake_reason
    FROM fence, unnest($42::uuid[], $43::smallint[], $44::text[], $45::bigint[], $46::bigint[], $47::bigint[],
        $48::bigint[], $49::bigint[], $50::int[], $51::text[])
        AS u(execution_id, status, message, node_executions, last_event, start_ms, end_ms, wake_ms, commands_through,
            wake_reason)
    WHERE e.execution_id = u.execution_id
)"""
# A request id that is taken fails the whole statement, so that no turn is left without its execution.
_NEW_EXECUTIONS = f""", begun AS (
    INSERT INTO executions ({NEW_COLUMNS}, status, status_message, node_executions, last_event, create_time,
        start_time, end_time, wake_at, wake_reason)
    SELECT {NEW_VALUES}, u.status, u.message, u.node_executions, u.last_event, to_timestamp(u.now_ms / 1000.0),
        to_timestamp(u.start_ms / 1000.0), CASE WHEN u.status >= 4 THEN to_timestamp(u.now_ms / 1000.0) END,
        coalesce(to_timestamp(u.wake_ms / 1000.0), now()), u.wake_reason
    FROM fence, unnest($52::uuid[], $53::text[], $54::text[], $55::int[], $56::int[], $57::bytea[], $58::int[],
        $59::bytea[], $60::text[], $61::int[], $62::text[], $63::text[], $64::bytea[], $65::smallint[], $66::uuid[],
        $67::bigint[], $68::int[], $69::uuid[], $70::text[], $71::smallint[], $72::smallint[], $73::text[],
        $74::bigint[], $75::bigint[], $76::bigint[], $77::bigint[], $78::bigint[], $79::text[])
        AS u({NEW_COLUMNS}, status, message, node_executions, last_event, start_ms, now_ms, wake_ms, wake_reason)
)"""
_IS_HELD = "\nSELECT count(*) FROM fence\n"

WRITE = _ROWS_OF_TURNS + _IS_HELD
BEGIN_AND_WRITE = _ROWS_OF_TURNS + _NEW_EXECUTIONS + _IS_HELD
HISTORY = """
SELECT system_identifier || ', timeline ' || left(pg_walfile_name(pg_current_wal_lsn()), 8) FROM pg_control_system()
"""
"""Which database this is, and which of its histories: one that was restored or promoted may lack commits (rule 20)."""

TURNS = within(
    "turn, now_ms, commands_through, facts AS value, checksum",
    "turn",
    "turns WHERE execution_id = $1 AND turn > $2 ORDER BY turn LIMIT $3",
)
TURNS_READ = 500
SNAPSHOTS = """
SELECT DISTINCT ON (execution_id)
    execution_id, turn, rules, commands_through, CASE WHEN octet_length(state) <= $3 THEN state END AS state
FROM snapshots WHERE execution_id = ANY($1::uuid[]) AND rules = $2
ORDER BY execution_id, turn DESC
"""
HEADS = """
SELECT m.execution_id, head.*
FROM unnest($1::uuid[], $2::int[]) AS m(execution_id, turn)
CROSS JOIN LATERAL (
    SELECT turn, now_ms, commands_through,
        CASE WHEN sum(octet_length(facts)) OVER (ORDER BY turn) <= $4 THEN facts END AS facts, checksum
    FROM (
        SELECT turn, now_ms, commands_through, facts, checksum FROM turns t
        WHERE t.execution_id = m.execution_id AND t.turn > m.turn ORDER BY t.turn LIMIT $3
    ) AS next
) AS head
ORDER BY m.execution_id, head.turn
"""
HEAD_TURNS = 64
"""After a snapshot, that are read together with those of other executions."""
HEAD_BYTES = 64 << 10
"""Of a snapshot's state that is read so, and again of the facts of the turns after it."""
ANY_BYTES = (1 << 31) - 1
FEED = within(
    "feed_sequence, execution_id, events AS value, first_event, last_event",
    "feed_sequence",
    """turns WHERE partition = $1 AND feed_sequence > $2 AND feed_sequence <= $3
    ORDER BY feed_sequence LIMIT $4""",
)

WIDTHS = (11, 16, 7, 5, 10, 28)
"""Columns of the rows of a TurnBatch."""


class TurnRepository:
    """Questions of a partition's owner."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._writer: asyncpg.pool.PoolConnectionProxy | None = None
        self._history: str | None = None

    async def open(self) -> None:
        """Connects for writing. What is in memory from here on belongs to the history of this database."""
        await self._connected()

    async def _connected(self) -> asyncpg.pool.PoolConnectionProxy:
        """The connection that turns are written on, which is kept; LeaseLost if it leads to another history."""
        if self._writer is None:
            writer = await self._pool.acquire()
            try:
                history = await writer.fetchval(HISTORY)
            except BaseException:
                await self._end(writer)
                raise
            if self._history not in (None, history):
                await self._end(writer)
                raise LeaseLost(f"the database was of history {self._history} and is of {history} now")
            self._writer, self._history = writer, history
        return self._writer

    async def _end(self, writer: asyncpg.pool.PoolConnectionProxy) -> None:
        # One that broke has gone back to the pool by itself, and says so here.
        with suppress(asyncpg.InterfaceError):
            writer.terminate()
            await self._pool.release(writer)

    async def write(self, replica_id: str, batch: TurnBatch, feed_sequences: Sequence[int]) -> None:
        """Commits the turns, or raises and has written nothing; LeaseLost if this replica was taken over.

        A DataError is that of a value that cannot be stored, a UniqueViolationError that of a request id that is
        taken. Any other error leaves open whether they were committed.
        """
        kinds = [batch.turns, batch.outcomes, batch.incomplete, batch.outputs, batch.executions]
        statement = WRITE
        if batch.begun:
            # In one order everywhere: two replicas that are asked for the same do not wait for each other.
            kinds.append(sorted(batch.begun, key=_request))
            statement = BEGIN_AND_WRITE
        columns: list[Sequence[Any]] = [feed_sequences]
        for rows, width in zip(kinds, WIDTHS[: len(kinds)], strict=True):
            columns.extend(zip(*rows, strict=True) if rows else ((),) * width)
        writer = await self._connected()
        try:
            held = await writer.fetchval(statement, replica_id, *columns)
        except (asyncpg.DataError, asyncpg.UniqueViolationError):
            raise
        except BaseException:
            self._writer = None
            await self._end(writer)
            raise
        if held != 1:
            raise LeaseLost("another replica has taken over")

    async def taken(self, requests: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        """Those of these pairs of user and request id that have an execution."""
        rows = await self._pool.fetch(
            """
            SELECT user_id, request_id
            FROM executions JOIN unnest($1::text[], $2::text[]) AS u(user_id, request_id) USING (user_id, request_id)
            """,
            [user_id for user_id, _ in requests],
            [request_id for _, request_id in requests],
        )
        return {(row["user_id"], row["request_id"]) for row in rows}

    async def close(self) -> None:
        """Gives the connection that turns are written on back to the pool."""
        writer, self._writer = self._writer, None
        if writer is not None:
            await self._pool.release(writer)

    async def due(self, partitions: Sequence[int], within: float | None, limit: int) -> list[UUID]:
        """Executions that have not ended and are due since at most `within` seconds (None: any time), oldest first."""
        rows = await self._pool.fetch(
            """
            SELECT execution_id FROM executions
            WHERE partition = ANY($1::int[]) AND status < 4 AND wake_at <= now()
              AND ($2::float8 IS NULL OR wake_at > now() - $2 * interval '1 second')
            ORDER BY wake_at LIMIT $3
            """,
            list(partitions),
            within,
            limit,
        )
        return [row["execution_id"] for row in rows]

    async def overdue(self, partitions: Sequence[int], seconds: float, most: int) -> list[UUID]:
        """Executions that have been due for longer than so many seconds, oldest first."""
        rows = await self._pool.fetch(
            """
            SELECT execution_id FROM executions
            WHERE partition = ANY($1::int[]) AND status < 4 AND wake_at < now() - $2 * interval '1 second'
            ORDER BY wake_at LIMIT $3
            """,
            list(partitions),
            seconds,
            most,
        )
        return [row["execution_id"] for row in rows]

    async def begin_loading(
        self, ids: Sequence[UUID], partitions: Sequence[int], excused: Sequence[UUID]
    ) -> list[ExecutionRow]:
        """Counts a load for each of these that has not ended, and returns their rows.

        The count is raised before the load, so that an execution which brings the process down is known by it. Loads
        of the excused ones have another cause, a database that was away, and are not counted.
        """
        rows = await self._pool.fetch(
            f"""
            UPDATE executions SET loads = CASE WHEN execution_id = ANY($3::uuid[]) THEN loads ELSE loads + 1 END
            WHERE execution_id = ANY($1::uuid[]) AND status < 4 AND partition = ANY($2::int[])
              AND (parked IS NULL OR wake_at <= now())
            RETURNING {EXECUTION_COLUMNS}
            """,
            list(ids),
            list(partitions),
            list(excused),
        )
        return [execution_row(row) for row in rows]

    async def loaded_well(self, ids: Sequence[UUID]) -> None:
        """Sets the count of loads back: these have been in memory for a while, and nothing happened."""
        await self._pool.execute(
            "UPDATE executions SET loads = 0 WHERE execution_id = ANY($1::uuid[]) AND loads > 0", list(ids)
        )

    async def feed_sequences(self, replica_id: str, partitions: Sequence[int]) -> dict[int, int]:
        """Feed sequence of each partition's last committed turn, when no turn of this replica is on its way any more.

        The server may still be committing one whose connection is lost: it holds the replica's row until it is done.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT FROM replicas WHERE replica_id = $1 FOR UPDATE", replica_id)
            rows = await connection.fetch(
                """
                SELECT p.partition, greatest(p.published_through, coalesce((
                    SELECT max(feed_sequence) FROM turns t WHERE t.partition = p.partition
                ), 0)) AS feed_sequence
                FROM partitions p WHERE p.partition = ANY($1::int[])
                """,
                list(partitions),
            )
        return {row["partition"]: row["feed_sequence"] for row in rows}

    async def unended(self, ids: Sequence[UUID]) -> dict[UUID, int]:
        """Those of these executions that have not ended, with their partitions."""
        rows = await self._pool.fetch(
            "SELECT execution_id, partition FROM executions WHERE execution_id = ANY($1::uuid[]) AND status < 4",
            list(ids),
        )
        return {row["execution_id"]: row["partition"] for row in rows}

    async def park(self, replica_id: str, execution_id: UUID, reason: str, seconds: float) -> None:
        """Puts an execution aside that its owner cannot drive, to be looked at again after a while."""
        await self._pool.execute(
            """
            UPDATE executions e SET parked = $3, loads = 0, wake_reason = 'parked',
                wake_at = now() + $4 * interval '1 second'
            FROM partitions p JOIN replicas r ON r.replica_id = p.owner
            WHERE e.execution_id = $2 AND e.status < 4 AND p.partition = e.partition AND r.replica_id = $1
            """,
            replica_id,
            execution_id,
            reason,
            seconds,
        )

    async def plan(self, plan_hash: bytes) -> bytes | None:
        """A plan's bytes."""
        plan: bytes | None = await self._pool.fetchval("SELECT plan FROM plans WHERE plan_hash = $1", plan_hash)
        return plan

    async def heads(self, ids: Sequence[UUID], rules: int) -> dict[UUID, Head]:
        """What loads of these begin with, by the rules of an engine. One whose snapshot is large is left out."""
        stored = await self._pool.fetch(SNAPSHOTS, list(ids), rules, HEAD_BYTES)
        snapshots = {row["execution_id"]: Snapshot(*row) for row in stored if row["state"] is not None}
        large = {row["execution_id"] for row in stored if row["state"] is None}
        marks = {id_: snapshots[id_].turn if id_ in snapshots else 0 for id_ in ids if id_ not in large}
        turns: dict[UUID, list[StoredTurn]] = {id_: [] for id_ in marks}
        cut: set[UUID] = set()
        for row in await self._pool.fetch(HEADS, list(marks), list(marks.values()), HEAD_TURNS, HEAD_BYTES):
            execution_id, *turn = row
            if row["facts"] is None:
                cut.add(execution_id)
            else:
                turns[execution_id].append(StoredTurn(*turn))
        return {
            id_: Head(snapshots.get(id_), turns[id_], id_ not in cut and len(turns[id_]) < HEAD_TURNS) for id_ in marks
        }

    async def snapshot(self, execution_id: UUID, rules: int) -> Snapshot | None:
        """The newest snapshot by the rules of an engine."""
        row = await self._pool.fetchrow(SNAPSHOTS, [execution_id], rules, ANY_BYTES)
        return Snapshot(*row) if row else None

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        """Stores a snapshot of a committed turn and removes the older ones."""
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(
                "INSERT INTO snapshots VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
                snapshot.execution_id,
                snapshot.turn,
                snapshot.rules,
                snapshot.commands_through,
                snapshot.state,
            )
            await connection.execute(
                "DELETE FROM snapshots WHERE execution_id = $1 AND turn < $2", snapshot.execution_id, snapshot.turn
            )

    async def turns_after(self, execution_id: UUID, turn: int) -> AsyncIterator[list[StoredTurn]]:
        """Turns above `turn`, in order, some at a time."""
        while True:
            rows = await self._pool.fetch(TURNS, execution_id, turn, TURNS_READ, BYTES_READ)
            turns = [
                StoredTurn(row["turn"], row["now_ms"], row["commands_through"], row["value"], row["checksum"])
                for row in rows
            ]
            if turns:
                turn = turns[-1].turn
                yield turns
            if is_last(rows, TURNS_READ):
                return

    async def commands_after(self, marks: dict[UUID, int]) -> list[CommandRow]:
        """Commands above each execution's mark, in order."""
        rows = await self._pool.fetch(
            """
            SELECT c.execution_id, c.number, c.kind, c.body
            FROM unnest($1::uuid[], $2::int[]) AS m(execution_id, number)
            JOIN commands c ON c.execution_id = m.execution_id AND c.number > m.number
            ORDER BY c.execution_id, c.number
            """,
            list(marks),
            list(marks.values()),
        )
        return [CommandRow(*row) for row in rows]

    async def feed(self, partition: int, after: int, through: int, limit: int) -> list[FeedEntry]:
        """The first of a partition's turns by feed sequence, above `after` and up to `through`."""
        rows = await self._pool.fetch(FEED, partition, after, through, limit, BYTES_READ)
        return [
            FeedEntry(row["feed_sequence"], row["execution_id"], row["value"], row["first_event"], row["last_event"])
            for row in rows
        ]


def _request(begun: tuple[Any, ...]) -> tuple[str, str]:
    """User and request id of a row of new executions."""
    return begun[1], begun[11] or ""
