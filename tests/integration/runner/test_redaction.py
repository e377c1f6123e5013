"""A secret that a block tells in whatever way and encoding never leaves the runner."""

import asyncio
import base64
import json
import os
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from blockyard.runner.v1.result_pb2 import Outcome
from blockyard.runner.v1.task_pb2 import Task

from tests.integration.runner.blocks.credentials import ENCODINGS
from tests.integration.runner.house import House, house
from tests.integration.runner.test_values import ValueServer
from tests.integration.runner.test_values import serving as serving_values
from tests.integration.runner.vault import Vaulted, vaulted

SECRET = 'sk-live é"\\ +1&2/0123456789abcdef'
STYLES = ["KeyBlock", "KeyInThreadBlock", "KeyInProcessBlock"]
INNER = [
    "0123456789abcdef",
    # It stands at each of the three places that base64 has.
    *(base64.b64encode(b"x" * place + b"0123456789abcdef").decode()[4:-6] for place in range(3)),
    b"0123456789abcdef".hex(),
    b"0123456789abcdef".hex().upper(),
]
"""What every encoding of the secret has some of: nothing of it may stand anywhere."""


@dataclass(eq=False)
class Watched:
    """A runner, and everything that comes out of it."""

    vaulted: Vaulted
    folder: Path
    values: ValueServer = field(default_factory=ValueServer)

    async def run(self, block: str, **fields: Any) -> Any:
        return await self.vaulted.run(block, **fields)

    def told(self) -> str:
        """All that was said or written: results, heartbeats, the log, and files."""
        owner = self.vaulted.house.owner
        parts = [batch.SerializeToString() for batch in owner.batches]
        parts += [beat.SerializeToString() for beat in owner.beats]
        parts += [put.SerializeToString() for put in self.values.puts]
        parts += [path.read_bytes() for path in self.folder.rglob("*") if path.is_file() and "nats" not in path.parts]
        return b"\n".join(parts).decode("utf-8", "replace")

    def check(self) -> None:
        """Nothing of the secret is in it."""
        told = self.told()
        assert [inner for inner in INNER if inner in told] == []


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, runner: asyncio.Runner) -> Iterator[Watched]:
    stack, folder = AsyncExitStack(), tmp_path_factory.mktemp("runner")
    values = ValueServer()

    async def build() -> Watched:
        built = await stack.enter_async_context(house(folder))
        from blockyard.dev.ports import free_port

        port = free_port()
        await stack.enter_async_context(serving_values(values, port))
        one = await stack.enter_async_context(
            vaulted(built, SECRET, execution_address=f"127.0.0.1:{port}", log_level="DEBUG", log_format="json")
        )
        return Watched(one, folder, values)

    try:
        yield runner.run(build())
    finally:
        runner.run(stack.aclose())


def test_the_check_finds_every_encoding() -> None:
    for name, encode in ENCODINGS.items():
        assert [inner for inner in INNER if inner in encode(SECRET)], name


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("style", STYLES)
async def test_an_output_has_no_secret_in_it(watched: Watched, style: str, encoding: str) -> None:
    ended = await watched.run(style, how="yield", encoding=encoding)

    (value,) = ended.on("value")
    assert value.startswith("<")
    assert "***" in value
    watched.check()


@pytest.mark.parametrize("encoding", ["plain", "json", "basic", "hex"])
@pytest.mark.parametrize("how", ["raise", "raise as author", "error pin"])
@pytest.mark.parametrize("style", STYLES)
async def test_an_error_has_no_secret_in_it(watched: Watched, style: str, how: str, encoding: str) -> None:
    ended = await watched.run(style, how=how, encoding=encoding)

    assert ended.finish.outcome == Outcome.OUTCOME_FAILED
    assert "got " in ended.finish.error
    assert "***" in ended.finish.error
    watched.check()


@pytest.mark.parametrize("encoding", ["plain", "url", "basic"])
@pytest.mark.parametrize("how", ["print", "log", "in a thread"])
@pytest.mark.parametrize("style", STYLES)
async def test_nothing_that_is_printed_or_logged_has_a_secret_in_it(
    watched: Watched, style: str, how: str, encoding: str
) -> None:
    before = watched.vaulted.runner.log.count("***")
    ended = await watched.run(style, how=how, encoding=encoding)

    assert len(ended.on("value")) == 1
    await watched.vaulted.house.owner.until(lambda: watched.vaulted.runner.log.count("***") > before, "it is logged")
    watched.check()


