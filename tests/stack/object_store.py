"""An object store of S3's protocol, as far as single objects go, that can be made to hang or to fail."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

BUCKET_URL = "s3://bucket/blobs"


@dataclass(eq=False)
class ObjectStore:
    """What it holds, and how it behaves from now on."""

    port: int = 0
    objects: dict[str, bytes] = field(default_factory=dict)
    asked: int = 0
    """Requests that have come."""
    failing: bool = False
    well: int | None = None
    """So many requests are answered well, and those after them fail; None is no limit."""
    answers: asyncio.Event = field(default_factory=asyncio.Event)
    """While it is not set requests hang."""
    connections: dict[asyncio.StreamWriter, asyncio.Task[Any] | None] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which BUCKET_URL leads here."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "nowhere",
        }

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections[writer] = asyncio.current_task()
        try:
            while line := await reader.readline():
                method, path, _ = line.decode().split(" ", 2)
                headers = [text async for text in _lines(reader)]
                lengths = [int(text.split(":")[1]) for text in headers if text.lower().startswith("content-length:")]
                body = await reader.readexactly(sum(lengths))
                self.asked += 1
                await self.answers.wait()
                status, answer = self._answer(method, path, body)
                tag = hashlib.md5(answer, usedforsecurity=False).hexdigest()
                head = f'HTTP/1.1 {status}\r\nETag: "{tag}"\r\nLast-Modified: Sat, 21 Nov 2026 10:00:00 GMT\r\n'
                writer.write(f"{head}Content-Length: {len(answer)}\r\n\r\n".encode() + answer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            del self.connections[writer]

    def _answer(self, method: str, path: str, body: bytes) -> tuple[str, bytes]:
        if self.failing or (self.well is not None and self.asked > self.well):
            return "403 Forbidden", b""
        if not path.startswith("/bucket/"):
            return "404 Not Found", b""
        if method == "PUT":
            self.objects[path] = body
            return "200 OK", b""
        if path in self.objects:
            return "200 OK", self.objects[path]
        return "404 Not Found", b""


async def _lines(reader: asyncio.StreamReader) -> AsyncIterator[str]:
    while text := (await reader.readline()).decode().strip():
        yield text


@asynccontextmanager
async def object_store() -> AsyncIterator[ObjectStore]:
    """One that answers."""
    store = ObjectStore()
    store.answers.set()
    server = await asyncio.start_server(store.serve, "127.0.0.1", 0)
    store.port = server.sockets[0].getsockname()[1]
    try:
        yield store
    finally:
        server.close()
        store.answers.set()
        for writer, task in list(store.connections.items()):
            writer.close()
            if task is not None:
                await asyncio.wait([task])
