"""Credentials, through CredentialsService. Secrets go in; nothing gives one out."""

import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from blockyard.calls import Caller
from blockyard.client.credential_records import (
    Authorization,
    CredentialProviderRecord,
    CredentialRecord,
    CredentialSecret,
    CredentialTest,
    CredentialType,
    CredentialUse,
    Rotation,
    TestVerdict,
    VaultKey,
)
from blockyard.credentials.v1 import credential_pb2
from blockyard.credentials.v1 import credentials_service_pb2 as messages
from blockyard.records import timestamp

if TYPE_CHECKING:
    from blockyard.credentials.v1.credentials_service_pb2_grpc import (
        CredentialsServiceAsyncStub,  # there for type checkers alone
    )

PROVIDER_DEADLINE = 60.0
"""Seconds for a call that may ask a provider: those are as slow as they like."""


class Unchanged:
    """Stands for what an update leaves as it is: None takes an expiry away."""


UNCHANGED: Final = Unchanged()


class CredentialsClient:
    """The caller's credentials."""

    def __init__(self, stub: "CredentialsServiceAsyncStub", call: Caller) -> None:
        self._stub = stub
        self._call = call

    async def create(
        self,
        provider: str,
        secret: CredentialSecret,
        *,
        title: str,
        expires: datetime | None = None,
        request_id: str | None = None,
    ) -> CredentialRecord:
        """Keeps a secret. The same `request_id` twice keeps one; without one, each call draws its own."""
        request = messages.CreateCredentialRequest(
            provider=provider,
            title=title,
            secret=secret.to_proto(),
            expire_time=timestamp(expires),
            request_id=request_id or str(uuid.uuid4()),
        )
        answer = await self._call(
            self._stub.CreateCredential, request, messages.CreateCredentialResponse, repeatable=True
        )
        return CredentialRecord.from_proto(answer.credential)

    async def get(self, credential_id: str) -> CredentialRecord:
        """A credential, without its secret."""
        request = messages.GetCredentialRequest(credential_id=credential_id)
        answer = await self._call(self._stub.GetCredential, request, messages.GetCredentialResponse, repeatable=True)
        return CredentialRecord.from_proto(answer.credential)

    async def list(
        self, *, provider: str = "", type: CredentialType = CredentialType.UNSPECIFIED, page_size: int = 0
    ) -> AsyncIterator[CredentialRecord]:
        """The caller's credentials, newest first; only of a provider or of a type if these are given."""
        token = ""
        while True:
            request = messages.ListCredentialsRequest(
                page_size=page_size,
                page_token=token,
                provider=provider,
                type=credential_pb2.CredentialType.ValueType(type.value),
            )
            answer = await self._call(
                self._stub.ListCredentials, request, messages.ListCredentialsResponse, repeatable=True
            )
            for credential in answer.credentials:
                yield CredentialRecord.from_proto(credential)
            token = answer.next_page_token
            if not token:
                return

    async def update(
        self,
        credential_id: str,
        *,
        title: str | None = None,
        secret: CredentialSecret | None = None,
        expires: datetime | Unchanged | None = UNCHANGED,
        version: int = 0,
    ) -> CredentialRecord:
        """Changes what is given. A new secret is of the old one's type; runs that have the old one keep it.

        With `version` a change in between raises Conflict.
        """
        changed = {"title": title is not None, "secret": secret is not None, "expire_time": expires is not UNCHANGED}
        request = messages.UpdateCredentialRequest(
            credential_id=credential_id,
            update_mask=FieldMask(paths=[name for name, given in changed.items() if given]),
            title=title or "",
            secret=secret.to_proto() if secret is not None else None,
            expire_time=_expiry(expires),
            version=version,
        )
        answer = await self._call(
            self._stub.UpdateCredential, request, messages.UpdateCredentialResponse, repeatable=False
        )
        return CredentialRecord.from_proto(answer.credential)

    async def delete(self, credential_id: str, *, force: bool = False) -> Sequence[CredentialUse]:
        """Deletes a credential. One that is in use raises CredentialInUse; with `force` it is deleted all the same,
        its nodes fail, and the places are given."""
        request = messages.DeleteCredentialRequest(credential_id=credential_id, force=force)
        answer = await self._call(
            self._stub.DeleteCredential,
            request,
            messages.DeleteCredentialResponse,
            repeatable=False,
            deadline=self._patience(),
        )
        return [CredentialUse.from_proto(use) for use in answer.uses]

    async def test(self, credential_id: str) -> CredentialTest:
        """Asks the provider whether it takes a credential."""
        request = messages.TestCredentialRequest(credential_id=credential_id)
        answer = await self._call(
            self._stub.TestCredential,
            request,
            messages.TestCredentialResponse,
            repeatable=True,
            deadline=self._patience(),
        )
        return CredentialTest(TestVerdict(answer.verdict), answer.message)

    async def providers(self) -> Sequence[CredentialProviderRecord]:
        """The providers that the vault is configured for, by name."""
        answer = await self._call(
            self._stub.ListProviders, messages.ListProvidersRequest(), messages.ListProvidersResponse, repeatable=True
        )
        return [CredentialProviderRecord.from_proto(one) for one in answer.providers]

    async def connect(
        self,
        provider: str,
        redirect_uri: str,
        *,
        scopes: Sequence[str] = (),
        title: str = "",
        credential_id: str = "",
    ) -> Authorization:
        """Begins to connect an account by OAuth 2. The user's browser opens the URL that is given, and the provider
        sends it on to `redirect_uri` with the state and a code for `complete`.

        With `credential_id` that credential gets further scopes; what it has stays.
        """
        request = messages.StartAuthorizationRequest(
            provider=provider, scopes=scopes, redirect_uri=redirect_uri, title=title, credential_id=credential_id
        )
        answer = await self._call(
            self._stub.StartAuthorization, request, messages.StartAuthorizationResponse, repeatable=True
        )
        return Authorization.from_proto(answer)

    async def complete(self, state: str, code: str = "", *, error: str = "", issuer: str = "") -> CredentialRecord:
        """Ends it with what came to the redirect URI: a code, or the provider's error."""
        request = messages.CompleteAuthorizationRequest(state=state, code=code, error=error, issuer=issuer)
        answer = await self._call(
            self._stub.CompleteAuthorization,
            request,
            messages.CompleteAuthorizationResponse,
            repeatable=False,  # state and code work once
            deadline=self._patience(),
        )
        return CredentialRecord.from_proto(answer.credential)

    def _patience(self) -> float:
        return max(self._call.deadline, PROVIDER_DEADLINE)


