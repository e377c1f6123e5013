"""An identity provider's HTTP server with its public keys, and the private ones that sign its tokens."""

import asyncio
import base64
import json
import time
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

ISSUER = "https://idp.example.org/"
AUDIENCE = "blockyard"


@dataclass(frozen=True)
class SigningKey:
    """A private key with the name and the algorithm that its public one is published under."""

    key_id: str
    algorithm: str
    private: Any

    def described(self, **changes: Any) -> dict[str, Any]:
        """Its entry in the key set."""
        public = self.private.public_key()
        match self.algorithm:
            case "RS256":
                text = RSAAlgorithm.to_jwk(public)
            case "EdDSA":
                text = OKPAlgorithm.to_jwk(public)
            case _:
                text = ECAlgorithm.to_jwk(public)
        entry = {**json.loads(text), "kid": self.key_id, "alg": self.algorithm, "use": "sig", **changes}
        return {name: value for name, value in entry.items() if value is not None}

    def token(self, headers: dict[str, Any] | None = None, **changes: Any) -> str:
        """A token that is valid unless a change says otherwise; None takes a claim away."""
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "auth0|ada", "exp": time.time() + 600, **changes}
        present = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(present, self.private, self.algorithm, headers={"kid": self.key_id, **(headers or {})})


def rsa_key(key_id: str, bits: int = 2048) -> SigningKey:
    return SigningKey(key_id, "RS256", rsa.generate_private_key(public_exponent=65537, key_size=bits))


def ec_key(key_id: str) -> SigningKey:
    return SigningKey(key_id, "ES256", ec.generate_private_key(ec.SECP256R1()))


def ed_key(key_id: str) -> SigningKey:
    return SigningKey(key_id, "EdDSA", ed25519.Ed25519PrivateKey.generate())


def signed_by_hand(header: dict[str, Any], claims: dict[str, Any], signature: bytes) -> str:
    """A token as nobody's library would make it."""
    parts = [json.dumps(header).encode(), json.dumps(claims).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


@dataclass(eq=False)
class KeyServer:
    """Serves a key set, or whatever else it is told to."""

    keys: list[dict[str, Any]] = field(default_factory=list)
    status: int = 200
    body: bytes | None = None
    headers: str = ""
    hang: bool = False
    requests: int = 0
    url: str = ""
    _server: asyncio.Server | None = None

    async def __aenter__(self) -> "KeyServer":
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()[:2]
        self.url = f"http://{host}:{port}/jwks.json"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Be away from now on."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            self.requests += 1
            if self.hang:
                await reader.read()
                return
            body = self.body if self.body is not None else json.dumps({"keys": self.keys}).encode()
            head = (
                f"HTTP/1.1 {self.status} OK\r\ncontent-length: {len(body)}\r\nconnection: close\r\n{self.headers}\r\n"
            )
            writer.write(head.encode() + body)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
