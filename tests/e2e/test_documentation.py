"""What the documentation shows as a program runs, and does what the text says."""

import asyncio
import os
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import blockyard
import pytest
from blockyard.client import Client
from blockyard.dev import Stack
from blockyard.graphs import Graph

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("program", PROGRAMS, ids=["first graph", "fan-out"])
async def test_a_program_prints_what_the_readme_says(stack: Stack, home: Path, program: str) -> None:
    (promised,) = re.findall(r"print\(.*\)  # (.+)$", program, re.MULTILINE)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program,
        env={**os.environ, "BLOCKYARD_HOME": str(home)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, errors.decode()
    assert output.decode().splitlines()[-1] == promised


async def test_the_commands_for_rest_print_what_the_readme_says(stack: Stack, home: Path) -> None:
    (commands,) = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    (promised,) = re.findall(r"/results +# (.+)$", commands, re.MULTILINE)
    here = commands.replace("http://127.0.0.1:8080", stack.edge.url).replace("~/.blockyard", str(home))
    process = await asyncio.create_subprocess_exec(
        "sh", "-eu", "-c", here, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, errors.decode()
    *events, results = output.decode().splitlines()
    assert results == promised
    assert "EVENT_KIND_EXECUTION_COMPLETED" in events[-1]


async def test_the_join_of_the_concepts_meets_values_of_the_same_item(client: Client) -> None:
    (snippet,) = programs("docs/concepts.md", "python")
    graph = Graph("join")
    names: dict[str, Any] = {"graph": graph, "numbers": graph.input("numbers")}
    exec(snippet, names)
    graph.output("totals", graph.add("CollectBlock", item=names["total"]["result"])["items"])
    assert await client.run(graph, {"numbers": [1, 2, 3]}, timeout=30) == {"totals": [[3, 8, 15]]}


def test_the_block_of_the_guide_passes_its_own_test() -> None:
    block, *_, its_test, _ = programs("docs/writing-a-block.md", "python", "toml")
    names: dict[str, Any] = {}  # what the programs define
    exec(block + its_test, names)
    names["test_initials"]()


async def test_the_package_of_the_guide_is_found_by_a_runner(tmp_path: Path) -> None:
    block, *_, project = programs("docs/writing-a-block.md", "python", "toml")
    install(tmp_path / "packages", block, project)
    environment = {"PYTHONPATH": str(tmp_path / "packages")}
    async with (
        Stack(tmp_path / "home", runners=1, environment=environment) as stack,
        blockyard.connect(home=stack.folder.path.parent) as client,
    ):
        found = await client.blocks.get("InitialsBlock")
        graph = Graph("initials")
        graph.output("result", graph.add("InitialsBlock", name="Ada Lovelace")["initials"])
        results = await client.run(graph, timeout=30)
    assert found.description == "Gives the initials of a name."
    assert results == {"result": ["AL"]}


async def test_the_file_of_the_page_about_importing_is_imported_and_runs(client: Client) -> None:
    (file,) = programs("docs/importing.md", "yaml")
    made = await client.graphs.import_file(file.encode())
    assert (made.graph.name, made.remarks) == ("shout", ())
    assert await client.run(made.graph.id, {"text": "hello"}, timeout=30) == {"result": ["HELLO"]}


def programs(page: str, *languages: str) -> list[str]:
    """What a page shows in these languages."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```(?:{'|'.join(languages)})\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def install(folder: Path, block: str, project: str) -> None:
    """What pip leaves of the project: its module, and what it offers."""
    described = tomllib.loads(project)["project"]
    information = folder / f"{described['name'].replace('-', '_')}-{described['version']}.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {described['name']}\nVersion: {described['version']}\n"
    )
    offers = [
        f"[{group}]\n" + "".join(f"{name} = {module}\n" for name, module in points.items())
        for group, points in described["entry-points"].items()
    ]
    (information / "entry_points.txt").write_text("\n".join(offers))
    (folder / "my_blocks.py").write_text(block)
