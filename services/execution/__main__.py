"""Starts the execution service: the API on every replica, and an owner of partitions for as long as it lives."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from secrets import token_hex
from typing import TYPE_CHECKING, Any
from uuid import UUID

from blockyard.account.v1.identity_service_pb2_grpc import IdentityServiceStub
from blockyard.account.v1.ledger_service_pb2_grpc import LedgerServiceStub
from blockyard.execution.v1.execution_service_pb2_grpc import add_ExecutionServiceServicer_to_server
from blockyard.execution.v1.schedule_service_pb2_grpc import add_ScheduleServiceServicer_to_server
from blockyard.execution.v1.trigger_service_pb2_grpc import add_TriggerServiceServicer_to_server
from blockyard.runner.v1.catalogue_service_pb2_grpc import CatalogueServiceStub
from blockyard.runner.v1.feed_service_pb2_grpc import add_FeedServiceServicer_to_server
from blockyard.runner.v1.lease_service_pb2_grpc import LeaseServiceStub
from blockyard.runner.v1.task_service_pb2_grpc import add_TaskServiceServicer_to_server
from blockyard.runner.v1.value_service_pb2_grpc import add_ValueServiceServicer_to_server

from services.common import bus as nats
from services.common import database, grpc_client, grpc_server, run
from services.common.blobs import BlobStore
from services.common.callers import Identities, RemoteIdentities
from services.common.errors import StartRefused
from services.execution.accepting import Acceptance
from services.execution.api import ExecutionApi
from services.execution.api import Parts as ApiParts
from services.execution.block_runs import BlockRuns
from services.execution.catalogue import Catalogue
from services.execution.charging import Charger
from services.execution.commands import hint_payload, hint_subject
from services.execution.config import ExecutionSettings
from services.execution.credentials import Credentials
from services.execution.deciding import Decider
from services.execution.entitlement import Entitlement
from services.execution.feed_api import FeedApi
from services.execution.history import History
from services.execution.inspection import Inspector
from services.execution.large_values import LargeValues
from services.execution.loading import Loader
from services.execution.metrics import METRICS
from services.execution.owner import Owner, owning, patiently
from services.execution.planning import Limits
from services.execution.purse import Purse
from services.execution.records import ExecutionRow, NewExecution
from services.execution.repairing import Repair
from services.execution.repository.charges import ChargeRepository
from services.execution.repository.children import ChildRepository
from services.execution.repository.executions import ExecutionRepository
from services.execution.repository.feeds import FeedRepository
from services.execution.repository.leases import LeaseRepository
from services.execution.repository.looking import StandingRepository
from services.execution.repository.retention import Retention
from services.execution.repository.templates import TemplateRepository
from services.execution.repository.turns import TurnRepository
from services.execution.repository.values import ValueRepository
from services.execution.retiring import archive_of, retire
from services.execution.run_checks import RunJudge, TaskApi
from services.execution.schedules.building import Pools
from services.execution.schedules.building import build as build_schedules
from services.execution.secret_inputs import SecretInputs
from services.execution.settling import Settlement
from services.execution.starting import Starter, StartLimits
from services.execution.streams import limits_of
from services.execution.values import ValueApi
from services.execution.watching import Watchers
from services.execution.webhooks.building import trigger_api
from services.execution.webhooks.senders import Senders

if TYPE_CHECKING:  # the asynchronous forms exist for type checkers alone
    from blockyard.account.v1.ledger_service_pb2_grpc import LedgerServiceAsyncStub
    from blockyard.runner.v1.catalogue_service_pb2_grpc import CatalogueServiceAsyncStub
    from blockyard.runner.v1.lease_service_pb2_grpc import LeaseServiceAsyncStub

OWNER_CONNECTIONS = 6
"""To PostgreSQL, for what drives executions: however many calls wait for a connection, it has its own."""


@dataclass(slots=True, eq=False)
class Present:
    """The owner of this moment, if there is one. Without it, others are told by hint."""

    bus: nats.Bus
    owner: Owner | None = None
    owns: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once there has been an owner."""

    def own_partitions(self) -> list[int]:
        return self.owner.own_partitions() if self.owner else []

    def holds(self, partition: int) -> bool:
        return self.owner is not None and partition in self.owner.ready

    def begin(self, new: NewExecution) -> asyncio.Future[ExecutionRow] | None:
        return self.owner.begin(new) if self.owner else None

    def accepted(self, row: ExecutionRow) -> None:
        if self.owner is None or not self.owner.accepted(row):
            self._hint(row.execution_id, row.partition)

    def commanded(self, execution_id: UUID, partition: int) -> None:
        if self.owner is None:
            self._hint(execution_id, partition)
        else:
            self.owner.tell_of_command(execution_id, partition)

    def granted(self) -> None:
        if self.owner is not None:
            self.owner.granted()

    async def ran_out(self, user_id: str) -> None:
        if self.owner is not None:
            await self.owner.ran_out(user_id)

    def judge(self, partition: int) -> RunJudge | None:
        return self.owner.judge if self.owner is not None and self.holds(partition) else None

    def holder(self, execution_id: UUID, number: int) -> str:
        return (self.owner.runners.holder((execution_id.bytes, number)) or "") if self.owner else ""

    async def streams_lost(self) -> None:
        if self.owner is not None:
            await self.owner.streams_lost()

    def _hint(self, execution_id: UUID, partition: int) -> None:
        self.bus.publish_now(hint_subject(partition), hint_payload(execution_id))


