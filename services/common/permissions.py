"""Which permission each method needs, which permissions each role has, and to which class of calls each method belongs:
the one place that says who may do what, and how it is counted.
"""

from enum import Enum, StrEnum, auto


class Role(StrEnum):
    """What a token says its holder is."""

    ADMIN = "admin"
    USER = "user"
    VIEWER = "viewer"
    SERVICE = "service"
    RUNNER = "runner"
    """A service that runs blocks of others: it may call the few internal methods that are marked so."""


class Permission(Enum):
    """What a method needs of its caller."""

    PUBLIC = auto()
    """No token at all."""
    SERVICE = auto()
    """The token of a service: users have no business here, whatever their role, and runners neither."""
    RUNNER = auto()
    """The token of a service or of a runner."""
    READ_GRAPHS = auto()
    WRITE_GRAPHS = auto()
    READ_BLOCKS = auto()
    READ_EXECUTIONS = auto()
    RUN_EXECUTIONS = auto()
    READ_CREDENTIALS = auto()
    WRITE_CREDENTIALS = auto()
    READ_ACCOUNT = auto()
    WRITE_ACCOUNT = auto()
    MANAGE_USERS = auto()
    MANAGE_CREDITS = auto()
    READ_AUDIT = auto()
    MANAGE_VAULT = auto()
    MANAGE_EXECUTIONS = auto()
    READ_NOTIFICATIONS = auto()
    WRITE_NOTIFICATIONS = auto()


_READ = frozenset(
    {
        Permission.READ_GRAPHS,
        Permission.READ_BLOCKS,
        Permission.READ_EXECUTIONS,
        Permission.READ_CREDENTIALS,
        Permission.READ_ACCOUNT,
        Permission.READ_NOTIFICATIONS,
    }
)
_WRITE = frozenset(
    {
        Permission.WRITE_GRAPHS,
        Permission.RUN_EXECUTIONS,
        Permission.WRITE_CREDENTIALS,
        Permission.WRITE_ACCOUNT,
        Permission.WRITE_NOTIFICATIONS,
    }
)
_MANAGE = frozenset(
    {
        Permission.MANAGE_USERS,
        Permission.MANAGE_CREDITS,
        Permission.READ_AUDIT,
        Permission.MANAGE_VAULT,
        Permission.MANAGE_EXECUTIONS,
    }
)

ROLES: dict[Role, frozenset[Permission]] = {
    Role.ADMIN: _READ | _WRITE | _MANAGE,
    Role.USER: _READ | _WRITE,
    Role.VIEWER: _READ,
    Role.SERVICE: frozenset({Permission.SERVICE, Permission.RUNNER}),
    Role.RUNNER: frozenset({Permission.RUNNER}),
}

