"""Connects accounts: sends a user's browser to a provider, and makes a credential of the code that comes back.

What comes back is worth something to the one who began, once, and for minutes: the state is kept as a hash, with the
user, and taken out by whoever brings it. The verifier of PKCE never leaves the vault.
"""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from services.common.errors import InvalidArgument, Unavailable, Violation
from services.credentials.errors import (
    CredentialUnreadable,
    ProviderRefused,
    StateInvalid,
    VersionConflict,
)
from services.credentials.oauth.accounts import Accounts
from services.credentials.oauth.outgoing import ProviderAway, ProviderMisbehaved
from services.credentials.oauth.protocol import MAX_SCOPES, TokenEndpoint, TokenRefused, Tokens, authorization_url
from services.credentials.oauth.redirects import RedirectUris
from services.credentials.providers import Connection, Providers
from services.credentials.providers.definitions import SCOPE
from services.credentials.records import CredentialRecord, CredentialType, NewCredential
from services.credentials.repository.authorizations import AuthorizationRepository, PendingAuthorization
from services.credentials.vault import Vault

MAX_CODE_CHARACTERS = 4_096
MAX_STATE_CHARACTERS = 256
MAX_TITLE_CHARACTERS = 100
PENDING_OF_A_USER = 20
"""Further ones push the oldest out."""
ATTEMPTS = 5
"""How often a connected account is stored while its credential is refreshed at the same time."""


@dataclass(frozen=True, slots=True)
class StartedAuthorization:
    """Where the browser goes, and what it will bring back."""

    url: str = field(repr=False)
    state: str = field(repr=False)
    expire_time: datetime