async def start(settings: ExecutionSettings, resources: AsyncExitStack, process: run.Process) -> None:
    """Builds everything, top to bottom."""
    connect = partial(
        database.connect,
        settings.database_url.get_secret_value(),
        "execution",
        statement_timeout=settings.lease_seconds * 0.6,
    )
    pool = await resources.enter_async_context(connect(pool_size=settings.database_pool_size))
    owner_pool = await resources.enter_async_context(connect(pool_size=OWNER_CONNECTIONS))
    await database.wait_for_schema(pool, "execution")
    await patiently(Retention(pool).make_partitions)
    bus = await resources.enter_async_context(nats.connect(settings.nats_url, "execution", settings.nats_access()))
    secret = settings.service_secret.get_secret_value()
    others = await _others(settings, resources)
    limits = Limits(settings.max_node_executions, int(settings.max_duration * 1000), int(settings.node_timeout * 1000))
    executions = ExecutionRepository(pool)
    loader = Loader(TurnRepository(owner_pool))
    watchers = Watchers()
    large_values = LargeValues(BlobStore(settings.blob_url))
    present = Present(bus)
    start_limits = StartLimits(settings.input_bytes, settings.input_depth, settings.partitions)
    acceptance = Acceptance(executions, settings.unended_executions, present.begin, present.accepted)
    process.hold("starts", acceptance.run())
    inspector = Inspector(Loader(TurnRepository(pool)))
    catalogue = Catalogue(others.catalogue, limits)
    charger = None
    if others.ledger is not None:
        purse = Purse(settings.credits_hold, asyncio.get_running_loop().time)
        charger = Charger(purse, ChargeRepository(owner_pool))
        settlement = Settlement(others.ledger, token_hex(16), purse, charger, present.granted, present.ran_out)
        process.hold("credits", settlement.run())
    starter = Starter(
        catalogue,
        executions,
        acceptance,
        loader,
        start_limits,
        Credentials(others.vault),
        charger.purse if charger is not None else None,
        present.own_partitions,
    )
    api = ExecutionApi(
        ApiParts(
            starter=starter,
            block_runs=BlockRuns(catalogue, starter, limits),
            executions=executions,
            children=ChildRepository(pool),
            leases=LeaseRepository(pool),
            inspector=inspector,
            decider=Decider(catalogue, start_limits, large_values),
            history=History(executions, inspector, large_values),
            secret_inputs=SecretInputs(TurnRepository(pool).plan),
            watchers=watchers,
            bus=bus,
            token_secret=secret,
            repair=Repair(bus, StandingRepository(pool), limits_of(settings).configurations(), present.streams_lost),
            purse=starter.purse,
            local=present.holds,
            commanded=present.commanded,
            holder=present.holder,
        )
    )
    checks = {"postgresql": lambda: database.is_healthy(pool), "owner": lambda: _drives(present)}
    archive = archive_of(settings.retention_archive_url, pool, large_values)
    process.hold("retention", retire(Retention(pool), large_values, settings.retention_days, archive))

    async def own() -> None:
        while True:
            async with owning(settings, owner_pool, bus, loader, watchers, large_values, starter, charger) as owner:
                present.owner = owner
                present.owns.set()
                try:
                    await owner.leases.lost.wait()
                    METRICS.leases_lost.inc()
                finally:
                    present.owner = None

    process.hold("owner", own())
    # Calls are taken when executions can be driven: who starts one then need not wait for partitions.
    await present.owns.wait()
    entitlement = Entitlement(others.identities)
    schedule_api = await build_schedules(settings, Pools(pool, owner_pool), bus, starter, entitlement, process.hold)
    value_api = ValueApi(ValueRepository(pool), settings.values_of_user)
    server = grpc_server.serve(
        settings,
        [
            (add_ExecutionServiceServicer_to_server, api),
            (add_ScheduleServiceServicer_to_server, schedule_api),
            (
                add_TriggerServiceServicer_to_server,
                trigger_api(settings, pool, starter, Senders(others.vault), entitlement.refusal),
            ),
            (add_ValueServiceServicer_to_server, value_api),
            (add_TaskServiceServicer_to_server, TaskApi(bus, executions, TemplateRepository(pool), present.judge)),
            (add_FeedServiceServicer_to_server, FeedApi(FeedRepository(pool))),
        ],
        checks,
    )
    await resources.enter_async_context(server)


