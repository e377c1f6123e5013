"""Audit entries leave the outbox once the account service has them, and not before."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import grpc
from blockyard.account.v1.account_pb2 import AuditEntry
from blockyard.account.v1.identity_service_pb2_grpc import IdentityServiceStub

from services.common.admission import RemoteRecorder
from services.credentials.forwarding import Forwarder
from services.credentials.repository.audit import AuditRepository
from tests.integration.credentials.service import Service
from tests.waiting import until


@asynccontextmanager
async def forwarding(service: Service) -> AsyncIterator[None]:
    """A forwarder that runs."""
    async with grpc.aio.insecure_channel(service.neighbours.address) as channel:
        recorder = RemoteRecorder(IdentityServiceStub(channel))
        task = asyncio.create_task(Forwarder(AuditRepository(service.pool), recorder, look_seconds=0.05).run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})
            assert task.cancelled()


async def _left(service: Service) -> list[UUID]:
    return [row["entry_id"] for row in await service.pool.fetch("SELECT entry_id FROM audit_outbox")]


async def _outbox_is_empty(service: Service) -> bool:
    return not await _left(service)


async def test_entries_arrive_in_order_and_leave_the_outbox(service: Service) -> None:
    kept = [(await service.user().keep()).id for _ in range(3)]

    async with forwarding(service):
        await until(lambda: _outbox_is_empty(service), "all are handed on")

    arrived = [entry.resource for entry in service.neighbours.entries]
    assert [resource for resource in arrived if resource.removeprefix("credentials/") in kept] == [
        f"credentials/{credential_id}" for credential_id in kept
    ]


async def test_while_the_account_service_is_away_entries_stay_and_arrive_later(service: Service) -> None:
    kept = await service.user().keep()
    service.neighbours.away = True
    try:
        async with forwarding(service):
            asked = await until(lambda: service.neighbours.refusals, "the account service is asked")
            assert asked
            assert await _left(service)
            service.neighbours.away = False
            await until(lambda: _outbox_is_empty(service), "all are handed on")
    finally:
        service.neighbours.away = False

    assert f"credentials/{kept.id}" in [entry.resource for entry in service.neighbours.entries]


async def test_an_entry_that_was_handed_on_before_a_kill_is_kept_once(service: Service) -> None:
    """The account service has it, and the vault ended before it took it from the outbox."""
    kept = await service.user().keep()
    rows = await service.pool.fetch("SELECT * FROM audit_outbox")
    async with forwarding(service):
        await until(lambda: _outbox_is_empty(service), "all are handed on")
        await service.pool.executemany(
            "INSERT INTO audit_outbox (entry_id, entry) VALUES ($1, $2)",
            [(row["entry_id"], row["entry"]) for row in rows],
        )
        await until(lambda: _outbox_is_empty(service), "all are handed on again")

    arrived = [entry.resource for entry in service.neighbours.entries]
    assert arrived.count(f"credentials/{kept.id}") == 1


async def test_an_entry_says_who_when_and_from_where(service: Service) -> None:
    kept = await service.user("carla").keep()

    async with forwarding(service):
        await until(lambda: _outbox_is_empty(service), "all are handed on")

    [entry] = [one for one in service.neighbours.entries if one.resource == f"credentials/{kept.id}"]
    assert isinstance(entry, AuditEntry)
    assert (entry.actor, entry.outcome, entry.details["provider"]) == ("carla", "OK", "acme")
    assert all((entry.time.seconds, entry.address, entry.user_agent, entry.request_id))
