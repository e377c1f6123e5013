"""`blockyard schedules` against the real stack."""

import uuid
from pathlib import Path

import blockyard
import pytest
from blockyard.client import ScheduleState
from blockyard.dev import Stack
from blockyard.graphs import Graph

from tests.e2e.commands import Shell


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
        shown = await shell("schedules", "show", schedule_id)
        assert "It has not been due yet." in shown.output

        assert (await shell("schedules", "delete", schedule_id)).code == 0
        gone = await shell("schedules", "show", schedule_id)
        assert (gone.code, "[SCHEDULE_NOT_FOUND]" in gone.errors) == (1, True)
