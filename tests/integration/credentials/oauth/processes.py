"""Vaults as processes of their own, and users who call them."""

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from blockyard.credentials.v1.credential_pb2 import Credential
from blockyard.credentials.v1.credentials_service_pb2 import (
    CompleteAuthorizationRequest,
    GetCredentialRequest,
    StartAuthorizationRequest,
    TestCredentialRequest,
    TestCredentialResponse,
)
from blockyard.credentials.v1.credentials_service_pb2_grpc import CredentialsServiceStub
from blockyard.dev.ports import free_port

from services.common import identity
from tests import signing
from tests.integration.credentials.oauth.connecting import CALLBACK
from tests.integration.credentials.oauth.openid_provider import Returned
from tests.integration.credentials.oauth.vaults import Vaults
from tests.stack.postgres import as_role
from tests.waiting import until

ROOT = Path(__file__).parents[4]


@dataclass(eq=False)
class VaultProcess:
    """A running vault, called as one user."""

    process: asyncio.subprocess.Process
    stub: Any  # the generated stub's type depends on the kind of channel
    user_id: str
    log: Path

    @property
    def metadata(self) -> list[tuple[str, str]]:
        token = identity.user_token(signing.JWT_SECRET, self.user_id, "user", 300)
        return [("authorization", f"Bearer {token}")]

    async def connect(self, sign_in: Callable[[str], Awaitable[Returned]]) -> Credential:
        """An account, from the first call to the last. `sign_in` is what the browser does with the address."""
        asked = StartAuthorizationRequest(provider="openid", redirect_uri=CALLBACK)
        started = await self.stub.StartAuthorization(asked, metadata=self.metadata, timeout=20)
        returned = await sign_in(started.authorization_url)
        ending = CompleteAuthorizationRequest(
            state=started.state, code=returned.code, issuer=returned.parameters.get("iss", "")
        )
        answer = await self.stub.CompleteAuthorization(ending, metadata=self.metadata, timeout=20)
        credential: Credential = answer.credential
        return credential

    async def test(self, credential_id: str) -> TestCredentialResponse:
        """Has the vault ask the provider, with a token that it refreshes first if it is old."""
        asked = TestCredentialRequest(credential_id=credential_id)
        answer: TestCredentialResponse = await self.stub.TestCredential(asked, metadata=self.metadata, timeout=30)
        return answer

    async def get(self, credential_id: str) -> Credential:
        asked = GetCredentialRequest(credential_id=credential_id)
        answer = await self.stub.GetCredential(asked, metadata=self.metadata, timeout=20)
        credential: Credential = answer.credential
        return credential


@asynccontextmanager
async def vault_process(
    vaults: Vaults, definition: dict[str, Any], clients: str, user_id: str = "anna", **settings: str
) -> AsyncIterator[VaultProcess]:
    """It listens when this gives it."""
    folder = Path(tempfile.mkdtemp(dir=vaults.folder))
    (folder / "providers").mkdir()
    (folder / "providers" / f"{definition['name']}.yaml").write_text(json.dumps(definition))
    values = {
        "port": "0",
        "port_file": str(folder / "port"),
        "database_url": as_role(vaults.database_url, "credentials"),
        "vault_keys_url": f"file://{vaults.folder}/keys",
        "provider_files": str(folder / "providers"),
        "oauth_clients": clients,
        # Nothing is there: what is tested here asks nobody but providers.
        "nats_url": f"nats://127.0.0.1:{free_port()}",
        **settings,
    }
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{ROOT}:{ROOT / 'sdk'}",
        **signing.ENVIRONMENT,
        **{f"BLOCKYARD_{name.upper()}": value for name, value in values.items()},
    }
    log = folder / "log"
    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.credentials", env=environment, cwd=ROOT, stdout=file, stderr=file
        )
    try:
        await until(lambda: (folder / "port").exists() or process.returncode is not None, "the vault listens", 90)
        assert process.returncode is None, log.read_text()[-3000:]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{int((folder / 'port').read_text())}") as channel:
            yield VaultProcess(process, CredentialsServiceStub(channel), user_id, log)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
