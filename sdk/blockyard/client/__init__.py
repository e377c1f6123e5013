"""The async client: `async with blockyard.connect() as client: ...`. `blockyard.sync` has the same without async."""

import asyncio
from collections.abc import Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import grpc

from blockyard.account.v1.account_service_pb2_grpc import AccountServiceStub
from blockyard.calls import DEFAULT_DEADLINE, Caller
from blockyard.client.account_records import (
    ApiKeyRecord,
    AuditEntry,
    CreditsRecord,
    CreditTransaction,
    CreditTransactionKind,
    NewApiKey,
    Spending,
    UserRecord,
    UserRole,
    UserState,
)
from blockyard.client.accounts import AccountClient, AuditClient, CreditsClient, UsersClient
from blockyard.client.block_runs import BlockRun, MissingCredentials, SetupRequirements
from blockyard.client.blocks import BlocksClient
from blockyard.client.credential_records import (
    ApiKeySecret,
    Authorization,
    CredentialProviderRecord,
    CredentialRecord,
    CredentialState,
    CredentialTest,
    CredentialType,
    CredentialUse,
    HostHeadersSecret,
    Rotation,
    TestVerdict,
    UserPasswordSecret,
    VaultKey,
)
from blockyard.client.credentials import CredentialsClient, VaultClient
from blockyard.client.executions import CreditsPolicy, ExecutionHandle, ExecutionsClient
from blockyard.client.graphs import GraphLike, GraphsClient
from blockyard.client.notifications import MailFrequency, MailKind, NotificationPreferences, NotificationsClient
from blockyard.client.presets import PresetRecord, PresetsClient
from blockyard.client.schedule_records import (
    CatchUpPolicy,
    FiringRecord,
    FiringStatus,
    OverlapPolicy,
    ScheduleRecord,
    ScheduleState,
)
from blockyard.client.schedules import SchedulesClient
from blockyard.client.triggers import (
    NewTrigger,
    TriggerDelivery,
    TriggerRecord,
    TriggersClient,
    TriggerStart,
)
from blockyard.client.webhooks import (
    AttemptRecord,
    DeliveryRecord,
    DeliveryState,
    WebhookRecord,
    WebhooksClient,
    WebhookState,
)
from blockyard.connection import Connection, find_connection, open_channel
from blockyard.credentials.v1.credentials_service_pb2_grpc import CredentialsServiceStub
from blockyard.errors import NotConfigured
from blockyard.events import EventKind
from blockyard.execution.v1.execution_service_pb2_grpc import ExecutionServiceStub
from blockyard.execution.v1.schedule_service_pb2_grpc import ScheduleServiceStub
from blockyard.execution.v1.trigger_service_pb2_grpc import TriggerServiceStub
from blockyard.graph.v1.block_service_pb2_grpc import BlockServiceStub
from blockyard.graph.v1.graph_service_pb2_grpc import GraphServiceStub
from blockyard.graph.v1.preset_service_pb2_grpc import PresetServiceStub
from blockyard.notification.v1.notification_service_pb2 import EventFilter
from blockyard.notification.v1.notification_service_pb2_grpc import NotificationServiceStub
from blockyard.notification.v1.preference_service_pb2_grpc import PreferenceServiceStub
from blockyard.notification.v1.webhook_service_pb2_grpc import WebhookServiceStub
from blockyard.records import (
    AbsentResult,
    AbsentValue,
    BlockCategoryRecord,
    BlockCostRecord,
    BlockRecord,
    BlockRunnerRecord,
    BlockVersionRecord,
    Execution,
    ExecutionStatus,
    Explanation,
    GraphRecord,
    Json,
    NodeExecution,
    NodeStatus,
    Repair,
    RepairedStream,
    Results,
    Validation,
    Waiting,
)
from blockyard.subscriptions import EventStream, Subscription, event_stream

if TYPE_CHECKING:  # there for type checkers alone
    from blockyard.account.v1.account_service_pb2_grpc import AccountServiceAsyncStub
    from blockyard.credentials.v1.credentials_service_pb2_grpc import CredentialsServiceAsyncStub
    from blockyard.notification.v1.notification_service_pb2_grpc import NotificationServiceAsyncStub

