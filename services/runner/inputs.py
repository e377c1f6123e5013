"""The input of a run: decoded, with references to the blob store replaced by what they stand for; and its tools."""

import asyncio
from functools import lru_cache
from typing import Any

import orjson
from blockyard.block import BlockInputError, LinkedTool
from blockyard.values import BLOB_KEY, NO_JSON, decode

from services.common.backoff import delays
from services.common.blobs import BlobMissing, BlobReference, BlobStore, BlobStoreAway

_BLOB_KEY_BYTES = BLOB_KEY.encode()


def has_references(inputs: bytes) -> bool:
    """Whether there may be references to resolve: for this a run has to wait."""
    return _BLOB_KEY_BYTES in inputs


def decode_inputs(inputs: bytes) -> dict[str, Any]:
    """The JSON object of a task's inputs."""
    try:
        decoded = decode(inputs or b"{}")
    except ValueError as error:
        raise BlockInputError(f"inputs: not JSON: {error}") from error
    if not isinstance(decoded, dict):
        raise BlockInputError(f"inputs: expected an object, got {type(decoded).__name__}")
    return decoded


@lru_cache(maxsize=256)
def decode_tools(tools: bytes) -> tuple[LinkedTool, ...]:
    """The tools of a task, which are the same for every run of a node."""
    # By name: a later release may say more of a tool.
    return tuple(
        LinkedTool(tool["name"], tool["description"], tool["parameters"], tool["pins"]) for tool in orjson.loads(tools)
    )


async def resolve(value: Any, blobs: BlobStore) -> Any:
    """The value with all references in it replaced. Waits while the blob store is away: the run's timeout ends that."""
    if isinstance(value, dict):
        if BLOB_KEY in value:
            return await _fetch(value[BLOB_KEY], blobs)
        return {key: await resolve(item, blobs) for key, item in value.items()}
    if isinstance(value, list):
        return [await resolve(item, blobs) for item in value]
    return value


async def _fetch(description: Any, blobs: BlobStore) -> Any:
    try:
        reference = BlobReference(str(description["key"]), int(description["size"]), str(description["sha256"]))
    except (KeyError, TypeError, ValueError) as error:
        raise BlobMissing(f"a reference to the blob store that is none: {str(description)[:200]}") from error
    for pause in delays():
        try:
            return _decoded(await blobs.get(reference))
        except BlobStoreAway:
            await asyncio.sleep(pause)
    raise AssertionError("delays never end")


def _decoded(stored: bytes) -> Any:
    try:
        return decode(stored)
    except ValueError as error:
        # A runner of another making has written it.
        raise BlobMissing(NO_JSON) from error
