"""What `blockyard blocks new` writes: a package with one block, its test, and what makes runners find it."""

import importlib.util
import keyword
import re
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from string import Template

from blockyard.errors import BlockyardError

_NAME = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class PackageNames:
    """How the package, its module and its block are called."""

    project: str
    """my-blocks"""
    module: str
    """my_blocks"""
    block: str
    """MyGreetingBlock"""


def names_for(name: str) -> PackageNames:
    """The names that go with the one asked for; a BlockyardError says why it cannot be one."""
    if not _NAME.fullmatch(name):
        raise BlockyardError(
            f"{name!r} is no name for a package: lower-case letters and digits, in words joined by -, such as my-blocks"
        )
    module = name.replace("-", "_")
    if keyword.iskeyword(module) or module in sys.stdlib_module_names:
        raise BlockyardError(f"{name!r} is no name for a package: Python itself uses {module!r}")
    if importlib.util.find_spec(module) is not None:
        raise BlockyardError(f"{name!r} is no name for a package: a module {module!r} is installed here already")
    words = module.split("_")
    if len(words) > 1 and words[-1] in ("block", "blocks"):
        words.pop()
    block = "".join(word.capitalize() for word in words) + "GreetingBlock"
    return PackageNames(module.replace("_", "-"), module, block)


def write_package(names: PackageNames, folder: Path) -> list[Path]:
    """Writes the files and gives their paths; a BlockyardError if the folder has something in it."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BlockyardError(f"{folder}: is not empty; name another folder with --folder")
    values = {
        "project": names.project,
        "module": names.module,
        "block": names.block,
        "id": str(uuid.uuid4()),
        "title": names.project.replace("-", " ").capitalize(),
    }
    written = []
    for place, template in _FILES.items():
        path = folder / Template(place).substitute(values)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(Template(template).substitute(values), encoding="utf-8")
        written.append(path)
    return written


_PROJECT = """\
[project]
name = "${project}"
version = "0.1.0"
description = "Blocks for Blockyard"
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["blockyard"]

# Runners load every block in the modules of this package.
[project.entry-points."blockyard.blocks"]
${module} = "${module}"

[dependency-groups]
dev = ["pytest"]

[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[tool.hatch.build.targets.wheel]
packages = ["${module}"]

[tool.pytest.ini_options]
pythonpath = ["."]
testpaths = ["tests"]
"""

_README = """\
# ${title}

Blocks for Blockyard. `${module}/greetings.py` has the first one; add more there, or in modules beside it.

Check them, in this folder:

    blockyard blocks test --packages ${module}
    python -m pytest

Use them: install this folder beside a runner, and start the runner again.

    pip install --editable .

`blockyard blocks show ${block}` finds the block then.
"""

_INIT = '''\
"""Blocks for Blockyard, one module a subject."""
'''

_BLOCK = '''\
"""Blocks that greet."""

from blockyard.block import Block, BlockCategory, BlockExecutionError, BlockOutput, BlockSchema, Effect, SchemaField


class ${block}(Block):
    class Input(BlockSchema):
        name: str = SchemaField(description="Whom to greet.", placeholder="Ada")
        greeting: str = SchemaField(description="Word to greet with.", default="Hello", min_length=1)

    class Output(BlockSchema):
        message: str = SchemaField(description="The greeting.")
        error: str = SchemaField(description="Why the block failed.")

    def __init__(self) -> None:
        super().__init__(
            # Graphs refer to the block by this id: never change it, and draw another one for another block.
            id="${id}",
            description="Greets somebody.",
            categories={BlockCategory.TEXT},
            input_schema=self.Input,
            output_schema=self.Output,
            # It only computes from its inputs. What reads or changes something outside is IDEMPOTENT or ONCE.
            effect=Effect.PURE,
            test_input=[{"name": "Ada"}, {"name": " Alan ", "greeting": "Good morning"}, {"name": " "}],
            # What all cases give, in order: values, types, or functions that say whether a value is right.
            test_output=[
                ("message", "Hello, Ada!"),
                ("message", lambda message: message.endswith("Alan!")),
                ("error", "name: is empty"),
            ],
        )

    async def run(self, input_data: Input) -> BlockOutput:
        name = input_data.name.strip()
        if not name:
            raise BlockExecutionError("name: is empty")
        yield "message", f"{input_data.greeting}, {name}!"
'''

_TEST = '''\
"""Every block of the package passes the checks of `blockyard blocks test`."""

import asyncio

import pytest
from blockyard.block import Block
from blockyard.block.checks import run_checks
from blockyard.block.loader import load_blocks

CATALOGUE = load_blocks(["${module}"], entry_points=False)


def test_every_block_is_loaded() -> None:
    assert CATALOGUE.errors == []
    assert "${block}" in CATALOGUE.by_name


@pytest.mark.parametrize("block", CATALOGUE.blocks.values(), ids=lambda block: block.name)
def test_block_passes_its_checks(block: Block) -> None:
    for result in asyncio.run(run_checks(block)):
        assert result.passed, str(result)
'''

_FILES = {
    "pyproject.toml": _PROJECT,
    "README.md": _README,
    "${module}/__init__.py": _INIT,
    "${module}/greetings.py": _BLOCK,
    "tests/test_${module}.py": _TEST,
}
"""Templates of the files, by their places."""
