"""The status of HTTP that an error has: by its code of gRPC, and by its reason where that says more.

The edge, the notification service's own HTTP and the document of OpenAPI all have it from here.
"""

from collections.abc import Mapping

BY_CODE: Mapping[str, int] = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "DATA_LOSS": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
"""As google.api.http has it, and so Envoy."""

BY_REASON: Mapping[str, int] = {
    "INSUFFICIENT_CREDITS": 402,
    # A sender of webhooks shall neither think that it has sent rubbish nor give the address up.
    "TRIGGER_DISABLED": 409,
}
"""Reasons with a status of their own; the edge puts it in the place of the code's."""


def http_status(code: str, reason: str | None) -> int:
    """The status of an error; 500 for a code that no service of ours gives."""
    return BY_REASON.get(reason or "") or BY_CODE.get(code, 500)
