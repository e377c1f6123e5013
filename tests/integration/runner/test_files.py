"""Files of runs on a real runner: kept in the blob store, read by whoever may, streamed with level memory."""

import asyncio
import base64
import time
import uuid
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import psutil
import pytest
from aiohttp import web
from blockyard.block import Block
from blockyard.block.loader import load_blocks
from blockyard.common.v1.errors_pb2 import NodeErrorReason
from blockyard.files import Access, FileLimits, Files
from blockyard.files.references import workspace_of
from blockyard.runner.v1.result_pb2 import Outcome
from blockyard.runner.v1.task_pb2 import Task

from services.common.blobs import BlobStore
from services.runner.config import RunnerSettings
from services.runner.files import BlobFiles
from tests import signing
from tests.integration.runner.house import House, RunnerProcess
from tests.integration.runner.owner import Owner, Recorded
from tests.unit.egress.network import http_server
from tests.unit.files.clamd_server import EICAR, clamd_server
from tests.waiting import until

BLOCKS = load_blocks(["blocks"], entry_points=False).by_name
LARGE = 256 << 20
LEVEL_BYTES = 64 << 20
LINE = b"a line of text, as long as all others".ljust(63, b".") + b"\n"
STREAM = {"mode": "summary", "progress_bytes": 16 << 20}


async def run(house: House, name: str, /, **inputs: Any) -> Recorded:
    return await house.owner.run(BLOCKS[name], **inputs)


async def start_runner(house: House, **settings: Any) -> RunnerProcess:
    return await house.add_runner(packages='["blocks"]', **settings)


def error_of(ended: Recorded) -> tuple["NodeErrorReason.ValueType", str]:
    assert ended.finish is not None
    assert ended.finish.outcome == Outcome.OUTCOME_FAILED
    return ended.finish.reason, ended.finish.error


async def test_a_file_goes_from_node_to_node_as_its_reference(broken_house: House) -> None:
    await start_runner(broken_house)
    execution = str(uuid.UUID(bytes=broken_house.owner.execution))

    [reference] = (await run(broken_house, "FileStoreBlock", file_in="data:text/csv,a%2Cb%0A1%2C2")).on("file_out")

    assert reference.startswith(f"blockyard-file://execution/{execution}/1/")
    [file] = (broken_house.folder / "blobs" / execution / "files" / "1").iterdir()
    assert file.read_bytes().startswith(b"a,b\n1,2")
    assert (await run(broken_house, "FileReadBlock", file_input=reference)).on("content") == ["a,b\n1,2"]
    assert (await run(broken_house, "ReadSpreadsheetBlock", file_input=reference)).on("rows") == [
        [{"a": "1", "b": "2"}]
    ]
    assert (await run(broken_house, "StreamFileBlock", file=reference)).on("item") == ["a,b", "1,2"]
    assert (await run(broken_house, "FileInfoBlock", file=reference)).on("scan") == ["not scanned"]
    as_uri = await run(broken_house, "FileStoreBlock", file_in=reference, base_64=True)
    assert as_uri.on("file_out") == [f"data:text/csv;base64,{base64.b64encode(b'a,b' + bytes([10]) + b'1,2').decode()}"]


async def test_a_run_reads_no_files_of_other_executions_and_users(broken_house: House) -> None:
    await start_runner(broken_house)
    owner, read = broken_house.owner, BLOCKS["FileReadBlock"]
    [of_execution] = (await run(broken_house, "FileStoreBlock", file_in="secret")).on("file_out")
    [of_anna] = (await run(broken_house, "SaveToWorkspaceBlock", file="secret")).on("file")

    elsewhere = await owner.run(read, execution_id=uuid.uuid4().bytes, file_input=of_execution)
    by_ben = await owner.run(read, user_id="ben", file_input=of_anna)
    by_anna_later = await owner.run(read, execution_id=uuid.uuid4().bytes, file_input=of_anna)

    missing = NodeErrorReason.NODE_ERROR_REASON_VALUE_MISSING
    assert error_of(elsewhere) == (missing, "file.txt: there is no such file in this execution")
    assert error_of(by_ben) == (missing, "file.txt: there is no such file in your workspace")
    assert by_anna_later.on("content") == ["secret"]


async def test_a_single_run_keeps_its_files_in_a_workspace_that_is_made_on_first_use(broken_house: House) -> None:
    await start_runner(broken_house, workspace_bytes=10_000)
    owner = broken_house.owner

    async def alone(text: str) -> Recorded:
        task = owner.task(BLOCKS["FileStoreBlock"], user_id="carl", file_in=text)
        task.graph_id = ""  # as tasks of single runs have it
        await owner.send(task)
        return await owner.end_of(task)

    first = await alone("first")

    assert first.on("file_out")[0].startswith(f"blockyard-file://workspace/{workspace_of('carl')}/")
    assert first.finish is not None
    assert b'"workspace_created":true' in first.finish.stats.replace(b" ", b"")
    assert (broken_house.folder / "blobs" / "workspaces" / workspace_of("carl") / "workspace.json").exists()
    assert "your workspace has no room" in error_of(await alone("x" * 9_000))[1]


