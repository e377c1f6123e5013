"""Executions as their owners see them: starts, commands, lists, results, events."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from services.execution.engine.effects import ExecutionStatus, NodeStatus
from services.execution.engine.lineage import Lineage
from services.execution.engine.plan import Reason
from services.execution.records import (
    ExecutionFilter,
    ExecutionRow,
    NewExecution,
    NodeExecutionRow,
    OutputPlace,
    OutputRow,
    Parent,
    Progress,
)
from services.execution.repository.portions import BYTES_READ, is_last, within

EXECUTION_COLUMNS = """execution_id, user_id, graph_id, graph_version, partition, plan_hash, rules, inputs, labels,
    priority, traceparent, request_hash, status, status_message, wake_at, wake_reason, loads, parked, commands,
    node_executions, last_event, create_time, start_time, end_time, depth, parent_execution_id, parent_number,
    parent_attempt, root_execution_id, credentials, credits_policy"""

NEW_COLUMNS = """execution_id, user_id, graph_id, graph_version, partition, plan_hash, rules, inputs, labels, priority,
    traceparent, request_id, request_hash, depth, parent_execution_id, parent_number, parent_attempt,
    root_execution_id, credentials, credits_policy"""
NEW_VALUES = """u.execution_id, u.user_id, u.graph_id, u.graph_version, u.partition, u.plan_hash, u.rules, u.inputs,
    u.labels::jsonb, u.priority, u.traceparent, u.request_id, u.request_hash, u.depth, u.parent_execution_id,
    u.parent_number, u.parent_attempt, u.root_execution_id, u.credentials::jsonb, u.credits_policy"""

# One statement for many starts: the plans that are new, and the rows but those whose request id is taken.
START = f"""
WITH plan AS (
    INSERT INTO plans (plan_hash, plan) SELECT * FROM unnest($21::bytea[], $22::bytea[]) ON CONFLICT DO NOTHING
)
INSERT INTO executions ({NEW_COLUMNS})
SELECT {NEW_VALUES}
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::int[], $5::int[], $6::bytea[], $7::int[], $8::bytea[], $9::text[],
    $10::int[], $11::text[], $12::text[], $13::bytea[], $14::smallint[], $15::uuid[], $16::bigint[], $17::int[],
    $18::uuid[], $19::text[], $20::smallint[]) AS u({NEW_COLUMNS})
ON CONFLICT (user_id, request_id) WHERE request_id IS NOT NULL DO NOTHING
RETURNING execution_id, create_time
"""

COMMANDS_AT_ONCE = 1_000


def _store_commands(lock: str) -> str:
    """A statement that stores a command to each of some executions that has not ended, and makes it due.

    A number is drawn under the lock of the execution's row, so that numbers are in the order of commits, and only
    with the row of its command: who has numbers up to a mark has all commands up to there. A command with a request
    id that is there already draws none.
    """
    return f"""
