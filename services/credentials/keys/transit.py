"""Keys of HashiCorp Vault's transit engine, or of what speaks like it: they never leave it, it wraps and unwraps.

A key has versions, each of which is a key to us: "<name>:v<version>".
"""

import asyncio
import base64
import binascii
import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import orjson
from pydantic import SecretStr

from services.common.backoff import delays
from services.credentials.keys import KeyMissing, NoKeysMade, NotUnwrapped, ProviderAway

ATTEMPTS = 3
LARGEST_ANSWER = 1 << 20
CONNECTIONS = 16
_KEY_ID = re.compile(r"(?P<name>.+):v(?P<version>[1-9][0-9]{0,8})")
_GONE = ("too old", "not found", "version does not exist", "higher than the latest", "no keys")
"""What Vault says, with status 400, of a version that it has no more, or not yet."""


@dataclass(frozen=True, slots=True)
class TransitAccess:
    """Where the engine is and how one may ask it."""

    url: str
    """Without the mount: "https://vault:8200"."""
    mount: str
    name: str
    token: SecretStr
    token_file: Path | None
    """Read at each request, since an agent writes a new one now and then."""
    timeout_seconds: float
    """For a question with all its attempts."""
    trusted: ssl.SSLContext
    """Who may vouch for the engine."""


class TransitKeys:
    """Asks the engine, with a deadline; what may pass is asked again twice."""

    remote = True

    def __init__(self, access: TransitAccess) -> None:
        self._access = access
        limits = httpx2.Limits(max_connections=CONNECTIONS)
        # What proxies the environment names is for browsers; a key engine is asked itself.
        self._client = httpx2.AsyncClient(
            timeout=access.timeout_seconds / 2,
            limits=limits,
            verify=access.trusted,
            follow_redirects=False,
            trust_env=False,
        )

    async def key_ids(self) -> Sequence[str]:
        """The versions that may still unwrap."""
        data = await self._ask("GET", f"keys/{quote(self._access.name, safe='')}")
        try:
            latest, oldest = int(data["latest_version"]), int(data.get("min_decryption_version") or 1)
        except (KeyError, TypeError, ValueError):
            raise ProviderAway("it answered with something else than a key") from None
        return [self._key_id(version) for version in range(max(oldest, 1), latest + 1)]

    async def wrap(self, key_id: str, data_key: bytes, context: bytes) -> bytes:
        """A data key as Vault's own text, "vault:v2:…"."""
        body = {
            "plaintext": _base64(data_key),
            "associated_data": _base64(context),
            "key_version": self._version(key_id),
        }
        try:
            data = await self._ask("POST", f"encrypt/{quote(self._access.name, safe='')}", body)
        except NotUnwrapped as error:
            raise ProviderAway(f"it refused to wrap: {error}") from error
        except KeyMissing:
            raise KeyMissing(key_id) from None
        text = data.get("ciphertext")
        if not isinstance(text, str) or not text.startswith(f"vault:v{self._version(key_id)}:"):
            raise ProviderAway("it answered with something else than a wrapped key")
        return text.encode()

    async def unwrap(self, key_id: str, wrapped: bytes, context: bytes) -> bytes:
        """The data key."""
        text = wrapped.decode(errors="replace")
        if not text.startswith(f"vault:v{self._version(key_id)}:"):
            raise NotUnwrapped("it was not wrapped by this key")
        body = {"ciphertext": text, "associated_data": _base64(context)}
        try:
            data = await self._ask("POST", f"decrypt/{quote(self._access.name, safe='')}", body)
            return base64.b64decode(data["plaintext"], validate=True)
        except KeyMissing:
            raise KeyMissing(key_id) from None
        except (KeyError, TypeError, binascii.Error, ValueError):
            raise ProviderAway("it answered with something else than a data key") from None

    async def make(self) -> str:
        """Vault's key gets another version. Not repeated: each time makes one."""
        try:
            await self._ask("POST", f"keys/{quote(self._access.name, safe='')}/rotate", {}, attempts=1)
        except NotUnwrapped as error:
            raise NoKeysMade(f'The key engine makes no version of "{self._access.name}": {error}.') from error
        except KeyMissing:
            raise NoKeysMade(
                f'The key engine has no key "{self._access.name}": make it there, of type aes256-gcm96.'
            ) from None
        return (await self.key_ids())[-1]

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.aclose()

    def _key_id(self, version: int) -> str:
        return f"{self._access.name}:v{version}"

    def _version(self, key_id: str) -> int:
        found = _KEY_ID.fullmatch(key_id)
        if found is None or found["name"] != self._access.name:
            raise KeyMissing(key_id)
        return int(found["version"])

    async def _ask(
        self, method: str, path: str, body: Mapping[str, object] | None = None, attempts: int = ATTEMPTS
    ) -> Mapping[str, Any]:  # Any: what is in an answer is checked by whoever wants it
        try:
            async with asyncio.timeout(self._access.timeout_seconds):
                for pause, left in zip(delays(0.1, 1.0), reversed(range(attempts)), strict=False):
                    try:
                        return await self._ask_once(method, path, body)
                    except ProviderAway:
                        if not left:
                            raise
                    await asyncio.sleep(pause)
        except TimeoutError:
            raise ProviderAway("the key engine does not answer in time") from None
        raise AssertionError("there is at least one attempt")

    async def _ask_once(self, method: str, path: str, body: Mapping[str, object] | None) -> Mapping[str, Any]:
        url = f"{self._access.url}/v1/{self._access.mount}/{path}"
        content = None if body is None else orjson.dumps(body)
        headers = {"X-Vault-Token": self._token(), "X-Vault-Request": "true"}
        try:
            async with self._client.stream(method, url, content=content, headers=headers) as response:
                answer = await _bounded(response)
        except httpx2.HTTPError as error:
            raise ProviderAway(f"the key engine cannot be asked: {type(error).__name__}") from error
        return _data(response.status_code, answer)

    def _token(self) -> str:
        if self._access.token_file is None:
            return self._access.token.get_secret_value()
        try:
            return self._access.token_file.read_text().strip()
        except OSError as error:
            raise ProviderAway(f"the token of the key engine cannot be read: {error.strerror}") from error


async def _bounded(response: httpx2.Response) -> bytes:
    answer = b""
    async for part in response.aiter_bytes():
        answer += part
        if len(answer) > LARGEST_ANSWER:
            raise ProviderAway("the key engine answered with more than it may")
    return answer


def _data(status: int, answer: bytes) -> Mapping[str, Any]:
    """What stands in an answer under "data"; every other answer is one of three errors."""
    if status == 204:
        return {}
    try:
        content = orjson.loads(answer) if answer else {}
    except orjson.JSONDecodeError:
        content = None
    said = content.get("errors") if isinstance(content, dict) else None
    why = "; ".join(str(one) for one in said)[:200] if isinstance(said, list) else ""
    if status == 200 and isinstance(content, dict) and isinstance(content.get("data"), dict):
        data: Mapping[str, Any] = content["data"]
        return data
    if status == 404 or (status == 400 and any(word in why for word in _GONE)):
        raise KeyMissing("")
    if status == 400 and why:
        raise NotUnwrapped(why)
    reasons = {
        200: "the key engine answered with something else than JSON",
        403: "the key engine refuses the vault's token (403)",
        503: "the key engine is sealed or stands by (503)",
    }
    raise ProviderAway(reasons.get(status, f"the key engine answered with status {status}"))


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
