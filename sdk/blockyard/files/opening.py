"""A file that is being read, wherever it is: one shape for kept files, files of the web, data URIs and plain text."""

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from blockyard.files.downloads import Download
from blockyard.files.errors import FileCorrupt, FileMissing, FileTooLarge
from blockyard.files.records import RECORD_BYTES, FileInfo, decode_record
from blockyard.files.references import read_reference
from blockyard.files.spool import PIECE_BYTES
from blockyard.files.stores import FileStore

REPLACEMENTS = 20
"""How often in a row a kept file may be written again while one piece of it is read."""


@dataclass(slots=True)
class OpenFile:
    """A file to be read once, from its beginning."""

    name: str
    """As its source says, not cleaned; may be empty."""
    content_type: str
    """As its source says; empty if it does not."""
    size: int | None
    """In bytes, if it is known."""
    _pieces: AsyncGenerator[bytes, None]
    _download: Download | None = None

    @property
    def resumed(self) -> int:
        """How often a broken connection was taken up again."""
        return self._download.resumed if self._download else 0

    async def chunks(self) -> AsyncIterator[bytes]:
        """The content as it comes, at most a megabyte at a time."""
        async for piece in self._pieces:
            yield piece

    async def read(self) -> bytes:
        """All of the content."""
        content = bytearray()
        async for piece in self._pieces:
            content += piece
        return bytes(content)


@asynccontextmanager
async def opened(
    name: str,
    content_type: str,
    size: int | None,
    pieces: AsyncGenerator[bytes, None],
) -> AsyncIterator[OpenFile]:
    """A file of these pieces."""
    async with aclosing(pieces):
        yield OpenFile(name, content_type, size, pieces)


@asynccontextmanager
async def opened_download(download: Download) -> AsyncIterator[OpenFile]:
    """A file of the web, whose server has answered."""
    async with aclosing(download.chunks()) as pieces:
        first = await anext(pieces)
        yield OpenFile(download.name, download.content_type, download.length, _with(first, pieces), download)


async def in_memory(content: bytes) -> AsyncGenerator[bytes, None]:
    """Pieces of what is there already."""
    for start in range(0, len(content), PIECE_BYTES):
        yield content[start : start + PIECE_BYTES]


async def kept(store: FileStore, key: str, info: FileInfo, version: str) -> AsyncGenerator[bytes, None]:
    """Pieces of a kept file. At its end it is known to be the one that was kept, or a FileCorrupt is raised."""
    digest = hashlib.sha256()
    for start in range(0, info.size, PIECE_BYTES):
        length = min(PIECE_BYTES, info.size - start)
        try:
            piece, version = await _piece(store, key, info, start, length, version)
        except FileMissing:
            raise FileMissing(f"{info.name}: was deleted while it was read") from None
        except FileCorrupt:
            raise FileCorrupt(f"{info.name}: was replaced while it was read") from None
        digest.update(piece)
        yield piece
    if digest.hexdigest() != info.sha256:
        raise FileCorrupt(f"{info.name}: has another hash than the file that was kept")


async def _piece(
    store: FileStore, key: str, info: FileInfo, start: int, length: int, version: str
) -> tuple[bytes, str]:
    """A piece, and the version that it is of: other attempts of the run that keeps the file may write it again."""
    for _ in range(REPLACEMENTS):
        try:
            return await store.read(key, start, length, version), version
        except FileCorrupt:
            version = await _same(store, key, info)
    return await store.read(key, start, length, version), version


async def _same(store: FileStore, key: str, info: FileInfo) -> str:
    """The version of the file that is there now, if its content is the same."""
    tail = await store.tail(key, RECORD_BYTES)
    there = decode_record(tail.data, read_reference(info.reference), tail.size)
    if (there.sha256, there.size) != (info.sha256, info.size):
        raise FileCorrupt(key)
    return tail.version


def within(name: str, limit: int, size: int) -> None:
    """Raises FileTooLarge if the size is above the limit."""
    if size > limit:
        raise FileTooLarge(f"{name or 'the file'}: is larger than the limit of {limit} bytes")


async def _with(first: bytes, others: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    yield first
    async for piece in others:
        yield piece
