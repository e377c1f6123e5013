"""On what a call acts, as the audit log names it: which field of the request, or of the answer, has the id."""

from google.protobuf.message import Message

_GRAPH = "/blockyard.graph.v1.GraphService/"
_PRESETS = "/blockyard.graph.v1.PresetService/"
_EXECUTION = "/blockyard.execution.v1.ExecutionService/"
_SCHEDULES = "/blockyard.execution.v1.ScheduleService/"
_TRIGGERS = "/blockyard.execution.v1.TriggerService/"
_CREDENTIALS = "/blockyard.credentials.v1.CredentialsService/"
_PREFERENCES = "/blockyard.notification.v1.PreferenceService/"
_ACCOUNT = "/blockyard.account.v1.AccountService/"
_WEBHOOKS = "/blockyard.notification.v1.WebhookService/"

RESOURCES: dict[str, tuple[str, str, str]] = {
    _GRAPH + "CreateGraph": ("graphs", "", "graph.id"),
    _GRAPH + "UpdateGraph": ("graphs", "graph.id", ""),
    _GRAPH + "DeleteGraph": ("graphs", "graph_id", ""),
    _GRAPH + "SetActiveVersion": ("graphs", "graph_id", ""),
    _GRAPH + "ForkGraph": ("graphs", "graph_id", "graph.id"),
    _GRAPH + "ImportGraph": ("graphs", "", "graph.id"),
    _PRESETS + "CreatePreset": ("presets", "", "preset.id"),
    _PRESETS + "UpdatePreset": ("presets", "preset.id", ""),
    _PRESETS + "DeletePreset": ("presets", "preset_id", ""),
    _EXECUTION + "StopExecution": ("executions", "execution_id", ""),
    _EXECUTION + "StopExecutions": ("graphs", "graph_id", ""),
    _EXECUTION + "RepairStreams": ("", "", ""),
    _EXECUTION + "ResumeNode": ("executions", "execution_id", ""),
    _SCHEDULES + "CreateSchedule": ("schedules", "", "schedule.id"),
    _SCHEDULES + "UpdateSchedule": ("schedules", "schedule.id", ""),
    _SCHEDULES + "DeleteSchedule": ("schedules", "schedule_id", ""),
    _TRIGGERS + "CreateTrigger": ("triggers", "", "trigger.id"),
    _TRIGGERS + "UpdateTrigger": ("triggers", "trigger.id", ""),
    _TRIGGERS + "DeleteTrigger": ("triggers", "trigger_id", ""),
    _TRIGGERS + "RotateTriggerSecret": ("triggers", "trigger_id", ""),
    _CREDENTIALS + "CreateCredential": ("credentials", "", "credential.id"),
    _CREDENTIALS + "UpdateCredential": ("credentials", "credential_id", ""),
    _CREDENTIALS + "DeleteCredential": ("credentials", "credential_id", ""),
    _CREDENTIALS + "TestCredential": ("credentials", "credential_id", ""),
    _CREDENTIALS + "StartAuthorization": ("providers", "provider", ""),
    _CREDENTIALS + "CompleteAuthorization": ("credentials", "", "credential.id"),
    _CREDENTIALS + "ListVaultKeys": ("", "", ""),
    _CREDENTIALS + "RotateKeys": ("", "", ""),
    _PREFERENCES + "UpdatePreferences": ("", "", ""),
    _ACCOUNT + "UpdateUser": ("users", "user_id", "user.id"),
    _ACCOUNT + "ListUsers": ("", "", ""),
    _ACCOUNT + "CreateUser": ("users", "user_id", ""),
    _ACCOUNT + "SetUserAccess": ("users", "user_id", ""),
    _ACCOUNT + "CreateApiKey": ("api_keys", "", "api_key.id"),
    _ACCOUNT + "RevokeApiKey": ("api_keys", "api_key_id", ""),
    _ACCOUNT + "TopUpCredits": ("users", "user_id", ""),
    _ACCOUNT + "ListAuditEntries": ("", "", ""),
    _WEBHOOKS + "CreateWebhook": ("webhooks", "", "webhook.id"),
    _WEBHOOKS + "UpdateWebhook": ("webhooks", "webhook.id", ""),
    _WEBHOOKS + "DeleteWebhook": ("webhooks", "webhook_id", ""),
    _WEBHOOKS + "RotateWebhookSecret": ("webhooks", "webhook_id", ""),
    _WEBHOOKS + "RetryWebhookDelivery": ("webhooks", "webhook_id", ""),
    _WEBHOOKS + "ReplayWebhook": ("webhooks", "webhook_id", ""),
    _WEBHOOKS + "TestWebhook": ("webhooks", "webhook_id", ""),
}
"""Kind of resource, field of the request, field of the answer, by method; the answer's wins where both are there."""

AUDITED_BY_THEMSELVES = frozenset(
    {_CREDENTIALS + name for name in ("CreateCredential", "UpdateCredential", "DeleteCredential", "RotateKeys")}
    | {
        _ACCOUNT + name
        for name in ("UpdateUser", "CreateUser", "SetUserAccess", "CreateApiKey", "RevokeApiKey", "TopUpCredits")
    }
)
"""Their services write the entry in the transaction of the change; only what was refused is noted for them here."""


def resource(method: str, request: Message | None, response: Message | None) -> str:
    """On what a call acts, for example "graphs/0190..."; empty if it names nothing, or could not be read."""
    kind, asked, answered = RESOURCES.get(method, ("", "", ""))
    found = _field(response, answered) or _field(request, asked)
    return f"{kind}/{found}" if kind and found else kind


def _field(message: Message | None, path: str) -> str:
    value: object = message
    if value is None:
        return ""
    for name in path.split(".") if path else ():
        value = getattr(value, name)
    return value if path and isinstance(value, str) else ""
