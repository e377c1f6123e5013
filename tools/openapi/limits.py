"""What a service refuses of a well-formed request, as keywords of JSON schema: protos say it in their comments alone.

What a graph's own rules refuse does not stand here, since ValidateGraph answers with what is wrong. In an update, what
the mask does not name is not looked at. That each limit is kept, is tried from the document
(tests/e2e/test_rest_contract.py).
"""

from collections.abc import Mapping
from typing import Any

from services.common.input_limits import LONGEST, LONGEST_TEXT

Schema = dict[str, Any]
"""A JSON schema, or a part of one."""

NOT_NEGATIVE: Schema = {"minimum": 0}
UP_TO_100: Schema = {"minimum": 0, "maximum": 100}
NAME: Schema = {"minLength": 1, "maxLength": 100}

OF_EVERY_REQUEST: Mapping[str, Schema] = {"page_size": NOT_NEGATIVE, "request_id": {"maxLength": 100}}

_GRAPH, _EXECUTION = "blockyard.graph.v1.", "blockyard.execution.v1."
_CREDENTIALS, _ACCOUNT = "blockyard.credentials.v1.", "blockyard.account.v1."
_NOTIFICATION = "blockyard.notification.v1."

LIMITS: Mapping[str, Schema] = {
    _GRAPH + "ImportGraphRequest.name": {"maxLength": 200},
    _GRAPH + "ForkGraphRequest.name": {"maxLength": 200},
    _GRAPH + "ForkGraphRequest.version": NOT_NEGATIVE,
    _GRAPH + "GetGraphRequest.version": NOT_NEGATIVE,
    _GRAPH + "RenderGraphRequest.version": NOT_NEGATIVE,
    _GRAPH + "ExportGraphRequest.version": NOT_NEGATIVE,
    _GRAPH + "SetActiveVersionRequest.version": {"minimum": 1},
    _GRAPH + "UpdateGraphRequest.expected_latest_version": NOT_NEGATIVE,
    _GRAPH + "ListBlocksRequest.query": {"maxLength": 500},
    _EXECUTION + "StartExecutionRequest.graph_version": NOT_NEGATIVE,
    _EXECUTION + "StartExecutionRequest.labels": {
        "maxProperties": 32,
        "propertyNames": NAME,
        "additionalProperties": {"type": "string", "maxLength": 100},
    },
    _EXECUTION + "StartExecutionRequest.priority": {"minimum": -100, "maximum": 100},
    _EXECUTION + "StartExecutionRequest.credentials": {"maxProperties": 1000},
    _EXECUTION + "CreateScheduleRequest.next_times": UP_TO_100,
    _EXECUTION + "GetScheduleRequest.next_times": UP_TO_100,
    _EXECUTION + "GetScheduleRequest.firings": UP_TO_100,
    _EXECUTION + "ListEventsRequest.after_sequence": NOT_NEGATIVE,
    _EXECUTION + "WatchExecutionRequest.after_sequence": NOT_NEGATIVE,
    _EXECUTION + "ResumeNodeRequest.message": {"maxLength": 10_000},
    _EXECUTION + "RunBlockRequest.credentials": {"maxProperties": 1000},
    _CREDENTIALS + "CreateCredentialRequest.provider": {"pattern": "^[a-z0-9_-]{1,100}$"},
    _CREDENTIALS + "CreateCredentialRequest.title": NAME,
    _CREDENTIALS + "CredentialSecret.api_key": {"minLength": 1, "maxLength": 16_384},
    _CREDENTIALS + "UserPassword.username": {"minLength": 1, "maxLength": 16_384},
    _CREDENTIALS + "UserPassword.password": {"minLength": 1, "maxLength": 16_384},
    _CREDENTIALS + "HostHeaders.headers": {"minProperties": 1, "maxProperties": 20},
    _CREDENTIALS + "UpdateCredentialRequest.title": NAME,
    _CREDENTIALS + "UpdateCredentialRequest.version": NOT_NEGATIVE,
    _CREDENTIALS + "StartAuthorizationRequest.title": {"maxLength": 100},
    _CREDENTIALS + "StartAuthorizationRequest.scopes": {"maxItems": 100},
    _CREDENTIALS + "RotateKeysRequest.batch_size": {"minimum": 0, "maximum": 10_000},
    _CREDENTIALS + "RotateKeysRequest.key_id": {"maxLength": 200},
    _ACCOUNT + "CreateApiKeyRequest.name": NAME,
    _ACCOUNT + "CreateUserRequest.name": {"maxLength": 200},
    _ACCOUNT + "UpdateUserRequest.name": {"maxLength": 200},
    _ACCOUNT + "UpdateUserRequest.low_balance": {"minimum": 0, "maximum": 10**15},
    _ACCOUNT + "TopUpCreditsRequest.amount": {"minimum": -(10**15), "maximum": 10**15, "not": {"enum": [0, "0"]}},
    _ACCOUNT + "TopUpCreditsRequest.note": {"maxLength": 500},
    _NOTIFICATION + "Webhook.url": {"maxLength": 2_000},
    _NOTIFICATION + "Webhook.description": {"maxLength": 1_000},
    _NOTIFICATION + "WebhookFilter.graph_ids": {"maxItems": 100},
    _NOTIFICATION + "WebhookFilter.execution_ids": {"maxItems": 100},
    _NOTIFICATION + "WebhookFilter.kinds": {"maxItems": 100},
}
"""Keywords by the full name of a field."""

REQUIRED: Mapping[str, tuple[str, ...]] = {
    _GRAPH + "SetActiveVersionRequest": ("version",),
    _GRAPH + "ImportGraphRequest": ("file",),
    _EXECUTION + "ResumeNodeRequest": ("decision",),
    _CREDENTIALS + "CreateCredentialRequest": ("provider", "title", "secret"),
    _CREDENTIALS + "UserPassword": ("username", "password"),
    _CREDENTIALS + "HostHeaders": ("host", "headers"),
    _CREDENTIALS + "StartAuthorizationRequest": ("provider", "redirect_uri"),
    _CREDENTIALS + "CompleteAuthorizationRequest": ("state",),
    _ACCOUNT + "CreateUserRequest": ("user_id",),
    _ACCOUNT + "CreateApiKeyRequest": ("name",),
    _ACCOUNT + "TopUpCreditsRequest": ("amount",),
}
"""Fields without which a request is refused, by the full name of the message; those in a path need no mention."""


def of_field(full_name: str, *, is_text: bool) -> Schema:
    """The keywords of a field in a request."""
    found = dict(LIMITS.get(full_name, {}))
    for ending, limit in OF_EVERY_REQUEST.items():
        if full_name.endswith(f"Request.{ending}"):
            found.update(limit)
    if is_text and "pattern" not in found:
        found.setdefault("maxLength", LONGEST.get(full_name, LONGEST_TEXT))
    return found
