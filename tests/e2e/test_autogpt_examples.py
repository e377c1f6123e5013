"""The agents under examples/autogpt/ are imported and give what their README states; so by the command line."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from blockyard.client import Client, ExecutionStatus
from blockyard.dev import Stack

from tests.e2e.test_command_line import blockyard

FOLDER = Path(__file__).parents[2] / "examples" / "autogpt"
README = (FOLDER / "README.md").read_text(encoding="utf-8")
# Their outputs come one after the other, so their order is part of the promise.
ORDERED = ("calculator.json", "counter_loop.json")


def promises() -> list[tuple[str, dict[str, Any], dict[str, list[Any]]]]:
    """File, inputs and outputs of every row in the README."""
    found = []
    for name, section in re.findall(r"^## (\S+\.json)\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL):
        for inputs, outputs in re.findall(r"^\| `(.*)` \| `(.*)` \|$", section, re.MULTILINE):
            found.append((name, json.loads(inputs), json.loads(outputs)))
    return found


def in_order(name: str, results: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Results as they can be compared: of a fan-out, any order is as good as any other."""
    given = {output: found for output, found in results.items() if found}
    return given if name in ORDERED else {output: sorted(found, key=str) for output, found in given.items()}


def test_every_example_has_a_promise() -> None:
    assert {name for name, _, _ in promises()} == {path.name for path in FOLDER.glob("*.json")}


@pytest.mark.parametrize(("name", "inputs", "outputs"), promises())
async def test_an_agent_gives_what_its_readme_states(
    client: Client, name: str, inputs: dict[str, Any], outputs: dict[str, list[Any]]
) -> None:
    made = await client.graphs.import_file((FOLDER / name).read_bytes())
    assert made.format == "autogpt"
    assert made.runnable, made.remarks

    execution = await client.executions.start(made.graph.id, inputs)
    results = await execution.result(timeout=60)

    assert in_order(name, results) == in_order(name, outputs)
    assert (await execution.get()).status is ExecutionStatus.COMPLETED


async def test_what_was_imported_and_exported_runs_as_well(client: Client) -> None:
    agent = await client.graphs.import_file((FOLDER / "fan_out.json").read_bytes())
    for wanted in ("yaml", "json"):
        file = await client.graphs.export(agent.graph.id, format=wanted)
        assert file.remarks == ()
        again = await client.graphs.import_file(file.data)
        assert again.format == wanted
        assert list(again.graph.content.nodes) == list(agent.graph.content.nodes)
        assert list(again.graph.content.links) == list(agent.graph.content.links)
        results = await client.run(again.graph.id, {"numbers": [5]}, timeout=60)
        assert results == {"squares": [25], "sentences": ["5 squared is 25"]}


async def test_an_agent_runs_by_the_command_line(stack: Stack, home: Path, tmp_path: Path) -> None:
    done = await blockyard(home, "import", str(FOLDER / "counter_loop.json"), "--name", "Another counter")
    assert done.code == 0, done.errors
    imported = re.fullmatch(r"imported (\S+) 'Another counter'\n", done.output)
    assert imported is not None, done.output
    assert "STATIC_CHANGED: links[0].is_static: " in done.errors
    nodes = json.loads((FOLDER / "counter_loop.json").read_text())["nodes"]
    nulls = sum(value is None for node in nodes for value in node["input_default"].values())
    assert re.findall("^INPUT_NULL.*", done.errors, re.MULTILINE) == [
        f"INPUT_NULL: {nulls} null values left out; --json lists the places"
    ]

    ran = await blockyard(home, "run", imported[1], "--input", "limit=2", "--follow", "--json")
    assert ran.code == 0, ran.errors
    assert '"steps"' in ran.output

    written = await blockyard(home, "export", imported[1], "-o", str(tmp_path / "counter.json"))
    assert (written.code, written.output) == (0, f"wrote {tmp_path / 'counter.json'}\n")
    assert json.loads((tmp_path / "counter.json").read_text())["name"] == "Another counter"
    shown = await blockyard(home, "export", imported[1])
    assert shown.output.startswith("name: Another counter\n")


async def test_the_command_line_says_what_keeps_an_agent_from_running(stack: Stack, home: Path, tmp_path: Path) -> None:
    content = json.loads((FOLDER / "calculator.json").read_text())
    content["nodes"][4]["block_id"] = "11111111-2222-4333-8444-555555555555"
    (tmp_path / "agent.json").write_text(json.dumps(content))
    done = await blockyard(home, "import", str(tmp_path / "agent.json"))
    assert done.code == 0, done.errors
    assert "BLOCK_UNKNOWN: nodes[4].block_id: " in done.errors
    assert "It cannot run yet" in done.output

    refused = await blockyard(home, "run", done.output.split()[1], "--follow")
    assert refused.code == 1
    assert "GRAPH_NOT_RUNNABLE" in refused.errors
    assert "nodes[4].block_id" in refused.errors


async def test_the_command_line_refuses_what_is_no_graph(stack: Stack, home: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text('{"nodes": [7]}')
    refused = await blockyard(home, "import", str(tmp_path / "bad.json"))
    assert refused.code == 1
    assert "nodes[0]: expected an object" in refused.errors
    missing = await blockyard(home, "import", str(tmp_path / "gone.json"))
    assert (missing.code, "No such file" in missing.errors) == (1, True)
    (tmp_path / "large.json").write_bytes(b" " * (10 << 20))
    large = await blockyard(home, "import", str(tmp_path / "large.json"))
    assert (large.code, "a file has at most 8,388,608 bytes" in large.errors) == (1, True)
