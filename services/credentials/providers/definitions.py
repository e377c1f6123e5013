"""What is known of a provider: its addresses and its manners, as its file says them.

A file is wrong here or not at all: what is read is trusted afterwards.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from ipaddress import ip_address
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from services.credentials.records import CredentialType

NAME = re.compile(r"[a-z0-9_-]{1,100}")
PLACEHOLDER = re.compile(r"\{([a-z_]*)\}")
SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,200}")
"""A scope of RFC 6749."""

PLACEHOLDERS: Mapping[str, frozenset[str]] = {
    "api_key": frozenset({"api_key"}),
    "oauth2": frozenset({"access_token"}),
    "user_password": frozenset({"username", "password", "basic"}),
}
"""What a check may name in its URL and headers, by the kind of the credential. `basic` is RFC 7617's user:password."""

_OWN_PARAMETERS = frozenset(
    {
        "response_type",
        "client_id",
        "redirect_uri",
        "scope",
        "state",
        "code_challenge",
        "code_challenge_method",
        "uri",
        "kwargs",
    }
)


def is_loopback(host: str | None) -> bool:
    """Whether requests to this host stay on this machine, so that they need no TLS."""
    if host == "localhost":
        return True
    try:
        return ip_address(host or "").is_loopback
    except ValueError:
        return False


def _checked_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname)):
        raise ValueError("expected an address that begins with https://")
    if not parts.hostname or "{" in parts.netloc or "@" in parts.netloc or parts.fragment:
        raise ValueError("expected an address with a fixed host, without user and fragment")
    return url


def _checked_name(name: str) -> str:
    if not NAME.fullmatch(name):
        raise ValueError("expected 1 to 100 of a-z 0-9 _ -")
    return name


def _checked_scope(scope: str) -> str:
    if not SCOPE.fullmatch(scope):
        raise ValueError("expected a scope: 1 to 200 printable characters without spaces, quotes and backslashes")
    return scope


Url = Annotated[str, AfterValidator(_checked_url)]
Name = Annotated[str, AfterValidator(_checked_name)]
Scope = Annotated[str, AfterValidator(_checked_scope)]
Kind = Literal["api_key", "oauth2", "user_password", "host_scoped"]


class Authentication(StrEnum):
    """How the client shows the provider that it is the client."""

    BASIC = "basic"
    """Id and secret as HTTP Basic."""
    POST = "post"
    """Id and secret in the body."""
    NONE = "none"
    """The id in the body; there is no secret."""
    TOKEN = "token"
    """For revocation alone: the token that is revoked is the Bearer."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class Revocation(_Section):
    """Where tokens are given back, RFC 7009 or what a provider has in its place."""

    url: Url
    """May hold {client_id}."""
    method: Literal["POST", "DELETE"] = "POST"
    authentication: Authentication = Authentication.BASIC
    body: Literal["form", "json"] = "form"
    token_parameter: str = "token"
    """Name of the token in the body."""
    tokens: Literal["both", "access"] = "both"
    """Whether refresh tokens are given back there as well."""


class OAuth2(_Section):
    """How accounts are connected."""

    authorization_url: Url
    token_url: Url
    authentication: Literal[Authentication.BASIC, Authentication.POST, Authentication.NONE] = Authentication.BASIC
    pkce: bool = True
    issuer: str = ""
    """RFC 9207: what the provider calls itself when it sends the browser back."""
    issuer_required: bool = False
    """Whether it always does."""
    scope_separator: Literal[" ", ","] = " "
    default_scopes: tuple[Scope, ...] = ()
    authorization_parameters: Mapping[str, str] = Field(default_factory=dict)
    """More of what the authorization URL says."""
    token_body: Literal["form", "json"] = "form"
    invalid_grant: tuple[str, ...] = ()
    """Errors beside invalid_grant by which the provider says that a refresh token is of no use any more."""
    account_name: str = ""
    """Where the account's name stands in the answer with the tokens: "workspace_name", "owner.user.name"."""
    revocation: Revocation | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if own := sorted(_OWN_PARAMETERS & self.authorization_parameters.keys()):
            raise ValueError(f"authorization_parameters: {own[0]} is set by the vault; take it out")
        if self.issuer_required and not self.issuer:
            raise ValueError("issuer_required: there is no issuer to compare with; add it")
        if self.authentication is Authentication.NONE and not self.pkce:
            raise ValueError("pkce: a client without a secret needs it; set it to true")
        if any(self.scope_separator in scope for scope in self.default_scopes):
            raise ValueError("default_scopes: a scope holds the scope_separator; write them one by one")
        return self


class Check(_Section):
    """A request that succeeds with a good credential alone."""

    url: Url
    method: Literal["GET", "POST"] = "GET"
    headers: Mapping[str, str] = Field(default_factory=dict)
    json_body: Mapping[str, Any] | None = Field(None, alias="json")  # Any: whatever JSON the provider wants
    account_name: str = ""
    """Where the account's name stands in the answer."""
    valid_if: str = ""
    """Where the answer says true if the credential is good, of providers that answer 200 in any case."""
    invalid_statuses: tuple[int, ...] = (401,)

    def placeholders(self) -> set[str]:
        """What it needs of the secret."""
        return {name for text in (self.url, *self.headers.values()) for name in PLACEHOLDER.findall(text)}


class ProviderDefinition(_Section):
    """A provider."""

    name: Name
    title: str = Field(min_length=1, max_length=100)
    types: tuple[Kind, ...] = Field(min_length=1)
    oauth2: OAuth2 | None = None
    checks: Mapping[Kind, Check] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if ("oauth2" in self.types) != (self.oauth2 is not None):
            raise ValueError("oauth2: types has it and the section is there, or neither of both; add what is missing")
        for kind, check in self.checks.items():
            if kind not in self.types:
                raise ValueError(f"checks.{kind}: types does not have {kind}; add it there or take the check out")
            known = PLACEHOLDERS.get(kind, frozenset())
            if strange := sorted(check.placeholders() - known):
                raise ValueError(
                    f"checks.{kind}: {{{strange[0]}}} is not known; use {', '.join(sorted(known)) or 'no placeholders'}"
                )
        return self

    def check_of(self, kind: CredentialType) -> Check | None:
        """How a credential of this kind is tested."""
        return next((check for name, check in self.checks.items() if name == kind.word), None)

    @property
    def credential_types(self) -> list[CredentialType]:
        """The kinds that the vault takes for it."""
        return sorted(CredentialType[kind.upper()] for kind in self.types)
