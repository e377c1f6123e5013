"""Runs are given access tokens that live on for a while, never a refresh token, and the provider is asked once."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC

import grpc
import pytest
from blockyard.runner.v1.lease_service_pb2 import LeaseCredentialsResponse, LeasedCredential
from blockyard.runner.v1.task_service_pb2_grpc import TaskServiceStub

from services.common.errors import Unavailable
from services.credentials.errors import CredentialUnusable
from services.credentials.lease_api import LeaseApi
from services.credentials.lease_upkeep import UseCounts
from services.credentials.leasing import Leasing
from services.credentials.records import CredentialRecord, CredentialState
from services.credentials.repository.leases import LeaseRepository
from services.credentials.secret_checks import SecretChecks
from tests.integration.credentials.oauth.hostile_provider import HostileProvider, answer, hostile_provider, tokens
from tests.integration.credentials.oauth.vaults import Replica, Vaults
from tests.integration.credentials.tasks import TaskServer, asking, tasks
from tests.waiting import until

CLIENTS = json.dumps({"openid": {"client_id": "vault", "client_secret": "secret"}})


@dataclass(eq=False)
class House:
    """The inside of a vault, with a provider and the execution service beside it."""

    provider: HostileProvider
    replica: Replica
    tasks: TaskServer
    api: LeaseApi

    async def lease(self, record: CredentialRecord) -> LeasedCredential:
        run = self.tasks.begin(record.user_id, {"credentials": str(record.credential_id)})
        # Nothing of the call itself is looked at.
        context: grpc.aio.ServicerContext[object, object] = None  # type: ignore[assignment]
        given: LeaseCredentialsResponse = await self.api.LeaseCredentials(asking(run), context)
        return given.credentials["credentials"]


@asynccontextmanager
async def house(vaults: Vaults) -> AsyncIterator[House]:
    async with (
        hostile_provider() as provider,
        tasks() as served,
        grpc.aio.insecure_channel(served.address) as channel,
        vaults.replica(provider.definition(), CLIENTS) as replica,
    ):
        leases = LeaseRepository(replica.pool)
        stub = TaskServiceStub(channel)
        leasing = Leasing(stub, replica.vault, replica.oauth.tokens, leases, UseCounts(leases))
        running = asyncio.ensure_future(leasing.run())
        try:
            yield House(provider, replica, served, LeaseApi(leasing, leases, SecretChecks(replica.vault)))
        finally:
            running.cancel()
            await asyncio.wait({running})


async def test_a_token_that_lives_is_given_as_it_is_without_its_refresh_token(vault_database: Vaults) -> None:
    async with house(vault_database) as one:
        record = await one.replica.connected()
        leased = await one.lease(record)

        assert dict(leased.secret) == {"access_token": "access-1", "token_type": "Bearer"}
        assert list(leased.secret_parts) == ["access_token"]
        assert leased.expire_time.ToDatetime(UTC) == record.expire_time
        assert (leased.type, list(leased.scopes)) == ("oauth2", ["openid", "read"])
        assert not one.provider.asked


async def test_a_token_that_has_expired_is_refreshed_once_for_all_that_ask(vault_database: Vaults) -> None:
    async with house(vault_database) as one:
        one.provider.behaves(answer(200, tokens("2")))
        record = await one.replica.connected(seconds=-10)
        leased = await asyncio.gather(*(one.lease(record) for _ in range(30)))

        assert {each.secret["access_token"] for each in leased} == {"access-2"}
        assert {each.version for each in leased} == {2}
        assert one.provider.calls["/token"] == 1


async def test_a_grant_that_was_revoked_is_told_by_the_pin(vault_database: Vaults) -> None:
    async with house(vault_database) as one:
        one.provider.behaves(answer(400, {"error": "invalid_grant"}))
        record = await one.replica.connected(seconds=-10)
        with pytest.raises(CredentialUnusable) as refused:
            await one.lease(record)

        assert [violation.field for violation in refused.value.violations] == ["credentials"]
        assert "connect" in refused.value.violations[0].description.lower()
        assert (await one.replica.vault.get(record.user_id, record.credential_id)).state is CredentialState.REVOKED


async def test_while_the_provider_is_away_a_run_waits(vault_database: Vaults) -> None:
    async with house(vault_database) as one:
        one.provider.behaves(answer(503, "away", "text/plain"))
        record = await one.replica.connected(seconds=-10)
        with pytest.raises(Unavailable):
            await one.lease(record)

        one.provider.behaves(answer(200, tokens("2")))
        # What failed is left in peace for a moment; the runner asks on.
        leased = await until(lambda: given(one, record), "the provider is asked again")
        assert leased is not None
        assert leased.secret["access_token"] == "access-2"


async def given(one: House, record: CredentialRecord) -> LeasedCredential | None:
    try:
        return await one.lease(record)
    except Unavailable:
        return None
