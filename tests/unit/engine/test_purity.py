"""The engine touches nothing outside itself: no input, no clock, no chance. Else a replay would not be one."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import services.execution.engine

FOLDER = Path(services.execution.engine.__file__).parent
ROOT = FOLDER.parents[2]

FORBIDDEN = {
    "asyncio", "asyncpg", "datetime", "grpc", "io", "logging", "nats", "os", "pathlib", "random", "secrets", "socket",
    "structlog", "subprocess", "threading", "time", "uuid",
}  # fmt: skip
ALLOWED = {
    "collections", "dataclasses", "enum", "heapq", "itertools", "msgspec", "typing", "zlib",
}  # fmt: skip
"""A module that is in neither list is looked at by a person, who puts it into one."""


def imported(path: Path) -> set[str]:
    """Full names of the modules that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("path", sorted(FOLDER.glob("**/*.py")), ids=lambda path: path.name)
def test_the_engine_imports_only_what_gives_the_same_every_time(path: Path) -> None:
    own = {name for name in imported(path) if name.startswith("services.execution.engine.")}
    others = {name.split(".")[0] for name in imported(path) - own}

    assert others & FORBIDDEN == set()
    assert others <= ALLOWED, "add it to ALLOWED if it has no state, clock, chance or input"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("**/*.py")), ids=lambda path: path.name)
def test_the_engine_asks_python_for_nothing_that_differs_between_processes(path: Path) -> None:
    """`hash` of a text and `id` differ from process to process; `open`, `input` and `print` reach outside."""
    called = {
        node.func.id
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }

    assert called & {"hash", "id", "open", "input", "print", "__import__", "eval", "exec"} == set()


def test_a_process_that_loads_the_engine_loads_no_driver_of_the_outside() -> None:
    script = (
        "import sys, services.execution.engine\n"
        "print(','.join(sorted({'asyncpg', 'nats', 'grpc', 'asyncio', 'structlog'} & set(sys.modules))))"
    )

    process = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)

    assert process.stdout.strip() == ""
