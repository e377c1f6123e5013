"""OAuth 2 as a provider speaks it: authorization URLs, and the exchange, refresh and revocation of tokens.

Grants, PKCE and the client's authentication are Authlib's functions; what is here is what providers make of them.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard
from urllib.parse import parse_qsl, quote, quote_plus, urlencode

from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.parameters import (
    prepare_grant_uri,
    prepare_token_request,
)
from authlib.oauth2.rfc7009 import prepare_revoke_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from services.credentials.oauth.outgoing import Outgoing, ProviderMisbehaved, Reply, Requests
from services.credentials.providers import Connection
from services.credentials.providers.definitions import SCOPE, Authentication

MAX_TOKEN_CHARACTERS = 16 << 10
MAX_SCOPES = 100
LONGEST_LIFE_SECONDS = 10 * 366 * 86_400
"""What a provider says beyond this is as good as for ever."""

_METHODS = {
    Authentication.BASIC: "client_secret_basic",
    Authentication.POST: "client_secret_post",
    Authentication.NONE: "none",
}
_FORM = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
_BEARERS = frozenset({"bearer", "user", "bot"})
"""What providers call tokens that are sent as Bearer: Slack has the latter two."""
_ERROR_CODE = re.compile(r"[A-Za-z0-9_.-]{1,60}")


class TokenRefused(Exception):
    """The provider refuses, by a code of RFC 6749 or its own. Its description is left out: it may repeat a secret."""

    def __init__(self, what: str, code: str, grant_is_void: bool) -> None:
        super().__init__(f"{what} refuses: {code}")
        self.code = code
        self.grant_is_void = grant_is_void
        """Whether the code or refresh token is of no use any more, so that the user has to connect again."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a provider gave."""

    access_token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    token_type: str
    expires_in: int | None
    """Seconds; None if it does not say."""
    scopes: tuple[str, ...] | None
    """None if it does not say, which means those that were asked for."""
    answer: Mapping[str, Any] = field(repr=False)  # Any: JSON

    def parts(self, refresh_token: str | None = None) -> dict[str, str]:
        """The secret that is kept. A provider that gives no new refresh token means the one before to stay."""
        kept = self.refresh_token or refresh_token
        parts = {"access_token": self.access_token, "token_type": self.token_type}
        return parts | ({"refresh_token": kept} if kept else {})


def authorization_url(
    connection: Connection, redirect_uri: str, scopes: Sequence[str], state: str, verifier: str
) -> str:
    """Where the user's browser is sent."""
    oauth2 = connection.oauth2
    parameters: dict[str, str] = dict(oauth2.authorization_parameters)
    if oauth2.pkce:
        parameters |= {"code_challenge": create_s256_code_challenge(verifier), "code_challenge_method": "S256"}
    url: str = prepare_grant_uri(
        oauth2.authorization_url,
        connection.client.client_id,
        "code",
        redirect_uri=redirect_uri,
        scope=oauth2.scope_separator.join(scopes),
        state=state,
        **parameters,
    )
    return url


def exchange_request(connection: Connection, code: str, redirect_uri: str, verifier: str) -> Outgoing:
    """Asks for the tokens of a code."""
    proof = {"code_verifier": verifier} if connection.oauth2.pkce else {}
    return _token_request(
        connection, prepare_token_request("authorization_code", code=code, redirect_uri=redirect_uri, **proof)
    )


def refresh_request(connection: Connection, refresh_token: str) -> Outgoing:
    """Asks for new tokens by a refresh token, which a provider that rotates takes once."""
    return _token_request(connection, prepare_token_request("refresh_token", refresh_token=refresh_token))


def revocation_request(connection: Connection, token: str, hint: str) -> Outgoing:
    """Gives a token back. `hint` is "access_token" or "refresh_token"."""
    revocation = connection.oauth2.revocation
    assert revocation is not None, "asked of a provider that has no revocation"
    url = revocation.url.replace("{client_id}", quote(connection.client.client_id, safe=""))
    if revocation.token_parameter == "token":
        body, _ = prepare_revoke_token_request(token, hint)
    else:
        body = urlencode({revocation.token_parameter: token})
    if revocation.authentication is Authentication.TOKEN:
        headers, body = {**_FORM, "Authorization": f"Bearer {token}"}, ""
    else:
        url, headers, body = _authenticated(connection, revocation.authentication, url, body)
    what = f"the revocation endpoint of {connection.provider.title}"
    return _outgoing(revocation.method, url, headers, body, revocation.body == "json", what)


