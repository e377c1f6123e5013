"""Keys in a folder, a file each: a mounted Kubernetes Secret, or a folder of one machine where new ones may be made."""

import asyncio
import base64
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog

from services.credentials.envelope import KEY_BYTES
from services.credentials.keys import KeyMissing, NoKeysMade, ProviderAway
from services.credentials.keys.local import KeyMalformed, read_key, unwrap_with, wrap_with

LARGEST_FILE = 4096
"""Bytes of a file that are read: a key has 45."""

log = structlog.stdlib.get_logger(__name__)


class FolderKeys:
    """The files of a folder: the name is the key's id, the content the key in base64.

    They are read again when a file was added or has changed, which is looked at when a key is wanted, and at most once
    in `look_seconds`; a key that is not known is looked for at once.
    """

    remote = False

    def __init__(self, folder: Path, look_seconds: float = 1.0) -> None:
        self._folder = folder
        self._look_seconds = look_seconds
        self._keys: Mapping[str, bytes] = {}
        self._seen: object = None
        self._looked_at = -look_seconds

    async def key_ids(self) -> Sequence[str]:
        """Ids of the keys, by the times of their files."""
        await asyncio.to_thread(self._look)
        return list(self._keys)

    async def wrap(self, key_id: str, data_key: bytes, context: bytes) -> bytes:
        """A data key, encrypted."""
        return wrap_with(await self._known(key_id), key_id, data_key, context)

    async def unwrap(self, key_id: str, wrapped: bytes, context: bytes) -> bytes:
        """The data key."""
        return unwrap_with(await self._known(key_id), key_id, wrapped, context)

    async def make(self) -> str:
        """A new file with a new key, on the disk before this returns."""
        return await asyncio.to_thread(self._make)

    async def close(self) -> None:
        """There is nothing to let go."""

    async def _known(self, key_id: str) -> Mapping[str, bytes]:
        if key_id not in self._keys or time.monotonic() - self._looked_at >= self._look_seconds:
            await asyncio.to_thread(self._look)
        if key_id not in self._keys:
            raise KeyMissing(key_id)
        return self._keys

    def _look(self) -> None:
        self._looked_at = time.monotonic()
        try:
            # A Secret's mount has a name that points to the present files, and names for kubelet that begin with a dot.
            files = [entry for entry in os.scandir(self._folder) if not entry.name.startswith(".") and entry.is_file()]
            stats = {entry.name: entry.stat() for entry in files}
            seen = {name: (stat.st_mtime_ns, stat.st_size, stat.st_ino) for name, stat in stats.items()}
            if seen != self._seen:
                oldest_first = sorted(stats, key=lambda name: (stats[name].st_mtime_ns, name))
                self._keys = self._read(oldest_first)
                self._seen = seen
        except OSError as error:
            raise ProviderAway(f"the folder of keys cannot be read: {error.strerror or error}") from error

    def _read(self, names: Sequence[str]) -> dict[str, bytes]:
        keys = {}
        for name in names:
            with (self._folder / name).open("rb") as file:
                content = file.read(LARGEST_FILE)
            try:
                keys[name] = read_key(name, content.decode(errors="replace"))
            except KeyMalformed as error:
                # The others are good: what this one wraps is unavailable, and its id is named by whoever wants it.
                log.error("a file of the folder of keys is no key", file=name, reason=str(error))
        return keys

    def _make(self) -> str:
        key_id = f"key-{time.strftime('%Y%m%d', time.gmtime())}-{secrets.token_hex(4)}"
        partial = self._folder / f".{key_id}"
        try:
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(base64.b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            partial.rename(self._folder / key_id)
            _sync(self._folder)
        except OSError as error:
            reason = error.strerror or str(error)
            raise NoKeysMade(
                f"The folder of keys takes no new one ({reason}): add a file with a key to it, for every replica."
            ) from error
        return key_id


def _sync(folder: Path) -> None:
    """Without this the name of a new file may be lost, and with it every secret that the key wraps."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
