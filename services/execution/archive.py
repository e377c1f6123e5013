"""Keeps what is known of an execution in a file before its rows are dropped: lines of JSON, for people and programs.

One object for each execution, `<first day of its week>/<execution id>.jsonl.gz`: a line `{"execution": …}`, then one
for each node execution, then one for each event, as the API gives them, with their values. Files are not among it.
"""

import asyncio
import gzip
import tempfile
from collections.abc import AsyncIterator, Sequence
from typing import IO, Any, cast
from uuid import UUID

import orjson
from blockyard.event.v1.event_pb2 import Event
from blockyard.execution.v1.execution_service_pb2 import VALUE_FORMAT_JSON
from blockyard.values import is_json
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from services.common.blobs import BlobStore
from services.execution.history import History
from services.execution.records import ExecutionRow
from services.execution.repository.executions import ExecutionRepository
from services.execution.repository.retention import week_of
from services.execution.translation import execution_message, node_message

AT_ONCE = 4
"""Executions that are written at once."""
IN_MEMORY = 4 << 20
"""Bytes of a file that are kept in memory before it goes to disk."""
ALL = 2**62
EVENTS_AT_ONCE = 1_000


class Archive:
    """Writes executions that have ended into a store, each once."""

    def __init__(self, store: BlobStore, executions: ExecutionRepository, history: History) -> None:
        self._store = store
        self._executions = executions
        self._history = history

    async def keep(self, execution_ids: Sequence[UUID]) -> None:
        """Returns when all of them are written, now or before. Raises BlobError."""
        for start in range(0, len(execution_ids), AT_ONCE):
            rows = await self._executions.of_ids(execution_ids[start : start + AT_ONCE])
            await asyncio.gather(*map(self._keep, rows))

    async def _keep(self, row: ExecutionRow) -> None:
        key = f"{week_of(row.create_time):%Y-%m-%d}/{row.execution_id}.jsonl.gz"
        if await self._store.has(key):
            return
        with tempfile.SpooledTemporaryFile(IN_MEMORY) as file:
            # Of a fixed time, so that it is the same file each time that it is written.
            with gzip.GzipFile(fileobj=cast("IO[bytes]", file), mode="wb", mtime=0) as packed:
                async for line in self._lines(row):
                    packed.write(orjson.dumps(line) + b"\n")
            size = file.tell()
            file.seek(0)
            # Values and rows go after the file is there, whoever wrote it. If it is there by now, some may have been
            # gone when they were read, and it is the better one; if it is not, all was read.
            if await self._store.has(key):
                return
            await self._store.put_file(key, cast("IO[bytes]", file), size)

    async def _lines(self, row: ExecutionRow) -> AsyncIterator[dict[str, Any]]:
        yield {"execution": _mapping(execution_message(row, None, VALUE_FORMAT_JSON))}
        async for found in self._history.node_executions(row, "", (0, 0, 0), ALL):
            yield {"node_execution": _mapping(node_message(row.execution_id, found, VALUE_FORMAT_JSON))}
        after, ended = 0, False
        while not ended:
            events, ended = await self._history.events(row.execution_id, after, EVENTS_AT_ONCE)
            for event in events:
                yield {"event": _of_event(event)}
            if not events:
                return
            after = events[-1].sequence


def _of_event(event: Event) -> dict[str, Any]:
    value, event.value = event.value, b""
    made = _mapping(event)
    if value:
        made["value"] = orjson.Fragment(value) if is_json(value) else None
    return made


def _mapping(message: Message) -> dict[str, Any]:
    """A message as JSON, with values that are JSON as they are: numbers stay exact."""
    values: dict[str, Any] = {}
    for name in ("inputs_json", "outputs_json"):
        if name in message.DESCRIPTOR.fields_by_name and (value := getattr(message, name)):
            values[name.removesuffix("_json")] = orjson.Fragment(value)
            message.ClearField(name)
    return {**MessageToDict(message, preserving_proto_field_name=True), **values}