__all__ = [
    "AbsentResult",
    "AbsentValue",
    "AccountClient",
    "ApiKeyRecord",
    "ApiKeySecret",
    "AttemptRecord",
    "AuditClient",
    "AuditEntry",
    "Authorization",
    "BlockCategoryRecord",
    "BlockCostRecord",
    "BlockRecord",
    "BlockRun",
    "BlockRunnerRecord",
    "BlockVersionRecord",
    "BlocksClient",
    "CatchUpPolicy",
    "Client",
    "CredentialProviderRecord",
    "CredentialRecord",
    "CredentialState",
    "CredentialTest",
    "CredentialType",
    "CredentialUse",
    "CredentialsClient",
    "CreditTransaction",
    "CreditTransactionKind",
    "CreditsClient",
    "CreditsPolicy",
    "CreditsRecord",
    "DeliveryRecord",
    "DeliveryState",
    "EventStream",
    "Execution",
    "ExecutionHandle",
    "ExecutionStatus",
    "ExecutionsClient",
    "Explanation",
    "FiringRecord",
    "FiringStatus",
    "GraphRecord",
    "GraphsClient",
    "HostHeadersSecret",
    "Json",
    "MailFrequency",
    "MailKind",
    "MissingCredentials",
    "NewApiKey",
    "NewTrigger",
    "NodeExecution",
    "NodeStatus",
    "NotificationPreferences",
    "NotificationsClient",
    "OverlapPolicy",
    "PresetRecord",
    "PresetsClient",
    "Repair",
    "RepairedStream",
    "Results",
    "Rotation",
    "ScheduleRecord",
    "ScheduleState",
    "SchedulesClient",
    "SetupRequirements",
    "Spending",
    "TestVerdict",
    "TriggerDelivery",
    "TriggerRecord",
    "TriggerStart",
    "TriggersClient",
    "UserPasswordSecret",
    "UserRecord",
    "UserRole",
    "UserState",
    "UsersClient",
    "Validation",
    "VaultClient",
    "VaultKey",
    "Waiting",
    "WebhookRecord",
    "WebhookState",
    "WebhooksClient",
    "connect",
]


