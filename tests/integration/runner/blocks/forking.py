"""Blocks that fork, and what comes of it comes back into the runner, or stays."""

import asyncio
import ctypes
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from blockyard.block import BlockOutput, Effect, SyncBlockOutput

from services.runner.frames import Kind, pack
from tests.integration.runner.blocks import _Input, _TestBlockBase

LONG_SECONDS = 60


class ForkingProcessBlock(_TestBlockBase):
    """Forks as `text` says; with `count` 2 it then computes for ever, with 3 it ends its process."""

    cpu_bound = True

    def run(self, input_data: _Input) -> SyncBlockOutput:
        yield "value", _fork(input_data.text)
        _go_on(input_data.count)


class ForkingThreadBlock(_TestBlockBase):
    """The same in a thread."""

    effect_of_class = Effect.IDEMPOTENT

    def run(self, input_data: _Input) -> SyncBlockOutput:
        yield "value", _fork(input_data.text)
        _go_on(input_data.count)


class ForkingAsyncBlock(_TestBlockBase):
    """The same in the event loop."""

    effect_of_class = Effect.IDEMPOTENT

    async def run(self, input_data: _Input) -> BlockOutput:
        if input_data.text == "task":
            yield "value", await asyncio.create_task(_fork_later())
        else:
            yield "value", _fork(input_data.text)


class ForkingLaterBlock(_TestBlockBase):
    """Forks in the event loop when it is over itself. Where the file at `text` is, there stands what has come of it."""

    effect_of_class = Effect.IDEMPOTENT

    async def run(self, input_data: _Input) -> BlockOutput:
        asyncio.get_running_loop().call_later(0.1, _fork_and_tell, Path(input_data.text))
        yield "value", None


class EchoProcessBlock(_TestBlockBase):
    cpu_bound = True

    def run(self, input_data: _Input) -> SyncBlockOutput:
        yield "value", input_data.value


class MisansweringBlock(_TestBlockBase):
    """Says something in the name of another run."""

    cpu_bound = True

    def run(self, input_data: _Input) -> SyncBlockOutput:
        [connection] = [number for number, what in _descriptors().items() if what.startswith("socket:")]
        os.write(connection, pack(Kind.OUTPUT, 1, ["value", 0], b'"of another run"'))
        time.sleep(LONG_SECONDS)
        yield "value", input_data.value


class CopiedProcessBlock(_TestBlockBase):
    """Tells what its process has, or sends the signal of the number in `count` to its parent."""

    cpu_bound = True

    def run(self, input_data: _Input) -> SyncBlockOutput:
        match input_data.text:
            case "describe":
                yield "value", _description()
            case "random":
                yield "value", random.random()
                os._exit(0)
            case "parent":
                os.kill(os.getppid(), input_data.count)
                time.sleep(1)
                os._exit(0)


def _description() -> dict[str, Any]:
    own, parent = Path("/proc/self"), Path(f"/proc/{os.getppid()}")
    line = [psutil.Process(), *psutil.Process().parents()[:3]]
    return {
        "descriptors": _descriptors(),
        "maps": (own / "maps").read_text(),
        "environments": {str(one.cmdline()): one.environ() for one in line},
        "parent": (parent / "cmdline").read_text(),
        "arguments": sys.argv[1:],
        "threads": len(list((own / "task").iterdir())),
    }


def _descriptors() -> dict[int, str]:
    """What this process has open, by number."""
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one for the folder itself
            found[int(entry.name)] = str(entry.readlink())
    return found


async def _fork_later() -> Any:
    await asyncio.sleep(0)
    return _fork("return")


def _fork(how: str) -> Any:
    match how:
        case "return":
            return min(os.fork(), 1)
        case "exit":
            pid = os.fork()
            if pid == 0:
                sys.exit(3)
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        case "raise":
            pid = os.fork()
            if pid == 0:
                raise ValueError("in the copy")
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        case "thread":
            made: list[int] = []
            thread = threading.Thread(target=lambda: made.append(os.fork()))
            thread.start()
            thread.join()
            return len(made)
        case "c":
            return min(_fork_in_c(), 1)
        case "stay":
            return _staying(os.fork)
        case "stay in c":
            return _staying(_fork_in_c)
    return None


def _fork_and_tell(file: Path) -> None:
    pid = os.fork()
    if pid:
        file.write_text(str(pid))


def _fork_in_c() -> int:
    """As C code does it, of which Python is not told."""
    return int(ctypes.PyDLL(None).fork())


def _staying(fork: Callable[[], int]) -> int:
    """A copy that does something else for a long time."""
    pid = fork()
    if pid == 0:
        time.sleep(LONG_SECONDS)
        os._exit(0)
    return pid


def _go_on(count: int) -> None:
    if count == 3:
        os._exit(4)
    while count == 2:
        time.monotonic()