class VaultClient:
    """The keys that wrap secrets. For administrators."""

    def __init__(self, stub: "CredentialsServiceAsyncStub", call: Caller) -> None:
        self._stub = stub
        self._call = call

    async def list_keys(self) -> Sequence[VaultKey]:
        """The keys, newest first, with how many secrets each of them wraps."""
        answer = await self._call(
            self._stub.ListVaultKeys, messages.ListVaultKeysRequest(), messages.ListVaultKeysResponse, repeatable=True
        )
        return [VaultKey.from_proto(one) for one in answer.keys]

    async def rotate(self, key_id: str = "", *, create: bool = False, batch_size: int = 0) -> Rotation:
        """Makes a key the active one (with `create` a new one) and wraps some secrets by it. Called again with the
        key that it gives until nothing remains, it goes on wherever the last call was."""
        request = messages.RotateKeysRequest(key_id=key_id, create=create, batch_size=batch_size)
        answer = await self._call(
            self._stub.RotateKeys,
            request,
            messages.RotateKeysResponse,
            repeatable=not create,  # a repeat would make another key
            deadline=max(self._call.deadline, PROVIDER_DEADLINE),
        )
        return Rotation.from_proto(answer)


def _expiry(expires: datetime | Unchanged | None) -> Timestamp | None:
    return None if isinstance(expires, Unchanged) else timestamp(expires)