PERMISSIONS: dict[str, Permission] = {
    "/blockyard.graph.v1.GraphService/CreateGraph": Permission.WRITE_GRAPHS,
    "/blockyard.graph.v1.GraphService/GetGraph": Permission.READ_GRAPHS,
    "/blockyard.graph.v1.GraphService/ListGraphs": Permission.READ_GRAPHS,
    "/blockyard.graph.v1.GraphService/UpdateGraph": Permission.WRITE_GRAPHS,
    "/blockyard.graph.v1.GraphService/DeleteGraph": Permission.WRITE_GRAPHS,
    "/blockyard.graph.v1.GraphService/ListGraphVersions": Permission.READ_GRAPHS,
    "/blockyard.graph.v1.GraphService/SetActiveVersion": Permission.WRITE_GRAPHS,
    "/blockyard.graph.v1.GraphService/ForkGraph": Permission.WRITE_GRAPHS,
    "/blockyard.graph.v1.GraphService/ValidateGraph": Permission.READ_GRAPHS,
    "/blockyard.graph.v1.GraphService/RenderGraph": Permission.READ_GRAPHS,
    "/blockyard.graph.v1.GraphService/ImportGraph": Permission.WRITE_GRAPHS,
    "/blockyard.graph.v1.GraphService/ExportGraph": Permission.READ_GRAPHS,
    "/blockyard.graph.v1.BlockService/ListBlocks": Permission.READ_BLOCKS,
    "/blockyard.graph.v1.BlockService/GetBlock": Permission.READ_BLOCKS,
    "/blockyard.graph.v1.BlockService/ListBlockCategories": Permission.READ_BLOCKS,
    "/blockyard.graph.v1.BlockService/ListBlockVersions": Permission.READ_BLOCKS,
    "/blockyard.graph.v1.PresetService/CreatePreset": Permission.WRITE_GRAPHS,
    "/blockyard.graph.v1.PresetService/GetPreset": Permission.READ_GRAPHS,
    "/blockyard.graph.v1.PresetService/ListPresets": Permission.READ_GRAPHS,
    "/blockyard.graph.v1.PresetService/UpdatePreset": Permission.WRITE_GRAPHS,
    "/blockyard.graph.v1.PresetService/DeletePreset": Permission.WRITE_GRAPHS,
    "/blockyard.execution.v1.ExecutionService/StartExecution": Permission.RUN_EXECUTIONS,
    "/blockyard.execution.v1.ExecutionService/GetExecution": Permission.READ_EXECUTIONS,
    "/blockyard.execution.v1.ExecutionService/ListExecutions": Permission.READ_EXECUTIONS,
    "/blockyard.execution.v1.ExecutionService/StopExecution": Permission.RUN_EXECUTIONS,
    "/blockyard.execution.v1.ExecutionService/StopExecutions": Permission.RUN_EXECUTIONS,
    "/blockyard.execution.v1.ExecutionService/ListNodeExecutions": Permission.READ_EXECUTIONS,
    "/blockyard.execution.v1.ExecutionService/GetExecutionResults": Permission.READ_EXECUTIONS,
    "/blockyard.execution.v1.ExecutionService/ListEvents": Permission.READ_EXECUTIONS,
    "/blockyard.execution.v1.ExecutionService/WatchExecution": Permission.READ_EXECUTIONS,
    "/blockyard.execution.v1.ExecutionService/ExplainExecution": Permission.READ_EXECUTIONS,
    "/blockyard.execution.v1.ExecutionService/ResumeNode": Permission.RUN_EXECUTIONS,
    "/blockyard.execution.v1.ExecutionService/RunBlock": Permission.RUN_EXECUTIONS,
    "/blockyard.execution.v1.ExecutionService/RepairStreams": Permission.MANAGE_EXECUTIONS,
    "/blockyard.execution.v1.ScheduleService/CreateSchedule": Permission.RUN_EXECUTIONS,
    "/blockyard.execution.v1.ScheduleService/GetSchedule": Permission.READ_EXECUTIONS,
    "/blockyard.execution.v1.ScheduleService/ListSchedules": Permission.READ_EXECUTIONS,
    "/blockyard.execution.v1.ScheduleService/UpdateSchedule": Permission.RUN_EXECUTIONS,
    "/blockyard.execution.v1.ScheduleService/DeleteSchedule": Permission.RUN_EXECUTIONS,
    "/blockyard.execution.v1.TriggerService/CreateTrigger": Permission.RUN_EXECUTIONS,
    "/blockyard.execution.v1.TriggerService/GetTrigger": Permission.READ_EXECUTIONS,
    "/blockyard.execution.v1.TriggerService/ListTriggers": Permission.READ_EXECUTIONS,
    "/blockyard.execution.v1.TriggerService/UpdateTrigger": Permission.RUN_EXECUTIONS,
    "/blockyard.execution.v1.TriggerService/DeleteTrigger": Permission.RUN_EXECUTIONS,
    "/blockyard.execution.v1.TriggerService/RotateTriggerSecret": Permission.RUN_EXECUTIONS,
    "/blockyard.execution.v1.TriggerService/ListTriggerDeliveries": Permission.READ_EXECUTIONS,
    # Senders have no token: the secret of the trigger says who they are (services/execution/webhooks).
    "/blockyard.execution.v1.TriggerService/ReceiveWebhook": Permission.PUBLIC,
    "/blockyard.runner.v1.CatalogueService/RegisterBlocks": Permission.RUNNER,
    "/blockyard.runner.v1.CatalogueService/GetRunnableGraph": Permission.SERVICE,
    "/blockyard.runner.v1.CatalogueService/GetRunnableBlock": Permission.SERVICE,
    "/blockyard.runner.v1.ValueService/GetValue": Permission.RUNNER,
    "/blockyard.runner.v1.ValueService/PutValue": Permission.RUNNER,
    "/blockyard.credentials.v1.CredentialsService/CreateCredential": Permission.WRITE_CREDENTIALS,
    "/blockyard.credentials.v1.CredentialsService/GetCredential": Permission.READ_CREDENTIALS,
    "/blockyard.credentials.v1.CredentialsService/ListCredentials": Permission.READ_CREDENTIALS,
    "/blockyard.credentials.v1.CredentialsService/UpdateCredential": Permission.WRITE_CREDENTIALS,
    "/blockyard.credentials.v1.CredentialsService/DeleteCredential": Permission.WRITE_CREDENTIALS,
    "/blockyard.credentials.v1.CredentialsService/TestCredential": Permission.WRITE_CREDENTIALS,
    "/blockyard.credentials.v1.CredentialsService/ListProviders": Permission.READ_CREDENTIALS,
    "/blockyard.credentials.v1.CredentialsService/StartAuthorization": Permission.WRITE_CREDENTIALS,
    "/blockyard.credentials.v1.CredentialsService/CompleteAuthorization": Permission.WRITE_CREDENTIALS,
    "/blockyard.credentials.v1.CredentialsService/ListVaultKeys": Permission.MANAGE_VAULT,
    "/blockyard.credentials.v1.CredentialsService/RotateKeys": Permission.MANAGE_VAULT,
    "/blockyard.account.v1.AccountService/GetUser": Permission.READ_ACCOUNT,
    "/blockyard.account.v1.AccountService/UpdateUser": Permission.WRITE_ACCOUNT,
    "/blockyard.account.v1.AccountService/ListUsers": Permission.MANAGE_USERS,
    "/blockyard.account.v1.AccountService/CreateUser": Permission.MANAGE_USERS,
    "/blockyard.account.v1.AccountService/SetUserAccess": Permission.MANAGE_USERS,
    "/blockyard.account.v1.AccountService/CreateApiKey": Permission.WRITE_ACCOUNT,
    "/blockyard.account.v1.AccountService/ListApiKeys": Permission.READ_ACCOUNT,
    "/blockyard.account.v1.AccountService/RevokeApiKey": Permission.WRITE_ACCOUNT,
    "/blockyard.account.v1.AccountService/GetCredits": Permission.READ_ACCOUNT,
    "/blockyard.account.v1.AccountService/ListCreditTransactions": Permission.READ_ACCOUNT,
    "/blockyard.account.v1.AccountService/SummarizeSpending": Permission.READ_ACCOUNT,
    "/blockyard.account.v1.AccountService/TopUpCredits": Permission.MANAGE_CREDITS,
    "/blockyard.account.v1.AccountService/ListAuditEntries": Permission.READ_AUDIT,
    "/blockyard.account.v1.IdentityService/Identify": Permission.SERVICE,
    "/blockyard.account.v1.IdentityService/RecordActions": Permission.SERVICE,
    "/blockyard.account.v1.IdentityService/GetContacts": Permission.SERVICE,
    "/blockyard.account.v1.LedgerService/HoldCredits": Permission.SERVICE,
    "/blockyard.account.v1.LedgerService/SettleCharges": Permission.SERVICE,
    "/blockyard.runner.v1.LeaseService/LeaseCredentials": Permission.RUNNER,
    "/blockyard.runner.v1.LeaseService/MatchCredentials": Permission.SERVICE,
    "/blockyard.runner.v1.LeaseService/CheckSecret": Permission.SERVICE,
    "/blockyard.runner.v1.TaskService/CheckRuns": Permission.SERVICE,
    "/blockyard.runner.v1.TaskService/FindCredentialUses": Permission.SERVICE,
    "/blockyard.runner.v1.CatalogueService/FindCredentialUses": Permission.SERVICE,
    "/blockyard.runner.v1.CatalogueService/GetGraphNames": Permission.SERVICE,
    "/blockyard.runner.v1.FeedService/GetFeedHeads": Permission.SERVICE,
    "/blockyard.runner.v1.FeedService/ReadFeeds": Permission.SERVICE,
    "/blockyard.notification.v1.NotificationService/Subscribe": Permission.READ_EXECUTIONS,
    "/blockyard.notification.v1.WebhookService/CreateWebhook": Permission.WRITE_NOTIFICATIONS,
    "/blockyard.notification.v1.WebhookService/GetWebhook": Permission.READ_NOTIFICATIONS,
    "/blockyard.notification.v1.WebhookService/ListWebhooks": Permission.READ_NOTIFICATIONS,
    "/blockyard.notification.v1.WebhookService/UpdateWebhook": Permission.WRITE_NOTIFICATIONS,
    "/blockyard.notification.v1.WebhookService/DeleteWebhook": Permission.WRITE_NOTIFICATIONS,
    "/blockyard.notification.v1.WebhookService/RotateWebhookSecret": Permission.WRITE_NOTIFICATIONS,
    "/blockyard.notification.v1.WebhookService/ListWebhookDeliveries": Permission.READ_NOTIFICATIONS,
    "/blockyard.notification.v1.WebhookService/RetryWebhookDelivery": Permission.WRITE_NOTIFICATIONS,
    "/blockyard.notification.v1.WebhookService/ReplayWebhook": Permission.WRITE_NOTIFICATIONS,
    "/blockyard.notification.v1.WebhookService/TestWebhook": Permission.WRITE_NOTIFICATIONS,
    "/blockyard.notification.v1.PreferenceService/GetPreferences": Permission.READ_NOTIFICATIONS,
    "/blockyard.notification.v1.PreferenceService/UpdatePreferences": Permission.WRITE_NOTIFICATIONS,
    "/blockyard.notification.v1.PreferenceService/Unsubscribe": Permission.PUBLIC,
    "/grpc.health.v1.Health/Check": Permission.PUBLIC,
    "/grpc.health.v1.Health/List": Permission.PUBLIC,
    "/grpc.health.v1.Health/Watch": Permission.PUBLIC,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": Permission.PUBLIC,
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": Permission.PUBLIC,
}


INTERNAL = frozenset({Permission.SERVICE, Permission.RUNNER})
"""Permissions of methods that only parts of Blockyard call."""


class CallClass(Enum):
    """How calls are counted where rates are limited, and which of them are audited."""

    READ = "read"
    WRITE = "write"
    START = "start"
    """Starts an execution: by far the dearest call, and the one that rows tell of by themselves."""
    ADMIN = "admin"


STARTS = frozenset(
    {
        "/blockyard.execution.v1.ExecutionService/StartExecution",
        "/blockyard.execution.v1.ExecutionService/RunBlock",
    }
)


def call_class(method: str) -> CallClass | None:
    """The class of a method; None for those that are open to all or internal, and for one that nobody listed."""
    permission = PERMISSIONS.get(method)
    if permission is None or permission is Permission.PUBLIC or permission in INTERNAL:
        return None
    if method in STARTS:
        return CallClass.START
    if permission in _MANAGE:
        return CallClass.ADMIN
    return CallClass.READ if permission in _READ else CallClass.WRITE


def is_public(method: str) -> bool:
    """Whether a method is open to callers without a token."""
    return PERMISSIONS.get(method) is Permission.PUBLIC
