"""What is expected of every method: who may call it, with which request, and what becomes of another user's objects.

It is written down apart from services/common/permissions.py on purpose: a slip in one of the two is seen.
"""

from dataclasses import dataclass
from typing import Any

from examples.any_language import GRAPH

READERS = frozenset({"viewer", "user", "admin"})
WRITERS = frozenset({"user", "admin"})
ADMINS = frozenset({"admin"})
SERVICES = frozenset({"service"})
RUNNERS = frozenset({"service", "runner"})
EVERYBODY = frozenset({"nobody", "viewer", "user", "admin", "key", "service", "runner"})
KEY = frozenset({"key"})
"""The key was made with READ_GRAPHS alone."""

GRAPHS = "blockyard.graph.v1.GraphService/"
BLOCKS = "blockyard.graph.v1.BlockService/"
PRESETS = "blockyard.graph.v1.PresetService/"
EXECUTIONS = "blockyard.execution.v1.ExecutionService/"
SCHEDULES = "blockyard.execution.v1.ScheduleService/"
TRIGGERS = "blockyard.execution.v1.TriggerService/"
CREDENTIALS = "blockyard.credentials.v1.CredentialsService/"
ACCOUNT = "blockyard.account.v1.AccountService/"
NOTIFICATIONS = "blockyard.notification.v1.NotificationService/"
WEBHOOKS = "blockyard.notification.v1.WebhookService/"
PREFERENCES = "blockyard.notification.v1.PreferenceService/"
RUNNER = "blockyard.runner.v1."


@dataclass(frozen=True, slots=True)
class Row:
    """A method. Texts of the request that begin with "$" stand for objects of their owner, which House.make makes."""

    allowed: frozenset[str]
    request: dict[str, Any]
    hides: str = ""
    """To whom another user's object is NOT_FOUND: all "others", all "but admins"; empty where there is none in it."""
    answers: frozenset[str] = frozenset({"OK"})
    """Codes of calls that are allowed, about objects of one's own."""


def row(allowed: frozenset[str], hides: str = "", answers: str = "OK", /, **request: Any) -> Row:
    return Row(allowed, request, hides, frozenset(answers.split()))


def internal(allowed: frozenset[str], /, **request: Any) -> Row:
    """Of what runs there is none here, so that whoever is let in may be told so."""
    return Row(allowed, request, "", frozenset({"OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION"}))


OF_GRAPH = {"graph_id": "$graph"}
OF_EXECUTION = {"execution_id": "$execution"}
OF_CREDENTIAL = {"credential_id": "$credential"}
OF_TRIGGER = {"trigger_id": "$trigger"}
HOOK = {"kind": "TRIGGER_KIND_GENERIC", "start": {"graph_id": "$hooked_graph"}}
OF_USER = {"user_id": "$user"}
SCHEDULE = {"cron": "0 6 * * *", "start": {**OF_GRAPH, "inputs": {"text": "hello"}}}
OF_WEBHOOK = {"webhook_id": "$webhook"}
NAMED = {**GRAPH, "id": "$graph"}

