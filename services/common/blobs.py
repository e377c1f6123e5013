"""The blob store: values too large for a message, in a folder or an object store, named by what made them.

A reference is `{"blockyard:blob": {"key", "size", "sha256"}}`; it is sent only after the blob was written and synced.
"""

import asyncio
import hashlib
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import LocalStore, ObjectStore, from_url

from services.common.errors import StartRefused

if TYPE_CHECKING:  # They are not there at run time.
    from obstore import GetOptions
    from obstore.store import ClientConfig, RetryConfig

LIST_CHUNK = 1000

CLIENT: "ClientConfig" = {"connect_timeout": "5s", "timeout": "60s", "allow_http": True}
RETRIES: "RetryConfig" = {"max_retries": 3, "retry_timeout": timedelta(seconds=10)}
"""Of object stores. Whoever waits for a blob tries again by itself, and says so: more retries in here would hide that.
Whether an endpoint may go without TLS is for the operator to judge, who sets it (AWS_ENDPOINT_URL)."""

WAIT_SECONDS = 10.0
"""Longest wait for a blob of no bytes; each byte adds to it as at SLOWEST."""

SLOWEST = 1_000_000
"""Bytes a second: a store that is slower counts as away."""


PART_BYTES = 5 << 20
PARTS_AT_ONCE = 2
"""Of a file on its way into the store: what it takes of memory. An object store takes no smaller parts."""


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


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of a blob."""

    data: bytes
    size: int
    """Of the whole blob."""
    version: str
    """Changes when it is written again; empty if the store has no such thing."""


def blob_key(execution_id: str, task_id: str, run_id: str, sha256: str) -> str:
    """Where a run's value is kept: each run writes its own, so deleting one takes nothing from another."""
    return f"{execution_id}/{task_id}/{run_id}/{sha256}"


