"""Recorded histories as rows of the database: what an earlier release has written is loaded (rule 14)."""

from hashlib import sha256
from uuid import UUID

import asyncpg
import pytest
from blockyard.dev.postgres import PostgresServer

from services.common.ids import new_id
from services.execution.loading import CannotLoad, Loader
from services.execution.records import Snapshot
from services.execution.repository.retention import Retention
from services.execution.repository.turns import TurnRepository
from tests.histories.recording import History, files, read
from tests.stack.postgres import as_role, migrated_database


async def store(rows: asyncpg.Pool, history: History, after: int = 0) -> UUID:
    """Its rows, with the turns after this one alone."""
    # The last 8 bytes are what the execution draws its randomness from.
    execution_id = UUID(bytes=new_id().bytes[:8] + history.seed.to_bytes(8, "big"))
    plan_hash = sha256(history.plan).digest()
    await rows.execute("INSERT INTO plans VALUES ($1, $2) ON CONFLICT DO NOTHING", plan_hash, history.plan)
    await rows.execute(
        """
        INSERT INTO executions (execution_id, user_id, graph_id, graph_version, partition, plan_hash, rules, inputs,
            status) VALUES ($1, 'anna', 'graph', 1, 0, $2, $3, $4, 2)
        """,
        execution_id,
        plan_hash,
        history.rules,
        history.inputs.encode(),
    )
    await rows.executemany(
        """
        INSERT INTO turns (execution_id, turn, partition, feed_sequence, first_event, last_event, node_executions,
            commands_through, now_ms, facts, events, checksum) VALUES ($1, $2, 0, 0, 0, 0, 0, 0, $3, $4, '', $5)
        """,
        [(execution_id, turn.turn, turn.now_ms, turn.facts, turn.checksum) for turn in history.turns[after:]],
    )
    return execution_id


async def test_recorded_histories_load_from_rows_whole_and_from_their_snapshots(postgres: PostgresServer) -> None:
    with migrated_database(postgres.url, "execution") as url:
        async with asyncpg.create_pool(as_role(url, "execution"), min_size=1, max_size=2) as rows:
            await Retention(rows).make_partitions()
            turns = TurnRepository(rows)
            for history in map(read, files()):
                whole = await store(rows, history)
                tails = [await store(rows, history, after=kept.turn) for kept in history.snapshots]
                for tail, kept in zip(tails, history.snapshots, strict=True):
                    await turns.save_snapshot(Snapshot(tail, kept.turn, history.rules, 0, kept.state))
                loading = await turns.begin_loading([whole, *tails], [0], [])
                assert len(loading) == 1 + len(tails)
                heads = await turns.heads([row.execution_id for row in loading], history.rules)
                for row in loading:
                    head = heads.get(row.execution_id)
                    for live in (await Loader(turns).load(row, head), await Loader(turns).load_aside(row)):
                        assert live.machine.state.status == history.status
                        assert live.machine.state.message == history.message
                        assert live.machine.state.turn == len(history.turns)
                # Without its snapshot a tail is of no use: the turns before it are what it would have to begin with.
                await rows.execute("DELETE FROM snapshots")
                loading = await turns.begin_loading(tails, [0], [])
                assert len(loading) == len(tails)
                heads = await turns.heads([row.execution_id for row in loading], history.rules)
                for row in loading:
                    for head in (heads.get(row.execution_id), None):
                        with pytest.raises(CannotLoad):
                            await Loader(turns).load(row, head)