async def test_limits_and_scanner_are_the_operators(broken_house: House) -> None:
    async with clamd_server() as clamd:
        await start_runner(broken_house, clamd=clamd.address, file_bytes=1000)
        clean = await run(broken_house, "FileStoreBlock", file_in="harmless")
        infected = await run(broken_house, "FileStoreBlock", file_in=EICAR.decode())
        large = await run(broken_house, "FileStoreBlock", file_in="x" * 1001)
        [scan] = (await run(broken_house, "FileInfoBlock", file=clean.on("file_out")[0])).on("scan")
    away = await run(broken_house, "FileStoreBlock", file_in="harmless too")

    assert scan == "clean"
    assert "refused, since the virus scanner found Eicar-Test-Signature" in error_of(infected)[1]
    assert "is larger than the limit of 1000 bytes" in error_of(large)[1]
    assert "not kept, since the virus scanner cannot be reached" in error_of(away)[1]


def test_an_address_of_a_scanner_that_is_none_is_a_wrong_setting() -> None:
    with pytest.raises(ValueError, match="expected host:port or the path of a Unix socket, got 'nowhere'"):
        RunnerSettings.model_validate({"runner_secret": signing.RUNNER_SECRET, "clamd": "nowhere"})


# -- streams


async def lines(size: int) -> AsyncIterator[bytes]:
    """So many bytes of lines, a megabyte at a time."""
    piece = LINE * (1 << 14)
    for start in range(0, size, len(piece)):
        yield piece[: size - start]


async def keep(house: House, size: int) -> str:
    """The reference to a large file of the owner's execution."""
    store = BlobFiles(BlobStore((house.folder / "blobs").as_uri()))
    access = Access(str(uuid.UUID(bytes=house.owner.execution)), "anna", "0")
    files = Files(access, store, lambda: pytest.fail("nothing is fetched"), FileLimits(file_bytes=size))
    return await files.store(lines(size), "large.txt")


async def serve_large(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    response.content_length = LARGE
    await response.prepare(request)
    async for piece in lines(LARGE):
        await response.write(piece)
    return response


def progress_of(owner: Owner, task: Task) -> list[Any]:
    """What a run has told so far of how far it is."""
    return [told for run in owner.runs.get(task.node_execution, {}).values() for told in run.on("progress")]


class Memory:
    """What a runner and its processes take, beyond what they took before."""

    def __init__(self, runner: RunnerProcess) -> None:
        self._runner = runner
        self._before = self._now()
        self.most = 0

    def look(self) -> None:
        self.most = max(self.most, self._now() - self._before)

    def _now(self) -> int:
        total = 0
        for process in self._runner.process.family():
            try:
                total += process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        return total


async def measured(house: House, runner: RunnerProcess, block: Block, **inputs: Any) -> tuple[Recorded, int]:
    """The ended run, and the most memory that it took."""
    memory = Memory(runner)
    task = house.owner.task(block, **inputs)
    await house.owner.send(task)

    def ended() -> bool:
        memory.look()
        return house.owner.ended(task) is not None

    await until(ended, "the file is read", 60)
    return await house.owner.end_of(task), memory.most


async def test_a_large_file_is_streamed_with_level_memory_and_progress(broken_house: House) -> None:
    reference = await keep(broken_house, LARGE)
    async with http_server(serve_large) as port:
        runner = await start_runner(broken_house, egress_allow=f"127.0.0.1:{port}")
        await run(broken_house, "StreamFileBlock", file="warm")
        for file in (reference, f"http://127.0.0.1:{port}/large.txt"):
            ended, most = await measured(broken_house, runner, BLOCKS["StreamFileBlock"], file=file, **STREAM)
            assert ended.on("bytes") == [LARGE]
            assert ended.on("items") == [LARGE // len(LINE)]
            told = ended.on("progress")
            assert len(told) >= 15
            assert told[-1]["percent"] > 90
            assert most < LEVEL_BYTES, f"{most >> 20} MiB"


async def test_a_stream_waits_for_its_chunks_to_be_recorded(broken_house: House) -> None:
    """More of them than a runner may keep go through it, and memory stays level too."""
    size = 2 * LEVEL_BYTES
    reference = await keep(broken_house, size)
    runner = await start_runner(broken_house, streamed_bytes=4 << 20)
    await run(broken_house, "StreamFileBlock", file="warm")
    inputs = {"mode": "chunks", "chunk_size": 65_536, "progress_bytes": 0}
    ended, most = await measured(broken_house, runner, BLOCKS["StreamFileBlock"], file=reference, **inputs)
    assert ended.on("items") == [size // 65_536]
    assert most < LEVEL_BYTES, f"{most >> 20} MiB"


async def test_a_dropped_stream_ends_within_a_second(broken_house: House) -> None:
    hung_up = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"line\n" * 10_000)
        except (ConnectionError, asyncio.CancelledError):
            hung_up.set()
            raise

    async with http_server(endless) as port:
        await start_runner(broken_house, egress_allow=f"127.0.0.1:{port}")
        owner = broken_house.owner
        for mode in ("summary", "lines"):
            hung_up.clear()
            inputs = {"file": f"http://127.0.0.1:{port}/", "mode": mode, "progress_bytes": 1 << 20}
            task = owner.task(BLOCKS["StreamFileBlock"], **inputs)
            await owner.send(task)
            await until(partial(progress_of, owner, task), "its progress is seen while it runs")
            began = time.monotonic()
            owner.drop(task)
            await asyncio.wait_for(hung_up.wait(), 5)
            assert time.monotonic() - began < 1.0
