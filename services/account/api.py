"""AccountService: its methods stand in a module for each of their subjects."""

from dataclasses import dataclass

from blockyard.account.v1.account_service_pb2_grpc import AccountServiceServicer

from services.account.api_keys import ApiKeys
from services.account.api_keys_api import ApiKeysApi
from services.account.audit_api import AuditApi
from services.account.credits import Credits
from services.account.credits_api import CreditsApi
from services.account.repository.audit import AuditRepository
from services.account.users import Users
from services.account.users_api import UsersApi


@dataclass(frozen=True, slots=True)
class Parts:
    """What the methods delegate to."""

    users: Users
    api_keys: ApiKeys
    audit: AuditRepository
    credits: Credits
    token_secret: str


class AccountApi(UsersApi, ApiKeysApi, CreditsApi, AuditApi, AccountServiceServicer):
    """The public methods."""

    def __init__(self, parts: Parts) -> None:
        CreditsApi.__init__(self, parts.credits, parts.token_secret)
        self._users = parts.users
        self._api_keys = parts.api_keys
        self._audit = parts.audit
        self._token_secret = parts.token_secret
