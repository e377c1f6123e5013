"""Asks a provider about a secret, by the request that its file names."""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any
from urllib.parse import quote

from services.credentials.oauth.outgoing import Outgoing, ProviderAway, ProviderMisbehaved, Requests
from services.credentials.providers.definitions import PLACEHOLDER, Check, ProviderDefinition

MAX_NAME_CHARACTERS = 100


class Verdict(IntEnum):
    """Whether a provider takes a credential, by the numbers of the contract."""

    VALID = 1
    INVALID = 2
    UNKNOWN = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """What a provider said."""

    verdict: Verdict
    message: str
    account_name: str = ""


async def ask(requests: Requests, provider: ProviderDefinition, check: Check, parts: Mapping[str, object]) -> Finding:
    """The provider's opinion of a secret. Whatever goes wrong on the way is UNKNOWN."""
    title = provider.title
    try:
        outgoing = _request(check, parts, f"the test endpoint of {title}")
    except ValueError:
        return Finding(Verdict.INVALID, "The secret holds characters that no request can carry.")
    try:
        reply = await requests.send(outgoing)
    except (ProviderAway, ProviderMisbehaved) as error:
        return Finding(Verdict.UNKNOWN, f"{title} could not be asked: {error}. Try again later.")
    if reply.status in check.invalid_statuses:
        return Finding(Verdict.INVALID, f"{title} refuses it (status {reply.status}). Replace the secret.")
    if reply.status >= 300:
        return Finding(Verdict.UNKNOWN, f"{title} answers with status {reply.status}, which says neither.")
    answer = reply.json_object()
    if check.valid_if and not (answer is not None and _at(answer, check.valid_if)):
        if answer is None:
            return Finding(Verdict.UNKNOWN, f"{title} answers with something else than JSON.")
        return Finding(Verdict.INVALID, f"{title} refuses it. Replace the secret.")
    name = account_name(answer, check.account_name) if answer is not None else ""
    return Finding(Verdict.VALID, f"{title} takes it" + (f", for {name}." if name else "."), name)


def account_name(answer: Mapping[str, Any], path: str) -> str:
    """The text that stands there, as one may show it; empty if there is none."""
    value = _at(answer, path) if path else None
    if not isinstance(value, str | int) or isinstance(value, bool):
        return ""
    text = " ".join("".join(one if one.isprintable() else " " for one in str(value)).split())
    return re.sub("[<>]", "", text)[:MAX_NAME_CHARACTERS]


def _at(answer: Mapping[str, Any], path: str) -> Any:
    value: Any = answer
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _request(check: Check, parts: Mapping[str, object], what: str) -> Outgoing:
    values = {name: value for name, value in parts.items() if isinstance(value, str)}
    if "username" in values and "password" in values:
        pair = f"{values['username']}:{values['password']}"
        values["basic"] = base64.b64encode(pair.encode()).decode()
    headers = {
        name: PLACEHOLDER.sub(lambda match: values[match.group(1)], text) for name, text in check.headers.items()
    }
    if not all(value.isascii() and value.isprintable() for value in headers.values()):
        raise ValueError("a header holds what no header may")
    url = PLACEHOLDER.sub(lambda match: quote(values[match.group(1)], safe=""), check.url)
    body = None
    if check.json_body is not None:
        headers.setdefault("Content-Type", "application/json")
        body = json.dumps(dict(check.json_body))
    elif check.method == "POST":
        body = ""
    return Outgoing(check.method, url, headers, body, what)