@pytest.mark.parametrize("style", STYLES)
async def test_a_large_value_is_stored_without_secrets(watched: Watched, style: str) -> None:
    ended = await watched.run(style, how="yield large")

    (reference,) = ended.on("value")
    assert list(reference) == ["blockyard:blob"]
    stored = next(watched.folder.joinpath("blobs").rglob(reference["blockyard:blob"]["sha256"]))
    assert json.loads(stored.read_bytes())[0] == "***"
    watched.check()


async def test_parts_and_keys_of_values_have_no_secret_in_them(watched: Watched) -> None:
    selectors = ["value_#_a_$_0", "value_#_a_$_1", "value_#_a_$_1_$_0"]
    ended = await watched.run("KeyBlock", how="yield deep", selectors=selectors)

    assert ended.on("value") == [{"a": [{"***": 1}, ["***", 2]], "b": True}]
    assert ended.on("value_#_a_$_1") == [["***", 2]]
    watched.check()


async def test_stats_have_no_secret_in_them(watched: Watched) -> None:
    ended = await watched.run("KeyBlock", how="stats", encoding="basic")

    assert ended.finish is not None
    assert "***" in json.loads(ended.finish.stats)["called"]
    assert json.loads(ended.finish.stats)["calls"] == 1
    watched.check()


async def test_a_value_that_is_kept_beyond_the_execution_has_no_secret_in_it(watched: Watched) -> None:
    await watched.run("KeyBlock", how="keep")

    assert json.loads(watched.values.puts[-1].value) == {"kept": "***"}
    watched.check()


@pytest.mark.parametrize("style", STYLES)
async def test_a_credential_that_is_shown_as_a_whole_shows_nothing(watched: Watched, style: str) -> None:
    ended = await watched.run(style, how="show")

    shown = "<credential 'Work' of 'acme'>"
    assert ended.on("value") == [f"{shown} {shown} [{shown}]"]


async def test_a_run_that_is_cancelled_with_its_secret_leaves_none(watched: Watched) -> None:
    owner = watched.vaulted.house.owner
    task: Task = watched.vaulted.task("KeyBlock", how="wait")
    await owner.send(task)
    await owner.until(lambda: bool(owner.runs.get(task.node_execution)), "it has begun")
    owner.drop(task)
    await owner.beats_after(lambda beat: not beat.holdings, "nothing is held")
    watched.check()


async def test_a_thread_that_outlives_its_run_says_no_secret(watched: Watched) -> None:
    ended = await watched.run("KeyInThreadBlock", how="late", timeout_ms=300)

    assert ended.finish.outcome == Outcome.OUTCOME_FAILED
    assert "late" not in watched.vaulted.runner.log
    await watched.vaulted.house.owner.until(lambda: "late ***" in watched.vaulted.runner.log, "the thread ends")
    watched.check()


async def test_results_that_are_spilled_to_disk_have_no_secret_in_them(broken_house: House) -> None:
    async with vaulted(broken_house, SECRET, kept_bytes=1 << 20) as one:
        owner = broken_house.owner
        owner.deaf = True
        await owner.send(one.task("KeyBlock", how="yield much"))

        def spilled() -> bytes:
            return b"".join(_deleted_files(one))

        await owner.until(lambda: b"xxxx" in spilled(), "results are spilled")
        text = spilled().decode("utf-8", "replace")
    assert "***" in text
    assert [inner for inner in INNER if inner in text] == []


def _deleted_files(one: Vaulted) -> Iterator[bytes]:
    """What is in the files without names of the runner's processes."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = process.joinpath("environ").read_bytes()
            if f"BREAKS={one.house.breaks}".encode() not in environment:
                continue
            for descriptor in process.joinpath("fd").iterdir():
                if os.readlink(descriptor).endswith(" (deleted)"):
                    yield descriptor.read_bytes()
        except OSError:
            continue