EXPECTED: dict[str, Row] = {
    GRAPHS + "CreateGraph": row(WRITERS, graph=GRAPH),
    GRAPHS + "GetGraph": row(READERS | KEY, "others", **OF_GRAPH),
    GRAPHS + "ListGraphs": row(READERS | KEY),
    GRAPHS + "UpdateGraph": row(WRITERS, "others", graph=NAMED),
    GRAPHS + "DeleteGraph": row(WRITERS, "others", graph_id="$new_graph"),
    GRAPHS + "ListGraphVersions": row(READERS | KEY, "others", **OF_GRAPH),
    GRAPHS + "SetActiveVersion": row(WRITERS, "others", **OF_GRAPH, version=1),
    GRAPHS + "ForkGraph": row(WRITERS, "others", **OF_GRAPH, name="a fork"),
    GRAPHS + "ValidateGraph": row(READERS | KEY, graph=GRAPH),
    GRAPHS + "RenderGraph": row(READERS | KEY, "others", **OF_GRAPH),
    GRAPHS + "ImportGraph": row(WRITERS, file="$file"),
    GRAPHS + "ExportGraph": row(READERS | KEY, "others", **OF_GRAPH),
    BLOCKS + "ListBlocks": row(READERS),
    BLOCKS + "GetBlock": row(READERS, block_id="TextProcessingBlock"),
    BLOCKS + "ListBlockCategories": row(READERS),
    BLOCKS + "ListBlockVersions": row(READERS, block_id="TextProcessingBlock"),
    PRESETS + "CreatePreset": row(WRITERS, "others", preset={"graph_id": "$graph", "name": "a preset"}),
    PRESETS + "GetPreset": row(READERS | KEY, "others", preset_id="$preset"),
    PRESETS + "ListPresets": row(READERS | KEY),
    PRESETS + "UpdatePreset": row(WRITERS, "others", preset={"id": "$preset", "name": "x"}, update_mask="name"),
    PRESETS + "DeletePreset": row(WRITERS, "others", preset_id="$new_preset"),
    SCHEDULES + "CreateSchedule": row(WRITERS, "others", schedule=SCHEDULE),
    SCHEDULES + "GetSchedule": row(READERS, "others", schedule_id="$schedule"),
    SCHEDULES + "ListSchedules": row(READERS),
    SCHEDULES + "UpdateSchedule": row(WRITERS, "others", schedule={"id": "$schedule", "name": "x"}),
    SCHEDULES + "DeleteSchedule": row(WRITERS, "others", schedule_id="$new_schedule"),
    EXECUTIONS + "StartExecution": row(WRITERS, "others", **OF_GRAPH, inputs={"text": "hello"}),
    EXECUTIONS + "GetExecution": row(READERS, "others", **OF_EXECUTION),
    EXECUTIONS + "ListExecutions": row(READERS, **OF_GRAPH),
    EXECUTIONS + "StopExecution": row(WRITERS, "others", **OF_EXECUTION),
    EXECUTIONS + "StopExecutions": row(WRITERS, **OF_GRAPH),
    EXECUTIONS + "ListNodeExecutions": row(READERS, "others", **OF_EXECUTION),
    EXECUTIONS + "GetExecutionResults": row(READERS, "others", **OF_EXECUTION),
    EXECUTIONS + "ListEvents": row(READERS, "others", **OF_EXECUTION),
    EXECUTIONS + "WatchExecution": row(READERS, "others", **OF_EXECUTION),
    EXECUTIONS + "ExplainExecution": row(READERS, "others", **OF_EXECUTION),
    EXECUTIONS + "ResumeNode": row(
        WRITERS, "others", "FAILED_PRECONDITION", **OF_EXECUTION, node_execution=1, decision="DECISION_APPROVE"
    ),
    EXECUTIONS + "RunBlock": row(
        WRITERS, block_id="TextProcessingBlock", inputs={"text": "hello", "operation": "upper"}
    ),
    EXECUTIONS + "RepairStreams": row(ADMINS),
    TRIGGERS + "CreateTrigger": row(WRITERS, "others", trigger=HOOK),
    TRIGGERS + "GetTrigger": row(READERS, "others", **OF_TRIGGER),
    TRIGGERS + "ListTriggers": row(READERS),
    TRIGGERS + "UpdateTrigger": row(WRITERS, "others", trigger={"id": "$trigger", "name": "x"}, update_mask="name"),
    TRIGGERS + "DeleteTrigger": row(WRITERS, "others", trigger_id="$new_trigger"),
    TRIGGERS + "RotateTriggerSecret": row(WRITERS, "others", **OF_TRIGGER),
    TRIGGERS + "ListTriggerDeliveries": row(READERS, "others", **OF_TRIGGER),
    # No token counts here: who knows the secret may.
    TRIGGERS + "ReceiveWebhook": row(EVERYBODY, "", "UNAUTHENTICATED", **OF_TRIGGER, body={"data": "e30="}),
    CREDENTIALS + "CreateCredential": row(WRITERS, provider="acme", title="a key", secret={"api_key": "k" * 20}),
    CREDENTIALS + "GetCredential": row(READERS, "others", **OF_CREDENTIAL),
    CREDENTIALS + "ListCredentials": row(READERS),
    CREDENTIALS + "UpdateCredential": row(WRITERS, "others", **OF_CREDENTIAL, update_mask="title", title="renamed"),
    CREDENTIALS + "DeleteCredential": row(WRITERS, "others", credential_id="$new_credential"),
    CREDENTIALS + "TestCredential": row(WRITERS, "others", "OK FAILED_PRECONDITION", **OF_CREDENTIAL),
    CREDENTIALS + "ListProviders": row(READERS),
    CREDENTIALS + "StartAuthorization": row(
        WRITERS, "", "FAILED_PRECONDITION", provider="github", redirect_uri="http://127.0.0.1:7/callback"
    ),
    CREDENTIALS + "CompleteAuthorization": row(WRITERS, "", "INVALID_ARGUMENT", state="s" * 43, code="c"),
    CREDENTIALS + "ListVaultKeys": row(ADMINS),
    CREDENTIALS + "RotateKeys": row(ADMINS, batch_size=10),
    ACCOUNT + "GetUser": row(READERS, "but admins", **OF_USER),
    ACCOUNT + "UpdateUser": row(WRITERS, "but admins", **OF_USER, update_mask="timeZone", time_zone="Europe/Berlin"),
    ACCOUNT + "ListUsers": row(ADMINS),
    ACCOUNT + "CreateUser": row(ADMINS, user_id="$unique"),
    ACCOUNT + "SetUserAccess": row(ADMINS, user_id="$bystander", state="USER_STATE_ACTIVE"),
    ACCOUNT + "CreateApiKey": row(WRITERS, name="a key"),
    ACCOUNT + "ListApiKeys": row(READERS, "but admins", **OF_USER),
    ACCOUNT + "RevokeApiKey": row(WRITERS, "but admins", api_key_id="$new_api_key"),
    ACCOUNT + "GetCredits": row(READERS, "but admins", **OF_USER),
    ACCOUNT + "ListCreditTransactions": row(READERS, "but admins", **OF_USER),
    ACCOUNT + "SummarizeSpending": row(READERS, "but admins", **OF_USER),
    ACCOUNT + "TopUpCredits": row(ADMINS, user_id="$bystander", amount=1),
    ACCOUNT + "ListAuditEntries": row(ADMINS),
    "blockyard.account.v1.IdentityService/Identify": internal(SERVICES, token={"user_id": "permitted-bystander"}),
    "blockyard.account.v1.IdentityService/RecordActions": internal(SERVICES),
    "blockyard.account.v1.IdentityService/GetContacts": internal(SERVICES, user_ids=["$user"]),
    "blockyard.account.v1.LedgerService/HoldCredits": internal(SERVICES, holder="a test"),
    "blockyard.account.v1.LedgerService/SettleCharges": internal(SERVICES, holder="a test"),
    RUNNER + "CatalogueService/RegisterBlocks": internal(RUNNERS),
    RUNNER + "CatalogueService/GetRunnableGraph": internal(SERVICES, graph_id="$graph", user_id="$user"),
    RUNNER + "CatalogueService/GetRunnableBlock": internal(SERVICES, block_id="TextProcessingBlock", user_id="$user"),
    RUNNER + "CatalogueService/FindCredentialUses": internal(SERVICES, credential_id="$credential", user_id="$user"),
    RUNNER + "CatalogueService/GetGraphNames": internal(SERVICES, graph_ids=["$graph"], user_id="$user"),
    RUNNER + "ValueService/GetValue": internal(RUNNERS),
    RUNNER + "ValueService/PutValue": internal(RUNNERS),
    RUNNER + "LeaseService/LeaseCredentials": internal(RUNNERS, runner_id="a test"),
    RUNNER + "LeaseService/CheckSecret": internal(SERVICES, user_id="$user", credential_id="$credential"),
    RUNNER + "LeaseService/MatchCredentials": internal(SERVICES, user_id="$user"),
    NOTIFICATIONS + "Subscribe": row(READERS),
    WEBHOOKS + "CreateWebhook": row(WRITERS, webhook={"url": "https://webhooks.invalid/new"}),
    WEBHOOKS + "GetWebhook": row(READERS, "others", **OF_WEBHOOK),
    WEBHOOKS + "ListWebhooks": row(READERS),
    WEBHOOKS + "UpdateWebhook": row(
        WRITERS, "others", webhook={"id": "$webhook", "description": "x"}, update_mask="description"
    ),
    WEBHOOKS + "DeleteWebhook": row(WRITERS, "others", webhook_id="$new_webhook"),
    WEBHOOKS + "RotateWebhookSecret": row(WRITERS, "others", **OF_WEBHOOK),
    WEBHOOKS + "ListWebhookDeliveries": row(READERS, "others", **OF_WEBHOOK),
    WEBHOOKS + "RetryWebhookDelivery": row(WRITERS, "others", "NOT_FOUND", **OF_WEBHOOK, delivery_id="none"),
    WEBHOOKS + "ReplayWebhook": row(WRITERS, "others", **OF_WEBHOOK, start_time="2026-01-01T00:00:00Z"),
    WEBHOOKS + "TestWebhook": row(WRITERS, "others", **OF_WEBHOOK),
    PREFERENCES + "GetPreferences": row(READERS),
    PREFERENCES + "UpdatePreferences": row(WRITERS, update_mask="digestHour", digest_hour=9),
    PREFERENCES + "Unsubscribe": row(EVERYBODY, "", "INVALID_ARGUMENT", token="none"),
    RUNNER + "FeedService/GetFeedHeads": internal(SERVICES),
    RUNNER + "FeedService/ReadFeeds": internal(SERVICES),
    RUNNER + "TaskService/CheckRuns": internal(SERVICES),
    RUNNER + "TaskService/FindCredentialUses": internal(SERVICES, credential_id="$credential", user_id="$user"),
    "grpc.health.v1.Health/Check": row(EVERYBODY),
    # The library's server has it in the contract alone.
    "grpc.health.v1.Health/List": row(EVERYBODY, "", "UNIMPLEMENTED"),
    "grpc.health.v1.Health/Watch": row(EVERYBODY),
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": row(EVERYBODY, list_services="*"),
}
