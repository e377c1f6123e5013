"""The vault and the account service in memory, over real gRPC, for the client and the commands.

They keep what they are given and ask for no role: the end-to-end tests run the same commands against the real ones.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from blockyard.account.v1 import account_pb2
from blockyard.account.v1 import account_service_pb2 as accounts
from blockyard.account.v1.account_service_pb2_grpc import AccountServiceServicer
from blockyard.credentials.v1 import credential_pb2
from blockyard.credentials.v1 import credentials_service_pb2 as vault
from blockyard.credentials.v1.credentials_service_pb2_grpc import CredentialsServiceServicer
from google.protobuf.message import Message

CREDENTIAL_ID = "0190c0de-0000-7000-8000-00000000000c"
API_KEY_ID = "0190c0de-0000-7000-8000-00000000000a"
STATE = "a-state-that-nobody-knows"
USER_ID = "anna"

_TYPES = {
    "api_key": credential_pb2.CREDENTIAL_TYPE_API_KEY,
    "user_password": credential_pb2.CREDENTIAL_TYPE_USER_PASSWORD,
    "host_headers": credential_pb2.CREDENTIAL_TYPE_HOST_SCOPED,
}

Begin = Callable[[str, Any], Awaitable[None]]
"""Notes the call, checks the token, and brings about the fault that the script has for it."""


@dataclass
class Office:
    """What the two services have, and were asked."""

    requests: list[Message] = field(default_factory=list)
    credentials: dict[str, credential_pb2.Credential] = field(default_factory=dict)
    secrets: dict[str, credential_pb2.CredentialSecret] = field(default_factory=dict)
    uses: list[credential_pb2.CredentialUse] = field(default_factory=list)
    verdict: vault.TestVerdict.ValueType = vault.TEST_VERDICT_VALID
    rotations: list[vault.RotateKeysResponse] = field(default_factory=list)
    """Answers of RotateKeys; the last one is given again and again."""
    users: dict[str, account_pb2.User] = field(default_factory=dict)
    keys: dict[str, account_pb2.ApiKey] = field(default_factory=dict)
    transactions: list[account_pb2.CreditTransaction] = field(default_factory=list)
    entries: list[account_pb2.AuditEntry] = field(default_factory=list)
    balance: int = 100

    def request(self, kind: type[Message]) -> Any:  # Any: the message of that kind
        """The last request of a kind."""
        return next(one for one in reversed(self.requests) if isinstance(one, kind))

    def page(self, things: list[Any], token: str) -> tuple[list[Any], str]:
        """One thing a page."""
        at = int(token or 0)
        return things[at : at + 1], str(at + 1) if at + 1 < len(things) else ""


class Vault(CredentialsServiceServicer):
    """The credentials service."""

    def __init__(self, office: Office, begin: Begin) -> None:
        self._office = office
        self._begin = begin

    async def _take(self, request: Message, context: Any) -> None:
        self._office.requests.append(request)
        await self._begin(type(request).__name__.removesuffix("Request"), context)

    def _keep(self, secret: credential_pb2.CredentialSecret, **fields: Any) -> credential_pb2.Credential:
        kept = credential_pb2.Credential(id=CREDENTIAL_ID, version=1, state=credential_pb2.CREDENTIAL_STATE_ACTIVE)
        kept.MergeFrom(credential_pb2.Credential(**fields))
        kept.type = _TYPES.get(secret.WhichOneof("secret") or "", credential_pb2.CREDENTIAL_TYPE_OAUTH2)
        kept.account_name = kept.account_name or secret.user_password.username
        kept.host = secret.host_headers.host
        kept.header_names.extend(sorted(secret.host_headers.headers))
        self._office.credentials[kept.id] = kept
        self._office.secrets[kept.id] = secret
        return kept

    async def CreateCredential(
        self, request: vault.CreateCredentialRequest, context: Any
    ) -> vault.CreateCredentialResponse:
        await self._take(request, context)
        kept = self._keep(request.secret, provider=request.provider, title=request.title)
        return vault.CreateCredentialResponse(credential=kept)

    async def GetCredential(self, request: vault.GetCredentialRequest, context: Any) -> vault.GetCredentialResponse:
        await self._take(request, context)
        return vault.GetCredentialResponse(credential=self._office.credentials[request.credential_id])

    async def ListCredentials(
        self, request: vault.ListCredentialsRequest, context: Any
    ) -> vault.ListCredentialsResponse:
        await self._take(request, context)
        found, following = self._office.page(list(self._office.credentials.values()), request.page_token)
        return vault.ListCredentialsResponse(credentials=found, next_page_token=following)

    async def UpdateCredential(
        self, request: vault.UpdateCredentialRequest, context: Any
    ) -> vault.UpdateCredentialResponse:
        await self._take(request, context)
        kept = self._office.credentials[request.credential_id]
        kept.version += "secret" in request.update_mask.paths
        kept.title = request.title or kept.title
        return vault.UpdateCredentialResponse(credential=kept)

    async def DeleteCredential(
        self, request: vault.DeleteCredentialRequest, context: Any
    ) -> vault.DeleteCredentialResponse:
        await self._take(request, context)
        self._office.credentials.pop(request.credential_id)
        return vault.DeleteCredentialResponse(uses=self._office.uses)

    async def TestCredential(self, request: vault.TestCredentialRequest, context: Any) -> vault.TestCredentialResponse:
        await self._take(request, context)
        return vault.TestCredentialResponse(verdict=self._office.verdict, message="said the provider")

    async def ListProviders(self, request: vault.ListProvidersRequest, context: Any) -> vault.ListProvidersResponse:
        await self._take(request, context)
        github = credential_pb2.CredentialProvider(
            name="github",
            title="GitHub",
            types=[credential_pb2.CREDENTIAL_TYPE_API_KEY, credential_pb2.CREDENTIAL_TYPE_OAUTH2],
            oauth_configured=True,
        )
        return vault.ListProvidersResponse(providers=[github])

    async def StartAuthorization(
        self, request: vault.StartAuthorizationRequest, context: Any
    ) -> vault.StartAuthorizationResponse:
        await self._take(request, context)
        return vault.StartAuthorizationResponse(authorization_url="https://provider.example/authorize", state=STATE)

    async def CompleteAuthorization(
        self, request: vault.CompleteAuthorizationRequest, context: Any
    ) -> vault.CompleteAuthorizationResponse:
        await self._take(request, context)
        secret = credential_pb2.CredentialSecret()
        return vault.CompleteAuthorizationResponse(
            credential=self._keep(secret, provider="github", title="anna", account_name="anna")
        )

    async def ListVaultKeys(self, request: vault.ListVaultKeysRequest, context: Any) -> vault.ListVaultKeysResponse:
        await self._take(request, context)
        key = vault.VaultKey(id="key-1", active=True, secrets=1_200, available=True)
        return vault.ListVaultKeysResponse(keys=[key, vault.VaultKey(id="key-0", secrets=3)])

    async def RotateKeys(self, request: vault.RotateKeysRequest, context: Any) -> vault.RotateKeysResponse:
        await self._take(request, context)
        rotations = self._office.rotations
        return rotations.pop(0) if len(rotations) > 1 else rotations[0]


class Accounts(AccountServiceServicer):
    """The account service."""

    def __init__(self, office: Office, begin: Begin) -> None:
        self._office = office
        self._begin = begin

    async def _take(self, request: Message, context: Any) -> None:
        self._office.requests.append(request)
        await self._begin(type(request).__name__.removesuffix("Request"), context)

    def _user(self, user_id: str) -> account_pb2.User:
        made = account_pb2.User(
            id=user_id, role=account_pb2.USER_ROLE_USER, state=account_pb2.USER_STATE_ACTIVE, name="Anna"
        )
        return self._office.users.setdefault(user_id, made)

    async def GetUser(self, request: accounts.GetUserRequest, context: Any) -> accounts.GetUserResponse:
        await self._take(request, context)
        return accounts.GetUserResponse(user=self._user(request.user_id or USER_ID))

    async def UpdateUser(self, request: accounts.UpdateUserRequest, context: Any) -> accounts.UpdateUserResponse:
        await self._take(request, context)
        user = self._user(request.user_id or USER_ID)
        for name in request.update_mask.paths:
            setattr(user, name, getattr(request, name))
        return accounts.UpdateUserResponse(user=user)

    async def ListUsers(self, request: accounts.ListUsersRequest, context: Any) -> accounts.ListUsersResponse:
        await self._take(request, context)
        found, following = self._office.page(list(self._office.users.values()), request.page_token)
        return accounts.ListUsersResponse(users=found, next_page_token=following)

    async def CreateUser(self, request: accounts.CreateUserRequest, context: Any) -> accounts.CreateUserResponse:
        await self._take(request, context)
        user = self._user(request.user_id)
        user.name, user.role = request.name, request.role
        return accounts.CreateUserResponse(user=user)

    async def SetUserAccess(
        self, request: accounts.SetUserAccessRequest, context: Any
    ) -> accounts.SetUserAccessResponse:
        await self._take(request, context)
        user = self._user(request.user_id)
        user.role, user.state = request.role or user.role, request.state or user.state
        return accounts.SetUserAccessResponse(user=user)

    async def CreateApiKey(self, request: accounts.CreateApiKeyRequest, context: Any) -> accounts.CreateApiKeyResponse:
        await self._take(request, context)
        made = account_pb2.ApiKey(
            id=API_KEY_ID, name=request.name, prefix="abcd", user_id=USER_ID, permissions=request.permissions
        )
        self._office.keys[made.id] = made
        return accounts.CreateApiKeyResponse(api_key=made, key="by_abcd_topsecret")

    async def ListApiKeys(self, request: accounts.ListApiKeysRequest, context: Any) -> accounts.ListApiKeysResponse:
        await self._take(request, context)
        found, following = self._office.page(list(self._office.keys.values()), request.page_token)
        return accounts.ListApiKeysResponse(api_keys=found, next_page_token=following)

    async def RevokeApiKey(self, request: accounts.RevokeApiKeyRequest, context: Any) -> accounts.RevokeApiKeyResponse:
        await self._take(request, context)
        self._office.keys[request.api_key_id].revoke_time.GetCurrentTime()
        return accounts.RevokeApiKeyResponse(api_key=self._office.keys[request.api_key_id])

    async def GetCredits(self, request: accounts.GetCreditsRequest, context: Any) -> accounts.GetCreditsResponse:
        await self._take(request, context)
        return accounts.GetCreditsResponse(credits=self._credits(request.user_id))

    async def ListCreditTransactions(
        self, request: accounts.ListCreditTransactionsRequest, context: Any
    ) -> accounts.ListCreditTransactionsResponse:
        await self._take(request, context)
        found, following = self._office.page(self._office.transactions, request.page_token)
        return accounts.ListCreditTransactionsResponse(transactions=found, next_page_token=following)

    async def SummarizeSpending(
        self, request: accounts.SummarizeSpendingRequest, context: Any
    ) -> accounts.SummarizeSpendingResponse:
        await self._take(request, context)
        spent = [account_pb2.BlockSpending(block_id="1", charges=3, amount=1_200)]
        return accounts.SummarizeSpendingResponse(blocks=spent, amount=1_200)

    async def TopUpCredits(self, request: accounts.TopUpCreditsRequest, context: Any) -> accounts.TopUpCreditsResponse:
        await self._take(request, context)
        self._office.balance += request.amount
        return accounts.TopUpCreditsResponse(credits=self._credits(request.user_id))

    async def ListAuditEntries(
        self, request: accounts.ListAuditEntriesRequest, context: Any
    ) -> accounts.ListAuditEntriesResponse:
        await self._take(request, context)
        found, following = self._office.page(self._office.entries, request.page_token)
        return accounts.ListAuditEntriesResponse(entries=found, next_page_token=following)

    def _credits(self, user_id: str) -> account_pb2.Credits:
        return account_pb2.Credits(
            user_id=user_id or USER_ID, balance=self._office.balance, held=5, spent=1_200, enabled=True
        )