WITH free AS MATERIALIZED (
    SELECT execution_id, partition, commands FROM executions
    WHERE execution_id = ANY($1::uuid[]) AND status < 4 FOR NO KEY UPDATE {lock}
), command AS (
    INSERT INTO commands (execution_id, number, kind, body, request_id)
    SELECT execution_id, commands + 1, $2, $3, $4 FROM free
    ON CONFLICT (execution_id, request_id) WHERE request_id IS NOT NULL DO NOTHING
    RETURNING execution_id, number
), due AS (
    UPDATE executions e SET commands = command.number, wake_at = now() FROM command
    WHERE e.execution_id = command.execution_id
)
SELECT execution_id, partition FROM free
"""


COMMAND = _store_commands("")
COMMAND_EACH = _store_commands("SKIP LOCKED")
UNENDED = "SELECT execution_id FROM executions WHERE execution_id = ANY($1::uuid[]) AND status < 4"

LAST_TURN = 2**31 - 1
"""No turn has a higher number."""
ROWS_READ = 5_000
TURNS_READ = 100
OUTPUTS = within(
    "name, position, number, value",
    "name, position, number",
    """outputs WHERE execution_id = $1 AND (name, position, number) > ($2, $3::bigint[], $4)
    ORDER BY name, position, number LIMIT $5""",
)
OUTCOME = """number, node_id, block_id, status, attempts, first_turn, last_turn, queued_ms, started_ms, ended_ms,
    inputs AS value, lineage, error, reason, stats"""
OUTCOMES = within(
    OUTCOME,
    "last_turn, number",
    """node_executions WHERE execution_id = $1 AND $2 IN ('', node_id) AND last_turn <= $3
    AND (last_turn, number) > ($4, $5) ORDER BY last_turn, number LIMIT $6""",
)
OUTCOMES_BY_NUMBER = within(
    OUTCOME,
    "number",
    """node_executions WHERE execution_id = $1 AND $2 IN ('', node_id) AND last_turn > $3 AND last_turn <= $4
    AND number > $5 ORDER BY number LIMIT $6""",
)
INCOMPLETE_SETS = within(
    "number, node_id, block_id, inputs AS value, lineage, missing",
    "number",
    """incomplete_sets WHERE execution_id = $1 AND $2 IN ('', node_id) AND number > $3 ORDER BY number LIMIT $4""",
)
EVENTS = within(
    "last_event, events AS value",
    "last_event",
    "turns WHERE execution_id = $1 AND last_event > $2 AND events <> '' ORDER BY last_event LIMIT $3",
)
EVENTS_OF_TURNS = within(
    "turn, events AS value",
    "turn",
    "turns WHERE execution_id = $1 AND turn BETWEEN $2 AND $3 ORDER BY turn LIMIT $4",
)


def execution_row(row: asyncpg.Record) -> ExecutionRow:
    """The value of a row with EXECUTION_COLUMNS."""
    values = dict(row)
    values["labels"] = json.loads(values["labels"])
    values["status"] = ExecutionStatus(values["status"])
    parent_id = values["parent_execution_id"]
    values["parent"] = parent_id and Parent(
        parent_id, values["parent_number"], values["parent_attempt"], values["root_execution_id"]
    )
    return ExecutionRow(**{name: values[name] for name in ExecutionRow.__slots__})


def columns_of(new: NewExecution) -> tuple[Any, ...]:
    """What is stored of a new execution, in the order of NEW_COLUMNS."""
    return (
        new.execution_id,
        new.user_id,
        new.graph_id,
        new.graph_version,
        new.partition,
        new.plan_hash,
        new.rules,
        new.inputs,
        json.dumps(new.labels),
        new.priority,
        new.traceparent,
        new.request_id,
        new.request_hash,
        new.depth,
        new.parent and new.parent.execution_id,
        new.parent.number if new.parent else 0,
        new.parent.attempt if new.parent else 0,
        new.parent and new.parent.root,
        new.credentials,
        new.credits_policy,
    )


class ExecutionRepository:
    """Questions of the API."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def start(self, new: Sequence[NewExecution], plans: Mapping[bytes, bytes]) -> dict[UUID, datetime]:
        """Stores executions, and plans by their hashes; returns when each was accepted.

        Those that are missing in the answer have a request id that was used before.
        """
        columns = [*zip(*map(columns_of, new), strict=True), list(plans), list(plans.values())]
        return {row["execution_id"]: row["create_time"] for row in await self._pool.fetch(START, *columns)}

    async def count_unended(self, user_id: str, most: int) -> int:
        """How many executions of a user have not ended; counts no further than `most`."""
        count: int = await self._pool.fetchval(
            "SELECT count(*) FROM (SELECT FROM executions WHERE user_id = $1 AND status < 4 LIMIT $2) AS unended",
            user_id,
            most,
        )
        return count

    async def by_request(self, user_id: str, request_id: str) -> ExecutionRow | None:
        """The execution that a request id started."""
        row = await self._pool.fetchrow(
            f"SELECT {EXECUTION_COLUMNS} FROM executions WHERE user_id = $1 AND request_id = $2", user_id, request_id
        )
        return execution_row(row) if row else None

    async def get(self, execution_id: UUID, user_id: str) -> ExecutionRow | None:
        """A user's execution; while it runs, with the counts of its last change of status."""
        row = await self._pool.fetchrow(
            f"SELECT {EXECUTION_COLUMNS} FROM executions WHERE execution_id = $1 AND user_id = $2",
            execution_id,
            user_id,
        )
        return execution_row(row) if row else None

    async def of_ids(self, execution_ids: Sequence[UUID]) -> list[ExecutionRow]:
        """Those of these executions that are there, whoever's they are."""
        rows = await self._pool.fetch(
            f"SELECT {EXECUTION_COLUMNS} FROM executions WHERE execution_id = ANY($1::uuid[])", list(execution_ids)
        )
        return [execution_row(row) for row in rows]

    async def page(self, of: ExecutionFilter, before: UUID | None, limit: int) -> list[ExecutionRow]:
        """A user's executions, newest first, below `before`."""
        rows = await self._pool.fetch(
            f"""
            SELECT {EXECUTION_COLUMNS} FROM executions
            WHERE user_id = $1 AND ($2 = '' OR graph_id = $2) AND ($3::smallint[] = '{{}}' OR status = ANY($3))
              AND labels @> $4::jsonb AND ($5::uuid IS NULL OR execution_id < $5)
              AND ($7::uuid IS NULL OR parent_execution_id = $7)
            ORDER BY execution_id DESC LIMIT $6
            """,
            of.user_id,
            of.graph_id,
            list(of.statuses),
            json.dumps(of.labels),
            before,
            limit,
            of.parent_execution_id,
        )
        return [execution_row(row) for row in rows]

    async def progress(self, execution_ids: Sequence[UUID]) -> dict[UUID, Progress]:
        """How far executions have come by their last committed turns; those that have had none are left out."""
        rows = await self._pool.fetch(
            """
            SELECT id, last.last_event, last.node_executions FROM unnest($1::uuid[]) AS id, LATERAL (
                SELECT last_event, node_executions FROM turns WHERE execution_id = id ORDER BY turn DESC LIMIT 1
            ) AS last
            """,
            execution_ids,
        )
        return {row["id"]: Progress(row["last_event"], row["node_executions"]) for row in rows}

    async def has_ended_by(self, execution_id: UUID, sequence: int) -> bool:
        """True if an execution has ended and has no event above a sequence."""
        ended: bool = await self._pool.fetchval(
            "SELECT EXISTS (SELECT FROM executions WHERE execution_id = $1 AND status >= 4 AND last_event <= $2)",
            execution_id,
            sequence,
        )
        return ended

    async def command(self, execution_id: UUID, kind: int, body: bytes, request_id: str | None = None) -> int | None:
        """Stores a command to an execution that has not ended, and makes it due; returns its partition, or None.

        A command with a request id that is there already is not stored again.
        """
        row = await self._pool.fetchrow(COMMAND, [execution_id], kind, body, request_id)
        return row["partition"] if row else None

    async def command_each(self, execution_ids: Sequence[UUID], kind: int, body: bytes) -> dict[UUID, int]:
        """Stores a command to each of these executions that has not ended; returns their partitions.

        As many as `command` would, in slices. A slice waits for no row while it has others locked, or it and a turn
        could wait for each other: rows that somebody has locked are then taken one by one.
        """
        partitions: dict[UUID, int] = {}
        for start in range(0, len(execution_ids), COMMANDS_AT_ONCE):
            some = execution_ids[start : start + COMMANDS_AT_ONCE]
            rows = await self._pool.fetch(COMMAND_EACH, some, kind, body, None)
            partitions.update((row["execution_id"], row["partition"]) for row in rows)
            locked = [row["execution_id"] for row in await self._pool.fetch(UNENDED, some)]
            for execution_id in locked:
                if execution_id not in partitions:
                    partition = await self.command(execution_id, kind, body)
                    if partition is not None:
                        partitions[execution_id] = partition
        return partitions

    async def has_command(self, execution_id: UUID, request_id: str) -> bool:
        """True if a command with this request id is stored, whether it was taken or not."""
        stored: bool = await self._pool.fetchval(
            "SELECT EXISTS (SELECT FROM commands WHERE execution_id = $1 AND request_id = $2)", execution_id, request_id
        )
        return stored

    async def unended_of(self, user_id: str, graph_id: str) -> list[UUID]:
        """Ids of a user's executions that have not ended, of one graph or ('') of all."""
        rows = await self._pool.fetch(
            """
            SELECT execution_id FROM executions
            WHERE user_id = $1 AND status < 4 AND ($2 = '' OR graph_id = $2) ORDER BY execution_id
            """,
            user_id,
            graph_id,
        )
        return [row["execution_id"] for row in rows]

    async def unended_among(self, ids: Sequence[UUID]) -> set[UUID]:
        """Those of these executions that have not ended."""
        return {row["execution_id"] for row in await self._pool.fetch(UNENDED, list(ids))}

    async def with_credential(self, user_id: str, credential_id: str, most: int) -> list[tuple[UUID, int, str]]:
        """Where a user's executions that have not ended were started with a credential: their id, the version of their
        graph, and the place as credentials.key_of() names it."""
        rows = await self._pool.fetch(
            """
            SELECT e.execution_id, e.graph_version, place.key
            FROM executions e, jsonb_each(e.credentials) AS place(key, reference)
            WHERE e.user_id = $1 AND e.status < 4 AND e.credentials IS NOT NULL AND place.reference ->> 'id' = $2
            ORDER BY e.execution_id, place.key LIMIT $3
            """,
            user_id,
            credential_id,
            most,
        )
        return [(row["execution_id"], row["graph_version"], row["key"]) for row in rows]

    async def outcomes(
        self, execution_id: UUID, node_id: str, after: tuple[int, int], through: int, limit: int
    ) -> AsyncIterator[list[NodeExecutionRow]]:
        """Outcomes up to a turn in the order in which they were recorded, above `after` (last turn, number), some at a
        time; of one node or ('') of all."""
        while limit:
            rows = await self._pool.fetch(OUTCOMES, execution_id, node_id, through, *after, limit, BYTES_READ)
            if rows:
                after = (rows[-1]["last_turn"], rows[-1]["number"])
                yield [_outcome(row) for row in rows]
            if is_last(rows, limit):
                return
            limit -= len(rows)

    async def outcomes_by_number(
        self, execution_id: UUID, node_id: str, turns: tuple[int, int], after: int, limit: int
    ) -> AsyncIterator[list[NodeExecutionRow]]:
        """Outcomes that were recorded behind the first turn of `turns`, up to the last, of node executions with a
        higher number than `after`; by number, some at a time."""
        while limit:
            rows = await self._pool.fetch(OUTCOMES_BY_NUMBER, execution_id, node_id, *turns, after, limit, BYTES_READ)
            if rows:
                after = rows[-1]["number"]
                yield [_outcome(row) for row in rows]
            if is_last(rows, limit):
                return
            limit -= len(rows)

    async def incomplete_sets(
        self, execution_id: UUID, node_id: str, after: int, limit: int
    ) -> AsyncIterator[NodeExecutionRow]:
        """Input sets that were never full, of an execution that has ended."""
        while limit:
            rows = await self._pool.fetch(INCOMPLETE_SETS, execution_id, node_id, after, limit, BYTES_READ)
            for row in rows:
                after = row["number"]
                yield _incomplete_set(row)
            if is_last(rows, limit):
                return
            limit -= len(rows)

    async def outputs(self, execution_id: UUID, after: OutputPlace) -> AsyncIterator[OutputRow]:
        """The results behind a place: by name, those of one name in the order of their fan-outs."""
        while True:
            rows = await self._pool.fetch(
                OUTPUTS, execution_id, after.name, after.position, after.number, ROWS_READ, BYTES_READ
            )
            for row in rows:
                after = OutputPlace(row["name"], tuple(row["position"]), row["number"])
                yield OutputRow(after, row["value"])
            if is_last(rows, ROWS_READ):
                return

    async def event_batches(self, execution_id: UUID, after_sequence: int) -> AsyncIterator[tuple[int, bytes]]:
        """(last sequence, EventBatch bytes) of turns with events above `after_sequence`, in order."""
        while True:
            rows = await self._pool.fetch(EVENTS, execution_id, after_sequence, TURNS_READ, BYTES_READ)
            for row in rows:
                after_sequence = row["last_event"]
                yield after_sequence, row["value"]
            if is_last(rows, TURNS_READ):
                return

    async def events_of_turns(self, execution_id: UUID, turns: tuple[int, int]) -> AsyncIterator[bytes]:
        """EventBatch bytes of the turns from the first to the last of `turns`."""
        first, last = turns
        while True:
            rows = await self._pool.fetch(EVENTS_OF_TURNS, execution_id, first, last, TURNS_READ, BYTES_READ)
            for row in rows:
                first = row["turn"] + 1
                yield row["value"]
            if is_last(rows, TURNS_READ):
                return


def _outcome(row: asyncpg.Record) -> NodeExecutionRow:
    values: dict[str, Any] = dict(row)
    del values["before"]
    values["inputs"] = values.pop("value")
    values["status"] = NodeStatus(values["status"])
    values["reason"] = Reason(values["reason"])
    values["lineage"] = msgspec.msgpack.decode(values["lineage"], type=Lineage)
    return NodeExecutionRow(**values)


def _incomplete_set(row: asyncpg.Record) -> NodeExecutionRow:
    return NodeExecutionRow.incomplete(
        row["number"],
        row["node_id"],
        row["block_id"],
        row["value"],
        msgspec.msgpack.decode(row["lineage"], type=Lineage),
        tuple(row["missing"]),
    )
