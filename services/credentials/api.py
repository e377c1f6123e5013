"""CredentialsService: translate, authorise, delegate, answer."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from blockyard.credentials.v1 import credentials_service_pb2 as messages
from blockyard.credentials.v1.credential_pb2 import Credential, CredentialProvider
from blockyard.credentials.v1.credential_pb2 import CredentialState as CredentialStateMessage
from blockyard.credentials.v1.credential_pb2 import CredentialType as CredentialTypeMessage
from blockyard.credentials.v1.credentials_service_pb2_grpc import CredentialsServiceServicer
from grpc.aio import ServicerContext

from services.common.errors import InvalidArgument, Violation
from services.common.field_masks import changed_fields
from services.common.identity import current_caller
from services.common.paging import decode_page_token, encode_page_token, page_size
from services.credentials.credentials import Change, Credentials
from services.credentials.errors import CredentialNotFound
from services.credentials.oauth.authorizing import Authorizations
from services.credentials.reading import Reader
from services.credentials.records import CredentialRecord, CredentialState, CredentialType, NewCredential
from services.credentials.rotation import KeyInUse, Rotation

DEFAULT_BATCH = 500
LARGEST_BATCH = 10_000
_CHANGEABLE = ("title", "secret", "expire_time")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

Context = ServicerContext[Any, Any]
"""gRPC's own; its parameters are the method's messages, which mypy-protobuf checks."""


@dataclass(frozen=True, slots=True, eq=False)
class CredentialsApi(CredentialsServiceServicer):
    """The public methods; every caller sees their own credentials only, and nobody a secret."""

    credentials: Credentials
    authorizations: Authorizations
    rotation: Rotation
    token_secret: str

    async def CreateCredential(
        self, request: messages.CreateCredentialRequest, context: Context
    ) -> messages.CreateCredentialResponse:
        """Keeps a secret."""
        reader = Reader()
        expires = request.HasField("expire_time")
        secret = reader.secret(request.secret)
        provider, title = reader.provider(request.provider), reader.title(request.title)
        expire_time = reader.expire_time(request.expire_time, datetime.now(UTC)) if expires else None
        request_id = reader.request_id(request.request_id)
        if secret is None or reader.violations:
            raise InvalidArgument(violations=reader.violations)
        new = NewCredential(
            user_id=_user(),
            provider=provider,
            type=secret.type,
            title=title,
            parts=secret.parts,
            account_name=secret.account_name,
            host=secret.host,
            header_names=secret.header_names,
            expire_time=expire_time,
            request_id=request_id,
        )
        return messages.CreateCredentialResponse(credential=_message(await self.credentials.create(new)))

    async def GetCredential(
        self, request: messages.GetCredentialRequest, context: Context
    ) -> messages.GetCredentialResponse:
        """Gets a credential without its secret."""
        record = await self.credentials.vault.get(_user(), _id(request.credential_id))
        return messages.GetCredentialResponse(credential=_message(record))

    async def ListCredentials(
        self, request: messages.ListCredentialsRequest, context: Context
    ) -> messages.ListCredentialsResponse:
        """Lists the caller's credentials."""
        reader = Reader()
        if request.provider:
            reader.provider(request.provider)
        if request.type and int(request.type) not in list(CredentialType):
            reader.violations.append(Violation("type", f"{request.type} is no kind of credentials"))
        if reader.violations:
            raise InvalidArgument(violations=reader.violations)
        user, size = _user(), page_size(request.page_size)
        scope = f"ListCredentials {user} {request.provider} {request.type}"
        before = None
        if request.page_token:
            moment, last = decode_page_token(self.token_secret, scope, request.page_token)
            before = _EPOCH + int(moment) * _MICROSECOND, UUID(str(last))
        rows = await self.credentials.vault.page(user, request.provider, request.type, before, size + 1)
        answer = messages.ListCredentialsResponse(credentials=[_message(row) for row in rows[:size]])
        if len(rows) > size:
            answer.next_page_token = encode_page_token(self.token_secret, scope, _position(rows[size - 1]))
        return answer

    async def UpdateCredential(
        self, request: messages.UpdateCredentialRequest, context: Context
    ) -> messages.UpdateCredentialResponse:
        """Changes title or expiry, or replaces the secret."""
        change = _change(request)
        record = await self.credentials.update(_user(), _id(request.credential_id), change)
        return messages.UpdateCredentialResponse(credential=_message(record))

    async def DeleteCredential(
        self, request: messages.DeleteCredentialRequest, context: Context
    ) -> messages.DeleteCredentialResponse:
        """Deletes a credential."""
        uses = await self.credentials.delete(_user(), _id(request.credential_id), request.force)
        return messages.DeleteCredentialResponse(uses=uses)

    async def TestCredential(
        self, request: messages.TestCredentialRequest, context: Context
    ) -> messages.TestCredentialResponse:
        """Asks the provider whether a credential is valid."""
        finding = await self.credentials.test(_user(), _id(request.credential_id))
        verdict = messages.TestVerdict.ValueType(finding.verdict)
        return messages.TestCredentialResponse(verdict=verdict, message=finding.message)

    async def ListProviders(
        self, request: messages.ListProvidersRequest, context: Context
    ) -> messages.ListProvidersResponse:
        """Lists the providers that the vault is configured for."""
        providers = self.credentials.providers
        return messages.ListProvidersResponse(
            providers=[
                CredentialProvider(
                    name=provider.name,
                    title=provider.title,
                    types=[CredentialTypeMessage.ValueType(kind) for kind in provider.credential_types],
                    oauth_configured=providers.is_connectable(provider.name),
                    default_scopes=provider.oauth2.default_scopes if provider.oauth2 is not None else (),
                    testable=bool(provider.checks),
                )
                for provider in providers.all()
            ]
        )

    async def StartAuthorization(
        self, request: messages.StartAuthorizationRequest, context: Context
    ) -> messages.StartAuthorizationResponse:
        """Begins to connect an account."""
        started = await self.authorizations.start(
            _user(),
            request.provider,
            scopes=list(request.scopes),
            redirect_uri=request.redirect_uri,
            title=request.title,
            credential_id=_id(request.credential_id) if request.credential_id else None,
        )
        answer = messages.StartAuthorizationResponse(authorization_url=started.url, state=started.state)
        answer.expire_time.FromDatetime(started.expire_time)
        return answer

    async def CompleteAuthorization(
        self, request: messages.CompleteAuthorizationRequest, context: Context
    ) -> messages.CompleteAuthorizationResponse:
        """Ends it with what the provider sent."""
        record = await self.authorizations.complete(
            _user(), state=request.state, code=request.code, error=request.error, issuer=request.issuer
        )
        return messages.CompleteAuthorizationResponse(credential=_message(record))

    async def ListVaultKeys(
        self, request: messages.ListVaultKeysRequest, context: Context
    ) -> messages.ListVaultKeysResponse:
        """Lists the keys that wrap the secrets."""
        return messages.ListVaultKeysResponse(keys=[_key(key) for key in await self.rotation.keys()])

    async def RotateKeys(self, request: messages.RotateKeysRequest, context: Context) -> messages.RotateKeysResponse:
        """Makes a key active, and wraps some of the secrets with it."""
        violations = []
        if not 0 <= request.batch_size <= LARGEST_BATCH:
            violations.append(Violation("batch_size", f"expected 0 to {LARGEST_BATCH}, got {request.batch_size}"))
        if request.key_id and request.create:
            violations.append(
                Violation("create", "goes without key_id: a new key's id is not for the caller to choose")
            )
        if len(request.key_id) > 200 or not request.key_id.isprintable():
            violations.append(Violation("key_id", "expected at most 200 printable characters"))
        if violations:
            raise InvalidArgument(violations=violations)
        rotated = await self.rotation.rotate(request.key_id, request.create, request.batch_size or DEFAULT_BATCH)
        return messages.RotateKeysResponse(
            key_id=rotated.key_id,
            rewrapped=rotated.rewrapped,
            remaining=rotated.remaining,
            unreadable_credential_ids=[str(credential_id) for credential_id in rotated.unreadable],
        )