@dataclass(frozen=True, slots=True, eq=False)
class Authorizations:
    """Every question names the user who asks."""

    vault: Vault
    repository: AuthorizationRepository
    providers: Providers
    endpoint: TokenEndpoint
    accounts: Accounts
    redirects: RedirectUris
    seconds: float
    """How long a state lasts."""

    async def start(
        self,
        user_id: str,
        provider: str,
        *,
        scopes: Sequence[str],
        redirect_uri: str,
        title: str = "",
        credential_id: UUID | None = None,
    ) -> StartedAuthorization:
        """Begins. With a credential, its scopes are asked for as well, and it gets what is granted."""
        connection = self.providers.connection(provider)
        self._check(connection, scopes, redirect_uri, title)
        asked = tuple(dict.fromkeys(scopes or connection.oauth2.default_scopes))
        if credential_id is None:
            await self.vault.check_room(user_id)
        else:
            record = await self._extended(user_id, provider, credential_id)
            asked = tuple(dict.fromkeys([*record.scopes, *asked]))
        state, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(64)
        state_hash = _hash(state)
        sealed = await self.vault.seal_small(_context(state_hash), verifier.encode())
        pending = PendingAuthorization(state_hash, user_id, provider, asked, redirect_uri, title, credential_id, sealed)
        expire_time = await self.repository.insert(pending, self.seconds, PENDING_OF_A_USER)
        url = authorization_url(connection, redirect_uri, asked, state, verifier)
        return StartedAuthorization(url, state, expire_time)

    async def complete(self, user_id: str, *, state: str, code: str, error: str, issuer: str) -> CredentialRecord:
        """Ends it: the state is of no use after this, whatever comes of it."""
        if not code and not error:
            raise InvalidArgument(
                "The code is missing.", violations=[Violation("code", "expected the provider's code")]
            )
        if not state or len(state) > MAX_STATE_CHARACTERS:
            raise StateInvalid
        taken = await self.repository.take(user_id, _hash(state))
        if taken is None or not taken.is_live:
            raise StateInvalid
        pending = taken.pending
        connection = self.providers.connection(pending.provider)
        _check_answer(connection, code, error, issuer)
        if pending.credential_id is None:
            # Before the code is of use: what it is exchanged for could not be kept.
            await self.vault.check_room(user_id)
        verifier = await self.vault.open_small(_context(pending.state_hash), pending.verifier)
        tokens = await self._exchange(connection, code, pending.redirect_uri, verifier.decode())
        account_name = await self.accounts.name(connection, tokens)
        granted = tokens.scopes or tuple(pending.scopes)
        expire_time = None if tokens.expires_in is None else taken.now + timedelta(seconds=tokens.expires_in)
        if pending.credential_id is None:
            return await self.vault.create(
                NewCredential(
                    user_id=user_id,
                    provider=pending.provider,
                    type=CredentialType.OAUTH2,
                    title=pending.title or account_name or connection.provider.title,
                    parts=tokens.parts(),
                    scopes=granted,
                    account_name=account_name,
                    expire_time=expire_time,
                )
            )
        return await self._extend(pending, tokens, granted, account_name, expire_time)

    async def _exchange(self, connection: Connection, code: str, redirect_uri: str, verifier: str) -> Tokens:
        try:
            return await self.endpoint.exchange(connection, code, redirect_uri, verifier)
        except TokenRefused as error:
            raise ProviderRefused(f"{_capital(error)}. Begin again with StartAuthorization.") from error
        except ProviderMisbehaved as error:
            remedy = "An operator checks the provider's file; then begin again with StartAuthorization."
            raise ProviderRefused(f"{_capital(error)}. {remedy}") from error
        except ProviderAway as error:
            raise Unavailable(f"{_capital(error)}. Begin again with StartAuthorization.") from error

    async def _extended(self, user_id: str, provider: str, credential_id: UUID) -> CredentialRecord:
        record = await self.vault.get(user_id, credential_id)
        if record.type is not CredentialType.OAUTH2 or record.provider != provider:
            raise InvalidArgument(
                "The credential is of another provider or kind.",
                violations=[Violation("credential_id", f"expected an OAuth 2 credential of {provider}")],
            )
        return record

    async def _extend(
        self,
        pending: PendingAuthorization,
        tokens: Tokens,
        granted: Sequence[str],
        account_name: str,
        expire_time: datetime | None,
    ) -> CredentialRecord:
        """The credential that was there, with the new grant. One that is refreshed meanwhile gets the new grant too."""
        assert pending.credential_id is not None
        for _ in range(ATTEMPTS):
            record = await self._extended(pending.user_id, pending.provider, pending.credential_id)
            if record.account_name and account_name and record.account_name != account_name:
                raise ProviderRefused(
                    f'The browser is signed in as "{account_name}", but the credential is of "{record.account_name}". '
                    "Sign in there as that account, or connect the other one as a new credential."
                )
            kept = None if tokens.refresh_token else await self._refresh_token_of(record)
            replaced = await self.vault.replace(
                record,
                tokens.parts(kept),
                expected_version=record.version,
                scopes=granted,
                expire_time=expire_time,
                account_name=account_name or record.account_name,
                title=pending.title or None,
                action="credential.connect",
            )
            if replaced is not None:
                return replaced
        raise VersionConflict

    async def _refresh_token_of(self, record: CredentialRecord) -> str | None:
        """Some providers give a refresh token with the first grant alone, and mean it to stay."""
        try:
            opened = await self.vault.open(record.user_id, record.credential_id)
        except CredentialUnreadable:
            return None
        token = opened.parts.get("refresh_token")
        return token if isinstance(token, str) else None

    def _check(self, connection: Connection, scopes: Sequence[str], redirect_uri: str, title: str) -> None:
        violations = []
        separator = connection.oauth2.scope_separator
        if len(scopes) > MAX_SCOPES:
            violations.append(Violation("scopes", f"expected at most {MAX_SCOPES}, got {len(scopes)}"))
        for index, scope in enumerate(scopes[:MAX_SCOPES]):
            if not SCOPE.fullmatch(scope) or separator in scope:
                violations.append(Violation(f"scopes[{index}]", "expected one scope of 1 to 200 printable characters"))
        if not self.redirects.allows(redirect_uri):
            violations.append(
                Violation("redirect_uri", "is not one that the operator has allowed (BLOCKYARD_OAUTH_REDIRECT_URIS)")
            )
        if len(title) > MAX_TITLE_CHARACTERS or not all(character.isprintable() for character in title):
            violations.append(Violation("title", f"expected at most {MAX_TITLE_CHARACTERS} printable characters"))
        if violations:
            raise InvalidArgument(violations=violations)


def _check_answer(connection: Connection, code: str, error: str, issuer: str) -> None:
    """What the browser brought back: from the right provider, and a code."""
    oauth2, title = connection.oauth2, connection.provider.title
    if (issuer or oauth2.issuer_required) and oauth2.issuer and issuer != oauth2.issuer:
        raise ProviderRefused(
            f"The answer does not come from {title}: its issuer is not {oauth2.issuer}. "
            "Somebody may have tampered with it: begin again with StartAuthorization."
        )
    if error:
        shown = error if len(error) <= 60 and error.isascii() and error.isprintable() else "an error"
        raise ProviderRefused(f"{title} refused: {shown}. Begin again with StartAuthorization, and consent there.")
    if len(code) > MAX_CODE_CHARACTERS or not code.isprintable():
        raise ProviderRefused("The code is none that a provider gives. Begin again with StartAuthorization.")


def _hash(state: str) -> bytes:
    """It has 256 random bits, so it needs no salt."""
    return hashlib.sha256(state.encode(errors="replace")).digest()


def _context(state_hash: bytes) -> bytes:
    return b"authorization\0" + state_hash


def _capital(error: Exception) -> str:
    text = str(error)
    return text[:1].upper() + text[1:]
