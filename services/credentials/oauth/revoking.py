"""Gives a grant back to its provider when its credential is deleted, which is gone whatever comes of that."""

from dataclasses import dataclass

import structlog

from services.credentials.errors import ProviderNotConfigured
from services.credentials.oauth.outgoing import ProviderAway, ProviderMisbehaved
from services.credentials.oauth.protocol import TokenEndpoint, TokenRefused
from services.credentials.providers import Providers
from services.credentials.records import CredentialType, Opened
from services.credentials.repository.refreshes import RefreshRepository

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Revocations:
    """Each request has a deadline, so this takes at most two of them."""

    repository: RefreshRepository
    providers: Providers
    endpoint: TokenEndpoint

    async def revoke(self, opened: Opened) -> bool:
        """Whether the provider has taken the grant back. Called once the credential is deleted.

        A grant stays that another credential may live on: for many providers an account has one for each client.
        """
        record = opened.record
        if record.type is not CredentialType.OAUTH2:
            return False
        try:
            connection = self.providers.connection(record.provider)
        except ProviderNotConfigured:
            return False
        if connection.oauth2.revocation is None:
            return False
        if record.account_name and await self.repository.is_shared(
            record.credential_id, record.provider, record.account_name
        ):
            return False
        kinds = (
            ["access_token"] if connection.oauth2.revocation.tokens == "access" else ["refresh_token", "access_token"]
        )
        try:
            for kind in kinds:
                token = opened.parts.get(kind)
                if isinstance(token, str):
                    await self.endpoint.revoke(connection, token, kind)
        except (TokenRefused, ProviderAway, ProviderMisbehaved) as error:
            log.warning("a grant was not revoked", credential_id=str(record.credential_id), reason=str(error))
            return False
        return True
