"""`blockyard presets` and `blockyard run --preset` against the real stack."""

import uuid
from pathlib import Path

import blockyard
import pytest
from blockyard.dev import Stack
from blockyard.graphs import Graph

from tests.e2e.commands import Shell


@pytest.fixture
def shell(home: Path, stack: Stack) -> Shell:
    """As a user of this test alone."""
    return Shell(home, stack.user_token(f"user-{uuid.uuid4().hex[:12]}"))


async def test_a_preset_lives_and_is_run(shell: Shell) -> None:
    graph = Graph("join")
    joined = graph.add("TextProcessingBlock", text=graph.input("text"), operation="upper")
    graph.output("result", joined["processed_text"])
    graph.output("note", graph.input("note"))
    async with blockyard.connect(token=shell.token, home=shell.home) as client:
        stored = await client.graphs.create(graph)
        refused = await shell("presets", "create", stored.id, "shout", "--input", "txet=hello")
        assert (refused.code, "[PRESET_INVALID]" in refused.errors, "inputs.txet" in refused.errors) == (1, True, True)

        made = await shell("presets", "create", stored.id, "shout", "--input", "text=hello", "--json")
        preset_id = made.json["id"]
        run = await shell("run", "--preset", preset_id, "--input", "note=mine", "--follow", "--json")
        assert run.json["results"] == {"result": ["HELLO"], "note": ["mine"]}

        await client.presets.update(preset_id, inputs={"text": "bye", "note": "kept"}, name="whisper")
        assert await client.run(stored, preset=preset_id, timeout=30) == {"result": ["BYE"], "note": ["kept"]}
        assert [one.name async for one in client.presets.list(graph_id=stored.id)] == ["whisper"]
        shown = await shell("presets", "show", preset_id)
        assert '"bye"' in shown.output

        assert (await shell("presets", "delete", preset_id)).code == 0
        gone = await shell("run", "--preset", preset_id)
        assert (gone.code, "[PRESET_NOT_FOUND]" in gone.errors) == (1, True)
