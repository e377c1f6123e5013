"""However a person or the system ends `blockyard demo` and `blockyard dev`: nothing runs on, nothing lies about."""

import asyncio
import os
import re
import signal
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.waiting import until

INT, TERM, HUP = signal.SIGINT, signal.SIGTERM, signal.SIGHUP


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the program puts what is temporary."""
    place = tmp_path / "temporary"
    place.mkdir()
    return place


class Program:
    """`blockyard` as a process of its own, read line by line; `folder` marks all that stem from it."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path) -> None:
        self.process = process
        self.folder = folder
        self.output = ""

    @classmethod
    async def start(cls, folder: Path, *arguments: str) -> "Program":
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                "from blockyard.cli import main; main()",
                *arguments,
                env={**os.environ, "TMPDIR": str(folder), "COLUMNS": "80"},
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            ),
            folder,
        )

    async def says(self, text: str) -> None:
        """Read until it says the text."""
        assert self.process.stdout is not None
        async with asyncio.timeout(60):
            while text not in self.output:
                line = await self.process.stdout.readline()
                assert line, f"it ended without saying {text!r}:\n{self.output}"
                self.output += line.decode()

    async def press_interrupt_on_and_on(self, times: int = 3) -> None:
        """Send SIGINT again and again, as an impatient person does."""
        presses = iter(range(times))

        def pressed() -> bool:
            self.process.send_signal(INT)
            return next(presses) == times - 1

        await until(pressed, "pressed often enough")

    async def end(self) -> int:
        """Its exit code; what it said stands in `output`."""
        rest, _ = await asyncio.wait_for(self.process.communicate(), 60)
        self.output += rest.decode()
        assert self.process.returncode is not None
        return self.process.returncode

    def processes(self) -> list[psutil.Process]:
        """All that still run of it: PostgreSQL and its family too."""
        return [one for one in psutil.process_iter(["environ", "name"]) if self._is_ours(one)]

    def _is_ours(self, process: psutil.Process) -> bool:
        environment = process.info["environ"] or {}
        return environment.get("TMPDIR") == str(self.folder)

    async def shared_memory(self) -> list[Path]:
        """The segments of its PostgreSQL, as soon as there are some."""
        return await until(self._segments, "PostgreSQL has shared memory")

    def _segments(self) -> list[Path]:
        lines: list[str] = []
        for one in self.processes():
            # Any of them may end meanwhile.
            with suppress(FileNotFoundError, ProcessLookupError):
                if one.info["name"] == "postgres":
                    lines += Path(f"/proc/{one.pid}/maps").read_text().splitlines()
        return [Path(line.split()[-1]) for line in lines if "/dev/shm/PostgreSQL." in line]


@pytest.mark.parametrize("number", [INT, TERM, HUP], ids=str)
async def test_a_demo_that_is_ended_leaves_nothing(folder: Path, number: signal.Signals) -> None:
    demo = await Program.start(folder, "demo")
    await demo.says("the stack is up")
    segments = await demo.shared_memory()

    demo.process.send_signal(number)

    assert await demo.end() == 130
    assert "Traceback" not in demo.output
    assert demo.output.endswith("Interrupted.\n")
    assert os.listdir(folder) == []
    assert demo.processes() == []
    assert [segment for segment in segments if segment.exists()] == []


@pytest.mark.parametrize("moment", ["starting account", "the stack is up", "stopping the stack"])
async def test_a_demo_that_is_interrupted_on_and_on_leaves_nothing(folder: Path, moment: str) -> None:
    demo = await Program.start(folder, "demo")
    await demo.says(moment)
    segments = await demo.shared_memory()

    await demo.press_interrupt_on_and_on()

    assert await demo.end() == 130
    assert "Traceback" not in demo.output
    assert os.listdir(folder) == []
    assert demo.processes() == []
    assert [segment for segment in segments if segment.exists()] == []


@pytest.mark.parametrize("presses", [1, 3])
async def test_a_demo_that_is_interrupted_before_anything_runs_leaves_nothing(folder: Path, presses: int) -> None:
    demo = await Program.start(folder, "demo")
    await demo.says("starting PostgreSQL")
    await until(lambda: list(folder.glob("*/dev/.postgres-*/base/*")), "it copies the database")

    await demo.press_interrupt_on_and_on(presses)

    assert await demo.end() == 130
    assert demo.output.endswith("Interrupted.\n")
    assert os.listdir(folder) == []
    assert demo.processes() == []


async def test_a_stack_that_is_interrupted_once_ends_in_order(folder: Path) -> None:
    dev = await Program.start(folder, "dev", "--home", str(folder), "--runners", "1")
    await dev.says("logs")
    assert re.search(r"^  edge +http://127\.0\.0\.1:\d+ ", dev.output, re.MULTILINE)

    dev.process.send_signal(INT)

    assert await dev.end() == 0
    assert dev.output.endswith("stopping\n")
    assert dev.processes() == []


@pytest.mark.parametrize("number", [TERM, HUP], ids=str)
async def test_a_stack_that_is_told_twice_to_end_ends_in_order(folder: Path, number: signal.Signals) -> None:
    dev = await Program.start(folder, "dev", "--home", str(folder), "--runners", "1", "--no-edge")
    await dev.says("logs")
    assert "edge" not in dev.output

    dev.process.send_signal(number)
    await dev.says("stopping")
    dev.process.send_signal(number)

    assert await dev.end() == 0
    assert dev.output.endswith("stopping\n")
    assert dev.processes() == []


@pytest.mark.parametrize("moment", ["starting account", "logs"])
async def test_a_stack_that_is_interrupted_again_ends_at_once(folder: Path, moment: str) -> None:
    dev = await Program.start(folder, "dev", "--home", str(folder), "--runners", "1")
    await dev.says(moment)
    segments = await dev.shared_memory()

    dev.process.send_signal(INT)
    await dev.says("stopping")
    await dev.press_interrupt_on_and_on()

    assert await dev.end() == 130
    assert "Traceback" not in dev.output
    assert dev.output.endswith("Interrupted.\n")
    assert dev.processes() == []
    assert [segment for segment in segments if segment.exists()] == []
