"""The blob store: values too large for a message, in a folder or an object store, named by what made them.

A reference is `{"blockyard:blob": {"key", "size", "sha256"}}`; it is sent only after the blob was written and synced.
"""

import asyncio
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url

LIST_CHUNK = 1000


class BlobError(Exception):
    """The blob store failed."""


class BlobMissing(BlobError):
    """A value that was kept in the blob store is not there any more."""


class BlobCorrupt(BlobError):
    """A value in the blob store is not the one that was written."""


class BlobStoreAway(BlobError):
    """The blob store cannot be reached or cannot write. Try again."""


@dataclass(frozen=True, slots=True)
class BlobReference:
    """Where a value is kept, and how to tell that it is the one."""

    key: str
    size: int
    sha256: str


def blob_key(execution_id: str, task_id: str, run_id: str, sha256: str) -> str:
    """Where a run's value is kept: each run writes its own, so deleting one takes nothing from another."""
    return f"{execution_id}/{task_id}/{run_id}/{sha256}"


class BlobStore:
    """Blobs under a URL: `file:///folder`, `s3://bucket/prefix`, `gs://…`, `az://…`, `memory:///`."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._folder: Path | None = None
        self._store: ObjectStore
        if parts.scheme == "file":
            self._folder = Path(unquote(parts.path))
            self._folder.mkdir(parents=True, exist_ok=True)
            self._store = LocalStore(self._folder)
        else:
            self._store = from_url(url)

    async def put(self, key: str, data: bytes) -> BlobReference:
        """Write a value; it is safe on disk, or in the object store, when this returns."""
        reference = BlobReference(key, len(data), hashlib.sha256(data).hexdigest())
        try:
            await obstore.put_async(self._store, key, data)
            if self._folder is not None:
                await asyncio.to_thread(_sync, self._folder, key)
        except (BaseError, OSError) as error:
            raise BlobStoreAway(f"the blob {key} could not be written: {error}") from error
        return reference

    async def get(self, reference: BlobReference) -> bytes:
        """The value, checked to be the one that was written."""
        try:
            result = await obstore.get_async(self._store, reference.key)
            data = bytes(await result.bytes_async())
        except (FileNotFoundError, ValueError) as error:  # ValueError: the key is none, "../x" for one
            raise BlobMissing(f"the blob {reference.key} is not there") from error
        except (BaseError, OSError) as error:
            raise BlobStoreAway(f"the blob {reference.key} could not be read: {error}") from error
        if len(data) != reference.size:
            raise BlobCorrupt(f"the blob {reference.key} has {len(data)} bytes in place of {reference.size}")
        if hashlib.sha256(data).hexdigest() != reference.sha256:
            raise BlobCorrupt(f"the blob {reference.key} has another hash than its reference")
        return data

    async def delete_prefix(self, prefix: str) -> int:
        """Delete all blobs below `prefix`, a folder's name ("ab" leaves "abc/…"); answers how many."""
        if not prefix.strip("/"):
            raise ValueError("an empty prefix would delete every blob")
        deleted = 0
        try:
            async for chunk in obstore.list(self._store, prefix.strip("/"), chunk_size=LIST_CHUNK):
                paths = [entry["path"] for entry in chunk]
                await obstore.delete_async(self._store, paths)
                deleted += len(paths)
        except FileNotFoundError:
            return deleted
        except (BaseError, OSError) as error:
            raise BlobStoreAway(f"blobs below {prefix} could not be deleted: {error}") from error
        return deleted


def _sync(folder: Path, key: str) -> None:
    """Have the file and every folder on its way written to disk: a new name is only safe with its folder."""
    path = folder / key
    while True:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if path == folder:
            return
        path = path.parent
