"""Values above 256 KiB: they travel as references to the blob store, and come back whole to who reads them.

Runners do that with what blocks yield. Here it is done with what the engine itself puts together (collected lists), on
its way into events and tasks: facts and state hold the value, so a replay needs no blob.
"""

import hashlib
from typing import Any
from uuid import UUID

import msgspec
import orjson
from blockyard.common.v1.errors_pb2 import ErrorReason
from blockyard.event.v1.event_pb2 import Event
from blockyard.values import BLOB_KEY, decode, encode_reference

from services.common.blobs import BlobCorrupt, BlobMissing, BlobReference, BlobStore, blob_key
from services.common.errors import OutOfRange
from services.execution.engine import Effects, NodeExecution, Topology

LIMIT = 256 << 10
"""Bytes of JSON that travel inside a message."""

MARK = BLOB_KEY.encode()


class ValueGone(OutOfRange):
    """A large value is no longer in the blob store, or is not the one that was written."""

    reason = ErrorReason.ERROR_REASON_HISTORY_GONE


class LargeValues:
    """Takes large values out and puts them back in."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs

    async def shorten_events(self, execution_id: UUID, effects: Effects) -> None:
        """Replaces large values in the events by references."""
        for at, event in enumerate(effects.events):
            if len(event.value) > LIMIT:
                value = await self._kept(execution_id, event.number, event.value)
                effects.events[at] = msgspec.structs.replace(event, value=value)

    async def shortened_inputs(self, execution_id: UUID, topology: Topology, execution: NodeExecution) -> bytes:
        """The inputs of a node execution with references in place of large values."""
        values = [
            await self._kept(execution_id, execution.number, value)
            if value is not None and len(value) > LIMIT
            else value
            for value in execution.values
        ]
        return topology.inputs(execution.node, tuple(values))

    async def whole(self, value: bytes) -> bytes:
        """The JSON value with all references in it resolved."""
        if MARK not in value:
            return value
        return orjson.dumps(await self._resolved(decode(value)))

    async def delete(self, execution_id: UUID) -> None:
        """Removes all blobs of an execution."""
        await self._blobs.delete_prefix(str(execution_id))

    async def _kept(self, execution_id: UUID, number: int, value: bytes) -> bytes:
        sha256 = hashlib.sha256(value).hexdigest()
        task_id = f"{execution_id}-{number}"
        reference = await self._blobs.put(blob_key(str(execution_id), task_id, "engine", sha256), value)
        return encode_reference(reference.key, reference.size, reference.sha256)

    async def _resolved(self, value: Any) -> Any:  # Any: a JSON value
        if isinstance(value, dict):
            if BLOB_KEY in value:
                try:
                    return decode(await self._blobs.get(BlobReference(**value[BLOB_KEY])))
                except (BlobMissing, BlobCorrupt) as error:
                    raise ValueGone(str(error)) from error
            return {name: await self._resolved(item) for name, item in value.items()}
        if isinstance(value, list):
            return [await self._resolved(item) for item in value]
        return value


async def resolve(events: list[Event], large_values: LargeValues) -> None:
    """Puts whole values into events, in place."""
    for event in events:
        if MARK in event.value:
            event.value = await large_values.whole(event.value)
