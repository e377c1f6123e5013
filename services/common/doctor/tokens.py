"""A check of the identity provider whose tokens a service takes: that its keys can be read, from here."""

import json
from collections.abc import AsyncIterator
from functools import partial
from urllib.parse import urlsplit

import httpx2

from services.common.config import ServiceSettings
from services.common.doctor.findings import Check, Told, ok, wrong

SECONDS = 4.0


def identity_provider(settings: ServiceSettings) -> list[Check]:
    """One, if there is a provider."""
    return [Check("identity provider", partial(_read, settings.jwks_url), ["settings"])] if settings.jwks_url else []


async def _read(url: str) -> AsyncIterator[Told]:
    where = urlsplit(url).netloc.rpartition("@")[2]
    advice = "BLOCKYARD_JWKS_URL must lead to its public keys (JWKS), and the network let this process reach them."
    try:
        async with httpx2.AsyncClient(timeout=SECONDS) as client:
            answer = await client.get(url)
        keys = json.loads(answer.content)["keys"] if answer.status_code == 200 else []
    except (httpx2.HTTPError, OSError) as error:
        yield wrong(f"{where} cannot be asked: {error or type(error).__name__}", advice)
    except (ValueError, KeyError, TypeError):
        yield wrong(f"{where} answers something else than keys", advice)
    else:
        if keys:
            yield ok(f"{len(keys)} keys at {where}")
        else:
            yield wrong(f"{where} gives no keys (HTTP {answer.status_code})", advice)
