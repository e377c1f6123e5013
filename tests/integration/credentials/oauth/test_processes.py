"""Two vaults that are processes refresh as one, and what happens to a refresh when one of them ends."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import grpc
import pytest
from blockyard.credentials.v1.credential_pb2 import CredentialState
from blockyard.credentials.v1.credentials_service_pb2 import TestVerdict

from tests.integration.credentials.oauth.hostile_provider import Asked, Write, answer, hostile_provider, tokens
from tests.integration.credentials.oauth.openid_provider import OpenIdProvider, clients
from tests.integration.credentials.oauth.processes import VaultProcess, vault_process
from tests.integration.credentials.oauth.vaults import Vaults


@asynccontextmanager
async def two(
    vaults: Vaults, definition: dict[str, Any], **settings: str
) -> AsyncIterator[tuple[VaultProcess, VaultProcess]]:
    async with (
        vault_process(vaults, definition, clients(), **settings) as first,
        vault_process(vaults, definition, clients(), **settings) as second,
    ):
        yield first, second


async def age(vaults: Vaults, credential_id: str) -> None:
    """The access token has expired."""
    connection = await asyncpg.connect(vaults.database_url)
    try:
        await connection.execute(
            "UPDATE credentials.credentials SET expire_time = now() - interval '1 s' WHERE credential_id::text = $1",
            credential_id,
        )
    finally:
        await connection.close()


async def test_fifty_calls_to_two_processes_make_one_refresh(
    vault_database: Vaults, provider: OpenIdProvider, capsys: pytest.CaptureFixture[str]
) -> None:
    async with two(vault_database, provider.definition()) as vaults:
        credential = await vaults[0].connect(provider.sign_in)
        await age(vault_database, credential.id)
        await provider.set(delay=0.5)
        came = await asyncio.gather(*(vaults[number % 2].test(credential.id) for number in range(50)))
        calls = await provider.calls()
        with capsys.disabled():
            print(f"\n50 calls to 2 processes: {calls[('refresh_token', 200)]} refresh at the provider: {dict(calls)}")
        assert Counter(one.verdict for one in came) == {TestVerdict.TEST_VERDICT_VALID: 50}
        assert [name for name in calls.elements() if name[0] == "refresh_token"] == [("refresh_token", 200)]
        assert (await vaults[1].get(credential.id)).version == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_a_credential_outlives_the_process_that_refreshes_it(
    vault_database: Vaults, number: signal.Signals
) -> None:
    """Told to end, it stores what it asked for. Killed, its lease runs out, and the next one asks."""
    asked, answered = asyncio.Event(), asyncio.Event()

    async def behave(request: Asked, write: Write) -> None:
        if request.form["grant_type"] == "refresh_token":
            asked.set()
            await answered.wait()
        await answer(200, tokens())(request, write)

    async with hostile_provider() as hostile:
        hostile.behaves(behave)
        definition = hostile.definition(authentication="basic")
        settings = {"provider_timeout_seconds": "2", "refresh_lease_seconds": "4", "grace_seconds": "0"}
        async with two(vault_database, definition, **settings) as (first, second):
            credential_id = (await first.connect(hostile.sign_in)).id
            await age(vault_database, credential_id)
            caller = asyncio.create_task(first.test(credential_id))
            await asked.wait()
            first.process.send_signal(number)
            if number is signal.SIGKILL:
                await first.process.wait()
            answered.set()
            with pytest.raises(grpc.aio.AioRpcError):
                await caller
            assert (await second.test(credential_id)).verdict == TestVerdict.TEST_VERDICT_VALID
            credential = await second.get(credential_id)
            assert (credential.version, credential.state) == (2, CredentialState.CREDENTIAL_STATE_ACTIVE)
            refreshes = [request for request in hostile.asked if request.form.get("grant_type") == "refresh_token"]
            assert len(refreshes) == (1 if number is signal.SIGTERM else 2)
