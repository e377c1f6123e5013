"""A key engine that speaks as Vault's transit engine does, over real HTTP; and one that misbehaves as it is told."""

import asyncio
import base64
import json
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.stack.certificates import Pair
from tests.waiting import until

Answer = tuple[int, Any]  # Any: JSON, or bytes that are none


@dataclass(eq=False)
class TransitEngine:
    """One key, "blockyard", below /v1/transit; its versions by number."""

    token: str = "a token of the vault"
    url: str = ""
    versions: dict[int, bytes] = field(default_factory=lambda: {1: os.urandom(32)})
    oldest: int = 1
    requests: int = 0
    misbehaviour: Answer | None = None
    """Given in the place of every answer."""
    hangs: bool = False
    connections: dict["asyncio.Task[None] | None", asyncio.StreamWriter] = field(default_factory=dict)
    fails: int = 0
    """So many requests more get 500."""

    def answer(self, method: str, path: str, token: str, body: dict[str, Any]) -> Answer:
        self.requests += 1
        if self.fails:
            self.fails -= 1
            return 500, {"errors": ["internal error"]}
        if self.misbehaviour is not None:
            return self.misbehaviour
        if token != self.token:
            return 403, {"errors": ["permission denied"]}
        match method, path.removeprefix("/v1/transit/"):
            case "GET", "keys/blockyard":
                return 200, {"data": {"latest_version": max(self.versions), "min_decryption_version": self.oldest}}
            case "POST", "keys/blockyard/rotate":
                self.versions[max(self.versions) + 1] = os.urandom(32)
                return 204, None
            case "POST", "encrypt/blockyard":
                return self._encrypt(body)
            case "POST", "decrypt/blockyard":
                return self._decrypt(body)
        return 404, {"errors": []}

    def _encrypt(self, body: dict[str, Any]) -> Answer:
        version = body.get("key_version") or max(self.versions)
        if version not in self.versions:
            return 400, {"errors": ["requested version for encryption is higher than the latest key version"]}
        nonce = os.urandom(12)
        plain, context = (base64.b64decode(body[name]) for name in ("plaintext", "associated_data"))
        sealed = nonce + AESGCM(self.versions[version]).encrypt(nonce, plain, context)
        return 200, {"data": {"ciphertext": f"vault:v{version}:{base64.b64encode(sealed).decode()}"}}

    def _decrypt(self, body: dict[str, Any]) -> Answer:
        _, version_text, sealed_text = body["ciphertext"].split(":", 2)
        version = int(version_text[1:])
        if version < self.oldest:
            return 400, {"errors": ["ciphertext or signature version is disallowed by policy (too old)"]}
        if version not in self.versions:
            return 400, {"errors": ["invalid ciphertext: version is not found"]}
        sealed = base64.b64decode(sealed_text)
        try:
            context = base64.b64decode(body["associated_data"])
            plain = AESGCM(self.versions[version]).decrypt(sealed[:12], sealed[12:], context)
        except InvalidTag:
            return 400, {"errors": ["cipher: message authentication failed"]}
        return 200, {"data": {"plaintext": base64.b64encode(plain).decode()}}

    async def serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Requests of one connection."""
        self.connections[asyncio.current_task()] = writer
        try:
            while line := await reader.readline():
                method, path, _ = line.decode().split()
                headers = {}
                while (header := (await reader.readline()).decode().strip()) != "":
                    name, _, value = header.partition(":")
                    headers[name.lower()] = value.strip()
                content = await reader.readexactly(int(headers.get("content-length", "0")))
                if self.hangs:
                    await reader.read()
                    return
                status, answer = self.answer(
                    method, path, headers.get("x-vault-token", ""), json.loads(content) if content else {}
                )
                await _write(writer, status, answer)
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()
            del self.connections[asyncio.current_task()]

    async def close(self) -> None:
        """Ends all connections."""
        for writer in self.connections.values():
            writer.transport.abort()
        await until(lambda: not self.connections, "connections end")


async def _write(writer: asyncio.StreamWriter, status: int, answer: Any) -> None:
    content = answer if isinstance(answer, bytes) else b"" if answer is None else json.dumps(answer).encode()
    kind = b"text/html" if isinstance(answer, bytes) else b"application/json"
    length = b"" if status == 204 else b"content-length: %d\r\n" % len(content)
    writer.write(b"HTTP/1.1 %d Status\r\ncontent-type: %s\r\n%s\r\n%s" % (status, kind, length, content))
    await writer.drain()


@asynccontextmanager
async def transit_engine(certificate: Pair | None = None) -> AsyncIterator[TransitEngine]:
    """An engine that listens while the context is open, with a certificate over TLS."""
    engine, encrypted = TransitEngine(), None
    if certificate is not None:
        encrypted = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        encrypted.load_cert_chain(certificate.certificate, certificate.key)
    server = await asyncio.start_server(engine.serve_one, "127.0.0.1", 0, ssl=encrypted)
    engine.url = f"http{'s' if encrypted else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}/transit/blockyard"
    try:
        yield engine
    finally:
        server.close()
        await engine.close()
