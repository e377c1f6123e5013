"""Values above 256 KiB: they travel as references to the blob store, and come back whole to who reads them.

Runners do that with what blocks yield. Here it is done with what the engine itself puts together (collected lists), on
its way into events and tasks: facts and state hold the value, so a replay needs no blob.
"""

import hashlib
from dataclasses import dataclass
from typing import Any, NoReturn
from uuid import UUID

import msgspec
import orjson
from blockyard.values import BLOB_KEY, NO_JSON, decode, encode_reference, is_json

from services.common.blobs import BlobCorrupt, BlobMissing, BlobReference, BlobStore, blob_key
from services.execution.engine import Effects, NodeExecution
from services.execution.errors import ValueMissing, ValueTooLarge
from services.execution.live import Live

LIMIT = 256 << 10
"""Bytes of JSON that travel inside a message."""

LARGEST = 15 << 20
"""Bytes of JSON of one value that readers are given: a message takes 16 MiB, and has more than the value in it."""

MARK = BLOB_KEY.encode()
REFERENCE = b'{"' + MARK + b'":'
"""How a value begins that is nothing but a reference."""


class LargeValues:
    """Takes large values out and puts them back in."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs

    async def shorten_events(self, live: Live, effects: Effects) -> None:
        """Replaces large values in the events by references."""
        for at, event in enumerate(effects.events):
            if len(event.value) > LIMIT:
                value = await self._kept(live, event.number, event.value)
                effects.events[at] = msgspec.structs.replace(event, value=value)

    async def shortened_inputs(self, live: Live, execution: NodeExecution) -> bytes:
        """The inputs of a node execution with references in place of large values."""
        values = [
            await self._kept(live, execution.number, value) if value is not None and len(value) > LIMIT else value
            for value in execution.values
        ]
        return live.machine.topology.inputs(execution.node, tuple(values))

    async def whole(self, value: bytes) -> bytes:
        """The JSON value with all references in it resolved. Raises ValueMissing, for what is no JSON too, and
        ValueTooLarge."""
        return await _Reading(self._blobs, LARGEST).whole(value)

    async def delete(self, execution_id: UUID) -> None:
        """Removes all blobs of an execution."""
        await self._blobs.delete_prefix(str(execution_id))

    async def _kept(self, live: Live, number: int, value: bytes) -> bytes:
        sha256 = hashlib.sha256(value).hexdigest()
        task_id = f"{live.execution_id}-{number}"
        reference = await self._blobs.put(blob_key(str(live.root), task_id, "engine", sha256), value)
        return encode_reference(reference.key, reference.size, reference.sha256)


@dataclass(slots=True)
class _Reading:
    """Puts one value together. What has no room is not even fetched."""

    blobs: BlobStore
    room: int

    async def whole(self, value: bytes) -> bytes:
        self._take(0 if value.startswith(REFERENCE) else len(value))
        if not is_json(value):
            # Runners are not all ours, and what they put into the blob store nobody has read.
            raise ValueMissing(NO_JSON)
        if value.startswith(REFERENCE):
            return await self._fetch(decode(value)[BLOB_KEY])
        if MARK not in value:
            return value
        return orjson.dumps(await self._resolved(decode(value)))

    async def _resolved(self, value: Any) -> Any:  # Any: a JSON value
        if isinstance(value, dict):
            if BLOB_KEY in value:
                return orjson.Fragment(await self._fetch(value[BLOB_KEY]))
            return {name: await self._resolved(item) for name, item in value.items()}
        if isinstance(value, list):
            return [await self._resolved(item) for item in value]
        return value

    async def _fetch(self, description: Any) -> bytes:
        try:
            reference = BlobReference(str(description["key"]), int(description["size"]), str(description["sha256"]))
            if reference.size > self.room:
                self._refuse(reference.size)
            # What was stored may have references in it: a long list of large items is stored with those.
            return await self.whole(await self.blobs.get(reference))
        except (BlobMissing, BlobCorrupt) as error:
            raise ValueMissing(f"The value cannot be had any more: {error}.") from error
        except (KeyError, TypeError, ValueError) as error:
            raise ValueMissing("The value cannot be had: what stands for it is no reference.") from error

    def _take(self, size: int) -> None:
        if size > self.room:
            self._refuse(size)
        self.room -= size

    def _refuse(self, size: int) -> NoReturn:
        most = LARGEST
        raise ValueTooLarge(
            f"The value has {most - self.room + size} bytes of JSON or more, and at most {most} fit into a message.",
            metadata={"bytes": str(most - self.room + size), "most_bytes": str(most)},
        )