def _user() -> str:
    return current_caller().user_id


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise CredentialNotFound from None


def _position(row: CredentialRecord) -> list[str | int]:
    return [(row.create_time - _EPOCH) // _MICROSECOND, str(row.credential_id)]


def _change(request: messages.UpdateCredentialRequest) -> Change:
    reader, names = Reader(), changed_fields(request.update_mask, request, _CHANGEABLE)
    violations = reader.violations
    if request.version < 0:
        violations.append(Violation("version", f"must not be negative, got {request.version}"))
    title = reader.title(request.title) if "title" in names else None
    secret = reader.secret(request.secret) if "secret" in names else None
    expires = "expire_time" in names and request.HasField("expire_time")
    expire_time = reader.expire_time(request.expire_time, datetime.now(UTC)) if expires else None
    if violations:
        raise InvalidArgument(violations=violations)
    return Change(title, secret, "expire_time" in names, expire_time, request.version)


def _message(record: CredentialRecord) -> Credential:
    message = Credential(
        id=str(record.credential_id),
        provider=record.provider,
        type=CredentialTypeMessage.ValueType(record.type),
        title=record.title,
        user_id=record.user_id,
        version=record.version,
        scopes=record.scopes,
        account_name=record.account_name,
        host=record.host,
        header_names=record.header_names,
        state=CredentialStateMessage.ValueType(record.state),
        state_reason=record.state_reason,
        uses=record.uses,
    )
    if _is_expired(record):
        message.state = CredentialStateMessage.ValueType(CredentialState.EXPIRED)
        message.state_reason = "Its time is over. Replace the secret, or give it another expire_time."
    message.create_time.FromDatetime(record.create_time)
    message.update_time.FromDatetime(record.update_time)
    if record.expire_time is not None:
        message.expire_time.FromDatetime(record.expire_time)
    if record.last_use_time is not None:
        message.last_use_time.FromDatetime(record.last_use_time)
    return message


def _is_expired(record: CredentialRecord) -> bool:
    """Of a connected account it is the access token that expires, and is refreshed."""
    if record.type is CredentialType.OAUTH2 or record.state is not CredentialState.ACTIVE:
        return False
    return record.expire_time is not None and record.expire_time <= datetime.now(UTC)


def _key(key: KeyInUse) -> messages.VaultKey:
    message = messages.VaultKey(id=key.row.key_id, active=key.row.active, secrets=key.secrets, available=key.available)
    message.create_time.FromDatetime(key.row.create_time)
    return message
