"""Builds what speaks with providers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from services.credentials.config import CredentialsSettings
from services.credentials.oauth.accounts import Accounts
from services.credentials.oauth.authorizing import Authorizations
from services.credentials.oauth.outgoing import Requests
from services.credentials.oauth.protocol import TokenEndpoint
from services.credentials.oauth.redirects import RedirectUris
from services.credentials.oauth.refreshing import AccessTokens, RefreshLimits
from services.credentials.oauth.revoking import Revocations
from services.credentials.oauth.testing import CredentialTests
from services.credentials.providers import Providers
from services.credentials.repository.authorizations import AuthorizationRepository
from services.credentials.repository.refreshes import RefreshRepository
from services.credentials.vault import Vault

LONGEST_END_SECONDS = 18.0
"""A process that does not end in about twenty seconds is ended."""


@dataclass(frozen=True, slots=True)
class OAuth:
    """What the rest of the vault asks of it."""

    providers: Providers
    authorizations: Authorizations
    tokens: AccessTokens
    tests: CredentialTests
    revocations: Revocations


@asynccontextmanager
async def open_oauth(
    settings: CredentialsSettings, vault: Vault, pool: "asyncpg.Pool[asyncpg.Record]"
) -> AsyncIterator[OAuth]:
    """At its end refreshes under way are waited for, as long as the vault's pool is there to store them."""
    providers = Providers.load(settings.provider_files, settings.oauth_clients, settings.oauth_clients_folder)
    limits = RefreshLimits(
        ahead=settings.refresh_ahead_seconds,
        lease=settings.refresh_lease_seconds,
        wait=settings.refresh_wait_seconds,
        pause=settings.refresh_pause_seconds,
        ending=min(settings.provider_timeout_seconds + 3, LONGEST_END_SECONDS),
    )
    refreshes = RefreshRepository(pool)
    async with Requests(settings.provider_timeout_seconds) as requests:
        endpoint = TokenEndpoint(requests)
        revocations = Revocations(refreshes, providers, endpoint)
        async with AccessTokens(vault, refreshes, providers, endpoint, revocations, limits) as tokens:
            authorizations = Authorizations(
                vault=vault,
                repository=AuthorizationRepository(pool),
                providers=providers,
                endpoint=endpoint,
                accounts=Accounts(requests),
                redirects=RedirectUris.parse(settings.oauth_redirect_uris),
                seconds=settings.oauth_state_seconds,
            )
            tests = CredentialTests(providers, requests, tokens)
            yield OAuth(providers, authorizations, tokens, tests, revocations)
