"""Files of runs: the blob store as what `context.files` works on, and who a run is, as its task says."""

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from blockyard.block.resources import Resources, shared
from blockyard.egress import Egress, open_egress
from blockyard.files import Access, Clamd, FileCorrupt, FileLimits, FileMissing, Files, Scanner
from blockyard.files.spool import Spool
from blockyard.files.stores import Tail
from blockyard.runner.v1.task_pb2 import Task

from services.common.backoff import patiently
from services.common.blobs import BlobCorrupt, BlobMissing, BlobStore, BlobStoreAway
from services.runner.config import RunnerSettings

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class BlobFiles:
    """Files in the blob store. While it is away they wait: the run's timeout ends that."""

    blobs: BlobStore

    async def write(self, key: str, spool: Spool) -> None:
        """All of it at once, or nothing."""
        await _patiently(lambda: self._write(key, spool))

    async def _write(self, key: str, spool: Spool) -> None:
        content = await spool.content()
        if isinstance(content, bytes):
            await self.blobs.put(key, content)
        else:
            await self.blobs.put_file(key, content, spool.size)

    async def create(self, key: str, data: bytes) -> bool:
        """Writes it if there is nothing; False if there is."""
        return await _patiently(lambda: self.blobs.create(key, data))

    async def tail(self, key: str, length: int) -> Tail:
        """The last bytes, at most so many."""
        tail = await _patiently(lambda: self.blobs.tail(key, length))
        return Tail(tail.data, tail.size, tail.version)

    async def read(self, key: str, start: int, length: int, version: str) -> bytes:
        """A part."""
        return await _patiently(lambda: self.blobs.read(key, start, length, version))

    async def sizes(self, folder: str) -> Sequence[tuple[str, int]]:
        """(key, bytes) of all that is below a folder."""
        return await _patiently(lambda: self.blobs.sizes(folder))

    async def delete(self, key: str) -> bool:
        """False if there was nothing."""
        return await _patiently(lambda: self.blobs.delete(key))


async def _patiently(ask: Callable[[], Awaitable[ResultT]]) -> ResultT:
    try:
        return await patiently(ask, BlobStoreAway)
    except BlobMissing as error:
        raise FileMissing(str(error)) from error
    except BlobCorrupt as error:
        raise FileCorrupt(str(error)) from error


def kept_with(task: Task) -> bytes:
    """The execution, 16 bytes of its id, that files and large values of a task are kept with, and removed with."""
    return task.root_execution_id or task.execution_id


@dataclass(frozen=True, slots=True)
class RunFiles:
    """Gives each run its files. One for all runs."""

    store: BlobFiles
    limits: FileLimits
    scanner: Scanner | None
    resources: Resources
    spool_folder: Path

    @classmethod
    def of_settings(cls, settings: RunnerSettings, blobs: BlobStore, resources: Resources) -> "RunFiles":
        """As the operator has set it."""
        limits = FileLimits(settings.file_bytes, settings.workspace_bytes, settings.file_stream_bytes)
        scanner = Clamd.at(settings.clamd, settings.clamd_seconds) if settings.clamd else None
        return cls(BlobFiles(blobs), limits, scanner, resources, settings.spill_folder)

    def of(self, task: Task, stats: MutableMapping[str, Any]) -> Files:
        """The files that the run of a task may reach: those of its execution, of those above and beside it, and of its
        user's workspace."""
        task_number = str(task.node_execution)
        if task.root_execution_id:
            # Numbers are those of an execution, and the files of several have one folder.
            task_number = f"{UUID(bytes=task.execution_id)}-{task_number}"
        access = Access(
            execution_id=str(UUID(bytes=kept_with(task))),
            user_id=task.user_id,
            task_number=task_number,
            alone=not task.graph_id,
        )
        return Files(access, self.store, self._client, self.limits, self.scanner, stats, self.spool_folder)

    def _client(self) -> AbstractAsyncContextManager[Egress]:
        return shared(self.resources, open_egress)
