"""Whose account was connected, where the provider says so."""

from dataclasses import dataclass

from services.credentials.oauth.checking import account_name, ask
from services.credentials.oauth.outgoing import Requests
from services.credentials.oauth.protocol import Tokens
from services.credentials.providers import Connection


@dataclass(frozen=True, slots=True, eq=False)
class Accounts:
    """A provider that does not tell keeps nobody from connecting."""

    requests: Requests

    async def name(self, connection: Connection, tokens: Tokens) -> str:
        """By the answer with the tokens, or else by the provider's test request; empty if neither tells."""
        told = account_name(tokens.answer, connection.oauth2.account_name)
        check = connection.provider.checks.get("oauth2")
        if told or check is None or not check.account_name:
            return told
        finding = await ask(self.requests, connection.provider, check, tokens.parts())
        return finding.account_name
