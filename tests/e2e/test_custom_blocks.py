"""The example of a third party's package: installed into an environment of its own, and run there by a runner."""

import os
import shutil
import site
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import blockyard
import pytest
from blockyard.block.loader import load_blocks
from blockyard.client import BlockRecord, Client
from blockyard.dev import Stack
from blockyard.dev.ports import free_port
from blockyard.dev.process import ChildProcess
from blockyard.errors import ExecutionFailed, NotFound
from blockyard.graphs import Graph, load_graph

from tests.waiting import until

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "custom_blocks"
UV = ROOT / ".cache" / "bootstrap" / "bin" / "uv"
BLOCKS = {"ConvertLengthBlock", "ReadDurationBlock"}


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment with the example in it, and the copy of the example that it was installed from."""

    python: Path
    package: Path

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Its Python, in the folder of the package."""
        return called([str(self.python), *arguments], self.package)


def called(command: list[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    left_out = ("PYTHONPATH", "VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT")
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    # uv leaves a lock file where temporary files go.
    environment["TMPDIR"] = str(folder)
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=150
    )


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment that has the example, and shares all else with the one of the tests."""
    folder = tmp_path_factory.mktemp("custom")
    package = folder / "package"
    shutil.copytree(EXAMPLE, package, ignore=shutil.ignore_patterns("__pycache__"))
    uv = str(UV) if UV.exists() else shutil.which("uv")
    assert uv is not None, f"no uv at {UV}, and none on PATH: run ./task once"
    made = called([uv, "venv", "--no-project", "--python", sys.executable, str(folder / "venv")], folder)
    assert made.returncode == 0, made.stderr
    python = folder / "venv" / "bin" / "python"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    shared = [place for place in site.getsitepackages() if Path(place).is_dir()]
    (folder / "venv" / "lib" / version / "site-packages" / "shared.pth").write_text(
        "".join(f"import site; site.addsitedir({place!r})\n" for place in shared)
    )
    install = [uv, "pip", "install", "--python", str(python), "--no-deps", str(package)]
    # What builds it is in uv's cache since the project itself was installed; else it comes from the package index.
    installed = called([*install, "--offline"], folder)
    if installed.returncode != 0:
        installed = called(install, folder)
    assert installed.returncode == 0, installed.stderr
    return Environment(python, package)


def test_the_package_is_in_that_environment_alone(environment: Environment) -> None:
    program = "from blockyard.block.loader import load_blocks; print(*load_blocks().by_name)"
    done = environment.run("-P", "-c", program)

    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) >= {*BLOCKS, "FormulaBlock"}
    assert not set(load_blocks().by_name) & BLOCKS


def test_the_package_passes_its_own_tests(environment: Environment) -> None:
    done = environment.run("-m", "pytest", "-q", "-p", "no:cacheprovider")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


def test_the_command_line_tests_what_is_installed(environment: Environment, tmp_path: Path) -> None:
    junit = tmp_path / "blocks.xml"
    program = "from blockyard.cli import main; main()"
    done = environment.run("-P", "-c", program, "blocks", "test", *sorted(BLOCKS), "--junit", str(junit))

    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 blocks, 10 checks: all passed" in done.stdout
    assert {case.get("classname") for case in ElementTree.parse(junit).iter("testcase")} == BLOCKS


@asynccontextmanager
async def served(stack: Stack, environment: Environment) -> AsyncIterator[Client]:
    """A runner of that environment, and a client of the stack; the stack has no other runner."""
    runner = ChildProcess(
        "custom",
        [str(environment.python), "-m", "services.runner"],
        stack.folder.log("custom"),
        environment=stack.surroundings.environment("runner", PORT=str(free_port())),
        folder=stack.folder.logs,
    )
    runner.start()
    try:
        async with blockyard.connect(home=stack.folder.path.parent) as client:
            await until(lambda: registered(client, runner), "the runner registers its blocks", 60)
            yield client
    finally:
        await runner.stop()


async def registered(client: Client, runner: ChildProcess) -> BlockRecord | None:
    """The example's block, once the catalogue has it."""
    assert runner.alive(), runner.last_lines()
    try:
        return await client.blocks.get("ConvertLengthBlock")
    except NotFound:
        return None


async def test_a_runner_of_that_environment_brings_the_blocks_and_runs_them(
    environment: Environment, tmp_path: Path
) -> None:
    wrong = Graph("wrong")
    wrong.output("seconds", wrong.add("ReadDurationBlock", "read", text="a while")["seconds"])

    async with Stack(tmp_path, runners=0) as stack, served(stack, environment) as client:
        found = {block.name async for block in client.blocks.list("duration")}
        found_by_category = {block.name async for block in client.blocks.list("length unit", "DATA")}
        shown = await client.blocks.get("ConvertLengthBlock")
        results = await client.run(load_graph(EXAMPLE / "trip.yaml"), {"miles": 93, "took": "1 h 30 min"}, timeout=60)
        with pytest.raises(ExecutionFailed) as failed:
            await client.run(wrong, timeout=60)

    assert "ReadDurationBlock" in found
    assert found_by_category == {"ConvertLengthBlock"}
    assert shown.description == "Converts a length from one unit to another."
    assert shown.input_schema["properties"]["target_unit"]["enum"][0] == "mm"
    assert results == {"km_per_hour": [99.8]}
    assert "expected a duration such as 1 h 30 min, got 'a while'" in str(failed.value)


def test_the_readme_says_what_the_workflow_gives() -> None:
    readme = (EXAMPLE / "README.md").read_text(encoding="utf-8")

    assert '--input miles=93 --input took="1 h 30 min"' in readme
    assert "`km_per_hour = 99.8`" in readme
