"""The command line as a program of its own, with what it is given on standard input or on a terminal."""

import asyncio
import json
import os
import pty
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e import airports_in_python as plain


@dataclass(frozen=True, slots=True)
class Done:
    """How a program ended."""

    code: int
    output: str
    errors: str

    @property
    def json(self) -> Any:
        """What it printed."""
        assert self.code == 0, self.errors
        return json.loads(self.output)


@dataclass(frozen=True, slots=True)
class Shell:
    """Runs `blockyard` against the stack of a home, as the developer or with a token or key."""

    home: Path
    token: str = ""

    async def __call__(self, *arguments: str, given: str = "") -> Done:
        process = await asyncio.create_subprocess_exec(
            *_program(arguments),
            env=self._environment(),
            cwd=plain.ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await asyncio.wait_for(process.communicate(given.encode()), 120)
        assert process.returncode is not None
        return Done(process.returncode, output.decode(), errors.decode())

    async def typed(self, *arguments: str, lines: list[str]) -> Done:
        """With a terminal, where each line is typed when a question stands there."""
        outside, inside = pty.openpty()
        process = await asyncio.create_subprocess_exec(
            *_program(arguments), env=self._environment(), cwd=plain.ROOT, stdin=inside, stdout=inside, stderr=inside
        )
        os.close(inside)
        seen = await asyncio.wait_for(asyncio.to_thread(_converse, outside, lines), 120)
        return Done(await asyncio.wait_for(process.wait(), 60), seen, "")

    def _environment(self) -> Mapping[str, str]:
        token = {"BLOCKYARD_TOKEN": self.token} if self.token else {}
        return {**os.environ, "BLOCKYARD_HOME": str(self.home), "COLUMNS": "200", **token}


def _program(arguments: tuple[str, ...]) -> list[str]:
    return [sys.executable, "-c", "from blockyard.cli import main; main()", *arguments]


def _converse(terminal: int, lines: list[str]) -> str:
    """Answers each question, which ends with ": ", and gives all that was seen."""
    seen, answered = b"", 0
    waiting = list(lines)
    while True:
        try:
            piece = os.read(terminal, 65_536)
        except OSError:  # the program has ended
            piece = b""
        if not piece:
            os.close(terminal)
            return seen.decode()
        seen += piece
        if waiting and seen.count(b": ") > answered and seen.endswith(b": "):
            answered = seen.count(b": ")
            os.write(terminal, waiting.pop(0).encode() + b"\n")