class Client:
    """A caller's view of Blockyard: `graphs`, `presets`, `blocks`, `executions`, `schedules`, `triggers`, `webhooks`,
    `credentials`, `account`, `credits`; and for administrators `users`, `audit`, `vault`. Use it as an async context
    manager."""

    graphs: GraphsClient
    presets: PresetsClient
    schedules: SchedulesClient
    blocks: BlocksClient
    executions: ExecutionsClient
    triggers: TriggersClient

    def __init__(self, connection: Connection, deadline: float = DEFAULT_DEADLINE) -> None:
        self.connection = connection
        self._deadline = deadline
        self._channels: dict[str, grpc.aio.Channel] = {}

    async def __aenter__(self) -> Self:
        self._call = call = Caller(self.connection.token, self._deadline)
        graph = self._channel(self.connection.graph_address)
        execution = self._channel(self.connection.execution_address)
        self.graphs = GraphsClient(GraphServiceStub(graph), call)
        self.presets = PresetsClient(PresetServiceStub(graph), call)
        executions = ExecutionServiceStub(execution)
        self.blocks = BlocksClient(BlockServiceStub(graph), executions, call)
        self.executions = ExecutionsClient(executions, call)
        self.schedules = SchedulesClient(ScheduleServiceStub(execution), call)
        self.triggers = TriggersClient(TriggerServiceStub(execution), call)
        connection = self.connection
        for address in (connection.credentials_address, connection.account_address, connection.notification_address):
            if address:
                self._channel(address)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*(channel.close() for channel in self._channels.values()))
        self._channels.clear()

    @property
    def credentials(self) -> CredentialsClient:
        """The caller's credentials."""
        return CredentialsClient(self._vault_stub(), self._call)

    @property
    def vault(self) -> VaultClient:
        """The keys of the vault. For administrators."""
        return VaultClient(self._vault_stub(), self._call)

    @property
    def account(self) -> AccountClient:
        """The caller's account and API keys."""
        return AccountClient(self._account_stub(), self._call)

    @property
    def credits(self) -> CreditsClient:
        """The caller's credits; for administrators those of all."""
        return CreditsClient(self._account_stub(), self._call)

    @property
    def notifications(self) -> NotificationsClient:
        """What the caller is told by e-mail."""
        channel = self._known("notification", self.connection.notification_address)
        return NotificationsClient(PreferenceServiceStub(channel), self._call)

    @property
    def users(self) -> UsersClient:
        """All users. For administrators."""
        return UsersClient(self._account_stub(), self._call)

    @property
    def audit(self) -> AuditClient:
        """The audit log. For administrators."""
        return AuditClient(self._account_stub(), self._call)

    async def run(
        self,
        graph: GraphLike | GraphRecord | str,
        inputs: Mapping[str, Json] | None = None,
        timeout: float | None = None,
        *,
        preset: str = "",
        credentials: Mapping[str, str] | None = None,
        absent_as_none: bool = False,
    ) -> Results:
        """Runs a graph to its end, and gives its results.

        An id runs the graph's active version, a record the version that it is of; any other graph is stored first.
        `preset` and `credentials` as of ExecutionsClient.start, `absent_as_none` as of ExecutionHandle.result.
        """
        if isinstance(graph, str):
            execution = await self.executions.start(graph, inputs, preset=preset, credentials=credentials)
        else:
            record = graph if isinstance(graph, GraphRecord) else await self.graphs.create(graph)
            execution = await self.executions.start(
                record.id, inputs, preset=preset, version=record.version, credentials=credentials
            )
        return await execution.result(timeout, absent_as_none=absent_as_none)

    def events(
        self,
        execution: str | Collection[str] = (),
        after: int | str = "",
        *,
        graph: str | Collection[str] = (),
        kinds: Collection[EventKind] = (),
        user: str = "",
    ) -> EventStream:
        """Events as they come, in order for each execution, without gaps, over lost connections.

        Of one execution alone: all after the sequence `after`, until it ends. Else those of all of the caller's
        executions, or of these executions or graphs, from now on or after a cursor, for ever. `kinds` leaves out
        others. Administrators may name another `user`, or "*" for all. `stream.cursor` is what to give as `after` to
        go on later.

        Raises HistoryGap for events that are missing and no longer kept, OutOfRange for a cursor that is too old or of
        another installation, InvalidArgument for a filter that is none, and Unauthenticated once the token has expired.
        """
        return event_stream(
            self.executions,
            self._notification_stub,
            self._call,
            executions=_several(execution),
            graphs=_several(graph),
            kinds=kinds,
            user=user,
            after=after,
        )

    def subscription(self, filter: EventFilter, cursor: str = "") -> Subscription:
        """What Subscribe answers, message by message, for ever and over lost connections; `events` is made of it."""
        return Subscription(self._notification_stub(), self.executions, self._call, filter, cursor)

    @property
    def webhooks(self) -> WebhooksClient:
        """The caller's webhooks."""
        stub = WebhookServiceStub(self._known("notification", self.connection.notification_address))
        return WebhooksClient(stub, self._call)

    def _vault_stub(self) -> "CredentialsServiceAsyncStub":
        return CredentialsServiceStub(self._known("credentials", self.connection.credentials_address))

    def _account_stub(self) -> "AccountServiceAsyncStub":
        return AccountServiceStub(self._known("account", self.connection.account_address))

    def _notification_stub(self) -> "NotificationServiceAsyncStub":
        return NotificationServiceStub(self._known("notification", self.connection.notification_address))

    def _known(self, service: str, address: str) -> grpc.aio.Channel:
        """The channel to a service that not every connection knows. It was opened before: this may be another thread
        than the loop's."""
        if not address:
            raise NotConfigured(
                f"it is not known where the {service} service is: set BLOCKYARD_ADDRESS, or "
                f"BLOCKYARD_{service.upper()}_ADDRESS"
            )
        return self._channels[address]

    def _channel(self, address: str) -> grpc.aio.Channel:
        if address not in self._channels:
            self._channels[address] = open_channel(address, self.connection.certificates)
        return self._channels[address]


def _several(ids: str | Collection[str]) -> Collection[str]:
    """Ids; an empty text is none."""
    return [ids] if isinstance(ids, str) and ids else ids


def connect(
    address: str | None = None,
    token: str | None = None,
    *,
    home: Path | str | None = None,
    deadline: float = DEFAULT_DEADLINE,
) -> Client:
    """A client for the address and token given, else those of the environment, else the stack of `blockyard dev`.

    `deadline` is how many seconds a call may take, repeats included.
    """
    return Client(find_connection(address, token, home), deadline)