class BlobStore:
    """Blobs under a URL: `file:///folder`, `s3://bucket/prefix`, `gs://…`, `az://…`, `memory:///`.

    Raises StartRefused for one that is none, and a folder that cannot be made.
    """

    def __init__(self, url: str, wait_seconds: float = WAIT_SECONDS) -> None:
        self._wait_seconds = wait_seconds
        self._folder: Path | None = None
        self._store: ObjectStore
        try:
            parts = urlsplit(url)
            if parts.scheme == "file":
                self._folder = Path(unquote(parts.path))
                self._folder.mkdir(parents=True, exist_ok=True)
                self._store = LocalStore(self._folder)
            else:
                self._store = from_url(url, client_options=CLIENT, retry_config=RETRIES)
        except (BaseError, OSError, ValueError) as error:
            # What the error says may have a password in it.
            reason = str(error).partition("\n")[0].replace(url or "\n", place_of(url))
            raise StartRefused(f"{place_of(url)!r} is no place for blobs: {reason}") from error

    async def put(self, key: str, data: bytes) -> BlobReference:
        """Write a value; it is safe on disk, or in the object store, when this returns."""
        reference = BlobReference(key, len(data), hashlib.sha256(data).hexdigest())
        async with self._reaching(f"the blob {key} could not be written", len(data)):
            await obstore.put_async(self._store, key, data, use_multipart=False)
            if self._folder is not None:
                await asyncio.to_thread(_sync, self._folder, key)
        return reference

    async def get(self, reference: BlobReference) -> bytes:
        """The value, checked to be the one that was written."""
        async with self._reaching(f"the blob {reference.key} could not be read", reference.size):
            try:
                result = await obstore.get_async(self._store, reference.key)
                data = bytes(await result.bytes_async())
            except (FileNotFoundError, ValueError) as error:  # ValueError: the key is none, "../x" for one
                raise BlobMissing(f"the blob {reference.key} is not there") from error
        if len(data) != reference.size:
            raise BlobCorrupt(f"the blob {reference.key} has {len(data)} bytes in place of {reference.size}")
        if hashlib.sha256(data).hexdigest() != reference.sha256:
            raise BlobCorrupt(f"the blob {reference.key} has another hash than its reference")
        return data

    @asynccontextmanager
    async def _reaching(self, failure: str, size: int) -> AsyncIterator[None]:
        """Within, the store has to answer in time."""
        seconds = self._wait_seconds + size / SLOWEST
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError as error:
            raise BlobStoreAway(f"{failure}: no answer within {seconds:.1f} seconds") from error
        except (BaseError, OSError) as error:
            reason, _, _ = str(error).partition("\n")  # Rust's view of it follows, on many lines.
            raise BlobStoreAway(f"{failure}: {reason}") from error

    async def delete_prefix(self, prefix: str) -> int:
        """Delete all blobs below `prefix`, a folder's name ("ab" leaves "abc/…"); answers how many."""
        if not prefix.strip("/"):
            raise ValueError("an empty prefix would delete every blob")
        deleted = await self._delete_listed(prefix)
        if self._folder is not None:
            # What a killed process had begun to write is not listed, nor are the folders.
            await asyncio.to_thread(_remove_folder, self._folder, prefix.strip("/"))
        return deleted

    async def _delete_listed(self, prefix: str) -> int:
        deleted = 0
        chunks = aiter(obstore.list(self._store, prefix.strip("/"), chunk_size=LIST_CHUNK))
        while True:
            async with self._reaching(f"blobs below {prefix} could not be deleted", 0):
                try:
                    chunk = await anext(chunks, None)
                    if chunk is None:
                        return deleted
                    paths = [entry["path"] for entry in chunk]
                    await obstore.delete_async(self._store, paths)
                except FileNotFoundError:
                    return deleted
                deleted += len(paths)

    async def put_file(self, key: str, file: IO[bytes], size: int) -> None:
        """Write what is in a file, from where it stands; its memory is level. Whole and safe when this returns."""
        async with self._reaching(f"the blob {key} could not be written", size):
            await obstore.put_async(
                self._store, key, file, use_multipart=True, chunk_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE
            )
            if self._folder is not None:
                await asyncio.to_thread(_sync, self._folder, key)

    async def create(self, key: str, data: bytes) -> bool:
        """Write a value where there is none; False if there is one."""
        async with self._reaching(f"the blob {key} could not be written", len(data)):
            try:
                await obstore.put_async(self._store, key, data, use_multipart=False, mode="create")
            except AlreadyExistsError:
                return False
            if self._folder is not None:
                await asyncio.to_thread(_sync, self._folder, key)
        return True

    async def has(self, key: str) -> bool:
        """Whether there is a blob; it is safe then."""
        async with self._reaching(f"the blob {key} could not be looked for", 0):
            try:
                await obstore.head_async(self._store, key)
                if self._folder is not None:
                    await asyncio.to_thread(_sync, self._folder, key)
            except FileNotFoundError:
                return False
        return True

    async def tail(self, key: str, length: int) -> Tail:
        """The last bytes of a blob, at most so many."""
        async with self._reaching(f"the blob {key} could not be read", length):
            try:
                # In two steps: not every store can be asked for the end of an object whose size is not known.
                meta = await obstore.head_async(self._store, key)
            except (FileNotFoundError, ValueError) as error:
                raise BlobMissing(f"the blob {key} is not there") from error
        size, version = meta["size"], meta["e_tag"] or ""
        start = max(0, size - length)
        return Tail(await self.read(key, start, size - start, version) if size else b"", size, version)

    async def read(self, key: str, start: int, length: int, version: str) -> bytes:
        """A part of a blob. Raises BlobCorrupt if it is not the version any more that `tail` has told of."""
        options: GetOptions = {"range": (start, start + length)}
        if version:
            options["if_match"] = version
        async with self._reaching(f"the blob {key} could not be read", length):
            try:
                result = await obstore.get_async(self._store, key, options=options)
                data = bytes(await result.bytes_async())
            except PreconditionError as error:
                raise BlobCorrupt(f"the blob {key} was written again") from error
            except (FileNotFoundError, ValueError) as error:
                raise BlobMissing(f"the blob {key} is not there") from error
        if len(data) != length:
            raise BlobCorrupt(f"the blob {key} has {len(data)} bytes at {start} in place of {length}")
        return data

    async def sizes(self, prefix: str) -> list[tuple[str, int]]:
        """(key, bytes) of all blobs below `prefix`, a folder's name."""
        found: list[tuple[str, int]] = []
        chunks = aiter(obstore.list(self._store, prefix.strip("/"), chunk_size=LIST_CHUNK))
        while True:
            async with self._reaching(f"blobs below {prefix} could not be listed", 0):
                try:
                    chunk = await anext(chunks, None)
                except FileNotFoundError:
                    return found
            if chunk is None:
                return found
            found += [(entry["path"], entry["size"]) for entry in chunk]

    async def delete(self, key: str) -> bool:
        """Delete a blob; False if there was none. (An object store does not tell, and is asked before.)"""
        async with self._reaching(f"the blob {key} could not be deleted", 0):
            try:
                await obstore.head_async(self._store, key)
                await obstore.delete_async(self._store, key)
            except (FileNotFoundError, ValueError):
                return False
        return True


def place_of(url: str) -> str:
    """The URL without a user, a password and what an object store may be given as a key in its query."""
    plain = url.partition("?")[0]
    scheme, there, rest = plain.partition("://")
    return scheme + there + rest.rpartition("@")[2] if there else plain


def _remove_folder(folder: Path, prefix: str) -> None:
    path = Path(os.path.normpath(folder / prefix))
    if folder in path.parents:
        shutil.rmtree(path, ignore_errors=True)


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