def tokens_of(connection: Connection, reply: Reply) -> Tokens:
    """What the token endpoint gave; raises TokenRefused or ProviderMisbehaved."""
    what = _token_endpoint(connection)
    answer = reply.json_object()
    # Some refuse with status 200: what counts is that there is a token and no error.
    if reply.status >= 400 or (answer is not None and answer.get("error")):
        raise refusal_of(connection, reply, what)
    if answer is None:
        kind = reply.content_type.partition(";")[0][:50] or "no content type"
        raise ProviderMisbehaved(f"{what} answers with {kind} that is no JSON object")
    access_token, refresh_token = answer.get("access_token"), answer.get("refresh_token")
    token_type = answer.get("token_type") or "Bearer"
    if not _is_token(access_token):
        raise ProviderMisbehaved(f"{what} answers without an access token")
    if refresh_token is not None and not _is_token(refresh_token):
        raise ProviderMisbehaved(f"{what} answers with a refresh token that is none")
    if not isinstance(token_type, str) or token_type.lower() not in _BEARERS:
        raise ProviderMisbehaved(f"{what} gives tokens of a type that is not known; Bearer is")
    return Tokens(
        access_token=access_token,
        refresh_token=refresh_token,
        token_type="Bearer",
        expires_in=_seconds(answer.get("expires_in")),
        scopes=_scopes(answer.get("scope")),
        answer=answer,
    )


def refusal_of(connection: Connection, reply: Reply, what: str) -> TokenRefused | ProviderMisbehaved:
    """Why a provider refuses, by its code."""
    answer = reply.json_object()
    code = answer.get("error") if answer is not None else None
    if not isinstance(code, str) or not _ERROR_CODE.fullmatch(code):
        return ProviderMisbehaved(f"{what} answers with status {reply.status} and no error of OAuth 2")
    return TokenRefused(what, code, code in ("invalid_grant", *connection.oauth2.invalid_grant))


class TokenEndpoint:
    """Asks providers for tokens. Each method raises TokenRefused, ProviderAway or ProviderMisbehaved."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests

    async def exchange(self, connection: Connection, code: str, redirect_uri: str, verifier: str) -> Tokens:
        """The tokens for a code."""
        reply = await self._requests.send(exchange_request(connection, code, redirect_uri, verifier))
        return tokens_of(connection, reply)

    async def refresh(self, connection: Connection, refresh_token: str) -> Tokens:
        """New tokens."""
        return tokens_of(connection, await self._requests.send(refresh_request(connection, refresh_token)))

    async def revoke(self, connection: Connection, token: str, hint: str) -> None:
        """Give a token back."""
        outgoing = revocation_request(connection, token, hint)
        reply = await self._requests.send(outgoing)
        if reply.status >= 400:
            raise refusal_of(connection, reply, outgoing.what)


def _token_endpoint(connection: Connection) -> str:
    return f"the token endpoint of {connection.provider.title}"


def _token_request(connection: Connection, body: str) -> Outgoing:
    oauth2 = connection.oauth2
    url, headers, body = _authenticated(connection, oauth2.authentication, oauth2.token_url, body)
    return _outgoing("POST", url, headers, body, oauth2.token_body == "json", _token_endpoint(connection))


def _authenticated(
    connection: Connection, authentication: Authentication, url: str, body: str
) -> tuple[str, dict[str, str], str]:
    client_id, secret = connection.client.client_id, connection.client.client_secret.get_secret_value()
    if authentication is Authentication.BASIC:
        # RFC 6749, 2.3.1 wants them form-encoded, which Authlib leaves out. Nearly all are the same either way.
        client_id, secret = quote_plus(client_id), quote_plus(secret)
    auth = ClientAuth(client_id, secret, _METHODS[authentication])
    # By RFC 6749 the body of DELETE carries the client as that of POST does.
    prepared: tuple[str, dict[str, str], str] = auth.prepare("POST", url, dict(_FORM), body)
    return prepared


def _outgoing(method: str, url: str, headers: dict[str, str], body: str, as_json: bool, what: str) -> Outgoing:
    if as_json:
        headers = {**headers, "Content-Type": "application/json"}
        body = json.dumps(dict(parse_qsl(body, keep_blank_values=True)))
    return Outgoing(method, url, headers, body, what)


def _is_token(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= MAX_TOKEN_CHARACTERS and value.isascii() and value.isprintable()


def _seconds(value: object) -> int | None:
    """Some write the number as text. What is no time at all is as if it were not there."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:20])
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LONGEST_LIFE_SECONDS:
        return None
    return int(value)


def _scopes(value: object) -> tuple[str, ...] | None:
    if isinstance(value, str):
        value = re.split(r"[ ,]+", value.strip())
    if not isinstance(value, list) or len(value) > MAX_SCOPES:
        return None
    scopes = tuple(dict.fromkeys(one for one in value if isinstance(one, str) and SCOPE.fullmatch(one)))
    return scopes or None
