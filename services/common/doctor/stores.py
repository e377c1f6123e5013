"""Checks of where files and large values are kept: the blob store, and folders on the disk of this process."""

import asyncio
import secrets
import shutil
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

from services.common.blobs import BlobError, BlobStore, place_of
from services.common.doctor.findings import Check, Told, ok, warning, wrong
from services.common.errors import StartRefused

FOLDER = "blockyard-doctor"
"""Below it nothing is kept: what is written there is deleted at once."""
LITTLE_BYTES = 1 << 30
LITTLE = 0.05
"""A disk with less room than both of these is nearly full."""


def blob_store(url: str, name: str = "blob store", variable: str = "BLOCKYARD_BLOB_URL") -> list[Check]:
    """A value can be written, read and deleted; and there is room, if it is a folder. Nothing, if there is no URL."""
    return [Check(name, partial(_write_and_read, url, variable), ["settings"], seconds=20)] if url else []


def disk(name: str, folder: Path) -> list[Check]:
    """There is room on a disk of this process."""
    return [Check(name, partial(_room, folder), ["settings"])]


async def _write_and_read(url: str, variable: str) -> AsyncIterator[Told]:
    where = place_of(url)
    advice = (
        f"{variable} must lead to a folder that all replicas and runners share and may write to, or to a bucket "
        "that their credentials may read, write and delete in."
    )
    try:
        # In a thread: the folder may be on a server that is away.
        store = await asyncio.to_thread(BlobStore, url, 5.0)
        value = secrets.token_bytes(1024)
        folder = f"{FOLDER}/{secrets.token_hex(8)}"
        try:
            await store.get(await store.put(f"{folder}/value", value))
        finally:
            await store.delete_prefix(folder)
    except StartRefused as refusal:
        yield wrong(str(refusal), advice)
        return
    except (BlobError, OSError, ValueError) as error:
        yield wrong(f"{where}: {error}", advice)
        return
    yield ok(f"{where} takes, gives and deletes values")
    parts = urlsplit(url)
    if parts.scheme == "file":
        async for told in _room(Path(unquote(parts.path))):
            yield told


async def _room(folder: Path) -> AsyncIterator[Told]:
    try:
        usage = await asyncio.to_thread(shutil.disk_usage, folder)
    except OSError as error:
        yield wrong(f"{folder}: {error.strerror or error}", "Let the folder be there, for the user of this process.")
        return
    said = f"{usage.free / (1 << 30):.1f} GiB free at {folder}"
    if usage.free < LITTLE_BYTES and usage.free < LITTLE * usage.total:
        yield warning(said, "Make some room: what needs it waits when there is none.")
    else:
        yield ok(said)
