"""The programs of the README print what it says that they print."""

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest
from blockyard.dev import Stack

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
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
