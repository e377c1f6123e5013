"""What the documentation shows is true: its Python compiles, its block passes its own test, its graphs can be built."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from blockyard.block.testing import check_block
from blockyard.graphs import Graph

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", ROOT / "sdk" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


def python_of(path: Path) -> list[str]:
    """The Python blocks of a page."""
    return re.findall(r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_compiles_and_links_lead_somewhere(page: Path) -> None:
    for code in python_of(page):
        wrapped = "async def page():\n" + "\n".join(f"    {line}" for line in code.splitlines())
        compile(wrapped, str(page), "exec")
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_the_block_of_the_guide_passes_its_own_test() -> None:
    module: dict[str, Any] = {"__name__": "my_blocks"}
    exec(python_of(ROOT / "docs" / "writing-a-block.md")[0], module)
    asyncio.run(check_block(module["InitialsBlock"]()))


def test_the_graphs_of_the_readme_can_be_built() -> None:
    for code in python_of(ROOT / "README.md"):
        names: dict[str, Any] = {}
        until_it_connects = re.split(r"^(?:with|async def) ", code, flags=re.MULTILINE)[0]
        exec(until_it_connects, names)
        assert isinstance(names["graph"], Graph)
        assert len(names["graph"]) >= 3
