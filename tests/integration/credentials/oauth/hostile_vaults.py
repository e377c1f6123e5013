"""Vaults that know a hostile provider, and all that it may answer."""

import gzip
import json
from contextlib import AbstractAsyncContextManager
from typing import Any

from services.credentials.records import Opened
from tests.integration.credentials.oauth.hostile_provider import (
    Behaviour,
    HostileProvider,
    answer,
    cut_off,
    dripping,
    endless,
    not_http,
    silence,
    tokens,
)
from tests.integration.credentials.oauth.vaults import Replica, Vaults

CALLBACK = "https://app.example.com/callback"
HTML = "<html><title>Sign in</title></html>"
SENTINEL = "sentinel-5b1f"


AWAY: dict[str, Behaviour] = {
    "500": answer(500, HTML, "text/html"),
    "503 in JSON": answer(503, {"error": "temporarily_unavailable"}),
    "429": answer(429, {"error": "slow_down"}, retry_after="3600"),
    "hang": silence,
    "byte by byte": dripping,
    "cut off": cut_off,
    "not HTTP": not_http,
}
MISBEHAVED: dict[str, Behaviour] = {
    "HTML": answer(200, HTML, "text/html"),
    "HTML that says it is JSON": answer(200, HTML),
    "404 in HTML": answer(404, HTML, "text/html"),
    "a redirect": answer(302, "", "text/plain", location="https://elsewhere.example.com/"),
    "endless": endless,
    "a list": answer(200, "[1]"),
    "null": answer(200, "null"),
    "empty": answer(200, ""),
    "deep JSON": answer(200, "[" * 100_000),
    "not UTF-8": answer(200, b"\xff\xfe{}"),
    "no token": answer(200, {"token_type": "bearer"}),
    "a token that is a number": answer(200, tokens(access_token=7)),
    "a token with a line break": answer(200, tokens(access_token="a\r\nX-Evil: 1")),
    "a token of 1 MB": answer(200, tokens(access_token="x" * 200_000)),
    "another type of token": answer(200, tokens(token_type="mac")),
    "packed badly": answer(200, b"\x1f\x8b nonsense", content_encoding="gzip"),
    "packed strangely": answer(200, b"{}", content_encoding="br"),
    "a bomb": answer(200, gzip.compress(b"{" + b" " * (64 << 20)), content_encoding="gzip"),
    "an error without a code": answer(400, {"error": {"message": SENTINEL}}),
    "an error with a secret for a code": answer(400, {"error": f"the token {SENTINEL} is bad"}),
}


CLIENTS = json.dumps({"openid": {"client_id": "vault", "client_secret": f"secret-{SENTINEL}"}})


async def one(vaults: Vaults, hostile: HostileProvider, number: int = 0, **settings: Any) -> Replica:
    hangs = any(behaviour in (silence, dripping) for behaviour in hostile.behaviours.values())
    values = {"provider_timeout_seconds": 0.5 if hangs else 10, "refresh_pause_seconds": 30, **settings}
    return await vaults.shared(hostile.definition(), CLIENTS, number, **values)


def own(vaults: Vaults, hostile: HostileProvider) -> AbstractAsyncContextManager[Replica]:
    """One that ends within the test, or may break."""
    return vaults.replica(hostile.definition(), CLIENTS)


async def complete(replica: Replica) -> None:
    started = await replica.oauth.authorizations.start("anna", "openid", scopes=[], redirect_uri=CALLBACK)
    await replica.oauth.authorizations.complete(
        "anna", state=started.state, code=f"code-{SENTINEL}", error="", issuer=""
    )


async def expired(replica: Replica) -> Opened:
    return await replica.reopened(await replica.connected(seconds=-10, refresh_token=f"refresh-{SENTINEL}"))
