"""Tests credentials: the provider is asked, where its file says how."""

from dataclasses import dataclass

from services.common.errors import Unavailable
from services.credentials.errors import CredentialUnusable
from services.credentials.oauth.checking import Finding, Verdict, ask
from services.credentials.oauth.outgoing import Requests
from services.credentials.oauth.refreshing import AccessTokens
from services.credentials.providers import Providers
from services.credentials.records import CredentialType, Opened


@dataclass(frozen=True, slots=True, eq=False)
class CredentialTests:
    """Asks nobody but the provider: of headers for a host, only the host itself could tell, and that is not asked."""

    providers: Providers
    requests: Requests
    tokens: AccessTokens

    async def test(self, opened: Opened) -> Finding:
        """Whether the provider takes the credential, as far as one can know."""
        record = opened.record
        provider = self.providers.find(record.provider)
        check = provider.check_of(record.type) if provider is not None else None
        if provider is None or check is None:
            return Finding(Verdict.UNKNOWN, f"The vault knows no way to ask {record.provider} about this kind.")
        try:
            current = await self.tokens.fresh(opened)
            finding = await ask(self.requests, provider, check, current.parts)
            if finding.verdict is Verdict.INVALID and record.type is CredentialType.OAUTH2:
                # By the provider's clock it may have expired: a fresh one tells whether the grant is good.
                renewed = await self.tokens.renewed(current)
                if renewed.record.version > current.record.version:
                    finding = await ask(self.requests, provider, check, renewed.parts)
        except CredentialUnusable as error:
            return Finding(Verdict.INVALID, error.message)
        except Unavailable as error:
            return Finding(Verdict.UNKNOWN, error.message)
        return finding
