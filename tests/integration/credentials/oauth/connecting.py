"""The steps by which an account is connected."""

from typing import Any

from services.credentials.oauth.authorizing import StartedAuthorization
from services.credentials.records import CredentialRecord
from tests.integration.credentials.oauth.openid_provider import OpenIdProvider, Returned, clients
from tests.integration.credentials.oauth.vaults import Replica, Vaults

CALLBACK = "http://127.0.0.1:49152/callback"


async def one(
    vaults: Vaults, provider: OpenIdProvider, client: str = "vault-basic", number: int = 0, **oauth2: object
) -> Replica:
    secret = {"secret": ""} if client == "vault-public" else {}
    return await vaults.shared(provider.definition(**oauth2), clients(client, **secret), number)


async def connect(
    replica: Replica,
    provider: OpenIdProvider,
    user_id: str = "anna",
    account: str = "anna@example.com",
    **asked: object,
) -> CredentialRecord:
    """The whole way."""
    url = (await begin(replica, user_id, **asked)).url
    return await finish(replica, await provider.sign_in(url, account), user_id)


async def begin(replica: Replica, user_id: str = "anna", **asked: Any) -> StartedAuthorization:
    """Any: what else `start` takes."""
    arguments: dict[str, Any] = {"scopes": [], "redirect_uri": CALLBACK, **asked}
    return await replica.oauth.authorizations.start(user_id, "openid", **arguments)


async def finish(replica: Replica, returned: Returned, user_id: str = "anna", **changes: str) -> CredentialRecord:
    said = {name: returned.parameters.get(name, "") for name in ("state", "code", "error")}
    said["issuer"] = returned.parameters.get("iss", "")
    return await replica.oauth.authorizations.complete(user_id, **{**said, **changes})
