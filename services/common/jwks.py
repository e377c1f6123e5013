"""The public keys of an identity provider, as its URL gives them (JWKS, RFC 7517).

They are read again every few minutes, and at once when a token names a key that is not among them. While the URL is
away, the keys that were read last go on.
"""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx2
import jwt
import structlog
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from services.common import tasks
from services.common.errors import Unavailable

REFRESH_SECONDS = 300.0
PAUSE_SECONDS = 10.0
"""Between two reads that unknown keys cause: anybody can name a key that is not there."""
TIMEOUT_SECONDS = 5.0
LARGEST_ANSWER = 256 << 10
MOST_KEYS = 100
SHORTEST_RSA_BITS = 2048

log = structlog.stdlib.get_logger(__name__)


class KeysAway(Unavailable):
    """The keys of the identity provider have not been read yet, so its tokens cannot be checked. Try again."""


class KeySet:
    """The keys at one URL, by id."""

    def __init__(self, url: str, client: httpx2.AsyncClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._client = client
        self._clock = clock
        self._keys: Mapping[str, jwt.PyJWK] | None = None
        self._read_at = float("-inf")
        self._tried_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None

    async def key(self, key_id: str, algorithm: str) -> jwt.PyJWK | None:
        """The key of this id, if it is one for this algorithm. Without an id: the only one for it."""
        if self._clock() - self._read_at > REFRESH_SECONDS:
            self._begin_reading()
        found = self._find(key_id, algorithm)
        if found is None and (reading := self._begin_reading()) is not None:
            # Shielded: who waits may be cancelled, and others wait for the same answer.
            await asyncio.shield(reading)
            found = self._find(key_id, algorithm)
        if self._keys is None:
            raise KeysAway
        return found

    async def close(self) -> None:
        """End a read that is under way."""
        if self._reading is not None:
            await tasks.end((self._reading,))

    def _find(self, key_id: str, algorithm: str) -> jwt.PyJWK | None:
        keys = self._keys or {}
        if key_id:
            key = keys.get(key_id)
            return key if key is not None and key.algorithm_name == algorithm else None
        fitting = [key for key in keys.values() if key.algorithm_name == algorithm]
        return fitting[0] if len(fitting) == 1 else None

    def _begin_reading(self) -> "asyncio.Task[None] | None":
        """The read that is under way or begins now; None if there was one only just."""
        if self._reading is not None and not self._reading.done():
            return self._reading
        if self._clock() - self._tried_at < PAUSE_SECONDS:
            return None
        self._tried_at = self._clock()
        self._reading = asyncio.create_task(self._read(), name="read keys of the identity provider")
        return self._reading

    async def _read(self) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                keys = _parsed(await self._fetch())
        except (httpx2.HTTPError, TimeoutError, ValueError, jwt.PyJWTError) as error:
            log.warning("the keys of the identity provider cannot be read", url=self._url, reason=_reason(error))
            return
        if not keys:
            log.warning("the identity provider has no key that can be used", url=self._url)
        self._keys = keys
        self._read_at = self._clock()

    async def _fetch(self) -> bytes:
        async with self._client.stream("GET", self._url, headers={"accept": "application/json"}) as response:
            if response.status_code != 200:
                raise ValueError(f"it answered {response.status_code}")
            data = bytearray()
            async for part in response.aiter_bytes():
                data += part
                if len(data) > LARGEST_ANSWER:
                    raise ValueError(f"its answer is longer than {LARGEST_ANSWER} bytes")
            return bytes(data)


def _parsed(data: bytes) -> dict[str, jwt.PyJWK]:
    """The keys that can be used, by id; keys of other kinds stand in a key set by right, and are left out."""
    try:
        document = json.loads(data)
    except RecursionError:
        raise ValueError("its answer is nested too deeply") from None
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise ValueError('its answer has no list "keys"')
    keys: dict[str, jwt.PyJWK] = {}
    for number, one in enumerate(listed[:MOST_KEYS]):
        key = _key(one) if isinstance(one, dict) else None
        if key is not None:
            keys[str(one.get("kid") or f"#{number}")] = key
    return keys


def _key(described: dict[str, Any]) -> jwt.PyJWK | None:
    if described.get("kty") not in ("RSA", "EC", "OKP") or described.get("use", "sig") != "sig":
        return None
    public = {name: value for name, value in described.items() if name not in ("d", "p", "q", "dp", "dq", "qi")}
    try:
        key = jwt.PyJWK(public)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    return key if _fits(key.algorithm_name, key.key) else None


def _fits(algorithm: str, key: object) -> bool:
    match algorithm:
        case "RS256":
            return isinstance(key, RSAPublicKey) and key.key_size >= SHORTEST_RSA_BITS
        case "ES256":
            return isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1)
        case "EdDSA":
            return isinstance(key, Ed25519PublicKey)
    return False


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
