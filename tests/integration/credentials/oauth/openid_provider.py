"""A certified OpenID provider (npm's oidc-provider) in a process of its own, and a browser that signs in there."""

import asyncio
import fcntl
import hashlib
import json
import shutil
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urljoin, urlsplit

import httpx2

SOURCE = Path(__file__).parent / "provider"
CACHE = Path(__file__).parents[4] / ".cache" / "oidc-provider"
CLIENT_SECRET = "a secret of the client, with + and % in it"
INSTALL_SECONDS = 150.0


async def install() -> Path:
    """The folder with what the provider needs, as the lock file says; installed once for each content of that."""
    return await asyncio.to_thread(_install)


def _install() -> Path:
    CACHE.mkdir(parents=True, exist_ok=True)
    lock = (SOURCE / "package-lock.json").read_bytes()
    installed, wanted = CACHE / "installed", hashlib.sha256(lock).hexdigest()
    with (CACHE / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not installed.exists() or installed.read_text() != wanted:
            for name in ("package.json", "package-lock.json"):
                shutil.copy(SOURCE / name, CACHE / name)
            command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            done = subprocess.run(command, cwd=CACHE, timeout=INSTALL_SECONDS, capture_output=True, text=True)
            assert done.returncode == 0, f"npm ci failed:\n{done.stderr[-2000:]}"
            installed.write_text(wanted)
    return CACHE


@dataclass(frozen=True, slots=True)
class Returned:
    """What the provider sent back to the redirect URI."""

    uri: str
    parameters: Mapping[str, str]

    @property
    def code(self) -> str:
        return self.parameters.get("code", "")


@dataclass(eq=False)
class OpenIdProvider:
    """A running provider."""

    issuer: str
    client: httpx2.AsyncClient

    async def control(self, what: str, **asked: object) -> dict[str, Any]:
        answer = await self.client.post(f"{self.issuer}/control/{what}", json=asked)
        assert answer.status_code == 200, answer.text
        content: dict[str, Any] = answer.json()
        return content

    async def reset(self) -> None:
        """The clock is right, and nothing was asked yet."""
        await self.control("reset")

    async def set(self, **settings: float) -> None:
        """offset: seconds that its clock is ahead; delay: of each token answer; accessTokenSeconds: their life."""
        await self.control("set", **settings)

    async def revoke_all(self) -> None:
        """What users do in their account's settings."""
        await self.control("revoke")

    async def calls(self) -> Counter[tuple[str, int]]:
        """What the token endpoint was asked, and how it answered: ("refresh_token", 200) -> 3."""
        calls = (await self.control("calls"))["calls"]
        return Counter((call["grant_type"] or call["path"], call["status"]) for call in calls)

    async def sign_in(self, url: str, account: str = "anna@example.com", *, consents: bool = True) -> Returned:
        """What a browser does with an authorization URL: it goes where it is sent, until that is not the provider."""
        headers = {"x-account": account, "x-consent": "yes" if consents else "no"}
        # Kept by hand: by the provider's clock a cookie may be over before it came.
        cookies: dict[str, str] = {}
        for _ in range(20):
            sent = {"cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
            answer = await self.client.get(url, headers=headers | sent)
            for line in answer.headers.get_list("set-cookie"):
                name, _, value = line.partition(";")[0].partition("=")
                cookies[name] = value
            self.client.cookies.clear()
            location = answer.headers.get("location")
            assert location is not None, f"{answer.status_code}: {answer.text[:500]}"
            url = urljoin(url, location)
            if not url.startswith(self.issuer):
                return Returned(url, dict(parse_qsl(urlsplit(url).query)))
        raise AssertionError("redirected without end")

    def definition(self, **changes: object) -> dict[str, Any]:
        """What a provider's file says of it."""
        oauth2 = {
            "authorization_url": f"{self.issuer}/auth",
            "token_url": f"{self.issuer}/token",
            "authentication": "basic",
            "issuer": self.issuer,
            "issuer_required": True,
            "default_scopes": ["openid", "read"],
            "revocation": {"url": f"{self.issuer}/token/revocation"},
            **changes,
        }
        check = {
            "url": f"{self.issuer}/me",
            "headers": {"Authorization": "Bearer {access_token}"},
            "account_name": "sub",
        }
        return {"name": "openid", "title": "OpenID", "types": ["oauth2"], "oauth2": oauth2, "checks": {"oauth2": check}}


@asynccontextmanager
async def running_provider() -> AsyncIterator[OpenIdProvider]:
    """It ends with its standard input, so also when this process is killed."""
    folder = await install()
    process = await asyncio.create_subprocess_exec(
        "node",
        str(SOURCE / "provider.js"),
        str(folder),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            while not (line := (await process.stdout.readline()).decode()).startswith("port "):
                assert line, "the provider ended before it listened"
        async with httpx2.AsyncClient(timeout=10) as client:
            yield OpenIdProvider(f"http://127.0.0.1:{int(line.split()[1])}", client)
    finally:
        process.stdin.close()
        try:
            async with asyncio.timeout(5):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


def clients(client_id: str = "vault-basic", secret: str = CLIENT_SECRET) -> str:
    """BLOCKYARD_OAUTH_CLIENTS for it."""
    return json.dumps({"openid": {"client_id": client_id, "client_secret": secret}})
