"""`blockyard schedules` against the real stack."""

import uuid
from datetime import datetime
from pathlib import Path

import asyncpg
import blockyard
import pytest
from blockyard.client import Client, FiringRecord, FiringStatus, ScheduleState, UserState
from blockyard.dev import Stack
from blockyard.graphs import Graph

from tests.e2e.commands import Shell
from tests.waiting import until


@pytest.fixture
def shell(home: Path, stack: Stack) -> Shell:
    """As a user of this test alone."""
    return Shell(home, stack.user_token(f"user-{uuid.uuid4().hex[:12]}"))


async def test_a_schedule_lives(shell: Shell) -> None:
    graph = Graph("join")
    joined = graph.add("TextProcessingBlock", text=graph.input("text"), operation="upper")
    graph.output("result", joined["processed_text"])
    async with blockyard.connect(token=shell.token, home=shell.home) as client:
        stored = await client.graphs.create(graph)
        preset = await client.presets.create(stored.id, "shout", {"text": "hello"})
        never = await shell("schedules", "create", "0 0 30 2 *", stored.id, "--input", "text=hello")
        assert (never.code, "schedule.cron: it is never due" in never.errors) == (1, True)

        dry = await shell(
            "schedules", "create", "30 2 * * *", "--preset", preset.id, "--dry-run", "--zone", "Asia/Tokyo"
        )
        assert dry.output.count("02:30 +0900") == 5
        made = await shell("schedules", "create", "@hourly", "--preset", preset.id, "--name", "loud", "--json")
        schedule_id = made.json["id"]
        listed = await shell("schedules", "list", "--graph", stored.id)
        assert "loud" in listed.output
        assert len((await shell("schedules", "next", schedule_id, "-n", "7", "--json")).json) == 7

        assert (await shell("schedules", "pause", schedule_id)).code == 0
        paused = await client.schedules.get(schedule_id)
        assert (paused.state, paused.next_times, paused.graph_id) == (ScheduleState.PAUSED, (), "")
        resumed = await shell("schedules", "resume", schedule_id)
        assert "due at" in resumed.output
        changed = await client.schedules.update(schedule_id, cron="0 6 * * 1", overlap="queue", jitter_seconds=30)
        assert (changed.cron, changed.overlap, changed.preset_id) == ("0 6 * * 1", "queue", preset.id)
        updated = await shell("schedules", "update", schedule_id, "--cron", "0 7 * * 2", "--zone", "Asia/Tokyo")
        assert updated.output.count("07:00 +0900") == 5
        unnamed = await shell("schedules", "update", schedule_id, "--name", "", "--jitter", "0", "--json")
        assert (unnamed.json["name"], unnamed.json["jitter_seconds"], unnamed.json["overlap"]) == ("", 0, "queue")
        assert (await shell("schedules", "update", schedule_id)).code == 2
        shown = await shell("schedules", "show", schedule_id)
        assert "It has not been due yet." in shown.output

        assert (await shell("schedules", "delete", schedule_id)).code == 0
        gone = await shell("schedules", "show", schedule_id)
        assert (gone.code, "[SCHEDULE_NOT_FOUND]" in gone.errors) == (1, True)


async def shouting(client: Client, due: datetime) -> str:
    """A schedule that was due a moment ago, or a minute; its id."""
    graph = Graph("shout")
    shouted = graph.add("TextProcessingBlock", text=graph.input("text"), operation="upper")
    graph.output("result", shouted["processed_text"])
    stored = await client.graphs.create(graph)
    cron = f"{due.minute} {due.hour} * * *"
    return (await client.schedules.create(cron, stored.id, {"text": "hello"}, catch_up="last")).id


async def test_a_due_time_runs_its_graph_unless_its_owner_is_disabled(shell: Shell, stack: Stack) -> None:
    disabled_id = f"user-{uuid.uuid4().hex[:12]}"
    rows = await asyncpg.connect(stack.postgres.url, server_settings={"search_path": "execution"})
    due: datetime = await rows.fetchval("SELECT date_trunc('minute', now())")
    async with blockyard.connect(token=stack.user_token(disabled_id), home=shell.home) as client:
        theirs = await shouting(client, due)
    async with blockyard.connect(token=stack.user_token("an-admin", "admin"), home=shell.home) as client:
        await client.users.set_access(disabled_id, state=UserState.DISABLED)
    async with blockyard.connect(token=shell.token, home=shell.home) as client:
        mine = await shouting(client, due)
        come_due = "UPDATE schedules SET next_time = $2, fire_time = $2 WHERE schedule_id = ANY($1::uuid[])"
        await rows.execute(come_due, [mine, theirs], due)
        # Whatever changes a schedule has the replica look at what is due.
        await client.schedules.update(mine, name="due")

        async def started() -> FiringRecord | None:
            firings = (await client.schedules.get(mine)).firings
            return firings[0] if firings and firings[0].status is FiringStatus.STARTED else None

        firing = await until(started, "the schedule has started an execution")
        assert firing is not None
        execution = await client.executions.get(firing.execution_id)
        assert dict(execution.labels) == {"schedule": mine}
        assert await client.executions.handle(firing.execution_id).result(timeout=30) == {"result": ["HELLO"]}
        assert firing.execution_id in (await shell("schedules", "show", mine)).output

    async def skipped() -> str:
        reason = "SELECT reason FROM firings WHERE schedule_id = $1 AND status = 3"
        return await rows.fetchval(reason, uuid.UUID(theirs)) or ""

    assert await until(skipped, "the other's is skipped") == "its owner is disabled"
    await rows.close()