@dataclass(frozen=True, slots=True)
class Others:
    """The services that this one calls."""

    catalogue: "CatalogueServiceAsyncStub"
    vault: "LeaseServiceAsyncStub | None"
    ledger: "LedgerServiceAsyncStub | None"
    identities: Identities | None


async def _others(settings: ExecutionSettings, resources: AsyncExitStack) -> Others:
    """Those that are configured."""
    credentials = grpc_client.ServiceCredentials(
        settings.service_secret.get_secret_value(), "execution", settings.tls()
    )

    async def channel(address: str, *idempotent: str) -> Any:  # Any: a stub of the asynchronous kind takes it
        return await resources.enter_async_context(grpc_client.channel(address, credentials, idempotent=idempotent))

    if settings.credits_enabled and not settings.account_address:
        raise StartRefused("Credits are counted by the account service: set BLOCKYARD_ACCOUNT_ADDRESS.")
    catalogue = await channel(
        settings.graph_address,
        "blockyard.runner.v1.CatalogueService/GetRunnableGraph",
        "blockyard.runner.v1.CatalogueService/GetRunnableBlock",
    )
    vault = ledger = identities = None
    if settings.account_address:
        identities = RemoteIdentities(
            IdentityServiceStub(
                await channel(settings.account_address, "blockyard.account.v1.IdentityService/Identify")
            )
        )
    if settings.credentials_address:
        vault = LeaseServiceStub(
            await channel(
                settings.credentials_address,
                "blockyard.runner.v1.LeaseService/MatchCredentials",
                "blockyard.runner.v1.LeaseService/CheckSecret",
            )
        )
    if settings.credits_enabled:
        # Whatever is repeated is booked once.
        ledger = LedgerServiceStub(
            await channel(
                settings.account_address,
                "blockyard.account.v1.LedgerService/SettleCharges",
                "blockyard.account.v1.LedgerService/HoldCredits",
            )
        )
    return Others(CatalogueServiceStub(catalogue), vault, ledger, identities)


async def _drives(present: Present) -> bool:
    """Ready while this replica's lease holds."""
    return present.owner is not None and present.owner.leases.valid


if __name__ == "__main__":
    run.main(ExecutionSettings, start)
